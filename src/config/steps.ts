/** What a step of a plan consists of. All of it follows from the plan and the number of the step, which counts from 0. */
import type { Plan } from './plan.js';

/** Names of the loss terms, as events, reports and plans have them. */
export type LossTerm = 'dice' | 'crossEntropy' | 'synthetic' | 'auxiliary' | 'unsupervised' | 'cube' | 'teacher';

/** Images that go through the trunk of the network together. */
export type StepGroup = 'labeled' | 'mixed' | 'unlabeled';

/** The terms of a step, group by group; a group without terms does not run. */
export type StepTerms = Readonly<Record<StepGroup, readonly LossTerm[]>>;

/** The part of a plan that the terms of a step follow from. */
export type TermsPlan = Pick<Plan, 'cutmix' | 'losses'> & {
  readonly training: Pick<Plan['training'], 'mode' | 'stage1Steps'>;
};

/** Steps of the whole run. */
export function totalSteps({
  stage1Steps,
  stage2Steps,
}: Pick<Plan['training'], 'stage1Steps' | 'stage2Steps'>): number {
  return stage1Steps + stage2Steps;
}

/** Stage of a step. Supervised training has one stage only. */
export function stageOf(step: number, { mode, stage1Steps }: Pick<Plan['training'], 'mode' | 'stage1Steps'>): 1 | 2 {
  return mode === 'supervised' || step < stage1Steps ? 1 : 2;
}

/** First step of each stage that has any: all steps of a stage have the same terms. */
export function stageBegins({
  mode,
  stage1Steps,
  stage2Steps,
}: Pick<Plan['training'], 'mode' | 'stage1Steps' | 'stage2Steps'>): number[] {
  return mode === 'supervised' || stage1Steps === 0 || stage2Steps === 0 ? [0] : [0, stage1Steps];
}

export function stepTerms({ training, losses, cutmix }: TermsPlan, step: number): StepTerms {
  const stage = stageOf(step, training);
  const mixed = training.mode === 'semi-supervised';
  const unlabeled = stage === 2;
  const auxiliary = losses.auxiliary > 0 && (stage === 1 || losses.auxiliaryInStage2);
  const cube = losses.cube > 0 && cutmix.unlabeledMix === 'labeled-inside';
  const only = (...terms: [LossTerm, boolean][]) => terms.filter(([, wanted]) => wanted).map(([name]) => name);
  return {
    // Always: these images move the statistics of the batch normalisations.
    labeled: ['dice', 'crossEntropy'],
    mixed: only(['synthetic', mixed && losses.synthetic > 0], ['auxiliary', mixed && auxiliary]),
    unlabeled: only(
      ['unsupervised', unlabeled && losses.unsupervised > 0],
      ['cube', unlabeled && cube],
      ['teacher', unlabeled && losses.teacher > 0],
    ),
  };
}

/** How often an image passes through the trunk in a step, summed over images. */
export interface TrunkPasses {
  /** Forward and backward. */
  readonly training: number;
  /** Forward alone. */
  readonly forwardOnly: number;
}

/**
 * Trunk passes of a step with these terms. Forward and backward: the labelled images, the mixes of labelled images (half
 * as many) where a term reads them, and the mixes of unlabelled images where a term reads them. Forward alone: the
 * unlabelled images before they are mixed, through the averaged network, where the teacher's term compares with it. The
 * heads, whose cost is small, and levels that are computed again in the backward pass are not counted.
 */
export function trunkPasses(
  terms: StepTerms,
  { labeledBatchSize, unlabeledBatchSize }: Pick<Plan['training'], 'labeledBatchSize' | 'unlabeledBatchSize'>,
): TrunkPasses {
  const mixed = terms.mixed.length > 0 ? labeledBatchSize / 2 : 0;
  const unlabeled = terms.unlabeled.length > 0 ? unlabeledBatchSize : 0;
  return {
    training: labeledBatchSize + mixed + unlabeled,
    forwardOnly: terms.unlabeled.includes('teacher') ? unlabeledBatchSize : 0,
  };
}

/** Passes in units of one forward pass: the backward pass costs two, one for the activations and one for the weights. */
export function forwardPasses({ training, forwardOnly }: TrunkPasses): number {
  return 3 * training + forwardOnly;
}
