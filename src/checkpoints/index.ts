export { type Checkpoint, type CheckpointState, loadCheckpoint, saveCheckpoint } from './checkpoint.js';
export { type LoadedModel, loadModel, readModel, saveModel } from './files.js';
export {
  type LossSummary,
  type ModelHistory,
  type ModelMetadata,
  type ModelProvenance,
  modelMetadata,
  type ValidationSummary,
} from './metadata.js';
export { type NetworkChoice, networkOf, type ParsedModel, parseModel } from './model-file.js';
