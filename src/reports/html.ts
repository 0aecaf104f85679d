import { casesOf, sameCases, warningsOf, weightsOf } from './compared-cases.js';
import { html, Markup } from './markup.js';
import { linePlot, type Series, stripPlot } from './plots.js';
import type { ReportedCase, ReportedEvaluation } from './report-inputs.js';
import { styleElement, styleHash } from './style.js';

/** Learning curves of one run, as read from its metrics.jsonl. */
export interface TrainingCurves {
  readonly name: string;
  readonly losses: readonly Series[];
  readonly validation: readonly Series[];
  /** Step at which stage 2 begins, if it does. */
  readonly stage2Step?: number;
}

export interface OverlayPicture {
  readonly id: string;
  readonly task: string;
  /** Base64 of a PNG. */
  readonly pngBase64: string;
}

export interface ReportInput {
  readonly title: string;
  readonly subtitle?: string;
  /** Facts shown in a table at the top, in order. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly curves: readonly TrainingCurves[];
  /** The first evaluation is of the model that the report is about; the others stand beside it for comparison. */
  readonly evaluations: readonly { readonly name: string; readonly evaluation: ReportedEvaluation }[];
  readonly overlays: readonly OverlayPicture[];
  /** Cases shown under "worst cases" per task. */
  readonly worstPerTask?: number;
}

type Metric = Exclude<keyof ReportedCase, 'id' | 'task' | 'dataset'>;

/** Columns of the summary and case tables, in order, with their headings; absent metrics are left out. */
const columns: readonly (readonly [metric: Metric, heading: string, digits: number])[] = [
  ['dice', 'Dice', 3],
  ['jaccard', 'Jaccard', 3],
  ['hd95PooledMm', '95HD pooled (mm)', 2],
  ['hd95MaxMm', '95HD max (mm)', 2],
  ['asdMm', 'ASD (mm)', 2],
  ['assdMm', 'ASSD (mm)', 2],
  ['surfaceDice', 'Surface Dice', 3],
  ['hd95PooledVoxels', '95HD pooled (voxels)', 2],
  ['hd95MaxVoxels', '95HD max (voxels)', 2],
  ['asdVoxels', 'ASD (voxels)', 2],
];

/** What a page may do: show itself and the pictures in it. No script runs, whatever it holds, and nothing is asked for elsewhere. */
const policy = (styleHash: string) =>
  `default-src 'none'; style-src 'sha256-${styleHash}'; img-src data:; base-uri 'none'; form-action 'none'`;

/** One HTML page that needs nothing else: pictures and plots are inside, there are no scripts. */
export function renderReport(input: ReportInput): string {
  const main = input.evaluations[0]?.evaluation;
  const sections = [
    factsTable(input.facts),
    ...(main === undefined
      ? []
      : [html`<h2>Results</h2>${comparison(input)}${summaryTable(main)}${warnings(main)}`, distribution(main.cases)]),
    ...input.curves.map(curveSection),
    ...(main === undefined ? [] : [worstCases(input, main.cases), caseTable(main)]),
  ];
  return page(input.title, input.subtitle, sections);
}

