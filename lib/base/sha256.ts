/**
 * SHA-256, by which contents are told apart.
 *
 * @module
 */

/** SHA-256 of bytes, hexadecimal. */
export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
