// Properties of the metrics, the empty cases, and summaries.
import t from 'tap';
import { type CaseMetrics, distanceNames, segmentationMetrics } from '../../src/metrics/segmentation-metrics.js';
import { type CaseResult, summarize, summarizeValues } from '../../src/metrics/summary.js';
import { RandomStream, streams } from '../../src/random.js';
import type { Triple } from '../../src/volume/volume.js';
import { createHost, type DirectedSummary } from '../../src/wasm/host.js';
import { forEachVoxel, makeMask, relativeError } from './metrics-support.js';

const host = createHost();

const size: Triple = [23, 19, 14];
const spacing: Triple = [0.8, 1.1, 2.5];
const prediction = makeMask(size, { salt: 3, noise: 3, ellipsoids: [[9, 9, 6, 6, 7, 5]] });
const reference = makeMask(size, { salt: 4, noise: 3, ellipsoids: [[11, 8, 7, 7, 6, 5]] });
const measure = (a: Uint8Array, b: Uint8Array, sizeVoxels = size, spacingMm = spacing) =>
  segmentationMetrics(a, b, sizeVoxels, spacingMm, { host });

t.test('empty masks: what is defined, and as what', async (t) => {
  const empty = new Uint8Array(prediction.length);
  const undefinedDistances = Object.fromEntries(distanceNames.map((name) => [`${name}Mm`, null]));
  t.match(measure(empty, empty), {
    dice: 1,
    jaccard: 1,
    precision: 1,
    recall: 1,
    volumeSimilarity: 1,
    surfaceDice: 1,
    volumePredictionMl: 0,
    volumeReferenceMl: 0,
    ...undefinedDistances,
  });
  const missed = { dice: 0, jaccard: 0, volumeSimilarity: 0, surfaceDice: 0, ...undefinedDistances };
  t.match(measure(empty, reference), { ...missed, precision: null, recall: 0 });
  t.match(measure(prediction, empty), { ...missed, precision: 0, recall: null });
});

t.test('equal masks', async (t) => {
  const found = measure(prediction, prediction.slice());
  t.match(found, { dice: 1, jaccard: 1, precision: 1, recall: 1, volumeSimilarity: 1, surfaceDice: 1 });
  for (const name of distanceNames) t.equal(found[`${name}Mm`], 0, name);
});

t.test('any nonzero value is inside', async (t) => {
  t.same(
    measure(
      prediction.map((v) => v * 255),
      reference.map((v) => v * 3),
    ),
    measure(prediction, reference),
  );
});

t.test('swapping the masks', async (t) => {
  const [there, back] = [measure(prediction, reference), measure(reference, prediction)];
  const symmetric = [
    'dice',
    'jaccard',
    'volumeSimilarity',
    'surfaceDice',
    'hd95PooledMm',
    'hd95MaxMm',
    'hdMm',
  ] as const;
  for (const name of symmetric) t.equal(there[name], back[name], name);
  t.ok(relativeError(there.assdMm!, back.assdMm!) < 1e-14, 'assd');
  t.equal(there.precision, back.recall);
  t.equal(there.recall, back.precision);
  t.not(there.asdMm, back.asdMm, 'asd is directed');
  t.ok(relativeError((there.asdMm! + back.asdMm!) / 2, there.assdMm!) < 1e-14, 'assd is the mean of both asd');
});

t.test('bounds', async (t) => {
  const found = measure(prediction, reference);
  t.ok(found.dice > 0 && found.dice < 1);
  t.ok(relativeError(found.jaccard, found.dice / (2 - found.dice)) < 1e-14, 'Jaccard from Dice');
  t.ok(relativeError(found.dice, 2 / (1 / found.precision! + 1 / found.recall!)) < 1e-14, 'Dice is the F1 score');
  t.ok(found.asdMm! > 0 && found.asdMm! < found.hd95MaxMm! && found.hd95MaxMm! <= found.hdMm!);
  t.ok(found.hd95PooledMm! <= found.hdMm!);
});

