/**
 * versemi in a page: a model and scans from bytes, masks, metrics, on the device `wasm`. Any bundler takes it along; nothing here
 * imports a `node:` module. The same functions are exported by `versemi`.
 *
 *     await selectDevice('wasm');
 *     const model = loadModelBytes(new Uint8Array(await (await fetch('model.safetensors')).arrayBuffer()));
 *     const scan = await openScanBytes(new Uint8Array(await file.arrayBuffer()), { name: file.name });
 *     const [{ mask }] = await predictVolume(model, scan, { tasks: ['left-atrium'] });
 *     const bytes = await encodeNifti(mask);
 */

export type {
  LossSummary,
  ModelHistory,
  ModelImport,
  ModelMetadata,
  ModelProvenance,
  ValidationSummary,
} from './checkpoints/metadata.js';
export { loadModelBytes, type NetworkChoice, type ParsedModel, parseModel } from './checkpoints/model-file.js';
export type { Plan, PlanDataset, PlanTask } from './config/schema.js';
export { encodeNifti, type OpenScanBytesOptions, openScanBytes } from './datasets/nifti-bytes.js';
export type { SlabbedVolume } from './datasets/nifti-encode.js';
export { type ErrorCode, type ErrorDetails, errorTable, isVersemiError, VersemiError } from './errors.js';
export { ensembleOf } from './inference/ensemble.js';
export {
  type FitField,
  fitFields,
  type Misfit,
  misfitText,
  noTaskFits,
  type ScanToFit,
  type TaskFit,
  taskFits,
} from './inference/fit.js';
export { type MaskIntensity, maskIntensities } from './inference/measure.js';
export {
  estimateMemory,
  explain as explainMemory,
  type MemoryEstimate,
  type MemoryOptions,
  type ScanInMemory,
} from './inference/memory.js';
export {
  type PredictOptions,
  type PredictProgress,
  predictVolume,
  predictWindows,
  type TaskPrediction,
  type WindowOptions,
} from './inference/predict.js';
export {
  type InferenceOptions,
  type InferenceSettings,
  type Segmenter,
  syntheticTaskName,
} from './inference/segmenter.js';
export type { MaskPair, Metric, OwnMetrics } from './metrics/own-metrics.js';
export {
  type CaseMetrics,
  type DistanceName,
  type Distances,
  diceOf,
  distanceNames,
  type MaskCounts,
  type MetricOptions,
  type Overlap,
  segmentationMetrics,
} from './metrics/segmentation-metrics.js';
export { type CaseResult, type MetricSummary, type Summary, summarize, summarizeValues } from './metrics/summary.js';
export type { Architecture, NetworkTensors, Normalization } from './model/architecture.js';
export type { NamedValues, Prompts, SegmentationNetwork, VersemiNetwork } from './model/network.js';
export type { Initialization, NetworkConfig, ParameterSpec } from './model/shapes.js';
export type { TrunkOutput } from './model/vnet.js';
export type { Part } from './parts.js';
export { intensityOf, type ScanFacts } from './preprocessing/scan-facts.js';
export { toCanonical, toStored } from './scans/canonical.js';
export { MaskVolume } from './scans/mask-volume.js';
export { type Scan, scanOf, volumeOf } from './scans/scan.js';
export type { Device, DeviceMemory, DeviceSettings, Precision } from './tfjs/devices/device.js';
export { type DeviceChoice, type SelectedDevice, selectDevice } from './tfjs/index.js';
export { addParts, type Parts } from './training/parts.js';
export type { VerbOptions } from './verb-options.js';
export type { Geometry } from './volume/orientation.js';
export type { Affine, HeaderForms, StoredGeometry, Triple, Volume, VoxelArray } from './volume/volume.js';
export type { PackedMask } from './wasm/host-mask.js';
export type { Box } from './wasm/host-volume.js';
