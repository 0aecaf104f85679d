/** Methods and seeds on the same cases, one run after the other: what `versemi compare` does. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadModel } from '../checkpoints/files.js';
import { planDifference } from '../checkpoints/plan-difference.js';
import { type Plan, parsePlan } from '../config/plan.js';
import { readPlan } from '../config/read-plan.js';
import { openPlanDataset } from '../datasets/dataset.js';
import { resolveSplit } from '../datasets/splits.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import type { EvaluatedCase } from '../inference/evaluate.js';
import {
  type CaseProgress,
  type EvaluationFacts,
  evaluateDataset,
  makeEvaluation,
} from '../inference/evaluate-dataset.js';
import type { KnownIntensities } from '../preprocessing/dataset-facts.js';
import {
  type ComparedRun,
  evaluationFolderName,
  isComparison,
  readComparison,
  runFolderOf,
  writeComparison,
} from '../reports/comparison.js';
import { evaluationFileName, writeEvaluation } from '../reports/evaluation-folder.js';
import type { TrainingEvent } from '../training/events.js';
import { runFiles } from '../training/run-folder.js';
import { type TrainOptions, train } from '../training/train.js';

/** A run and the plan that it trains by, whose cases are named one by one. */
export interface PlannedRun extends ComparedRun {
  readonly plan: Plan;
}

/** What `compareRuns` yields. */
export type ComparisonEvent =
  | {
      readonly type: 'run';
      readonly run: PlannedRun;
      /** Counts from 1 to total. */
      readonly index: number;
      readonly total: number;
      /** What is left to do. */
      readonly state: 'finished' | 'evaluate' | 'resume' | 'train';
    }
  | { readonly type: 'training'; readonly run: PlannedRun; readonly event: TrainingEvent }
  | { readonly type: 'evaluating'; readonly run: PlannedRun; readonly progress: CaseProgress }
  | { readonly type: 'evaluated'; readonly run: PlannedRun; readonly meanDice: number };

/**
 * The runs of some plans with some seeds: first all plans with the first seed, then with the next. The cases of each plan are
 * chosen once, by the seed of the plan file: all seeds train and validate on the same cases.
 * @throws VERSEMI_SPLIT_INVALID where a plan has no validation cases, and what opening a dataset throws
 */
export async function plannedRuns(
  plans: ReadonlyMap<string, Plan>,
  seeds: readonly number[],
): Promise<readonly PlannedRun[]> {
  const fixed = new Map<string, Plan>();
  for (const [name, plan] of plans) fixed.set(name, await withCases(plan));
  return seeds.flatMap((seed) => [...fixed].map(([name, plan]) => ({ name, seed, plan: { ...plan, seed } })));
}

/** The plan with its cases named one by one. */
async function withCases(plan: Plan): Promise<Plan> {
  const ids = (cases: readonly { readonly id: string }[]) => cases.map(({ id }) => id);
  let validation = 0;
  const datasets: Plan['datasets'] = [];
  for (const entry of plan.datasets) {
    const split = resolveSplit(await openPlanDataset(entry), entry, plan.seed);
    validation += split.validation.length;
    datasets.push({
      ...entry,
      split: {
        file: null,
        labeled: ids(split.labeled),
        validation: ids(split.validation),
        unlabeled: split.unlabeled.length === 0 ? 'none' : ids(split.unlabeled),
      },
    });
  }
  if (validation === 0)
    throw new VersemiError('SPLIT_INVALID', {
      field: 'datasets[].split.validation',
      expected: 'validation cases, on which the runs are compared',
      found: `none in the plan ${plan.name}`,
      remedy: 'Set labelled cases apart: versemi plan --validation, or split.validation in the plan.',
    });
  return parsePlan({ ...plan, datasets });
}

export interface CompareOptions
  extends Pick<TrainOptions, 'device' | 'exact' | 'precision' | 'threads' | 'signal' | 'cacheFolder'> {
  /** The device, as evaluations name it. */
  readonly facts: Omit<EvaluationFacts, 'model'>;
}

