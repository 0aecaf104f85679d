import * as tf from '#tfjs';
import type { Plan } from '../config/plan.js';
import {
  comparesWithAverage,
  type LossTerm,
  type LossValues,
  type StepGroup,
  type StepTerms,
  stepTerms,
} from '../config/steps.js';
import { VersemiError } from '../errors.js';
import { VersemiNetwork } from '../model/network.js';
import { type Communicator, solo } from '../ranks/communicator.js';
import { type BatchShare, shareRows } from '../sampling/share.js';
import { variableGradients, withBatchParts } from '../tfjs/ops/index.js';
import { RepeatedComputation } from '../tfjs/ops/repeated.js';
import { averagedLogits, type Findings, largestComponents } from './findings.js';
import { type LossGroup, lossGroups, lossWeights } from './groups.js';
import { StepInputs, stepValues } from './inputs.js';
import { Optimizer, type OptimizerState, WeightAverage } from './optimizer.js';
import { hostSums, type PendingTensor, type RankSums } from './rank-sums.js';
import { averageDecayAt, learningRateAt } from './schedule.js';
import type { InputSource, StepData } from './step-data.js';

/** What a run changes from step to step. */
export interface TrainingState {
  readonly network: VersemiNetwork;
  readonly optimizer: Optimizer;
  readonly average: WeightAverage;
  readonly program: StepProgram;
  /** A network that takes the average as its weights, where a term of the plan compares with it. */
  readonly averageNetwork: VersemiNetwork | undefined;
}

/** What a step was: its losses, learning rate and gradient. */
export interface StepResult {
  /** Loss terms before their weights, and `total`, their weighted sum. */
  readonly losses: Readonly<LossValues & { total: number }>;
  readonly learningRate: number;
  /** Euclidean norm of the whole gradient, before clipping. */
  readonly gradientNorm: number;
}

/**
 * A state to begin with, or to go on with when `saved` is given.
 * @param ranks with which every step is computed together; each has a state of its own, and all are the same at all times
 * @param sums how tensors are summed over the ranks; default: through the host
 * @param saved memory of the optimiser and average of the weights, by name, in the shapes of `parameterSpecs`
 */
export function createState(
  network: VersemiNetwork,
  { training, losses }: Pick<Plan, 'training' | 'losses'>,
  saved?: {
    readonly optimizer: OptimizerState;
    readonly average: ReadonlyMap<string, Float32Array>;
  },
  ranks: Communicator = solo,
  sums: RankSums = hostSums(ranks),
): TrainingState {
  const optimizer = new Optimizer(network.parameters, training, saved?.optimizer);
  const average = new WeightAverage(network.parameters, network.buffers, saved?.average);
  const taught = training.mode === 'semi-supervised' && (losses.teacher > 0 || losses.agreement > 0);
  // The values that it begins with do not count: the average is copied over them in each step.
  const averageNetwork = taught ? new VersemiNetwork(network.config, 0) : undefined;
  const program = new StepProgram(network, optimizer, average, averageNetwork, ranks, sums);
  return { network, optimizer, average, averageNetwork, program };
}

/** Frees networks, optimiser and average of a state. */
export function disposeState({ network, optimizer, average, program, averageNetwork }: TrainingState): void {
  averageNetwork?.dispose();
  program.dispose();
  network.dispose();
  optimizer.dispose();
  average.dispose();
}

/** The part of a plan that a step follows from, and which part of its batch this process has. */
export type TrainingPlan = Pick<Plan, 'tasks' | 'training' | 'cutmix' | 'losses'> & { readonly share?: BatchShare };

/**
 * Does one step: losses and gradients group by group, the optimiser, moving average. The parameters are unchanged when it throws.
 * @param next gives the data of the next step, which are brought to the device while this one computes; asked for only
 *   where that gains something. The data must not change before their step.
 * @throws VERSEMI_TRAINING_NOT_FINITE naming the step and the loss term, or the parameter whose gradient it is
 */
