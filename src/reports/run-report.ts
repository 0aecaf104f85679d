import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import { byTask } from '../metrics/summary.js';
import { readError } from '../regular-file.js';
import { runFiles } from '../training/run-folder.js';
import { turnUnlessAborted, type VerbOptions } from '../verb-options.js';
import { pageAssets } from './assets.js';
import { type FoundEvaluation, noSlices, pageSlices, worstCases } from './case-pictures.js';
import { casesOf, sameCases, weightsOf } from './compared-cases.js';
import { pageCurves, readTraining, type TrainingLog } from './curves.js';
import { evaluationFileName } from './evaluation-folder.js';
import {
  caseTable,
  distributionSection,
  evaluationData,
  pairsSection,
  summaryTable,
  volumesSection,
  warnings,
  worstSection,
} from './evaluation-sections.js';
import { html, type Markup, nothing } from './markup.js';
import { cell, number, type PageSection, plotPlace, renderPage, table } from './page.js';
import type { PageCurves } from './page-data.js';
import { readEvaluation, readPlanFacts } from './report-inputs.js';
import { evaluationFacts, stateOf, trainingFacts } from './run-facts.js';
import { agreementOf, pairsOf } from './statistics.js';

/** A piece of a report is there: the files of a run, or the slices of a case, have been read. */
export interface ReportProgress {
  readonly part: 'run' | 'slices';
  /** Folder of the run, or id of the case. */
  readonly name: string;
  /** Counts from 1 to total, for each part. */
  readonly index: number;
  readonly total: number;
}

/** What stands in a report beside the run. */
export interface RunReportOptions extends Omit<VerbOptions<ReportProgress>, 'onNotice'> {
  /** Folders of other runs to stand beside, e.g. the supervised baseline; named by their last folder. */
  readonly compare?: readonly string[];
  readonly title?: string;
  /** false: no pictures and slices of scans. Default: true. */
  readonly pictures?: boolean;
}

/**
 * The report of a run as one HTML file: what it is of, learning curves from metrics.jsonl, and every evaluation found in the run
 * folder or one folder below (evaluation.json, overlays/, slices/).
 * @param folder of a run, or of an evaluation
 * @returns the HTML
 * @throws VERSEMI_FILE_NOT_FOUND when there is nothing to report on in one of the folders, VERSEMI_FILE_CORRUPT, VERSEMI_ABORTED by `signal`
 */
