import * as tf from '@tensorflow/tfjs-core';
import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import type { VersemiNetwork } from '../model/network.js';
import type { StepBatch } from '../sampling/types.js';
import { type LossGroup, type LossTerm, lossGroups } from './groups.js';
import { Adam, WeightAverage } from './optimizer.js';
import { emaDecayAt, learningRateAt, stageOf } from './schedule.js';

/** What changes from step to step. */
export interface TrainingState {
  readonly network: VersemiNetwork;
  readonly adam: Adam;
  readonly average: WeightAverage;
}

export interface StepResult {
  /** Loss terms before their weights, and `total`, their weighted sum. */
  readonly losses: Readonly<Partial<Record<LossTerm, number>> & { total: number }>;
  readonly learningRate: number;
  /** Euclidean norm of the whole gradient, before clipping. */
  readonly gradientNorm: number;
}

/** A state to begin with, or to go on with when `saved` is given. */
export function createState(
  network: VersemiNetwork,
  training: Plan['training'],
  saved?: {
    readonly moments: { readonly first: Float32Array; readonly second: Float32Array };
    readonly average: ReadonlyMap<string, Float32Array>;
  },
): TrainingState {
  return {
    network,
    adam: new Adam(network.parameters, training, saved?.moments),
    average: new WeightAverage(network.parameters, network.buffers, saved?.average),
  };
}

export function disposeState({ network, adam, average }: TrainingState): void {
  network.dispose();
  adam.dispose();
  average.dispose();
}

/**
 * One step: losses and gradients group by group, Adam, moving average. The parameters are unchanged when it throws.
 * @param step counts from 0
 * @throws VERSEMI_TRAINING_NOT_FINITE naming the step and the loss term, or the parameter whose gradient it is
 */
export async function trainingStep(
  { network, adam, average }: TrainingState,
  plan: Pick<Plan, 'tasks' | 'patchSizeVoxels' | 'training' | 'cutmix' | 'losses'>,
  batch: StepBatch,
  step: number,
): Promise<StepResult> {
  const { training } = plan;
  const stage = stageOf(step, training);
  const { names, weights, numbers } = tf.tidy(() => {
    const groups = lossGroups(network, plan, batch, stage).map((group) => groupGradients(network, adam, group));
    const squaredNorm = adam.take(groups.map(({ gradients }) => gradients));
    const numbers = tf.concat([...groups.map(({ values }) => values), squaredNorm]);
    for (const { values } of groups) values.dispose();
    return {
      names: groups.flatMap((group) => group.names),
      weights: groups.flatMap((group) => group.weights),
      numbers,
    };
  });
  const read = await numbers.data();
  numbers.dispose();
  const losses: Partial<Record<LossTerm, number>> = {};
  let total = 0;
  for (const [i, name] of names.entries()) {
    losses[name] = read[i]!;
    total += weights[i]! * read[i]!;
    if (!Number.isFinite(read[i])) throw notFinite(step, `loss term ${name}`, read[i]!);
  }
  const gradientNorm = Math.sqrt(read[names.length]!);
  if (!Number.isFinite(gradientNorm)) {
    const name = await adam.firstNotFinite();
    throw notFinite(step, name === undefined ? 'norm of the gradient' : `gradient of ${name}`, gradientNorm);
  }

  const learningRate = learningRateAt(step, training);
  const clip = training.gradientClipNorm;
  adam.apply(step + 1, learningRate, clip !== null && gradientNorm > clip ? clip / gradientNorm : 1);
  average.update(emaDecayAt(step + 1, training.emaDecay));
  return { losses: { ...losses, total }, learningRate, gradientNorm };
}

interface GroupGradients {
  readonly names: LossTerm[];
  readonly weights: number[];
  /** Values of the terms, [terms]; outlives a tidy. */
  readonly values: tf.Tensor1D;
  /** See `Adam.pack`. */
  readonly gradients: tf.Tensor1D;
}

function groupGradients(network: VersemiNetwork, adam: Adam, group: LossGroup): GroupGradients {
  let names: LossTerm[] = [];
  let weights: number[] = [];
  let values: tf.Tensor1D | undefined;
  const loss = () => {
    const terms = group.terms();
    names = terms.map(({ name }) => name);
    weights = terms.map(({ weight }) => weight);
    values = tf.keep(tf.stack(terms.map(({ value }) => value)) as tf.Tensor1D);
    return terms
      .map(({ value, weight }) => tf.mul(value, weight) as tf.Scalar)
      .reduce((sum, term) => tf.add(sum, term));
  };
  const gradients = tf.tidy(() => {
    const { grads } = tf.variableGrads(loss, [...network.parameters.values()]);
    // named by variable; null where a parameter does not enter (biases before a normalisation)
    const byVariable = grads as Record<string, tf.Tensor | null>;
    const byName = [...network.parameters].flatMap(([name, variable]) => {
      const gradient = byVariable[variable.name];
      return gradient ? [[name, gradient] as const] : [];
    });
    return adam.pack(new Map(byName));
  });
  return { names, weights, values: values!, gradients };
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
