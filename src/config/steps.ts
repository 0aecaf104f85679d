/** What a step of a plan consists of. All of it follows from the plan and the number of the step, which counts from 0. */
import { type Part, PartTable } from '../parts.js';
import type { Plan } from './schema.js';

/** What the terms of a step need to know of a loss term of one's own; the rest says `losses/own-term.ts`. */
const ownTerms = new PartTable<Part & { readonly group: StepGroup }>('lossTerms');

/** A loss term of one's own, by the name of the part. */
export type OwnTerm = `own.${string}`;

/** Whether worker threads know the loss terms of a plan, from which the fields of its steps follow. */
export function workersKnowTerms({ losses }: Pick<Plan, 'losses'>): boolean {
  return ownTerms.areInWorkers(Object.keys(losses.own ?? {}));
}

export function isOwnTerm(term: string): term is OwnTerm {
  return term.startsWith('own.');
}

/** Names of the loss terms of versemi, as events, reports and plans have them. */
export type BuiltInTerm =
  | 'dice'
  | 'crossEntropy'
  | 'synthetic'
  | 'auxiliary'
  | 'unsupervised'
  | 'cube'
  | 'cubeTasks'
  | 'agreement'
  | 'teacher';

/** Names of all loss terms, those of one's own included. */
export type LossTerm = BuiltInTerm | OwnTerm;

/** Numbers by loss term; terms that a step does not have are absent. */
export type LossValues = { [term in BuiltInTerm]?: number } & { [term: OwnTerm]: number };

/** Images that go through the trunk of the network together. */
export type StepGroup = 'labeled' | 'mixed' | 'unlabeled';

/** The terms of a step, group by group; a group without terms does not run. */
export type StepTerms = Readonly<Record<StepGroup, readonly LossTerm[]>>;

/** The part of a plan that the terms of a step follow from. */
export interface TermsPlan {
  readonly training: Pick<Plan['training'], 'mode' | 'stage1Steps'>;
  readonly cutmix: Pick<Plan['cutmix'], 'unlabeledMix'>;
  readonly losses: Pick<
    Plan['losses'],
    | 'synthetic'
    | 'auxiliary'
    | 'auxiliaryInStage2'
    | 'unsupervised'
    | 'cube'
    | 'cubeTasks'
    | 'agreement'
    | 'teacher'
    | 'own'
  >;
}

/** Steps of the whole run. */
export function totalSteps({
  stage1Steps,
  stage2Steps,
}: Pick<Plan['training'], 'stage1Steps' | 'stage2Steps'>): number {
  return stage1Steps + stage2Steps;
}

