// What a labelled case teaches: fractions of voxels, unknown voxels, and what becomes of both in a batch.
import t from 'tap';
import type { PreprocessingSettings } from '../../src/config/plan.js';
import { preprocessCase } from '../../src/preprocessing/preprocess-case.js';
import type { LabelMap, PreprocessedCase } from '../../src/preprocessing/preprocessed-case.js';
import { targetMask } from '../../src/preprocessing/targets.js';
import { createPrefetcher } from '../../src/sampling/prefetcher.js';
import { createSampler } from '../../src/sampling/sampler.js';
import { toCanonical } from '../../src/scans/canonical.js';
import { applyAffine } from '../../src/volume/affine.js';
import { type Affine, type Triple, type Volume, voxelCount } from '../../src/volume/volume.js';
import { createHost } from '../../src/wasm/host.js';
import { targetCap } from '../bench/target-cap.js';
import { forEachVoxel } from './metrics-support.js';
import { batchDigest, inFractions, makeCase, makePlan, shareOf, withUnknown } from './sampling-support.js';

const host = createHost();
const settings = (spacingMm: Triple, targets: PreprocessingSettings['targets']): PreprocessingSettings => ({
  ...{ spacingMm: [...spacingMm] as [number, number, number], window: null, normalization: 'none', crop: 'none' },
  targets,
});

function volume<T extends Uint8Array | Float32Array>(data: T, sizeVoxels: Triple, affine: Affine): Volume<T> {
  const column = (axis: number) => Math.hypot(affine[axis]!, affine[axis + 4]!, affine[axis + 8]!);
  return { data, sizeVoxels, spacingMm: [column(0), column(1), column(2)], affine };
}

/** Volume in mm^3 and centre in mm of some labels of a case. */
function volumeAndCentre(one: PreprocessedCase, labels: readonly number[]): number[] {
  const { sizeVoxels, spacingMm, grid } = one;
  const sums = [0, 0, 0, 0];
  forEachVoxel(sizeVoxels, (x, y, z, i) => {
    const share = shareOf(one.label!, i, labels);
    const place = applyAffine(grid.affine, [x, y, z]);
    [1, ...place].forEach((value, n) => {
      sums[n]! += share * value;
    });
  });
  const [count, ...places] = sums as [number, ...number[]];
  return [count * spacingMm[0] * spacingMm[1] * spacingMm[2], ...places.map((sum) => sum / count)];
}

t.test('fractions keep volume and place of each label, in whatever orientation it is stored', async (t) => {
  const size: Triple = [30, 26, 14];
  const ball = (x: number, y: number, z: number, radius: number) =>
    (x - 14.2) ** 2 + (y - 12.7) ** 2 + (2 * (z - 6.4)) ** 2 < radius ** 2;
  const data = new Uint8Array(voxelCount(size));
  forEachVoxel(size, (x, y, z, i) => {
    data[i] = ball(x, y, z, 5) ? 2 : ball(x, y, z, 8) ? 1 : 0;
  });
  const [c, s] = [Math.cos(0.3), Math.sin(0.3)];
  const affines: Record<string, Affine> = {
    canonical: [1, 0, 0, 5, 0, 1, 0, -3, 0, 0, 2, 7, 0, 0, 0, 1],
    flipped: [-1, 0, 0, 5, 0, -1, 0, -3, 0, 0, -2, 7, 0, 0, 0, 1],
    'axes in another order': [0, 0, 2, 5, 1, 0, 0, -3, 0, -1, 0, 7, 0, 0, 0, 1],
    oblique: [c, -s, 0, 5, s, c, 0, -3, 0, 0, 2, 7, 0, 0, 0, 1],
  };
  for (const [name, affine] of Object.entries(affines))
    for (const spacing of [1.25, 2.2, 0.8]) {
      const image = toCanonical(volume(new Float32Array(data.length), size, affine));
      const label = toCanonical(volume(data, size, affine));
      const spacingMm: Triple = [spacing, spacing, spacing];
      const [source, found] = [image.spacingMm, spacingMm].map((of, i) =>
        preprocessCase({ id: 'a', image, label }, settings(of, i === 0 ? 'labels' : 'fractions'), 'set'),
      ) as [PreprocessedCase, PreprocessedCase];
      for (const labels of [[1], [2], [1, 2]]) {
        const [expected, got] = [source, found].map((one) => volumeAndCentre(one, labels)) as [number[], number[]];
        t.ok(Math.abs(got[0]! / expected[0]! - 1) < 2e-3, `${name}, ${spacing} mm: volume ${got[0]} = ${expected[0]}`);
        for (const axis of [1, 2, 3])
          t.ok(Math.abs(got[axis]! - expected[axis]!) < 0.01, `centre ${got[axis]} = ${expected[axis]}`);
      }
      const spread = Object.values(found.foreground!).flatMap((voxels) => [...voxels]);
      t.ok(spread.length > 0 && spread.every((voxel) => shareOf(found.label!, voxel, [1, 2]) >= 0.5), 'samples');
    }
});

