// What a page of a report says, against numbers worked out by hand.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import t from 'tap';
import type { EvaluatedCase } from '../../src/inference/evaluate.js';
import { worstCases } from '../../src/reports/case-pictures.js';
import { pageCurves } from '../../src/reports/curves.js';
import { overlayFileName, slicesFileName, writeEvaluation } from '../../src/reports/evaluation-folder.js';
import { runReport, writeRunReport } from '../../src/reports/run-report.js';
import { makeSlices } from '../../src/reports/slices.js';
import { agreementOf, pairsOf } from '../../src/reports/statistics.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { asScan } from '../../src/scans/scan.js';
import type { Affine, Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';
import { assertHarmlessPage } from '../fuzz/checks.js';
import {
  box,
  cases,
  comparedIn,
  dataOf,
  evaluated,
  evaluation,
  finished,
  geometry,
  outcomeOf,
  size,
  writeMetrics,
  writeRun,
} from './reports-support.js';

/** Rows of the tables of facts. */
function factsIn(page: string): Map<string, string> {
  const facts = page.slice(page.indexOf('<div class="facts">'), page.indexOf('<section'));
  return new Map(
    [...facts.matchAll(/<caption>([^<]*)<|<th scope="row">([^<]*)<\/th><td>([^<]*)</g)].reduce<[string, string][]>(
      (rows, [, title, name, value]) => {
        if (title !== undefined) rows.push([title, '']);
        else rows.push([`${rows.filter(([, text]) => text === '').at(-1)![0]}: ${name}`, value!]);
        return rows;
      },
      [],
    ),
  );
}

t.test('runReport: what it is of', async (t) => {
  const folder = join(t.testdir(), 'semi');
  await writeRun(folder);
  const page = await runReport(folder);
  assertHarmlessPage(page);
  t.match(page, '<title>versemi: a &lt;plan&gt;</title>');
  const facts = Object.fromEntries(factsIn(page));
  t.match(facts, {
    'Training: State': 'finished: 4 steps',
    'Training: Plan': 'a &lt;plan&gt;: semi-supervised, 2 + 2 steps',
    'Training: Tasks': 'liver (data)',
    'Training: Network': 'width 8, 4 levels, patch 64 × 64 × 32 voxels',
    'Training: Seed': '17',
    'Training: Cases': '2 labelled, 5 unlabelled, 1 for validation',
    'Training: Device': 'cpu: asked for',
    'Training: Began': '2026-01-02 03:04 UTC',
    'Training: Duration': '2 min 5 s',
    'Training: Versemi': '1.2.3, commit 0123456789ab',
    'Evaluation: Model': 'run/model.safetensors',
    'Evaluation: Weights': 'step 4, moving average (the last and the best in validation)',
    'Evaluation: Cases': 'data: 3 cases',
    'Evaluation: Surface Dice': 'tolerance 1 mm',
    'Evaluation: Device': 'test',
    'Evaluation: Date': '2026-01-02 03:04 UTC',
    'Evaluation: Duration': '1 min 15 s',
    'Evaluation: Versemi': '1.2.4',
  });
  await writeRun(folder, cases, { ...finished, reason: 'aborted' });
  t.match(await runReport(folder), '<span class="open">interrupted: 4 of 4 steps</span>');
  await writeRun(folder, cases, undefined);
  writeMetrics(folder);
  t.match(
    await runReport(folder),
    '<span class="open">not finished (running, or ended without a word): 4 of 4 steps</span>',
  );
});

t.test('runReport: from run folders to one page', async (t) => {
  const folder = join(t.testdir(), 'semi');
  const other = join(folder, '..', 'supervised');
  await writeRun(folder);
  await writeRun(other, [
    evaluated('case1', 'liver', 10),
    evaluated('case2', 'liver', 2),
    evaluated('case3', 'a<b>&"c"', 3),
  ]);
  const page = await runReport(folder, { compare: [other], title: 'A <script>alert(1)</script> & more' });
  assertHarmlessPage(page);
  t.match(page, '<title>A &lt;script&gt;alert(1)&lt;/script&gt; &amp; more</title>');
  t.notMatch(page.replace(/id="page-data">[^<]*</, ''), /a<b>/);
  t.match(page, 'semi: stage 2 begins at step 3. supervised: stage 2 begins at step 3.');
  t.same(comparedIn(page).rows, [
    ['liver', ['0.550', '0.600*']],
    ['a&lt;b&gt;&amp;&quot;c&quot;', ['0.600*', '0.300']],
    ['mean of the tasks', ['0.575*', '0.450']],
  ]);
  t.notMatch(await runReport(folder), '<h3>Mean Dice</h3>', 'nothing to compare');
  // Worst first, each case once.
  const worst = page.slice(page.indexOf('<section id="worst"'), page.indexOf('<section id="distribution"'));
  t.same(
    [...worst.matchAll(/<\/button> ([^<]*)<\/figcaption>/g)].map(([, text]) => text!.slice(0, 23)),
    ['liver: Dice 0.200, 95HD', 'a&lt;b&gt;&amp;&quot;c&', 'liver: Dice 0.900, 95HD'],
  );
  t.equal(worst.match(/src="data:image\/png;base64,/g)!.length, 3, 'with pictures of the run itself');

  const data = dataOf(page);
  t.same(
    data.runs.map(({ name }) => name),
    ['semi', 'supervised'],
  );
  t.same(
    data.metrics.map(({ heading }) => heading),
    ['Dice', 'Jaccard', 'Surface Dice', '95HD pooled (mm)', '95HD max (mm)', 'ASD (mm)', 'ASSD (mm)'],
  );
  t.same(
    data.runs[0]!.cases.map(({ id, task, values }) => [id, task, values[0]]),
    [
      ['case1', 'liver', 0.9],
      ['case2', 'liver', 0.2],
      ['case3', 'a<b>&"c"', 0.6],
    ],
  );
  const [losses, validation] = data.curves;
  t.same(
    [losses!.x, losses!.series],
    [
      [1, 2, 3, 4],
      [
        { name: 'total', y: [2, 1, 0.66667, 0.5] },
        { name: 'dice', y: [1, null, 0.33333, 0.25] },
      ],
    ],
  );
  t.same(
    validation!.series.map(({ name, y }) => [name, y]),
    [
      ['liver', [0.5]],
      ['spleen', [null]],
      ['mean', [0.5]],
    ],
  );
  t.equal(data.slices.length, 6, 'slices of all cases of both runs');
  for (const { element } of data.slices) t.match(page, `id="${element}"`);
  t.equal(data.slices[0]!.id, 'case2', 'the worst first');
  const bare = await runReport(folder, { pictures: false });
  t.notMatch(bare, /<img|id="slices-0"|class="case"/, 'no picture where none is wanted');
  await writeRunReport(join(folder, 'evaluation'), join(folder, 'page.html'));
  t.equal(overlayFileName('case3', 'a<b>&"c"'), 'case3_a%3Cb%3E&%22c%22.png');
  t.equal(slicesFileName('a/b', 'c'), 'a%2Fb_c.json');
});

t.test("metrics of one's own stand in every table, and in the data of plots", async (t) => {
  const folder = t.testdir();
  const measured = [
    { 'own.volumeError': -12.34, 'own.parts': 1 },
    { 'own.volumeError': 0.5, 'own.parts': 3 },
    { 'own.volumeError': null, 'own.parts': 2 },
  ];
  const rows = measured.map((own, i) => ({
    ...evaluated(`case${i}`, 'liver', 9 - i),
    ...own,
    'own.<b>': 7,
    ownish: 7,
  }));
  const other = { ...evaluated('case0', 'spleen', 5), 'own.share': 0.00123 };
  await writeEvaluation(folder, evaluation([...rows, other] as EvaluatedCase[]));
  const page = await runReport(folder);
  assertHarmlessPage(page);
  const results = page.slice(page.indexOf('<section id="results"'), page.indexOf('<section id="distribution"'));
  const headings = [...results.matchAll(/<th scope="col">([^<]*)</g)].map(([, text]) => text);
  t.same(headings.slice(-4), ['ASSD (mm)', 'own.volumeError', 'own.parts', 'own.share'], 'behind those of versemi');
  const cells = (task: string) => {
    const line = new RegExp(`<tr><th scope="row">${task}</th>(.*?)</tr>`).exec(results)![1]!;
    return [...line.matchAll(/<td>(.*?)<\/td>/g)].map(([, cell]) => cell!.replace(/<[^>]*>/g, '')).slice(-3);
  };
  // -12.34 and 0.5: mean -5.92, spread 6.42; 1, 3, 2: mean 2, spread 0.816.
  t.same(cells('liver'), ['-5.9 ± 6.4 (1 undefined)', '2.00 ± 0.82', '']);
  t.same(cells('spleen'), ['', '', '0.00123 ± 0.00000']);
  t.match(results, 'a module of the user brought');
  const { metrics, runs } = dataOf(page);
  t.same(metrics.slice(-3), [
    { heading: 'own.volumeError', digits: 1, share: false },
    { heading: 'own.parts', digits: 2, share: false },
    { heading: 'own.share', digits: 5, share: false },
  ]);
  t.same(
    runs[0]!.cases.map(({ values }) => values.slice(-3)),
    [
      [-12.34, 1, null],
      [0.5, 3, null],
      [null, 2, null],
      [null, null, 0.00123],
    ],
  );
  t.match(page, /<td>-12\.3<\/td><td>1\.00<\/td><td>–<\/td>/, 'and in the table of all cases');
  t.notMatch(page, /own\.&lt;|ownish/, 'what is no name of a part is not shown');

  const broken = join(folder, 'broken');
  await writeEvaluation(broken, evaluation([{ ...rows[0]!, 'own.parts': 'many' as never }]));
  const corrupt = { code: 'VERSEMI_FILE_CORRUPT', details: { field: 'cases.0.own.parts', found: '"many"' } };
  await t.rejects(runReport(broken), corrupt);
  const many = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`own.m${i}`, i]));
  await writeEvaluation(broken, evaluation([{ ...rows[0]!, ...many }]));
  await t.rejects(runReport(broken), { code: 'VERSEMI_FILE_CORRUPT', message: /more than 100 metrics/ });
});

