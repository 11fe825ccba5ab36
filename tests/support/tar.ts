/** Tar files for tests, written by modern-tar, which shares no code with what reads them. */

import { packTar } from "modern-tar";

/** A tar file of members in their order. */
export async function tarFile(
  members: Record<string, string | Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const entries = Object.entries(members).map(([name, content]) => {
    const body = typeof content === "string" ? new TextEncoder().encode(content) : content;
    return { header: { name, size: body.length, mtime: new Date(0) }, body };
  });
  return (await packTar(entries)).slice();
}
