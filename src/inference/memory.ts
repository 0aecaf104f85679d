import type { ImageFacts } from '../datasets/read-volume.js';
import { VersemiError } from '../errors.js';
import { architectureOf, networkConfig } from '../model/layers.js';
import { versemiNumbersPerVoxel } from '../model/versemi.js';
import type { ResampledGrid } from '../preprocessing/grid.js';
import { boxSize, planGrid, wholeBox } from '../preprocessing/grid.js';
import { rowsToRestore } from '../preprocessing/restore.js';
import { voxelCount } from '../volume/volume.js';
import type { Rows } from '../wasm/host.js';
import { stripOf } from './segment.js';
import {
  groupTasks,
  type InferenceOptions,
  inferenceSettings,
  membersOf,
  type Segmenter,
  tasksToFind,
} from './segmenter.js';

/** Bytes of memory that segmenting a scan takes at most, by what they are for. */
export interface MemoryEstimate {
  /** The process as it is before, the model loaded. */
  readonly process: number;
  /** Voxels as they are stored. */
  readonly scan: number;
  /** Windows: slices of the image, sums of probabilities, what resampling holds. */
  readonly windows: number;
  /** Activations and weights on the device. */
  readonly device: number;
  /** Finished masks, as bits. */
  readonly masks: number;
  /** Post-processing, metrics and labels, beyond what the windows had. */
  readonly after: number;
  /** Code compiled on the way, garbage that is not collected yet, buffers of files. */
  readonly other: number;
  readonly total: number;
  /** Parts that the rows of the scan are computed in, one after the other. */
  readonly strips: number;
  /** Windows per window that one part alone would need: what the parts cost. */
  readonly work: number;
}

export interface MemoryOptions extends InferenceOptions {
  /** Most bytes that the process may take. Without it everything is computed at once. */
  readonly maxMemoryBytes?: number;
  /** Whose limit `maxMemoryBytes` is, for the sentence that refuses a scan: "90 % of ..." */
  readonly limitSource?: string;
  /** Bytes that the process takes now; default: asked of Node, else 150 MB. */
  readonly processBytes?: number;
  /** True: the device has memory of its own (a GPU), of which the process takes none. */
  readonly deviceApart?: boolean;
}

/** What is known of a scan before its voxels are read (`scanFacts`, whose geometry is canonical). */
export interface ScanInMemory extends Omit<ImageFacts, 'volumes'> {
  /** The voxels are in memory, and so in `processBytes`, already. */
  readonly loaded?: boolean;
  /** A label map is read too and compared with: metrics. */
  readonly labeled?: boolean;
}

/** Measured with `test/bench/memory.ts`: garbage between two collections, compiled code, chunks of files. */
const otherBytes = 110e6;
/** A strip of fewer rows would need as many windows as a strip that is twice as high. */
const fewestRows = 8;
/** No scan has so many rows that more would be of use; a header that promises billions must not be counted through. */
const mostParts = 4096;

/** The rows of a crop in `count` even parts. */
export function evenRows(rows: number, count: number): Rows[] {
  return Array.from({ length: count }, (_, i) => [
    Math.floor((i * rows) / count),
    Math.floor(((i + 1) * rows) / count),
  ]);
}

/** Most parts that the rows of a crop are cut into. */
export function mostStrips(rows: number): number {
  return Math.min(mostParts, Math.max(1, Math.floor(rows / fewestRows)));
}

/** Bytes of linear memory and of slabs while one strip of `grid` is computed, and how many windows it takes. */
function stripBytes(
  model: Segmenter,
  grid: ResampledGrid,
  tasks: number,
  cropRows: Rows,
  options: InferenceOptions,
): { bytes: number; windows: number } {
  const { patchSizeVoxels } = model.plan;
  const { sizeVoxels, canonical } = grid;
  const rows = rowsToRestore(grid, cropRows);
  const strip = stripOf(sizeVoxels, rows, { ...inferenceSettings(model, options), patchSizeVoxels });
  const depth = Math.min(patchSizeVoxels[2], sizeVoxels[2]);
  const image = depth * sizeVoxels[0] * (strip.imageRows[1] - strip.imageRows[0]);
  const ring = (tasks + 1) * depth * sizeVoxels[0] * (rows[1] - rows[0]);
  // Resampling holds planes of the source, of the result and, smoothing, of a ring; the way back two per task.
  const smoothing = Math.max(0, ...grid.scale.map((scale) => (scale > 1 ? 2 * Math.ceil(1.3 * scale) + 1 : 0)));
  const planes =
    (4 + smoothing) * canonical.sizeVoxels[0] * canonical.sizeVoxels[1] + 4 * sizeVoxels[0] * sizeVoxels[1];
  const restored = (2 * tasks + 4) * boxSize(grid.crop)[0] * (cropRows[1] - cropRows[0]);
  // Of each patch a few copies: cut, logits and their weights, logits of air.
  const patch = (3 * tasks + 4) * voxelCount(patchSizeVoxels);
  return { bytes: 4 * (image + ring + planes + restored + patch), windows: strip.windows };
}

/**
 * Activations of one window at their peak, and the weights. Models are computed in turns: those of one size use the same memory again,
 * where others leave what was freed and kept for reuse.
 */
