import { RandomStream, streams } from '../../random.js';
import type { Precision } from '../devices/device.js';

/** Largest relative error of one rounding. */
const unitRoundoff: Readonly<Record<Precision, number>> = {
  float32: 2 ** -24,
  tf32: 2 ** -11,
  bfloat16: 2 ** -8,
};

export function roundoffOf(precision: Precision): number {
  return unitRoundoff[precision];
}

export type Rounding = (value: number) => number;

const bits = new DataView(new ArrayBuffer(4));

/** Bits that a precision leaves out of a float32, or 0. */
function droppedBits(precision: Precision): number {
  return precision === 'tf32' ? 13 : precision === 'bfloat16' ? 16 : 0;
}

function roundedWith(value: number, dropped: number, plus: (all: number) => number): number {
  if (!Number.isFinite(Math.fround(value)) || dropped === 0) return Math.fround(value);
  bits.setFloat32(0, value);
  const all = bits.getUint32(0);
  bits.setUint32(0, Math.floor((all + plus(all)) / 2 ** dropped) * 2 ** dropped);
  return bits.getFloat32(0);
}

/** A number as the operands of that precision hold it: nearest, ties to even. */
export function rounded(value: number, precision: Precision): number {
  const dropped = droppedBits(precision);
  return roundedWith(value, dropped, (all) => 2 ** (dropped - 1) - 1 + ((all >>> dropped) & 1));
}

/**
 * Ways to round to a precision: to nearest, then at random up or down, with the nearer one more likely. What a function makes
 * of them shows how much the roundings of that precision may change it, kinks and cancellation included.
 */
export function roundings(precision: Precision, count: number): Rounding[] {
  const dropped = droppedBits(precision);
  return Array.from({ length: count }, (_, i) => {
    if (i === 0) return (value: number) => rounded(value, precision);
    const random = new RandomStream(i, streams.test, dropped);
    // What is exact in the precision has nothing but zeros behind, and stays.
    return (value: number) => roundedWith(value, dropped, () => random.uint32() % 2 ** dropped);
  });
}
