import * as tf from '#tfjs';
import { removeTemporaryFiles } from '../atomic-file.js';
import { type Checkpoint, loadCheckpoint } from '../checkpoints/checkpoint.js';
import type { ModelProvenance } from '../checkpoints/metadata.js';
import type { Plan } from '../config/plan.js';
import { totalSteps } from '../config/steps.js';
import { VersemiError } from '../errors.js';
import { type FolderLock, lockFolder } from '../folder-lock.js';
import { networkConfig } from '../model/layers.js';
import { VersemiNetwork } from '../model/network.js';
import type { KnownIntensities } from '../preprocessing/dataset-facts.js';
import { type Communicator, solo } from '../ranks/communicator.js';
import { packageVersion, programVersion } from '../root.js';
import type { StepBatch } from '../sampling/fields.js';
import { currentDevice, type DeviceChoice, type DeviceOptions, deviceOptions, selectDevice } from '../tfjs/index.js';
import { eventLoopTurn, type VerbOptions } from '../verb-options.js';
import {
  caseRecord,
  openTrainingData,
  requireForeground,
  requireSameCases,
  type TrainingData,
  watchedCases,
  withScanFacts,
} from './data.js';
import { eventText } from './event-text.js';
import type { TrainingEvent } from './events.js';
import { HistoryRecorder } from './history.js';
import { type InitialModel, initialNotes, readInitialModel } from './initial-model.js';
import { openRankSums, type RankSums } from './rank-sums.js';
import { anyRank, digest, rankPlan, ranksNotice, requireSame } from './ranks.js';
import { type FoundCheckpoint, lastCheckpoint } from './resume.js';
import { secondsSince, TrainingRun } from './run.js';
import { assertNewRun, RunLog, runFiles } from './run-folder.js';
import { learningRateAt } from './schedule.js';
import { placeHere } from './sittings.js';
import { createState, disposeState, type TrainingState } from './step.js';
import type { StepData, StepSource } from './step-data.js';
import { hostSource, stepSource } from './step-source.js';
import { slidingValidator, type Validator } from './validator.js';

/** The settings of the device count only where `device` is not `current`. */
export interface TrainOptions extends DeviceOptions, VerbOptions<TrainingEvent> {
  /** Where everything that the run writes goes. */
  readonly runFolder: string;
  /** Default auto. `current`: TF.js's current backend, whatever it is. */
  readonly device?: DeviceChoice | 'current';
  /** Go on from the run folder's last checkpoint where there is one. */
  readonly resume?: boolean;
  /**
   * With `resume`: the last stage of the plan may have another length than the run had until now. Its learning rate then follows the
   * schedule of the new length from the next step on.
   */
  readonly extend?: boolean;
  /**
   * A model whose weights the run begins with, see `readInitialModel`. A run that goes on from its checkpoint must have begun with
   * the same.
   */
  readonly init?: string;
  /** Cache of preprocessed cases; null: none. Default: `.versemi-cache` in the current folder. */
  readonly cacheFolder?: string | null;
  /** Preprocessed cases, instead of reading the plan's datasets. */
  readonly data?: TrainingData;
  /** For several runs one after the other, of plans without `datasets[].scans`: scans that one has read are not read by the next. */
  readonly knownIntensities?: KnownIntensities;
  /** Called with every batch before its step (counted from 0). With it, the voxels of all batches are made on the host. */
  readonly onBatch?: (batch: StepBatch, step: number) => void;
  /** Replaces sliding-window Dice on the validation cases; with several ranks each of them calls it. */
  readonly validate?: Validator;
  /** Milliseconds that only grow: tells when checkpoints by minutes are due. Default: `performance.now`. */
  readonly clock?: () => number;
  /**
   * The processes that compute the steps of this run together; each calls `train` with the same plan and options, yields the same
   * events, and rank 0 writes the run folder. Default: this process alone.
   */
  readonly ranks?: Communicator;
}

