import type { EvaluatedCase, Evaluation } from '../inference/evaluate.js';
import { escapeXml, linePlot, type Series, stripPlot } from './plots.js';

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
  readonly evaluations: readonly { readonly name: string; readonly evaluation: Evaluation }[];
  readonly overlays: readonly OverlayPicture[];
  /** Cases shown under "worst cases" per task. */
  readonly worstPerTask?: number;
}

type Metric = Exclude<keyof EvaluatedCase, 'id' | 'task' | 'dataset'>;

/** Columns of the summary and case tables, in order, with their headings; absent metrics are left out. */
const columns: readonly (readonly [metric: Metric, heading: string, digits: number])[] = [
  ['dice', 'Dice', 3],
  ['jaccard', 'Jaccard', 3],
  ['hd95PooledMm', '95HD pooled (mm)', 2],
  ['hd95MaxMm', '95HD max (mm)', 2],
  ['asdMm', 'ASD (mm)', 2],
  ['surfaceDice', 'Surface Dice', 3],
  ['hd95PooledVoxels', '95HD pooled (voxels)', 2],
  ['hd95MaxVoxels', '95HD max (voxels)', 2],
  ['asdVoxels', 'ASD (voxels)', 2],
];

/** One HTML page that needs nothing else: pictures and plots are inside, there are no scripts. */
export function renderReport(input: ReportInput): string {
  const main = input.evaluations[0]?.evaluation;
  const sections = [
    factsTable(input.facts),
    main === undefined ? '' : `<h2>Results</h2>${comparison(input)}${summaryTable(main)}`,
    main === undefined ? '' : distribution(main),
    ...input.curves.map(curveSection),
    main === undefined ? '' : worstCases(input, main),
    main === undefined ? '' : caseTable(main.cases),
  ];
  return page(input.title, input.subtitle, sections);
}

/** The page around sections of HTML; empty ones are left out. */
export function page(title: string, subtitle: string | undefined, sections: readonly string[]): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(title)}</title><style>${style}</style></head>
<body><main><h1>${escapeXml(title)}</h1>${subtitle === undefined ? '' : `<p class="lead">${escapeXml(subtitle)}</p>`}
${sections.filter((section) => section !== '').join('\n')}
</main></body></html>
`;
}

function factsTable(facts: ReportInput['facts']): string {
  if (facts.length === 0) return '';
  const rows = facts.map(([name, value]) => `<tr><th>${escapeXml(name)}</th><td>${escapeXml(value)}</td></tr>`);
  return `<table class="facts"><tbody>${rows.join('')}</tbody></table>`;
}

/** Mean Dice per task of every evaluation, side by side; shown when there is more than one. */
function comparison({ evaluations }: ReportInput): string {
  if (evaluations.length < 2) return '';
  const tasks = [...new Set(evaluations.flatMap(({ evaluation }) => Object.keys(evaluation.summary)))];
  const mean = (evaluation: Evaluation, task: string) => evaluation.summary[task]?.dice?.mean ?? null;
  const head = evaluations.map(({ name }) => `<th>${escapeXml(name)}</th>`).join('');
  const row = (title: string, values: (number | null)[], tag: string) => {
    const best = Math.max(...values.map((value) => value ?? Number.NEGATIVE_INFINITY));
    const cells = values.map((value) => `<td${value === best ? ' class="best"' : ''}>${number(value, 3)}</td>`);
    return `<tr${tag}><th>${escapeXml(title)}</th>${cells.join('')}</tr>`;
  };
  const rows = tasks.map((task) =>
    row(
      task,
      evaluations.map(({ evaluation }) => mean(evaluation, task)),
      '',
    ),
  );
  const overall = evaluations.map(({ evaluation }) => {
    const values = tasks.map((task) => mean(evaluation, task)).filter((value) => value !== null);
    return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;
  });
  rows.push(row('mean of the tasks', overall, ' class="total"'));
  return `<h3>Mean Dice</h3><table><thead><tr><th>Task</th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table>`;
}

function summaryTable({ summary }: Evaluation): string {
  const tasks = Object.entries(summary);
  const shown = columns.filter(([metric]) => tasks.some(([, metrics]) => metrics[metric] !== undefined));
  const head = shown.map(([, heading]) => `<th>${heading}</th>`).join('');
  const rows = tasks.map(([task, metrics]) => {
    const cells = shown.map(([metric, , digits]) => {
      const value = metrics[metric];
      if (value === undefined) return '<td></td>';
      const missing = value.undefinedCount > 0 ? ` <small>(${value.undefinedCount} undefined)</small>` : '';
      return `<td>${number(value.mean, digits)}${value.std === null ? '' : ` <small>± ${number(value.std, digits)}</small>`}${missing}</td>`;
    });
    const count = Object.values(metrics).reduce(
      (most, { count, undefinedCount }) => Math.max(most, count + undefinedCount),
      0,
    );
    return `<tr><th>${escapeXml(task)}</th><td>${count}</td>${cells.join('')}</tr>`;
  });
  return `<h3>Mean ± standard deviation</h3><div class="wide"><table><thead><tr><th>Task</th><th>Cases</th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div>