export async function runReport(folder: string, options: RunReportOptions = {}): Promise<string> {
  throwIfAborted(options.signal, 'report');
  const runs = [folder, ...(options.compare ?? [])];
  const logs: (TrainingLog | undefined)[] = [];
  const found: FoundEvaluation[][] = [];
  for (const [i, run] of runs.entries()) {
    logs.push(readTraining(run));
    found.push(await readEvaluations(run));
    await partDone(options, { part: 'run', name: run, index: i + 1, total: runs.length });
  }
  const empty = runs.find((_, i) => logs[i] === undefined && found[i]!.length === 0);
  if (empty !== undefined) {
    throw new VersemiError('FILE_NOT_FOUND', {
      file: empty,
      expected: 'metrics.jsonl of a run, or evaluation.json of an evaluation',
      found: 'neither',
      remedy: 'Give the folder of a run (versemi train --out) or of an evaluation (versemi evaluate --out).',
    });
  }
  const evaluations = found.flatMap((entries, i) =>
    entries.map((entry) => ({
      ...entry,
      name: [basename(runs[i]!), ...(entries.length > 1 ? [entry.name] : [])].join(' / '),
    })),
  );
  const main = found[0]!.length > 0 ? evaluations[0] : undefined;
  const plan = readPlanFacts(runFiles(folder).plan);
  const curves = logs.flatMap((log) => (log === undefined ? [] : curvesOf(log, runs.length > 1)));
  const slices = options.pictures === false ? noSlices : await pageSlices(evaluations, slicesPart(options));
  const { pairs, note } = pairsWith(main, evaluations);
  const agreement = evaluations.flatMap(({ evaluation }, run) => agreementOf(evaluation.cases, run));
  const state = logs[0] && stateOf(logs[0]);
  const names = evaluations.map(({ name }) => name);
  const sections: PageSection[] = [
    {
      id: 'results',
      heading: 'Results',
      content:
        main === undefined
          ? nothing
          : html`${warnings(evaluations)}${comparison(evaluations)}${summaryTable(main.evaluation)}`,
    },
    ...(main === undefined
      ? []
      : [
          ...(options.pictures === false ? [] : [worstSection(worstCases(main), 0, slices)]),
          distributionSection(evaluations.flatMap(({ evaluation }) => evaluation.cases)),
          pairsSection(pairs, note),
          volumesSection(agreement, names),
        ]),
    trainingSection(logs, curves),
    ...(evaluations.length === 0 ? [] : [caseTable(evaluations, slices)]),
  ];
  return renderPage(
    {
      title: options.title ?? `versemi: ${plan?.name ?? basename(folder)}`,
      ...(state === undefined
        ? {}
        : { lead: html`<p class="lead"><span class="${state.finished ? 'done' : 'open'}">${state.text}</span></p>` }),
      facts: [trainingFacts(logs[0], plan), ...(main === undefined ? [] : [evaluationFacts(main.evaluation, logs[0])])],
      sections,
      data: { ...evaluationData(evaluations), curves, pairs, agreement, slices: slices.index },
      slices: slices.elements,
    },
    pageAssets(),
  );
}

/** Tells that a part of a report is there, which may be its end. @throws VERSEMI_ABORTED by `signal` */
export async function partDone(
  { signal, onProgress }: Pick<RunReportOptions, 'signal' | 'onProgress'>,
  progress: ReportProgress,
): Promise<void> {
  onProgress?.(progress);
  await turnUnlessAborted(signal, 'report');
}

/** {@link partDone} for the slices of cases. */
export function slicesPart(options: Pick<RunReportOptions, 'signal' | 'onProgress'>): Parameters<typeof pageSlices>[1] {
  return ({ id, index, total }) => partDone(options, { part: 'slices', name: id, index, total });
}

