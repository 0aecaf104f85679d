import { throwIfAborted } from '../errors.js';
import { boxSize } from '../preprocessing/grid.js';
import { type PreparedScan, prepareScan } from '../preprocessing/preprocess-case.js';
import { restorer, rowsToRestore } from '../preprocessing/restore.js';
import { MaskVolume } from '../scans/mask-volume.js';
import { asScan, type Scan } from '../scans/scan.js';
import { eventLoopTurn, type VerbOptions } from '../verb-options.js';
import type { Volume } from '../volume/volume.js';
import { emptyMask, host, type PackedMask } from '../wasm/host.js';
import { estimateMemory, evenRows, type MemoryOptions, mostStrips } from './memory.js';
import { type SegmentProgress, segmentSlices, stripOf } from './segment.js';
import { groupTasks, inferenceSettings, type Segmenter, taskIndices, taskName } from './segmenter.js';

export interface PredictOptions extends WindowOptions, Pick<VerbOptions<PredictProgress>, 'onProgress'> {
  /** Names of tasks; default: every real task of the model. */
  readonly tasks?: readonly string[];
}

/** How the windows of a scan are computed. */
export interface WindowOptions extends MemoryOptions, Pick<VerbOptions<PredictProgress>, 'signal'> {
  /** Parts that the rows are computed in, as {@link estimateMemory} found; default: what `maxMemoryBytes` asks for. */
  readonly strips?: number;
}

/** A window has been computed. */
export interface PredictProgress extends SegmentProgress {
  /** Names of the tasks that these windows serve. */
  readonly tasks: readonly string[];
  /** Passes over the scan: one per way of preprocessing that the tasks need. */
  readonly pass: number;
  readonly passes: number;
  /** What is found so far, a mask per task on the canonical grid, which later windows go on filling. */
  readonly masks: readonly PackedMask[];
}

/** What was found of one task. */
export interface TaskPrediction {
  readonly task: string;
  /** 1 = foreground, in the geometry in which the image was stored; its bytes are made when they are asked for. */
  readonly mask: MaskVolume;
  readonly foregroundVoxels: number;
  readonly volumeMl: number;
}

/**
 * Segments one scan for every task asked for, in the scan's own geometry. With `maxMemoryBytes` the scan is computed in as
 * many parts as keep the process below that limit; the masks are the same, bit for bit.
 * @param image [z, y, x], canonical (RAS+); a `Scan` (`openScan`) takes less memory than a volume
 * @throws VERSEMI_MODEL_TASK_UNKNOWN, VERSEMI_MEMORY_LIMIT, VERSEMI_DEVICE_OUT_OF_MEMORY, VERSEMI_ABORTED by `signal`
 */
export async function predictVolume(
  model: Segmenter,
  image: Volume<Float32Array> | Scan,
  { tasks, onProgress, ...options }: PredictOptions = {},
): Promise<TaskPrediction[]> {
  return finish(predictTasks(model, asScan(image), taskIndices(model, tasks), options), onProgress);
}

/**
 * {@link predictVolume} window by window, for those who decide between two windows whether and when to go on. Leaving the
 * loop frees all memory. The masks, [z, y, x] each, are the value that the generator returns.
 * @throws as {@link predictVolume}
 */
export async function* predictWindows(
  model: Segmenter,
  image: Volume<Float32Array> | Scan,
  { tasks, onProgress, ...options }: PredictOptions = {},
): AsyncGenerator<PredictProgress, TaskPrediction[]> {
  const steps = predictTasks(model, asScan(image), taskIndices(model, tasks), options);
  try {
    for (;;) {
      const step = await steps.next();
      if (step.done) return step.value;
      onProgress?.(step.value);
      yield step.value;
    }
  } finally {
    // After its end this does nothing.
    await steps.return(undefined as never);
  }
}

/**
 * Runs a generator to its end and gives what it returns. The generator is closed when `onProgress` throws.
 */
export async function finish<Progress, Result>(
  steps: AsyncGenerator<Progress, Result>,
  onProgress?: (progress: Progress) => void,
): Promise<Result> {
  try {
    for (;;) {
      const step = await steps.next();
      if (step.done) return step.value;
      onProgress?.(step.value);
    }
  } finally {
    // After its end this does nothing.
    await steps.return(undefined as never);
  }
}

/**
 * Segments a scan for tasks given by index: tasks that share a preprocessing share the passes of the trunk.
 * @throws as {@link predictVolume}
 */
export async function* predictTasks(
  model: Segmenter,
  scan: Scan,
  wanted: readonly number[],
  options: WindowOptions = {},
): AsyncGenerator<PredictProgress, TaskPrediction[]> {
  throwIfAborted(options.signal, 'prediction');
  const strips = options.strips ?? stripsFor(model, scan, wanted, options);
  const groups = groupTasks(model, wanted);
  const predictions: TaskPrediction[] = [];
  for (const [pass, { preprocessing, tasks }] of groups.entries()) {
    const names = tasks.map((task) => taskName(model, task));
    const prepared = prepareScan(scan, preprocessing);
    try {
      const { canonical, stored } = prepared.grid;
      const masks = tasks.map(() => emptyMask(canonical.sizeVoxels));
      for await (const progress of fillMasks(model, prepared, tasks, masks, { ...options, strips }))
        yield { ...progress, tasks: names, masks, pass, passes: groups.length };
      const geometry = { ...canonical, ...(stored === undefined ? {} : { stored }) };
      const { largestComponent } = inferenceSettings(model, options);
      const kept = largestComponent ? largestComponents(masks) : masks;
      predictions.push(...kept.map((mask, i) => describe(names[i]!, new MaskVolume(geometry, mask))));
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

/** Computes the windows of a prepared scan and writes the foreground of each task into its mask. */
async function* fillMasks(
  model: Segmenter,
  { slices, grid }: PreparedScan,
  tasks: readonly number[],
  masks: readonly PackedMask[],
  options: WindowOptions,
): AsyncGenerator<SegmentProgress, void> {
  const settings = { ...inferenceSettings(model, options), tasks, patchSizeVoxels: model.plan.patchSizeVoxels };
  const { sizeVoxels } = grid;
  const cropSize = boxSize(grid.crop);
  const count = Math.min(options.strips ?? 1, mostStrips(cropSize[1]));
  const strips = evenRows(cropSize[1], count).map((cropRows) => {
    const rows = rowsToRestore(grid, cropRows);
    return { cropRows, rows, windows: stripOf(sizeVoxels, rows, settings).windows };
  });
  const windows = strips.reduce((sum, strip) => sum + strip.windows, 0);
  let before = 0;
  let lastTurn = performance.now();
  for (const { cropRows, rows, windows: ofStrip } of strips) {
    const back = restorer(grid, masks, lastBackgroundStep, cropRows);
    try {
      const take = (z: number, probabilities: Uint8Array) => back.push(z, probabilities);
      for await (const { window, slices: done } of segmentSlices(model.network, slices, settings, take, rows)) {
        yield { window: before + window, windows, slices: done };
        if (performance.now() - lastTurn > turnEveryMs) {
          await eventLoopTurn();
          lastTurn = performance.now();
        }
        throwIfAborted(options.signal, 'prediction');
      }
    } finally {
      back.dispose();
    }
    before += ofStrip;
  }
}

/**
 * Windows on a host device follow each other without leaving the event loop's current task. A timer, Ctrl-C or a click that
 * aborts the prediction would wait for the last window, so the event loop gets a turn after this time.
 */
const turnEveryMs = 100;

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
