import * as tf from '#tfjs';
import type { Plan } from '../config/plan.js';
import {
  comparesWithAverage,
  isOwnTerm,
  type LossTerm,
  promptsSynthetic,
  type StepGroup,
  type StepTerms,
} from '../config/steps.js';
import { VersemiError } from '../errors.js';
import { agreementLoss } from '../losses/agreement.js';
import { auxiliaryLoss } from '../losses/auxiliary.js';
import { cubeLoss } from '../losses/cube.js';
import { cubeTasksLoss } from '../losses/cube-tasks.js';
import { ofPrompt } from '../losses/overlap.js';
import { ownLossTerms } from '../losses/own-term.js';
import { supervisedLoss } from '../losses/supervised.js';
import { syntheticLoss } from '../losses/synthetic.js';
import { teacherLoss } from '../losses/teacher.js';
import { unsupervisedLoss } from '../losses/unsupervised.js';
import type { Normalization, VersemiNetwork } from '../model/network.js';
import { type Findings, findings } from './findings.js';
import { rowGroups } from './row-groups.js';
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
  given?(): Findings;
  terms(given?: Findings): WeightedTerm[];
}

type StepPlan = Pick<Plan, 'tasks' | 'training' | 'cutmix' | 'losses'>;

/** Weights of all terms in a step (counted from 0); those of `unsupervised`, `agreement` and `teacher` may change from step to step. */
export function lossWeights(
  { training, losses }: Pick<Plan, 'training' | 'losses'>,
  step: number,
): Readonly<Record<LossTerm, number>> {
  const { dice, crossEntropy, synthetic, auxiliary, unsupervised, cube, cubeTasks, agreement, teacher } = losses;
  const ramp = unsupervisedRamp(step, training.stage1Steps, losses);
  const ramped = { unsupervised: unsupervised * ramp, agreement: agreement * ramp, teacher: teacher * ramp };
  const own = Object.entries(losses.own ?? {}).map(([name, weight]) => [`own.${name}`, weight]);
  return { dice, crossEntropy, synthetic, auxiliary, cube, cubeTasks, ...ramped, ...Object.fromEntries(own) };
}

/**
 * The groups that have terms, in the order in which they run.
 * @param averageNetwork a network with the averaged weights; needed where a term compares with it
 */
