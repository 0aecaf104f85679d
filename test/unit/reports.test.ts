// Pictures, tables and pages: read back by small decoders of the test's own.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import t from 'tap';
import type { CaseSelection } from '../../src/inference/case-selection.js';
import type { CaseOutcome, EvaluatedCase, Evaluation } from '../../src/inference/evaluate.js';
import { segmentationMetrics } from '../../src/metrics/segmentation-metrics.js';
import { summarize } from '../../src/metrics/summary.js';
import { RandomStream, streams } from '../../src/random.js';
import { worstCases } from '../../src/reports/case-pictures.js';
import { casesToCsv } from '../../src/reports/cases-csv.js';
import { pageCurves } from '../../src/reports/curves.js';
import {
  overlayFileName,
  overlayPng,
  slicesFileName,
  writeEvaluation,
  writeOverlay,
  writeSlices,
} from '../../src/reports/evaluation-folder.js';
import { contourColors, renderOverlay } from '../../src/reports/overlay.js';
import type { PageData } from '../../src/reports/page-data.js';
import { runReport, writeRunReport } from '../../src/reports/run-report.js';
import { makeSlices } from '../../src/reports/slices.js';
import { agreementOf, pairsOf } from '../../src/reports/statistics.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { asScan } from '../../src/scans/scan.js';
import type { Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';
import { assertHarmlessPage } from '../fuzz/checks.js';

interface Picture {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

/** CRC-32 bit by bit, from its definition: no table to share a mistake with. */
function crcOf(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes)
    for (let bit = 0; bit < 8; bit++) crc = ((crc ^ (byte >>> bit)) & 1) === 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return ~crc >>> 0;
}

/** Decodes 8-bit RGB, filter "none"; checks signature, lengths and CRCs. */
function decodePng(bytes: Uint8Array): Picture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  t.same([...bytes.subarray(0, 8)], [137, 80, 78, 71, 13, 10, 26, 10], 'signature');
  const chunks = new Map<string, Uint8Array>();
  let offset = 8;
  while (offset < bytes.length) {
    const length = view.getUint32(offset);
    const typed = bytes.subarray(offset + 4, offset + 8 + length);
    const type = String.fromCharCode(...typed.subarray(0, 4));
    t.equal(view.getUint32(offset + 8 + length), crcOf(typed), `CRC of ${type}`);
    chunks.set(type, typed.subarray(4));
    offset += 12 + length;
  }
  t.same([...chunks.keys()], ['IHDR', 'IDAT', 'IEND']);
  const header = chunks.get('IHDR')!;
  t.same([...header.subarray(8)], [8, 2, 0, 0, 0], '8-bit RGB, not interlaced');
  const size = new DataView(header.buffer, header.byteOffset, 8);
  const [width, height] = [size.getUint32(0), size.getUint32(4)];
  const rows = inflateSync(chunks.get('IDAT')!);
  t.equal(rows.length, height * (1 + 3 * width));
  const rgb = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const row = rows.subarray(y * (1 + 3 * width), (y + 1) * (1 + 3 * width));
    t.equal(row[0], 0, 'no filter');
    rgb.set(row.subarray(1), 3 * width * y);
  }
  return { width, height, rgb };
}

const pixel = ({ width, rgb }: Picture, x: number, y: number) => [
  ...rgb.subarray(3 * (y * width + x), 3 * (y * width + x) + 3),
];

/** A box of ones, ends excluded. */
function box([sizeX, sizeY, sizeZ]: Triple, from: Triple, to: Triple): Uint8Array {
  const mask = new Uint8Array(sizeX * sizeY * sizeZ);
  for (let z = from[2]; z < to[2]; z++)
    for (let y = from[1]; y < to[1]; y++) for (let x = from[0]; x < to[0]; x++) mask[x + sizeX * (y + sizeY * z)] = 1;
  return mask;
}

