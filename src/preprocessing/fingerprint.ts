import { resolve } from 'node:path';
import type { ScanRanges } from '../config/facts-schema.js';
import type { PlanDataset } from '../config/plan.js';
import { openPlanDataset } from '../datasets/dataset.js';
import type { Region } from '../datasets/label-meanings.js';
import { channelIndex, loadCase } from '../datasets/load-case.js';
import { resolveSplit } from '../datasets/splits.js';
import type { Dataset, LeftOut, LoadedCase } from '../datasets/types.js';
import { joinedFloats } from '../datasets/voxel-arrays.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import type { VerbOptions } from '../verb-options.js';
import { voxelVolumeMm3 } from '../volume/affine.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { type LabelPieces, meanPieces, piecesOfCase } from './pieces.js';
import { airHu, modalityOf, scanRanges } from './scan-facts.js';

/** A dataset to look at: as much of a plan's entry as is known before there is a plan. */
export interface DatasetSource {
  /** Folder of the dataset. */
  readonly path: string;
  /** Default: the name that the dataset gives itself, or its folder. */
  readonly name?: string;
  readonly format?: PlanDataset['format'];
  readonly keys?: PlanDataset['keys'];
  readonly filesOutside?: PlanDataset['filesOutside'];
  readonly channel?: number | string;
  readonly split?: Partial<PlanDataset['split']>;
}

/** Intensities of a set of voxels. */
export interface IntensitySummary {
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly standardDeviation: number;
  /** 0.5, 50 and 99.5 percentile. */
  readonly percentile005: number;
  readonly median: number;
  readonly percentile995: number;
}

/** Size, spacing and intensities of one case. */
export interface CaseFingerprint {
  readonly id: string;
  readonly labeled: boolean;
  /** Canonical orientation. */
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  readonly intensity: IntensitySummary;
  /** Share of the voxels that are exactly 0. */
  readonly zeroFraction: number;
}

/** One class of the labelled cases. */
export interface ClassFingerprint {
  readonly value: number;
  readonly name: string;
  /** Labelled cases that have a voxel of it. */
  readonly cases: number;
  /** Median over those cases. */
  readonly medianVolumeMm3: number;
}

/** What a plan is derived from: sizes, spacings, intensities and classes of one dataset. */
export interface DatasetFingerprint {
  readonly name: string;
  readonly path: string;
  readonly format: PlanDataset['format'];
  readonly keys?: PlanDataset['keys'];
  readonly filesOutside?: PlanDataset['filesOutside'];
  readonly channel: number | string;
  readonly split: PlanDataset['split'];
  readonly modality: 'CT' | 'MR';
  readonly modalityReason: string;
  /** What is recorded of the scans in the plan. */
  readonly scans: ScanRanges;
  readonly labeledCases: number;
  readonly unlabeledCases: number;
  /** All cases of the dataset, and what lies in its folder and belongs to none. */
  readonly totalCases: number;
  readonly validationCases: number;
  readonly leftOut: readonly LeftOut[];
  /** What a person should know of the cases. */
  readonly remarks?: readonly string[];
  /** Where the dataset has regions: each is a task. */
  readonly regions?: readonly Region[];
  readonly ignoredLabel?: number;
  /** The cases that were looked at: all, or `maximumCases` evenly spread. */
  readonly cases: readonly CaseFingerprint[];
  readonly classes: readonly ClassFingerprint[];
  /** Which labels come in one piece, by up to ten labelled cases; absent or shorter where there are too many labels to look. */
  readonly pieces?: readonly LabelPieces[];
  /** Over up to 10,000 foreground voxels of each labelled case; null without labelled cases. */
  readonly foreground: IntensitySummary | null;
}

/** The fingerprints of all datasets of a plan to be. */
export interface Fingerprint {
  readonly datasets: readonly DatasetFingerprint[];
}

/** How datasets are looked at. */
export interface FingerprintOptions extends VerbOptions<FingerprintProgress> {
  readonly seed?: number;
  /** Cases of each role looked at per dataset. Default 200. */
  readonly maximumCases?: number;
}

/** A case has been looked at. */
export interface FingerprintProgress {
  readonly dataset: string;
  readonly id: string;
  /** Counts from 1 to total, the cases of this dataset that are looked at. */
  readonly index: number;
  readonly total: number;
}

