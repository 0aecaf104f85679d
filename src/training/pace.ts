import type { Plan } from '../config/plan.js';
import { forwardPasses, totalSteps, trunkPasses } from '../config/steps.js';

/** Weight of the newest step in the moving average of the time per pass. */
const newest = 0.1;

type PacePlan = Pick<Plan, 'training' | 'cutmix' | 'losses'>;

/** Passes of the trunk that a step takes, see `trunkPasses`: what the step costs. */
function passesOf(plan: PacePlan, step: number): number {
  return forwardPasses(trunkPasses(plan, step));
}

/** Estimates how long a run still takes: a step of the second stage costs more than one of the first. */
export class Pace {
  private secondsPerPass: number | undefined;

  constructor(private readonly plan: PacePlan) {}

  /** @param step counts from 0; @returns seconds until the end of the run */
  add(step: number, seconds: number): number {
    const { training } = this.plan;
    const measured = seconds / passesOf(this.plan, step);
    const before = this.secondsPerPass ?? measured;
    this.secondsPerPass = before + newest * (measured - before);
    const total = totalSteps(training);
    const left = total - step - 1;
    const leftInStage1 =
      training.mode === 'supervised' ? left : Math.max(0, Math.min(left, training.stage1Steps - step - 1));
    // The first and the last step of a run are of its first and of its last stage.
    const passes = leftInStage1 * passesOf(this.plan, 0) + (left - leftInStage1) * passesOf(this.plan, total - 1);
    return passes * this.secondsPerPass;
  }
}
