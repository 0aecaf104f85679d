import type { NetworkChoice } from '../checkpoints/model-file.js';
import type { Plan } from '../config/plan.js';
import type { LoadedCase } from '../datasets/types.js';
import { throwIfAborted } from '../errors.js';
import { ownMetrics } from '../metrics/own-metrics.js';
import { diceOf, segmentationMetrics } from '../metrics/segmentation-metrics.js';
import type { CaseResult, Summary } from '../metrics/summary.js';
import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import { targetMask } from '../preprocessing/targets.js';
import { MaskVolume } from '../scans/mask-volume.js';
import { asScan, type Scan } from '../scans/scan.js';
import { turnUnlessAborted, type VerbOptions } from '../verb-options.js';
import { voxelVolumeMm3 } from '../volume/affine.js';
import type { Geometry } from '../volume/orientation.js';
import type { Volume } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import type { CaseSelection } from './case-selection.js';
import { requireOne } from './ensemble.js';
import { finish, type PredictProgress, predictTasks, stripsFor, type WindowOptions } from './predict.js';
import { segmentVolume } from './segment.js';
import { type InferenceOptions, type InferenceSettings, inferenceSettings, type Segmenter } from './segmenter.js';

/** Metrics of one case and task, as `versemi evaluate` writes them. */
export interface EvaluatedCase extends CaseResult {
  readonly dataset: string;
}

/** What `versemi evaluate` writes and reports read. */
export interface Evaluation {
  readonly format: 1;
  /** File of the model; of several, the first. Absent where the masks were there already. */
  readonly model?: string;
  /** The folder of the masks that were there already. */
  readonly masks?: string;
  /** All models, where their probabilities were averaged. */
  readonly models?: readonly { readonly model: string; readonly weights: NonNullable<Evaluation['weights']> }[];
  /** Absent where nothing was computed but metrics, as the masks were there already; so are the next two. */
  readonly device?: string;
  /** How the device computed; absent also in evaluations written before there was a choice. */
  readonly deviceSettings?: { readonly exact: boolean; readonly precision: string };
  readonly inference?: InferenceSettings;
  readonly created: string;
  /** Which versemi evaluated. */
  readonly program?: { readonly version: string; readonly commit?: string };
  /** How long that took. */
  readonly seconds?: number;
  /** Which part of the selected cases was evaluated here; absent: all of them. */
  readonly part?: { readonly index: number; readonly count: number };
  /** Steps that the weights were trained for, and whether they are the trained ones or their moving average. */
  readonly weights?: { readonly step: number; readonly network: NetworkChoice };
  /** Per dataset, which cases these are and what the model knew of them. */
  readonly selections?: readonly CaseSelection[];
  readonly cases: readonly EvaluatedCase[];
  /** Cases that could not be read or segmented, and so are in no mean; absent where there are none. */
  readonly failures?: readonly { readonly id: string; readonly dataset: string; readonly message: string }[];
  readonly summary: Summary;
}

export interface EvaluateOptions extends WindowOptions, Pick<VerbOptions<PredictProgress>, 'onProgress'> {
  /** Tolerance of surface Dice, mm. */
  readonly toleranceMm?: number;
}

/** One task's outcome on one case, at the resolution of the source; bytes of masks are made when they are asked for. */
export interface CaseOutcome {
  readonly result: EvaluatedCase;
  readonly image: Scan;
  readonly prediction: MaskVolume;
  readonly reference: MaskVolume;
}

/** A case with its label. */
export type LabeledCase = LoadedCase<Volume<Float32Array> | Scan> & { readonly label: Volume<Uint8Array> };

/**
 * Segments a labelled case and compares with its label at the source's own resolution. Distances are given in
 * millimetres, and under the protocol `versemi` also in voxels, as the literature prints them.
 * @param tasks indices of tasks to evaluate; the label values of each come from the plan
 * @throws as `predictVolume`
 */
export async function evaluateCase(
  model: Segmenter,
  { id, image, label, ignoredLabel }: LabeledCase,
  dataset: string,
  tasks: readonly number[],
  { toleranceMm, onProgress, ...options }: EvaluateOptions = {},
): Promise<CaseOutcome[]> {
  const { protocol } = inferenceSettings(model, options);
  const scan = asScan(image);
  const strips = options.strips ?? stripsFor(model, scan, tasks, options, true);
  const predictions = await finish(predictTasks(model, scan, tasks, { ...options, strips }), onProgress);
  const compared = predictions.map(({ task, mask }): ComparedMask => {
    const { labels } = model.plan.tasks.find(({ name }) => name === task)!;
    return { task, labels, mask };
  });
  return compareMasks({ id, dataset, image: scan, label, ignoredLabel }, compared, {
    ...{ toleranceMm, voxels: protocol === 'versemi', signal: options.signal },
  });
}

/** A mask of a task, and the values that the task has in label maps. */
export interface ComparedMask {
  readonly task: string;
  readonly labels: readonly number[];
  readonly mask: MaskVolume;
}