export function lossGroups(
  network: VersemiNetwork,
  averageNetwork: VersemiNetwork | undefined,
  plan: StepPlan,
  inputs: InputSource,
  terms: StepTerms,
): LossGroup[] {
  const all: LossGroup[] = [
    { name: 'labeled', terms: () => labeledTerms(network, plan, inputs, terms.labeled) },
    { name: 'mixed', terms: () => mixedTerms(network, plan, inputs, terms.mixed) },
    {
      name: 'unlabeled',
      ...(comparesWithAverage(terms) ? { given: () => findings(averageNetwork!, plan, inputs, terms) } : {}),
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
  { training, cutmix }: StepPlan,
  inputs: InputSource,
  group: StepGroup,
  normalization: Normalization = 'batch',
): tf.Tensor5D {
  const prompts = inputs.get<tf.Tensor3D>(`${group}.prompts`);
  const { recomputedLevels } = training;
  const trunk = network.trunk(inputs.get(imageOf(group, cutmix)), recomputedLevels);
  return network.logits(trunk, prompts, normalization, recomputedLevels);
}

/** The field that the network sees of a group: unlabelled images that are not mixed stay as they are. */
function imageOf(group: StepGroup, { unlabeledMix }: Pick<Plan['cutmix'], 'unlabeledMix'>): string {
  return group === 'unlabeled' && unlabeledMix === 'none' ? 'unlabeled.clean' : `${group}.image`;
}

/** Where the labels of a group are known; undefined where they are everywhere. */
function known(inputs: InputSource, group: 'labeled' | 'mixed'): tf.Tensor | undefined {
  return inputs.has(`${group}.known`) ? inputs.get(`${group}.known`) : undefined;
}

/** L_sup: each image prompted with its own task or tasks. */
function labeledTerms(
  network: VersemiNetwork,
  plan: StepPlan,
  inputs: InputSource,
  wanted: readonly LossTerm[],
): WeightedTerm[] {
  const { losses } = plan;
  const logits = predict(network, plan, inputs, 'labeled', 'follow');
  const loss = supervisedLoss(
    ofPrompt(logits, 0, logits.shape[1]),
    inputs.get('labeled.target'),
    known(inputs, 'labeled'),
    rowGroups('labeled', plan, inputs),
  );
  return [
    { name: 'dice', weight: losses.dice, value: loss.dice },
    { name: 'crossEntropy', weight: losses.crossEntropy, value: loss.crossEntropy },
    ...ownTerms('labeled', plan, inputs, wanted, logits),
  ];
}

/**
 * The terms of one's own in a group, see `losses/own-term.ts`.
 * @param logits of all prompts of the group; of a mix, those of its first prompt, the synthetic task, are for these terms
 */
function ownTerms(
  group: StepGroup,
  { losses, cutmix }: StepPlan,
  inputs: InputSource,
  wanted: readonly LossTerm[],
  all: tf.Tensor5D,
): WeightedTerm[] {
  const first = <T extends tf.Tensor>(x: T): T =>
    group === 'mixed' && x.shape[1] !== 1 ? tf.slice(x, [0, 0], [x.shape[0]!, 1]) : x;
  const logits = first(all);
  const masks = (name: string) => tf.reshape(inputs.get(`${group}.${name}`), logits.shape) as tf.Tensor5D;
  const ofGroup = () => {
    if (group === 'unlabeled')
      return cutmix.unlabeledMix === 'none' ? {} : { partner: inputs.get<tf.Tensor4D>('unlabeled.partner') };
    const target = masks(group === 'mixed' ? 'anyForeground' : 'target');
    return { target, ...(inputs.has(`${group}.known`) ? { known: masks('known') } : {}) };
  };
  return wanted.filter(isOwnTerm).map((name) => {
    const part = name.slice('own.'.length);
    const value = ownLossTerms.get(part, `losses.own.${part}`).value({
      logits,
      prompts: first(inputs.get<tf.Tensor3D>(`${group}.prompts`)),
      image: inputs.get(imageOf(group, cutmix)),
      ...ofGroup(),
    });
    return { name, weight: losses.own![part]!, value: scalarOf(value, part) };
  });
}

/** @throws VERSEMI_PART_INVALID where a term of one's own is no scalar */
function scalarOf(value: tf.Tensor, part: string): tf.Scalar {
  if (value instanceof tf.Tensor && value.size === 1) return tf.reshape(value, []) as tf.Scalar;
  throw new VersemiError('PART_INVALID', {
    field: `loss term ${part}`,
    expected: 'a tensor of one number',
    found: value instanceof tf.Tensor ? `a tensor [${value.shape}]` : typeof value,
    remedy: 'Take the mean or the sum over all voxels.',
  });
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
  const terms: WeightedTerm[] = [];
  if (wanted.includes('synthetic')) {
    const value = syntheticLoss(ofPrompt(logits, 0), inputs.get('mixed.anyForeground'), known(inputs, 'mixed'));
    terms.push({ name: 'synthetic', weight: losses.synthetic, value });
  }
  if (wanted.includes('auxiliary')) {
    const first = promptsSynthetic({ mixed: wanted }) ? 1 : 0;
    const value = auxiliaryLoss(
      { logits: ofPrompt(logits, first), target: inputs.get('mixed.targetA') },
      { logits: ofPrompt(logits, first + 1), target: inputs.get('mixed.targetB') },
      losses.auxiliaryCrossEntropy,
      known(inputs, 'mixed'),
      rowGroups('auxiliary', plan, inputs),
    );
    terms.push({ name: 'auxiliary', weight: losses.auxiliary, value });
  }
  terms.push(...ownTerms('mixed', plan, inputs, wanted, logits));
  return terms;
}

/**
 * L_unsup, L_cube, L_cubeTasks, L_agree and L_teacher. Each unlabelled mix is prompted, in this order and as far as the terms
 * need it, with every task, with the synthetic task, with the own tasks of its image for L_teacher, and with those of the
 * labelled image in it for L_cubeTasks.
 */
function unlabeledTerms(
  network: VersemiNetwork,
  plan: StepPlan,
  inputs: InputSource,
  wanted: readonly LossTerm[],
  given: Findings | undefined,
): WeightedTerm[] {
  const { losses, tasks, cutmix } = plan;
  const logits = predict(network, plan, inputs, 'unlabeled');
  const real = wanted.includes('unsupervised') ? tasks.length : 0;
  const synthetic = () => ofPrompt(logits, real);
  const partner = () => inputs.get<tf.Tensor4D>('unlabeled.partner');
  const labeledPartner = () =>
    inputs.get<tf.Tensor4D>(inputs.has('unlabeled.partnerKnown') ? 'unlabeled.partnerKnown' : 'unlabeled.partner');
  const own = () => (cutmix.unlabeledMix === 'none' ? undefined : tf.sub(1, partner()));
  const weightOf = (name: 'unsupervised' | 'agreement' | 'teacher') => inputs.get<tf.Scalar>(`${name}.weight`);
  let next = real + 1;
  /** The logits of prompts of each image, of which the next `count` have not been read yet. */
  const take = (count: number) => {
    const first = next;
    next += count;
    return ofPrompt(logits, first, count);
  };
  const terms: WeightedTerm[] = [];
  if (wanted.includes('unsupervised')) {
    const value = unsupervisedLoss(logits, real, synthetic(), losses.aggregateGradient);
    terms.push({ name: 'unsupervised', weight: weightOf('unsupervised'), value });
  }
  if (wanted.includes('cube')) {
    const value = cubeLoss(synthetic(), inputs.get('unlabeled.cubeLabel'), labeledPartner());
    terms.push({ name: 'cube', weight: losses.cube, value });
  }
  const ownPrompts = wanted.includes('teacher') ? given!.tasks!.target.shape[0]! / logits.shape[0] : 0;
  const ofOwn = wanted.includes('teacher') ? take(ownPrompts) : undefined;
  if (wanted.includes('cubeTasks')) {
    const count = logits.shape[1] - next;
    const target = partnerTargets(plan, inputs, count);
    const region = repeated(labeledPartner(), count);
    const value = cubeTasksLoss(take(count), target, region, rowGroups('cubeTasks', plan, inputs));
    terms.push({ name: 'cubeTasks', weight: losses.cubeTasks, value });
  }
  if (wanted.includes('agreement')) {
    const { label, everywhere } = given!.aggregate!;
    const value = agreementLoss(synthetic(), label, everywhere ? undefined : own(), losses.consistency);
    terms.push({ name: 'agreement', weight: weightOf('agreement'), value });
  }
  if (ofOwn !== undefined) {
    const region = own();
    const value = teacherLoss(
      ofOwn,
      given!.tasks!,
      region && repeated(region, ownPrompts),
      losses.consistency,
      rowGroups('teacher', plan, inputs),
    );
    terms.push({ name: 'teacher', weight: weightOf('teacher'), value });
  }
  terms.push(...ownTerms('unlabeled', plan, inputs, wanted, logits));
  return terms;
}

/** One patch per image as one per prompt of each image: [n, ...] to [n * count, ...]. */
function repeated(patches: tf.Tensor, count: number): tf.Tensor {
  const [n, ...volume] = patches.shape;
  const tiled = tf.tile(tf.expandDims(patches, 1), [1, count, ...volume.map(() => 1)]);
  return tf.reshape(tiled, [n! * count, ...volume]);
}

/** Targets of the labelled patch that each unlabelled one is mixed with (`partnerOf`), [unlabelled * count, ...]. */
function partnerTargets({ training }: StepPlan, inputs: InputSource, count: number): tf.Tensor {
  if (inputs.has('unlabeled.partnerTarget')) return inputs.get('unlabeled.partnerTarget');
  const { labeledBatchSize, unlabeledBatchSize } = training;
  const all = inputs.get('labeled.target');
  const parts: tf.Tensor[] = [];
  for (let left = unlabeledBatchSize; left > 0; left -= labeledBatchSize)
    parts.push(left >= labeledBatchSize ? all : tf.slice(all, 0, left * count));
  return parts.length === 1 ? parts[0]! : tf.concat(parts);
}
