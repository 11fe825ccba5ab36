/**
 * One run in a folder at a time.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { makeFolder } from "./files.ts";

/** Held for as long as a run writes to its folder. */
export interface RunLock extends Disposable {
  /** Gives the folder free; more calls do nothing. The end of the process does too, however it comes. */
  release(): void;
}

/** The lock's file in the run's folder. It stays there; the operating system's lock on it is what counts. */
export const LOCK_FILE = ".lock";

/**
 * Takes the lock of a run's folder, which is made if need be. The operating system holds it and lets go when the process
 * ends, so the lock of a dead process never stands in the way, and no process id is ever mistaken for another's.
 *
 * @throws {UserError} If another live process, or another run of this one, holds it.
 */
export async function acquireRunLock(folder: string): Promise<RunLock> {
  await makeFolder(folder);
  const path = `${folder}/${LOCK_FILE}`;
  const file = await Deno.open(path, { read: true, write: true, create: true });
  let held = false;
  try {
    held = await file.tryLock(true);
    if (!held) {
      // Windows does not let others read a locked file.
      const holder = describeHolder(await Deno.readTextFile(path).catch(() => ""));
      throw new UserError(
        `Cannot start a run in "${folder}": another run is writing to it${holder}; wait for its end, stop it, or name another folder`,
      );
    }
    await file.truncate();
    await file.write(new TextEncoder().encode(`${Deno.pid} ${new Date().toISOString()}\n`));
  } finally {
    if (!held) file.close();
  }
  const release = () => {
    if (held) file.close();
    held = false;
  };
  return { release, [Symbol.dispose]: release };
}

/** The file's text says who took the lock; it may be half-written or of an older run. */
function describeHolder(text: string): string {
  const [, pid, since] = /^(\d+) (\S+)\n$/.exec(text) ?? [];
  return pid === undefined ? "" : ` (process ${pid}, since ${since})`;
}
