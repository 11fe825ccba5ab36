/**
 * bfloat16 and IEEE 754 half precision, as arrays of their 16 bits. Widening is exact; narrowing rounds to nearest,
 * ties to even, overflows to infinity and keeps NaN (made quiet) and the sign of zero.
 *
 * Source: IEEE 754-2019, sections 3.4 and 4.3.1.
 *
 * @module
 */

/** Widens bfloat16 bits `[n]` to float32 `[n]`, exactly. */
export function decodeBf16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
  return new Float32Array(wide.buffer);
}

/** Rounds float32 values `[n]` to bfloat16 bits `[n]`. */
export function encodeBf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < wide.length; i++) {
    const word = wide[i]!;
    const isNan = (word & 0x7fffffff) > 0x7f800000;
    // A NaN whose payload lies in the dropped half would become an infinity: the quiet bit keeps it a NaN.
    bits[i] = isNan ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return bits;
}

/** Widens half-precision bits `[n]` to float32 `[n]`, exactly. */
export function decodeF16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const table = widenedHalves();
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = table[bits[i]!]!;
  return new Float32Array(wide.buffer);
}

/** Rounds float32 values `[n]` to half-precision bits `[n]`. Magnitudes of 65520 and more become infinity. */
export function encodeF16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < wide.length; i++) bits[i] = narrowToHalf(wide[i]!);
  return bits;
}

let halves: Uint32Array | undefined;

/** The float32 bits of all 65,536 halves: 256 KB, made once, and faster than branching per element. */
function widenedHalves(): Uint32Array {
  if (halves !== undefined) return halves;
  const table = new Uint32Array(1 << 16);
  const value = new Float32Array(1);
  const word = new Uint32Array(value.buffer);
  for (let half = 0; half < table.length; half++) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0) {
      value[0] = fraction * 2 ** -24; // subnormal
      table[half] = word[0]! | sign;
    } else if (exponent === 31) {
      table[half] = sign | 0x7f800000 | (fraction << 13);
    } else {
      table[half] = sign | ((exponent + 112) << 23) | (fraction << 13);
    }
  }
  halves = table;
  return table;
}

function narrowToHalf(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff); // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above
  if (magnitude >= 0x38800000) { // 2^-14, the smallest normal half
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude < 0x33000000) return sign; // below 2^-25, half of the smallest subnormal
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - (magnitude >>> 23);
  const kept = fraction >>> shift;
  const dropped = fraction & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (dropped > middle || (dropped === middle && (kept & 1) === 1) ? kept + 1 : kept);
}
