/**
 * versemi: one promptable 3-D segmentation network over many medical datasets, trained mostly from unlabelled scans.
 * The same verbs as the command line: plan (fingerprintDatasets, makePlan, makeTimedPlan), preprocess (preprocessDatasets), train,
 * evaluate (evaluateDataset), predict (predictVolume), report (writeRunReport), info (imageInfo, readModel), selftest
 * (runSelftest), bench (runBench). Failures are {@link VersemiError}s with a code. Triples are x, y, z; arrays of voxels
 * are [z, y, x]; lengths are millimetres.
 */

export { runBench } from './bench/cases.js';
export {
  type CompareOptions,
  type ComparisonEvent,
  compareRuns,
  type PlannedRun,
  plannedRuns,
} from './bench/comparison.js';
export type { BenchListener, BenchOptions, BenchRow } from './bench/run.js';
// What a page can use too.
export * from './browser.js';
export type { DatasetRecord, RecordedCase } from './checkpoints/case-record.js';
export { type Checkpoint, type CheckpointState, loadCheckpoint, saveCheckpoint } from './checkpoints/checkpoint.js';
export { type LoadedModel, loadModel, readModel, saveModel } from './checkpoints/files.js';
export {
  type LossSummary,
  type ModelHistory,
  type ModelMetadata,
  type ModelProvenance,
  modelMetadata,
  type ValidationSummary,
} from './checkpoints/metadata.js';
export {
  loadModelBytes,
  type NetworkChoice,
  networkOf,
  type ParsedModel,
  parseModel,
} from './checkpoints/model-file.js';
export { type Plan, parsePlan, planFields, stringifyPlan } from './config/plan.js';
export { readPlan, writePlan } from './config/read-plan.js';
export { type OpenDatasetOptions, openDataset } from './datasets/dataset.js';
export { type LoadCaseOptions, loadCase, loadScan, openCase, openScan } from './datasets/load-case.js';
export { type WriteNrrdOptions, writeNrrd } from './datasets/nrrd-file.js';
export { makePhantomDataset, type PhantomKindName, type PhantomOptions, phantomKinds } from './datasets/phantom.js';
export {
  type ImageInfo,
  imageInfo,
  type ReadVolumeOptions,
  readVolume,
  type WriteNiftiOptions,
  writeNifti,
} from './datasets/read-volume.js';
export { type SavedLabel, type SaveLabelOptions, saveLabel } from './datasets/save-label.js';
export {
  type ChannelChoice,
  type FindScansOptions,
  type FoundScans,
  findScans,
  type ScanFiles,
  scanSource,
} from './datasets/scan-files.js';
export { type ResolvedSplit, resolveSplit } from './datasets/splits.js';
export type { CaseFiles, Dataset, DatasetFormat, LoadedCase } from './datasets/types.js';
export { type ErrorCode, type ErrorDetails, errorTable, exitCodes, isVersemiError, VersemiError } from './errors.js';
export {
  type ExportedOnnx,
  exportOnnx,
  type OnnxDescription,
  type OnnxExportOptions,
  onnxOf,
} from './exchange/export-onnx.js';
export { type ImportedWeights, type ImportOptions, importWeights } from './exchange/import-weights.js';
export { pytorchSafetensors } from './exchange/pytorch-export.js';
export type { AxisOrder } from './exchange/pytorch-layout.js';
export { type ForeignTensor, type StateDict, stateDicts } from './exchange/weights-file.js';
export { type CaseSelection, caseSets, selectionNotes } from './inference/case-selection.js';
export { disagreement } from './inference/disagreement.js';
export {
  type CaseOutcome,
  type EvaluatedCase,
  type EvaluateOptions,
  type Evaluation,
  evaluateCase,
  type Validation,
  validate,
} from './inference/evaluate.js';
export {
  type CaseProgress,
  type EvaluateDatasetOptions,
  type EvaluationFacts,
  type EvaluationProgress,
  evaluateDataset,
  evaluateSelected,
  makeEvaluation,
  type SelectedDataset,
  selectCases,
} from './inference/evaluate-dataset.js';
export { labelMaps, type PaintedMap, type PaintedTask, paintedTasks } from './inference/label-map.js';
export { VersemiNetwork } from './model/network.js';
export {
  type Fingerprint,
  type FingerprintOptions,
  fingerprintDatasets,
} from './preprocessing/fingerprint.js';
export { type Method, methodNames, planForMethod } from './preprocessing/methods.js';
export { makePlan, type PlanningOptions, type PlanningResult } from './preprocessing/planning.js';
export { preprocessCase } from './preprocessing/preprocess-case.js';
export {
  type PreprocessEvent,
  type PreprocessOptions,
  preprocessCases,
  preprocessDatasets,
} from './preprocessing/preprocess-datasets.js';
export type { LabelMap, PreprocessedCase } from './preprocessing/preprocessed-case.js';
export { casesFromCsv, casesToCsv } from './reports/cases-csv.js';
export { type ComparisonSummary, summarizeComparison } from './reports/comparison.js';
export { writeComparisonReport } from './reports/comparison-report.js';
export { writeEvaluation, writeOverlay } from './reports/evaluation-folder.js';
export { type RunReportOptions, runReport, writeRunReport } from './reports/run-report.js';
export { type RunningServer, type ServerOptions, startServer } from './server/server.js';
export { type CaseResult as SelftestResult, runSelftest } from './tfjs/selftest/index.js';
export type * from './training/events.js';
export {
  makeTimedPlan,
  overnightHours,
  type PlannedTime,
  type TimedPlanningOptions,
  type TimedPlanningResult,
} from './training/timed-plan.js';
export { type TrainOptions, train } from './training/train.js';
export { type StageTime, type StepTimes, type TrialOptions, timeSteps } from './training/trial.js';
