import { type Plan, parsePlan } from '../config/plan.js';
import { forwardPasses, runPasses, totalSteps, trunkPasses } from '../config/steps.js';

/** What a method sets in a plan; everything else is the same for all methods. */
interface MethodSettings {
  readonly mode?: Plan['training']['mode'];
  readonly losses?: Partial<Plan['losses']>;
  readonly cutmix?: Partial<Plan['cutmix']>;
  /** Of images whose dataset has several tasks. Default each. */
  readonly prompts?: Plan['training']['promptsPerImage'];
}

export interface MethodRow extends MethodSettings {
  readonly name: Method;
  readonly explanation: string;
  /** Share of the steps that belong to the first stage, which has labelled cases only; 1: no unlabelled case is used. */
  readonly stage1Share: number;
  /** Share of the second stage over which the unsupervised weights rise. Default 0. */
  readonly rampShare?: number;
}

const noMixes = { synthetic: 0, auxiliary: 0, unsupervised: 0, cube: 0 } as const;

/** Mean teacher and UA-MT: images stay whole, and the moving average sees them with noise. */
const noisyTeacher = {
  ...noMixes,
  teacher: 0.1,
  consistency: 'squares',
  pseudoLabel: 'soft',
  teacherNoise: 0.1,
  teacherStatistics: 'batch',
  ramp: 'sigmoid',
} as const;

/** BCP: mixes both ways, hard pseudo-labels of half the weight, a short first stage. */
const copyPaste = {
  stage1Share: 2 / 17,
  losses: {
    ...noMixes,
    auxiliary: 1,
    auxiliaryCrossEntropy: true,
    cubeTasks: 1,
    teacher: 0.5,
    largestComponent: true,
    teacherStatistics: 'batch',
  },
  cutmix: { unlabeledMix: 'both-sides', stage1Ratio: 2 / 3, stage2Ratio: [2 / 3, 2 / 3] },
} as const satisfies Partial<MethodRow>;

/**
 * The methods that `versemi plan` writes out: each is a set of explicit options for the same network, patches, augmentation and
 * optimiser. Numbers of other methods are those of their papers or published code.
 */
export const methods = {
  supervised: {
    explanation: 'labelled cases alone, without mixes',
    mode: 'supervised',
    stage1Share: 1,
  },
  'supervised-cutmix': {
    explanation:
      'labelled cases and mixes of them, no unlabelled case: what a method that uses unlabelled cases must beat',
    stage1Share: 1,
  },
  'mean-teacher': {
    explanation: 'agreement with the moving average under noise, mean squares (Tarvainen and Valpola, NeurIPS 2017)',
    stage1Share: 0,
    rampShare: 1,
    losses: noisyTeacher,
    cutmix: { unlabeledMix: 'none' },
  },
  'ua-mt': {
    explanation: 'the same where eight noisy passes of the moving average are certain (Yu et al., UA-MT, MICCAI 2019)',
    stage1Share: 0,
    rampShare: 1,
    losses: { ...noisyTeacher, entropy: [0.75, 1], noisyPasses: 8 },
    cutmix: { unlabeledMix: 'none' },
  },
  bcp: {
    explanation:
      'mixes of labelled cases, then of labelled and unlabelled ones both ways, with the largest component of what the moving average finds (Bai et al., Bidirectional Copy-Paste, CVPR 2023)',
    ...copyPaste,
  },
  cutmix: {
    explanation:
      'mixes of pairs of unlabelled cases, agreement where the moving average is at least 0.8 sure (French et al., BMVC 2020; threshold of AD-MT, Zhao et al., ECCV 2024)',
    stage1Share: 0,
    rampShare: 0.4,
    losses: { ...noMixes, teacher: 1, confidence: 0.8, ramp: 'sigmoid' },
    cutmix: { unlabeledMix: 'unlabeled-pairs' },
  },
  'versemi-released': {
    explanation: 'VerSemi as its authors released it: no moving average, Dice over the batch (arXiv 2311.11686)',
    stage1Share: 1 / 2,
    prompts: 'one',
    losses: { diceOver: 'batch' },
  },
  'versemi-teacher': {
    explanation: "VerSemi's terms and the agreement of own tasks with the moving average outside the cube",
    stage1Share: 1 / 2,
    rampShare: 1 / 5,
    prompts: 'all',
    losses: { diceOver: 'batch', teacher: 1 },
  },
  'versemi-views': {
    explanation:
      "VerSemi's idea across views: the synthetic task and the own tasks of a mix agree with what the moving average finds before the mix, its largest component; labelled images teach their own tasks there too; Dice per task",
    stage1Share: 1 / 2,
    rampShare: 1 / 5,
    losses: {
      unsupervised: 0,
      agreement: 1,
      teacher: 1,
      cubeTasks: 1,
      pseudoLabel: 'soft',
      largestComponent: true,
      auxiliaryInStage2: true,
      ramp: 'sigmoid',
    },
    cutmix: { unlabeledMix: 'both-sides' },
  },
  'versemi-copy-paste': {
    explanation:
      "BCP's mixes over all datasets in VerSemi's network; beside them the synthetic task learns across views, with a tenth of the weight, so that it costs the tasks nothing",
    ...copyPaste,
    losses: { ...copyPaste.losses, cube: 0.1, agreement: 0.1 },
  },
} as const satisfies Record<string, Omit<MethodRow, 'name'>>;

/** Name of a method that a plan can be made for. */
export type Method = keyof typeof methods;

/** What `versemi plan` derives where no method is asked for. */
export const defaultMethod: Method = 'versemi-copy-paste';

