import type { Plan } from '../config/plan.js';
import { runPasses, totalSteps } from '../config/steps.js';
import { planWindows } from '../inference/windows.js';
import { medianSize } from '../preprocessing/budget.js';
import { passSeconds } from '../preprocessing/cost-model.js';
import type { DatasetFingerprint, Fingerprint } from '../preprocessing/fingerprint.js';
import type { StepTimes } from './trial.js';

/** Estimates of what a run costs, from its plan and the fingerprint of its datasets. */

type Sizes = [number, number, number];

/** Datasets with the median size of their cases at the spacing of the plan, voxels. */
function sized(plan: Plan, { datasets }: Fingerprint): { dataset: DatasetFingerprint; sizeVoxels: Sizes }[] {
  return datasets.map((dataset, index) => {
    const { spacingMm } = plan.datasets[index]!.preprocessing;
    const size = medianSize(dataset, spacingMm);
    return { dataset, sizeVoxels: size.map((along) => Math.max(1, Math.round(along))) as Sizes };
  });
}

/**
 * Memory of the preprocessed cases, bytes: the image as float32, and a label or a pair of them where the case has labels. Cropping is
 * not known, so that it may be less.
 */
export function casesBytes(plan: Plan, fingerprint: Fingerprint): number {
  return sized(plan, fingerprint).reduce((sum, { dataset, sizeVoxels }, index) => {
    const voxels = sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2];
    const labelBytes = plan.datasets[index]!.preprocessing.targets === 'fractions' ? 4 : 1;
    const labeled = dataset.labeledCases + dataset.validationCases;
    return sum + voxels * (4 * dataset.unlabeledCases + (4 + labelBytes) * labeled);
  }, 0);
}

/** Windows of one validation during training, with at most so many cases of each dataset: forward passes of one patch. */
export function validationWindows(plan: Plan, fingerprint: Fingerprint, mostCases: number): number {
  return sized(plan, fingerprint).reduce((sum, { dataset, sizeVoxels }) => {
    const windows = planWindows(sizeVoxels, plan.patchSizeVoxels, plan.inference);
    const perCase = windows[0].length * windows[1].length * windows[2].length;
    return sum + Math.min(mostCases, dataset.validationCases) * perCase;
  }, 0);
}

/** Validations of a run: one after every so many steps, and one at the end. */
export function validationCount({ training }: Plan): number {
  const { validateEverySteps: every } = training;
  return every === 0 ? 1 : Math.ceil(totalSteps(training) / every);
}

/** Steps of a stage; supervised training has one stage. */
function stageSteps({ training }: Plan, stage: 1 | 2): number {
  if (training.mode === 'supervised') return stage === 1 ? totalSteps(training) : 0;
  return stage === 1 ? training.stage1Steps : training.stage2Steps;
}

/** Seconds of all steps of a plan, as its steps were timed. */
export function timedSeconds(plan: Plan, { stages }: StepTimes): number {
  return stages.reduce((sum, { stage, secondsPerStep }) => sum + stageSteps(plan, stage) * secondsPerStep, 0);
}

/** Seconds of so many forward passes of a patch. @param passes default: those of all steps */
export function estimatedSeconds(plan: Plan, gflopsPerSecond: number, passes = runPasses(plan)): number {
  const [x, y, z] = plan.patchSizeVoxels;
  return passSeconds(plan.network, x * y * z, passes, gflopsPerSecond);
}

/** The speed, GFLOP/s, at which the steps of a plan were done. */
export function speedOf(plan: Plan, times: StepTimes): number {
  return estimatedSeconds(plan, 1) / timedSeconds(plan, times);
}