const size: Triple = [20, 16, 10];
const ramp = Float32Array.from({ length: 20 * 16 * 10 }, (_, i) => i % 20);

t.test('overlay: a PNG whose contours lie where the masks are, patient right on the left', async (t) => {
  const reference = box(size, [2, 3, 2], [8, 9, 7]);
  const prediction = box(size, [11, 3, 2], [17, 9, 7]);
  // one pixel per voxel: 16 rows for the axial plane (20 x 16 voxels of 1 mm)
  const input = {
    image: ramp,
    sizeVoxels: size,
    spacingMm: [1, 1, 1] as Triple,
    prediction,
    reference,
    heightPixels: 16,
  };
  const picture = decodePng(overlayPng(input));
  t.equal(picture.height, 16);
  t.equal(picture.width, 20 + 4 + 20 + 4 + 16, 'three planes and two gaps');
  t.same(picture.rgb, renderOverlay(input).rgb);
  // axial pixel (column, row) is voxel (19 - column, 15 - row)
  for (let y = 0; y < 16; y++) {
    for (let x = 0; x < 20; x++) {
      const column = 19 - x;
      const row = 15 - y;
      const edge = (low: number, high: number) =>
        x >= low && x < high && y >= 3 && y < 9 && (x === low || x === high - 1 || y === 3 || y === 8);
      const found = pixel(picture, column, row);
      if (edge(2, 8)) t.same(found, contourColors.reference, `reference at ${x}, ${y}`);
      else if (edge(11, 17)) t.same(found, contourColors.prediction, `prediction at ${x}, ${y}`);
      else if (!(found[0] === found[1] && found[1] === found[2])) t.fail(`colour ${found} at ${x}, ${y}`);
    }
  }
  t.same(pixel(picture, 19, 0), [0, 0, 0], 'the ramp is darkest at x = 0, on the right');
  t.same(pixel(picture, 0, 0), [255, 255, 255]);
  t.ok(pixel(picture, 9, 0)[0]! > pixel(picture, 10, 0)[0]!);
  t.same(pixel(picture, 21, 5), [0, 0, 0], 'the gap between planes');

  const both = renderOverlay({ ...input, prediction: reference });
  const colors = new Set(Array.from({ length: 6 }, (_, i) => pixel(both, 19 - 2 - i, 15 - 3).join()));
  t.same(
    colors,
    new Set([contourColors.reference.join(), contourColors.prediction.join()]),
    'equal outlines alternate',
  );
});

t.test(
  'overlay: the planes with most foreground; spacing sets the proportions; constant images and empty masks',
  async (t) => {
    const prediction = box(size, [1, 1, 8], [19, 15, 9]);
    prediction[10 + 20 * (8 + 16 * 2)] = 1;
    const input = { image: ramp, sizeVoxels: size, spacingMm: [1, 1, 3] as Triple, prediction, heightPixels: 32 };
    const picture = renderOverlay(input);
    const pixelsPerMm = 32 / 30;
    t.equal(picture.width, 2 * Math.round(20 * pixelsPerMm) + Math.round(16 * pixelsPerMm) + 2 * 4, 'one scale');
    t.same(pixel(picture, 1, 8), contourColors.prediction, 'left edge of the large box, in slice 8');
    const empty = renderOverlay({ ...input, prediction: new Uint8Array(prediction.length), image: ramp.map(() => 7) });
    t.ok(
      empty.rgb.every((value) => value === 0),
      'nothing to show is black',
    );
  },
);

/** Real metrics of masks made to have a Dice near `dice`. */
function evaluated(id: string, task: string, overlap: number): EvaluatedCase {
  const metrics = segmentationMetrics(
    box(size, [0, 0, 0], [10, 8, 5]),
    box(size, [10 - overlap, 0, 0], [20 - overlap, 8, 5]),
    size,
    [1, 1, 2],
  );
  return { id, dataset: 'data', task, ...metrics };
}