/** The methods that `planForMethod` knows. */
export const methodNames = Object.keys(methods) as Method[];

export function methodRow(method: Method): MethodRow {
  return { name: method, ...methods[method] };
}

/** A method with what it does with labelled cases, where there are no others. */
export function labeledOnly({ name, explanation, prompts, losses }: MethodRow): MethodRow {
  return {
    name,
    explanation: `${explanation}; here without unlabelled cases: labelled ones and mixes of them`,
    stage1Share: 1,
    ...(prompts === undefined ? {} : { prompts }),
    losses: losses?.diceOver === undefined ? {} : { diceOver: losses.diceOver },
  };
}

/** Whether a method learns from unlabelled cases. */
export function usesUnlabeled(method: Method): boolean {
  return methods[method].stage1Share < 1;
}

/**
 * Steps of both stages such that the whole run takes as many trunk passes as `passes` (in units of one forward pass), to less
 * than those of one step.
 * @param plan with the terms of the method; its steps do not count
 */
export function stepsFor(
  plan: Parameters<typeof runPasses>[0],
  passes: number,
  stage1Share: number,
): { stage1Steps: number; stage2Steps: number } {
  const staged = (stage1Steps: number) => ({ ...plan, training: { ...plan.training, stage1Steps } });
  const first = forwardPasses(trunkPasses(staged(1), 0));
  if (stage1Share === 1) return { stage1Steps: Math.round(passes / first), stage2Steps: 0 };
  const second = forwardPasses(trunkPasses(staged(0), 0));
  const steps = passes / (stage1Share * first + (1 - stage1Share) * second);
  const stage1Steps = Math.round(stage1Share * steps);
  return { stage1Steps, stage2Steps: Math.max(1, Math.round((passes - stage1Steps * first) / second)) };
}

/** What a method writes into a plan. */
interface MethodFields {
  readonly training: Pick<
    Plan['training'],
    'mode' | 'stage1Steps' | 'stage2Steps' | 'promptsPerImage' | 'validateEverySteps' | 'checkpointEverySteps'
  >;
  readonly losses: Partial<Plan['losses']>;
  readonly cutmix: Partial<Plan['cutmix']>;
}

/** What a method must know of the tasks. */
interface TaskFacts {
  /** Whether a dataset has several tasks. */
  readonly several: boolean;
  /** Whether every task comes in one piece: else the largest component of a pseudo-label would teach to forget the rest. */
  readonly inOnePiece: boolean;
}

/**
 * A plan with what a method sets, and as many steps as make the run take `passes` trunk passes (in units of one forward pass).
 * @param complete makes a plan of the fields that the method sets
 */
export function completePlan(
  { stage1Share, rampShare = 0, mode = 'semi-supervised', prompts = 'each', losses, cutmix = {} }: MethodRow,
  passes: number,
  { several, inOnePiece }: TaskFacts,
  complete: (fields: MethodFields) => Plan,
): { plan: Plan; fields: MethodFields } {
  const fieldsFor = (steps: { stage1Steps: number; stage2Steps: number }): MethodFields => {
    const every = Math.max(10, Math.round(totalSteps(steps) / 100) * 10);
    const promptsPerImage = several ? prompts : 'one';
    return {
      training: { mode, ...steps, promptsPerImage, validateEverySteps: every, checkpointEverySteps: every },
      losses: {
        diceOver: 'task',
        ...losses,
        ...(losses?.largestComponent && !inOnePiece ? { largestComponent: false } : {}),
        unsupervisedRampSteps: Math.round(steps.stage2Steps * rampShare),
      },
      cutmix,
    };
  };
  // The cost of a step does not depend on the number of steps.
  const shortest = complete(fieldsFor({ stage1Steps: 1, stage2Steps: stage1Share === 1 ? 0 : 1 }));
  const fields = fieldsFor(stepsFor(shortest, passes, stage1Share));
  return { plan: complete(fields), fields };
}

/** Whether a dataset has several tasks, so that an image can be prompted with more than one. */
export function hasSeveralTasks({ datasets, tasks }: { datasets: readonly { name: string }[]; tasks: Plan['tasks'] }) {
  return datasets.some(({ name }) => tasks.filter(({ dataset }) => dataset === name).length > 1);
}

/**
 * A plan made over for a method: the same data, network, patches, augmentation, batches and optimiser, and as many trunk passes.
 * How often it validates goes with the number of steps. Pseudo-labels keep the largest component, where the method has it,
 * if predictions of the plan do (`inference.largestComponent`): that says whether each task comes in one piece.
 * @throws VERSEMI_PLAN_CONTRADICTION where the plan lacks what the method needs
 */
export function planForMethod(plan: Plan, method: Method): Plan {
  const { losses: _, cutmix: __, training, ...rest } = plan;
  const complete = (fields: MethodFields) =>
    parsePlan({ ...rest, ...fields, training: { ...training, ...fields.training, warmupSteps: 0 } });
  const facts = { several: hasSeveralTasks(plan), inOnePiece: plan.inference.largestComponent };
  const { plan: made } = completePlan(methodRow(method), runPasses(plan), facts, complete);
  const share = totalSteps(made.training) / totalSteps(training);
  const scaled = (steps: number) => (steps === 0 ? 0 : Math.max(1, Math.round(steps * share)));
  return {
    ...made,
    training: {
      ...made.training,
      warmupSteps: scaled(training.warmupSteps),
      validateEverySteps: scaled(training.validateEverySteps),
      checkpointEverySteps: scaled(training.checkpointEverySteps),
    },
  };
}