t.test('statistics: agreement of volumes and pairs, against numbers worked out by hand', async (t) => {
  const row = (id: string, dice: number, prediction: number, reference: number) =>
    ({
      id,
      dataset: 'd',
      task: 'x',
      dice,
      volumePredictionMl: prediction,
      volumeReferenceMl: reference,
    }) as EvaluatedCase;
  const own = [row('a', 0.9, 11, 10), row('b', 0.7, 23, 20), row('c', 0.5, 29, 30)];
  const [found] = agreementOf(own, 3);
  // Differences 1, 3, -1: mean 1, standard deviation 2.
  t.match(found, { run: 3, task: 'x', cases: 3, meanReferenceMl: 20, biasMl: 1, lowMl: 1 - 3.92, highMl: 1 + 3.92 });
  t.same(agreementOf(own.slice(0, 1), 0), [], 'one case has no spread');
  const base = [row('a', 0.8, 1, 1), row('b', 0.8, 1, 1), row('other', 0.1, 1, 1)];
  const [pair] = pairsOf(
    { name: 'own', evaluations: [evaluation(own)] },
    { name: 'base', evaluations: [evaluation(base)] },
    ['x'],
  );
  t.same(
    pair!.tasks[0]!.cases.map(({ id, difference }) => [id, Number(difference.toFixed(12))]),
    [
      ['a', 0.1],
      ['b', -0.1],
    ],
  );
  const { mean, low, high } = pair!.tasks[0]!;
  t.same(
    [mean, low, high].map((value) => Math.abs(Number(value.toFixed(12)))),
    [0, 0.1, 0.1],
    'two cases, drawn again',
  );
});

