/** The parts of a page that are of evaluations; `run-report.ts` and `comparison-report.ts` put pages together from them. */
import { isOwnMetric } from '../metrics/own-metrics.js';
import type { FoundEvaluation, PageSlices, WorstCase } from './case-pictures.js';
import { casesOf, warningsOf, weightsOf } from './compared-cases.js';
import { html, type Markup, nothing } from './markup.js';
import { cell, number, type PageSection, plotPlace, table, withInterval } from './page.js';
import type { PageAgreement, PageData, PageMetric, PageRun } from './page-data.js';
import type { ReportedCase, ReportedEvaluation } from './report-inputs.js';
import { volumesOf } from './statistics.js';

type Metric = Exclude<keyof ReportedCase, 'id' | 'task' | 'dataset'>;

/** A metric as tables and plots show it. */
type Column = PageMetric & { readonly metric: Metric };

/** Columns of the summary and case tables for metrics of versemi, in order; absent metrics are left out. */
const columns: readonly Column[] = [
  { metric: 'dice', heading: 'Dice', digits: 3, share: true },
  { metric: 'jaccard', heading: 'Jaccard', digits: 3, share: true },
  { metric: 'surfaceDice', heading: 'Surface Dice', digits: 3, share: true },
  { metric: 'hd95PooledMm', heading: '95HD pooled (mm)', digits: 2, share: false },
  { metric: 'hd95MaxMm', heading: '95HD max (mm)', digits: 2, share: false },
  { metric: 'asdMm', heading: 'ASD (mm)', digits: 2, share: false },
  { metric: 'assdMm', heading: 'ASSD (mm)', digits: 2, share: false },
  { metric: 'hd95PooledVoxels', heading: '95HD pooled (voxels)', digits: 2, share: false },
  { metric: 'hd95MaxVoxels', heading: '95HD max (voxels)', digits: 2, share: false },
  { metric: 'asdVoxels', heading: 'ASD (voxels)', digits: 2, share: false },
];

/** Columns that some of the cases have: metrics of versemi, then those of one's own under the names that CSV and JSON have, too. */
function columnsOf(cases: readonly ReportedCase[]): Column[] {
  const own = [...new Set(cases.flatMap((row) => Object.keys(row).filter(isOwnMetric)))];
  return [
    ...columns.filter(({ metric }) => cases.some((row) => row[metric] !== undefined)),
    ...own.map((metric) => ({ metric, heading: metric, digits: digitsFor(cases, metric), share: false })),
  ];
}

/** Digits behind the point of a metric whose size nobody knows beforehand: of its largest value at least three digits are shown. */
function digitsFor(cases: readonly ReportedCase[], metric: Metric): number {
  const largest = cases.reduce((most, row) => Math.max(most, Math.abs(row[metric] ?? 0)), 0);
  return largest === 0 ? 0 : Math.min(12, Math.max(0, 2 - Math.floor(Math.log10(largest))));
}

/** What the script gets of evaluations. */
export function evaluationData(
  runs: readonly Pick<FoundEvaluation, 'name' | 'evaluation'>[],
): Pick<PageData, 'metrics' | 'runs'> {
  const shown = columnsOf(runs.flatMap(({ evaluation }) => evaluation.cases));
  return {
    metrics: shown.map(({ heading, digits, share }) => ({ heading, digits, share })),
    runs: runs.map(({ name, evaluation }): PageRun => {
      const cases = evaluation.cases.map((row) => {
        const { dataset = '', id, task } = row;
        return { dataset, id, task, values: shown.map(({ metric }) => row[metric] ?? null), volumesMl: volumesOf(row) };
      });
      return { name, cases };
    }),
  };
}

