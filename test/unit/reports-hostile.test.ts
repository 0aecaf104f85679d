// Reports of folders that somebody else made: nothing in them runs, and what is no evaluation is refused by its place.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { EvaluatedCase } from '../../src/inference/evaluate.js';
import { casesFromCsv, casesToCsv } from '../../src/reports/cases-csv.js';
import { csvRows, csvText } from '../../src/reports/csv.js';
import { html, jsonElement } from '../../src/reports/markup.js';
import { runReport } from '../../src/reports/run-report.js';
import { packageRoot } from '../../src/root.js';
import { assertHarmlessPage } from '../fuzz/checks.js';
import { evaluationSeed, fullPlanSeed, metricsSeed } from '../fuzz/seeds.js';
import { failure } from './datasets-support.js';

const script = '<img src=x onerror=alert(1)><script>alert(2)</script>';

/** A run folder whose files are as given; what is left out is as versemi writes it. */
function run(folder: string, given: { metrics?: string; evaluation?: unknown; plan?: unknown } = {}): string {
  mkdirSync(join(folder, 'evaluation'), { recursive: true });
  const lines = metricsSeed.map((event) => `${JSON.stringify(event)}\n`).join('');
  writeFileSync(join(folder, 'metrics.jsonl'), given.metrics ?? lines);
  writeFileSync(join(folder, 'evaluation', 'evaluation.json'), JSON.stringify(given.evaluation ?? evaluationSeed));
  writeFileSync(join(folder, 'plan.json'), JSON.stringify(given.plan ?? fullPlanSeed));
  return folder;
}

t.test('the policy of a page allows its own script and styles alone', async (t) => {
  const page = await runReport(run(t.testdir()));
  const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page)![1]!.replaceAll('&#39;', "'");
  const hash = (text: string) => createHash('sha256').update(text).digest('base64');
  const [style, script] = [/<style>(.*?)<\/style>/s.exec(page)![1]!, /<script>(.*?)<\/script>/s.exec(page)![1]!];
  const plotStyle = readFileSync(join(packageRoot, 'dist', 'report', 'plot.css'), 'utf8');
  t.equal(
    policy,
    `default-src 'none'; script-src 'sha256-${hash(script)}'; style-src 'sha256-${hash(style)}' 'sha256-${hash(plotStyle)}'; img-src data:; base-uri 'none'; form-action 'none'`,
  );
  t.ok(page.indexOf('Content-Security-Policy') < page.indexOf('<style>'), 'before all that it governs');
  assertHarmlessPage(page);
});

t.test('names are text wherever they are shown', async (t) => {
  const evaluation = {
    ...evaluationSeed,
    model: script,
    device: script,
    created: script,
    cases: evaluationSeed.cases.map((row) => ({ ...row, id: script, task: script })),
    summary: { [script]: evaluationSeed.summary.organ },
  };
  const plan = { ...fullPlanSeed, name: script, tasks: [{ name: script, dataset: '"><script>' }] };
  const validation = { type: 'validation', step: 4, perTask: { [script]: 0.5, "'": 1 }, mean: 0.5 };
  const step = { type: 'step', step: 1, stage: 1, losses: { [script]: 1 } };
  const metrics = `${JSON.stringify(step)}\n${JSON.stringify(validation)}\n`;
  const page = await runReport(run(t.testdir(), { evaluation, plan: { ...fullPlanSeed, ...plan }, metrics }));
  assertHarmlessPage(page);
  t.match(page, '&lt;img src=x onerror=alert(1)&gt;');
  t.match(page, '\\u003cimg src=x onerror=alert(1)>', 'in the data of the script too');
  t.throws(() => assertHarmlessPage(`${page}<script>`), 'the check sees a script');
  t.throws(() => assertHarmlessPage(page.replace('<script>', '<script>0;')), 'and one that is not its own');
  t.throws(() => assertHarmlessPage(`${page}<p onclick="x">`), 'and an attribute that runs one');
});

t.test('a template escapes text in every place, once', async (t) => {
  const text = `&<>"'`;
  t.equal(
    String(html`<p class="${text}">${text}</p>`),
    '<p class="&amp;&lt;&gt;&quot;&#39;">&amp;&lt;&gt;&quot;&#39;</p>',
  );
  t.equal(String(html`${[html`<b>${'<'}</b>`, 1, ['<', html`<i></i>`]]}`), '<b>&lt;</b>1&lt;<i></i>');
  t.equal(String(html`${'a\u202eb\u0000\u001b[31m'}`), 'a\\u{202e}b\\x00\\x1b[31m', 'nothing that is not seen');
  t.equal(String(html`${{ text: '<b>' } as never}`), '[object Object]', 'what looks like markup is none');
  const data = String(jsonElement('x', { name: '</script><!--', turned: 'a\u202eb' }));
  t.equal(
    data,
    '<script type="application/json" id="x">{"name":"\\u003c/script>\\u003c!--","turned":"a\\\\u{202e}b"}</script>',
  );
});

