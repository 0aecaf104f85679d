import type { Tensor } from '@tensorflow/tfjs-core';
import type { Plan } from '../config/plan.js';
import { stepTerms } from '../config/steps.js';
import { promptCodes } from '../model/network.js';
import { PersistentTensor } from '../tfjs/ops/persistent.js';
import { lossWeights } from './groups.js';
import type { InputSource, StepData, StepValues } from './step-data.js';

/** Elements. Smaller tensors are copied with their step: to bring them ahead of it would cost more than the copy. */
const leastPrefetch = 4096;

/** What a step takes in: what its fields are made of, the codes of the prompts and the weights that ramp. */
export function stepValues(plan: Pick<Plan, 'tasks' | 'training' | 'cutmix' | 'losses'>, data: StepData): StepValues {
  const { step, prompts } = data;
  const synthetic = plan.tasks.length;
  const terms = stepTerms(plan, step);
  const result = new Map(data.values());
  const codes = (name: string, tasks: readonly (readonly number[])[]) =>
    result.set(name, {
      values: promptCodes(tasks, synthetic),
      shape: [tasks.length, tasks[0]!.length, synthetic + 1],
    });
  const weight = (name: 'unsupervised' | 'teacher') =>
    result.set(`${name}.weight`, { values: Float32Array.of(lossWeights(plan, step)[name]), shape: [] });

  codes('labeled.prompts', prompts.labeled);
  if (terms.mixed.length > 0) {
    const first = terms.mixed.includes('synthetic') ? [synthetic] : [];
    const auxiliary = terms.mixed.includes('auxiliary');
    codes(
      'mixed.prompts',
      prompts.mixed.map((both) => [...first, ...(auxiliary ? both : [])]),
    );
  }
  if (terms.unlabeled.length > 0) {
    const unsupervised = terms.unlabeled.includes('unsupervised');
    const teacher = terms.unlabeled.includes('teacher');
    const all = unsupervised ? Array.from({ length: synthetic + 1 }, (_, task) => task) : [synthetic];
    codes(
      'unlabeled.prompts',
      prompts.unlabeled.map((own) => [...all, ...(teacher ? own : [])]),
    );
    if (unsupervised) weight('unsupervised');
    if (teacher) {
      codes('unlabeled.cleanPrompts', prompts.unlabeled);
      weight('teacher');
    }
  }
  return result;
}

/** The tensors that hold the values of a step: the same tensors in every step, overwritten before it. */
export class StepInputs implements InputSource {
  private readonly tensors = new Map<string, PersistentTensor>();

  get<T extends Tensor>(name: string): T {
    return this.tensors.get(name)!.tensor as T;
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** Names and shapes: changes whenever a tensor is replaced by another one. */
  get signature(): string {
    return [...this.tensors].map(([name, { shape }]) => `${name} ${shape}`).join('; ');
  }

  /** True where the device takes in values while it computes. */
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
