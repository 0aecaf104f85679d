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

export type { ModelMetadata } from './checkpoints/metadata.js';
export { loadModelBytes, type NetworkChoice, type ParsedModel, parseModel } from './checkpoints/model-file.js';
export { encodeNifti, type OpenScanBytesOptions, openScanBytes } from './datasets/nifti-bytes.js';
export { type ErrorCode, type ErrorDetails, errorTable, isVersemiError, VersemiError } from './errors.js';
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
  type PredictOptions,
  type PredictProgress,
  predictVolume,
  predictWindows,
  type TaskPrediction,
  type WindowOptions,
} from './inference/predict.js';
export { type InferenceOptions, type Segmenter, syntheticTaskName } from './inference/segmenter.js';
export {
  type CaseMetrics,
  type DistanceName,
  type Distances,
  diceOf,
  distanceNames,
  type MetricOptions,
  type Overlap,
  segmentationMetrics,
} from './metrics/segmentation-metrics.js';
export { type CaseResult, type MetricSummary, type Summary, summarize, summarizeValues } from './metrics/summary.js';
export type { VersemiNetwork } from './model/network.js';
export { intensityOf, type ScanFacts } from './preprocessing/scan-facts.js';
export { toCanonical, toStored } from './scans/canonical.js';
export { MaskVolume } from './scans/mask-volume.js';
export { type Scan, scanOf, volumeOf } from './scans/scan.js';
export { type DeviceChoice, type SelectedDevice, selectDevice } from './tfjs/index.js';
export type { Affine, StoredGeometry, Triple, Volume, VoxelArray } from './volume/volume.js';
