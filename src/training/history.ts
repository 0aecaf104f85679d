import type { CheckpointState } from '../checkpoints/checkpoint.js';
import type { LossSummary, ModelHistory, ValidationSummary } from '../checkpoints/metadata.js';

/** Loss summaries that a whole run leaves in the model: enough for a curve, small beside the weights. */
const summaries = 200;

/** Gathers the training history that goes into a model file. */
export class HistoryRecorder {
  private readonly losses: LossSummary[];
  private readonly validation: ValidationSummary[];
  private bestSoFar: ModelHistory['best'];
  private steps: number;
  private sums: Record<string, number>;
  private pendingSteps: number;
  private readonly stretch: number;

  /**
   * @param totalSteps of the run
   * @param stage1Steps a summary never spans both stages, which have different terms
   * @param saved history and unfinished stretch of a checkpoint
   */
  constructor(
    totalSteps: number,
    private readonly stage1Steps: number,
    saved?: { readonly history: ModelHistory; readonly pending: CheckpointState['pending'] },
  ) {
    this.stretch = Math.max(1, Math.ceil(totalSteps / summaries));
    this.losses = [...(saved?.history.losses ?? [])];
    this.validation = [...(saved?.history.validation ?? [])];
    this.bestSoFar = saved?.history.best ?? null;
    this.steps = saved?.history.steps ?? 0;
    this.sums = { ...saved?.pending.sums };
    this.pendingSteps = saved?.pending.steps ?? 0;
  }

  /** @param step counts from 1 */
  addStep(step: number, losses: Readonly<Record<string, number>>): void {
    this.steps = step;
    this.pendingSteps++;
    for (const [name, value] of Object.entries(losses)) this.sums[name] = (this.sums[name] ?? 0) + value;
    if (step % this.stretch !== 0 && step !== this.stage1Steps) return;
    const means = Object.entries(this.sums).map(([name, sum]) => [name, sum / this.pendingSteps] as const);
    this.losses.push({ step, losses: Object.fromEntries(means) });
    this.sums = {};
    this.pendingSteps = 0;
  }

  /** @returns whether this is the best validation so far (the first of equals) */
  addValidation(summary: ValidationSummary): boolean {
    this.validation.push(summary);
    const best = this.bestSoFar === null || summary.mean > this.bestSoFar.mean;
    if (best) this.bestSoFar = { step: summary.step, mean: summary.mean };
    return best;
  }

  get history(): ModelHistory {
    return {
      steps: this.steps,
      losses: [...this.losses],
      validation: [...this.validation],
      best: this.bestSoFar,
    };
  }

  get pending(): CheckpointState['pending'] {
    return { steps: this.pendingSteps, sums: { ...this.sums } };
  }
}