<p class="note">95HD pooled: 95th percentile of both directed surface distance sets together (medpy). 95HD max: the larger of the two directed 95th percentiles (MONAI). Distances are undefined where a mask is empty.</p>`;
}

function distribution({ cases }: Evaluation): string {
  const tasks = [...new Set(cases.map((row) => row.task))];
  const values = (task: string, metric: Metric) =>
    cases.filter((row) => row.task === task).flatMap((row) => row[metric] ?? []);
  const groups = (metric: Metric) => tasks.map((task) => ({ name: task, values: values(task, metric) }));
  return `<div class="pair">${stripPlot('Dice of every case', groups('dice'), 'Dice', [0, 1])}${stripPlot('95HD (pooled) of every case', groups('hd95PooledMm'), 'mm')}</div>`;
}

function curveSection({ name, losses, validation, stage2Step }: TrainingCurves): string {
  const note = stage2Step === undefined ? '' : `<p class="note">Stage 2 begins at step ${stage2Step}.</p>`;
  const plots = [
    linePlot('Loss terms', losses, 'step', 'loss'),
    linePlot('Dice on the validation cases', validation, 'step', 'Dice', { yRange: [0, 1], marks: true }),
  ];
  return `<h2>Training: ${escapeXml(name)}</h2><div class="pair">${plots.join('')}</div>${note}`;
}

function worstCases(input: ReportInput, { cases }: Evaluation): string {
  if (input.overlays.length === 0) return '';
  const tasks = [...new Set(cases.map((row) => row.task))];
  const parts = tasks.map((task) => {
    const sorted = cases.filter((row) => row.task === task).sort((a, b) => Number(a.dice ?? 0) - Number(b.dice ?? 0));
    const pictures = sorted.flatMap((row) => {
      const picture = input.overlays.find((overlay) => overlay.id === row.id && overlay.task === task);
      return picture === undefined ? [] : [{ row, picture }];
    });
    const worst = pictures.slice(0, input.worstPerTask ?? 3);
    const best = pictures.slice(worst.length).slice(-1);
    const rest = pictures.slice(worst.length, pictures.length - best.length);
    const figure = ({ row, picture }: (typeof pictures)[number], label: string) =>
      `<figure class="overlay"><img alt="${escapeXml(`${row.id}, ${task}`)}" src="data:image/png;base64,${picture.pngBase64}"><figcaption>${label}${escapeXml(row.id)}: Dice ${number(row.dice, 3)}, 95HD ${number(row.hd95PooledMm, 1)} mm</figcaption></figure>`;
    const others =
      rest.length === 0
        ? ''
        : `<details><summary>${rest.length} more</summary>${rest.map((entry) => figure(entry, '')).join('')}</details>`;
    return `<h3>${escapeXml(task)}</h3>${worst.map((entry) => figure(entry, 'Worst: ')).join('')}${best.map((entry) => figure(entry, 'Best: ')).join('')}${others}`;
  });
  return `<h2>Cases</h2><p class="note"><i class="key reference"></i>reference <i class="key prediction"></i>prediction; axial, coronal and sagittal planes with most foreground, patient right on the left.</p>${parts.join('')}`;
}

function caseTable(cases: readonly EvaluatedCase[]): string {
  const shown = columns.filter(([metric]) => cases.some((row) => row[metric] !== undefined));
  const head = shown.map(([, heading]) => `<th>${heading}</th>`).join('');
  const rows = cases.map((row) => {
    const cells = shown.map(([metric, , digits]) => `<td>${number(row[metric], digits)}</td>`).join('');
    return `<tr><th>${escapeXml(row.id)}</th><td class="text">${escapeXml(row.task)}</td>${cells}</tr>`;
  });
  return `<h2>All cases</h2><div class="wide"><table><thead><tr><th>Case</th><th class="text">Task</th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function number(value: number | string | null | undefined, digits: number): string {
  return typeof value === 'number' ? value.toFixed(digits) : '–';
}

const style = `
:root{color-scheme:light dark;--ink:#1c2430;--muted:#5b6675;--line:#dde2e8;--soft:#f5f7f9;--paper:#fff;--best:#0a7a4b}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--muted:#9aa6b5;--line:#2f3844;--soft:#1c232c;--paper:#141a21;--best:#4fd09b}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:20px;margin:40px 0 8px;border-bottom:1px solid var(--line);padding-bottom:4px}
h3{font-size:16px;margin:24px 0 8px}.lead,.note{color:var(--muted);margin:4px 0 12px}.note{font-size:13px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:5px 12px 5px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,.text{text-align:left}thead th{color:var(--muted);font-weight:600;font-size:13px}tbody th{font-weight:500}
td small{color:var(--muted)}.best{color:var(--best);font-weight:700}.total th,.total td{font-weight:700;border-bottom:0}
.facts th{color:var(--muted);font-weight:500;padding-right:24px}.facts td{text-align:left;white-space:normal}
.wide{overflow-x:auto}.pair{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:16px}
figure{margin:8px 0}figcaption{color:var(--muted);font-size:13px;margin:2px 0}
svg{width:100%;height:auto;background:var(--soft);border-radius:6px}svg text{fill:var(--muted);font-size:11px}.grid{stroke:var(--line)}
.legend{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:12px;color:var(--muted)}.legend i,.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 5px 0 8px}
.key.reference{background:rgb(0,200,120)}.key.prediction{background:rgb(255,120,0)}
.overlay img{max-width:100%;border-radius:4px;background:#000;display:block}
details summary{cursor:pointer;color:var(--muted);font-size:13px;margin:8px 0}
`;
