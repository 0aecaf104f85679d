import type { NumberArray } from '../reference/plain-kernel.js';
import { plainKernels } from '../reference/plain-kernels.js';
import { type KernelName, kernelTable } from '../table/kernel-table.js';
import type { Rounding } from './precision.js';

/**
 * Rows that a device may compute with rounded operands, and which of their tensors it may keep in that precision: weights as
 * operands only, activations in memory. Statistics and parameters are float32 everywhere.
 */
const loweredTensors: Partial<Record<KernelName, readonly string[]>> = {
  conv3d_forward: ['input', 'weight', 'output'],
  conv3d_grad_input: ['gradOutput', 'weight', 'gradInput'],
  conv3d_grad_weight: ['input', 'gradOutput'],
  conv3d_norm_relu: ['input', 'weight', 'skip?', 'output', 'raw?'],
  instance_norm_relu: ['input', 'output'],
  instance_norm_relu_grad: ['gradOutput', 'raw', 'gradRaw'],
  batch_norm_relu: ['input', 'output'],
  batch_norm_relu_grad: ['gradOutput', 'input', 'gradInput'],
  dynamic_head: ['features'],
  dynamic_head_grad: ['features', 'gradFeatures'],
};

export function isLowered(row: KernelName): boolean {
  return loweredTensors[row] !== undefined;
}

/** Positions of the tensors of a row that are rounded, inputs or outputs. */
export function loweredPositions(row: KernelName, of: 'inputs' | 'outputs'): number[] {
  const { inputs, outputs } = kernelTable[row];
  const [names, first] = of === 'inputs' ? [inputs, 0] : [outputs, inputs.length];
  const lowered = loweredTensors[row] ?? [];
  return names.flatMap((name, i) => (lowered.includes(name) ? [first + i] : []));
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
    plainKernels[row](all, attributes);
    roundAll(kept, round);
    // The forward problem's input or output is the result: D, H, W, channels.
    const at = attributes[18] === 1 ? 1 : 5;
    const voxels = attributes[at]! * attributes[at + 1]! * attributes[at + 2]!;
    const norm = [attributes[0]!, voxels, attributes[at + 3]!, attributes[19]!, attributes[20]!];
    plainKernels.instance_norm_relu([kept, output!, mean, rstd], norm);
    if (skip) for (let i = 0; i < output!.length; i++) output![i]! += skip[i]!;
    roundAll(output!, round);
    return;
  }
  plainKernels[row](all, attributes, stored ? round : undefined);
  for (const i of outputs) if (all[i]) roundAll(all[i], round);
}

function roundAll(values: NumberArray, round: Rounding): void {
  // Assigning NaN would change its payload, by which the selftest knows memory that nobody wrote.
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i]!)) values[i] = round(values[i]!);
}
