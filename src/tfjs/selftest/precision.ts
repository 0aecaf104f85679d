import type { Device, Precision } from '../device.js';
import type { KernelName } from '../kernel-table.js';
import type { OpCase } from './op-case.js';

/** Largest relative error of one rounding. */
const unitRoundoff: Readonly<Record<Precision, number>> = {
  float32: 2 ** -24,
  tf32: 2 ** -11,
  bfloat16: 2 ** -8,
  // seven bits and a sign, scaled to the largest number
  int8: 2 ** -7,
};

/** Rows whose operands or results a device may keep in its lowered precision. */
const lowered: ReadonlySet<KernelName> = new Set([
  'conv3d_forward',
  'conv3d_grad_input',
  'conv3d_grad_weight',
  'conv3d_norm_relu',
  'instance_norm_relu',
  'instance_norm_relu_grad',
  'batch_norm_relu',
  'batch_norm_relu_grad',
  'dynamic_head',
  'dynamic_head_grad',
]);
/** Where the precision is for inference: the operands of these. */
const loweredForInference: ReadonlySet<KernelName> = new Set(['conv3d_forward', 'conv3d_norm_relu']);

type LoweredDevice = Pick<Device, 'precision' | 'inferenceOnly'>;

/** The precision in which a device may compute a row. */
export function precisionOf({ precision = 'float32', inferenceOnly }: LoweredDevice, row: KernelName): Precision {
  return (inferenceOnly ? loweredForInference : lowered).has(row) ? precision : 'float32';
}

export function roundoffOf(precision: Precision): number {
  return unitRoundoff[precision];
}

/** Inputs as operands of that precision hold them. */
export function loweredInputs(
  opCase: OpCase,
  inputs: readonly (Float64Array | null)[],
  precision: Precision,
): (Float64Array | null)[] {
  if (precision === 'int8') return quantized(opCase, inputs);
  return inputs.map((input) => input && loweredValues(input, precision));
}

/** Results as that precision keeps them; behind int8 they are float32. */
export function loweredValues(values: Float64Array, precision: Precision): Float64Array {
  return values.map((value) => rounded(value, precision));
}

/** To nearest, ties to even. */
function rounded(value: number, precision: Precision): number {
  if (precision === 'float32' || precision === 'int8') return Math.fround(value);
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, value);
  if (!Number.isFinite(value)) return value;
  const dropped = precision === 'tf32' ? 13 : 16;
  const all = bits.getUint32(0);
  const half = 2 ** (dropped - 1) - 1 + ((all >>> dropped) & 1);
  bits.setUint32(0, ((all + half) >>> dropped) * 2 ** dropped);
  return bits.getFloat32(0);
}

/** Of a convolution: the source with a scale per sample, the weights with one per channel of the result. */
function quantized({ row, attributes }: OpCase, inputs: readonly (Float64Array | null)[]): (Float64Array | null)[] {
  const [source, weight, ...others] = inputs as [Float64Array, Float64Array, ...(Float64Array | null)[]];
  const [samples, inChannels, outChannels] = [attributes[0]!, attributes[4]!, attributes[8]!];
  const transposed = row === 'conv3d_norm_relu' && attributes[18] === 1;
  const channelOf = transposed
    ? (i: number) => Math.floor(i / outChannels) % inChannels
    : (i: number) => i % outChannels;
  const negative = source.some((value) => value < 0);
  return [
    quantize(source, (i) => Math.floor((i * samples) / source.length), negative ? 127 : 255),
    quantize(weight, channelOf, 127),
    ...others,
  ];
}

/** Multiples of (largest magnitude of the group / steps). */
function quantize(values: Float64Array, groupOf: (index: number) => number, steps: number): Float64Array {
  const largest: number[] = [];
  for (const [i, value] of values.entries()) largest[groupOf(i)] = Math.max(largest[groupOf(i)] ?? 0, Math.abs(value));
  return values.map((value, i) => {
    const scale = largest[groupOf(i)]! / steps;
    return scale === 0 ? value : Math.round(value / scale) * scale;
  });
}
