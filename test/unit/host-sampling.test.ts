// Patch operations of the host: against plain loops, in place for resident arrays, copied for others.
import t from 'tap';
import { type Triple, voxelCount } from '../../src/volume/volume.js';
import { createHost, host as sharedHost, trimHost } from '../../src/wasm/host.js';
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

/** The same operation into a new array, into a given one and into a resident one. */
function everyTarget(length: number, operation: (into?: Float32Array) => Float32Array): Float32Array[] {
  const given = new Float32Array(length).fill(NaN);
  const resident = host.allocate(Float32Array, length);
  resident.view.fill(NaN);
  const results = [
    operation(),
    operation(given).slice(),
    operation(resident.view).slice(),
    given,
    resident.view.slice(),
  ];
  resident.release();
  return results;
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

t.test('CutMix is a * m + b * (1 - m)', async (t) => {
  const a = makeImage(patch);
  const b = a.map((value) => value * 2 + 1);
  const mask = new Float32Array(a.length);
  forEachVoxel(patch, (x, y, z, i) => {
    mask[i] = isInside(x, y, z) ? 1 : 0;
  });
  const check = (name: string, expected: Float32Array, operation: (into?: Float32Array) => Float32Array) => {
    for (const found of everyTarget(a.length, operation)) sameArray(t, found, expected, name);
  };
  check('insideMask', mask, (into) => host.insideMask(patch, box, into));
  check(
    'cutMix',
    a.map((value, i) => (mask[i] ? b[i]! : value)),
    (into) => host.cutMix(a, b, patch, box, into),
  );
  check(
    'applyOutside',
    a.map((value, i) => (mask[i] ? 0 : value)),
    (into) => host.applyOutside(a, patch, box, into),
  );
  check(
    'applyInside',
    a.map((value, i) => (mask[i] ? value : 0)),
    (into) => host.applyInside(a, patch, box, into),
  );
  const inPlace = a.slice();
  t.same(
    host.cutMix(inPlace, b, patch, box, inPlace),
    a.map((value, i) => (mask[i] ? b[i]! : value)),
    'over a itself',
  );
  const whole = { begin: [0, 0, 0], sizeVoxels: patch } as const;
  t.same(host.cutMix(a, b, patch, whole), b, 'a cube as large as the patch reaches the last voxel');
  for (const wrong of [
    { begin: [-1, 0, 0], sizeVoxels: [1, 1, 1] },
    { begin: [5, 0, 0], sizeVoxels: [4, 1, 1] },
  ] as const)
    t.throws(() => host.cutMix(a, b, patch, wrong), { code: 'VERSEMI_INTERNAL' });
  t.throws(() => host.cutMix(a, b.subarray(1), patch, box), { code: 'VERSEMI_VOLUME_INVALID' });
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
  const resident = host.allocate(Float32Array, data.length);
  resident.view.set(data);
  host.augmentIntensity(resident.view, noise);
  t.same(resident.view.slice(), noisy, 'resident');
  resident.view.fill(1);
  host.augmentIntensity(resident.view.subarray(10, 21), { ...noise, scale: 3, shift: 5 });
  const outside = resident.view.filter((_, i) => i < 10 || i >= 21);
  t.ok(
    outside.every((value) => value === 1),
    'a part of a resident array: its neighbours stay',
  );
  t.ok(resident.view.subarray(10, 21).every((value) => value !== 1));
  resident.release();
});

t.test('a resident array stays what it is when the memory grows', async (t) => {
  const own = createHost();
  const resident = own.allocate(Float32Array, 1000);
  resident.view.fill(3);
  const before = resident.view;
  const reserved = own.memory().bytesReserved;
  // The input is given as a view; the operation's own memory makes it detach.
  const large: Triple = [1000, 1, 1];
  const found = own.resampleLinear(before, large, [500000, 2, 1], { scale: [0.002, 1, 1], offset: [0, 0, 0] });
  t.ok(own.memory().bytesReserved > reserved, 'the memory has grown');
  t.equal(before.length, 0, 'the old view is detached');
  t.ok(found.every((value) => value === 3));
  t.ok(resident.view.every((value) => value === 3));
  const image = Float32Array.from({ length: 2_000_000 }, (_, i) => i);
  const cut = { begin: [0, 0, 0], sizeVoxels: [1_000_000, 1, 1], flipped: [true, false, false] } as const;
  const target = own.allocate(Float32Array, 1_000_000);
  const patch = own.cutPatch(image, [2_000_000, 1, 1], cut, target.view);
  t.equal(patch[0], 999_999);
  t.equal(target.view[999_999], 0);
  resident.release();
  target.release();
  t.equal(own.memory().bytesInUse, 0);
  t.throws(() => resident.release(), { code: 'VERSEMI_INTERNAL' }, 'released twice');
});

t.test("this thread's host can be dropped and comes back", async (t) => {
  const first = sharedHost();
  t.equal(sharedHost(), first);
  const resident = first.allocate(Uint8Array, 10);
  trimHost();
  t.equal(sharedHost(), first, 'kept while it holds arrays');
  resident.release();
  trimHost();
  t.not(sharedHost(), first);
});