/**
 * Trains by a plan, both stages or supervised, step by step as the events are taken. Leaving the loop ends the run and
 * frees everything; what the last checkpoint holds stays. `onProgress` is called with every event, `onNotice` with the text of each that
 * is a `log`. See `TrainingEvent` for the events and METHOD for the stages.
 * @throws VERSEMI_USAGE when the folder holds another run, or one without a checkpoint that is to go on;
 *   VERSEMI_FOLDER_IN_USE while another training writes it; VERSEMI_CHECKPOINT_MISMATCH (another plan, other cases, or another
 *   initial model), VERSEMI_PLAN_INVALID (a network that is not that of the initial model),
 *   VERSEMI_DATASET_INVALID (a task that no labelled case shows), VERSEMI_TRAINING_NOT_FINITE, VERSEMI_DEVICE_UNAVAILABLE,
 *   VERSEMI_DEVICE_OUT_OF_MEMORY, VERSEMI_DISK_FULL, VERSEMI_RANKS_DIFFER, VERSEMI_RANK_LOST, VERSEMI_PLAN_CONTRADICTION (more
 *   ranks than patches), and what reading data throws
 */
export async function* train(plan: Plan, options: TrainOptions): AsyncGenerator<TrainingEvent, void, void> {
  const { ranks = solo } = options;
  if (ranks.rank > 0) {
    for await (const event of trainAlone(plan, options, heldByRank0, ranks)) yield told(event, options);
    return;
  }
  let watch = (_: string) => {};
  const watched = new Promise<string>((resolve) => {
    watch = resolve;
  });
  const onWatch = (owner: string, seconds: number) =>
    watch(`${options.runFolder} is held by ${owner}. For ${seconds} s it is watched whether that one still lives.`);
  const afterwards = ' (then versemi train --resume goes on where it stopped)';
  const taking = lockFolder(options.runFolder, 'a training', { onWatch, afterwards });
  const taken = () => undefined;
  try {
    const message = await Promise.race([watched, taking.then(taken, taken)]);
    if (message !== undefined) yield told({ type: 'log', step: 0, message }, options);
    for await (const event of trainAlone(plan, options, await taking, ranks)) yield told(event, options);
  } finally {
    await taking.then((lock) => lock.release(), taken);
  }
}

/** The run folder, for a rank that writes nothing. */
const heldByRank0: FolderLock = { assertHeld: async () => {}, release: async () => {} };
/** Passes an event on to whoever listens. */
function told(event: TrainingEvent, { onProgress, onNotice }: TrainOptions): TrainingEvent {
  if (event.type === 'log') onNotice?.(event.message);
  onProgress?.(event);
  return event;
}