t.test('a shift of both masks in a larger volume changes nothing', async (t) => {
  const large: Triple = [41, 30, 33];
  const place = (mask: Uint8Array, by: Triple) => host.crop(mask, size, by.map((b) => -b) as unknown as Triple, large);
  const expected = measure(prediction, reference);
  for (const by of [
    [0, 0, 0],
    [18, 11, 19],
    [5, 7, 3],
  ] as const)
    t.same(measure(place(prediction, by), place(reference, by), large), expected, `by ${by}`);
});

t.test('millimetres grow with the spacing, counts do not', async (t) => {
  const once = measure(prediction, reference);
  const options = { host, toleranceMm: 4 };
  const scaled = segmentationMetrics(prediction, reference, size, [3.2, 4.4, 10], options);
  for (const name of distanceNames) t.ok(relativeError(scaled[`${name}Mm`]!, 4 * once[`${name}Mm`]!) < 1e-14, name);
  t.equal(scaled.surfaceDice, once.surfaceDice, 'surface Dice at four times the tolerance');
  t.ok(relativeError(scaled.volumePredictionMl, 64 * once.volumePredictionMl) < 1e-14);
});

t.test('the order of the axes does not matter', async (t) => {
  const axes: Triple = [2, 0, 1];
  const turn = (triple: Triple) => axes.map((axis) => triple[axis]!) as unknown as Triple;
  const turned = (mask: Uint8Array) => host.reorient(mask, size, axes, [true, false, true]);
  const expected = measure(prediction, reference);
  const found = measure(turned(prediction), turned(reference), turn(size), turn(spacing));
  for (const [name, value] of Object.entries(expected))
    t.ok(relativeError(found[name as keyof CaseMetrics]!, value) < 1e-12, name);
});

t.test('voxels are millimetres at spacing 1', async (t) => {
  const found = segmentationMetrics(prediction, reference, size, spacing, { host, voxels: true });
  const atOne = measure(prediction, reference, size, [1, 1, 1]);
  for (const name of distanceNames) t.equal(found[`${name}Voxels`], atOne[`${name}Mm`], name);
  t.equal(found.surfaceDiceVoxels, atOne.surfaceDice);
  t.notOk('hdVoxels' in measure(prediction, reference), 'not given unless asked for');
});

t.test('surface distances against every pair of surface voxels, random masks of odd sizes', async (t) => {
  const random = new RandomStream(1, streams.test, 5);
  for (const sizeVoxels of [
    [1, 1, 1],
    [1, 9, 2],
    [17, 1, 1],
    [16, 3, 5],
    [18, 7, 6],
    [35, 6, 4],
  ] as const) {
    const count = sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2];
    const spacingMm: Triple = [
      random.uniformBetween(0.3, 3),
      random.uniformBetween(0.3, 3),
      random.uniformBetween(0.3, 3),
    ];
    for (const share of [0.03, 0.5, 0.9]) {
      const [a, b] = [0, 1].map(() => Uint8Array.from({ length: count }, () => (random.uniform() < share ? 1 : 0)));
      a![random.integer(count)] = 1;
      b![random.integer(count)] = 1;
      const tolerance = random.uniformBetween(0, 3);
      const { summaries } = host.compareMasks(a!, b!, sizeVoxels, [{ spacing: spacingMm, tolerance }]);
      const [sa, sb] = [surfaceOf(a!, sizeVoxels), surfaceOf(b!, sizeVoxels)];
      const name = `${sizeVoxels.join(' x ')}, ${share}`;
      const { predictionToReference, referenceToPrediction } = summaries![0]!;
      t.ok(describes(predictionToReference, nearest(sa, sb, spacingMm), tolerance), `${name}: prediction to reference`);
      t.ok(describes(referenceToPrediction, nearest(sb, sa, spacingMm), tolerance), `${name}: reference to prediction`);
    }
  }
});

t.test('nothing stays in linear memory', async (t) => {
  t.equal(host.memory().blocks, 0);
  t.equal(host.memory().bytesInUse, 0);
});

