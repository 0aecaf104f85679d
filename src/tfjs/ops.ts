/**
 * The ops of the network that TF.js does not have, with their gradients. Each runs on every versemi backend and, in plain
 * TypeScript, on TF.js's own cpu backend.
 */
import './gradients.js';
import { registerCpuKernels } from './cpu-host.js';

registerCpuKernels();

export { type Conv3dNormReluOptions, conv3dNormRelu } from './ops/conv3d-norm-relu.js';
export { variableGradients } from './ops/differentiable.js';
export { aggregateMax, dynamicHead, dynamicHeadParameterCount } from './ops/dynamic-head.js';
export {
  type BatchNormReluOptions,
  type BatchNormReluResult,
  batchNormRelu,
  instanceNormRelu,
} from './ops/normalization.js';
export {
  type AdamSettings,
  adamStep,
  concatGradients,
  copyInto,
  emaStep,
  packGradients,
} from './ops/optimizer.js';
export { overlapSums } from './ops/overlap-sums.js';
export { cutMix, cutPatches } from './ops/patches.js';
export { recomputed } from './ops/recomputed.js';
