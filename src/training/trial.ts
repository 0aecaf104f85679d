import type { Plan } from '../config/plan.js';
import { forwardPasses, stageBegins, stageOf, trunkPasses } from '../config/steps.js';
import { throwIfAborted } from '../errors.js';
import { networkConfig } from '../model/layers.js';
import { VersemiNetwork } from '../model/network.js';
import { medianOf } from '../preprocessing/fingerprint.js';
import type { SamplingData } from '../sampling/rows.js';
import { currentDevice } from '../tfjs/index.js';
import { eventLoopTurn, type VerbOptions } from '../verb-options.js';
import { secondsSince } from './run.js';
import { createState, disposeState, runStep } from './step.js';
import type { StepData } from './step-data.js';
import { stepSource } from './step-source.js';

/** How long the steps of a stage take. */
export interface StageTime {
  readonly stage: 1 | 2;
  /** Median of the timed steps, the wait for their batches included. */
  readonly secondsPerStep: number;
  /** Timed steps. */
  readonly steps: number;
  /** Of the timed seconds, the share that was spent waiting for batches. */
  readonly waitShare: number;
  /** Trunk passes of a step in units of one forward pass, see `forwardPasses`. */
  readonly passes: number;
}

/** How long steps take, stage by stage. */
export interface StepTimes {
  /** Of each stage that the plan has. */
  readonly stages: readonly StageTime[];
  /** Most memory of the device that was in use at one time; absent where the backend is not one of ours. */
  readonly bytesPeak?: number;
}

/** How steps are timed. */
export interface TrialOptions extends Omit<VerbOptions<TrialProgress>, 'onNotice'> {
  /** Timing of a stage ends after this time and three steps, or after fifteen steps. Default 15. */
  readonly secondsPerStage?: number;
}

/** A step has been done. */
export interface TrialProgress {
  readonly stage: 1 | 2;
  /** Steps of the stage that count so far. */
  readonly timed: number;
}

const [fewestTimed, mostTimed] = [3, 15];
/** Stages of a trial are at least as long, so that no stage ends while it is timed. */
const leastStageSteps = 64;

/**
 * Times the first steps of each stage of a plan on the current device, in the way `train` does them: batches, losses, gradients,
 * optimiser and moving average. Steps that fill the memory of the device and the queue of the workers come first and do not count.
 * The network is thrown away.
 * @throws VERSEMI_DEVICE_OUT_OF_MEMORY, VERSEMI_SPLIT_INVALID, VERSEMI_ABORTED by `signal`
 */
export async function timeSteps(plan: Plan, data: SamplingData, options: TrialOptions = {}): Promise<StepTimes> {
  const { training } = plan;
  const longEnough = (steps: number) => (steps === 0 ? 0 : Math.max(steps, leastStageSteps));
  const trial: Plan = {
    ...plan,
    training: {
      ...training,
      stage1Steps: longEnough(training.stage1Steps),
      stage2Steps: longEnough(training.stage2Steps),
    },
  };
  currentDevice()?.trim();
  const state = createState(new VersemiNetwork(networkConfig(trial), trial.seed), trial);
  try {
    const stages: StageTime[] = [];
    for (const first of stageBegins(trial.training)) stages.push(await timeStage(trial, data, first, state, options));
    const bytesPeak = currentDevice()?.memory().bytesPeak;
    return { stages, ...(bytesPeak === undefined ? {} : { bytesPeak }) };
  } finally {
    disposeState(state);
    currentDevice()?.trim();
  }
}

async function timeStage(
  plan: Plan,
  data: SamplingData,
  first: number,
  state: ReturnType<typeof createState>,
  { secondsPerStage = 15, signal, onProgress }: TrialOptions,
): Promise<StageTime> {
  const stage = stageOf(first, plan.training);
  // On cuda the first steps of a stage are also recorded.
  const warmup = currentDevice()?.name === 'cuda' ? 5 : 2;
  const seconds: number[] = [];
  const waits: number[] = [];
  const source = stepSource(plan, data);
  try {
    let began = performance.now();
    let coming: Promise<StepData> | undefined;
    for (let step = first; seconds.length < mostTimed; step++) {
      if (seconds.length >= fewestTimed && secondsSince(began) >= secondsPerStage) break;
      throwIfAborted(signal, 'timing steps');
      await eventLoopTurn();
      const at = performance.now();
      const stepData = await (coming ?? source.data(step));
      coming = undefined;
      const waited = secondsSince(at);
      await runStep(state, plan, stepData, async () => {
        coming = source.data(step + 1);
        coming.catch(() => {}); // The next turn of the loop, if there is one, awaits it and learns of the error.
        return coming;
      });
      const took = secondsSince(at);
      // One step is warm-up enough where steps are so long that what comes once does not show.
      if (step - first < (took > secondsPerStage / 3 ? 1 : warmup)) began = performance.now();
      else {
        seconds.push(took);
        waits.push(waited);
      }
      onProgress?.({ stage, timed: seconds.length });
    }
  } finally {
    await source.close();
  }
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    stage,
    secondsPerStep: medianOf(seconds),
    steps: seconds.length,
    waitShare: sum(waits) / sum(seconds),
    passes: forwardPasses(trunkPasses(plan, first)),
  };
}