/** The page around sections. */
export function page(title: string, subtitle: string | undefined, sections: readonly Markup[]): string {
  const lead = subtitle === undefined ? Markup.empty : html`<p class="lead">${subtitle}</p>`;
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy(styleHash)}"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>${styleElement}</head>
<body><main><h1>${title}</h1>${lead}
${sections.map((section) => html`${section}\n`)}</main></body></html>
`.text;
}

function factsTable(facts: ReportInput['facts']): Markup {
  if (facts.length === 0) return Markup.empty;
  const rows = facts.map(([name, value]) => html`<tr><th>${name}</th><td>${value}</td></tr>`);
  return html`<table class="facts"><tbody>${rows}</tbody></table>`;
}

/** Mean Dice per task of every evaluation, side by side; shown when there is more than one. */
function comparison({ evaluations }: ReportInput): Markup {
  if (evaluations.length < 2) return Markup.empty;
  const summaries = evaluations.map(({ evaluation }) => new Map(Object.entries(evaluation.summary)));
  const tasks = [...new Set(summaries.flatMap((summary) => [...summary.keys()]))];
  const means = (task: string) => summaries.map((summary) => summary.get(task)?.dice?.mean ?? null);
  const grouped = evaluations.map(({ evaluation }) => ({ evaluation, groups: new Map(byTask(evaluation.cases)) }));
  const different = tasks.filter((task) => {
    const known = grouped.filter((_, i) => means(task)[i] !== null);
    return !sameCases(known.map(({ evaluation, groups }) => ({ evaluation, rows: groups.get(task) ?? [] })));
  });
  const cells = (values: readonly (number | null)[], mark: boolean) => {
    // One value alone is no comparison.
    if (!mark || values.filter((value) => value !== null).length < 2)
      return values.map((value) => html`<td>${number(value, 3)}</td>`);
    const best = values.reduce<number>((most, value) => Math.max(most, value ?? most), Number.NEGATIVE_INFINITY);
    return values.map((value) =>
      value === best ? html`<td class="best">${number(value, 3)}</td>` : html`<td>${number(value, 3)}</td>`,
    );
  };
  const head = evaluations.map(({ name }) => html`<th>${name}</th>`);
  const rows = tasks.map((task) => html`<tr><th>${task}</th>${cells(means(task), !different.includes(task))}</tr>`);
  // A mean over some of the tasks is no mean over all of them.
  const overall = summaries.map((_, i) => {
    const values = tasks.map((task) => means(task)[i]!).filter((value) => value !== null);
    return values.length < tasks.length ? null : values.reduce((a, b) => a + b, 0) / values.length;
  });
  const note =
    different.length === 0
      ? ''
      : html`<p class="note">Evaluated on different cases, so that no value is marked as the best: ${different.join(', ')}.</p>`;
  const facts = (title: string, of: (evaluation: ReportedEvaluation) => string) =>
    html`<tr><th>${title}</th>${evaluations.map(({ evaluation }) => html`<td class="wrap">${of(evaluation)}</td>`)}</tr>`;
  return html`<h3>Mean Dice</h3><div class="wide"><table><thead><tr><th>Task</th>${head}</tr></thead><tbody>${rows}<tr class="total"><th>mean of the tasks</th>${cells(overall, different.length === 0)}</tr>${facts('cases', casesOf)}${facts('weights', weightsOf)}</tbody></table></div>${note}`;
}

function summaryTable(evaluation: ReportedEvaluation): Markup {
  const { summary } = evaluation;
  const tasks = Object.entries(summary);
  const shown = columns.filter(([metric]) => tasks.some(([, metrics]) => metrics[metric] !== undefined));
  const head = shown.map(([, heading]) => html`<th>${heading}</th>`);
  const rows = tasks.map(([task, metrics]) => {
    const cells = shown.map(([metric, , digits]) => {
      const value = metrics[metric];
      if (value === undefined) return html`<td></td>`;
      const spread = value.std === null ? '' : html` <small>± ${number(value.std, digits)}</small>`;
      const missing = value.undefinedCount > 0 ? html` <small>(${value.undefinedCount} undefined)</small>` : '';
      return html`<td>${number(value.mean, digits)}${spread}${missing}</td>`;
    });
    const count = Object.values(metrics).reduce(
      (most, { count, undefinedCount }) => Math.max(most, count + undefinedCount),
      0,
    );
    return html`<tr><th>${task}</th><td>${count}</td>${cells}</tr>`;
  });
  return html`<h3>Mean ± standard deviation</h3>${tableNote(evaluation)}<div class="wide"><table><thead><tr><th>Task</th><th>Cases</th>${head}</tr></thead><tbody>${rows}</tbody></table></div>
