import type { Plan } from '../config/plan.js';
import { runPasses, trunkPasses, forwardPasses } from '../config/steps.js';

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
      "VerSemi's idea across views: the synthetic task and the own tasks of a mix agree with what the moving average finds before the mix; labelled images teach their own tasks there too; Dice per task",
    stage1Share: 1 / 2,
    rampShare: 1 / 5,
    losses: {
      unsupervised: 0,
      agreement: 1,
      teacher: 1,
      cubeTasks: 1,
      pseudoLabel: 'soft',
      auxiliaryInStage2: true,
      ramp: 'sigmoid',
    },
    cutmix: { unlabeledMix: 'both-sides' },
  },
} as const satisfies Record<string, Omit<MethodRow, 'name'>>;

export type Method = keyof typeof methods;

/** What `versemi plan` derives where no method is asked for. */
export const defaultMethod: Method = 'versemi-teacher';

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