async function* trainAlone(
  given: Plan,
  options: TrainOptions,
  lock: FolderLock,
  ranks: Communicator,
): AsyncGenerator<TrainingEvent, void, void> {
  const began = performance.now();
  const { runFolder, signal, clock = () => performance.now() } = options;
  const writes = ranks.rank === 0;
  const found = await checkpointOf(given, options, ranks);
  if (found === undefined && writes) assertNewRun(runFolder, options.resume === true);
  const checkpoint = found?.checkpoint;
  if (writes) await removeTemporaryFiles(runFiles(runFolder).checkpoints, 0);
  const { backend, why } = await device(options);
  const early: TrainingEvent[] = [];
  const data = options.data ?? (yield* kept(openTrainingData(given, preprocessing(options)), early));
  const plan = await withScanFacts(given, data, checkpoint?.model.plan, signal, options.knownIntensities);
  requireForeground(plan, data);
  const usedCases = caseRecord(plan, data);
  if (found?.checkpoint.model.cases !== undefined)
    requireSameCases(found.checkpoint.model.cases, usedCases, found.file);

  const firstStep = checkpoint?.step ?? 0;
  const steps = totalSteps(plan.training);
  if (firstStep > steps) throw tooFewSteps(firstStep, steps);
  const initial = await initialModel(plan, options.init, found);
  const computed = rankPlan(plan, ranks);
  const facts = {
    version: packageVersion(),
    device: currentDevice()?.description.replace(/, \d+ threads?.*$/, '') ?? backend,
    plan: digest({ ...plan, datasets: plan.datasets.map(({ path: _, ...dataset }) => dataset) }),
    cases: digest(usedCases),
    checkpoint: found === undefined ? 'none' : `step ${firstStep}`,
    'initial model': initial?.provenance.sha256 ?? 'none',
  };
  await requireSame(ranks, facts, 'Start every rank with the same plan, options, data and installation of versemi.');
  const { sums, notice: sumsNotice } = await openRankSums(ranks, currentDevice());
  let state: TrainingState | undefined;
  let together = false;
  let log: RunLog | undefined;
  let source: StepSource | undefined;
  try {
    state = startState(plan, checkpoint, initial, ranks, sums);
    // `onBatch` is shown voxels, and only the host's voxels can be shown.
    source = options.onBatch === undefined ? stepSource(computed, data) : hostSource(computed, data);
    const program = programVersion();
    const origin = {
      ...{ provenance: provenance(data, initial, checkpoint, ranks), cases: usedCases },
      ...{ place: placeHere(program, currentDevice()?.description ?? backend), began },
    };
    const run = new TrainingRun(plan, runFolder, state, recorder(plan, checkpoint), origin, firstStep, ranks, computed);
    // There is a checkpoint before there is anything that could be lost without one.
    if (checkpoint === undefined) await run.saveLast();
    if (writes) log = await RunLog.open(runFolder, plan, firstStep, checkpoint !== undefined, clock);
    for (const text of openingLines(plan, early)) log?.note(text);
    const saveLast = async () => {
      await lock.assertHeld();
      log?.sync();
      return run.saveLast();
    };
    const record = <T extends TrainingEvent>(event: T): T => {
      log?.write(event);
      return event;
    };
    const cases = watchedCases(plan, data.validation);
    const validator = options.validate ?? (cases.length > 0 ? slidingValidator(plan, cases, ranks) : undefined);
    yield record({
      type: 'start',
      step: firstStep,
      steps,
      device: backend,
      why,
      parameters: state.network.parameterCount,
      cases: { labeled: data.labeled.length, unlabeled: data.unlabeled.length, validation: cases.length },
      created: new Date().toISOString(),
      program,
    });
    if (source.notice !== undefined) yield record({ type: 'log', step: firstStep, message: source.notice });
    const before = checkpoint === undefined ? steps : totalSteps(checkpoint.model.plan.training);
    if (before !== steps) {
      const rate = learningRateAt(firstStep, plan.training).toPrecision(3);
      const message = `The run has ${steps} steps now, where it had ${before}: the learning rate goes on at ${rate}.`;
      yield record({ type: 'log', step: firstStep, message });
    }
    const earlier = checkpoint?.model.provenance.ranks ?? 1;
    if (ranks.size > 1 || earlier > 1)
      yield record({ type: 'log', step: firstStep, message: ranksNotice(computed, ranks, checkpoint && earlier) });
    if (sumsNotice !== undefined) yield record({ type: 'log', step: firstStep, message: sumsNotice });
    if (found?.notice !== undefined) yield record({ type: 'log', step: firstStep, message: found.notice });
    if (checkpoint !== undefined && checkpoint.model.cases === undefined)
      yield record({
        type: 'log',
        step: firstStep,
        message: 'The checkpoint has no record of its cases: whether they are the same now could not be checked.',
      });
    if (initial !== undefined)
      for (const message of initialNotes(initial, usedCases)) yield record({ type: 'log', step: 0, message });
    if (options.resume === true && found === undefined)
      yield record({ type: 'log', step: 0, message: `No checkpoint in ${runFolder} yet: the run begins anew.` });

    const { checkpointEverySteps, checkpointEveryMinutes } = plan.training;
    const mostMs = checkpointEveryMinutes === 0 ? Number.POSITIVE_INFINITY : checkpointEveryMinutes * 60_000;
    let saved = firstStep;
    let savedMs = clock();
    let coming: Promise<StepData> | undefined;
    while (run.stepsDone < steps) {
      const [aborted, isLate] = anyRank(ranks, [signal?.aborted === true, clock() - savedMs >= mostMs]);
      if (isLate && saved < run.stepsDone) {
        yield record(await saveLast());
        saved = run.stepsDone;
        savedMs = clock();
      }
      if (aborted) break;
      // On a synchronous device everything a step awaits is already there; without this turn of the event loop signals,
      // timers and worker messages would wait for the end of the run.
      await eventLoopTurn();
      const at = performance.now();
      const step = run.stepsDone;
      const stepData = await (coming ?? source.data(step));
      coming = undefined;
      if (stepData.batch !== undefined) options.onBatch?.(stepData.batch, step);
      const next = async () => {
        if (step + 1 === steps || signal?.aborted === true) return undefined;
        coming = source!.data(step + 1);
        coming.catch(() => {}); // The next turn of the loop, if there is one, awaits it and learns of the error.
        return coming;
      };
      yield record(await run.runStep(stepData, { at, waitSeconds: secondsSince(at) }, next));
      const notice = run.takeNotice();
      if (notice !== undefined) yield record({ type: 'log', step: run.stepsDone, message: notice });
      if (validator !== undefined && isDue(run.stepsDone, plan.training.validateEverySteps, steps)) {
        const validation = record(await run.validate(validator));
        yield validation;
        if (validation.best) {
          await lock.assertHeld();
          yield record(await run.saveBest());
        }
      }
      if (isDue(run.stepsDone, checkpointEverySteps, steps)) {
        yield record(await saveLast());
        saved = run.stepsDone;
        savedMs = clock();
      }
    }
    if (run.stepsDone < steps) {
      if (saved < run.stepsDone) yield record(await saveLast());
      together = true;
      yield record({ type: 'end', step: run.stepsDone, reason: 'aborted', seconds: secondsSince(began) });
      return;
    }
    await lock.assertHeld();
    const model = await run.saveModel();
    together = true;
    yield record({ type: 'end', step: steps, reason: 'finished', model, seconds: secondsSince(began) });
  } catch (error) {
    // A device that waits for a rank which is lost can only say that its sums were given up.
    const first = ranks.foundLost() ?? error;
    try {
      log?.note(`Failed: ${(first as Error).message}`);
    } catch {
      // What failed first is what is told.
    }
    throw first;
  } finally {
    try {
      log?.close();
    } finally {
      await source?.close();
      try {
        await sums.close(together);
      } finally {
        if (state !== undefined) disposeState(state);
      }
    }
  }
}