/**
 * Does what is left of the runs, one after the other: trains, goes on where a run was interrupted, and evaluates each final
 * model on the validation cases. Finished runs are left as they are; runs that the folder has from before stay part of it.
 * @throws VERSEMI_CHECKPOINT_MISMATCH where a run in the folder has another plan, VERSEMI_ABORTED by `signal` in an evaluation,
 *   and what training and evaluating throw. When `signal` is aborted in training, a checkpoint is written and the iteration ends.
 */
export async function* compareRuns(
  folder: string,
  runs: readonly PlannedRun[],
  options: CompareOptions,
): AsyncGenerator<ComparisonEvent, void> {
  const { facts, ...trainOptions } = options;
  for (const run of runs) await checkPlan(runFolderOf(folder, run), run.plan);
  const known = isComparison(folder) ? readComparison(folder) : [];
  const isNew = ({ name, seed }: ComparedRun) => !known.some((one) => one.name === name && one.seed === seed);
  await writeComparison(folder, [...known, ...runs.filter(isNew).map(({ name, seed }) => ({ name, seed }))]);
  const knownIntensities: KnownIntensities = new Map();
  for (const [i, run] of runs.entries()) {
    if (options.signal?.aborted) return;
    const runFolder = runFolderOf(folder, run);
    const state = stateOf(runFolder);
    yield { type: 'run', run, index: i + 1, total: runs.length, state };
    if (state === 'finished') continue;
    if (state !== 'evaluate') {
      const resume = existsSync(runFiles(runFolder).metrics);
      for await (const event of train(run.plan, { ...trainOptions, runFolder, resume, knownIntensities }))
        yield { type: 'training', run, event };
      if (options.signal?.aborted) return;
    }
    yield* evaluateRun(run, runFolder, facts, options.signal);
  }
}

function stateOf(runFolder: string): (ComparisonEvent & { type: 'run' })['state'] {
  const { model, last } = runFiles(runFolder);
  if (!existsSync(model)) return existsSync(last) ? 'resume' : 'train';
  return existsSync(join(runFolder, evaluationFolderName, evaluationFileName)) ? 'finished' : 'evaluate';
}

/** A run that the folder has must be the one that is asked for. */
async function checkPlan(runFolder: string, plan: Plan): Promise<void> {
  const file = runFiles(runFolder).plan;
  if (!existsSync(file)) return;
  const difference = planDifference(await readPlan(file), plan);
  if (difference === undefined) return;
  throw new VersemiError('CHECKPOINT_MISMATCH', {
    file,
    field: difference.field,
    expected: `${difference.checkpoint} (of the run that is there)`,
    found: `${difference.plan} (of the plan)`,
    remedy: 'Restore the setting, or compare in another folder.',
  });
}

async function* evaluateRun(
  run: PlannedRun,
  runFolder: string,
  facts: CompareOptions['facts'],
  signal: AbortSignal | undefined,
): AsyncGenerator<ComparisonEvent, void> {
  const file = runFiles(runFolder).model;
  const model = await loadModel(file);
  try {
    const cases: EvaluatedCase[] = [];
    for (const { name, path, split } of run.plan.datasets) {
      if (!Array.isArray(split.validation) || split.validation.length === 0) continue;
      throwIfAborted(signal, 'evaluation');
      // Windows come in turns of the event loop that a generator cannot yield from: the newest is told after each case.
      let newest: CaseProgress | undefined;
      const evaluated = evaluateDataset(model, path, {
        dataset: name,
        cases: split.validation,
        onProgress: (progress) => {
          newest = progress;
        },
        ...(signal === undefined ? {} : { signal }),
      });
      for await (const { outcomes } of evaluated) {
        cases.push(...outcomes.map(({ result }) => result));
        if (newest !== undefined) yield { type: 'evaluating', run, progress: newest };
      }
    }
    const evaluation = makeEvaluation(model, cases, { ...facts, model: file });
    await writeEvaluation(join(runFolder, evaluationFolderName), evaluation);
    const means = Object.values(evaluation.summary).flatMap(({ dice }) => dice?.mean ?? []);
    const meanDice = means.reduce((sum, mean) => sum + mean, 0) / means.length;
    yield { type: 'evaluated', run, meanDice };
  } finally {
    model.network.dispose();
  }
}
