import * as tf from '@tensorflow/tfjs-core';
import type { Plan } from '../config/plan.js';
import type { LossTerm, StepGroup, StepTerms } from '../config/steps.js';
import { auxiliaryLoss } from '../losses/auxiliary.js';
import { cubeLoss } from '../losses/cube.js';
import { ofPrompt } from '../losses/overlap.js';
import { supervisedLoss } from '../losses/supervised.js';
import { syntheticLoss } from '../losses/synthetic.js';
import { teacherLoss, teacherTarget } from '../losses/teacher.js';
import { unsupervisedLoss } from '../losses/unsupervised.js';
import type { Normalization, VersemiNetwork } from '../model/network.js';
import { unsupervisedRamp } from './schedule.js';
import type { InputSource } from './step-data.js';

export interface WeightedTerm {
  readonly name: LossTerm;
  /** A tensor where the weight changes from step to step. */
  readonly weight: number | tf.Scalar;
  readonly value: tf.Scalar;
}

/**
 * Images that go through the trunk together, and the loss terms made of them. No term spans two groups: the gradient of a
 * step is the sum of the groups' gradients, and only one group's activations need be in memory at a time.
 */
export interface LossGroup {
  readonly name: StepGroup;
  /** A target that the terms take as a constant. It is made before the terms: no gradient flows into it, and no activation is kept for one. */
  given?(): tf.Tensor;
  terms(given?: tf.Tensor): WeightedTerm[];
}

type StepPlan = Pick<Plan, 'tasks' | 'training' | 'losses'>;

/** Weights of all terms in a step (counted from 0); those of `unsupervised` and `teacher` may change from step to step. */
export function lossWeights(
  { training, losses }: Pick<Plan, 'training' | 'losses'>,
  step: number,
): Readonly<Record<LossTerm, number>> {
  const { dice, crossEntropy, synthetic, auxiliary, unsupervised, cube, teacher, unsupervisedRampSteps } = losses;
  const ramp = unsupervisedRamp(step, training.stage1Steps, unsupervisedRampSteps);
  return { dice, crossEntropy, synthetic, auxiliary, unsupervised: unsupervised * ramp, cube, teacher: teacher * ramp };
}

/**
 * The groups that have terms, in the order in which they run.
 * @param averageNetwork a network with the averaged weights; needed where the teacher's term compares with it
 */
export function lossGroups(
  network: VersemiNetwork,
  averageNetwork: VersemiNetwork | undefined,
  plan: StepPlan,
  inputs: InputSource,
  terms: StepTerms,
): LossGroup[] {
  const all: LossGroup[] = [
    { name: 'labeled', terms: () => labeledTerms(network, plan, inputs) },
    { name: 'mixed', terms: () => mixedTerms(network, plan, inputs, terms.mixed) },
    {
      name: 'unlabeled',
      ...(terms.unlabeled.includes('teacher') ? { given: () => averageTargets(averageNetwork!, inputs) } : {}),
      terms: (given) => unlabeledTerms(network, plan, inputs, terms.unlabeled, given),
    },
  ];
  return all.filter(({ name }) => terms[name].length > 0);
}

/**
 * The logits of a group. Inference sees whole images, never mixes: so only the pass over labelled images moves the
 * statistics that inference normalises with.
 * (The released code lets every pass move them.)
 */
function predict(
  network: VersemiNetwork,
  { training }: StepPlan,
  inputs: InputSource,
  group: StepGroup,
  normalization: Normalization = 'batch',
): tf.Tensor5D {
  const prompts = inputs.get<tf.Tensor3D>(`${group}.prompts`);
  const { recomputedLevels } = training;
  const trunk = network.trunk(inputs.get(`${group}.image`), recomputedLevels);
  return network.logits(trunk, prompts, normalization, recomputedLevels);
}

/** Where the labels of a group are known; undefined where they are everywhere. */
function known(inputs: InputSource, group: 'labeled' | 'mixed'): tf.Tensor | undefined {
  return inputs.has(`${group}.known`) ? inputs.get(`${group}.known`) : undefined;
}

