import * as tf from '@tensorflow/tfjs-core';
import type { Plan } from '../config/plan.js';
import { isVersemiError } from '../errors.js';
import type { SamplingData, StepBatch } from '../sampling/index.js';
import { createPrefetcher } from '../sampling/prefetcher.js';
import { RecipeMaker } from '../sampling/recipe.js';
import { caseNames } from '../sampling/sampler.js';
import { hostOnlyDatasets, type TableBatch, VolumeLayout } from '../sampling/volume-tables.js';
import { currentDevice } from '../tfjs/index.js';
import { cutMix, cutPatches } from '../tfjs/ops/index.js';
import type { InputSource } from './groups.js';

/** A step whose voxels the device makes itself, from volumes that lie there. */
export type DeviceBatch = TableBatch & { readonly volumes: DeviceVolumes };

/** Where the batches of a run come from. */
export interface BatchSource {
  /** See `Prefetcher.batch`. */
  batch(step: number, stage: 1 | 2): Promise<StepBatch | DeviceBatch>;
  /** One sentence for the log: where patches are cut and why; absent where there is no choice. */
  readonly notice?: string;
  close(): Promise<void>;
}

/**
 * The volumes of a run on the current device. Steps reach it as tables of coordinates alone; patches, targets and CutMix are made
 * there, bitwise as `BatchCutter` makes them.
 */
export class DeviceVolumes implements BatchSource {
  readonly notice: string;
  private readonly maker: RecipeMaker;
  private readonly layout: VolumeLayout;
  private readonly names: readonly string[];
  private readonly values: tf.Tensor1D;
  private readonly lookups: tf.Tensor2D;

  /** @throws VERSEMI_DEVICE_OUT_OF_MEMORY, VERSEMI_SPLIT_INVALID */
  constructor(plan: Plan, data: SamplingData) {
    this.maker = new RecipeMaker(plan, data);
    this.layout = new VolumeLayout(plan, data);
    this.names = caseNames(data.labeled);
    const { lookups, elements } = this.layout;
    this.values = tf.keep(tf.tensor1d(this.layout.fill()));
    this.lookups = tf.keep(tf.tensor2d(lookups.values, [...lookups.shape]));
    this.notice = `The volumes lie on the device (${mebibytes(elements)} MiB): patches are cut and mixed there.`;
    try {
      // Brings them there now: whether they fit must be known before the first step.
      tf.tidy(() => tf.slice(this.values, 0, 1).dataSync());
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  async batch(step: number, stage: 1 | 2): Promise<DeviceBatch> {
    return { ...this.layout.tables(this.maker.recipe(step, stage), this.names), volumes: this };
  }

  /**
   * The tensors that the loss terms read, by the names of `stepValues`, from the tables of the step; call inside a tidy.
   * @param inputs the tables, see `tableValues`, and everything else
   */
  cut(inputs: InputSource, batch: Pick<DeviceBatch, 'labeled' | 'mixed' | 'unlabeled'>): InputSource {
    const [x, y, z] = this.layout.plan.patchSizeVoxels;
    const { labeled } = batch;
    const n = labeled.caseIds.length;
    const images = cutPatches(this.values, inputs.get('cut.images'), [z, y, x]);
    const targets = cutPatches(this.values, inputs.get('cut.targets'), [z, y, x], this.lookups);
    const some = (patches: tf.Tensor4D, first: number, count: number) =>
      tf.slice(patches, [first, 0, 0, 0], [count, z, y, x]);
    const image = (patches: tf.Tensor4D) => tf.expandDims(patches, 4);
    const made = new Map<string, tf.Tensor>([
      ['labeled.image', image(some(images, 0, n))],
      ['labeled.target', some(targets, 0, labeled.tasks.length)],
    ]);
    const mix = (name: string, of: tf.Tensor4D) => made.set(name, cutMix(of, inputs.get(`cut.${name}`)));
    if (batch.mixed !== undefined) {
      made.set('mixed.image', image(cutMix(images, inputs.get('cut.mixed.image'))));
      for (const name of ['anyForeground', 'targetA', 'targetB']) mix(`mixed.${name}`, targets);
    }
    if (batch.unlabeled !== undefined) {
      made.set('unlabeled.image', image(cutMix(images, inputs.get('cut.unlabeled.image'))));
      for (const name of ['inside', 'cubeLabel']) mix(`unlabeled.${name}`, targets);
      if (batch.unlabeled.teacher !== undefined)
        made.set('teacher.image', image(some(images, n, batch.unlabeled.count)));
    }
    return { get: <T extends tf.Tensor>(name: string) => (made.get(name) as T | undefined) ?? inputs.get<T>(name) };
  }

  async close(): Promise<void> {
    this.dispose();
  }

  private dispose(): void {
    this.values.dispose();
    this.lookups.dispose();
  }
}

/**
 * Batches from volumes on the device where it is `cuda`, they fit `training.deviceVolumesMiB` and the memory, and it can do every
 * augmentation of the plan; else from the prefetcher of the host. The numbers are the same.
 */
export function batchSource(plan: Plan, data: SamplingData): BatchSource {
  const onHost = (notice: string): BatchSource => {
    const prefetcher = createPrefetcher(plan, data);
    return {
      notice,
      batch: (step, stage) => prefetcher.batch(step, stage),
      close: () => prefetcher.close(),
    };
  };
  const limit = plan.training.deviceVolumesMiB;
  if (currentDevice()?.name !== 'cuda' || limit === 0) return createPrefetcher(plan, data);
  const augmented = hostOnlyDatasets(plan);
  if (augmented.length > 0)
    return onHost(`Patches are cut on the host: only it augments as the plan says (${augmented.join('; ')}).`);
  const size = mebibytes(new VolumeLayout(plan, data).elements);
  if (size > limit)
    return onHost(`Patches are cut on the host: the volumes take ${size} MiB, more than training.deviceVolumesMiB.`);
  try {
    return new DeviceVolumes(plan, data);
  } catch (error) {
    if (!isVersemiError(error, 'DEVICE_OUT_OF_MEMORY')) throw error;
    return onHost(`Patches are cut on the host: the volumes (${size} MiB) do not fit the memory of the device.`);
  }
}

function mebibytes(elements: number): number {
  return Math.ceil((4 * elements) / 2 ** 20);
}