const evaluation = (cases: readonly EvaluatedCase[], more: Partial<Evaluation> = {}): Evaluation => ({
  format: 1,
  model: 'run/model.safetensors',
  device: 'test',
  inference: { protocol: 'default', overlap: 0.5, weighting: 'gaussian', mirror: false, largestComponent: false },
  created: '2026-01-02T03:04:05.000Z',
  cases,
  summary: summarize(cases),
  ...more,
});

t.test('CSV: one line per case and task, quoted by RFC 4180', async (t) => {
  const none = segmentationMetrics(new Uint8Array(3200), box(size, [0, 0, 0], [3, 3, 3]), size, [1, 1, 1]);
  const text = casesToCsv([
    evaluated('a, "b"\nc', 'liver', 5),
    { id: 'empty', dataset: 'data', task: 'liver', ...none },
  ]);
  t.ok(text.endsWith('\r\n'));
  t.ok(text.includes('\r\n"a, ""b""\nc",data,liver,0.5,'), 'quotes doubled, the cell quoted');
  const lines = text
    .replace('"a, ""b""\nc"', 'abc')
    .trimEnd()
    .split('\r\n')
    .map((line) => line.split(','));
  t.equal(lines.length, 3);
  t.ok(
    lines.every((line) => line.length === lines[0]!.length),
    'as many cells in each line',
  );
  const column = lines[0]!.indexOf('hd95PooledMm');
  t.match(lines[1]![column], /^\d+(\.\d+)?$/);
  t.equal(lines[2]![column], '', 'undefined is empty');
  t.equal(casesToCsv([evaluated('x', 'y', 10)]).split('\r\n').length, 3);
});

const cases = [evaluated('case1', 'liver', 9), evaluated('case2', 'liver', 2), evaluated('case3', 'a<b>&"c"', 6)];

const dataOf = (page: string) => JSON.parse(/id="page-data">([^<]*)</.exec(page)![1]!) as PageData;

/** The table that compares evaluations, the best marked by a star, and the note below it. */
function comparedIn(html: string) {
  const text = html.slice(html.indexOf('<h3>Mean Dice</h3>'), html.indexOf('<h3>Mean ± standard deviation'));
  const rows = [...text.matchAll(/<tr[^>]*><th scope="row">([^<]*)<\/th>(.*?)<\/tr>/g)].map(([, name, cells]) => [
    name,
    [...cells!.matchAll(/<td( class="[a-z]+")?>([^<]*)<\/td>/g)].map(
      ([, mark, value]) => `${value}${mark?.includes('best') ? '*' : ''}`,
    ),
  ]);
  const facts = rows.splice(-2);
  return { rows, facts, note: /<p class="note">([^<]*)<\/p>/.exec(text)?.[1] };
}