/** The field that says how long a run is: the steps of its last stage. */
export function lastStageSteps({ stage2Steps }: Pick<Plan['training'], 'stage2Steps'>): 'stage1Steps' | 'stage2Steps' {
  return stage2Steps === 0 ? 'stage1Steps' : 'stage2Steps';
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

/** Whether unlabelled images are mixed with labelled ones, whose labels are known in the mix. */
export function mixesWithLabeled({ unlabeledMix }: Pick<Plan['cutmix'], 'unlabeledMix'>): boolean {
  return unlabeledMix === 'labeled-inside' || unlabeledMix === 'both-sides';
}

/** Whether mixes of labelled images are prompted with the synthetic task: for its own term, and for terms of one's own. */
export function promptsSynthetic({ mixed }: Pick<StepTerms, 'mixed'>): boolean {
  return mixed.some((term) => term === 'synthetic' || isOwnTerm(term));
}

/** Whether a term of a step compares with the moving average of the network. */
export function comparesWithAverage({ unlabeled }: StepTerms): boolean {
  return unlabeled.includes('teacher') || unlabeled.includes('agreement');
}

/**
 * The loss terms of a step, by the images that go through the network together.
 * @param step counts from 0
 * @throws VERSEMI_PART_UNKNOWN for a loss term of one's own that was not added
 */
export function stepTerms({ training, losses, cutmix }: TermsPlan, step: number): StepTerms {
  const stage = stageOf(step, training);
  const mixed = training.mode === 'semi-supervised';
  const unlabeled = stage === 2;
  const auxiliary = losses.auxiliary > 0 && (stage === 1 || losses.auxiliaryInStage2);
  const known = mixesWithLabeled(cutmix);
  const only = (...terms: [LossTerm, boolean][]) => terms.filter(([, wanted]) => wanted).map(([name]) => name);
  const own = (group: StepGroup) =>
    Object.entries(losses.own ?? {}).flatMap(([name, weight]): OwnTerm[] =>
      ownTerms.get(name, `losses.own.${name}`).group === group && weight > 0 ? [`own.${name}`] : [],
    );
  return {
    // Always: these images move the statistics of the batch normalisations.
    labeled: ['dice', 'crossEntropy', ...own('labeled')],
    mixed: [
      ...only(['synthetic', mixed && losses.synthetic > 0], ['auxiliary', mixed && auxiliary]),
      ...(mixed ? own('mixed') : []),
    ],
    unlabeled: [
      ...only(
        ['unsupervised', unlabeled && losses.unsupervised > 0],
        ['cube', unlabeled && known && losses.cube > 0],
        ['cubeTasks', unlabeled && known && losses.cubeTasks > 0],
        ['agreement', unlabeled && losses.agreement > 0],
        ['teacher', unlabeled && losses.teacher > 0],
      ),
      ...(unlabeled ? own('unlabeled') : []),
    ],
  };
}

/** How often an image passes through the trunk in a step, summed over images. */
export interface TrunkPasses {
  /** Forward and backward. */
  readonly training: number;
  /** Forward alone. */
  readonly forwardOnly: number;
}

/** The part of a plan that the trunk passes of a step follow from. */
export type PassesPlan = TermsPlan & {
  readonly training: Pick<Plan['training'], 'labeledBatchSize' | 'unlabeledBatchSize'>;
  readonly losses: Pick<Plan['losses'], 'noisyPasses'>;
};

/**
 * Trunk passes of a step. Forward and backward: the labelled images, the mixes of labelled images (half as many) where a term
 * reads them, and the mixes of unlabelled images where a term reads them. Forward alone: the unlabelled images before they are
 * mixed, through the averaged network, where a term compares with it, and once more for each noisy pass. The heads, whose
 * cost is small, and levels that are computed again in the backward pass are not counted.
 */
export function trunkPasses(plan: PassesPlan, step: number): TrunkPasses {
  const { labeledBatchSize, unlabeledBatchSize } = plan.training;
  const terms = stepTerms(plan, step);
  const mixed = terms.mixed.length > 0 ? labeledBatchSize / 2 : 0;
  const unlabeled = terms.unlabeled.length > 0 ? unlabeledBatchSize : 0;
  return {
    training: labeledBatchSize + mixed + unlabeled,
    forwardOnly: comparesWithAverage(terms) ? unlabeledBatchSize * (1 + plan.losses.noisyPasses) : 0,
  };
}

/** Passes of a whole run, in units of one forward pass: what its training costs. */
export function runPasses(plan: PassesPlan & { readonly training: Pick<Plan['training'], 'stage2Steps'> }): number {
  const { training } = plan;
  const of = (step: number) => forwardPasses(trunkPasses(plan, step));
  // The first and the last step of a run are of its first and of its last stage.
  return training.stage1Steps * of(0) + training.stage2Steps * of(totalSteps(training) - 1);
}

/** Passes in units of one forward pass: the backward pass costs two, one for the activations and one for the weights. */
export function forwardPasses({ training, forwardOnly }: TrunkPasses): number {
  return 3 * training + forwardOnly;
}

/** Patches of a step that several ranks compute together, [labelled, unlabelled]; see `training.batchSizeScope`. */
export function batchOfRanks({ training }: Pick<Plan, 'training'>, ranks: number): readonly [number, number] {
  const factor = training.batchSizeScope === 'rank' ? ranks : 1;
  return [factor * training.labeledBatchSize, factor * training.unlabeledBatchSize];
}
