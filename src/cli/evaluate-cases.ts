import { join } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import type { CohortCase } from '../cohort/cohort.js';
import { inputsOfCase } from '../cohort/inputs.js';
import { fileOfPart, type Part } from '../cohort/parts.js';
import { writeNifti } from '../datasets/read-volume.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { fileNameOf } from '../file-name.js';
import { lockFolder } from '../folder-lock.js';
import { type CaseSelection, selectionNotes } from '../inference/case-selection.js';
import type { CaseOutcome, EvaluatedCase, Evaluation } from '../inference/evaluate.js';
import type {
  CasePlace,
  CaseProgress,
  EvaluateCasesOptions,
  EvaluationFacts,
  EvaluationProgress,
} from '../inference/evaluate-dataset.js';
import { isOwnMetric } from '../metrics/own-metrics.js';
import type { Summary } from '../metrics/summary.js';
import { casesToCsv } from '../reports/cases-csv.js';
import { evaluationText, writeEvaluation, writeOverlay, writeSlices } from '../reports/evaluation-folder.js';
import { programVersion } from '../root.js';
import {
  type CohortArguments,
  openCohort,
  partIn,
  partOf,
  tellEarlierFailures,
  tellFailures,
} from './cohort-options.js';
import { Failures } from './failures.js';
import { interruptible } from './interrupt.js';
import { formatDuration, formatTable, progressBar, type Terminal } from './terminal.js';

/** Options of `evaluate` that say where results go, as commander gives them. */
export interface EvaluateArguments extends CohortArguments {
  readonly json?: string | boolean;
  readonly csv?: string;
  readonly out?: string;
  readonly saveMasks?: boolean;
}

/** What the cases of a dataset are compared by: what a model makes of them, or masks that are there. */
export interface ComparedDataset {
  readonly opened: Dataset;
  readonly cases: readonly CaseFiles[];
  readonly selection: CaseSelection;
  readonly taskNames: readonly string[];
  /** Files that are read of a case beside its image and its label. */
  readonly moreInputs?: (files: CaseFiles) => readonly string[];
  evaluate(
    cases: readonly CaseFiles[],
    options: Pick<EvaluateCasesOptions, 'signal' | 'attempt'> & {
      readonly onProgress: (progress: CasePlace | CaseProgress) => void;
    },
  ): AsyncGenerator<EvaluationProgress, void>;
}

/** All that `evaluate` compares, and how its result is put together. */
export interface Comparison {
  readonly datasets: readonly ComparedDataset[];
  /** What a person should know before the first case. */
  readonly notes: readonly string[];
  /** Everything that decides what is computed, but for the cases: plain data. */
  readonly settings: readonly unknown[];
  /** Description of the device, for manifests. */
  readonly device: string;
  gather(cases: readonly EvaluatedCase[], facts: Omit<EvaluationFacts, 'model' | 'device'>): Evaluation;
}

type OutputLock = Awaited<ReturnType<typeof lockFolder>>;

/** Only one process at a time writes into a folder. @param work gets the lock; undefined where nothing is written into one */
export async function withOutput(
  options: EvaluateArguments,
  terminal: Terminal,
  work: (lock: OutputLock | undefined) => Promise<void>,
): Promise<void> {
  const { out } = options;
  if (out === undefined) return work(undefined);
  const onWatch = (owner: string, seconds: number) =>
    terminal.note(`${out} is held by ${owner}: watching for ${seconds} s whether that one still lives.`);
  const lock = await lockFolder(partFolder(out, partOf(options)), 'an evaluation', { onWatch });
  try {
    await work(lock);
  } finally {
    await lock.release();
  }
}

/**
 * Compares the cases of this process, and writes and prints the results.
 * @param lock on the folder of the results
 * @throws what reading a case throws where the other cases would meet it too
 */
