import t from 'tap';
import { createPrefetcher } from '../../src/sampling/prefetcher.js';
import { createSampler } from '../../src/sampling/sampler.js';
import type { Triple } from '../../src/volume/volume.js';
import { batchDigest, makeCase, makePlan } from './sampling-support.js';

const patch: Triple = [16, 12, 8];
const plan = makePlan({ a: [[1]], b: [[1], [2]] }, patch, {
  training: { labeledBatchSize: 4, unlabeledBatchSize: 2, stage1Steps: 4, stage2Steps: 4 },
  augmentation: {
    flip: [true, false, false],
    rotationDegrees: [10, 0, 30],
    magnification: [0.8, 1.25],
    gamma: [0.7, 1.5],
    intensityScale: 0.1,
    noise: 0.05,
    foregroundFraction: 0.5,
  },
});
const voxel = (x: number, y: number, z: number) => Math.sin(x + 10 * y + 100 * z);
const labeled = ['a', 'b'].flatMap((name) =>
  [1, 2].map((i) => makeCase(name, `${i}`, [20, 14, 10], voxel, (x, y) => (x * y * i) % 3)),
);
const unlabeled = [makeCase('a', 'u', [18, 16, 9], voxel)];
const data = { labeled, unlabeled };

t.test('the numbers are those of the sampler, bit by bit, whatever the number of workers', async (t) => {
  const sampler = createSampler(plan, data);
  const expected = Array.from({ length: 8 }, (_, step) => batchDigest(sampler.batch(step)));
  for (const workers of [0, 1, 2]) {
    const prefetcher = createPrefetcher(plan, data, { workers, depth: 3 });
    for (let step = 0; step < 8; step++) {
      t.equal(batchDigest(await prefetcher.batch(step)), expected[step], `${workers}: step ${step}`);
    }
    // Out of order, as after resuming.
    for (const step of [6, 1, 7, 0, 5]) {
      t.same(batchDigest(await prefetcher.batch(step)), expected[step], `${workers}: step ${step} again`);
    }
    await prefetcher.close();
  }
});

t.test('a batch holds while the next ones are made ahead', async (t) => {
  const prefetcher = createPrefetcher(plan, data, { workers: 1, depth: 2, buffers: 2 });
  const { fields } = await prefetcher.batch(0);
  const first = fields['labeled.image']!;
  const kept = first.slice();
  await prefetcher.batch(1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.ok(first.every((value, i) => value === kept[i]));
  await prefetcher.close();
});

t.test('errors of a worker carry their code', async (t) => {
  const broken = { ...labeled[0]!, image: labeled[0]!.image.subarray(1) };
  const prefetcher = createPrefetcher(plan, { labeled: [broken], unlabeled }, { workers: 1 });
  await t.rejects(prefetcher.batch(0), { code: 'VERSEMI_VOLUME_INVALID' });
  await prefetcher.close();
});

t.test('closing', async (t) => {
  const prefetcher = createPrefetcher(plan, data, { workers: 2 });
  const waiting = prefetcher.batch(0);
  await Promise.all([t.rejects(waiting, { code: 'VERSEMI_TRAINING_INTERRUPTED' }), prefetcher.close()]);
  await t.rejects(prefetcher.batch(1), { code: 'VERSEMI_TRAINING_INTERRUPTED' });
  await prefetcher.close();
});

t.test('no cases', async (t) => {
  t.throws(() => createPrefetcher(plan, { labeled: [], unlabeled }, { workers: 1 }), { code: 'VERSEMI_SPLIT_INVALID' });
});
