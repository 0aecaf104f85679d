/**
 * versemi: one promptable 3-D segmentation network over many medical datasets, trained mostly from unlabelled scans.
 * The same verbs as the command line: plan (fingerprintDatasets, makePlan, makeTimedPlan), preprocess (preprocessDatasets), train,
 * evaluate (evaluateDataset, evaluateMasks), predict (predictVolume, of several models ensembleOf), report (writeRunReport), info
 * (imageInfo, readModel), selftest (runSelftest), bench (runBench). Failures are {@link VersemiError}s with a code. Triples are x, y, z; arrays of voxels
 * are [z, y, x]; lengths are millimetres.
 */

export type { WriteOptions } from './atomic-file.js';
export { runBench } from './bench/cases.js';
export {
  type CompareOptions,
  type ComparisonEvent,
  compareRuns,
  type PlannedRun,
  plannedRuns,
} from './bench/comparison.js';
export type { BenchOptions, BenchProgress, BenchRow } from './bench/run.js';
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
  type Sitting,
  type ValidationSummary,
} from './checkpoints/metadata.js';
export {
  type EncodeOptions,
  loadModelBytes,
  type NetworkChoice,
  networkOf,
  type ParsedModel,
  parseModel,
} from './checkpoints/model-file.js';
export { type Plan, type PlanField, parsePlan, planFields, stringifyPlan } from './config/plan.js';
export { readPlan, writePlan } from './config/read-plan.js';
export {
  type BuiltInTerm,
  type LossTerm,
  type LossValues,
  type OwnTerm,
  type StepGroup,
  type StepTerms,
  stepTerms,
  type TermsPlan,
  totalSteps,
} from './config/steps.js';
export type { MaskFiles, WantedMask } from './datasets/case-masks.js';
export { type OpenDatasetOptions, openDataset } from './datasets/dataset.js';
export type { DescribedCase, Description } from './datasets/description.js';
export type { PlacedSeries } from './datasets/dicom/placed.js';
export type { SeriesFiles } from './datasets/dicom/read-series.js';
export type { ReadVoxels, ReadVoxelsOptions, VolumeFormat } from './datasets/formats.js';
export type { Hdf5Keys, Hdf5Role } from './datasets/hdf5-keys.js';
export type { Region } from './datasets/label-meanings.js';
export type { DatasetLayout, LayoutOptions } from './datasets/layouts.js';
export {
  caseFacts,
  type LoadCaseOptions,
  loadCase,
  loadScan,
  openCase,
  openScan,
  scanFacts,
} from './datasets/load-case.js';
export type { DatatypeName } from './datasets/nifti-header.js';
export { type WriteNrrdOptions, writeNrrd } from './datasets/nrrd-file.js';
export {
  makePhantomDataset,
  type PhantomKind,
  type PhantomKindName,
  type PhantomOptions,
  type PhantomProgress,
  phantomKinds,
} from './datasets/phantom.js';
export {
  type ImageFacts,
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
export type {
  CaseFiles,
  Dataset,
  DatasetCases,
  DatasetFormat,
  LeftOut,
  LoadedCase,
  ReadCasesOptions,
} from './datasets/types.js';
export { type ErrorCode, type ErrorDetails, errorTable, exitCodes, isVersemiError, VersemiError } from './errors.js';
export {
  type ExportedOnnx,
  type ExportProgress,
  exportOnnx,
  type OnnxDescription,
  type OnnxExportOptions,
  type OnnxOptions,
  type OnnxTask,
  onnxOf,
} from './exchange/export-onnx.js';
export {
  type ImportedWeights,
  type ImportOptions,
  type ImportProgress,
  importWeights,
  type Layout,
} from './exchange/import-weights.js';
export { pytorchSafetensors } from './exchange/pytorch-export.js';
export type { AxisOrder } from './exchange/pytorch-layout.js';
export { type ForeignTensor, type StateDict, stateDicts } from './exchange/weights-file.js';
export { type CaseSelection, caseSets, selectionNotes } from './inference/case-selection.js';
export type { DatasetFolder, MatchedDataset } from './inference/dataset-match.js';
export { disagreement } from './inference/disagreement.js';
export {
  type CaseOutcome,
  type EvaluatedCase,
  type EvaluateOptions,
  type Evaluation,
  evaluateCase,
  type LabeledCase,
  type ValidateOptions,
  type ValidateProgress,
  type Validation,
  validate,
} from './inference/evaluate.js';
export {
  type CasePlace,
  type CaseProgress,
  type EvaluateCasesOptions,
  type EvaluateDatasetOptions,
  type EvaluationFacts,
  type EvaluationProgress,
  evaluateDataset,
  evaluateSelected,
  makeEvaluation,
  type SelectedDataset,
  selectCases,
} from './inference/evaluate-dataset.js';
export {
  type EvaluateMasksOptions,
  evaluateMasks,
  evaluateSelectedMasks,
  type MaskTask,
  makeMaskEvaluation,
  type SelectedMasks,
  type SelectMasksOptions,
  selectMasks,
} from './inference/evaluate-masks.js';
export type { SelectOptions, SelectProgress, TrainedBy } from './inference/evaluation-cases.js';
export { labelMaps, type PaintedMap, type PaintedTask, paintedTasks } from './inference/label-map.js';
export { loadParts } from './load-parts.js';
export type { RowGroups } from './losses/overlap.js';
export type { OwnLossTerm, TermInputs } from './losses/own-term.js';
export { supervisedLoss } from './losses/supervised.js';
export type { PairedDifference } from './metrics/paired.js';
export { bufferSpecs, networkConfig, parameterSpecs } from './model/layers.js';
export { VersemiNetwork } from './model/network.js';
export type { CaseJob } from './preprocessing/case-job.js';
export type { ContentKeys } from './preprocessing/content-key.js';
export type { KnownIntensities } from './preprocessing/dataset-facts.js';
export {
  type CaseFingerprint,
  type ClassFingerprint,
  type DatasetFingerprint,
  type DatasetSource,
  type Fingerprint,
  type FingerprintOptions,
  type FingerprintProgress,
  fingerprintDatasets,
  type IntensitySummary,
} from './preprocessing/fingerprint.js';
export type { ResampledGrid } from './preprocessing/grid.js';
export { type Method, methodNames, planForMethod } from './preprocessing/methods.js';
export type { LabelPieces } from './preprocessing/pieces.js';
export { type Explanation, makePlan, type PlanningOptions, type PlanningResult } from './preprocessing/planning.js';
export { preprocessCase } from './preprocessing/preprocess-case.js';
export {
  type CaseRole,
  type MadeEntry,
  type PlannedCase,
  type PreprocessEvent,
  type PreprocessedData,
  type PreprocessOptions,
  preprocessCases,
  preprocessDatasets,
} from './preprocessing/preprocess-datasets.js';
export type { LabelMap, PreprocessedCase } from './preprocessing/preprocessed-case.js';
export type { RandomStream } from './random.js';
export type { Communicator, PendingSum, Traffic } from './ranks/communicator.js';
export { casesFromCsv, casesToCsv } from './reports/cases-csv.js';
export {
  type ComparedMethod,
  type ComparedRun,
  type ComparisonSummary,
  type OverSeeds,
  summarizeComparison,
} from './reports/comparison.js';
export { writeComparisonReport } from './reports/comparison-report.js';
export { writeEvaluation, writeOverlay, writeSlices } from './reports/evaluation-folder.js';
export { type ReportProgress, type RunReportOptions, runReport, writeRunReport } from './reports/run-report.js';
export type { ProgramVersion } from './root.js';
export type { FieldArrays, FieldName, FieldPlan, StepBatch } from './sampling/fields.js';
export type { Augmentation, AugmentedPatch } from './sampling/own-augmentations.js';
export { createPrefetcher, type Prefetcher, type PrefetcherOptions } from './sampling/prefetcher.js';
export type {
  LabeledRecipe,
  MixRecipe,
  PatchAugmentation,
  PatchRecipe,
  StepPrompts,
  StepRecipe,
  UnlabeledRecipe,
} from './sampling/recipe.js';
export type { SamplingData } from './sampling/rows.js';
export { createSampler, type Sampler, type SamplerOptions } from './sampling/sampler.js';
export type { BatchShare } from './sampling/share.js';
export type { ServedModel } from './server/models.js';
export { type RunningServer, type ServedRequest, type ServerOptions, startServer } from './server/server.js';
export { type CaseResult as SelftestResult, runSelftest, type SelftestOptions } from './tfjs/selftest/index.js';
export { openTrainingData, type TrainingData } from './training/data.js';
export type * from './training/events.js';
export type { OptimizerState } from './training/optimizer.js';
export type { PendingTensor, RankSums } from './training/rank-sums.js';
export { learningRateAt, type ScheduleSettings } from './training/schedule.js';
export {
  createState,
  disposeState,
  runStep,
  type StepResult,
  type TrainingPlan,
  type TrainingState,
} from './training/step.js';
export { hostStep, type InputSource, type StepData, type StepValues } from './training/step-data.js';
export {
  makeTimedPlan,
  overnightHours,
  type PlannedTime,
  type TimedPlanningOptions,
  type TimedPlanningResult,
} from './training/timed-plan.js';
export { type TrainOptions, train } from './training/train.js';
export { type StageTime, type StepTimes, type TrialOptions, type TrialProgress, timeSteps } from './training/trial.js';
export type { Validator } from './training/validator.js';
export type { PatchBox } from './wasm/host-box.js';
