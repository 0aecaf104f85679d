// Budgets of memory and time are checked without walking through all that a header promises.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { parsePlan } from '../../src/config/plan.js';
import { readVolume } from '../../src/datasets/read-volume.js';
import { isVersemiError } from '../../src/errors.js';
import { estimateMemory } from '../../src/inference/memory.js';
import { stripOf } from '../../src/inference/segment.js';
import { planWindows } from '../../src/inference/windows.js';
import { fitPatch, type Numbers3 } from '../../src/preprocessing/budget.js';
import { RandomStream, streams } from '../../src/random.js';
import { scalingAffine } from '../../src/volume/affine.js';
import type { Triple } from '../../src/volume/volume.js';
import { failure, niftiBytes } from './datasets-support.js';

const axes = [0, 1, 2] as const;

/** The rule itself, step by step: the axis that is longest in millimetres shrinks until the patch fits. */
function walkedPatch(bound: Numbers3, spacingMm: Numbers3, divisor: number, most: number): number[] {
  const patch = bound.map((size) => Math.max(divisor, Math.ceil(Math.max(size, 4) / divisor - 1e-6) * divisor));
  const length = (axis: number) => patch[axis]! * Math.exp(Math.log(spacingMm[axis]!));
  while (patch[0]! * patch[1]! * patch[2]! > most) {
    const shrinkable = axes.filter((axis) => patch[axis]! > Math.max(divisor, 4));
    if (shrinkable.length === 0) break;
    patch[shrinkable.reduce((best, axis) => (length(axis) > length(best) ? axis : best))]! -= divisor;
  }
  return patch;
}

t.test('a patch is the one that its rule gives step by step, for scans and for axes of a million voxels', async (t) => {
  const random = new RandomStream(1, streams.test);
  const of = <T>(items: readonly T[]) => items[random.integer(items.length)]!;
  let different = 0;
  for (let round = 0; round < 3000; round++) {
    const large = round % 100 === 0;
    const bound = axes.map(() => (large ? 10 ** (6 * random.uniform()) : of([1, 32, 96, 127.5, 256, 512]))) as Numbers3;
    const spacingMm = axes.map(() => (large ? 10 ** (4 * random.uniform() - 2) : of([0.5, 1, 1, 2.5, 5]))) as Numbers3;
    const [divisor, most] = [of([2, 4, 8, 16]), of([884736, 27000, 1000])];
    const found = fitPatch(bound, [{ spacingMm }], divisor, most);
    if (found.join() !== walkedPatch(bound, spacingMm, divisor, most).join()) different++;
  }
  t.equal(different, 0);
});

t.test('sizes beyond all scans take no time', async (t) => {
  const started = performance.now();
  const odd: [Numbers3, Numbers3][] = [
    [
      [1e15, 1e15, 1],
      [1e-9, 1e9, 1],
    ],
    [
      [1e300, 1, 1],
      [1e300, 1e-300, 1],
    ],
    [
      [Number.POSITIVE_INFINITY, 1, 1],
      [1, 1, 1],
    ],
  ];
  for (const [bound, spacingMm] of odd) {
    const [x, y, z] = fitPatch(bound, [{ spacingMm }], 16, 884736);
    t.ok(x * y * z <= 884736, `${[x, y, z]}`);
  }
  t.ok(performance.now() - started < 1000);
});

const plan = parsePlan({
  version: 1,
  name: 'budget',
  datasets: [{ name: 'd', path: 'd', preprocessing: { spacingMm: [1, 1, 1] } }],
  tasks: [{ name: 'organ', dataset: 'd', labels: [1] }],
  network: { baseWidth: 2, levels: 2 },
  patchSizeVoxels: [4, 4, 4],
});
const model = { plan, network: { parameterCount: 1000 } } as never;

t.test('memory: a header of two thousand million rows is refused at once', async (t) => {
  for (const sizeVoxels of [
    [1, 2 ** 31 - 1, 1],
    [30, 32767, 30],
    [2 ** 31 - 1, 1, 1],
  ] as Triple[]) {
    const geometry = { sizeVoxels, spacingMm: [1, 1, 1] as Triple, affine: scalingAffine([1, 1, 1]) };
    const started = performance.now();
    try {
      estimateMemory(model, { geometry, bytesPerVoxel: 1 }, [0], { maxMemoryBytes: 2e8, processBytes: 1e8 });
      t.fail('refused');
    } catch (error) {
      t.ok(isVersemiError(error, 'MEMORY_LIMIT'));
    }
    t.ok(performance.now() - started < 2000, `${sizeVoxels}: ${Math.round(performance.now() - started)} ms`);
  }
});

t.test('the windows of a strip are those of the whole that reach its rows', async (t) => {
  const random = new RandomStream(2, streams.test);
  for (let round = 0; round < 500; round++) {
    const size: Triple = [8, 1 + random.integer(60), 8];
    const patch: Triple = [4, 1 + random.integer(12), 4];
    const begin = random.integer(size[1]);
    const rows = [begin, begin + 1 + random.integer(size[1] - begin)] as const;
    const protocol = random.integer(2) === 0 ? ('default' as const) : ('versemi' as const);
    const options = { protocol, overlap: random.uniform() * 0.9, weighting: 'uniform' as const };
    const lacking = Math.max(0, patch[1] - size[1]);
    const all = lacking > 0 ? [-Math.floor(lacking / 2)] : planWindows(size, patch, options)[1];
    const reaching = all.filter((first) => first < rows[1] && first + patch[1] > rows[0]);
    const strip = stripOf(size, rows, { ...options, patchSizeVoxels: patch });
    const [x, , z] = planWindows(size, patch, options);
    if (strip.windows !== x.length * reaching.length * z.length) t.fail(`${size} ${patch} ${rows}: ${strip.windows}`);
    const seen = [Math.max(0, reaching[0]!), Math.min(size[1], reaching.at(-1)! + patch[1])];
    if (strip.imageRows.join() !== seen.join())
      t.fail(`${size} ${patch} ${rows}: rows ${strip.imageRows}, not ${seen}`);
  }
  t.pass('500 strips');
});

t.test('a gzip checksum is checked where at most 16 MiB follow the last voxel', async (t) => {
  const file = join(t.testdir(), 'scan.nii.gz');
  const write = async (bytesBehind: number) => {
    const bytes = gzipSync(Buffer.concat([niftiBytes(), new Uint8Array(bytesBehind)]));
    bytes[bytes.length - 8]! ^= 1;
    await writeFile(file, bytes);
  };
  for (const bytesBehind of [0, 1 << 20, 15 << 20]) {
    await write(bytesBehind);
    await failure(() => readVolume(file), 'FILE_CORRUPT');
  }
  await write(100 << 20);
  t.equal((await readVolume(file)).data.length, 24, 'what lies further on is not looked at');
});