t.test('curves of long runs are means over stretches; what is no number is a gap', async (t) => {
  const points = Array.from({ length: 10_001 }, (_, i) => [i + 1, i % 6] as const);
  const facts = { title: 'x', xLabel: 'step', yLabel: 'loss', share: false, marks: false };
  const few = [
    [3, Number.NaN],
    [5, 7],
    [20, 9],
  ] as const;
  const [made] = pageCurves(facts, [
    { name: 'a', points },
    { name: 'b', points: few },
  ]);
  t.ok(made!.x.length <= 2000, `${made!.x.length} points`);
  t.equal(made!.x.at(-1), 10_001, 'the last step stays');
  t.same(made!.x.slice(0, 3), [6, 12, 18], 'each stretch at its last step');
  t.same(made!.series[0]!.y.slice(0, 3), [2.5, 2.5, 2.5], 'means of six');
  t.same(made!.series[1]!.y.slice(0, 5), [null, null, null, 9, null], 'a mean with a gap in it is a gap');
  t.same(pageCurves(facts, []), []);
  t.same(pageCurves(facts, [{ name: 'a', points: [] }]), []);
});

t.test('worst cases: some of each task, each case under the task in which it is worst', async (t) => {
  const row = (id: string, task: string, dice: number | null) => ({ id, dataset: 'd', task, dice }) as EvaluatedCase;
  const rows = [
    ...[0.9, 0.1, 0.5, 0.4].map((dice, i) => row(`a${i}`, 'x', dice)),
    ...[0.2, 0.3, null, 0.95].map((dice, i) => row(`a${i}`, 'y', dice)),
  ];
  const found = worstCases({ name: '', folder: t.testdir(), evaluation: evaluation(rows) });
  t.same(
    found.map(({ row: { id, task, dice } }) => [id, task, dice]),
    [
      ['a1', 'x', 0.1],
      ['a0', 'y', 0.2],
      ['a3', 'x', 0.4],
      ['a2', 'x', 0.5],
    ],
  );
});

