export {
  type CaseFingerprint,
  type ClassFingerprint,
  type DatasetFingerprint,
  type DatasetSource,
  type Fingerprint,
  type FingerprintOptions,
  fingerprintDatasets,
  type IntensitySummary,
} from './fingerprint.js';
export type { Region, ResampledGrid } from './grid.js';
export { type Explanation, makePlan, type PlanningOptions, type PlanningResult } from './planning.js';
export { type LoadedImage, preprocessCase } from './preprocess-case.js';
export {
  type CaseRole,
  defaultCacheFolder,
  type PreprocessEvent,
  type PreprocessedData,
  type PreprocessOptions,
  preprocessCases,
  preprocessDatasets,
} from './preprocess-datasets.js';
export { restoreLabels, restorer } from './restore.js';
export type { PreprocessedCase } from './types.js';
