import { throwIfAborted, VersemiError } from '../errors.js';
import { boxSize } from '../preprocessing/grid.js';
import { type PreparedScan, prepareScan } from '../preprocessing/preprocess-case.js';
import { restorer, rowsToRestore } from '../preprocessing/restore.js';
import { MaskVolume } from '../scans/mask-volume.js';
import { asScan, type Scan } from '../scans/scan.js';
import { eventLoopTurn, type VerbOptions } from '../verb-options.js';
import type { Volume } from '../volume/volume.js';
import { emptyMask, type MaskRestorer, type PackedMask } from '../wasm/host.js';
import { largestComponents } from './components.js';
import { estimateMemory, evenRows, type MemoryOptions, mostStrips } from './memory.js';
import { type FinishedSlice, type SegmentProgress, segmentSlices, stripOf } from './segment.js';
import {
  type GroupMember,
  groupTasks,
  type InferenceSettings,
  inferenceSettings,
  membersOf,
  type Segmenter,
  taskIndices,
  taskName,
  tasksToFind,
} from './segmenter.js';

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
 * @param model of several models that `ensembleOf` joins, the mean of the probabilities decides
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
  const settings = inferenceSettings(model, options);
  const groups = groupTasks(model, tasksToFind(model, wanted, options));
  const predictions: TaskPrediction[] = [];
  for (const [pass, { tasks, members }] of groups.entries()) {
    const asked = tasks.flatMap((task, i) => (wanted.includes(task) ? [i] : []));
    const names = asked.map((i) => taskName(model, tasks[i]!));
    const prepared: PreparedMember[] = [];
    try {
      for (const [i, one] of membersOf(model).entries())
        prepared.push({ model: one, ...members[i]!, ...prepareScan(scan, members[i]!.preprocessing) });
      const { canonical, stored } = prepared[0]!.grid;
      const masks = tasks.map(() => emptyMask(canonical.sizeVoxels));
      const shown = asked.map((i) => masks[i]!);
      for await (const progress of fillMasks(prepared, masks, { ...options, strips }))
        yield { ...progress, tasks: names, masks: shown, pass, passes: groups.length };
      const geometry = { ...canonical, ...(stored === undefined ? {} : { stored }) };
      const kept = settings.largestComponent ? largestComponents(masks, bodiesOf(model, tasks, settings)) : masks;
      predictions.push(...asked.map((i, at) => describe(names[at]!, new MaskVolume(geometry, kept[i]!))));
    } finally {
      for (const { slices } of prepared) slices.dispose();
    }
  }
  return predictions;
}

/** Places in `tasks` of the tasks of each dataset, where their largest component is looked for together. */
function bodiesOf(
  { plan }: Segmenter,
  tasks: readonly number[],
  { largestComponentOf }: InferenceSettings,
): number[][] {
  if (largestComponentOf === 'task') return [];
  return plan.datasets.map(({ name }) => tasks.flatMap((task, i) => (plan.tasks[task]?.dataset === name ? [i] : [])));
}

/** A model of a group, and the scan as that model sees it. */
interface PreparedMember extends GroupMember, PreparedScan {
  readonly model: Segmenter;
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
 * Computes the windows of a prepared scan and writes the foreground of each task into its mask. Several models are computed side by side:
 * of each the slice that the next slice of the masks waits for.
 */
async function* fillMasks(
  members: readonly PreparedMember[],
  masks: readonly PackedMask[],
  options: WindowOptions,
): AsyncGenerator<SegmentProgress, void> {
  const settings = members.map(({ model, tasks }) => ({
    ...inferenceSettings(model, options),
    ...{ tasks, patchSizeVoxels: model.plan.patchSizeVoxels },
  }));
  const cropSize = boxSize(members[0]!.grid.crop);
  const count = Math.min(options.strips ?? 1, mostStrips(cropSize[1]));
  const strips = evenRows(cropSize[1], count).map((cropRows) => {
    const rows = members.map(({ grid }) => rowsToRestore(grid, cropRows));
    const windows = members.map(({ grid }, i) => stripOf(grid.sizeVoxels, rows[i]!, settings[i]!).windows);
    return { cropRows, rows, windows: windows.reduce((sum, own) => sum + own, 0) };
  });
  const windows = strips.reduce((sum, strip) => sum + strip.windows, 0);
  const grids = members.map(({ grid }) => grid);
  let before = 0;
  let lastTurn = performance.now();
  for (const { cropRows, rows, windows: ofStrip } of strips) {
    const back = restorer(grids, masks, lastBackgroundStep, cropRows);
    const steps = members.map(({ model, slices }, i) => segmentSlices(model.network, slices, settings[i]!, rows[i]!));
    try {
      for await (const { window, slices } of sideBySide(steps, back)) {
        yield { window: before + window, windows, slices };
        if (performance.now() - lastTurn > turnEveryMs) {
          await eventLoopTurn();
          lastTurn = performance.now();
        }
        throwIfAborted(options.signal, 'prediction');
      }
    } finally {
      for (const one of steps) await one.return();
      back.dispose();
    }
    before += ofStrip;
  }
}

/** Runs models to their ends, each as far as the masks wait for it. @returns windows of all of them, and the fewest slices of one that are final */
async function* sideBySide(
  models: readonly AsyncGenerator<SegmentProgress | FinishedSlice, void>[],
  back: MaskRestorer,
): AsyncGenerator<Pick<SegmentProgress, 'window' | 'slices'>, void> {
  const reached = models.map(() => ({ window: 0, slices: 0 }));
  // Below the last slice of the masks, slices of a finer grid may be left, which nothing waits for; windows all end.
  const ended = new Set<number>();
  while (ended.size < models.length) {
    const at = back.wanted() ?? models.findIndex((_, i) => !ended.has(i));
    if (ended.has(at))
      throw new VersemiError('INTERNAL', { field: 'sideBySide', expected: `a slice of model ${at}`, found: 'its end' });
    const { value: step, done } = await models[at]!.next();
    if (done) ended.add(at);
    else if (!('z' in step)) {
      reached[at] = step;
      yield {
        window: reached.reduce((sum, { window }) => sum + window, 0),
        slices: Math.min(...reached.map(({ slices }) => slices)),
      };
    } else if (back.wanted() !== undefined) back.push(step.z, step.probabilities, at);
  }
}

/**
 * Windows on a host device follow each other without leaving the event loop's current task. A timer, Ctrl-C or a click that
 * aborts the prediction would wait for the last window, so the event loop gets a turn after this time.
 */
const turnEveryMs = 100;

/** Of the probabilities in steps of 1/256: between the last step of the background and the first of the foreground. */
const lastBackgroundStep = 127.5;

function describe(task: string, mask: MaskVolume): TaskPrediction {
  const foregroundVoxels = mask.count();
  return { task, mask, foregroundVoxels, volumeMl: foregroundVoxels * mask.voxelMl };
}
