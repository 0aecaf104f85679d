/**
 * Conversion between float32 and the two 16-bit formats of files, on whole arrays. Rounding is to nearest, ties to
 * even (IEEE 754-2019, 4.3.1), as every framework does, so that a model written here equals one written elsewhere.
 */

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** The bits of the binary16 number nearest to `value`; overflow becomes infinity, NaN stays a (quiet) NaN. */
export function float16Bits(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  // 65520 is half way between the largest finite number, 65504, and the next power of two: it rounds to infinity
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // normal: the exponent is rebiased from 127 to 15, and a carry of the rounding runs into the exponent as it should
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign; // at most half of the smallest subnormal, 2^-25: ties to even, zero
  // subnormal: a multiple of 2^-24
  const exponent = magnitude >>> 23;
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent; // 14 .. 24
  const quotient = significand >>> shift;
  const remainder = significand & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const up = remainder > half || (remainder === half && (quotient & 1) === 1);
  return sign | (quotient + (up ? 1 : 0));
}

/** The number that binary16 bits stand for (exact). */
export function float16Value(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The bits of the bfloat16 number nearest to `value`. */
export function bfloat16Bits(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The number that bfloat16 bits stand for (exact). */
export function bfloat16Value(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratch[0]!;
}

export function toHalf(values: Float32Array, bitsOf: (value: number) => number): Uint16Array {
  const result = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = bitsOf(values[i]!);
  return result;
}

export function fromHalf(bits: Uint16Array, numberOf: (bits: number) => number): Float32Array {
  const result = new Float32Array(bits.length);
  if (bits.length < 1 << 16) {
    for (let i = 0; i < bits.length; i++) result[i] = numberOf(bits[i]!);
    return result;
  }
  // There are no more numbers than this: to look one up takes less time than to compute it.
  const numbers = Float32Array.from({ length: 1 << 16 }, (_, one) => numberOf(one));
  for (let i = 0; i < bits.length; i++) result[i] = numbers[bits[i]!]!;
  return result;
}
