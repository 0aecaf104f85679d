// Patch operations of the host: against plain loops.
import t from 'tap';
import { type Triple, voxelCount } from '../../src/volume/volume.js';
import { createHost } from '../../src/wasm/host.js';
import { forEachVoxel, makeImage, sameArray } from './metrics-support.js';

const host = createHost();
t.afterEach(() => {
  if (host.memory().blocks !== 0) throw new Error('an operation kept linear memory');
});

const size: Triple = [17, 13, 11];
const image = makeImage(size);
const patch: Triple = [8, 6, 7];
const box = { begin: [2, 1, 3], sizeVoxels: [5, 4, 3] } as const;
const isInside = (x: number, y: number, z: number) =>
  [x, y, z].every((c, i) => c >= box.begin[i]! && c < box.begin[i]! + box.sizeVoxels[i]!);

/** The same operation into a new array and into a given one. */
function everyTarget(length: number, operation: (into?: Float32Array) => Float32Array): Float32Array[] {
  const given = new Float32Array(length).fill(NaN);
  return [operation(), operation(given), given];
}

t.test('cutPatch: inside, beyond the border, turned', async (t) => {
  for (const begin of [
    [3, 2, 1],
    [-3, -2, -4],
    [12, 9, 8],
    [-50, 0, 0],
  ] as const) {
    for (const axes of [
      [0, 1, 2],
      [1, 0, 2],
      [2, 0, 1],
      [1, 2, 0],
    ] as const) {
      for (const flipped of [
        [false, false, false],
        [true, false, false],
        [true, true, true],
      ] as const) {
        const expected = new Float32Array(voxelCount(patch)).fill(-5);
        forEachVoxel(patch, (x, y, z, i) => {
          const at = [0, 0, 0];
          [x, y, z].forEach((c, axis) => {
            at[axes[axis]!] = begin[axes[axis]!]! + (flipped[axis] ? patch[axis]! - 1 - c : c);
          });
          if (at.every((c, axis) => c >= 0 && c < size[axis]!))
            expected[i] = image[at[0]! + size[0] * (at[1]! + size[1] * at[2]!)]!;
        });
        const cut = { begin, sizeVoxels: patch, axes, flipped, fill: -5 };
        for (const found of everyTarget(expected.length, (into) => host.cutPatch(image, size, cut, into)))
          sameArray(t, found, expected, `from ${begin}, axes ${axes}, flipped ${flipped}`);
      }
    }
  }
  const labels = Uint8Array.from(image, (value) => value & 7);
  t.same(
    host.cutPatch(labels, size, { begin: [1, 1, 1], sizeVoxels: [2, 1, 1] }),
    labels.slice(1 + 17 + 221, 3 + 17 + 221),
  );
});

t.test('cutPatch through a matrix: trilinear and nearest, against plain loops', async (t) => {
  const labels = Uint8Array.from(image, (value) => value & 7);
  const fill = 5;
  const voxel = (data: ArrayLike<number>, at: readonly number[]) =>
    at.every((c, axis) => c >= 0 && c < size[axis]!) ? data[at[0]! + size[0] * (at[1]! + size[1] * at[2]!)]! : fill;
  const trilinear = (at: readonly number[]) => {
    let sum = 0;
    for (let corner = 0; corner < 8; corner++) {
      const near = at.map((c, axis) => Math.floor(c) + ((corner >> axis) & 1));
      sum += voxel(image, near) * at.reduce((w, c, axis) => w * (1 - Math.abs(c - near[axis]!)), 1);
    }
    return sum;
  };
  const turns = [
    { axes: [0, 1, 2], flipped: [false, false, false] },
    { axes: [1, 0, 2], flipped: [true, false, true] },
    { axes: [2, 0, 1], flipped: [false, true, false] },
  ] as const;
  const matrices = [
    [0.9013, -0.3037, 0.1049, 0.3121, 1.1063, 0.0717, -0.1209, 0.0543, 0.9571],
    [2.3, 0.4, 0, -0.5, 2.1, 0, 0, 0, 1.9], // reaches beyond every face
    [0.26, 0.01, 0, 0, 0.27, 0.01, 0.02, 0, 0.25],
  ] as const;
  for (const begin of [
    [3, 2, 1],
    [-3, -2, -4],
    [12, 9, 8],
    [-50, 0, 0],
  ] as const) {
    for (const { axes, flipped } of turns) {
      for (const matrix of matrices) {
        const expected = new Float32Array(voxelCount(patch));
        const expectedLabels = new Uint8Array(voxelCount(patch));
        forEachVoxel(patch, (x, y, z, i) => {
          const [fromMiddle, middle] = [
            [0, 0, 0],
            [0, 0, 0],
          ];
          [x, y, z].forEach((c, axis) => {
            const half = (patch[axis]! - 1) / 2;
            fromMiddle[axes[axis]!] = (c - half) * (flipped[axis] ? -1 : 1);
            middle[axes[axis]!] = begin[axes[axis]!]! + half;
          });
          const at = middle.map((m, row) => m + fromMiddle.reduce((sum, d, k) => sum + matrix[row * 3 + k]! * d, 0));
          expected[i] = trilinear(at);
          expectedLabels[i] = voxel(
            labels,
            at.map((c) => Math.floor(c + 0.5)),
          );
        });
        const cut = { begin, sizeVoxels: patch, axes, flipped, fill, matrix };
        const name = `from ${begin}, axes ${axes}, matrix ${matrix}`;
        for (const found of everyTarget(expected.length, (into) => host.cutPatch(image, size, cut, into)))
          t.ok(
            found.every((value, i) => Math.abs(value - expected[i]!) < 1e-4 * (1 + Math.abs(expected[i]!))),
            name,
          );
        t.same(host.cutPatch(labels, size, cut), expectedLabels, `labels ${name}`);
      }
      const same = { begin, sizeVoxels: patch, axes, flipped, fill };
      const identity = [1, 0, 0, 0, 1, 0, 0, 0, 1] as const;
      sameArray(
        t,
        host.cutPatch(image, size, { ...same, matrix: identity }),
        host.cutPatch(image, size, same),
        'the identity changes nothing',
      );
    }
  }
});

