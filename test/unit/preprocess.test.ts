import t from 'tap';
import type { PreprocessingSettings } from '../../src/config/plan.js';
import { evenRows } from '../../src/inference/memory.js';
import { boxSize, type ResampledGrid } from '../../src/preprocessing/grid.js';
import { preprocessCase } from '../../src/preprocessing/preprocess-case.js';
import { maximumForegroundSamples } from '../../src/preprocessing/preprocessed-case.js';
import { restorer, rowsToRestore } from '../../src/preprocessing/restore.js';
import { foregroundSamples } from '../../src/preprocessing/targets.js';
import { toCanonical } from '../../src/scans/canonical.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { applyAffine } from '../../src/volume/affine.js';
import type { Affine, Triple, Volume, VoxelArray } from '../../src/volume/volume.js';
import { emptyMask } from '../../src/wasm/host.js';

function makeVolume<T extends VoxelArray>(
  array: new (length: number) => T,
  sizeVoxels: Triple,
  spacingMm: Triple,
  value: (x: number, y: number, z: number) => number,
  affine?: Affine,
): Volume<T> {
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const data = new array(sizeX * sizeY * sizeZ);
  let i = 0;
  for (let z = 0; z < sizeZ; z++)
    for (let y = 0; y < sizeY; y++) for (let x = 0; x < sizeX; x++) data[i++] = value(x, y, z);
  const [sx, sy, sz] = spacingMm;
  return { data, sizeVoxels, spacingMm, affine: affine ?? [sx, 0, 0, -3, 0, sy, 0, 5, 0, 0, sz, 7, 0, 0, 0, 1] };
}

const plain: PreprocessingSettings = {
  spacingMm: [1, 1, 1],
  window: null,
  normalization: 'none',
  crop: 'none',
  targets: 'labels',
};
const noise = (x: number, y: number, z: number) =>
  (Math.abs(Math.sin(x * 12.9898 + y * 78.233 + z * 37.719)) * 43758.5453) % 1;

function moments(data: Float32Array): { mean: number; deviation: number } {
  const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
  return { mean, deviation: Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length) };
}

function dice(a: Uint8Array, b: Uint8Array): number {
  let both = 0;
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    both += a[i]! & b[i]!;
    sum += a[i]! + b[i]!;
  }
  return (2 * both) / sum;
}

/** One probability map back in the geometry in which the source was stored, computed in one part and in three. */
function restored(probability: Uint8Array, grid: ResampledGrid, threshold: number): MaskVolume {
  const [sizeX, , sizeZ] = grid.sizeVoxels;
  const of = (parts: number) => {
    const mask = emptyMask(grid.canonical.sizeVoxels);
    for (const cropRows of evenRows(boxSize(grid.crop)[1], parts)) {
      const back = restorer([grid], [mask], threshold, cropRows);
      const [from, to] = rowsToRestore(grid, cropRows);
      for (let z = 0; z < sizeZ; z++) {
        const first = z * sizeX * grid.sizeVoxels[1];
        back.push(z, probability.subarray(first + from * sizeX, first + to * sizeX));
      }
      back.dispose();
    }
    return mask;
  };
  const whole = of(1);
  t.same(of(3).bits, whole.bits, 'the same in three parts');
  const { canonical, stored } = grid;
  return new MaskVolume({ ...canonical, ...(stored === undefined ? {} : { stored }) }, whole);
}

t.test(
  'equal spacing: voxels and labels are untouched, and labels go back exactly, to the stored orientation',
  async (t) => {
    // Stored as y-, z+, x-: canonicalisation permutes and flips; 0.2 um of rounding in the spacing is no resampling.
    const size: Triple = [7, 9, 5];
    const affine = [0, 0, -1.0000002, 4, -1, 0, 0, 9, 0, 1, 0, 2, 0, 0, 0, 1];
    const image = makeVolume(Float32Array, size, [1, 1, 1.0000002], noise, affine);
    const label = makeVolume(Uint8Array, size, [1, 1, 1.0000002], (x, y, z) => Math.floor(noise(x, y, z) * 4), affine);
    const before = image.data.slice();
    const canonical = toCanonical(image);
    const one = preprocessCase({ id: 'a', image: canonical, label: toCanonical(label) }, plain, 'set');
    t.same(one.sizeVoxels, [5, 7, 9]);
    t.same(one.image, canonical.data);
    t.same([one.id, one.dataset], ['a', 'set']);
    const mask = restored(
      Uint8Array.from(one.label!, (value) => (value === 2 ? 6 : 5)),
      one.grid,
      5,
    );
    t.same(mask.affine, affine);
    t.same(mask.sizeVoxels, size);
    t.same(
      mask.data,
      label.data.map((value) => (value === 2 ? 1 : 0)),
      'a probability of exactly the threshold is background',
    );
    const normalized = preprocessCase(
      { id: 'a', image: toCanonical(image) },
      { ...plain, normalization: 'zscore' },
      'set',
    );
    t.same(image.data, before, 'the input is not changed');
    t.equal(normalized.label, undefined);
    t.equal(normalized.foreground, undefined);
  },
);