<p class="note">95HD pooled: 95th percentile of both directed surface distance sets together (medpy). 95HD max: the larger of the two directed 95th percentiles (MONAI). Distances are undefined where a mask is empty.</p>`;
}

/** What a table is of. */
function tableNote(evaluation: ReportedEvaluation): Markup {
  return html`<p class="note">Cases: ${casesOf(evaluation)}. Weights: ${weightsOf(evaluation)}.</p>`;
}

function warnings(evaluation: ReportedEvaluation): Markup {
  const notes = warningsOf(evaluation).map((note) => html`<li>${note}</li>`);
  return notes.length === 0 ? Markup.empty : html`<h3>Before these scores are believed</h3><ul>${notes}</ul>`;
}

/** Cases of each task, in order of first appearance. */
function byTask(cases: readonly ReportedCase[]): [task: string, cases: ReportedCase[]][] {
  const groups = new Map<string, ReportedCase[]>();
  for (const row of cases) {
    const group = groups.get(row.task);
    if (group === undefined) groups.set(row.task, [row]);
    else group.push(row);
  }
  return [...groups];
}

function distribution(cases: readonly ReportedCase[]): Markup {
  const groups = (metric: Metric) =>
    byTask(cases).map(([name, rows]) => ({ name, values: rows.flatMap((row) => row[metric] ?? []) }));
  return html`<div class="pair">${stripPlot('Dice of every case', groups('dice'), 'Dice', [0, 1])}${stripPlot('95HD (pooled) of every case', groups('hd95PooledMm'), 'mm')}</div>`;
}

function curveSection({ name, losses, validation, stage2Step }: TrainingCurves): Markup {
  const note = stage2Step === undefined ? '' : html`<p class="note">Stage 2 begins at step ${stage2Step}.</p>`;
  const plots = [
    linePlot('Loss terms', losses, 'step', 'loss'),
    linePlot('Dice on the validation cases', validation, 'step', 'Dice', { yRange: [0, 1], marks: true }),
  ];
  return html`<h2>Training: ${name}</h2><div class="pair">${plots}</div>${note}`;
}

function worstCases(input: ReportInput, cases: readonly ReportedCase[]): Markup {
  if (input.overlays.length === 0) return Markup.empty;
  const keyOf = ({ id, task }: { readonly id: string; readonly task: string }) => JSON.stringify([id, task]);
  const overlays = new Map(input.overlays.map((overlay) => [keyOf(overlay), overlay]));
  const parts = byTask(cases).map(([task, rows]) => {
    const sorted = rows.sort((a, b) => Number(a.dice ?? 0) - Number(b.dice ?? 0));
    const pictures = sorted.flatMap((row) => {
      const picture = overlays.get(keyOf(row));
      return picture === undefined ? [] : [{ row, picture }];
    });
    const worst = pictures.slice(0, input.worstPerTask ?? 3);
    const best = pictures.slice(worst.length).slice(-1);
    const rest = pictures.slice(worst.length, pictures.length - best.length);
    const figure = ({ row, picture }: (typeof pictures)[number], label: string) =>
      html`<figure class="overlay"><img alt="${row.id}, ${task}" src="data:image/png;base64,${picture.pngBase64}"><figcaption>${label}${row.id}: Dice ${number(row.dice, 3)}, 95HD ${number(row.hd95PooledMm, 1)} mm</figcaption></figure>`;
    const others =
      rest.length === 0
        ? ''
        : html`<details><summary>${rest.length} more</summary>${rest.map((entry) => figure(entry, ''))}</details>`;
    return html`<h3>${task}</h3>${worst.map((entry) => figure(entry, 'Worst: '))}${best.map((entry) => figure(entry, 'Best: '))}${others}`;
  });
  return html`<h2>Cases</h2><p class="note"><i class="key reference"></i>reference <i class="key prediction"></i>prediction; axial, coronal and sagittal planes with most foreground, patient right on the left.</p>${parts}`;
}

function caseTable(evaluation: ReportedEvaluation): Markup {
  const { cases } = evaluation;
  const shown = columns.filter(([metric]) => cases.some((row) => row[metric] !== undefined));
  const head = shown.map(([, heading]) => html`<th>${heading}</th>`);
  const rows = cases.map((row) => {
    const cells = shown.map(([metric, , digits]) => html`<td>${number(row[metric], digits)}</td>`);
    return html`<tr><th>${row.id}</th><td class="text">${row.task}</td>${cells}</tr>`;
  });
  return html`<h2>All cases</h2>${tableNote(evaluation)}<div class="wide"><table><thead><tr><th>Case</th><th class="text">Task</th>${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

function number(value: number | string | null | undefined, digits: number): string {
  return typeof value === 'number' ? value.toFixed(digits) : '–';
}
