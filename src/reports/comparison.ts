/** A comparison: runs of several methods and seeds on the same cases, and what their evaluations say. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from '#zod';
import { writeFileAtomic } from '../atomic-file.js';
import { VersemiError } from '../errors.js';
import { type PairedDifference, pairedDifference } from '../metrics/paired.js';
import { byTask } from '../metrics/summary.js';
import { readJsonFile } from '../regular-file.js';
import { evaluationFileName } from './evaluation-folder.js';
import { type ReportedEvaluation, readEvaluation } from './report-inputs.js';

const comparisonFileName = 'comparison.json';
export const evaluationFolderName = 'evaluation';

const runName = z.string().regex(/^[^/\\]+$/);
const schema = z.object({
  format: z.literal(1),
  runs: z.array(z.object({ name: runName, seed: z.int().gte(0) })),
});

/** One run of a comparison; its folder is `NAME/seed-N` in that of the comparison. */
export interface ComparedRun {
  /** Of the method, or of the plan. */
  readonly name: string;
  readonly seed: number;
}

export function runFolderOf(folder: string, { name, seed }: ComparedRun): string {
  return join(folder, name, `seed-${seed}`);
}

export function isComparison(folder: string): boolean {
  return existsSync(join(folder, comparisonFileName));
}

/** The runs of a comparison, those that are not finished included. @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_CORRUPT */
export function readComparison(folder: string): readonly ComparedRun[] {
  const file = join(folder, comparisonFileName);
  const parsed = schema.safeParse(readJsonFile(file, 'FILE_CORRUPT'));
  if (parsed.success) return parsed.data.runs;
  const [issue] = parsed.error.issues;
  throw new VersemiError('FILE_CORRUPT', {
    file,
    field: issue!.path.join('.'),
    expected: 'the runs of versemi compare',
    found: issue!.message,
    remedy: 'Run versemi compare again with the same folder: it writes the file anew and keeps finished runs.',
  });
}

/** @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
export async function writeComparison(folder: string, runs: readonly ComparedRun[]): Promise<void> {
  await writeFileAtomic(join(folder, comparisonFileName), `${JSON.stringify({ format: 1, runs }, null, 2)}\n`);
}

/** Mean and standard deviation over seeds (of the sample, divided by seeds - 1; null of one seed). */
export interface OverSeeds {
  readonly mean: number;
  readonly deviation: number | null;
}

/** What the evaluated runs of one method say. */
export interface ComparedMethod {
  readonly name: string;
  readonly seeds: readonly number[];
  /** Dice of each task which all runs of the method have scored: mean over the cases, then over seeds. */
  readonly perTask: Readonly<Record<string, OverSeeds>>;
  /** Of the mean over the tasks; absent where the method lacks one of the comparison's tasks: its mean would be of others. */
  readonly overall?: OverSeeds;
  /**
   * Against the method that is compared with: per task and overall (the tasks that both have), pairs of the same case, each
   * the mean over `seeds`.
   */
  readonly difference?: {
    /** Those that both methods have: with other seeds a difference would be of the seeds too. */
    readonly seeds: readonly number[];
    readonly perTask: Readonly<Record<string, PairedDifference>>;
    readonly overall: PairedDifference;
  };
}

/** Methods over seeds, and what differs between them. */
export interface ComparisonSummary {
  readonly tasks: readonly string[];
  /** Name of the method that the others are compared with. */
  readonly reference: string;
  readonly methods: readonly ComparedMethod[];
  /** Runs without an evaluation yet. */
  readonly unfinished: readonly ComparedRun[];
}

/** Seed of the bootstrap: the same intervals each time. */
const bootstrapSeed = 1;

/**
 * @param reference name of the method to compare with; default: the first
 * @throws VERSEMI_USAGE where there is no such method or nothing is evaluated yet, VERSEMI_FILE_CORRUPT
 */
