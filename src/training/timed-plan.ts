import { cpus, loadavg } from 'node:os';
import { type Plan, parsePlan } from '../config/plan.js';
import { totalSteps } from '../config/steps.js';
import { type Numbers3, type PlanningOptions, percent } from '../preprocessing/budget.js';
import type { Fingerprint } from '../preprocessing/fingerprint.js';
import { type Explanation, makePlan, type PlanningResult } from '../preprocessing/planning.js';
import { preprocessingWorkers } from '../preprocessing/preprocess-datasets.js';
import { currentDevice } from '../tfjs/index.js';
import type { VerbOptions } from '../verb-options.js';
import { Calibration, sameSizes } from './calibration.js';
import {
  casesBytes,
  estimatedSeconds,
  speedOf,
  timedSeconds,
  validationCount,
  validationWindows,
} from './planned-cost.js';
import type { StepTimes } from './trial.js';

/** What ends overnight. */
export const overnightHours = 10;

/** What a plan is made for, and in how many hours it is to end. Progress: what is being done, in words. */
export interface TimedPlanningOptions
  extends Omit<PlanningOptions, 'minutes' | 'sizingGflopsPerSecond' | 'speedNote' | 'validationShare'>,
    Omit<VerbOptions<string>, 'onNotice'> {
  /** Hours of training, validations included; null: the schedule of the paper, however long it takes. Default `overnightHours`. */
  readonly hours?: number | null;
  /** Speed of the device in training, GFLOP/s; where it is given, nothing is timed. */
  readonly gflopsPerSecond?: number;
}

/** What training by a plan takes. */
export interface PlannedTime {
  /** Training with its validations, and the validations alone. */
  readonly trainingSeconds: number;
  readonly validationSeconds: number;
  /** Of the cases, once, before the first step; absent where nothing was timed. */
  readonly preprocessingSeconds?: number;
  /** Speed that the number of steps follows from. */
  readonly gflopsPerSecond: number;
  /** The steps that were timed; absent where the speed was given. */
  readonly measured?: StepTimes;
  /** Processes that wanted to run when timing began, per core: near 1 and above, the times are those of a busy machine. */
  readonly load?: number;
  /** Memory of the preprocessed cases, bytes, estimated. */
  readonly casesBytes: number;
  /** Training in the schedule of the paper, estimated; absent where the plan has it. */
  readonly paperSeconds?: number;
  /** What the plan has less of than with the schedule of the paper. */
  readonly givenUp: readonly string[];
}

export interface TimedPlanningResult extends PlanningResult {
  readonly time: PlannedTime;
}

/** Share of the time that validations may take: they have fewer cases where all would take more. */
const mostValidation = 0.1;
/** So often a plan is made anew for the speed that the one before it showed. */
const mostRounds = 2;
/** A plan need not be made anew for a speed that differs by less than this share. */
const nearEnough = 0.15;

/**
 * A plan that ends in a given time on the current device: real steps of a small network tell about how fast the device is, a plan is
 * made for that speed, and real steps of that plan tell how many of them the time allows.
 * @throws as `makePlan` and `timeSteps`, and what reading cases throws
 */
export async function makeTimedPlan(
  fingerprint: Fingerprint,
  options: TimedPlanningOptions = {},
): Promise<TimedPlanningResult> {
  const { hours = overnightHours, signal, onProgress = () => {}, gflopsPerSecond: given, ...planning } = options;
  const augmentation = planning.augmentation ?? (currentDevice()?.name === 'cuda' ? 'mirrors' : 'all');
  const base: PlanningOptions = { ...planning, augmentation, ...(hours === null ? {} : { minutes: 60 * hours }) };
  const found = given === undefined ? await measure(fingerprint, base, onProgress, signal) : assumed(base, given);
  const { planOptions, speed, measured } = found;
  const first = makePlan(fingerprint, planOptions).plan;
  const validation = validations(first, fingerprint, speed, hours);
  const share = hours === null ? 0 : Math.min(0.5, validation.seconds / (3600 * hours));
  const made = makePlan(fingerprint, { ...planOptions, validationShare: share });
  const plan = parsePlan({ ...made.plan, training: { ...made.plan.training, ...validation.fields } });
  const { minutes: _, ...untimed } = planOptions;
  const paper = makePlan(fingerprint, untimed).plan;
  const less = givenUp(plan, paper);
  return {
    plan,
    explanations: [...made.explanations, ...validation.explanations],
    time: {
      trainingSeconds:
        validation.seconds +
        (measured === undefined ? estimatedSeconds(plan, speed) : timedSeconds(plan, measured.steps)),
      validationSeconds: validation.seconds,
      gflopsPerSecond: speed,
      ...(measured === undefined
        ? {}
        : {
            preprocessingSeconds: measured.secondsPerCase * Math.ceil(caseCount(fingerprint) / preprocessingWorkers()),
            measured: measured.steps,
            load: measured.load,
          }),
      casesBytes: casesBytes(plan, fingerprint),
      ...(less.length === 0 ? {} : { paperSeconds: estimatedSeconds(paper, speed) }),
      givenUp: less,
    },
  };
}

