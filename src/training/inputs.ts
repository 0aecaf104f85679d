import type { Tensor } from '@tensorflow/tfjs-core';
import type { Plan } from '../config/plan.js';
import { promptCodes } from '../model/network.js';
import type { StepBatch } from '../sampling/types.js';
import { PersistentTensor } from '../tfjs/ops/persistent.js';
import type { DeviceBatch } from './device-volumes.js';
import { lossWeights, type StepTerms } from './groups.js';

/** What a step takes in, by name: everything that changes from step to step, as host values. */
export type StepValues = ReadonlyMap<string, { readonly values: Float32Array; readonly shape: readonly number[] }>;

/** Below this a copy costs less than what it takes to bring it ahead of time. */
const leastPrefetch = 4096;

/**
 * Images, targets, codes of the prompts and the weights that ramp: those that the terms of a step use.
 * @param step counts from 0
 */
export function stepValues(
  plan: Pick<Plan, 'tasks' | 'patchSizeVoxels' | 'training' | 'losses'>,
  batch: StepBatch | DeviceBatch,
  terms: StepTerms,
  step: number,
): StepValues {
  const result = new Map<string, { values: Float32Array; shape: readonly number[] }>();
  const [x, y, z] = plan.patchSizeVoxels;
  const tasks = plan.tasks.length;
  const image = (name: string, values: Float32Array) =>
    result.set(name, { values, shape: [values.length / (x * y * z), z, y, x, 1] });
  const mask = (name: string, values: Float32Array) =>
    result.set(name, { values, shape: [values.length / (x * y * z), z, y, x] });
  const prompts = (name: string, tasksOfImages: number[][]) =>
    result.set(name, {
      values: promptCodes(tasksOfImages, tasks),
      shape: [tasksOfImages.length, tasksOfImages[0]!.length, tasks + 1],
    });

  const cut = 'volumes' in batch;
  const { labeled, mixed } = batch;
  if (cut) tableValues(batch, result);
  else voxelValues(batch, terms, image, mask);
  prompts('labeled.prompts', byImage(labeled.tasks, labeled.caseIds.length));
  if (mixed !== undefined && terms.mixed.length > 0) {
    const synthetic = terms.mixed.includes('synthetic');
    const auxiliary = terms.mixed.includes('auxiliary');
    prompts(
      'mixed.prompts',
      Array.from(mixed.tasksA, (taskA, i) => [
        ...(synthetic ? [tasks] : []),
        ...(auxiliary ? [taskA, mixed.tasksB[i]!] : []),
      ]),
    );
  }
  const unlabeled = cut ? batch.unlabeled?.count : batch.unlabeled && batch.unlabeled.image.length / (x * y * z);
  if (unlabeled !== undefined && terms.unlabeled.length > 0) {
    const unsupervised = terms.unlabeled.includes('unsupervised');
    const teacher = terms.unlabeled.includes('teacher') ? batch.unlabeled?.teacher : undefined;
    const own = teacher === undefined ? [] : byImage(teacher.tasks, unlabeled);
    const all = unsupervised ? Array.from({ length: tasks + 1 }, (_, task) => task) : [tasks];
    prompts(
      'unlabeled.prompts',
      Array.from({ length: unlabeled }, (_, i) => [...all, ...(own[i] ?? [])]),
    );
    const weights = lossWeights(plan, step);
    const weight = (name: 'unsupervised' | 'teacher') =>
      result.set(`${name}.weight`, { values: Float32Array.of(weights[name]), shape: [] });
    if (unsupervised) weight('unsupervised');
    if (teacher !== undefined) {
      prompts('teacher.prompts', own);
      weight('teacher');
    }
  }
  return result;
}

/** [images, prompts] */
function byImage(tasks: Int32Array, images: number): number[][] {
  const count = tasks.length / images;
  return Array.from({ length: images }, (_, i) => [...tasks.subarray(i * count, (i + 1) * count)]);
}

/** Images and targets that the host has made. */
function voxelValues(
  { labeled, mixed, unlabeled }: StepBatch,
  terms: StepTerms,
  image: (name: string, values: Float32Array) => void,
  mask: (name: string, values: Float32Array) => void,
): void {
  image('labeled.image', labeled.image);
  mask('labeled.target', labeled.target);
  if (mixed !== undefined && terms.mixed.length > 0) {
    image('mixed.image', mixed.image);
    if (terms.mixed.includes('synthetic')) mask('mixed.anyForeground', mixed.anyForeground);
    if (terms.mixed.includes('auxiliary')) {
      mask('mixed.targetA', mixed.targetA);
      mask('mixed.targetB', mixed.targetB);
    }
  }
  if (unlabeled !== undefined && terms.unlabeled.length > 0) {
    image('unlabeled.image', unlabeled.image);
    const cube = terms.unlabeled.includes('cube');
    const teacher = terms.unlabeled.includes('teacher') ? unlabeled.teacher : undefined;
    if (cube) mask('unlabeled.cubeLabel', unlabeled.cubeLabel);
    if (cube || teacher !== undefined) mask('unlabeled.inside', unlabeled.inside);
    if (teacher !== undefined) image('teacher.image', teacher.image);
  }
}

/** The tables from which `DeviceVolumes.cut` makes them on the device. */
function tableValues(
  { images, targets, mixed, unlabeled }: DeviceBatch,
  into: Map<string, { values: Float32Array; shape: readonly number[] }>,
): void {
  into.set('cut.images', images);
  into.set('cut.targets', targets);
  if (mixed !== undefined)
    for (const name of ['image', 'anyForeground', 'targetA', 'targetB'] as const)
      into.set(`cut.mixed.${name}`, mixed[name]);
  if (unlabeled !== undefined)
    for (const name of ['image', 'inside', 'cubeLabel'] as const) into.set(`cut.unlabeled.${name}`, unlabeled[name]);
}

/** The tensors behind a step's values: the same ones in every step, overwritten before it. */
export class StepInputs {
  private readonly tensors = new Map<string, PersistentTensor>();

  get<T extends Tensor>(name: string): T {
    return this.tensors.get(name)!.tensor as T;
  }

  /** Changes whenever a tensor is another one than before. */
  get signature(): string {
    return [...this.tensors].map(([name, { shape }]) => `${name} ${shape}`).join('; ');
  }

  /** True where a device holds them that takes in values while it computes. */
  get canPrefetch(): boolean {
    return [...this.tensors.values()].some((tensor) => tensor.canPrefetch);
  }

  async load(values: StepValues): Promise<void> {
    for (const [name, tensor] of this.tensors) {
      if (String(values.get(name)?.shape) === String(tensor.shape)) continue;
      tensor.dispose();
      this.tensors.delete(name);
    }
    for (const [name, { values: one, shape }] of values) {
      const tensor = this.tensors.get(name) ?? new PersistentTensor(shape);
      this.tensors.set(name, tensor);
      await tensor.take(one);
    }
  }

  /** Begins to bring the values of the next step to the device; they must not change before `load`. */
  prefetch(values: StepValues): void {
    for (const [name, { values: one, shape }] of values) {
      const tensor = this.tensors.get(name);
      if (one.length >= leastPrefetch && String(tensor?.shape) === String(shape)) tensor?.prefetch(one);
    }
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose();
    this.tensors.clear();
  }
}