/** Foreground voxels per case that count for the intensities, as in nnU-Net. */
const foregroundVoxelsPerCase = 10000;

/** Labelled cases per dataset in which pieces of labels are counted. */
const mostCasesForPieces = 10;

/**
 * Looks at every dataset: sizes, spacings, intensities, classes. Labels are read of labelled cases only.
 * @throws what `openDataset`, `resolveSplit` and `loadCase` throw; VERSEMI_ABORTED by `signal`
 */
export async function fingerprintDatasets(
  sources: readonly DatasetSource[],
  options: FingerprintOptions = {},
): Promise<Fingerprint> {
  const datasets: DatasetFingerprint[] = [];
  for (const source of sources) {
    const found = await fingerprintDataset(source, options);
    const same = datasets.filter(({ name }) => name === found.name || name.startsWith(`${found.name}-`)).length;
    datasets.push(same === 0 ? found : { ...found, name: `${found.name}-${same + 1}` });
  }
  return { datasets };
}

/** Text as a name that a plan allows. */
export function planName(text: string): string {
  return (
    text
      .trim()
      // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal would obey them
      .replace(/[\s/\\\u0000-\u001f\u007f-\u009f]+/g, '-')
      .slice(0, 60) || 'dataset'
  );
}

async function fingerprintDataset(
  source: DatasetSource,
  { seed = 0, maximumCases = 200, onProgress, onNotice, signal }: FingerprintOptions,
): Promise<DatasetFingerprint> {
  const format = source.format ?? 'auto';
  const channel = source.channel ?? 0;
  const dataset = await openPlanDataset({ ...source, format });
  const name = source.name ?? planName(dataset.name);
  for (const text of dataset.remarks ?? []) onNotice?.(`${name}: ${text}`);
  const split = { file: null, labeled: 'all', validation: 0, unlabeled: 'rest', ...source.split } as const;
  const { labeled, unlabeled, validation } = resolveSplit(dataset, { split }, seed);
  if (labeled.length + unlabeled.length === 0) {
    throw new VersemiError('DATASET_INVALID', {
      file: dataset.folder,
      field: 'split',
      expected: 'at least one labelled or unlabelled case',
      found: `none of ${dataset.cases.length} cases`,
      remedy: 'Check the split.',
    });
  }
  const withLabels = evenly(labeled, maximumCases);
  const looked = [...withLabels, ...evenly(unlabeled, maximumCases)];
  const counted = new Set(evenly(withLabels, mostCasesForPieces));
  const facts: CaseFacts[] = [];
  for (const [index, files] of looked.entries()) {
    throwIfAborted(signal, 'fingerprint');
    facts.push(caseFacts(await loadCase(dataset, files, { channel }), dataset, counted.has(files)));
    onProgress?.({ dataset: name, id: files.id, index: index + 1, total: looked.length });
  }
  const cases = facts.map(({ fingerprint }) => fingerprint);
  const declared = dataset.modalities[channelIndex(dataset, channel)]!;
  const samples = facts.flatMap(({ foreground }) => (foreground === undefined ? [] : [foreground]));
  return {
    name,
    path: resolve(source.path),
    format,
    ...(source.keys === undefined ? {} : { keys: source.keys }),
    ...(source.filesOutside === undefined ? {} : { filesOutside: source.filesOutside }),
    channel,
    split,
    ...guessModality(declared, cases),
    scans: scanRanges(cases, modalityOf(declared)),
    labeledCases: labeled.length,
    unlabeledCases: unlabeled.length,
    totalCases: dataset.cases.length,
    validationCases: validation.length,
    leftOut: dataset.leftOut ?? [],
    ...(dataset.remarks === undefined ? {} : { remarks: dataset.remarks }),
    ...(dataset.regions === undefined ? {} : { regions: dataset.regions }),
    ...(dataset.ignoredLabel === undefined ? {} : { ignoredLabel: dataset.ignoredLabel }),
    cases,
    classes: classesOf(dataset, facts),
    pieces: meanPieces(facts.map(({ pieces }) => pieces)),
    foreground: samples.length === 0 ? null : summary(joinedFloats(samples)),
  };
}

/** At most so many of the items, evenly spread. */
export function evenly<T>(items: readonly T[], most: number): T[] {
  if (items.length <= most) return items.slice();
  return Array.from({ length: most }, (_, i) => items[Math.floor(((i + 0.5) * items.length) / most)]!);
}

