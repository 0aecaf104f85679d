import { basename } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import { type ComparisonSummary, readComparison, runFolderOf } from './comparison.js';
import { page } from './html.js';
import { html, Markup } from './markup.js';
import { linePlot, type Series } from './plots.js';
import { readCurves } from './run-report.js';

/**
 * Writes the report of a comparison as one HTML file: tables, and the learning curves of all methods side by side, each the mean
 * over its seeds.
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED, VERSEMI_FILE_CORRUPT
 */
export async function writeComparisonReport(
  folder: string,
  summary: ComparisonSummary,
  file: string,
  { title = `versemi: ${basename(folder)}` }: { readonly title?: string } = {},
): Promise<void> {
  const curves = methodCurves(folder);
  const plots = [...curves].map(([task, series]) =>
    linePlot(`Dice on the validation cases: ${task}`, series, 'share of the run', 'Dice', { yRange: [0, 1] }),
  );
  const left = summary.unfinished.map(({ name, seed }) => `${name} seed ${seed}`).join(', ');
  const sections = [
    left === '' ? Markup.empty : html`<p class="note">Not finished: ${left}.</p>`,
    html`<h2>Mean Dice</h2>${meansTable(summary)}<p class="note">Of the final model of each run, on the validation cases, at the resolution of the scans; ± standard deviation over seeds.</p>`,
    differencesTable(summary),
    plots.length === 0 ? Markup.empty : html`<h2>Learning curves</h2><div class="pair">${plots}</div>`,
  ];
  await writeFileAtomic(file, page(title, undefined, sections));
}

/** Of a cell: the best of its column, or surely above 0. */
const marked = html` class="best"`;

function meansTable({ tasks, methods }: ComparisonSummary): Markup {
  const head = ['Method', 'Seeds', ...tasks, 'mean of the tasks'].map((text) => html`<th>${text}</th>`);
  const best = [...tasks, undefined].map((task) =>
    Math.max(...methods.map(({ perTask, overall }) => (task === undefined ? overall : perTask[task]!).mean)),
  );
  const rows = methods.map(({ name, seeds, perTask, overall }) => {
    const cells = [...tasks.map((task) => perTask[task]!), overall].map(({ mean, deviation }, i) => {
      const spread = deviation === null ? Markup.empty : html` <small>± ${deviation.toFixed(3)}</small>`;
      return html`<td${mean === best[i] ? marked : Markup.empty}>${mean.toFixed(3)}${spread}</td>`;
    });
    return html`<tr><th>${name}</th><td>${seeds.length}</td>${cells}</tr>`;
  });
  return html`<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

function differencesTable({ tasks, reference, methods }: ComparisonSummary): Markup {
  const rows = methods.flatMap(({ name, difference }) => {
    if (difference === undefined) return [];
    const cells = [...tasks.map((task) => difference.perTask[task]), difference.overall].map((one) =>
      one === undefined
        ? '<td>–</td>'
        : html`<td${one.low > 0 ? marked : Markup.empty}>${signed(one.mean)} <small>[${signed(one.low)}, ${signed(one.high)}]</small></td>`,
    );
    return [html`<tr><th>${name}</th>${cells}</tr>`];
  });
  if (rows.length === 0) return Markup.empty;
  const head = ['Method', ...tasks, 'mean of the tasks'].map((text) => html`<th>${text}</th>`);
  return html`<h2>Differences from ${reference}</h2><div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table></div>
<p class="note">Pairs of the same case, each the mean over seeds; in brackets the 95 % bootstrap interval over cases. Marked: the whole interval is above 0.</p>`;
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(3)}`;
}

/** Validation Dice of each task and of their mean, by method, over the share of the run: methods differ in their steps. */
function methodCurves(folder: string): Map<string, Series[]> {
  const byTask = new Map<string, Map<string, Series['points'][]>>();
  for (const run of readComparison(folder)) {
    const curves = readCurves(runFolderOf(folder, run));
    for (const { name: task, points } of curves?.validation ?? []) {
      const last = points.at(-1)?.[0] ?? 1;
      const methods = byTask.get(task) ?? new Map<string, Series['points'][]>();
      byTask.set(task, methods);
      const scaled = points.map(([step, dice]) => [step / last, dice] as const);
      methods.set(run.name, [...(methods.get(run.name) ?? []), scaled]);
    }
  }
  const series = (methods: Map<string, Series['points'][]>) =>
    [...methods].map(([name, seeds]) => ({ name, points: meanCurve(seeds) }));
  return new Map([...byTask].map(([task, methods]) => [task, series(methods)]));
}

/** The mean of curves at the points that all of them have: those of the shortest. */
function meanCurve(curves: readonly Series['points'][]): Series['points'] {
  const length = Math.min(...curves.map((points) => points.length));
  return Array.from({ length }, (_, i) => {
    const values = curves.map((points) => points[i]![1]);
    return [curves[0]![i]![0], values.reduce((sum, value) => sum + value, 0) / values.length] as const;
  });
}
