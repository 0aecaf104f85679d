import { encodeSafetensors, type TensorToStore } from '../checkpoints/safetensors.js';
import { levelWidth, type NetworkConfig } from '../model/layers.js';
import type { NamedValues } from '../model/network.js';
import {
  type AxisOrder,
  controllerRows,
  headNames,
  headVectors,
  requireVersemiNetwork,
  toChannelsFirst,
  trunkPairs,
} from './pytorch-layout.js';

/**
 * A network in the names and the layout of the released PyTorch network, as safetensors. Rows of the controller that nothing reads are
 * zero; the counters of the batch normalisations, which PyTorch supplies itself, are left out.
 * @param values parameters and buffers by name
 * @param axes order of the spatial axes that the PyTorch network will see
 * @param metadata texts of the header
 * @throws VERSEMI_FORMAT_UNSUPPORTED for a network of one's own
 * @returns the bytes of the file in parts, to be written one after the other
 */
export function pytorchSafetensors(
  config: NetworkConfig,
  values: NamedValues,
  axes: AxisOrder,
  metadata: Readonly<Record<string, string>>,
): Uint8Array[] {
  requireVersemiNetwork(config);
  const tensors: TensorToStore[] = [];
  const add = (name: string, shape: readonly number[], data: Float32Array) =>
    tensors.push({ name, shape, data, dtype: 'F32' });
  const value = (name: string) => values.get(name)!;
  type Kernel = [number, number, number, number, number];
  for (const { ours, theirs, shape } of trunkPairs(config)) {
    const data = value(ours.name);
    add(theirs, shape, shape.length === 1 ? data : toChannelsFirst(data, ours.shape as Kernel, axes));
  }
  for (const [ours, theirs] of Object.entries(headVectors)) add(theirs, [value(ours).length], value(ours));
  const [width, head, prompts] = [levelWidth(config, 0), config.headWidth, config.tasks + 1];
  add(headNames.prehead, [head, width, 1, 1, 1], toChannelsFirst(value('prehead.weight'), [1, 1, 1, width, head]));

  const { rows, used } = controllerRows(config);
  const channels = levelWidth(config, config.levels - 1);
  const inputs = channels + prompts;
  const weight = new Float32Array(rows * inputs);
  const bias = new Float32Array(rows);
  for (const [i, row] of used.entries()) {
    bias[row] = value('controller.bias')[i]!;
    for (let input = 0; input < inputs; input++) {
      const [matrix, at] = input < channels ? ['controller.weight', input] : ['controller.prompt', input - channels];
      weight[row * inputs + input] = value(matrix as string)[(at as number) * used.length + i]!;
    }
  }
  add(headNames.controllerWeight, [rows, inputs, 1, 1, 1], weight);
  add(headNames.controllerBias, [rows], bias);
  return encodeSafetensors(tensors, metadata);
}