t.test('what is not as versemi writes it is refused by file, line and field', async (t) => {
  const folder = t.testdir();
  const line = (event: unknown) => `${JSON.stringify(event)}\n`;
  const step = { type: 'step', step: 1, stage: 1, losses: { total: 1 } };
  const wrong: [unknown, RegExp][] = [
    [{ ...step, step: script }, /^line 1, step$/],
    [{ ...step, step: -1 }, /step/],
    [{ ...step, step: 1e21 }, /step/],
    [{ ...step, losses: { total: script } }, /losses\.total/],
    [{ ...step, losses: { total: { toString: 1 } } }, /losses\.total/],
    [{ type: 'validation', step: 1, perTask: { organ: script }, mean: 1 }, /perTask\.organ/],
    [{ type: 'validation', step: 1, perTask: {}, mean: [1] }, /mean/],
    [{ type: 'step', step: 1 }, /line 1/],
    [[1], /line 1/],
    [null, /line 1/],
  ];
  for (const [event, field] of wrong) {
    const error = await failure(() => runReport(run(folder, { metrics: line(event) })), 'FILE_CORRUPT');
    t.match(error.details.field, field, JSON.stringify(event));
    t.match(error.details.file, /metrics\.jsonl$/);
  }
  const [first] = evaluationSeed.cases;
  const evaluations: [unknown, RegExp][] = [
    [{ ...evaluationSeed, cases: [{ ...first, dice: script }] }, /^cases\.0\.dice$/],
    [{ ...evaluationSeed, cases: [{ ...first, id: 7 }] }, /^cases\.0\.id$/],
    [{ ...evaluationSeed, cases: [{ ...first, id: 'x'.repeat(1001) }] }, /^cases\.0\.id$/],
    [{ ...evaluationSeed, summary: { organ: { dice: { mean: '1' } } } }, /^summary\.organ\.dice\.mean$/],
    [{ ...evaluationSeed, created: { slice: 1 } }, /^created$/],
    [{ ...evaluationSeed, summary: Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [i, {}])) }, /^summary$/],
    [{ ...evaluationSeed, cases: new Array(50_001).fill(first) }, /^cases$/],
  ];
  for (const [evaluation, field] of evaluations) {
    const error = await failure(() => runReport(run(folder, { evaluation })), 'FILE_CORRUPT');
    t.match(error.details.field, field);
  }
  const tasks = [{ name: { toString: 1 }, dataset: 'd' }];
  const error = await failure(() => runReport(run(folder, { plan: { ...fullPlanSeed, tasks } })), 'FILE_CORRUPT');
  t.match(error.details.field, /^tasks\.0\.name$/);
  const many = Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`term${i}`, 1]));
  await failure(() => runReport(run(folder, { metrics: line({ ...step, losses: many }) })), 'FILE_CORRUPT');
});

t.test('names that every object has are names like others', async (t) => {
  const names = ['constructor', 'toString', 'hasOwnProperty', '__proto__'];
  const events = names.map(
    (name, i) => `{"type":"validation","step":${i},"perTask":{"${name}":0.5,"a":0.25},"mean":0.5}\n`,
  );
  const page = await runReport(run(t.testdir(), { metrics: events.join('') }));
  for (const name of names.slice(0, 3)) t.match(page, `{"name":"${name}","y":[`);
  assertHarmlessPage(page);
});

t.test(
  'CSV: text that a spreadsheet would compute is text, numbers are numbers, and all of it comes back',
  async (t) => {
    const odd = [
      ...['=1+1', '+1+1', '-1+1', '@SUM(A1)', '\tx', '\rx', '\nx', "'x", "''", ' =x', '=HYPERLINK("http://x","y")'],
      ...['a,b', 'a"b', '"', 'a\r\nb', '', '-1', '+2.5e3', 'plain', '\uff1d1', '-'],
    ];
    const text = csvText([['name', 'n'], ...odd.map((name) => [name, -1.5])]);
    t.same(
      csvRows(text, 'x').slice(1),
      odd.map((name) => [name, '-1.5']),
    );
    const cells = text.split(/,-1\.5\r\n/).map((cell) => cell.replace(/^name,n\r\n/, ''));
    for (const cell of cells.slice(0, -1))
      t.ok(!/^"?\s*[=+\-@\t\r\uff1d]/.test(cell) || /^[+-]?[\d.e]+$/.test(cell), JSON.stringify(cell));
    const rows = evaluationSeed.cases.map((row, i) => ({ ...row, id: odd[i]!, task: `=${i}` }));
    t.same(casesFromCsv(casesToCsv(rows as unknown as EvaluatedCase[]), 'cases.csv'), rows);
    t.same(
      casesFromCsv(`\ufeff${casesToCsv(rows as unknown as EvaluatedCase[])}`, 'x'),
      rows,
      'as a spreadsheet saves it',
    );
    for (const [broken, field] of [
      ['id,dataset\r\na,b\r\n', /line 1, task/],
      ['id,dataset,task,dice\r\na,b,c\r\n', /line 2/],
      ['id,dataset,task,dice\r\na,b,c,x\r\n', /line 2, dice/],
      ['id,dataset,task,dice\r\na,b,c,1e999\r\n', /line 2, dice/],
      ['id,dataset,task,id\r\na,b,c,d\r\n', /line 1/],
      ['id,dataset,task\r\na,"b,c\r\n', /line 2/],
    ] as const)
      t.match((await failure(() => casesFromCsv(broken, 'cases.csv'), 'FILE_CORRUPT')).details.field, field);
  },
);
