import { join } from 'node:path';
import { openScan } from '../datasets/load-case.js';
import { writeNrrd } from '../datasets/nrrd-file.js';
import { type ReadVolumeOptions, writeNifti } from '../datasets/read-volume.js';
import { VersemiError } from '../errors.js';
import { agreementIsTrained, disagreement } from '../inference/disagreement.js';
import { labelMaps, type PaintedMap, paintedTasks } from '../inference/label-map.js';
import type { MemoryOptions } from '../inference/memory.js';
import { predictVolume } from '../inference/predict.js';
import { syntheticTaskName } from '../inference/segmenter.js';
import { addressName, LoadedModels, type ServedModel } from './models.js';
import { WorkQueue } from './queue.js';

/**
 * What clients of MONAI Label call a model gives one label map. Values of labels mean something within their dataset only, so that a
 * model of several datasets is one such model per dataset.
 */
export interface LabelMapModel {
  readonly name: string;
  readonly model: ServedModel;
  /** Name of a dataset of the model's plan. */
  readonly dataset: string;
  /** Task -> its value in the label map. */
  readonly labels: Readonly<Record<string, number>>;
}

export function labelMapModels(models: readonly ServedModel[]): LabelMapModel[] {
  const made: LabelMapModel[] = [];
  for (const model of models) {
    const datasets = [...new Set(model.plan.tasks.map(({ dataset }) => dataset))];
    for (const dataset of datasets) {
      const wanted = datasets.length === 1 ? model.name : `${model.name}-${dataset}`;
      const values = paintedTasks(model.plan, dataset).map(({ task, value }) => [task, value]);
      const taken = made.map(({ name }) => name);
      made.push({ name: addressName(wanted, taken), model, dataset, labels: Object.fromEntries(values) });
    }
  }
  return made;
}

/** How a label map is written. */
export interface ResultFormat {
  readonly extension: '.nrrd' | '.nii.gz' | '.nii';
  readonly type: 'uint8' | 'uint16';
  readonly compressed: boolean;
}

export interface SegmentedFile {
  readonly path: string;
  /** Tasks that have voxels in the label map, and their values. */
  readonly labelNames: Readonly<Record<string, number>>;
  /** Value and centre of each of these, in voxel indices of the image. */
  readonly centroids: Readonly<Record<string, readonly [number, number, number, number]>>;
  /** See `disagreement`; absent for a model that was not trained to agree. */
  readonly disagreement?: number;
  readonly seconds: number;
}

/** Segments scans on the device of the server, one after the other. */
export class Segmentation {
  private readonly queue = new WorkQueue();
  private readonly models = new LoadedModels();

  constructor(private readonly options: MemoryOptions) {}

  /**
   * @param source file of the scan, and how to read it
   * @param folder where the label map is written
   * @throws VERSEMI_ABORTED by `signal`, VERSEMI_SERVER_BUSY, and what reading, predicting and writing throw
   */
  run(
    { model: served, dataset }: LabelMapModel,
    source: { readonly file: string; readonly options: ReadVolumeOptions },
    { folder, format, signal }: { folder: string; format: ResultFormat; signal: AbortSignal },
  ): Promise<SegmentedFile> {
    return this.queue.run(signal, async () => {
      const started = performance.now();
      const model = await this.models.get(served);
      const scan = await openScan(source.file, source.options);
      const tasks = model.plan.tasks.filter((task) => task.dataset === dataset).map(({ name }) => name);
      const agrees = agreementIsTrained(model.plan);
      const asked = agrees ? [...tasks, syntheticTaskName] : tasks;
      const predictions = await predictVolume(model, scan, { ...this.options, tasks: asked, signal });
      const real = predictions.filter(({ task }) => task !== syntheticTaskName);
      const synthetic = predictions.find(({ task }) => task === syntheticTaskName)?.mask;
      const [map] = labelMaps(model.plan, real);
      const path = join(folder, `label${format.extension}`);
      const seen = await write(path, map!, format);
      const painted = map!.painted.filter(({ value }) => seen.has(value));
      return {
        path,
        labelNames: Object.fromEntries(painted.map(({ task, value }) => [task, value])),
        centroids: Object.fromEntries(painted.map(({ task, value }) => [task, [value, ...seen.get(value)!]])),
        ...(synthetic === undefined
          ? {}
          : {
              disagreement: disagreement(
                real.map(({ mask }) => mask),
                synthetic,
              ),
            }),
        seconds: (performance.now() - started) / 1000,
      };
    });
  }

  /** Waits for what runs, and frees the models. */
  async close(): Promise<void> {
    await this.queue.idle();
    this.models.dispose();
  }
}

/** @returns value -> its centre, of the values that occur */
async function write(
  path: string,
  map: PaintedMap,
  format: ResultFormat,
): Promise<Map<number, [number, number, number]>> {
  const sums = new Map<number, { voxels: number; x: number; y: number; z: number }>();
  const [sizeX, sizeY] = map.sizeVoxels;
  const wide = format.type === 'uint16';
  const counted = {
    ...map,
    type: wide ? new Uint16Array(0) : new Uint8Array(0),
    *slabs() {
      let before = 0;
      for (const slab of map.slabs()) {
        for (let i = 0; i < slab.length; i++) {
          const value = slab[i] as number;
          if (value === 0) continue;
          const sum = sums.get(value) ?? { voxels: 0, x: 0, y: 0, z: 0 };
          if (sum.voxels === 0) sums.set(value, sum);
          const at = before + i;
          sum.voxels++;
          sum.x += at % sizeX;
          sum.y += Math.floor(at / sizeX) % sizeY;
          sum.z += Math.floor(at / (sizeX * sizeY));
        }
        before += slab.length;
        yield wide ? Uint16Array.from(slab) : slab;
      }
    },
  };
  if (format.extension === '.nrrd') await writeNrrd(path, counted, format.compressed ? {} : { compressionLevel: 0 });
  else await writeNifti(path, counted);
  return new Map(
    [...sums].map(([value, { voxels, x, y, z }]) => [
      value,
      [Math.round(x / voxels), Math.round(y / voxels), Math.round(z / voxels)],
    ]),
  );
}

/**
 * How a client wants its label map, by the parameters of MONAI Label (`result_extension`, `result_dtype`, `result_compress`); NRRD of bytes,
 * compressed, where it does not say.
 * @throws VERSEMI_REQUEST_INVALID
 */
export function resultFormat(params: Readonly<Record<string, unknown>>): ResultFormat {
  const {
    result_extension: extension = '.nrrd',
    result_dtype: type = 'uint8',
    result_compress: compressed = true,
  } = params;
  const refuse = (field: string, expected: string, found: unknown) =>
    new VersemiError('REQUEST_INVALID', {
      field: `params, ${field}`,
      expected,
      found: String(found),
      remedy: 'Leave it out, or give one of these.',
    });
  if (extension !== '.nrrd' && extension !== '.nii.gz' && extension !== '.nii')
    throw refuse('result_extension', '.nrrd, .nii.gz or .nii', extension);
  if (type !== 'uint8' && type !== 'uint16') throw refuse('result_dtype', 'uint8 or uint16', type);
  if (typeof compressed !== 'boolean') throw refuse('result_compress', 'true or false', compressed);
  return { extension, type, compressed };
}
