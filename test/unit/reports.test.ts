// Pictures, tables and pages: read back by small decoders of the test's own.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import t, { type Test } from 'tap';
import type { CaseSelection } from '../../src/inference/case-selection.js';
import type { CaseOutcome, EvaluatedCase, Evaluation } from '../../src/inference/evaluate.js';
import { segmentationMetrics } from '../../src/metrics/segmentation-metrics.js';
import { summarize } from '../../src/metrics/summary.js';
import { casesToCsv } from '../../src/reports/cases-csv.js';
import { overlayFileName, overlayPng, writeEvaluation, writeOverlay } from '../../src/reports/evaluation-folder.js';
import { type ReportInput, renderReport } from '../../src/reports/html.js';
import { contourColors, renderOverlay } from '../../src/reports/overlay.js';
import { columnLabel, linePlot, stripPlot, ticks } from '../../src/reports/plots.js';
import { runReport, writeRunReport } from '../../src/reports/run-report.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { asScan } from '../../src/scans/scan.js';
import type { Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';

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

/** Nothing in a page may ask for anything from elsewhere or run. */
function assertAlone(t: Test, html: string): void {
  t.notMatch(html, /https?:|<script|url\(|@import|<link|src="(?!data:)|\bon\w+=/i, 'needs nothing from elsewhere');
  const open = html.match(/<(table|tr|th|td|tbody|thead|div|figure|svg|details|p|h[1-3]|main|body)\b/g)!;
  const closed = html.match(/<\/(table|tr|th|td|tbody|thead|div|figure|svg|details|p|h[1-3]|main|body)>/g)!;
  t.equal(open.length, closed.length, 'every element is closed');
  t.notMatch(html, /NaN|undefined<|Infinity|\[object/, 'no number that is none');
}

/** The table that compares evaluations, the best marked by a star, and the note below it. */
function comparedIn(html: string) {
  const text = html.slice(html.indexOf('<h3>Mean Dice</h3>'), html.indexOf('<h3>Mean ± standard deviation'));
  const rows = [...text.matchAll(/<tr[^>]*><th>([^<]*)<\/th>(.*?)<\/tr>/g)]
    .slice(1)
    .map(([, name, cells]) => [
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
    const compared = (first: Evaluation, second: Evaluation) => {
      const evaluations = [first, second].map((evaluation, i) => ({ name: `run ${i}`, evaluation }));
      return renderReport({ title: 'x', facts: [], curves: [], evaluations, overlays: [] });
    };
    const one = of(['a', 'b'], 'k1');
    const marks = (second: Evaluation) =>
      comparedIn(compared(one, second)).rows.flatMap(([, cells]) => cells as string[]);
    t.same(marks(of(['a', 'b'], 'k1')), ['0.350*', '0.350*', '0.350*', '0.350*'], 'the same cases');
    t.same(marks(of(['c', 'd'], 'k1')), ['0.350*', '0.350*', '0.350*', '0.350*'], 'under other names');
    t.same(marks(of(['a', 'b'], 'k2')), ['0.350', '0.350', '0.350', '0.350'], 'other scans under the same names');
    const more = compared(one, of(['a', 'b', 'c'], 'k2', { labeled: ['c'] }));
    t.same(marks(of(['a', 'b', 'c'], 'k2')), ['0.350', '0.400', '0.350', '0.400'], 'more cases');
    t.match(comparedIn(more).note, /different cases.*: liver\.$/);
    t.same(comparedIn(more).facts, [
      ['cases', ['data: 2 cases (validation)', 'data: 3 cases (validation)']],
      ['weights', ['step 70, moving average', 'step 70, moving average']],
    ]);
    const leaking = renderReport({
      ...{ title: 'x', facts: [], curves: [], overlays: [] },
      evaluations: [{ name: 'run', evaluation: of(['a', 'b'], 'k1', { labeled: ['b'] }) }],
    });
    t.match(leaking, /<li>data: the model was trained on 1 of these 2 cases \(b\) with their labels/);
    t.equal(leaking.match(/Cases: data: 2 cases \(validation\)\. Weights: step 70, moving average\./g)?.length, 2);
    const partial = compared(one, {
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

t.test('HTML: alone, escaped, complete; the comparison marks the best', async (t) => {
  const better = [evaluated('case1', 'liver', 10), evaluated('case2', 'liver', 2), evaluated('case3', 'a<b>&"c"', 3)];
  const input: ReportInput = {
    title: 'A <script>alert(1)</script> & more',
    subtitle: '<b>sub</b>',
    facts: [['Name <i>', '"value" & <u>']],
    curves: [
      {
        name: 'run <x>',
        losses: [
          {
            name: 'dice<',
            points: [
              [1, 0.9],
              [2, Number.NaN],
              [3, 0.5],
            ],
          },
        ],
        validation: [
          {
            name: 'liver',
            points: [
              [2, 0.4],
              [4, Number.NaN],
            ],
          },
        ],
        stage2Step: 3,
      },
    ],
    evaluations: [
      { name: 'semi', evaluation: evaluation(cases) },
      { name: 'super<vised>', evaluation: evaluation(better) },
    ],
    overlays: cases.map(({ id, task }) => ({ id, task, pngBase64: 'AAAA' })),
    worstPerTask: 1,
  };
  const html = renderReport(input);
  assertAlone(t, html);
  t.notMatch(html, /a<b>|<i>|<u>|<b>|<x>|<vised>|dice</);
  t.match(html, 'a&lt;b&gt;&amp;&quot;c&quot;');
  t.match(html, 'A &lt;script&gt;alert(1)&lt;/script&gt; &amp; more');
  t.match(html, 'Stage 2 begins at step 3.');
  const table = html.slice(html.indexOf('<h2>All cases'));
  for (const { id } of cases) t.match(table, `<th>${id}</th>`, `${id} is listed`);
  t.same(comparedIn(html).rows, [
    ['liver', ['0.550', '0.600*']],
    ['a&lt;b&gt;&amp;&quot;c&quot;', ['0.600*', '0.300']],
    ['mean of the tasks', ['0.575*', '0.450']],
  ]);
  // worst first: case2 before case1, which is the best
  t.match(html, /Worst: case2: Dice 0\.200.*Best: case1: Dice 0\.900/s);
  t.equal(html.match(/src="data:image\/png;base64,AAAA"/g)!.length, 3);
  t.notMatch(
    renderReport({ ...input, evaluations: input.evaluations.slice(0, 1) }),
    '<h3>Mean Dice</h3>',
    'nothing to compare',
  );
  assertAlone(t, renderReport({ title: 'empty', facts: [], curves: [], evaluations: [], overlays: [] }));
});

t.test('ticks are round numbers within the range', async (t) => {
  t.same(ticks(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  t.same(ticks(0, 0.3), [0, 0.1, 0.2, 0.3]);
  t.same(ticks(-3, 7), [-2, 0, 2, 4, 6]);
  t.same(ticks(0, 26000), [0, 10000, 20000]);
  t.same(ticks(5, 5), [5]);
  t.same(ticks(Number.NaN, 1), [Number.NaN]);
});

t.test('plots: names of columns are broken, and cut where two lines do not hold them', async (t) => {
  t.same(columnLabel('left-ventricle-myocardium', 15), ['left-ventricle-', 'myocardium']);
  t.same(columnLabel('spleen', 15), ['spleen']);
  t.same(columnLabel('a b c', 15), ['a b c']);
  t.same(columnLabel('left-ventricle-myocardium', 8), ['left-', 'ventric…']);
  t.same(columnLabel('hippocampus', 6), ['hippo…']);
  t.match(stripPlot('t', [{ name: 'a<b', values: [1] }], 'y').text, /<title>a&lt;b<\/title><tspan[^>]*>a&lt;b</);
});

t.test('plots: a point per value, and nothing when there is nothing', async (t) => {
  t.equal(linePlot('title', [{ name: 'a', points: [] }], 'x', 'y').text, '');
  t.equal(linePlot('title', [{ name: 'a', points: [[1, Number.NaN]] }], 'x', 'y').text, '');
  t.equal(stripPlot('title', [{ name: 'a', values: [] }], 'y').text, '');
  const strip = stripPlot(
    'title',
    [
      { name: 'a', values: [1, 2, 3] },
      { name: 'b', values: [] },
    ],
    'y',
  ).text;
  t.equal(strip.match(/<circle/g)!.length, 3);
  t.notMatch(strip, 'NaN');
  const line = linePlot(
    'title',
    [
      {
        name: 'a',
        points: [
          [0, 0],
          [5, Number.NaN],
          [10, 1],
        ],
      },
    ],
    'x',
    'y',
    { marks: true },
  ).text;
  t.equal(line.match(/<circle/g)!.length, 2, 'a value that is none has no mark');
  // the first point is the left bottom corner of the frame, the last the right top one
  t.match(line, /<path d="M56\.0 260\.0L628\.0 12\.0"/);
  t.notMatch(line, 'NaN');
});

/** @param last text behind the last whole line */
function writeMetrics(folder: string, last = ''): void {
  mkdirSync(folder, { recursive: true });
  const step = (n: number, stage: number) => ({ type: 'step', step: n, stage, losses: { total: 2 / n, dice: 1 / n } });
  const validation = { type: 'validation', step: 4, perTask: { liver: 0.5, spleen: null }, mean: 0.5, best: true };
  const events = [{ type: 'start', step: 0 }, step(1, 1), step(2, 1), step(3, 2), step(4, 2), validation];
  writeFileSync(join(folder, 'metrics.jsonl'), `${events.map((event) => JSON.stringify(event)).join('\n')}\n${last}`);
}

/** A run folder as training and evaluation leave it. */
async function writeRun(folder: string): Promise<void> {
  writeMetrics(folder);
  await writeEvaluation(join(folder, 'evaluation'), evaluation(cases));
  const mask = box(size, [1, 1, 1], [9, 9, 9]);
  const geometry = {
    sizeVoxels: size,
    spacingMm: [1, 1, 1] as Triple,
    affine: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
  };
  const image = asScan({ data: ramp, ...geometry });
  const packed = new MaskVolume(geometry, host().packMask(mask, size));
  for (const result of cases) {
    const outcome: CaseOutcome = { result, image, prediction: packed, reference: packed };
    await writeOverlay(join(folder, 'evaluation'), outcome);
  }
}

t.test('runReport: from a run folder to one page', async (t) => {
  const folder = join(t.testdir(), 'semi');
  await writeRun(folder);
  const other = join(folder, '..', 'supervised');
  await writeRun(other);
  const html = await runReport(folder, { compare: [other], title: 'Mine' });
  assertAlone(t, html);
  t.match(html, '<title>Mine</title>');
  t.match(html, 'Training: semi');
  t.match(html, 'Training: supervised');
  t.match(html, 'Stage 2 begins at step 3.');
  t.equal(html.match(/<img /g)!.length, 3, 'overlays of the run itself');
  for (const { id } of cases) t.match(html, `<th>${id}</th>`);
  await writeRunReport(join(folder, 'evaluation'), join(folder, 'page.html'));
  t.equal(overlayFileName('case3', 'a<b>&"c"'), 'case3_a%3Cb%3E&%22c%22.png');
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
  t.match(await runReport(killed), 'Training: killed', 'a line that a killed run did not finish is left out');
  const damaged = join(folder, 'damaged');
  writeMetrics(damaged, 'nonsense\n{"type":"step"}\n');
  await t.rejects(runReport(damaged), { code: 'VERSEMI_FILE_CORRUPT', details: { field: 'line 7' } });
});