/** Values that no JPEG makes small. */
function noise(length: number): Int16Array {
  return Int16Array.from({ length }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 16) % 1000);
}

t.test('slices: the part around the masks, bits that are those of the masks, and few bytes', async (t) => {
  const prediction = box(size, [4, 4, 4], [9, 9, 6]);
  const reference = box(size, [5, 4, 4], [10, 8, 6]);
  const made = await makeSlices([outcomeOf(cases[0]!, prediction, reference)]);
  // 12 mm around 4..10, 4..9, 4..6 leave the whole grid.
  t.match(made, { format: 1, id: 'case1', dataset: 'data', sizeVoxels: [20, 16, 10], spacingMm: [1, 1, 2] });
  const bits = inflateSync(Buffer.from(made.tasks[0]!.masks, 'base64'));
  const voxels = 20 * 16 * 10;
  const unpacked = (first: number) =>
    Uint8Array.from({ length: voxels }, (_, i) => (bits[(first + i) >> 3]! >> ((first + i) & 7)) & 1);
  t.same(unpacked(0), reference);
  t.same(unpacked(voxels), prediction);
  t.same([...Buffer.from(made.image, 'base64').subarray(0, 3)], [0xff, 0xd8, 0xff], 'a JPEG');

  const large: Triple = [240, 200, 150];
  const mask = box(large, [50, 50, 50], [200, 150, 110]);
  const wide = {
    sizeVoxels: large,
    spacingMm: [0.5, 0.5, 1] as Triple,
    affine: [0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] as Affine,
  };
  const packed = new MaskVolume(wide, host().packMask(mask, large));
  const data = noise(mask.length);
  const image = asScan({ data, ...wide });
  const coarse = await makeSlices([{ result: cases[0]!, image, prediction: packed, reference: packed }]);
  const [x, y, z] = coarse.sizeVoxels;
  t.ok(x * y * z <= 450_000 && x * y * z > 100_000, `${x} x ${y} x ${z}`);
  t.ok(
    Math.max(...coarse.spacingMm) / Math.min(...coarse.spacingMm) <= 2,
    `${coarse.spacingMm} mm: about the same along all axes`,
  );
  t.ok(JSON.stringify(coarse).length < 150_000, `${JSON.stringify(coarse).length} bytes, of noise`);
  const shown = inflateSync(Buffer.from(coarse.tasks[0]!.masks, 'base64'));
  const inside = shown.reduce((sum, byte) => sum + [...byte.toString(2)].filter((bit) => bit === '1').length, 0) / 2;
  const share = (150 * 100 * 60) / (coarse.spacingMm.reduce((a, b) => a * b) / 0.25);
  t.ok(Math.abs(inside / share - 1) < 0.05, `${inside} voxels of about ${Math.round(share)}`);

  const empty = await makeSlices([outcomeOf(cases[0]!, new Uint8Array(voxels))]);
  t.same(empty.sizeVoxels, [20, 16, 10], 'the whole image where there is no mask');
});

t.test('a page of a hundred cases of noise stays below 15 MB', async (t) => {
  const folder = t.testdir();
  const bounds: Triple = [120, 100, 37];
  const shape = { ...geometry, sizeVoxels: bounds };
  const data = noise(120 * 100 * 37);
  const packed = new MaskVolume(shape, host().packMask(box(bounds, [10, 10, 5], [110, 90, 30]), bounds));
  const rows = Array.from({ length: 100 }, (_, i) => ({
    ...cases[0]!,
    id: `case-${i}`,
    task: 'liver',
    dice: 1 - i / 200,
  }));
  const image = asScan({ data, ...shape });
  const slices = await makeSlices([{ result: rows[0]!, image, prediction: packed, reference: packed }]);
  await writeEvaluation(folder, evaluation(rows));
  mkdirSync(join(folder, 'slices'));
  for (const { id } of rows)
    writeFileSync(join(folder, 'slices', slicesFileName('data', id)), JSON.stringify({ ...slices, id }));
  const page = await runReport(folder);
  const shown = dataOf(page).slices;
  t.ok(page.length < 15e6, `${page.length} bytes`);
  t.ok(shown.length > 50, `${shown.length} cases`);
  t.same(
    shown.map(({ id }) => id),
    rows
      .map(({ id }) => id)
      .reverse()
      .slice(0, shown.length),
    'the worst are in it',
  );
  if (shown.length < 100) t.match(page, `${100 - shown.length} cases with better scores have no slices here`);
});