t.test('the new grid lies where its affine says: a ramp in millimetres stays that ramp', async (t) => {
  const ramp = (p: Triple) => 2 * p[0] - 3 * p[1] + 0.5 * p[2];
  const size: Triple = [20, 17, 9];
  const spacing: Triple = [0.8, 1.1, 3];
  const empty = makeVolume(Float32Array, size, spacing, () => 0);
  const image = makeVolume(Float32Array, size, spacing, (x, y, z) => ramp(applyAffine(empty.affine, [x, y, z])));
  for (const spacingMm of [
    [1, 1, 1],
    [2, 1.7, 4],
    [0.5, 1.1, 3],
  ] as [number, number, number][]) {
    const { grid, sizeVoxels, image: data } = preprocessCase({ id: 'a', image }, { ...plain, spacingMm }, 'set');
    t.same(
      sizeVoxels,
      size.map((n, axis) => Math.round((n * spacing[axis]!) / spacingMm[axis]!)),
    );
    for (const axis of [0, 1, 2] as const) {
      t.ok(Math.abs(grid.spacingMm[axis] - spacingMm[axis]) < 1e-9);
      const middle = (s: Triple) => s.map((n) => (n - 1) / 2) as unknown as Triple;
      const [a, b] = [applyAffine(image.affine, middle(size)), applyAffine(grid.affine, middle(sizeVoxels))];
      t.ok(Math.abs(a[axis] - b[axis]) < 1e-9, 'the centres coincide');
    }
    let worst = 0;
    const margin = spacingMm[0] > 1 ? 2 : 1; // smoothing and clamping act at the border
    for (let z = margin; z < sizeVoxels[2] - margin; z++)
      for (let y = margin; y < sizeVoxels[1] - margin; y++)
        for (let x = margin; x < sizeVoxels[0] - margin; x++) {
          const value = data[x + sizeVoxels[0] * (y + sizeVoxels[1] * z)]!;
          worst = Math.max(worst, Math.abs(value - ramp(applyAffine(grid.affine, [x, y, z]))));
        }
    t.ok(worst < 1e-3, `${spacingMm}: off by ${worst}`);
  }
});

t.test('downsampling smooths first: a checkerboard becomes grey, a constant stays', async (t) => {
  const size: Triple = [24, 24, 24];
  const board = makeVolume(Float32Array, size, [1, 1, 1], (x, y, z) => ((x + y + z) % 2) * 2 - 1);
  const coarse = preprocessCase({ id: 'a', image: board }, { ...plain, spacingMm: [3, 3, 3] }, 'set');
  t.ok(moments(coarse.image).deviation < 0.02, `${moments(coarse.image).deviation}`);
  const flat = makeVolume(Float32Array, size, [1, 1, 1], () => 5);
  const { image } = preprocessCase({ id: 'a', image: flat }, { ...plain, spacingMm: [3, 1, 2] }, 'set');
  t.ok(image.every((value) => Math.abs(value - 5) < 1e-5));
});

t.test('a ball survives the way to another grid and back', async (t) => {
  const size: Triple = [48, 44, 16];
  const spacing: Triple = [1, 1, 2.5];
  const inside = (x: number, y: number, z: number) => (x - 22) ** 2 + (y - 21) ** 2 + (2.5 * z - 18) ** 2 < 15 ** 2;
  const image = makeVolume(Float32Array, size, spacing, (x, y, z) => (inside(x, y, z) ? 1 : 0));
  const label = makeVolume(Uint8Array, size, spacing, (x, y, z) => (inside(x, y, z) ? 1 : 0));
  for (const spacingMm of [
    [2, 2, 2],
    [1.3, 1.3, 4],
    [0.7, 0.7, 1],
  ] as [number, number, number][]) {
    const one = preprocessCase({ id: 'a', image, label }, { ...plain, spacingMm }, 'set');
    const back = dice(restored(Uint8Array.from(one.label!), one.grid, 0.5).data, label.data);
    t.ok(back > 0.93, `${spacingMm}: ${back}`);
  }
});