t.test('fractions lift what a perfect network can reach', async (t) => {
  const size: Triple = [40, 40, 16];
  const shell = new Uint8Array(voxelCount(size));
  forEachVoxel(size, (x, y, z, i) => {
    const radius = Math.hypot(x - 19.3, y - 20.4, 2 * (z - 7.6));
    shell[i] = radius < 9 ? 2 : radius < 12 ? 1 : 0;
  });
  const affine: Affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1];
  const [image, label] = [volume(new Float32Array(shell.length), size, affine), volume(shell, size, affine)];
  for (const [spacing, least] of [
    [2.5, 0.97],
    [1.6, 0.985],
  ] as const) {
    const caps = (['labels', 'fractions'] as const).map((targets) => {
      const one = preprocessCase({ id: 'a', image, label }, settings([spacing, spacing, 2], targets), 'set');
      return targetCap(one, [1], shell)!;
    }) as [number, number];
    t.ok(caps[1] > caps[0] + 0.01 && caps[1] > least, `${spacing} mm: labels ${caps[0]}, fractions ${caps[1]}`);
  }
});

t.test('a structure that fills half of no voxel is still found', async (t) => {
  const size: Triple = [12, 12, 12];
  const data = new Uint8Array(voxelCount(size));
  data[5 + 12 * (5 + 12 * 5)] = 4;
  const affine: Affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  const files = {
    id: 'a',
    image: volume(new Float32Array(data.length), size, affine),
    label: volume(data, size, affine),
  };
  const one = preprocessCase(files, settings([2, 2, 2], 'fractions'), 'set');
  t.same(one.foreground, { 4: Int32Array.of(2 + 6 * (2 + 6 * 2)) });
  t.equal(shareOf(one.label!, one.foreground![4]![0]!, [4]), 64 / 510);
  t.same(preprocessCase(files, settings([2, 2, 2], 'labels'), 'set').foreground, {}, 'one label per voxel loses it');
});

t.test('an ignored label leaves no trace in the targets', async (t) => {
  const size: Triple = [12, 10, 8];
  const affine: Affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  const data = new Uint8Array(voxelCount(size));
  // Two labels side by side, and every other slice is not annotated.
  forEachVoxel(size, (x, _, z, i) => {
    data[i] = z % 2 === 1 ? 9 : x < 6 ? 1 : 2;
  });
  const files = {
    id: 'a',
    image: volume(new Float32Array(data.length), size, affine),
    label: volume(data, size, affine),
  };
  for (const targets of ['labels', 'fractions'] as const) {
    const same = preprocessCase({ ...files, ignoredLabel: 9 }, settings([1, 1, 1], targets), 'set');
    t.same(
      [...same.known!],
      [...data].map((value) => (value === 9 ? 0 : 1)),
      `${targets}: known on the same grid`,
    );
    t.same(
      [...same.label!],
      [...data].map((value) => (value === 9 ? 0 : value)),
    );
    t.same(Object.keys(same.foreground!), ['1', '2']);
  }
  const halved = preprocessCase({ ...files, ignoredLabel: 9 }, settings([1, 1, 2], 'fractions'), 'set');
  t.ok(
    halved.known!.every((_, i) => shareOf(halved.known!, i, [1]) === 0.5),
    'half of each voxel is known',
  );
  t.ok(
    halved.label!.every((value, i) => value === (i % 12 < 6 ? 1 : 2)),
    'and the known half says what it is',
  );
  t.same([...targetMask(halved.known!, [1])].includes(1), false, 'a half is not more than a half');
  t.equal(preprocessCase(files, settings([1, 1, 1], 'labels'), 'set').known, undefined);
});

/** Cases of two datasets, the first of which has unknown voxels. */
function cases(change: (one: PreprocessedCase) => PreprocessedCase) {
  const image = (x: number, y: number, z: number) => x + 10 * y + 100 * z;
  const label = (x: number, y: number, z: number) => (x + 2 * y + 3 * z) % 4;
  const [a, b] = [makeCase('a', '1', [9, 7, 5], image, label), makeCase('b', '2', [6, 8, 7], image, label)];
  const { label: _, foreground: __, ...unlabeled } = makeCase('a', '3', [9, 8, 7], image);
  return { labeled: [withUnknown(change(a)), change(b)], unlabeled: [unlabeled] };
}