export async function runStep(
  { optimizer, average, program }: TrainingState,
  plan: TrainingPlan,
  data: StepData,
  next?: () => Promise<StepData | undefined>,
): Promise<StepResult> {
  const { training } = plan;
  const { step } = data;
  const { names, numbers, free } = await program.start(plan, data);
  const reading = numbers.data();
  if (next !== undefined && program.canPrefetch)
    next().then(
      (coming) => coming && program.prefetch(plan, coming),
      () => {}, // Whoever asks for these data learns of the error.
    );
  const read = await reading;
  free();
  const weights = lossWeights(plan, step);
  const losses: LossValues = {};
  let total = 0;
  for (const [i, name] of names.entries()) {
    losses[name] = read[i]!;
    total += weights[name]! * read[i]!;
    if (!Number.isFinite(read[i])) throw notFinite(step, `loss term ${name}`, read[i]!);
  }
  const gradientNorm = Math.sqrt(read[names.length]!);
  if (!Number.isFinite(gradientNorm)) {
    const name = await optimizer.firstNotFinite();
    throw notFinite(step, name === undefined ? 'norm of the gradient' : `gradient of ${name}`, gradientNorm);
  }

  const learningRate = learningRateAt(step, training);
  const clip = training.gradientClipNorm;
  optimizer.apply(step + 1, learningRate, clip !== null && gradientNorm > clip ? clip / gradientNorm : 1);
  average.update(averageDecayAt(step + 1, training.emaDecay));
  return { losses: { ...losses, total }, learningRate, gradientNorm };
}

/**
 * Losses and gradients of a step. With several ranks each computes its share of every group; sums over the batch are over all ranks
 * before gradients are taken, and the gradients of a group are summed over the ranks while the next group computes. Steps of a stage have the same shapes and the same kernel calls: on a device that can, they
 * are recorded once and replayed. What changes from step to step enters through `StepInputs`.
 */
export class StepProgram {
  private readonly inputs = new StepInputs();
  /** What the host has found in the logits of the averaged network. */
  private readonly found = new StepInputs();
  private averaged: RepeatedComputation<tf.Tensor> | undefined;
  private computation: RepeatedComputation<tf.Tensor1D> | undefined;
  private key = '';
  private names: LossTerm[] = [];
  private told = false;

  constructor(
    private readonly network: VersemiNetwork,
    private readonly optimizer: Optimizer,
    private readonly weights: WeightAverage,
    private readonly averageNetwork: VersemiNetwork | undefined,
    private readonly ranks: Communicator,
    private readonly sums: RankSums,
  ) {}

  /**
   * Calls all kernels that make the losses and gradients of a step, and hands the gradients to the optimiser.
   * @returns values of the terms in the order of `names`, then the squared norm of the gradient; call `free` after reading
   */
  async start(
    plan: TrainingPlan,
    data: StepData,
  ): Promise<{ names: readonly LossTerm[]; numbers: tf.Tensor1D; free: () => void }> {
    const terms = stepTerms(plan, data.step);
    await this.inputs.load(stepValues(plan, data));
    const alone = this.ranks.size === 1;
    const key = `${this.inputs.signature}; ${JSON.stringify([terms, plan.losses])}`;
    if (key !== this.key) {
      this.computation?.dispose();
      this.averaged?.dispose();
      this.averaged =
        plan.losses.largestComponent && comparesWithAverage(terms)
          ? new RepeatedComputation(() => this.average(plan, data), alone)
          : undefined;
      this.computation = new RepeatedComputation(() => this.compute(plan, terms, data), alone);
      this.names = [...terms.labeled, ...terms.mixed, ...terms.unlabeled];
      this.key = key;
    }
    if (this.averaged !== undefined) await this.search(this.averaged);
    const { results, free } = this.computation!.run();
    return { names: this.names, numbers: results, free };
  }

  /** True where the device takes in values while it computes. */
  get canPrefetch(): boolean {
    return this.inputs.canPrefetch;
  }

  prefetch(plan: TrainingPlan, data: StepData): void {
    this.inputs.prefetch(stepValues(plan, data));
  }

  /** Why the steps cannot be recorded on a device that records others; a sentence that is given once. */
  takeNotice(): string | undefined {
    const reason = this.computation?.refused;
    if (reason === undefined || this.told) return undefined;
    this.told = true;
    return `The kernels of a step are called one by one, not replayed as a graph: ${reason}.`;
  }

  dispose(): void {
    this.computation?.dispose();
    this.averaged?.dispose();
    this.inputs.dispose();
    this.found.dispose();
  }

  /** Logits of the averaged network, for the host to look for components in them. */
  private average(plan: TrainingPlan, data: Pick<StepData, 'tensors'>): tf.Tensor {
    return tf.tidy(() => {
      this.takeAverage();
      const logits = () => averagedLogits(this.averageNetwork!, plan, data.tensors(this.inputs));
      return tf.keep(this.inShare(plan, 'unlabeled', logits));
    });
  }