export function summaryTable(evaluation: ReportedEvaluation): Markup {
  const { summary } = evaluation;
  const tasks = Object.entries(summary);
  const shown = columnsOf(evaluation.cases).filter(({ metric }) =>
    tasks.some(([, metrics]) => metrics[metric] !== undefined),
  );
  const own = shown.some(({ metric }) => isOwnMetric(metric))
    ? ' Names that begin with “own.”: metrics that a module of the user brought (--parts), none of versemi.'
    : '';
  const rows = tasks.map(([task, metrics]) => {
    const cells = shown.map(({ metric, digits }) => {
      const value = metrics[metric];
      if (value === undefined) return cell('');
      const spread = value.std === null ? nothing : html` <small>± ${number(value.std, digits)}</small>`;
      const missing = value.undefinedCount > 0 ? html` <small>(${value.undefinedCount} undefined)</small>` : nothing;
      return cell(html`${number(value.mean, digits)}${spread}${missing}`);
    });
    const count = Object.values(metrics).reduce(
      (most, { count, undefinedCount }) => Math.max(most, count + undefinedCount),
      0,
    );
    return { heading: task, cells: [cell(String(count)), ...cells] };
  });
  const headings = ['Task', 'Cases', ...shown.map(({ heading }) => heading)];
  return html`<h3>Mean ± standard deviation</h3>${tableNote(evaluation)}${table('Mean and standard deviation of each metric per task', headings, rows)}
<p class="note">95HD pooled: 95th percentile of both directed surface distance sets together (medpy). 95HD max: the larger of the two directed 95th percentiles (MONAI). Surface Dice is also called NSD. Distances are undefined where a mask is empty.${own}</p>`;
}

/** What a table is of. */
function tableNote(evaluation: ReportedEvaluation): Markup {
  return html`<p class="note">Cases: ${casesOf(evaluation)}. Weights: ${weightsOf(evaluation)}.</p>`;
}

export function warnings(evaluations: readonly Pick<FoundEvaluation, 'name' | 'evaluation'>[]): Markup {
  const notes = evaluations.flatMap(({ name, evaluation }) =>
    warningsOf(evaluation).map((note) => html`<li>${evaluations.length > 1 ? `${name}: ` : ''}${note}</li>`),
  );
  if (notes.length === 0) return nothing;
  return html`<div class="warning" role="note"><h3>Before these scores are believed</h3><ul>${notes}</ul></div>`;
}

export function distributionSection(cases: readonly ReportedCase[]): PageSection {
  return {
    id: 'distribution',
    heading: 'Spread over the cases',
    content: cases.some(({ dice }) => typeof dice === 'number')
      ? html`<p class="note">Boxes: quartiles and median; whiskers: the furthest case within 1.5 interquartile ranges; each point is a case.</p>${plotPlace('distribution')}`
      : nothing,
  };
}

export function pairsSection(pairs: PageData['pairs'], note: Markup = nothing): PageSection {
  const tables = pairs.map(({ run, reference, tasks }) => {
    const rows = tasks.map(({ task, cases, ...difference }) => ({
      heading: task,
      cells: [cell(String(cases.length)), cell(withInterval(difference), difference.low > 0)],
    }));
    const title = `Dice of ${run} less that of ${reference}`;
    return html`<h3>${title}</h3>${table(title, ['Task', 'Cases', 'Mean difference'], rows)}`;
  });
  return {
    id: 'pairs',
    heading: 'Paired comparison',
    content:
      pairs.length === 0
        ? note
        : html`${note}${tables}<p class="note">Pairs of the same case; in brackets the 95 % bootstrap interval over cases. Marked: the whole interval is above 0.</p>${plotPlace('pairs')}`,
  };
}

export function volumesSection(agreement: readonly PageAgreement[], runs: readonly string[]): PageSection {
  const rows = agreement.map(({ run, task, cases, meanReferenceMl, biasMl, lowMl, highMl }) => ({
    heading: runs.length > 1 ? `${runs[run]}: ${task}` : task,
    cells: [String(cases), ...[meanReferenceMl, biasMl, lowMl, highMl].map((value) => number(value, 2))].map((text) =>
      cell(text),
    ),
  }));
  const headings = ['Task', 'Cases', 'Reference, mean (ml)', 'Bias (ml)', 'Lower limit (ml)', 'Upper limit (ml)'];
  return {
    id: 'volumes',
    heading: 'Agreement of volumes',
    content:
      agreement.length === 0
        ? nothing
        : html`${table('Agreement of volumes per task', headings, rows)}
<p class="note">Prediction less reference (Bland and Altman): the bias is the mean of the differences; 95 % of them are expected between the limits, which are 1.96 standard deviations away.</p>${plotPlace('volumes')}`,
  };
}