t.test('wrong sizes and spacings are named', async (t) => {
  t.throws(() => measure(prediction, reference.subarray(1)), { code: 'VERSEMI_VOLUME_INVALID' });
  t.throws(() => measure(prediction, reference, size, [1, 0, 1]), {
    code: 'VERSEMI_VOLUME_INVALID',
    details: { field: 'spacingMm', found: '1, 0, 1' },
  });
  t.throws(() => measure(prediction, reference, size, [1, 1, Number.NaN]), { code: 'VERSEMI_VOLUME_INVALID' });
});

t.test('summaries', async (t) => {
  const base = measure(prediction, reference);
  const row = (id: string, task: string, dice: number, hdMm: number | null): CaseResult => ({
    ...base,
    id,
    task,
    dice,
    hdMm,
  });
  const summary = summarize([
    row('c', 'liver', 0.5, 9),
    row('a', 'spleen', 0.9, null),
    row('b', 'liver', 1, null),
    row('a', 'liver', 0.9, 3),
  ]);
  t.same(Object.keys(summary), ['liver', 'spleen'], 'tasks in order of appearance');
  const { dice, hdMm } = summary.liver!;
  t.match(dice, { median: 0.9, min: 0.5, max: 1, count: 3, undefinedCount: 0 });
  t.ok(relativeError(dice!.mean!, 0.8) < 1e-14 && relativeError(dice!.std!, Math.sqrt(0.14 / 3)) < 1e-14);
  t.same(hdMm, { mean: 6, std: 3, median: 6, min: 3, max: 9, count: 2, undefinedCount: 1 });
  t.same(summary.spleen!.hdMm, {
    mean: null,
    std: null,
    median: null,
    min: null,
    max: null,
    count: 0,
    undefinedCount: 1,
  });
  t.notOk('surfaceDiceToleranceMm' in summary.liver!, 'a setting is not a metric');
  t.notOk('id' in summary.liver! || 'task' in summary.liver!);
  t.same(summarize([]), {});
  t.same(summarizeValues([2]), { mean: 2, std: 0, median: 2, min: 2, max: 2, count: 1, undefinedCount: 0 });
});

/** Surface voxels in raster order. */
function surfaceOf(mask: Uint8Array, sizeVoxels: Triple): Triple[] {
  const inside = (x: number, y: number, z: number) =>
    [x, y, z].every((c, i) => c >= 0 && c < sizeVoxels[i]!) && mask[x + sizeVoxels[0] * (y + sizeVoxels[1] * z)] !== 0;
  const found: Triple[] = [];
  forEachVoxel(sizeVoxels, (x, y, z) => {
    if (!inside(x, y, z)) return;
    const enclosed =
      inside(x - 1, y, z) && inside(x + 1, y, z) && inside(x, y - 1, z) && inside(x, y + 1, z) &&
      inside(x, y, z - 1) && inside(x, y, z + 1); // biome-ignore format: six neighbours
    if (!enclosed) found.push([x, y, z]);
  });
  return found;
}

function nearest(from: readonly Triple[], to: readonly Triple[], spacingMm: Triple): number[] {
  return from.map((a) => Math.min(...to.map((b) => Math.hypot(...a.map((c, i) => (c - b[i]!) * spacingMm[i]!)))));
}

/** Whether a summary is that of these distances. */
function describes(found: DirectedSummary, distances: readonly number[], tolerance: number): boolean {
  const sorted = distances.slice().sort((a, b) => a - b);
  const position = (sorted.length - 1) * 0.95;
  const low = sorted[Math.floor(position)]!;
  const high = sorted[Math.ceil(position)]!;
  const near = (value: number, expected: number) => relativeError(value, expected) < 1e-12;
  return (
    found.count === sorted.length &&
    found.within === sorted.filter((distance) => distance <= tolerance).length &&
    near(found.mean, sorted.reduce((sum, distance) => sum + distance, 0) / sorted.length) &&
    near(found.maximum, sorted.at(-1)!) &&
    near(found.percentile95, low + (high - low) * (position - Math.floor(position)))
  );
}