t.test('CutMix is a * m + b * (1 - m)', async (t) => {
  const a = makeImage(patch);
  const b = a.map((value) => value * 2 + 1);
  const mask = new Float32Array(a.length);
  forEachVoxel(patch, (x, y, z, i) => {
    mask[i] = isInside(x, y, z) ? 1 : 0;
  });
  const check = (
    name: string,
    expected: Float32Array,
    outside: Float32Array | number,
    inside: Float32Array | number,
  ) => {
    const into = new Float32Array(a.length).fill(NaN);
    t.equal(host.cutMix(outside, inside, patch, box, into), into);
    sameArray(t, into, expected, name);
  };
  const mixed = a.map((value, i) => (mask[i] ? b[i]! : value));
  check('two patches', mixed, a, b);
  check(
    'a patch without its box',
    a.map((value, i) => (mask[i] ? 0 : value)),
    a,
    0,
  );
  check(
    'a box alone',
    a.map((value, i) => (mask[i] ? value : 0)),
    0,
    a,
  );
  check('the mask of a box', mask, 0, 1);
  const inPlace = a.slice();
  t.same(host.cutMix(inPlace, b, patch, box, inPlace), mixed, 'over a itself');
  const whole = { begin: [0, 0, 0], sizeVoxels: patch } as const;
  t.same(
    host.cutMix(a, b, patch, whole, new Float32Array(a.length)),
    b,
    'a cube as large as the patch reaches the last voxel',
  );
  for (const wrong of [
    { begin: [-1, 0, 0], sizeVoxels: [1, 1, 1] },
    { begin: [5, 0, 0], sizeVoxels: [4, 1, 1] },
  ] as const)
    t.throws(() => host.cutMix(a, b, patch, wrong, inPlace), { code: 'VERSEMI_INTERNAL' });
  t.throws(() => host.cutMix(a, b.subarray(1), patch, box, inPlace), { code: 'VERSEMI_VOLUME_INVALID' });
});

t.test('binaryTarget: small and large label values', async (t) => {
  const labels = Uint8Array.from({ length: 1003 }, (_, i) => (i * 37) & 255);
  for (const values of [[1], [0, 3, 15], [2, 16], [255], []]) {
    const lookup = new Uint8Array(256);
    for (const value of values) lookup[value] = 200;
    const expected = Float32Array.from(labels, (label) => (values.includes(label) ? 1 : 0));
    for (const found of everyTarget(labels.length, (into) => host.binaryTarget(labels, lookup, into)))
      sameArray(t, found, expected, `labels ${values}`);
  }
  t.throws(() => host.binaryTarget(labels, new Uint8Array(16)), { code: 'VERSEMI_INTERNAL' });
});

t.test('augmentIntensity: scale, shift and noise, in place', async (t) => {
  const data = makeImage([9, 5, 3]);
  const expected = data.map((value) => Math.fround(value * 1.25) - 3);
  const found = data.slice();
  t.equal(host.augmentIntensity(found, { scale: 1.25, shift: -3 }), found);
  t.same(found, expected);
  t.same(host.augmentIntensity(data.slice(), {}), data, 'nothing asked, nothing done');
  const noise = { noiseStandardDeviation: 2, seed: 5, stream: 4, step: 3, sample: 2 };
  const noisy = host.augmentIntensity(data.slice(), noise);
  t.same(host.augmentIntensity(data.slice(), noise), noisy, 'the same numbers again');
  t.notSame(host.augmentIntensity(data.slice(), { ...noise, sample: 1 }), noisy);
});

t.test('augmentIntensity: gamma keeps range order, mean and deviation', async (t) => {
  const data = makeImage([9, 5, 3]).map((value) => Math.fround(value / 7 - 3));
  const moments = (values: Float32Array) => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return [mean, Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length)] as const;
  };
  const [low, high] = [Math.min(...data), Math.max(...data)];
  const [mean, deviation] = moments(data);
  for (const gamma of [0.5, 1.7]) {
    const powers = data.map((value) => ((value - low) / (high - low)) ** gamma);
    const [powerMean, powerDeviation] = moments(powers);
    const expected = powers.map((value) => mean + ((value - powerMean) / powerDeviation) * deviation);
    const found = host.augmentIntensity(data.slice(), { gamma });
    t.ok(
      found.every((value, i) => Math.abs(value - expected[i]!) < 1e-4),
      `gamma ${gamma}`,
    );
    const after = host.augmentIntensity(data.slice(), { gamma, scale: 2, shift: 1 });
    t.ok(
      after.every((value, i) => Math.abs(value - (2 * expected[i]! + 1)) < 3e-4),
      'before scale and shift',
    );
  }
  const flat = new Float32Array(10).fill(3);
  t.same(host.augmentIntensity(flat.slice(), { gamma: 2 }), flat, 'constant data stay');
});