/** How masks are compared. */
export interface CompareMasksOptions {
  /** Tolerance of surface Dice, mm. */
  readonly toleranceMm: number | undefined;
  /** Distances in voxels too. */
  readonly voxels: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Compares the masks of a case with its label. @throws VERSEMI_ABORTED by `signal` */
export function compareMasks(
  {
    id,
    dataset,
    image,
    label,
    ignoredLabel,
  }: Pick<LabeledCase, 'id' | 'label'> & {
    readonly dataset: string;
    readonly image: Scan;
    readonly ignoredLabel: number | undefined;
  },
  masks: readonly ComparedMask[],
  { toleranceMm, voxels, signal }: CompareMasksOptions,
): CaseOutcome[] {
  // The bytes of all tasks' masks lie in the same two arrays, one task after the other: as garbage they would add up.
  let [predicted, reference]: (Uint8Array | undefined)[] = [];
  return masks.map(({ task, labels, mask: prediction }): CaseOutcome => {
    throwIfAborted(signal, 'evaluation');
    reference = foreground(label.data, labels, reference);
    predicted = host().unpackMask(prediction.packed, undefined, predicted);
    if (ignoredLabel !== undefined) clearIgnored(predicted, label.data, ignoredLabel);
    const { sizeVoxels, spacingMm } = label;
    const metrics = segmentationMetrics(predicted, reference, sizeVoxels, spacingMm, {
      ...(toleranceMm === undefined ? {} : { toleranceMm }),
      voxels,
      voxelMm3: voxelVolumeMm3(label),
    });
    return {
      result: {
        ...{ id, dataset, task },
        ...metrics,
        ...ownMetrics({ prediction: predicted, reference, sizeVoxels, spacingMm, task, dataset, id }),
      },
      image,
      prediction,
      reference: new MaskVolume(geometryOf(label), host().packMask(reference, label.sizeVoxels)),
    };
  });
}

/** Where the label is unknown, a prediction is neither right nor wrong: prediction and reference are background there. */
function clearIgnored(mask: Uint8Array, label: Uint8Array, ignoredLabel: number): void {
  for (let i = 0; i < label.length; i++) if (label[i] === ignoredLabel) mask[i] = 0;
}

/** A volume without its voxels. */
export function geometryOf({ data: _, ...geometry }: Volume): Geometry {
  return geometry;
}

/** Dice per task over validation cases, on the preprocessed grid: what training watches. */
export interface Validation {
  /** Mean over the cases of each task; null where no case has the task. */
  readonly perTask: Readonly<Record<string, number | null>>;
  /** Mean of the tasks. */
  readonly mean: number;
}

/** How cases are validated. */
export interface ValidateOptions extends InferenceOptions, Omit<VerbOptions<ValidateProgress>, 'onNotice'> {}

/** A case has been validated. */
export interface ValidateProgress {
  readonly dataset: string;
  readonly id: string;
  /** Counts from 1 to total. */
  readonly index: number;
  readonly total: number;
}

/**
 * Sliding-window Dice on preprocessed cases with labels.
 * @param cases with labels
 * @throws VERSEMI_ABORTED by `signal`, between two cases
 */
export async function validate(
  model: Segmenter,
  cases: readonly PreprocessedCase[],
  { signal, onProgress, ...options }: ValidateOptions = {},
): Promise<Validation> {
  const dice: CaseDice[] = [];
  for (const [i, one] of cases.entries()) {
    await turnUnlessAborted(signal, 'validation');
    dice.push(...(await caseDice(model, one, options)));
    onProgress?.({ dataset: one.dataset, id: one.id, index: i + 1, total: cases.length });
  }
  return validationOf(model.plan, dice);
}

/** Sliding-window Dice of one preprocessed case, of each task of its dataset; none for a case without a label. */
export async function caseDice(
  model: Segmenter,
  { id, dataset, image, label, known, sizeVoxels }: PreprocessedCase,
  options: InferenceOptions = {},
): Promise<CaseDice[]> {
  requireOne(model, 'validation on preprocessed cases');
  const { plan, network } = model;
  const settings = inferenceSettings(model, options);
  const tasks = plan.tasks.flatMap((task, index) => (task.dataset === dataset ? [index] : []));
  if (label === undefined || tasks.length === 0) return [];
  const { patchSizeVoxels } = plan;
  const probabilities = await finish(
    segmentVolume(network, image, sizeVoxels, { ...settings, tasks, patchSizeVoxels }),
  );
  return tasks.map((task, i) => {
    const prediction = foreground(probabilities[i]!, foregroundSteps);
    const reference = targetMask(label, plan.tasks[task]!.labels);
    if (known !== undefined) for (const mask of [prediction, reference]) clearIgnored(mask, targetMask(known, [1]), 0);
    const counts = host().maskCounts(prediction, reference, sizeVoxels);
    return { id, task: plan.tasks[task]!.name, dice: diceOf(counts) };
  });
}

/** The means over cases, in the order in which they are given. */
export function validationOf(plan: Pick<Plan, 'tasks'>, dice: readonly CaseDice[]): Validation {
  const names = plan.tasks.map((task) => task.name);
  const means = names.map((name) => mean(dice.filter(({ task }) => task === name).map((row) => row.dice)));
  return {
    perTask: Object.fromEntries(names.map((name, i) => [name, means[i]!])),
    mean: mean(means.filter((value) => value !== null)) ?? 0,
  };
}

export interface CaseDice {
  readonly id: string;
  readonly task: string;
  readonly dice: number;
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** 1 where the label is one of the values. */
function foreground(label: Uint8Array, values: readonly number[], into?: Uint8Array): Uint8Array {
  return host().translate(
    label,
    Uint8Array.from({ length: 256 }, (_, value) => (values.includes(value) ? 1 : 0)),
    into,
  );
}

/** Bytes of the foreground: probabilities in steps of 1/256 above one half. */
const foregroundSteps = Array.from({ length: 128 }, (_, i) => 128 + i);