function deviceBytes(models: readonly Segmenter[], tasks: number): number {
  const activations = new Map<string, number>();
  let weights = 0;
  for (const { network, plan } of models) {
    const { numbersPerVoxel = versemiNumbersPerVoxel } = architectureOf(plan.network);
    const channels = numbersPerVoxel(networkConfig(plan), tasks);
    activations.set(JSON.stringify([plan.network, plan.patchSizeVoxels]), channels * voxelCount(plan.patchSizeVoxels));
    weights += network.parameterCount;
  }
  const all = [...activations.values()].reduce((sum, own) => sum + own, weights);
  // What is freed and kept for reuse does not always fit the next request.
  return 1.1 * 4 * all;
}

/**
 * Memory that a scan takes, cut into as few strips as fit.
 * @throws VERSEMI_MEMORY_LIMIT when no number of strips fits `maxMemoryBytes`
 */
export function estimateMemory(
  model: Segmenter,
  facts: ScanInMemory,
  tasks: readonly number[],
  options: MemoryOptions = {},
): MemoryEstimate {
  const { geometry } = facts;
  const found = tasksToFind(model, tasks, options);
  const groups = groupTasks(model, found).map(({ members, tasks: together }) => ({
    members: membersOf(model).map((member, i) => ({
      model: member,
      grid: planGrid(geometry, wholeBox(geometry.sizeVoxels), members[i]!.preprocessing.spacingMm),
    })),
    tasks: together.length,
  }));
  const most = mostStrips(geometry.sizeVoxels[1]);
  let estimate = of(1);
  const { maxMemoryBytes = Infinity } = options;
  while (estimate.total > maxMemoryBytes && estimate.strips < most) estimate = of(nextCount(estimate.strips));
  if (estimate.total <= maxMemoryBytes) return estimate;
  throw new VersemiError('MEMORY_LIMIT', {
    ...(geometry.file === undefined ? {} : { file: geometry.file }),
    field: 'max-memory',
    expected: `at least ${formatBytes(estimate.total)}: ${explain(estimate)}`,
    found: `${formatBytes(maxMemoryBytes)}${options.limitSource === undefined ? '' : `, ${options.limitSource}`}`,
    remedy: remedyFor(estimate, tasks.length),
  });

  function of(strips: number): MemoryEstimate {
    const voxels = voxelCount(geometry.sizeVoxels);
    const process = options.processBytes ?? processBytes();
    const scan = facts.loaded === true ? 0 : voxels * facts.bytesPerVoxel;
    let [windows, device, work] = [0, 0, 1];
    for (const { members, tasks: count } of groups) {
      const measured = (n: number) =>
        evenRows(boxSize(members[0]!.grid.crop)[1], n).map((rows) =>
          members
            .map((member) => stripBytes(member.model, member.grid, count, rows, options))
            .reduce((sum, own) => ({ bytes: sum.bytes + own.bytes, windows: sum.windows + own.windows })),
        );
      const parts = measured(strips);
      windows = Math.max(windows, ...parts.map(({ bytes }) => bytes));
      if (options.deviceApart !== true) device = Math.max(device, deviceBytes(membersOf(model), count));
      const total = (list: readonly { windows: number }[]) => list.reduce((sum, { windows: n }) => sum + n, 0);
      work = Math.max(work, total(parts) / total(measured(1)));
    }
    const { largestComponent, largestComponentOf } = inferenceSettings(model, options);
    // Masks of one body are cut to it before what is left is looked at: one copy more.
    const copies = largestComponent && largestComponentOf === 'dataset' ? 2 : 1;
    const masks = (copies * found.length * voxels) / 8;
    // Components: a mask as bytes; in linear memory before and after, and its runs. Metrics: both masks as bytes; in linear memory
    // both in a box, the nearest surface for each voxel of it (4 bytes), and 12 bytes per surface voxel, of which there are
    // taken to be a tenth. The bytes are not in linear memory, so that they come on top of what the windows had.
    const [bytes, linear, block] = facts.labeled === true ? [2, 7.2, 4] : largestComponent ? [1, 3, 1] : [0, 0, 0];
    // Linear memory that the windows had is used again; where all does not fit, the largest block may have to stand behind it.
    const fits = linear * voxels <= 0.8 * windows;
    const beyond = fits ? 0 : Math.max(linear * voxels - windows, block * voxels);
    // As it is stored, and turned.
    const label = facts.labeled === true ? 2 * voxels : 0;
    const after = label + bytes * voxels + beyond;
    const total = process + scan + windows + device + masks + after + otherBytes;
    return { process, scan, windows, device, masks, after, other: otherBytes, total, strips, work };
  }

  function nextCount(strips: number): number {
    return Math.min(most, Math.max(strips + 1, Math.floor(strips * 1.25)));
  }
}

/** Resident bytes of this process where that can be known. */
function processBytes(): number {
  return typeof process === 'object' ? (process.memoryUsage?.().rss ?? 150e6) : 150e6;
}

/** "scan 315 MB, windows 620 MB, ..." */
export function explain(estimate: MemoryEstimate): string {
  const parts = (['process', 'scan', 'windows', 'device', 'masks', 'after', 'other'] as const)
    .filter((name) => estimate[name] > 0)
    .map((name) => `${name} ${formatBytes(estimate[name])}`);
  return parts.join(', ');
}

export function formatBytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${Math.ceil(bytes / 1e6)} MB`;
}

function remedyFor({ device, process, scan, after }: MemoryEstimate, tasks: number): string {
  const largest = Math.max(device, process, scan, after);
  if (largest === after) return 'Allow more, or crop the scan.';
  if (largest === device) return 'Allow more, or use a model with a smaller patch or width.';
  return tasks > 1 ? 'Allow more, crop or resample the scan, or name fewer tasks.' : 'Allow more, or crop the scan.';
}
