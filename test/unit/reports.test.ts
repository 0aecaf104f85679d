// Pictures, tables and pages: read back by small decoders of the test's own.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import t from 'tap';
import type { CaseSelection } from '../../src/inference/case-selection.js';
import type { Evaluation } from '../../src/inference/evaluate.js';
import { segmentationMetrics } from '../../src/metrics/segmentation-metrics.js';
import { casesToCsv } from '../../src/reports/cases-csv.js';
import { overlayPng, writeEvaluation } from '../../src/reports/evaluation-folder.js';
import { contourColors, renderOverlay } from '../../src/reports/overlay.js';
import { runReport } from '../../src/reports/run-report.js';
import type { Triple } from '../../src/volume/volume.js';
import {
  box,
  comparedIn,
  dataOf,
  evaluated,
  evaluation,
  ramp,
  size,
  writeMetrics,
  writeRun,
} from './reports-support.js';

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
