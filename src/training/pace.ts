import type { Plan } from '../config/plan.js';
import { stageOf, totalSteps } from './schedule.js';

/** Weight of the newest step in the moving average of the time per image. */
const newest = 0.1;

/** Images that pass through the trunk in a step: what a step costs. */
export function imagesPerStep(stage: 1 | 2, { mode, labeledBatchSize, unlabeledBatchSize }: Plan['training']): number {
  if (mode === 'supervised') return labeledBatchSize;
  return labeledBatchSize + labeledBatchSize / 2 + (stage === 2 ? unlabeledBatchSize : 0);
}

/** Estimates how long a run still takes: a step of the second stage costs more than one of the first. */
export class Pace {
  private secondsPerImage: number | undefined;

  constructor(private readonly training: Plan['training']) {}

  /** @param step counts from 0; @returns seconds until the end of the run */
  add(step: number, seconds: number): number {
    const { training } = this;
    const measured = seconds / imagesPerStep(stageOf(step, training), training);
    const before = this.secondsPerImage ?? measured;
    this.secondsPerImage = before + newest * (measured - before);
    const left = totalSteps(training) - step - 1;
    const inStage1 =
      training.mode === 'supervised' ? left : Math.max(0, Math.min(left, training.stage1Steps - step - 1));
    const images = inStage1 * imagesPerStep(1, training) + (left - inStage1) * imagesPerStep(2, training);
    return images * this.secondsPerImage;
  }
}