t.test('targets and known voxels of a batch are those of its cases', async (t) => {
  const patch: Triple = [8, 8, 6];
  const plan = makePlan({ a: [[1], [2, 3]], b: [[2]] }, patch, {
    training: { labeledBatchSize: 4, unlabeledBatchSize: 2, stage1Steps: 2, stage2Steps: 3, promptsPerImage: 'all' },
    losses: { auxiliaryInStage2: true },
  });
  for (const [form, data] of Object.entries({ labels: cases((one) => one), fractions: cases(inFractions) })) {
    const sampler = createSampler(plan, data);
    let wrong = 0;
    const check = (found: number, expected: number) => {
      if (Math.abs(found - expected) > 1e-6) wrong++;
    };
    const batches: string[] = [];
    for (let step = 0; step < 5; step++) {
      const recipe = sampler.recipe(step);
      const batch = sampler.batch(step);
      batches.push(batchDigest(batch));
      const { fields } = batch;
      forEachVoxel(patch, (x, y, z, at) => {
        const at4 = (field: Float32Array | undefined, n: number) => field![n * voxelCount(patch) + at]!;
        /** What a map of a labelled patch has of some labels here; nothing outside of the scan. */
        const share = (n: number, map: 'label' | 'known', labels: readonly number[]) => {
          const { caseIndex, begin } = recipe.labeled[n]!;
          const one = data.labeled[caseIndex]!;
          const [u, v, w] = [x + begin[0], y + begin[1], z + begin[2]];
          const [sizeX, sizeY, sizeZ] = one.sizeVoxels;
          const within = u >= 0 && v >= 0 && w >= 0 && u < sizeX && v < sizeY && w < sizeZ;
          const whole: LabelMap | undefined = one[map];
          if (whole === undefined) return 1;
          return within ? shareOf(whole, u + sizeX * (v + sizeY * w), labels) : 0;
        };
        for (const [n, { tasks }] of recipe.labeled.entries())
          for (const [p, task] of tasks.entries()) {
            check(at4(fields['labeled.target'], n * tasks.length + p), share(n, 'label', plan.tasks[task]!.labels));
            check(at4(fields['labeled.known'], n * tasks.length + p), share(n, 'known', [1]));
          }
        const inCube = ({ begin, sizeVoxels }: { begin: Triple; sizeVoxels: Triple }) =>
          [x, y, z].every((place, axis) => place >= begin[axis]! && place < begin[axis]! + sizeVoxels[axis]!);
        for (const [i, { outside, inside, cube }] of recipe.mixed.entries())
          check(at4(fields['mixed.known'], i), share(inCube(cube) ? inside : outside, 'known', [1]));
        for (const [i, { inside, cube }] of recipe.unlabeledMixes.entries())
          check(at4(fields['unlabeled.cubeKnown'], i), inCube(cube) ? share(inside, 'known', [1]) : 0);
      });
    }
    t.equal(wrong, 0, form);
    const prefetcher = createPrefetcher(plan, data, { workers: 2 });
    for (let step = 0; step < 5; step++)
      t.equal(batchDigest(await prefetcher.batch(step)), batches[step], `${form}: worker threads, step ${step}`);
    await prefetcher.close();
  }
});

t.test('fractions are interpolated where a patch is rotated', async (t) => {
  const size: Triple = [12, 11, 10];
  const one = inFractions(
    makeCase(
      'a',
      '1',
      size,
      () => 0,
      (x, y, z) => (x + y + z) % 4,
    ),
  );
  const matrix = [0.9, -0.3, 0.1, 0.3, 0.8, 0, -0.1, 0.2, 1.1] as const;
  for (const labels of [[1], [0], [2, 3]])
    for (const begin of [
      [2, 1, 1],
      [-4, 3, 5],
      [40, 0, 0],
    ] as const) {
      const cut = { begin, sizeVoxels: [8, 8, 7], axes: [1, 0, 2], flipped: [true, false, false], matrix } as const;
      const lookup = Uint8Array.from({ length: 256 }, (_, label) => (labels.includes(label) ? 1 : 0));
      const found = host.warpPairTarget(one.label as Float32Array, size, cut, lookup, new Float32Array(8 * 8 * 7));
      const fractions = host.pairTarget(one.label as Float32Array, lookup);
      t.same(found, host.cutPatch(fractions, size, { ...cut, fill: lookup[0]! }), `${labels} from ${begin}`);
    }
  const plan = makePlan({ a: [[1]] }, [8, 8, 6], {
    training: { labeledBatchSize: 2, mode: 'supervised' },
    augmentation: { rotationDegrees: [0, 0, 45] },
  });
  const { fields } = createSampler(plan, { labeled: [one], unlabeled: [] }).batch(0);
  const between = fields['labeled.target']!.filter((value) => (value * 510) % 1 > 0.01).length;
  t.ok(between > 100, 'the sampler interpolates too');
  t.equal(host.memory().blocks, 0);
});
