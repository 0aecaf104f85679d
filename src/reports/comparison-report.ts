import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import { throwIfAborted } from '../errors.js';
import { runFiles } from '../training/run-folder.js';
import { pageAssets } from './assets.js';
import { type FoundEvaluation, noSlices, pageSlices, worstCases } from './case-pictures.js';
import {
  type ComparedRun,
  type ComparisonSummary,
  columnsOf,
  evaluationFolderName,
  readComparison,
  runFolderOf,
} from './comparison.js';
import { pageCurves, readTraining, type Series, type TrainingLog } from './curves.js';
import { evaluationFileName } from './evaluation-folder.js';
import {
  caseTable,
  distributionSection,
  evaluationData,
  volumesSection,
  warnings,
  worstSection,
} from './evaluation-sections.js';
import { html, type Markup, nothing } from './markup.js';
import { cell, type PageSection, plotPlace, renderPage, table, withInterval } from './page.js';
import type { PageCurves } from './page-data.js';
import { readEvaluation, readPlanFacts } from './report-inputs.js';
import { evaluationFacts, stateOf, stepsOf, trainingFacts } from './run-facts.js';
import { partDone, type RunReportOptions, slicesPart } from './run-report.js';
import { agreementOf, pairsOf } from './statistics.js';

/** A run of the comparison with what its folder holds; `found` is absent where it is not evaluated yet. */
interface ReadRun extends ComparedRun {
  readonly log: TrainingLog | undefined;
  readonly found?: FoundEvaluation;
}

/**
 * Writes the report of a comparison as one HTML file: tables, paired differences, cases, and the learning curves of all methods
 * side by side, each the mean over its seeds. Cases are those of the first evaluated seed of each method.
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED, VERSEMI_FILE_CORRUPT, VERSEMI_ABORTED by `signal`
 */
export async function writeComparisonReport(
  folder: string,
  summary: ComparisonSummary,
  file: string,
  { title = `versemi: ${basename(folder)}`, pictures = true, ...options }: Omit<RunReportOptions, 'compare'> = {},
): Promise<void> {
  throwIfAborted(options.signal, 'report');
  const runs: ReadRun[] = [];
  const compared = readComparison(folder);
  for (const [i, run] of compared.entries()) {
    runs.push(readRun(folder, run));
    const name = runFolderOf(folder, run);
    await partDone(options, { part: 'run', name, index: i + 1, total: compared.length });
  }
  const shown = firstSeeds(runs);
  const reference = shown.findIndex(({ name }) => name === summary.reference);
  const curves = methodCurves(runs);
  const slices = pictures ? await pageSlices(shown, slicesPart(options)) : noSlices;
  const named = (method: string, seeds: readonly number[]) => ({
    name: method,
    evaluations: runs.flatMap(({ name, seed, found }) =>
      name === method && seeds.includes(seed) && found !== undefined ? [found.evaluation] : [],
    ),
  });
  const pairs = summary.methods.flatMap(({ name, difference }) =>
    difference === undefined
      ? []
      : pairsOf(named(name, difference.seeds), named(summary.reference, difference.seeds), summary.tasks),
  );
  const agreement = shown.flatMap(({ evaluation }, run) => agreementOf(evaluation.cases, run));
  const left = summary.unfinished.map(({ name, seed }) => `${name} seed ${seed}`).join(', ');
  const several = runs.some(({ seed }) => seed !== runs[0]!.seed);
  const note = several
    ? html`<p class="note">Cases, plots of cases and volumes are of the first seed of each method.</p>`
    : nothing;
  const sections: PageSection[] = [
    {
      id: 'results',
      heading: 'Mean Dice',
      content: html`${warnings(shown)}${meansTable(summary)}<p class="note">Of the final model of each run, on the validation cases, at the resolution of the scans; ± standard deviation over seeds.</p>${note}`,
    },
    { id: 'differences', heading: `Differences from ${summary.reference}`, content: differencesTable(summary) },
    {
      id: 'training',
      heading: 'Learning curves',
      content:
        curves.length === 0
          ? nothing
          : html`<p class="note">Each method: the mean over its seeds.</p>${plotPlace('curves')}`,
    },
    distributionSection(shown.flatMap(({ evaluation }) => evaluation.cases)),
    volumesSection(
      agreement,
      shown.map(({ name }) => name),
    ),
    ...(reference < 0 || !pictures
      ? []
      : [titled(worstSection(worstCases(shown[reference]!), reference, slices), summary.reference)]),
    { id: 'runs', heading: 'Runs', content: runsTable(runs) },
    ...(shown.length === 0 ? [] : [caseTable(shown, slices)]),
  ];
  const [first] = runs;
  const plan = first && readPlanFacts(runFiles(runFolderOf(folder, first)).plan);
  const lead =
    left === ''
      ? html`<p class="lead"><span class="done">all ${runs.length} runs are finished</span></p>`
      : html`<p class="lead"><span class="open">not finished: ${left}</span></p>`;
  const page = {
    ...{ title, lead, sections, slices: slices.elements },
    facts: [
      titledFacts(trainingFacts(first?.log, plan), first),
      ...(first?.found === undefined ? [] : [titledFacts(evaluationFacts(first.found.evaluation, first.log), first)]),
    ],
    data: { ...evaluationData(shown), curves, pairs, agreement, slices: slices.index },
  };
  await writeFileAtomic(file, renderPage(page, pageAssets()));
}

