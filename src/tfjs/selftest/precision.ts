import type { Device, Precision } from '../device.js';
import type { KernelName } from '../kernel-table.js';

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

/** The precision in which a device may compute a row. */
export function precisionOf(device: Pick<Device, 'precision'>, row: KernelName): Precision {
  return lowered.has(row) ? (device.precision ?? 'float32') : 'float32';
}

export function roundoffOf(precision: Precision): number {
  return unitRoundoff[precision];
}

/** A number as the operands of that precision hold it: nearest, ties to even. */
export function rounded(value: number, precision: Precision): number {
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