t.test('window and normalisation', async (t) => {
  const size: Triple = [16, 15, 14];
  const image = makeVolume(Float32Array, size, [1, 1, 1], (x, y, z) => (x < 4 ? 0 : 100 * noise(x, y, z) + 50));
  const run = (settings: Partial<PreprocessingSettings>) =>
    preprocessCase({ id: 'a', image }, { ...plain, ...settings }, 'set').image;

  const zscore = moments(run({ normalization: 'zscore' }));
  t.ok(Math.abs(zscore.mean) < 1e-4 && Math.abs(zscore.deviation - 1) < 1e-4);

  const nonzero = run({ normalization: 'zscore-nonzero' });
  const kept = moments(nonzero.filter((_, i) => image.data[i] !== 0));
  t.ok(Math.abs(kept.mean) < 1e-4 && Math.abs(kept.deviation - 1) < 1e-4);
  t.ok(
    nonzero.every((value, i) => image.data[i] !== 0 || value === 0),
    'zeros stay',
  );

  const range = run({ normalization: 'range', window: [60, 140] });
  t.equal(Math.min(...range), 0);
  t.equal(Math.max(...range), 1);
  t.ok(range.every((value, i) => Math.abs(value - (Math.min(140, Math.max(60, image.data[i]!)) - 60) / 80) < 1e-5));
  const full = run({ normalization: 'range' });
  t.equal(Math.min(...full), 0);
  t.equal(Math.max(...full), 1);

  const clipped = run({ window: [60, 140] });
  t.same([Math.min(...clipped), Math.max(...clipped)], [60, 140]);

  const flat = makeVolume(Float32Array, size, [1, 1, 1], () => 3);
  for (const normalization of ['zscore', 'zscore-nonzero', 'range'] as const) {
    const { image: data } = preprocessCase({ id: 'a', image: flat }, { ...plain, normalization }, 'set');
    t.ok(
      data.every((value) => value === 0),
      `a constant image becomes 0 (${normalization})`,
    );
  }
});

t.test('body crop: air and single bright voxels are cut off whatever the label, and the way back pads', async (t) => {
  const size: Triple = [60, 50, 40];
  const body = (x: number, y: number, z: number) => x >= 20 && x < 40 && y >= 15 && y < 35 && z >= 10 && z < 30;
  for (const [air, tissue] of [
    [-1000, 40],
    [3, 200],
  ] as const) {
    const speck = (x: number, y: number, z: number) => x === 1 && y === 1 && z === 1;
    const image = makeVolume(Float32Array, size, [1, 1, 1], (x, y, z) =>
      body(x, y, z) || speck(x, y, z) ? tissue : air,
    );
    const settings = { ...plain, crop: 'body' as const };
    const one = preprocessCase({ id: 'a', image }, settings, 'set');
    const { begin, end } = one.grid.crop;
    for (const axis of [0, 1, 2] as const) {
      const [low, high] = [[20, 15, 10][axis]!, [40, 35, 30][axis]!];
      t.ok(begin[axis] <= low - 4 && begin[axis] >= low - 10, `begin ${begin}`);
      t.ok(end[axis] >= high + 4 && end[axis] <= high + 10, `end ${end}`);
    }
    const labeled = (...at: Triple) => {
      const label = makeVolume(Uint8Array, size, [1, 1, 1], (...voxel) => (voxel.every((v, i) => v === at[i]) ? 7 : 0));
      return { id: 'a', image, label };
    };
    const edge = labeled(begin[0], begin[1], end[2] - 1);
    const inside = preprocessCase(edge, settings, 'set');
    t.same(inside.grid.crop, one.grid.crop, 'a label does not move the crop, which a scan to be segmented has too');
    const marked = edge.label.data.map((value) => (value === 7 ? 1 : 0));
    t.same(restored(Uint8Array.from(inside.label!), inside.grid, 0).data, marked, 'the label is kept and comes back');
    const outside = labeled(begin[0], begin[1], end[2]);
    const refused = {
      code: 'VERSEMI_LABEL_INVALID',
      details: { field: 'label of case a of set', found: new RegExp(`z = .*, ${end[2]} to ${end[2]}$`) },
    };
    t.throws(() => preprocessCase(outside, settings, 'set'), refused, 'and is never cut off without a word');
    const ignored = { ...outside, ignoredLabel: 7 };
    t.same(preprocessCase(ignored, settings, 'set').grid.crop, one.grid.crop, 'ignored voxels may be');
  }
  const nothing = makeVolume(Float32Array, size, [1, 1, 1], () => 0);
  t.same(preprocessCase({ id: 'a', image: nothing }, { ...plain, crop: 'body' }, 'set').sizeVoxels, size);
});

t.test('foreground samples are spread over each label', async (t) => {
  const label = Uint8Array.from({ length: 50000 }, (_, i) => (i >= 10000 && i < 40000 ? 3 : i === 49999 ? 255 : 0));
  const samples = foregroundSamples(label);
  t.same(Object.keys(samples), ['3', '255']);
  t.same(samples[255], [49999]);
  t.equal(samples[3]!.length, maximumForegroundSamples);
  t.ok(samples[3]!.every((index, i) => index === 10000 + Math.floor((i + 0.5) * 30)));
});

t.test('errors', async (t) => {
  const image = makeVolume(Float32Array, [10, 10, 10], [5, 5, 5], () => 0);
  const tiny = { ...plain, spacingMm: [0.01, 0.01, 0.01] as [number, number, number] };
  t.throws(() => preprocessCase({ id: 'a', image: { ...image, file: 'x.nii' } }, tiny, 'set'), {
    code: 'VERSEMI_VOLUME_INVALID',
    details: { file: 'x.nii' },
  });
});
