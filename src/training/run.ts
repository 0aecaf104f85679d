import { saveCheckpoint } from '../checkpoints/checkpoint.js';
import { saveModel } from '../checkpoints/files.js';
import { type ModelMetadata, modelMetadata } from '../checkpoints/metadata.js';
import type { Plan } from '../config/plan.js';
import { isOwnTerm, stageOf } from '../config/steps.js';
import { VersemiNetwork } from '../model/network.js';
import type { Communicator, Traffic } from '../ranks/communicator.js';
import { currentDevice } from '../tfjs/index.js';
import type { CheckpointEvent, StepEvent, ValidationEvent } from './events.js';
import type { HistoryRecorder } from './history.js';
import { Pace } from './pace.js';
import { type RankPlan, requireSame, requireSameState } from './ranks.js';
import { runFiles } from './run-folder.js';
import { type Place, withSitting } from './sittings.js';
import { runStep, type TrainingState } from './step.js';
import type { StepData } from './step-data.js';
import type { Validator } from './validator.js';

/**
 * The parts of a run, each as one event: a step, a validation, a checkpoint, the final model. With several ranks each of them does every
 * part, and rank 0 alone writes files.
 */
export class TrainingRun {
  private readonly files: ReturnType<typeof runFiles>;
  private readonly pace: Pace;
  private readonly firstStep: number;
  /** Loss terms of one's own whose values all ranks have compared. */
  private readonly comparedTerms = new Set<string>();

  /**
   * @param step steps already done
   * @param computed the plan as this rank computes it
   */
  constructor(
    private readonly plan: Plan,
    folder: string,
    private readonly state: TrainingState,
    private readonly history: HistoryRecorder,
    private readonly origin: Pick<ModelMetadata, 'provenance' | 'cases'> & {
      /** Where this run goes on, and since when, by `performance.now`. */
      readonly place: Place;
      readonly began: number;
    },
    private step: number,
    private readonly ranks: Communicator,
    private readonly computed: RankPlan,
  ) {
    this.firstStep = step;
    this.files = runFiles(folder);
    this.pace = new Pace(computed);
  }

  /** Steps done. */
  get stepsDone(): number {
    return this.step;
  }

  /**
   * Does the next step.
   * @param data of that step
   * @param started when the step began, and how long it waited for its data
   * @param next see `runStep`
   * @throws VERSEMI_TRAINING_NOT_FINITE
   */
  async runStep(
    data: StepData,
    started: { readonly at: number; readonly waitSeconds: number },
    next?: () => Promise<StepData | undefined>,
  ): Promise<StepEvent> {
    const { training } = this.computed;
    const stage = stageOf(this.step, training);
    this.ranks.at(`step ${this.step + 1}`);
    const before = this.ranks.traffic();
    const result = await runStep(this.state, this.computed, data, next);
    const secondsPerStep = secondsSince(started.at);
    const etaSeconds = this.pace.add(this.step, secondsPerStep);
    this.step++;
    await this.compareOwnTerms(result.losses);
    this.history.addStep(this.step, result.losses);
    const samples = training.labeledBatchSize + (stage === 2 ? training.unlabeledBatchSize : 0);
    return {
      type: 'step',
      step: this.step,
      stage,
      ...result,
      samplesPerSecond: samples / secondsPerStep,
      secondsPerStep,
      waitSeconds: started.waitSeconds,
      etaSeconds,
      ...devicePeak(),
      ...(this.ranks.size === 1 ? {} : { communication: trafficSince(before, this.ranks.traffic()) }),
    };
  }

  /**
   * A term of one's own whose sums over images do not reach the other ranks would teach them something else, and nobody would see it:
   * so its first value is compared.
   */
  private async compareOwnTerms(losses: StepEvent['losses']): Promise<void> {
    if (this.ranks.size === 1) return;
    const own = Object.entries(losses).filter(([name]) => isOwnTerm(name) && !this.comparedTerms.has(name));
    for (const [name] of own) this.comparedTerms.add(name);
    const facts = Object.fromEntries(own.map(([name, value]) => [`loss term ${name}`, String(value)]));
    if (own.length > 0)
      await requireSame(this.ranks, facts, 'Take every sum over images of that term through sumOverParts.');
  }

  /** A sentence about how steps run, given once; see `StepProgram.takeNotice`. */
  takeNotice(): string | undefined {
    return this.state.program.takeNotice();
  }

  /** Validates the network that the plan wants for inference. */
  async validate(validator: Validator): Promise<ValidationEvent> {
    const start = performance.now();
    const averaged = this.plan.inference.network === 'ema';
    const network = averaged
      ? new VersemiNetwork(this.state.network.config, await this.state.average.values())
      : this.state.network;
    try {
      const { perTask: all } = await validator(network, this.step);
      const known = Object.entries(all).filter((entry): entry is [string, number] => entry[1] !== null);
      const perTask = Object.fromEntries(known);
      const mean = known.reduce((sum, [, dice]) => sum + dice, 0) / Math.max(1, known.length);
      const best = this.history.addValidation({ step: this.step, mean, perTask });
      return { type: 'validation', step: this.step, perTask, mean, best, seconds: secondsSince(start) };
    } finally {
      if (averaged) network.dispose();
    }
  }

  /** Keeps the present network as the best so far: weights and their average, without the state of the optimiser. */
  async saveBest(): Promise<CheckpointEvent> {
    const { network, average } = this.state;
    if (this.ranks.rank === 0)
      await saveModel(this.files.best, network, this.metadata(), { average: await average.values() });
    return { type: 'checkpoint', step: this.step, file: this.files.best, best: true };
  }

  /** Writes what a resumed run goes on from; the checkpoint before it stays, for when this one is damaged. */
  async saveLast(): Promise<CheckpointEvent> {
    await requireSameState(this.ranks, this.state, this.step);
    const event = { type: 'checkpoint', step: this.step, file: this.files.last, best: false } as const;
    if (this.ranks.rank > 0) return event;
    const { network, average, optimizer } = this.state;
    const [values, averages, memory] = await Promise.all([network.values(), average.values(), optimizer.state()]);
    const { pending } = this.history;
    const state = { step: this.step, optimizer: memory, pending };
    await saveCheckpoint(this.files.last, values, averages, this.metadata(), state, { keep: this.files.previous });
    return event;
  }

  /** Writes the final model: the weights that the plan wants for inference, and nothing else. @returns its file */
  async saveModel(): Promise<string> {
    if (this.ranks.rank > 0) return this.files.model;
    const { network, average } = this.state;
    const values = this.plan.inference.network === 'ema' ? await average.values() : network;
    await saveModel(this.files.model, values, this.metadata());
    return this.files.model;
  }

  private metadata(): ModelMetadata {
    const { provenance, cases, place, began } = this.origin;
    const sittings = withSitting(provenance.sittings ?? [], place, this.firstStep, this.step, secondsSince(began));
    return modelMetadata(this.plan, this.history.history, { ...provenance, sittings }, cases);
  }
}

function trafficSince(before: Traffic, now: Traffic): Traffic {
  return {
    bytesSent: now.bytesSent - before.bytesSent,
    calls: now.calls - before.calls,
    secondsWaited: now.secondsWaited - before.secondsWaited,
  };
}

function devicePeak(): { bytesPeak?: number } {
  const bytesPeak = currentDevice()?.memory().bytesPeak;
  return bytesPeak === undefined ? {} : { bytesPeak };
}

/** @param start from `performance.now()` */
export function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