export function summarizeComparison(folder: string, reference?: string): ComparisonSummary {
  const runs = readComparison(folder);
  const evaluations = new Map<ComparedRun, ReportedEvaluation>();
  for (const run of runs) {
    const file = join(runFolderOf(folder, run), evaluationFolderName, evaluationFileName);
    if (existsSync(file)) evaluations.set(run, readEvaluation(file));
  }
  const names = [...new Set([...evaluations.keys()].map(({ name }) => name))];
  if (names.length === 0 || (reference !== undefined && !names.includes(reference)))
    throw new VersemiError('USAGE', {
      file: folder,
      field: reference === undefined ? 'folder' : 'reference',
      expected: names.length === 0 ? 'at least one evaluated run' : `one of ${names.join(', ')}`,
      found: reference ?? 'none',
      remedy: 'Let versemi compare finish some runs first, or compare with another method.',
    });
  const base = reference ?? names[0]!;
  const tasks = [...new Set([...evaluations.values()].flatMap(({ cases }) => cases.map(({ task }) => task)))];
  const ofMethod = (name: string) =>
    [...evaluations].flatMap(([run, evaluation]) => (run.name === name ? [{ seed: run.seed, evaluation }] : []));
  return {
    tasks,
    reference: base,
    methods: names.map((name) => {
      const own = ofMethod(name);
      const bySeed = own.map(({ evaluation }) => taskMeans(evaluation));
      const scored = tasks.filter((task) => bySeed.every((means) => means.has(task)));
      const over = (some: readonly string[]) =>
        overSeeds(bySeed.map((means) => mean(some.map((task) => means.get(task)!))));
      return {
        name,
        seeds: own.map(({ seed }) => seed),
        perTask: Object.fromEntries(scored.map((task) => [task, over([task])])),
        ...(scored.length < tasks.length ? {} : { overall: over(tasks) }),
        ...(name === base ? {} : differenceOfRuns(own, ofMethod(base), tasks)),
      };
    }),
    unfinished: runs.filter((run) => !evaluations.has(run)),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function overSeeds(values: readonly number[]): OverSeeds {
  const center = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - center) ** 2, 0);
  return { mean: center, deviation: values.length < 2 ? null : Math.sqrt(squares / (values.length - 1)) };
}

/** Mean Dice of the tasks that have some. */
function taskMeans({ cases }: ReportedEvaluation): ReadonlyMap<string, number> {
  const scored = byTask(cases.filter(({ dice = null }) => dice !== null));
  return new Map(scored.map(([task, rows]) => [task, mean(rows.map(({ dice }) => dice!))]));
}

/** Of a method or its difference: the values of all tasks, then the overall one; undefined where there is none. */
export function columnsOf<Value>(
  tasks: readonly string[],
  { perTask, overall }: { readonly perTask: Readonly<Record<string, Value>>; readonly overall?: Value },
): (Value | undefined)[] {
  return [...tasks.map((task) => perTask[task]), overall];
}

export type CaseMeans = ReadonlyMap<string, CaseMean>;

interface CaseMean {
  readonly dataset: string;
  readonly id: string;
  readonly byTask: ReadonlyMap<string, number>;
}

/** Dice of each case and task, the mean over the evaluations, by dataset and case. */
export function caseMeans(evaluations: readonly ReportedEvaluation[]): CaseMeans {
  const lists = new Map<string, { dataset: string; id: string; byTask: Map<string, number[]> }>();
  for (const { cases } of evaluations)
    for (const { dataset = '', id, task, dice = null } of cases) {
      if (dice === null) continue;
      const key = `${dataset}/${id}`;
      const entry = lists.get(key) ?? { dataset, id, byTask: new Map<string, number[]>() };
      lists.set(key, entry);
      entry.byTask.set(task, [...(entry.byTask.get(task) ?? []), dice]);
    }
  return new Map(
    [...lists].map(([key, { dataset, id, byTask }]) => [
      key,
      { dataset, id, byTask: new Map([...byTask].map(([task, values]) => [task, mean(values)])) },
    ]),
  );
}

interface EvaluatedSeed {
  readonly seed: number;
  readonly evaluation: ReportedEvaluation;
}

function differenceOfRuns(
  own: readonly EvaluatedSeed[],
  base: readonly EvaluatedSeed[],
  tasks: readonly string[],
): Pick<ComparedMethod, 'difference'> {
  const seeds = own.map(({ seed }) => seed).filter((seed) => base.some((run) => run.seed === seed));
  const cases = (runs: readonly EvaluatedSeed[]) =>
    caseMeans(runs.flatMap(({ seed, evaluation }) => (seeds.includes(seed) ? [evaluation] : [])));
  const difference = differenceOf(cases(own), cases(base), tasks);
  return difference === undefined ? {} : { difference: { seeds, ...difference } };
}

/** Pairs of the same case and task, own less base; undefined where there is none. */
export function differenceOf(
  own: CaseMeans,
  base: CaseMeans,
  tasks: readonly string[],
): Omit<NonNullable<ComparedMethod['difference']>, 'seeds'> | undefined {
  const pairs = [...own].flatMap(([key, { dataset, byTask }]) => {
    const other = base.get(key)?.byTask;
    const both = [...byTask].flatMap(([task, dice]) => {
      const before = other?.get(task);
      return before === undefined ? [] : [[task, dice - before] as const];
    });
    return both.length === 0 ? [] : [{ stratum: dataset, byGroup: new Map(both) }];
  });
  const overall = pairedDifference(pairs, bootstrapSeed);
  if (overall === undefined) return undefined;
  const ofTask = (task: string) =>
    pairs.flatMap(({ stratum, byGroup }) => {
      const value = byGroup.get(task);
      return value === undefined ? [] : [{ stratum, byGroup: new Map([[task, value]]) }];
    });
  const perTask = tasks.flatMap((task) => {
    const difference = pairedDifference(ofTask(task), bootstrapSeed);
    return difference === undefined ? [] : [[task, difference] as const];
  });
  return { perTask: Object.fromEntries(perTask), overall };
}
