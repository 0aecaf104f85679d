import type { Plan } from '../config/plan.js';
import { totalSteps } from '../config/steps.js';

/** The fields of a plan that the learning rate follows from. */
export type ScheduleSettings = Pick<
  Plan['training'],
  'learningRate' | 'schedule' | 'warmupSteps' | 'stage1Steps' | 'stage2Steps'
>;

/** Exponent of the polynomial schedule, as in nnU-Net (Isensee et al., Nature Methods 2021). */
const polynomialPower = 0.9;

/**
 * Learning rate of a step (counted from 0). With t in [0, 1) the elapsed share of the run, both stages:
 * constant: r; cosine: r (1 + cos(pi t)) / 2 (Loshchilov & Hutter, SGDR, 2017); polynomial: r (1 - t)^0.9.
 * Over the first `warmupSteps` steps of the run it is multiplied by (step + 1) / warmupSteps.
 */
export function learningRateAt(step: number, settings: ScheduleSettings): number {
  const elapsed = step / totalSteps(settings);
  const decay = {
    constant: 1,
    cosine: (1 + Math.cos(Math.PI * elapsed)) / 2,
    polynomial: (1 - elapsed) ** polynomialPower,
  }[settings.schedule];
  const warmup = step < settings.warmupSteps ? (step + 1) / settings.warmupSteps : 1;
  return settings.learningRate * decay * warmup;
}

/**
 * Share of the unsupervised weights in a step of the second stage. With the elapsed share t of its first `unsupervisedRampSteps`
 * steps: linear: t; sigmoid: exp(-5 (1 - t)^2) (Laine & Aila, "Temporal Ensembling", ICLR 2017).
 */
export function unsupervisedRamp(
  step: number,
  stage1Steps: number,
  { unsupervisedRampSteps, ramp }: Pick<Plan['losses'], 'unsupervisedRampSteps' | 'ramp'>,
): number {
  if (unsupervisedRampSteps === 0) return 1;
  const elapsed = Math.min(1, (step - stage1Steps) / unsupervisedRampSteps);
  return ramp === 'linear' ? elapsed : Math.exp(-5 * (1 - elapsed) ** 2);
}

/** Share of ln 2 below which the entropy of the moving average must be in a step: it goes with the ramp. */
export function entropyShare({ training, losses }: Pick<Plan, 'training' | 'losses'>, step: number): number {
  const [first, last] = losses.entropy ?? [1, 1];
  return first + (last - first) * unsupervisedRamp(step, training.stage1Steps, losses);
}

/**
 * Decay of the weights' moving average after `step` steps (counted from 1): min(decay, (step - 1) / step), so that the
 * early average is the true mean of the weights so far.
 */
export function averageDecayAt(step: number, decay: number): number {
  return Math.min(decay, (step - 1) / step);
}
