import { type PreparedScan, prepareScan } from '../preprocessing/preprocess-case.js';
import { restorer, rowsToRestore } from '../preprocessing/restore.js';
import { MaskVolume } from '../scans/mask-volume.js';
import { asScan, type Scan } from '../scans/scan.js';
import type { Volume } from '../volume/volume.js';
import { emptyMask, host, type PackedMask } from '../wasm/host.js';
import { estimateMemory, evenRows, type MemoryOptions, mostStrips } from './memory.js';
import { type SegmentProgress, segmentSlices, stripOf } from './segment.js';
import { groupTasks, inferenceSettings, type Segmenter, taskIndices, taskName } from './segmenter.js';

export interface PredictOptions extends MemoryOptions, StripOptions {
  /** Names of tasks; default: every real task of the model. */
  readonly tasks?: readonly string[];
}

export interface StripOptions {
  /** Parts that the rows are computed in, as {@link estimateMemory} found; default: what `maxMemoryBytes` asks for. */
  readonly strips?: number;
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
  /** 1 = foreground, in the geometry in which the image was stored; its bytes are made when they are asked for. */
  readonly mask: MaskVolume;
  readonly foregroundVoxels: number;
  readonly volumeMl: number;
}

/**
 * Segments one scan for every task asked for, in the scan's own geometry. With `maxMemoryBytes` in so many parts that the
 * process stays below it; the masks are the same, bit for bit.
 * @param image canonical (RAS+); a `Scan` (`openScan`) takes less memory than a volume
 * @throws VERSEMI_MODEL_TASK_UNKNOWN, VERSEMI_MEMORY_LIMIT, VERSEMI_DEVICE_OUT_OF_MEMORY
 */
export async function* predictVolume(
  model: Segmenter,
  image: Volume<Float32Array> | Scan,
  options: PredictOptions = {},
): AsyncGenerator<PredictProgress, TaskPrediction[]> {
  const scan = asScan(image);
  const wanted = taskIndices(model, options.tasks);
  const strips = options.strips ?? stripsFor(model, scan, wanted, options);
  const groups = groupTasks(model, wanted);
  const predictions: TaskPrediction[] = [];
  for (const [index, { preprocessing, tasks }] of groups.entries()) {
    const prepared = prepareScan(scan, preprocessing);
    try {
      const names = tasks.map((task) => taskName(model, task));
      const steps = predictPrepared(model, prepared, tasks, { ...options, strips });
      let step = await steps.next();
      while (!step.done) {
        yield { ...step.value, tasks: names, pass: index, passes: groups.length };
        step = await steps.next();
      }
      predictions.push(...step.value.map((mask, i) => describe(names[i]!, mask)));
    } finally {
      prepared.slices.dispose();
    }
  }
  return predictions;
}

/** Parts that the memory allowed asks for, the scan being in memory. @throws VERSEMI_MEMORY_LIMIT */
export function stripsFor(
  model: Segmenter,
  geometry: Scan,
  tasks: readonly number[],
  options: MemoryOptions,
  labeled = false,
): number {
  if (options.maxMemoryBytes === undefined) return 1;
  return estimateMemory(model, { geometry, bytesPerVoxel: 0, loaded: true, labeled }, tasks, options).strips;
}

/**
 * Segments a prepared scan.
 * @param tasks indices of tasks
 * @returns masks in the geometry in which the scan was stored, one per task
 */
export async function* predictPrepared(
  model: Segmenter,
  { slices, grid }: PreparedScan,
  tasks: readonly number[],
  options: PredictOptions = {},
): AsyncGenerator<SegmentProgress, MaskVolume[]> {
  const settings = { ...inferenceSettings(model, options), tasks, patchSizeVoxels: model.plan.patchSizeVoxels };
  const { canonical, crop, sizeVoxels } = grid;
  const masks = tasks.map(() => emptyMask(canonical.sizeVoxels));
  const count = Math.min(options.strips ?? 1, mostStrips(crop.sizeVoxels[1]));
  const strips = evenRows(crop.sizeVoxels[1], count).map((cropRows) => {
    const rows = rowsToRestore(grid, cropRows);
    return { cropRows, rows, windows: stripOf(sizeVoxels, rows, settings).windows };
  });
  const windows = strips.reduce((sum, strip) => sum + strip.windows, 0);
  let before = 0;
  for (const { cropRows, rows, windows: ofStrip } of strips) {
    const back = restorer(grid, masks, lastBackgroundStep, cropRows);
    try {
      const take = (z: number, probabilities: Uint8Array) => back.push(z, probabilities);
      for await (const { window, slices: done } of segmentSlices(model.network, slices, settings, take, rows)) {
        yield { window: before + window, windows, slices: done };
      }
    } finally {
      back.dispose();
    }
    before += ofStrip;
  }
  const { stored } = grid;
  const geometry = { ...canonical, ...(stored === undefined ? {} : { stored }) };
  const kept = settings.largestComponent ? largestComponents(masks) : masks;
  return kept.map((mask) => new MaskVolume(geometry, mask));
}

function largestComponents(masks: readonly PackedMask[]): PackedMask[] {
  // One array for all of them: as garbage they would add up.
  let bytes: Uint8Array | undefined;
  return masks.map((mask) => {
    const { sizeVoxels } = mask;
    bytes = host().unpackMask(mask, undefined, bytes);
    return host().packMask(host().largestComponent(bytes, sizeVoxels, undefined, bytes), sizeVoxels);
  });
}

/** Of the probabilities in steps of 1/256: between the last step of the background and the first of the foreground. */
const lastBackgroundStep = 127.5;

function describe(task: string, mask: MaskVolume): TaskPrediction {
  const foregroundVoxels = mask.count();
  return { task, mask, foregroundVoxels, volumeMl: foregroundVoxels * mask.voxelMl };
}