export async function runComparison(
  { datasets, notes, settings, device, gather }: Comparison,
  options: EvaluateArguments,
  terminal: Terminal,
  lock: OutputLock | undefined,
): Promise<void> {
  const part = partOf(options);
  const selections = datasets.map(({ selection }) => selection);
  for (const note of [...notes, ...selections.flatMap(selectionNotes)]) terminal.note(note);
  for (const { opened } of datasets) for (const text of opened.remarks ?? []) terminal.note(`${opened.name}: ${text}`);
  const all = datasets.flatMap((compared) => compared.cases.map((files) => caseOf(compared, files)));
  const cohort = await openCohort<EvaluatedCase[], EvaluationCase>(all, options, terminal, {
    ...{ command: 'evaluate', device, what: 'cases' },
    settings: [...settings, options.out ?? null, options.saveMasks ?? false],
  });
  const results = new Map(cohort.done);
  const failures = new Failures(cohort.mine.length);
  tellEarlierFailures(cohort, failures);
  const failed = cohort.failed.map(({ key, error }) => {
    const { id, dataset } = cohort.mine.find((one) => one.key === key)!;
    return { id, dataset, message: error.message };
  });
  const began = performance.now();
  await interruptible(terminal, 'Stopping after this window', async (signal) => {
    for (const compared of datasets) {
      const started = performance.now();
      const mine = cohort.todo.filter(({ dataset }) => dataset === compared.opened.name);
      const todo = new Map(mine.map((one) => [one.id, one]));
      const evaluated = compared.evaluate(
        mine.map((one) => one.case),
        {
          signal,
          attempt: async ({ dataset, id }, work) => {
            const one = todo.get(id)!;
            const result = await failures.guard(id, () =>
              cohort.attempt(one, async () => {
                const outcomes = await work();
                return { result: outcomes.map((outcome) => outcome.result), outputs: await writeOutcomes(outcomes) };
              }),
            );
            if (result === undefined) failed.push({ id, dataset, message: failures.list.at(-1)!.message });
            else results.set(one.key, result);
            // They are written: nothing more is asked of them.
            return [];
          },
          onProgress: (progress) => terminal.status(statusLine(progress)),
        },
      );
      for await (const { dataset, index, total } of evaluated)
        if (index === total)
          terminal.note(`${dataset}: ${total} cases in ${formatDuration((performance.now() - started) / 1000)}`);
    }
  });
  const cases = cohort.mine.flatMap(({ key }) => results.get(key) ?? []);
  const evaluation = gather(cases, {
    program: programVersion(),
    seconds: (performance.now() - began) / 1000,
    selections,
    ...(failed.length === 0 ? {} : { failures: failed }),
    ...partIn(options),
  });
  await lock?.assertHeld();
  if (typeof options.json === 'string')
    await writeFileAtomic(fileOfPart(options.json, part), evaluationText(evaluation));
  if (options.csv !== undefined) await writeFileAtomic(fileOfPart(options.csv, part), casesToCsv(cases));
  if (options.out !== undefined) await writeEvaluation(options.out, evaluation);
  const unscored = datasets.flatMap(({ opened, taskNames }) => {
    const count = failed.filter(({ dataset }) => dataset === opened.name).length;
    return taskNames.map((name) => [name, count] as const);
  });
  terminal.print(summaryTable(evaluation.summary, failed.length === 0 ? undefined : new Map(unscored)));
  terminal.printJson(evaluation);
  tellFailures(failures, 'cases', options, terminal);

  /** Slices, overlays and masks of a case. */
  async function writeOutcomes(outcomes: readonly CaseOutcome[]): Promise<string[]> {
    const files: string[] = [];
    if (options.out === undefined || outcomes.length === 0) return files;
    files.push(await writeSlices(options.out, outcomes));
    for (const outcome of outcomes) {
      files.push(await writeOverlay(options.out, outcome));
      if (options.saveMasks !== true) continue;
      const { id, task } = outcome.result;
      const mask = join(options.out, 'masks', fileNameOf(`${id}_${task}.nii.gz`));
      await writeNifti(mask, outcome.prediction);
      files.push(mask);
    }
    return files;
  }
}

/** A case as a cohort has it. */
interface EvaluationCase extends CohortCase {
  readonly id: string;
  readonly dataset: string;
  /** What is evaluated. */
  readonly case: CaseFiles;
}

function caseOf({ opened, moreInputs }: ComparedDataset, files: CaseFiles): EvaluationCase {
  const { name, spacingMm, keys, labels, ignoredLabel } = opened;
  const { id, series } = files;
  const settings = [spacingMm ?? null, keys ?? null, labels, ignoredLabel ?? null, series ?? null];
  return {
    id,
    dataset: name,
    case: files,
    key: `${name}/${id}`,
    ...inputsOfCase(files, moreInputs?.(files)),
    settings,
  };
}

/** What one part holds while it writes: the parts of an evaluation share its folder. */
function partFolder(folder: string, part: Part | undefined): string {
  return part === undefined ? folder : fileOfPart(join(folder, 'part'), part);
}

function statusLine(progress: CasePlace | CaseProgress): string {
  const { dataset, id, index, total } = progress;
  const ofCase = 'window' in progress ? (progress.pass + progress.window / progress.windows) / progress.passes : 0;
  return `${dataset} ${progressBar((index - 1 + ofCase) / total)} case ${index} of ${total}, ${id}`;
}

/**
 * Mean ± standard deviation per task.
 * @param unscored per task, how many cases failed; absent: a column for them is too
 */
export function summaryTable(summary: Summary, unscored?: ReadonlyMap<string, number>): string {
  const names = Object.values(summary).flatMap((metrics) => Object.keys(metrics));
  const ownNames = [...new Set(names)].filter(isOwnMetric);
  const columns = [
    ['Dice', 'dice', 3],
    ['Jaccard', 'jaccard', 3],
    ['95HD pooled (mm)', 'hd95PooledMm', 2],
    ['95HD max (mm)', 'hd95MaxMm', 2],
    ['ASD (mm)', 'asdMm', 2],
    ['ASSD (mm)', 'assdMm', 2],
    ['surface Dice', 'surfaceDice', 3],
    ...ownNames.map((name) => [name.slice('own.'.length), name, 3] as const),
  ] as const;
  return formatTable(
    [
      ...['task', 'cases', ...(unscored === undefined ? [] : ['failed'])],
      ...[...columns.map(([heading]) => heading), 'undefined distances'],
    ],
    // A task of which every case failed has a row too.
    [...new Set([...Object.keys(summary), ...(unscored?.keys() ?? [])])].map((task) => {
      const metrics = summary[task] ?? {};
      return [
        task,
        String((metrics.dice?.count ?? 0) + (metrics.dice?.undefinedCount ?? 0)),
        ...(unscored === undefined ? [] : [String(unscored.get(task) ?? 0)]),
        ...columns.map(([, metric, digits]) => {
          const value = metrics[metric];
          if (value === undefined || value.mean === null) return '–';
          return `${value.mean.toFixed(digits)} ± ${(value.std ?? 0).toFixed(digits)}`;
        }),
        String(metrics.hd95PooledMm?.undefinedCount ?? 0),
      ];
    }),
  );
}
