import type { Tensor } from '#tfjs';
import type { Plan } from '../config/plan.js';
import { comparesWithAverage, type LossTerm, promptsSynthetic, stepTerms } from '../config/steps.js';
import { promptCodes } from '../model/network.js';
import { partnerOf } from '../sampling/recipe.js';
import { type BatchShare, shareRows } from '../sampling/share.js';
import { PersistentTensor } from '../tfjs/ops/persistent.js';
import { lossWeights } from './groups.js';
import { groupValues } from './row-groups.js';
import { entropyShare } from './schedule.js';
import type { InputSource, StepData, StepValues } from './step-data.js';

/** Elements. Smaller tensors are copied with their step: to bring them ahead of it would cost more than the copy. */
const leastPrefetch = 4096;

type InputsPlan = Pick<Plan, 'tasks' | 'training' | 'cutmix' | 'losses'> & { readonly share?: BatchShare };

/**
 * What a step takes in: what its fields are made of, the codes of the prompts, the groups of rows and the weights that ramp. Of a plan
 * with a share, for the rows of that share.
 */
export function stepValues(plan: InputsPlan, data: StepData): StepValues {
  const { step, prompts } = data;
  const { rows } = shareRows(plan);
  const synthetic = plan.tasks.length;
  const terms = stepTerms(plan, step);
  const result = new Map(data.values());
  const codes = (name: string, tasks: readonly (readonly number[])[]) =>
    result.set(name, {
      values: promptCodes(tasks, synthetic),
      shape: [tasks.length, tasks[0]!.length, synthetic + 1],
    });
  const number = (name: string, value: number) => result.set(name, { values: Float32Array.of(value), shape: [] });
  const weight = (name: 'unsupervised' | 'agreement' | 'teacher') =>
    number(`${name}.weight`, lossWeights(plan, step)[name]);
  const groups = (name: string, tasks: readonly (readonly number[])[], images: readonly number[]) => {
    for (const [key, value] of groupValues(name, plan, tasks, images)) result.set(key, value);
  };

  codes(
    'labeled.prompts',
    rows.labeled.map((row) => prompts.labeled[row]!),
  );
  groups('labeled', prompts.labeled, rows.labeled);
  if (terms.mixed.length > 0) {
    const first = promptsSynthetic(terms) ? [synthetic] : [];
    const auxiliary = terms.mixed.includes('auxiliary');
    codes(
      'mixed.prompts',
      rows.mixed.map((row) => [...first, ...(auxiliary ? prompts.mixed[row]! : [])]),
    );
    // The rows of a, then those of b.
    const both = [...prompts.mixed.map(([a]) => [a]), ...prompts.mixed.map(([, b]) => [b])];
    const ofBoth = [...rows.mixed, ...rows.mixed.map((row) => prompts.mixed.length + row)];
    if (auxiliary) groups('auxiliary', both, ofBoth);
  }
  if (terms.unlabeled.length > 0) {
    const wants = (term: LossTerm) => terms.unlabeled.includes(term);
    const partners = prompts.unlabeled.map((_, i) => (wants('cubeTasks') ? prompts.labeled[partnerOf(i, plan)]! : []));
    const own = (i: number) => (wants('teacher') ? prompts.unlabeled[i]! : []);
    const real = Array.from({ length: synthetic }, (_, task) => task);
    codes(
      'unlabeled.prompts',
      rows.unlabeled.map((i) => [...(wants('unsupervised') ? real : []), synthetic, ...own(i), ...partners[i]!]),
    );
    if (wants('unsupervised')) weight('unsupervised');
    if (wants('cubeTasks')) groups('cubeTasks', partners, rows.unlabeled);
    if (wants('agreement')) weight('agreement');
    if (wants('teacher')) {
      weight('teacher');
      groups('teacher', prompts.unlabeled, rows.unlabeled);
    }
    if (comparesWithAverage(terms)) {
      codes(
        'unlabeled.cleanPrompts',
        rows.unlabeled.map((i) => [...(wants('agreement') ? real : []), ...own(i)]),
      );
      if (plan.losses.entropy !== null) number('entropy.share', entropyShare(plan, step));
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