t.test(
  'the best of different cases is not marked, and every table says which cases and weights it is of',
  async (t) => {
    const selection = (count: number, content: string, more: Partial<CaseSelection> = {}): CaseSelection => ({
      ...{ dataset: 'data', asked: 'validation', recorded: true, count, content },
      ...{ labeled: [], unlabeled: [], validation: [], changed: [], missing: [], ...more },
    });
    const of = (ids: string[], content: string, more: Partial<CaseSelection> = {}) =>
      evaluation(
        ids.map((id, i) => evaluated(id, 'liver', i + 3)),
        { weights: { step: 70, network: 'ema' }, selections: [selection(ids.length, content, more)] },
      );
    const folder = t.testdir();
    const compared = async (first: Evaluation, second: Evaluation) => {
      for (const [i, one] of [first, second].entries()) await writeEvaluation(join(folder, `run${i}`), one);
      return runReport(join(folder, 'run0'), { compare: [join(folder, 'run1')] });
    };
    const one = of(['a', 'b'], 'k1');
    const marks = async (second: Evaluation) =>
      comparedIn(await compared(one, second)).rows.flatMap(([, cells]) => cells as string[]);
    t.same(await marks(of(['a', 'b'], 'k1')), ['0.350*', '0.350*', '0.350*', '0.350*'], 'the same cases');
    t.same(await marks(of(['c', 'd'], 'k1')), ['0.350*', '0.350*', '0.350*', '0.350*'], 'under other names');
    t.same(await marks(of(['a', 'b'], 'k2')), ['0.350', '0.350', '0.350', '0.350'], 'other scans under the same names');
    const more = await compared(one, of(['a', 'b', 'c'], 'k2', { labeled: ['c'] }));
    t.same(await marks(of(['a', 'b', 'c'], 'k2')), ['0.350', '0.400', '0.350', '0.400'], 'more cases');
    t.match(comparedIn(more).note, /different cases.*: liver\.$/);
    t.same(comparedIn(more).facts, [
      ['cases', ['data: 2 cases (validation)', 'data: 3 cases (validation)']],
      ['weights', ['step 70, moving average', 'step 70, moving average']],
    ]);
    t.match(more, 'Not compared, since the cases are not the same: run1 (liver).');
    t.same(dataOf(more).pairs, []);
    await writeEvaluation(join(folder, 'leaking'), of(['a', 'b'], 'k1', { labeled: ['b'] }));
    const leaking = await runReport(join(folder, 'leaking'));
    t.match(leaking, /<li>data: the model was trained on 1 of these 2 cases \(b\) with their labels/);
    t.equal(leaking.match(/Cases: data: 2 cases \(validation\)\. Weights: step 70, moving average\./g)?.length, 2);
    const partial = await compared(one, {
      ...of(['a', 'b'], 'k1'),
      ...evaluation([...one.cases, evaluated('a', 'spleen', 5)]),
    });
    t.same(
      comparedIn(partial).rows.at(-1),
      ['mean of the tasks', ['–', '0.425']],
      'no mean of fewer tasks, and no best of one',
    );
  },
);

/** @param last text behind the last whole line */
function writeMetrics(folder: string, last = '', end?: object): void {
  mkdirSync(folder, { recursive: true });
  const step = (n: number, stage: number) => ({
    ...{ type: 'step', step: n, stage, losses: { total: 2 / n, dice: n === 2 ? null : 1 / n }, secondsPerStep: 30 },
  });
  const start = {
    ...{ type: 'start', step: 0, steps: 4, device: 'cpu', why: 'cpu: asked for', parameters: 9 },
    cases: { labeled: 2, unlabeled: 5, validation: 1 },
    created: '2026-01-02T03:04:05.678Z',
    program: { version: '1.2.3', commit: '0123456789ab' },
  };
  const validation = {
    ...{ type: 'validation', step: 4, perTask: { liver: 0.5, spleen: null }, mean: 0.5, best: true, seconds: 5 },
  };
  const events = [
    start,
    step(1, 1),
    step(2, 1),
    step(3, 2),
    step(4, 2),
    validation,
    ...(end === undefined ? [] : [end]),
  ];
  writeFileSync(join(folder, 'metrics.jsonl'), `${events.map((event) => JSON.stringify(event)).join('\n')}\n${last}`);
}

const finished = { type: 'end', step: 4, reason: 'finished', model: 'model.safetensors', seconds: 125 };
const plan = {
  ...{ name: 'a <plan>', seed: 17, network: { baseWidth: 8, levels: 4 }, patchSizeVoxels: [64, 64, 32] },
  training: { mode: 'semi-supervised', stage1Steps: 2, stage2Steps: 2 },
  tasks: [{ name: 'liver', dataset: 'data' }],
};

const geometry = {
  sizeVoxels: size,
  spacingMm: [1, 1, 2] as Triple,
  affine: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1] as const,
};

