import { preprocessCase } from '../preprocessing/preprocess-case.js';
import { restoreProbability } from '../preprocessing/restore.js';
import type { PreprocessedCase } from '../preprocessing/types.js';
import type { Volume } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { type SegmentProgress, segmentVolume } from './segment.js';
import {
  groupTasks,
  type InferenceOptions,
  inferenceSettings,
  type Segmenter,
  taskIndices,
  taskName,
} from './segmenter.js';

export interface PredictOptions extends InferenceOptions {
  /** Names of tasks; default: every real task of the model. */
  readonly tasks?: readonly string[];
}

export interface PredictProgress extends SegmentProgress {
  /** Names of the tasks that these windows serve. */
  readonly tasks: readonly string[];
  /** Passes over the scan: one per way of preprocessing that the tasks need. */
  readonly pass: number;
  readonly passes: number;
}

export interface TaskPrediction {
  readonly task: string;
  /** 1 = foreground, in the geometry in which the image was stored. */
  readonly mask: Volume<Uint8Array>;
  readonly foregroundVoxels: number;
  readonly volumeMl: number;
}

/**
 * Segments one scan for every task asked for, in the scan's own geometry.
 * @param image canonical (RAS+), as `loadCase` and `toCanonical` give it
 * @throws VERSEMI_MODEL_TASK_UNKNOWN, VERSEMI_DEVICE_OUT_OF_MEMORY
 */
export async function* predictVolume(
  model: Segmenter,
  image: Volume<Float32Array>,
  options: PredictOptions = {},
): AsyncGenerator<PredictProgress, TaskPrediction[]> {
  const groups = groupTasks(model, taskIndices(model, options.tasks));
  const predictions: TaskPrediction[] = [];
  for (const [index, { preprocessing, dataset, tasks }] of groups.entries()) {
    const prepared = preprocessCase({ id: image.file ?? 'image', image }, preprocessing, dataset);
    const names = tasks.map((task) => taskName(model, task));
    const steps = predictCase(model, prepared, tasks, options);
    let step = await steps.next();
    while (!step.done) {
      yield { ...step.value, tasks: names, pass: index, passes: groups.length };
      step = await steps.next();
    }
    predictions.push(...step.value.map((mask, i) => describe(names[i]!, mask)));
  }
  return predictions;
}

/**
 * Segments a preprocessed case.
 * @param tasks indices of tasks
 * @returns masks in the geometry in which the case's image was stored, one per task
 */
export async function* predictCase(
  model: Segmenter,
  { image, sizeVoxels, grid }: PreprocessedCase,
  tasks: readonly number[],
  options: InferenceOptions = {},
): AsyncGenerator<SegmentProgress, Volume<Uint8Array>[]> {
  const settings = inferenceSettings(model, options);
  const { patchSizeVoxels } = model.plan;
  const probabilities = yield* segmentVolume(model.network, image, sizeVoxels, { ...settings, tasks, patchSizeVoxels });
  return probabilities.map((probability) => {
    const mask = restoreProbability(host().toFloat32(probability), grid, lastBackgroundStep);
    if (!settings.largestComponent) return mask;
    return { ...mask, data: host().largestComponent(mask.data, mask.sizeVoxels) };
  });
}

/** Of the probabilities in steps of 1/256: between the last step of the background and the first of the foreground. */
const lastBackgroundStep = 127.5;

function describe(task: string, mask: Volume<Uint8Array>): TaskPrediction {
  const foregroundVoxels = host().labelCounts(mask.data)[1]!;
  const [x, y, z] = mask.spacingMm;
  return { task, mask, foregroundVoxels, volumeMl: (foregroundVoxels * x * y * z) / 1000 };
}
