/**
 * How much memory a process has taken.
 *
 * @module
 */

/** Most resident memory of this process so far in bytes; NaN where the system does not tell. */
export function peakResidentBytes(): number {
  try {
    const found = /^VmHWM:\s*(\d+) kB/m.exec(Deno.readTextFileSync("/proc/self/status"));
    return found === null ? NaN : Number(found[1]) * 1024;
  } catch {
    return NaN;
  }
}

/** Watches memory where the system keeps no peak: the most that was seen. */
export class MemoryWatch {
  #most = 0;

  /** Looks. */
  look(): void {
    this.#most = Math.max(this.#most, Deno.memoryUsage().rss);
  }

  /** Most resident memory in bytes: the system's own figure, else the most that was seen. */
  get peakBytes(): number {
    this.look();
    const peak = peakResidentBytes();
    return Number.isNaN(peak) ? this.#most : peak;
  }
}