/** How a plan is made, and the speed, GFLOP/s, that its steps follow from. */
interface Found {
  readonly planOptions: PlanningOptions;
  readonly speed: number;
  readonly measured?: { readonly steps: StepTimes; readonly secondsPerCase: number; readonly load: number };
}

function assumed(base: PlanningOptions, gflopsPerSecond: number): Found {
  return { planOptions: { ...base, gflopsPerSecond, speedNote: 'as given' }, speed: gflopsPerSecond };
}

async function measure(
  fingerprint: Fingerprint,
  base: PlanningOptions,
  onProgress: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<Found> {
  const load = loadavg()[0]! / cpus().length;
  const calibration = new Calibration(fingerprint, base, onProgress, signal);
  let sizing = base.minutes === undefined ? 1 : await calibration.roughSpeed();
  for (let round = 0; ; round++) {
    const { plan, steps } = await calibration.time({ gflopsPerSecond: sizing });
    const speed = speedOf(plan, steps);
    const same = sameSizes(plan, makePlan(fingerprint, { ...calibration.options, gflopsPerSecond: speed }).plan);
    if (same || Math.abs(speed / sizing - 1) < nearEnough || round === mostRounds) {
      const speeds = { gflopsPerSecond: speed, sizingGflopsPerSecond: sizing, speedNote: 'measured here' };
      const { secondsPerCase } = calibration;
      return { planOptions: { ...calibration.options, ...speeds }, speed, measured: { steps, secondsPerCase, load } };
    }
    sizing = speed;
  }
}

function caseCount({ datasets }: Fingerprint): number {
  return datasets.reduce((sum, one) => sum + one.labeledCases + one.unlabeledCases + one.validationCases, 0);
}

/** What the validations of a run take, and on how many cases they are done where all would take too long. */
function validations(
  plan: Plan,
  fingerprint: Fingerprint,
  speed: number,
  hours: number | null,
): { seconds: number; fields: Partial<Plan['training']>; explanations: Explanation[] } {
  const secondsWith = (cases: number) =>
    validationCount(plan) * estimatedSeconds(plan, speed, validationWindows(plan, fingerprint, cases));
  const most = Math.max(...fingerprint.datasets.map(({ validationCases }) => validationCases));
  const limit = hours === null ? Number.POSITIVE_INFINITY : mostValidation * 3600 * hours;
  if (most === 0 || secondsWith(most) <= limit) return { seconds: secondsWith(most), fields: {}, explanations: [] };
  let cases = most;
  while (cases > 1 && secondsWith(cases) > limit) cases--;
  const reason = `of each dataset, at each validation during training: all of them would take ${percent(secondsWith(most) / (3600 * hours!))} of the time`;
  return {
    seconds: secondsWith(cases),
    fields: { validationCases: cases },
    explanations: [{ field: 'training.validationCases', value: String(cases), reason }],
  };
}

/** What a plan has less of than one in the schedule of the paper. */
function givenUp(plan: Plan, paper: Plan): string[] {
  const found: string[] = [];
  const compare = (what: string, now: string, then: string) => {
    if (now !== then) found.push(`${what} ${now} instead of ${then}`);
  };
  const sizes = (values: readonly number[], unit: string) => `${values.join(' x ')} ${unit}`;
  const count = (steps: number) => steps.toLocaleString('en');
  if (totalSteps(plan.training) < totalSteps(paper.training))
    compare('steps', count(totalSteps(plan.training)), count(totalSteps(paper.training)));
  compare('patch', sizes(plan.patchSizeVoxels, 'voxels'), sizes(paper.patchSizeVoxels, 'voxels'));
  compare('width', String(plan.network.baseWidth), String(paper.network.baseWidth));
  compare('levels', String(plan.network.levels), String(paper.network.levels));
  compare('batch', String(plan.training.labeledBatchSize), String(paper.training.labeledBatchSize));
  for (const [index, { name, preprocessing }] of plan.datasets.entries())
    compare(
      `spacing of ${name}`,
      sizes(preprocessing.spacingMm as Numbers3, 'mm'),
      sizes(paper.datasets[index]!.preprocessing.spacingMm, 'mm'),
    );
  return found;
}
