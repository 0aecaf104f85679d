/**
 * The ops of the network that TF.js does not have, with their gradients. Each runs on every versemi backend and, in plain
 * TypeScript, on TF.js's own cpu backend.
 */
import '../backend/gradients.js';
import { registerCpuKernels } from '../backend/cpu-host.js';

registerCpuKernels();

export { type BatchParts, sumOverParts, withBatchParts } from './batch-parts.js';
export { type Conv3dNormReluOptions, conv3dNormRelu } from './conv3d-norm-relu.js';
export { variableGradients } from './differentiable.js';
export { aggregateMax, dynamicHead, dynamicHeadParameterCount } from './dynamic-head.js';
export {
  type BatchNormReluOptions,
  type BatchNormReluResult,
  batchNormRelu,
  instanceNormRelu,
} from './normalization.js';
export {
  type AdamSettings,
  adamStep,
  concatGradients,
  copyInto,
  emaStep,
  packGradients,
  type SgdSettings,
  sgdStep,
} from './optimizer.js';
export { overlapSums, overlapSumsOfRows } from './overlap-sums.js';
export { cutMix, cutPatches } from './patches.js';
export { startSumOverRanks } from './rank-sums.js';
export { recomputed } from './recomputed.js';