/** Writes {@link runReport} to a file, atomically. @throws as {@link runReport}; VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
export async function writeRunReport(folder: string, file: string, options: RunReportOptions = {}): Promise<void> {
  await writeFileAtomic(file, await runReport(folder, options));
}

async function readEvaluations(folder: string): Promise<FoundEvaluation[]> {
  const folders = ['', ...(await foldersIn(folder))];
  return folders.sort().flatMap((name) => {
    const file = join(folder, name, evaluationFileName);
    return existsSync(file) ? [{ name, folder: join(folder, name), evaluation: readEvaluation(file) }] : [];
  });
}

async function foldersIn(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    throw readError(error, folder);
  }
}

function curvesOf(log: TrainingLog, named: boolean): PageCurves[] {
  const title = (text: string) => (named ? `${text}: ${log.name}` : text);
  const losses = { title: title('Loss terms'), xLabel: 'step', yLabel: 'loss', share: false, marks: false };
  const dice = {
    title: title('Dice on the validation cases'),
    xLabel: 'step',
    yLabel: 'Dice',
    share: true,
    marks: true,
  };
  return [...pageCurves(losses, log.losses), ...pageCurves(dice, log.validation)];
}

function trainingSection(logs: readonly (TrainingLog | undefined)[], curves: readonly PageCurves[]): PageSection {
  const stages = logs.flatMap((log) =>
    log?.stage2Step === undefined
      ? []
      : [`${logs.length > 1 ? `${log.name}: s` : 'S'}tage 2 begins at step ${log.stage2Step}.`],
  );
  return {
    id: 'training',
    heading: 'Learning curves',
    content: curves.length === 0 ? nothing : html`<p class="note">${stages.join(' ')}</p>${plotPlace('curves')}`,
  };
}

/** Mean Dice per task of every evaluation, side by side; shown when there is more than one. */
function comparison(evaluations: readonly FoundEvaluation[]): Markup {
  if (evaluations.length < 2) return nothing;
  const summaries = evaluations.map(({ evaluation }) => new Map(Object.entries(evaluation.summary)));
  const tasks = [...new Set(summaries.flatMap((summary) => [...summary.keys()]))];
  const means = (task: string) => summaries.map((summary) => summary.get(task)?.dice?.mean ?? null);
  const different = differentTasks(evaluations).filter((task) => tasks.includes(task));
  const cells = (values: readonly (number | null)[], mark: boolean) => {
    // One value alone is no comparison.
    const known = values.filter((value) => value !== null);
    const best = mark && known.length > 1 ? Math.max(...known) : undefined;
    return values.map((value) => cell(number(value, 3), value !== null && value === best));
  };
  // A mean over some of the tasks is no mean over all of them.
  const overall = summaries.map((_, i) => {
    const values = tasks.map((task) => means(task)[i]!).filter((value) => value !== null);
    return values.length < tasks.length ? null : values.reduce((a, b) => a + b, 0) / values.length;
  });
  const facts = (heading: string, of: (evaluation: FoundEvaluation['evaluation']) => string) => ({
    heading,
    cells: evaluations.map(({ evaluation }) => html`<td class="wrap">${of(evaluation)}</td>`),
  });
  const rows = [
    ...tasks.map((task) => ({ heading: task, cells: cells(means(task), !different.includes(task)) })),
    { heading: 'mean of the tasks', cells: cells(overall, different.length === 0), total: true },
    facts('cases', casesOf),
    facts('weights', weightsOf),
  ];
  const note =
    different.length === 0
      ? nothing
      : html`<p class="note">Evaluated on different cases, so that no value is marked as the best: ${different.join(', ')}.</p>`;
  return html`<h3>Mean Dice</h3>${table('Mean Dice per task and run', ['Task', ...evaluations.map(({ name }) => name)], rows)}${note}`;
}

/** Tasks of which not all of these evaluations have the same cases. */
function differentTasks(evaluations: readonly FoundEvaluation[]): string[] {
  const grouped = evaluations.map(({ evaluation }) => ({ evaluation, groups: new Map(byTask(evaluation.cases)) }));
  const tasks = new Set(grouped.flatMap(({ groups }) => [...groups.keys()]));
  return [...tasks].filter((task) => {
    const known = grouped.filter(({ groups }) => groups.has(task));
    return !sameCases(known.map(({ evaluation, groups }) => ({ evaluation, rows: groups.get(task)! })));
  });
}

/** The first evaluation beside each of the others, where both are of the same cases. */
function pairsWith(main: FoundEvaluation | undefined, evaluations: readonly FoundEvaluation[]) {
  if (main === undefined) return { pairs: [], note: nothing };
  const left: string[] = [];
  const pairs = evaluations
    .filter((other) => other !== main)
    .flatMap((other) => {
      const both = new Map(byTask(main.evaluation.cases));
      const shared = byTask(other.evaluation.cases).flatMap(([task]) => (both.has(task) ? [task] : []));
      const different = differentTasks([main, other]).filter((task) => shared.includes(task));
      if (different.length > 0) left.push(`${other.name} (${different.join(', ')})`);
      const tasks = shared.filter((task) => !different.includes(task));
      const named = ({ name, evaluation }: FoundEvaluation) => ({ name, evaluations: [evaluation] });
      return pairsOf(named(main), named(other), tasks);
    });
  const note =
    left.length === 0
      ? nothing
      : html`<p class="note">Not compared, since the cases are not the same: ${left.join('; ')}.</p>`;
  return { pairs, note };
}