function readRun(folder: string, run: ComparedRun): ReadRun {
  const runFolder = runFolderOf(folder, run);
  const evaluationFolder = join(runFolder, evaluationFolderName);
  const file = join(evaluationFolder, evaluationFileName);
  const log = readTraining(runFolder);
  if (!existsSync(file)) return { ...run, log };
  return { ...run, log, found: { name: run.name, folder: evaluationFolder, evaluation: readEvaluation(file) } };
}

/** The first evaluated run of each method. */
function firstSeeds(runs: readonly ReadRun[]): FoundEvaluation[] {
  const first = new Map<string, FoundEvaluation>();
  for (const { name, found } of runs) if (found !== undefined && !first.has(name)) first.set(name, found);
  return [...first.values()];
}

function titled(section: PageSection, method: string): PageSection {
  return { ...section, heading: `${section.heading} of ${method}` };
}

function titledFacts<Facts extends { readonly title: string }>(facts: Facts, run: ComparedRun | undefined): Facts {
  return run === undefined ? facts : { ...facts, title: `${facts.title}: ${run.name}, seed ${run.seed}` };
}

function meansTable({ tasks, methods }: ComparisonSummary): Markup {
  const columns = methods.map((method) => columnsOf(tasks, method));
  const best = [...tasks, undefined].map((_, i) => Math.max(...columns.map((column) => column[i]?.mean ?? 0)));
  const rows = methods.map(({ name, seeds }, k) => ({
    heading: name,
    cells: [
      cell(String(seeds.length)),
      ...columns[k]!.map((value, i) => {
        if (value === undefined) return cell('–');
        const { mean, deviation } = value;
        const spread = deviation === null ? nothing : html` <small>± ${deviation.toFixed(3)}</small>`;
        return cell(html`${mean.toFixed(3)}${spread}`, mean === best[i]);
      }),
    ],
  }));
  return table('Mean Dice per method and task', ['Method', 'Seeds', ...tasks, 'mean of the tasks'], rows);
}

function differencesTable({ tasks, methods }: ComparisonSummary): Markup {
  const rows = methods.flatMap(({ name, difference }) => {
    if (difference === undefined) return [];
    const cells = columnsOf(tasks, difference).map((one) =>
      one === undefined ? cell('–') : cell(withInterval(one), one.low > 0),
    );
    return [{ heading: name, cells: [cell(difference.seeds.join(', ')), ...cells] }];
  });
  if (rows.length === 0) return nothing;
  return html`${table('Differences of mean Dice per method and task', ['Method', 'Seeds', ...tasks, 'mean of the tasks'], rows)}
<p class="note">Pairs of the same case and task, each the mean over the seeds that both methods have; in brackets the 95 % bootstrap interval over cases. Marked: the whole interval is above 0.</p>${plotPlace('pairs')}`;
}

/** What each run is of. */
function runsTable(runs: readonly ReadRun[]): Markup {
  const rows = runs.map(({ name, seed, log, found }) => {
    const facts = new Map([
      ...trainingFacts(log, undefined).rows,
      ...(found === undefined ? [] : evaluationFacts(found.evaluation, log).rows.filter(([key]) => key === 'Weights')),
    ]);
    const texts = [
      String(seed),
      (log && stateOf(log)?.text) ?? 'not begun',
      ...['Began', 'Duration', 'Weights', 'Versemi'].map((key) => facts.get(key) ?? '–'),
    ];
    return { heading: name, cells: texts.map((text) => html`<td class="text">${text}</td>`) };
  });
  return table('Runs', ['Method', 'Seed', 'State', 'Began', 'Duration', 'Weights', 'Versemi'], rows);
}

/** Validation Dice of each task and of their mean, by method, over the share of the run: methods differ in their steps. */
function methodCurves(runs: readonly ReadRun[]): PageCurves[] {
  const byTask = new Map<string, Map<string, Series['points'][]>>();
  for (const { name, log } of runs)
    for (const { name: task, points } of log?.validation ?? []) {
      const last = (log && stepsOf(log)) ?? points.at(-1)?.[0] ?? 1;
      const methods = byTask.get(task) ?? new Map<string, Series['points'][]>();
      byTask.set(task, methods);
      const scaled = points.map(([step, dice]) => [step / last, dice] as const);
      methods.set(name, [...(methods.get(name) ?? []), scaled]);
    }
  return [...byTask].flatMap(([task, methods]) => {
    const title = `Dice on the validation cases: ${task}`;
    const facts = { title, xLabel: 'share of the run', yLabel: 'Dice', share: true, marks: true };
    return pageCurves(
      facts,
      [...methods].map(([name, seeds]) => ({ name, points: meanCurve(seeds) })),
    );
  });
}

/** The mean of curves at the points that all of them have: those of the shortest. */
function meanCurve(curves: readonly Series['points'][]): Series['points'] {
  const length = Math.min(...curves.map((points) => points.length));
  return Array.from({ length }, (_, i) => {
    const values = curves.map((points) => points[i]![1]);
    return [curves[0]![i]![0], values.reduce((sum, value) => sum + value, 0) / values.length] as const;
  });
}
