import type { Device, Precision } from '../devices/device.js';
import type { NumberArray } from '../reference/plain-kernel.js';
import { plainKernels, runPlain } from '../reference/plain-kernels.js';
import { buffersOf, unpackAttributes } from '../table/call-check.js';
import type { KernelName } from '../table/kernel-table.js';
import type { Rounding } from './precision.js';

/** Rows that a device of lower precision computes with rounded operands: weights as operands only, activations in memory too. */
const loweredRows = /^(conv3d|instance_norm|batch_norm|dynamic_head)/;

export function isLowered(row: KernelName): boolean {
  return loweredRows.test(row);
}

/** The precision in which a device may compute a row. */
export function precisionOf({ precision = 'float32' }: Pick<Device, 'precision'>, row: KernelName): Precision {
  return isLowered(row) ? precision : 'float32';
}

/** Positions of the tensors of a row that are rounded, inputs or outputs: its activations, and the weights of convolutions. */
export function loweredPositions(row: KernelName, of: 'inputs' | 'outputs'): number[] {
  if (!isLowered(row)) return [];
  return buffersOf(row).flatMap(({ name, output, narrow }, i) =>
    output === (of === 'outputs') && (narrow || name === 'weight') ? [i] : [],
  );
}

/**
 * The plain kernel of a row with its operands rounded, and its results as they are stored: the plain version in a lowered
 * precision. The fused convolution stores what it normalises, and the head keeps hidden layers, so these are rounded in between.
 * @param stored whether activations are kept rounded (bfloat16), or operands alone are (TF32)
 */
export function runLowered(
  row: KernelName,
  buffers: readonly (NumberArray | null)[],
  attributes: ArrayLike<number>,
  round: Rounding,
  stored: boolean,
): void {
  const all = buffers.slice();
  for (const i of loweredPositions(row, 'inputs')) {
    const operand = all[i];
    if (operand && (stored || row.startsWith('conv3d'))) all[i] = operand.map(round);
  }
  const outputs = stored ? loweredPositions(row, 'outputs') : [];
  if (row === 'conv3d_norm_relu' && stored) {
    const [, , skip, output, raw = null, mean = null, rstd = null] = all as [null, null, ...(NumberArray | null)[]];
    const kept = raw ?? output!.slice();
    all[4] = kept;
    runPlain(row, all, attributes);
    roundAll(kept, round);
    const { n, relu, epsilon, transposed, ...sizes } = unpackAttributes('conv3d_norm_relu', attributes);
    const channels = transposed ? sizes.inC : sizes.outC;
    const voxels = output!.length / (n * channels);
    plainKernels.instance_norm_relu([kept, output!, mean, rstd], { n, voxels, channels, relu, epsilon });
    if (skip) for (let i = 0; i < output!.length; i++) output![i]! += skip[i]!;
    roundAll(output!, round);
    return;
  }
  runPlain(row, all, attributes, stored ? round : undefined);
  for (const i of outputs) if (all[i]) roundAll(all[i], round);
}

function roundAll(values: NumberArray, round: Rounding): void {
  // Assigning NaN would change its payload, by which the selftest knows memory that nobody wrote.
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i]!)) values[i] = round(values[i]!);
}
