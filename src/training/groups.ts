import * as tf from '@tensorflow/tfjs-core';
import type { Plan } from '../config/plan.js';
import { auxiliaryLoss } from '../losses/auxiliary.js';
import { cubeLoss } from '../losses/cube.js';
import { ofPrompt } from '../losses/overlap.js';
import { supervisedLoss } from '../losses/supervised.js';
import { syntheticLoss } from '../losses/synthetic.js';
import { unsupervisedLoss } from '../losses/unsupervised.js';
import type { Normalization, VersemiNetwork } from '../model/network.js';
import type { LabeledGroup, MixedGroup, StepBatch, UnlabeledGroup } from '../sampling/types.js';
import { unsupervisedRamp } from './schedule.js';

/** Names of the loss terms, as events, reports and plans have them. */
export type LossTerm = 'dice' | 'crossEntropy' | 'synthetic' | 'auxiliary' | 'unsupervised' | 'cube';

export interface WeightedTerm {
  readonly name: LossTerm;
  readonly weight: number;
  readonly value: tf.Scalar;
}

/**
 * Images that go through the trunk together, and the loss terms made of them. No term spans two groups: the gradient of a
 * step is the sum of the groups' gradients, and only one group's activations need be in memory at a time.
 */
export interface LossGroup {
  readonly name: 'labeled' | 'mixed' | 'unlabeled';
  terms(): WeightedTerm[];
}

type StepPlan = Pick<Plan, 'tasks' | 'patchSizeVoxels' | 'training' | 'cutmix' | 'losses'>;

/** The labelled group, and those others that have a term with a weight, in the order in which they run. */
export function lossGroups(network: VersemiNetwork, plan: StepPlan, batch: StepBatch, stage: 1 | 2): LossGroup[] {
  const { losses } = plan;
  // always: these images move the statistics of the batch normalisations
  const groups: LossGroup[] = [{ name: 'labeled', terms: () => labeledTerms(network, plan, batch.labeled) }];
  const synthetic = losses.synthetic > 0;
  const auxiliary = losses.auxiliary > 0 && (stage === 1 || losses.auxiliaryInStage2);
  if (plan.training.mode === 'supervised') return groups;
  const { mixed, unlabeled } = batch;
  if (mixed !== undefined && (synthetic || auxiliary))
    groups.push({ name: 'mixed', terms: () => mixedTerms(network, plan, mixed, synthetic, auxiliary) });
  const cube = losses.cube > 0 && plan.cutmix.unlabeledMix === 'labeled-inside';
  if (stage === 2 && unlabeled !== undefined && (losses.unsupervised > 0 || cube))
    groups.push({ name: 'unlabeled', terms: () => unlabeledTerms(network, plan, unlabeled, batch.step, cube) });
  return groups;
}

/** Host values of the plan's patches as a tensor [n, depth, height, width]. */
function volumes(values: Float32Array, { patchSizeVoxels: [x, y, z] }: Pick<Plan, 'patchSizeVoxels'>): tf.Tensor4D {
  return tf.tensor4d(values, [values.length / (x * y * z), z, y, x]);
}

/**
 * Inference sees whole images, never mixes: so only the passes over unmixed images move the statistics that it uses.
 * (The released code lets every pass move them.)
 */
function predict(
  network: VersemiNetwork,
  plan: StepPlan,
  image: Float32Array,
  prompts: number[][],
  normalization: Normalization = 'batch',
): tf.Tensor5D {
  const images = tf.expandDims(volumes(image, plan), 4) as tf.Tensor5D;
  return network.logits(network.trunk(images), prompts, normalization);
}

/** L_sup: each image prompted with its own task. */
function labeledTerms(network: VersemiNetwork, plan: StepPlan, group: LabeledGroup): WeightedTerm[] {
  const { losses } = plan;
  const prompts = Array.from(group.tasks, (task) => [task]);
  const logits = predict(network, plan, group.image, prompts, 'follow');
  const loss = supervisedLoss(ofPrompt(logits, 0), volumes(group.target, plan));
  return [
    { name: 'dice', weight: losses.dice, value: loss.dice },
    { name: 'crossEntropy', weight: losses.crossEntropy, value: loss.crossEntropy },
  ];
}

/** L_syn and L_aux: each mix of two labelled images prompted with the synthetic task and with both images' tasks. */
function mixedTerms(
  network: VersemiNetwork,
  plan: StepPlan,
  group: MixedGroup,
  synthetic: boolean,
  auxiliary: boolean,
): WeightedTerm[] {
  const { losses } = plan;
  const prompts = Array.from(group.tasksA, (taskA, i) => [
    ...(synthetic ? [network.config.tasks] : []),
    ...(auxiliary ? [taskA, group.tasksB[i]!] : []),
  ]);
  const logits = predict(network, plan, group.image, prompts);
  const terms: WeightedTerm[] = [];
  if (synthetic) {
    const value = syntheticLoss(ofPrompt(logits, 0), volumes(group.anyForeground, plan));
    terms.push({ name: 'synthetic', weight: losses.synthetic, value });
  }
  if (auxiliary) {
    const first = synthetic ? 1 : 0;
    const value = auxiliaryLoss(
      { logits: ofPrompt(logits, first), target: volumes(group.targetA, plan) },
      { logits: ofPrompt(logits, first + 1), target: volumes(group.targetB, plan) },
      losses.auxiliaryCrossEntropy,
    );
    terms.push({ name: 'auxiliary', weight: losses.auxiliary, value });
  }
  return terms;
}

/** L_unsup and L_cube: each unlabelled mix prompted with every task. */
function unlabeledTerms(
  network: VersemiNetwork,
  plan: StepPlan,
  group: UnlabeledGroup,
  step: number,
  cube: boolean,
): WeightedTerm[] {
  const { losses, training } = plan;
  const { tasks } = network.config;
  const unsupervised = losses.unsupervised > 0;
  const prompt = unsupervised ? Array.from({ length: tasks + 1 }, (_, task) => task) : [tasks];
  const images = group.image.length / plan.patchSizeVoxels.reduce((product, size) => product * size, 1);
  const logits = predict(
    network,
    plan,
    group.image,
    Array.from({ length: images }, () => prompt),
  );
  const synthetic = ofPrompt(logits, prompt.length - 1);
  const terms: WeightedTerm[] = [];
  if (unsupervised) {
    const ramp = unsupervisedRamp(step, training.stage1Steps, losses.unsupervisedRampSteps);
    const value = unsupervisedLoss(logits, synthetic, losses.aggregateGradient);
    terms.push({ name: 'unsupervised', weight: losses.unsupervised * ramp, value });
  }
  if (cube) {
    const value = cubeLoss(synthetic, volumes(group.cubeLabel, plan), volumes(group.inside, plan));
    terms.push({ name: 'cube', weight: losses.cube, value });
  }
  return terms;
}