  private async search(averaged: RepeatedComputation<tf.Tensor>): Promise<void> {
    const { results, free } = averaged.run();
    const logits = Float32Array.from(await results.data());
    await this.found.load(largestComponents(logits, results.shape));
    free();
  }

  private takeAverage(): void {
    const { parameters, buffers } = this.averageNetwork!;
    this.weights.copyInto(parameters, buffers);
  }

  /** Computes `f` on this rank's part of a group, with sums over the parts of all ranks. */
  private inShare<T>(plan: TrainingPlan, group: StepGroup, f: () => T): T {
    const { ranks, sums } = this;
    if (ranks.size === 1) return f();
    const counts = shareRows(plan).counts[group];
    const parts = {
      counts,
      ...(sums.sum === undefined ? {} : { sumOnDevice: <T extends tf.Tensor>(x: T) => sums.sum!(x, counts) }),
      allReduceSum: (values: Float32Array) => ranks.allReduceSum(values),
      allGather: (values: Float64Array) => ranks.allGather(values),
    };
    return withBatchParts(parts, f);
  }

  /** @param data only `tensors` is called, which does the same in every step with these terms */
  private compute(plan: TrainingPlan, terms: StepTerms, data: Pick<StepData, 'tensors'>): tf.Tensor1D {
    const groups: GroupGradients[] = [];
    try {
      return tf.tidy(() => {
        const { network, averageNetwork } = this;
        if (comparesWithAverage(terms)) this.takeAverage();
        const made = data.tensors(this.inputs);
        const inputs: InputSource = {
          get: (name) => (this.found.has(name) ? this.found : made).get(name),
          has: (name) => this.found.has(name) || made.has(name),
        };
        const pending: PendingTensor[] = [];
        for (const group of lossGroups(network, averageNetwork, plan, inputs, terms)) {
          const gradients = this.inShare(plan, group.name, () => groupGradients(network, this.optimizer, group));
          groups.push(gradients);
          if (this.ranks.size > 1) pending.push(this.sums.start(gradients.gradients));
        }
        const summed = pending.length > 0 ? pending.map((sum) => sum.wait()) : groups.map(({ gradients }) => gradients);
        const squaredNorm = this.optimizer.take(summed);
        return tf.keep(tf.concat([...groups.map(({ values }) => values), squaredNorm]));
      });
    } finally {
      for (const { values } of groups) values.dispose();
    }
  }
}

interface GroupGradients {
  /** Values of the terms, [terms]; outlives a tidy. */
  readonly values: tf.Tensor1D;
  /** See `Optimizer.pack`. */
  readonly gradients: tf.Tensor1D;
}

function groupGradients(network: VersemiNetwork, optimizer: Optimizer, group: LossGroup): GroupGradients {
  let values: tf.Tensor1D | undefined;
  let given: Findings | undefined;
  const loss = () => {
    const terms = group.terms(given);
    values = tf.keep(tf.stack(terms.map(({ value }) => value)) as tf.Tensor1D);
    return terms
      .map(({ value, weight }) => tf.mul(value, weight) as tf.Scalar)
      .reduce((sum, term) => tf.add(sum, term));
  };
  try {
    const gradients = tf.tidy(() => {
      given = group.given && (tf.tidy(group.given as () => tf.TensorContainer) as Findings);
      const { grads } = variableGradients(loss, [...network.parameters.values()]);
      // By the name of the variable; null where the loss does not depend on a parameter (a bias before a normalisation).
      const byVariable = grads as Record<string, tf.Tensor | null>;
      const byName = [...network.parameters].flatMap(([name, variable]) => {
        const gradient = byVariable[variable.name];
        return gradient ? [[name, gradient] as const] : [];
      });
      return optimizer.pack(new Map(byName));
    });
    return { values: values!, gradients };
  } catch (error) {
    values?.dispose();
    throw error;
  }
}

function notFinite(step: number, field: string, found: number): VersemiError {
  return new VersemiError('TRAINING_NOT_FINITE', {
    field: `step ${step + 1}, ${field}`,
    expected: 'a finite number',
    found: String(found),
    remedy:
      'Resume from the last checkpoint with a lower learning rate or with gradientClipNorm, and check the intensities.',
  });
}