function outcomeOf(result: EvaluatedCase, prediction: Uint8Array, reference = prediction): CaseOutcome {
  const packed = (mask: Uint8Array) =>
    new MaskVolume({ ...geometry, affine: [...geometry.affine] } as never, host().packMask(mask, size));
  const image = asScan({ data: ramp, ...geometry, affine: [...geometry.affine] } as never);
  return { result, image, prediction: packed(prediction), reference: packed(reference) };
}

/** A run folder as training and evaluation leave it. */
async function writeRun(folder: string, rows = cases, end: object | undefined = finished): Promise<void> {
  writeMetrics(folder, '', end);
  writeFileSync(join(folder, 'plan.json'), JSON.stringify(plan));
  const more = { weights: { step: 4, network: 'ema' as const }, program: { version: '1.2.4' }, seconds: 75 };
  await writeEvaluation(join(folder, 'evaluation'), evaluation(rows, more));
  const mask = box(size, [1, 1, 1], [9, 9, 9]);
  for (const result of rows) {
    await writeOverlay(join(folder, 'evaluation'), outcomeOf(result, mask));
    await writeSlices(join(folder, 'evaluation'), [outcomeOf(result, mask)]);
  }
}

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
  await writeRunReport(join(folder, 'evaluation'), join(folder, 'page.html'));
  t.equal(overlayFileName('case3', 'a<b>&"c"'), 'case3_a%3Cb%3E&%22c%22.png');
  t.equal(slicesFileName('a/b', 'c'), 'a%2Fb_c.json');
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

  const large: Triple = [400, 300, 200];
  const mask = box(large, [50, 50, 50], [350, 250, 150]);
  const wide = {
    sizeVoxels: large,
    spacingMm: [0.5, 0.5, 1] as Triple,
    affine: [0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
  };
  const packed = new MaskVolume(wide as never, host().packMask(mask, large));
  const noise = new RandomStream(1, streams.test);
  const data = Int16Array.from({ length: mask.length }, () => noise.integer(1000));
  const image = asScan({ data, ...wide } as never);
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
  const share = (300 * 200 * 100) / (coarse.spacingMm.reduce((a, b) => a * b) / 0.25);
  t.ok(Math.abs(inside / share - 1) < 0.05, `${inside} voxels of about ${Math.round(share)}`);

  const empty = await makeSlices([outcomeOf(cases[0]!, new Uint8Array(voxels))]);
  t.same(empty.sizeVoxels, [20, 16, 10], 'the whole image where there is no mask');
});

t.test('runReport: folders that are empty, missing or damaged', async (t) => {
  const folder = t.testdir({ empty: {}, broken: { 'evaluation.json': '{' } });
  const missing = { code: 'VERSEMI_FILE_NOT_FOUND' };
  await t.rejects(runReport(join(folder, 'empty')), missing);
  await t.rejects(runReport(join(folder, 'nowhere')), missing);
  await t.rejects(runReport(join(folder, 'broken')), { code: 'VERSEMI_FILE_CORRUPT' });
  const run = join(folder, 'run');
  writeMetrics(run);
  await t.rejects(
    runReport(run, { compare: [join(folder, 'nowhere')] }),
    missing,
    'a run to compare with that is not there',
  );
  const killed = join(folder, 'killed');
  writeMetrics(killed, '{"type":"step","st');
  t.match(await runReport(killed), 'Loss terms', 'a line that a killed run did not finish is left out');
  const damaged = join(folder, 'damaged');
  writeMetrics(damaged, 'nonsense\n{"type":"step"}\n');
  await t.rejects(runReport(damaged), { code: 'VERSEMI_FILE_CORRUPT', details: { field: 'line 7' } });
  const sliced = join(folder, 'sliced');
  await writeRun(sliced);
  writeFileSync(join(sliced, 'evaluation', 'slices', 'data_case1.json'), '{"format":1}');
  await t.rejects(runReport(sliced), { code: 'VERSEMI_FILE_CORRUPT', details: { field: 'id' } });
});
