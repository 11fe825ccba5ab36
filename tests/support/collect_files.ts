/** The bytes of files that are written as streams. */
export async function collectFiles(
  files: ReadonlyMap<string, string | AsyncIterable<Uint8Array>>,
): Promise<Map<string, Uint8Array>> {
  const bytes = new Map<string, Uint8Array>();
  for (const [name, content] of files) {
    if (typeof content === "string") {
      bytes.set(name, new TextEncoder().encode(content));
      continue;
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    const whole = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
    let offset = 0;
    for (const chunk of chunks) {
      whole.set(chunk, offset);
      offset += chunk.length;
    }
    bytes.set(name, whole);
  }
  return bytes;
}