interface CaseFacts {
  readonly fingerprint: CaseFingerprint;
  /** Intensities of foreground voxels; only of labelled cases that have any. */
  readonly foreground?: Float32Array;
  /** Label value -> volume. */
  readonly volumesMm3: ReadonlyMap<number, number>;
  readonly pieces: readonly LabelPieces[];
}

function caseFacts(
  { id, image, label }: LoadedCase,
  { ignoredLabel, regions }: Pick<Dataset, 'ignoredLabel' | 'regions'>,
  countsPieces: boolean,
): CaseFacts {
  const zeros = host().labelCounts(host().threshold(image.data, 0, 0))[1]!;
  const fingerprint = {
    id,
    labeled: label !== undefined,
    sizeVoxels: image.sizeVoxels,
    spacingMm: image.spacingMm,
    intensity: summary(image.data),
    zeroFraction: zeros / voxelCount(image.sizeVoxels),
  };
  if (label === undefined) return { fingerprint, volumesMm3: new Map(), pieces: [] };
  const counts = host().labelCounts(label.data);
  const values = Array.from(counts.keys()).filter((value) => value > 0 && value !== ignoredLabel && counts[value]! > 0);
  const voxelMm3 = voxelVolumeMm3(image);
  const foreground = foregroundIntensities(image.data, label.data, values, counts);
  return {
    fingerprint,
    volumesMm3: new Map(values.map((value) => [value, counts[value]! * voxelMm3])),
    pieces: countsPieces ? piecesOfCase(label.data, label.sizeVoxels, values, regions) : [],
    ...(foreground.length === 0 ? {} : { foreground }),
  };
}

/** Intensities of foreground voxels, evenly spread over each label and in proportion to its size. */
function foregroundIntensities(
  image: Float32Array,
  label: Uint8Array,
  values: readonly number[],
  counts: Uint32Array,
): Float32Array {
  const total = values.reduce((sum, value) => sum + counts[value]!, 0);
  const share = Math.min(1, foregroundVoxelsPerCase / total);
  const parts = values.map((value) => {
    const wanted = Math.max(1, Math.round(counts[value]! * share));
    const ranks = Int32Array.from({ length: wanted }, (_, i) => Math.floor(((i + 0.5) * counts[value]!) / wanted));
    return Float32Array.from(host().positionsOf(label, value, ranks), (position) => image[position]!);
  });
  return joinedFloats(parts);
}

function summary(data: Float32Array): IntensitySummary {
  const { min, max, mean, standardDeviation } = host().statistics(data);
  const [percentile005, median, percentile995] = host().percentiles(data, [0.005, 0.5, 0.995]);
  return {
    min,
    max,
    mean,
    standardDeviation,
    percentile005: percentile005!,
    median: median!,
    percentile995: percentile995!,
  };
}

export function medianOf(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Quantile with linear interpolation; NaN of nothing. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = values.slice().sort((a, b) => a - b);
  const position = (sorted.length - 1) * fraction;
  const low = Math.floor(position);
  const [a, b] = [sorted[low], sorted[Math.min(low + 1, sorted.length - 1)]];
  return a === undefined || b === undefined ? Number.NaN : a + (b - a) * (position - low);
}

function guessModality(
  declared: string,
  cases: readonly CaseFingerprint[],
): Pick<DatasetFingerprint, 'modality' | 'modalityReason'> {
  const said = modalityOf(declared);
  if (said === 'CT' || said === 'MR') return { modality: said, modalityReason: `the dataset says "${declared}"` };
  const lowest = medianOf(cases.map(({ intensity }) => intensity.min));
  const modality = lowest <= airHu ? 'CT' : 'MR';
  return { modality, modalityReason: `the smallest intensity of a case is ${lowest.toPrecision(3)} (median)` };
}

function classesOf(dataset: Dataset, facts: readonly CaseFacts[]): ClassFingerprint[] {
  const found = new Set(facts.flatMap(({ volumesMm3 }) => [...volumesMm3.keys()]));
  return [...found]
    .sort((a, b) => a - b)
    .map((value) => {
      const volumes = facts.flatMap(({ volumesMm3 }) => volumesMm3.get(value) ?? []);
      return {
        value,
        name: dataset.labels[value] ?? `label ${value}`,
        cases: volumes.length,
        medianVolumeMm3: medianOf(volumes),
      };
    });
}