/** Passes events on, and keeps them. */
async function* kept<T extends TrainingEvent, R>(events: AsyncGenerator<T, R>, into: TrainingEvent[]) {
  for (;;) {
    const next = await events.next();
    if (next.done === true) return next.value;
    into.push(next.value);
    yield next.value;
  }
}

/** The first lines that a part of a run writes into train.log. @param early what happened before the log was opened */
function openingLines({ name, seed }: Plan, early: readonly TrainingEvent[]): string[] {
  const cases = early.filter((event) => event.type === 'case');
  const cached = cases.filter((event) => event.cached).length;
  return [
    `versemi ${packageVersion()}, plan ${name}, seed ${seed}`,
    ...early.flatMap(eventText),
    ...(cases.length === 0 ? [] : [`${cases.length} cases preprocessed, ${cached} of them already in the cache`]),
  ];
}

function tooFewSteps(done: number, asked: number): VersemiError {
  return new VersemiError('USAGE', {
    field: 'steps',
    expected: `at least the ${done} steps that are done`,
    found: String(asked),
    remedy: 'Ask for more steps, or begin a new run in another folder.',
  });
}

/** The checkpoint from which all ranks go on: that which rank 0 finds. */
async function checkpointOf(
  plan: Plan,
  { resume, runFolder, extend }: TrainOptions,
  ranks: Communicator,
): Promise<FoundCheckpoint | undefined> {
  if (resume !== true) return undefined;
  const extended = extend === true;
  const own = ranks.rank === 0 ? await lastCheckpoint(runFolder, plan, extended) : undefined;
  const [file] = await ranks.gather(own?.file ?? null);
  if (ranks.rank === 0 || file === null || file === undefined) return own;
  return { checkpoint: await loadCheckpoint(file, plan, extended), file };
}

