/**
 * SHA-256 of texts and numbers.
 *
 * @module
 */

import { sha256Hex } from "../base/sha256.ts";

/** Hash of texts, each told apart from its neighbours. */
export async function hashOf(parts: readonly string[]): Promise<string> {
  return await sha256Hex(new TextEncoder().encode(JSON.stringify(parts)));
}

/** Hash of named numbers, in their order. */
export async function hashValues(values: ReadonlyMap<string, Float32Array>): Promise<string> {
  const parts: string[] = [];
  for (const [name, data] of values) {
    parts.push(name, await sha256Hex(new Uint8Array(new Float32Array(data).buffer)));
  }
  return await hashOf(parts);
}