/** @param run to which the worst cases belong, by its place in the data of the page */
export function worstSection(worst: readonly WorstCase[], run: number, slices: PageSlices): PageSection {
  const shown = worst.filter(({ row, pngBase64 }) => pngBase64 !== undefined || hasSlices(slices, run, row));
  const figures = shown.map(({ row, pngBase64 }) => {
    const name = hasSlices(slices, run, row) ? caseButton(run, row) : html`${row.id}`;
    const picture =
      pngBase64 === undefined
        ? nothing
        : html`<img alt="Three planes of ${row.id} with the outlines of ${row.task}" src="data:image/png;base64,${pngBase64}">`;
    return html`<figure class="case-picture">${picture}<figcaption>${name} ${row.task}: Dice ${number(row.dice, 3)}, 95HD ${number(row.hd95PooledMm, 1)} mm</figcaption></figure>`;
  });
  const left =
    slices.leftOut === 0
      ? nothing
      : html`<p class="note">${slices.leftOut} cases with better scores have no slices here, so that the page stays small enough to be mailed: a report of their evaluation alone has more of them.</p>`;
  return {
    id: 'worst',
    heading: 'Worst cases',
    content:
      shown.length === 0
        ? nothing
        : html`<p class="note"><span class="key reference"></span>reference <span class="key prediction"></span>prediction; axial, coronal and sagittal planes with most foreground, patient right on the left. Each case stands under the task in which it is worst.</p><div class="pictures">${figures}</div>${left}`,
  };
}

function hasSlices({ index }: PageSlices, run: number, { dataset = '', id }: ReportedCase): boolean {
  return index.some((one) => one.run === run && one.dataset === dataset && one.id === id);
}

/** The script opens the case by it. */
function caseButton(run: number, { dataset = '', id, task }: ReportedCase): Markup {
  return html`<button type="button" class="case" data-run="${run}" data-dataset="${dataset}" data-case="${id}" data-task="${task}">${id}</button>`;
}

/** One row per case and task; the script sorts and filters it. */
export function caseTable(
  runs: readonly Pick<FoundEvaluation, 'name' | 'evaluation'>[],
  slices: PageSlices,
): PageSection {
  const shown = columnsOf(runs.flatMap(({ evaluation }) => evaluation.cases));
  const several = runs.length > 1;
  const places = new Set(slices.index.map(({ run, dataset, id }) => JSON.stringify([run, dataset, id])));
  const head = [
    ...['Case', 'Dataset', 'Task', ...(several ? ['Run'] : [])].map(
      (text) => html`<th scope="col" class="text">${text}</th>`,
    ),
    ...[...shown.map(({ heading }) => heading), 'Prediction (ml)', 'Reference (ml)'].map(
      (text) => html`<th scope="col">${text}</th>`,
    ),
  ];
  const rows = runs.flatMap(({ name, evaluation }, run) =>
    evaluation.cases.map((row) => {
      const { dataset = '', id, task } = row;
      const volumes = volumesOf(row);
      const first = places.has(JSON.stringify([run, dataset, id])) ? caseButton(run, row) : html`${id}`;
      const texts = [dataset, task, ...(several ? [name] : [])].map((text) => html`<td class="text">${text}</td>`);
      const cells = shown.map(({ metric, digits }) => cell(number(row[metric], digits)));
      const sizes = [volumes?.[0], volumes?.[1]].map((value) => cell(number(value, 2)));
      return html`<tr><th scope="row">${first}</th>${texts}${cells}${sizes}</tr>`;
    }),
  );
  const note = several ? nothing : tableNote(runs[0]!.evaluation);
  return {
    id: 'cases',
    heading: 'All cases',
    content:
      rows.length === 0
        ? nothing
        : html`${note}<div class="wide"><table id="case-table"><caption class="unseen">Every case and task with its metrics</caption><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table></div>`,
  };
}