/** @param every 0: only at the end */
function isDue(stepsDone: number, every: number, steps: number): boolean {
  return stepsDone === steps || (every > 0 && stepsDone % every === 0);
}

async function device(options: TrainOptions): Promise<{ backend: string; why: string }> {
  const { device = 'auto' } = options;
  if (device !== 'current') return selectDevice(device, deviceOptions(options));
  await tf.ready();
  return { backend: tf.getBackend(), why: 'the current backend of TF.js, because it was asked for.' };
}

function preprocessing({ cacheFolder, signal, ranks }: TrainOptions) {
  return {
    ...(cacheFolder === undefined ? {} : { cacheFolder }),
    ...(signal === undefined ? {} : { signal }),
    ...(ranks === undefined || ranks.size === 1 ? {} : { ranks }),
  };
}

/**
 * The model with which a new run begins.
 * @throws as `readInitialModel`; VERSEMI_CHECKPOINT_MISMATCH where a run that goes on began with another one
 */
async function initialModel(plan: Plan, file: string | undefined, found: FoundCheckpoint | undefined) {
  if (file === undefined) return undefined;
  const initial = await readInitialModel(file, plan);
  if (found === undefined) return initial;
  const began = found.checkpoint.model.provenance.initial;
  if (began?.sha256 === initial.provenance.sha256) return undefined;
  throw new VersemiError('CHECKPOINT_MISMATCH', {
    file: found.file,
    field: 'init',
    expected: began === undefined ? 'no model: the run began at random' : `${began.model}, SHA-256 ${began.sha256}`,
    found: `${file}, SHA-256 ${initial.provenance.sha256}`,
    remedy: 'Leave the model out, which is needed at the beginning alone, or start a new run in another folder.',
  });
}

function startState(
  plan: Plan,
  checkpoint: Checkpoint | undefined,
  initial: InitialModel | undefined,
  ranks: Communicator,
  sums: RankSums,
): TrainingState {
  const config = networkConfig(plan);
  if (checkpoint === undefined)
    return createState(new VersemiNetwork(config, initial?.values ?? plan.seed), plan, undefined, ranks, sums);
  const { model, optimizer } = checkpoint;
  const network = new VersemiNetwork(config, model.values('student'));
  return createState(network, plan, { optimizer, average: model.values('ema') }, ranks, sums);
}

function recorder(plan: Plan, checkpoint: Checkpoint | undefined): HistoryRecorder {
  const { training } = plan;
  const saved = checkpoint && { history: checkpoint.model.history, pending: checkpoint.pending };
  return new HistoryRecorder(totalSteps(training), training.stage1Steps, saved);
}

function provenance(
  { sources }: TrainingData,
  initial: InitialModel | undefined,
  checkpoint: Checkpoint | undefined,
  ranks: Communicator,
): ModelProvenance {
  const versions = { versemi: packageVersion(), node: process.versions.node, tfjs: tf.version_core };
  const began = checkpoint?.model.provenance;
  const [first, earlier] = [initial?.provenance ?? began?.initial, initial?.data ?? began?.data ?? []];
  // The terms of the data that a model began with bind the new one too.
  const names = new Set(sources.map(({ dataset }) => dataset));
  const data = [...sources, ...earlier.filter(({ dataset }) => !names.has(dataset))];
  const together = ranks.size > 1 ? { ranks: ranks.size } : {};
  const from = first === undefined ? {} : { initial: first };
  const sittings = began?.sittings === undefined ? {} : { sittings: began.sittings };
  return { created: new Date().toISOString(), versions, data, ...together, ...sittings, ...from };
}