/** L_sup: each image prompted with its own task or tasks. */
function labeledTerms(network: VersemiNetwork, plan: StepPlan, inputs: InputSource): WeightedTerm[] {
  const { losses } = plan;
  const logits = predict(network, plan, inputs, 'labeled', 'follow');
  const loss = supervisedLoss(
    ofPrompt(logits, 0, logits.shape[1]),
    inputs.get('labeled.target'),
    known(inputs, 'labeled'),
  );
  return [
    { name: 'dice', weight: losses.dice, value: loss.dice },
    { name: 'crossEntropy', weight: losses.crossEntropy, value: loss.crossEntropy },
  ];
}

/** L_syn and L_aux: each mix of two labelled images prompted with the synthetic task and with both images' tasks. */
function mixedTerms(
  network: VersemiNetwork,
  plan: StepPlan,
  inputs: InputSource,
  wanted: readonly LossTerm[],
): WeightedTerm[] {
  const { losses } = plan;
  const logits = predict(network, plan, inputs, 'mixed');
  const synthetic = wanted.includes('synthetic');
  const terms: WeightedTerm[] = [];
  if (synthetic) {
    const value = syntheticLoss(ofPrompt(logits, 0), inputs.get('mixed.anyForeground'), known(inputs, 'mixed'));
    terms.push({ name: 'synthetic', weight: losses.synthetic, value });
  }
  if (wanted.includes('auxiliary')) {
    const first = synthetic ? 1 : 0;
    const value = auxiliaryLoss(
      { logits: ofPrompt(logits, first), target: inputs.get('mixed.targetA') },
      { logits: ofPrompt(logits, first + 1), target: inputs.get('mixed.targetB') },
      losses.auxiliaryCrossEntropy,
      known(inputs, 'mixed'),
    );
    terms.push({ name: 'auxiliary', weight: losses.auxiliary, value });
  }
  return terms;
}

/** What the averaged network finds in the unlabelled images before they are mixed, [n * P, depth, height, width]. */
function averageTargets(averageNetwork: VersemiNetwork, inputs: InputSource): tf.Tensor {
  const trunk = averageNetwork.trunk(inputs.get('unlabeled.clean'));
  const logits = averageNetwork.logits(trunk, inputs.get<tf.Tensor3D>('unlabeled.cleanPrompts'), 'moving');
  return teacherTarget(ofPrompt(logits, 0, logits.shape[1]));
}

/**
 * L_unsup, L_cube and L_teacher. Each unlabelled mix is prompted, in this order and as far as the terms need it, with every
 * task, with the synthetic task, and with the own tasks of its image for L_teacher.
 */
function unlabeledTerms(
  network: VersemiNetwork,
  plan: StepPlan,
  inputs: InputSource,
  wanted: readonly LossTerm[],
  given: tf.Tensor | undefined,
): WeightedTerm[] {
  const { losses, tasks } = plan;
  const logits = predict(network, plan, inputs, 'unlabeled');
  const real = wanted.includes('unsupervised') ? tasks.length : 0;
  const terms: WeightedTerm[] = [];
  if (wanted.includes('unsupervised')) {
    const value = unsupervisedLoss(logits, real, ofPrompt(logits, real), losses.aggregateGradient);
    terms.push({ name: 'unsupervised', weight: inputs.get<tf.Scalar>('unsupervised.weight'), value });
  }
  if (wanted.includes('cube')) {
    const synthetic = ofPrompt(logits, real);
    const inside = inputs.has('unlabeled.cubeKnown') ? 'unlabeled.cubeKnown' : 'unlabeled.inside';
    const value = cubeLoss(synthetic, inputs.get('unlabeled.cubeLabel'), inputs.get(inside));
    terms.push({ name: 'cube', weight: losses.cube, value });
  }
  if (wanted.includes('teacher')) {
    const first = real + 1;
    const count = logits.shape[1] - first;
    const inside = inputs.get<tf.Tensor4D>('unlabeled.inside');
    const outside = tf.reshape(tf.tile(tf.expandDims(tf.sub(1, inside), 1), [1, count, 1, 1, 1]), given!.shape);
    const value = teacherLoss(ofPrompt(logits, first, count), given!, outside);
    terms.push({ name: 'teacher', weight: inputs.get<tf.Scalar>('teacher.weight'), value });
  }
  return terms;
}
