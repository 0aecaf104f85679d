/** What the page and its worker say to each other: calls with answers, and reports while a prediction runs. */
import type { CaseMetrics } from '../src/metrics/segmentation-metrics.js';
import type { Affine, Triple } from '../src/volume/volume.js';

/** A file that was dropped or chosen; its name is the path in the folder that was dropped. */
export interface GivenFile {
  readonly name: string;
  readonly blob: Blob;
}

/** A scan that can be opened: a file, or a series of DICOM images. */
export interface ScanEntry {
  readonly id: number;
  readonly name: string;
  /** Modality, size and other facts, for people. */
  readonly facts: string;
}

export interface ModelEntry {
  readonly id: number;
  readonly name: string;
  /** Colour: '#rrggbb' where the plan names one. */
  readonly tasks: readonly { readonly name: string; readonly dataset: string; readonly colour?: string }[];
}

/** Whether the scan that is open is like those that a task was trained on. */
export interface TaskFitting {
  readonly task: string;
  /** What speaks against it; empty where nothing does. */
  readonly reason: string;
}

/** What files were found to be. */
export interface Intake {
  readonly scans: readonly ScanEntry[];
  readonly models: readonly ModelEntry[];
  /** What a person should know: files that were left out, and why. */
  readonly notices: readonly string[];
}

/** A scan on the canonical grid (RAS+), on which the page shows and corrects everything. */
export interface OpenedScan {
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  readonly affine: Affine;
  /** True where the scan is a DICOM series, to whose images SEG and RTSTRUCT can refer. */
  readonly isDicom: boolean;
  /** Intensities at the percentiles 0.5 and 99.5. */
  readonly automaticWindow: readonly [number, number];
  readonly isCt: boolean;
  readonly notices: readonly string[];
}

export type Grid = Pick<OpenedScan, 'sizeVoxels' | 'spacingMm' | 'affine'>;

/** Masks, 0 and 1, of some structures. */
export interface Preview {
  readonly tasks: readonly string[];
  readonly masks: readonly Uint8Array[];
  /** Where they lie: the canonical grid, or of large scans one that has fewer voxels. */
  readonly grid: Grid;
}

export interface Progress {
  readonly window: number;
  readonly windows: number;
  readonly pass: number;
  readonly passes: number;
  /** Masks so far; absent where nothing was added that is worth showing. */
  readonly preview?: Preview;
}

export interface Measured {
  readonly voxels: number;
  readonly volumeMl: number;
  /** In units of the scan; null where the mask is empty. */
  readonly meanIntensity: number | null;
}

/** A mask on the canonical grid, 0 and 1. */
export interface Predicted {
  readonly task: string;
  readonly mask: Uint8Array;
  readonly measured: Measured;
}

export const saveFormats = ['nifti', 'labels', 'nrrd', 'seg', 'rtstruct'] as const;
export type SaveFormat = (typeof saveFormats)[number];

export interface NamedMask {
  readonly task: string;
  readonly colour: Triple;
  readonly data: Uint8Array;
}

export interface SavedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface Saved {
  readonly files: readonly SavedFile[];
  /** What a person should know of the files. */
  readonly notices: readonly string[];
}

/** A label map for the dataset of the server. */
export interface LabelMap {
  readonly bytes: Uint8Array;
  /** Task of each value, 1 first. */
  readonly tasks: readonly string[];
}

/** The calls that the worker answers. Each takes one argument, as it is posted. */
export interface Calls {
  take(files: readonly GivenFile[]): Intake;
  /** `nifti`: the scan as an uncompressed NIfTI file, for the viewer, which alone keeps it. */
  open(id: number): { readonly opened: OpenedScan; readonly nifti: ArrayBuffer };
  estimate(wanted: PredictionWanted): { readonly text: string; readonly parts: number };
  fits(model: number): readonly TaskFitting[];
  predict(wanted: PredictionWanted): PredictionFound;
  cancel(nothing: null): null;
  measure(mask: Uint8Array): Measured;
  reference(files: readonly GivenFile[]): { readonly name: string; readonly labels: readonly string[] };
  compare(wanted: { readonly mask: Uint8Array; readonly label: number | 'all' }): CaseMetrics;
  grow(wanted: GrowWanted): Uint8Array;
  save(wanted: SaveWanted): Saved;
  labelMap(masks: readonly NamedMask[]): LabelMap;
}

export interface PredictionWanted {
  readonly model: number;
  readonly tasks: readonly string[];
  readonly maxMemoryBytes: number;
  /** True: it is of interest how much the tasks disagree. */
  readonly disagreement: boolean;
}

export interface PredictionFound {
  readonly predictions: readonly Predicted[];
  readonly threads: number;
  /** How much the tasks disagree with the synthetic task; absent where the model was not trained to agree, or not all tasks were asked for. */
  readonly disagreement?: number;
}

export interface GrowWanted {
  readonly seed: Triple;
  /** Voxels join whose value differs from the seed's by at most this, in units of the scan. */
  readonly tolerance: number;
  readonly radiusMm: number;
}

export interface SaveWanted {
  readonly format: SaveFormat;
  readonly masks: readonly NamedMask[];
  readonly deidentify: boolean;
}

export type Request = { readonly id: number; readonly call: keyof Calls; readonly argument: unknown };
export type Reply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: { readonly message: string; readonly code?: string } }
  | { readonly id: number; readonly progress: Progress };
