// Volume operations of the host against plain loops: every element type, odd sizes, chunk borders.
import t from 'tap';
import { RandomStream, streams } from '../../src/random.js';
import { type Triple, type VoxelArray, voxelCount } from '../../src/volume/volume.js';
import { createHost } from '../../src/wasm/host.js';
import { forEachVoxel, makeImage, relativeError, sameArray } from './metrics-support.js';

const host = createHost();
t.afterEach(() => {
  if (host.memory().blocks !== 0) throw new Error('an operation kept linear memory');
});

const types = [Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, Float32Array, Float64Array];
const size: Triple = [13, 10, 7];
const identity = { scale: [1, 1, 1], offset: [0, 0, 0] } as const;

/** Random numbers that use all bits of a type. */
function randomArray(type: (typeof types)[number], length: number, seed = 1): VoxelArray {
  const random = new RandomStream(seed, streams.test, 20);
  const floats = type === Float32Array || type === Float64Array;
  return (type as Float64ArrayConstructor).from({ length }, () => (floats ? random.normal() * 1000 : random.uint32()));
}

t.test('resampling on the same grid gives the same voxels', async (t) => {
  const image = makeImage(size);
  sameArray(t, host.resampleLinear(image, size, size, identity), image);
  const labels = Uint8Array.from(image, (value) => value & 3);
  sameArray(t, host.resampleLabels(labels, size, size, identity), labels);
});

t.test('resampling backwards gives the mirrored result', async (t) => {
  const out: Triple = [10, 19, 12];
  const map = { scale: [1.3, 0.5, 0.5], offset: [0.1, 0, 0.25] } as const;
  const backwards = {
    scale: map.scale.map((scale) => -scale) as unknown as Triple,
    offset: map.offset.map((offset, i) => offset + map.scale[i]! * (out[i]! - 1)) as unknown as Triple,
  };
  const image = makeImage(size);
  const mirrored = host.reorient(host.resampleLinear(image, size, out, map), out, [0, 1, 2], [true, true, true]);
  const found = host.resampleLinear(image, size, out, backwards);
  t.ok(found.every((value, i) => Math.abs(value - mirrored[i]!) < 1e-5));
  const labels = Uint8Array.from(image, (value) => (value > 5 ? 3 : value > -5 ? 1 : 0));
  const voted = host.reorient(host.resampleLabels(labels, size, out, map), out, [0, 1, 2], [true, true, true]);
  sameArray(t, host.resampleLabels(labels, size, out, backwards), voted);
});

t.test('labels: the larger share wins, the smaller label where equal', async (t) => {
  const at = (labels: number[], offset: number) =>
    host.resampleLabels(Uint8Array.from(labels), [labels.length, 1, 1], [1, 1, 1], {
      scale: [1, 1, 1],
      offset: [offset, 0, 0],
    })[0];
  t.same([at([7, 200], 0.25), at([7, 200], 0.5), at([200, 7], 0.5), at([7, 200], 0.75)], [7, 7, 7, 200]);
  t.same([at([0, 255], 1), at([0, 255], 5), at([255, 0], -5)], [255, 255, 255]);
  // Long rows with few borders, so that the path for uniform neighbourhoods and its end at odd widths are used.
  for (const width of [15, 16, 17, 33, 50]) {
    const source: Triple = [width, 3, 2];
    const labels = new Uint8Array(voxelCount(source));
    forEachVoxel(source, (x, y, _z, i) => {
      labels[i] = y === 1 && x >= width - 2 ? 9 : x > width / 2 ? 4 : 0;
    });
    const out: Triple = [2 * width, 5, 3];
    const map = { scale: [0.5, 0.5, 0.5], offset: [-0.25, -0.1, 0] } as const;
    const shares = [0, 4, 9].map((label) =>
      host.resampleLinear(
        Float32Array.from(labels, (value) => (value === label ? 1 : 0)),
        source,
        out,
        map,
      ),
    );
    const expected = shares[0]!.map((_, i) => {
      const [a, b, c] = shares.map((share) => share[i]!) as [number, number, number];
      return a >= b && a >= c ? 0 : b >= c ? 4 : 9;
    });
    sameArray(t, host.resampleLabels(labels, source, out, map), Uint8Array.from(expected), `width ${width}`);
  }
});

t.test('one voxel, one slice, one row', async (t) => {
  const map = { scale: [0.3, 0.3, 0.3], offset: [0.1, 0.1, 0.1] } as const;
  sameArray(t, host.resampleLinear(Float32Array.of(5), [1, 1, 1], [2, 3, 2], map), new Float32Array(12).fill(5));
  sameArray(t, host.resampleLabels(Uint8Array.of(5), [1, 1, 1], [2, 3, 2], map), new Uint8Array(12).fill(5));
  const ramp = Float32Array.of(0, 1, 2, 3);
  const upsampled = host.resampleLinear(ramp, [1, 1, 4], [1, 1, 7], { scale: [1, 1, 0.5], offset: [0, 0, 0] });
  sameArray(t, upsampled, Float32Array.of(0, 0.5, 1, 1.5, 2, 2.5, 3));
});

t.test('reorient: all 48 orientations, elements of 1, 2, 4 and 8 bytes', async (t) => {
  const large: Triple = [37, 34, 35]; // more than one tile along each axis
  const permutations = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ] as const;
  for (const type of [Uint8Array, Int16Array, Float32Array, Float64Array]) {
    for (const axes of permutations) {
      for (let bits = 0; bits < 8; bits++) {
        const from = bits === 5 ? large : size;
        const data = randomArray(type, voxelCount(from));
        const flipped = [(bits & 1) > 0, (bits & 2) > 0, (bits & 4) > 0] as const;
        const to = axes.map((axis) => from[axis]!) as unknown as Triple;
        const found = host.reorient(data, from, axes, flipped);
        let wrong = found.constructor === type && found.length === data.length ? 0 : 1;
        forEachVoxel(to, (x, y, z, i) => {
          const at = [0, 0, 0];
          [x, y, z].forEach((c, axis) => {
            at[axes[axis]!] = flipped[axis] ? to[axis]! - 1 - c : c;
          });
          if (found[i] !== data[at[0]! + from[0] * (at[1]! + from[1] * at[2]!)]) wrong++;
        });
        if (wrong > 0) t.fail(`${type.name}, axes ${axes}, flipped ${flipped}: ${wrong} voxels`);
      }
    }
  }
  t.throws(() => host.reorient(new Uint8Array(8), [2, 2, 2], [0, 0, 2], [false, false, false]));
});

t.test('crop and pad', async (t) => {
  const boxes: [Triple, Triple][] = [
    [[0, 0, 0], size],
    [
      [2, 3, 1],
      [5, 4, 3],
    ],
    [
      [-2, -3, -1],
      [20, 19, 12],
    ],
    [
      [9, -2, 5],
      [8, 6, 4],
    ],
    [
      [-30, 0, 0],
      [4, 4, 4],
    ],
    [
      [0, 40, 0],
      [4, 4, 4],
    ],
  ];
  for (const type of types) {
    const data = randomArray(type, voxelCount(size));
    for (const [begin, out] of boxes) {
      const expected = new type(voxelCount(out)).fill(7);
      forEachVoxel(out, (x, y, z, i) => {
        const at = [x + begin[0], y + begin[1], z + begin[2]] as const;
        if (at.every((c, axis) => c >= 0 && c < size[axis]!))
          expected[i] = data[at[0] + size[0] * (at[1] + size[1] * at[2])]!;
      });
      sameArray(t, host.crop(data, size, begin, out, 7), expected, `${type.name} ${begin} ${out}`);
    }
  }
});

// Longer than a chunk, so that what passes from one chunk to the next is tested.
const longSize: Triple = [331, 211, 3];
const long = Float32Array.from(
  randomArray(Float32Array, voxelCount(longSize), 2),
  (value, i) => value + (i % 1000) + 1e5,
);

t.test('statistics: far from zero, with voxels that are not finite', async (t) => {
  const dirty = long.slice();
  for (const i of [0, 5, 65535, 65536, dirty.length - 1]) dirty[i] = [NaN, Infinity, -Infinity][i % 3]!;
  const finite = Array.from(dirty).filter((value) => Number.isFinite(value));
  const mean = finite.reduce((sum, value) => sum + value, 0) / finite.length;
  const variance = finite.reduce((sum, value) => sum + (value - mean) ** 2, 0) / finite.length;
  const found = host.statistics(dirty);
  t.same(
    { min: found.min, max: found.max, count: found.count, nonFinite: found.nonFinite },
    {
      min: finite.reduce((a, b) => Math.min(a, b)),
      max: finite.reduce((a, b) => Math.max(a, b)),
      count: finite.length,
      nonFinite: 5,
    },
  );
  t.ok(relativeError(found.mean, mean) < 1e-13, 'mean');
  t.ok(relativeError(found.standardDeviation, Math.sqrt(variance)) < 1e-11, 'standard deviation');
  t.match(host.statistics(Float32Array.of(NaN, Infinity)), { count: 0, nonFinite: 2, mean: NaN, min: NaN, max: NaN });
  t.match(host.statistics(new Float32Array(0)), { count: 0, nonFinite: 0 });
});

t.test('percentiles are exact order statistics', async (t) => {
  const fractions = Array.from({ length: 101 }, (_, i) => i / 100);
  const values = [
    long,
    Float32Array.from(long, (value) => 1e5 - value),
    Float32Array.of(-0, 0, 1e-42, -1e-42, 3e38, -3e38),
  ];
  for (const data of values) {
    const sorted = data.slice().sort();
    const found = host.percentiles(data, fractions);
    const expected = fractions.map((fraction) => {
      const position = (sorted.length - 1) * fraction;
      const low = sorted[Math.floor(position)]!;
      const high = sorted[Math.min(Math.floor(position) + 1, sorted.length - 1)]!;
      const rest = position - Math.floor(position);
      return rest < 0.5 ? low + (high - low) * rest : high - (high - low) * (1 - rest);
    });
    t.ok(
      found.every((value, i) => value === expected[i]),
      `${sorted.length} values`,
    );
  }
  t.same(host.percentiles(Float32Array.of(NaN, 4, Infinity), [0, 0.5, 1]), [4, 4, 4], 'finite voxels only');
  t.same(host.percentiles(Float32Array.of(NaN), [0.5]), [NaN]);
});

t.test('normalize clips, centres and scales', async (t) => {
  const [low, high, mean, scale] = [-100, 900.5, 12.25, 0.125];
  const data = Float32Array.from(long, (value) => value - 1e5);
  data[3] = NaN;
  const expected = data.map(
    (value) => (Math.min(Math.max(Number.isNaN(value) ? low : value, low), high) - mean) * scale,
  );
  const normalized = (values: Float32Array, sizeVoxels: Triple, options: { low?: number; high?: number }) => {
    const plane = sizeVoxels[0] * sizeVoxels[1];
    const stream = host.slices({ sizeVoxels, slices: (begin, end) => values.subarray(begin * plane, end * plane) });
    const result = stream.normalize(options).collect();
    stream.dispose();
    return result;
  };
  const options = { low, high, mean, scale };
  sameArray(t, normalized(data, longSize, options), expected);
  const plain = Float32Array.of(-3, 1e9, 5);
  sameArray(t, normalized(plain, [3, 1, 1], {}), plain, 'without settings nothing changes');
});

t.test('threshold', async (t) => {
  const values = Float32Array.from({ length: 70 }, (_, i) => i - 30);
  values[40] = NaN;
  sameArray(
    t,
    host.threshold(values, 0),
    Uint8Array.from(values, (value) => (value >= 0 ? 1 : 0)),
  );
  sameArray(
    t,
    host.threshold(values, -5, 9),
    Uint8Array.from(values, (value) => (value >= -5 && value <= 9 ? 1 : 0)),
  );
});

t.test('toFloat32 of every element type', async (t) => {
  for (const type of types) {
    const data = randomArray(type, 70001);
    sameArray(
      t,
      host.toFloat32(data, 0.37, -1024),
      Float32Array.from(data, (value) => value * 0.37 - 1024),
      type.name,
    );
  }
});

t.test('label values: counts, positions, translation', async (t) => {
  const labels = Uint8Array.from({ length: 140001 }, (_, i) => (i * 7919 + (i >> 9)) & 255);
  const counts = new Uint32Array(256);
  for (const label of labels) counts[label]!++;
  sameArray(t, host.labelCounts(labels), counts);
  const all = Array.from(labels.keys()).filter((i) => labels[i] === 77);
  const ranks = Int32Array.of(0, 1, 1, 250, 260, all.length - 1);
  sameArray(
    t,
    host.positionsOf(labels, 77, ranks),
    Int32Array.from(ranks, (rank) => all[rank]!),
    'across chunks',
  );
  sameArray(t, host.positionsOf(labels, 77, Int32Array.of(2, all.length)), Int32Array.of(all[2]!), 'beyond the last');
  sameArray(t, host.positionsOf(labels, 77, new Int32Array(0)), new Int32Array(0));
  const table = Uint8Array.from({ length: 256 }, (_, i) => 255 - i);
  sameArray(
    t,
    host.translate(labels, table),
    labels.map((label) => 255 - label),
  );
});

t.test('bounding box and counts of masks', async (t) => {
  const masks: Triple[] = [
    [1, 1, 1],
    [16, 2, 3],
    [40, 9, 5],
    [33, 4, 4],
  ];
  const random = new RandomStream(8, streams.test);
  for (const sizeVoxels of masks) {
    for (const points of [1, 2, 30]) {
      const [a, b] = [0, 1].map(() => {
        const mask = new Uint8Array(voxelCount(sizeVoxels));
        for (let i = 0; i < points; i++) mask[random.integer(mask.length)] = 1 + random.integer(255);
        return mask;
      }) as [Uint8Array, Uint8Array];
      const low = [Infinity, Infinity, Infinity];
      const high = [0, 0, 0];
      let both = 0;
      forEachVoxel(sizeVoxels, (x, y, z, i) => {
        if (a[i] !== 0 && b[i] !== 0) both++;
        if (a[i] === 0 && b[i] === 0) return;
        [x, y, z].forEach((c, axis) => {
          low[axis] = Math.min(low[axis]!, c);
          high[axis] = Math.max(high[axis]!, c + 1);
        });
      });
      const inside = (mask: Uint8Array) => mask.filter((value) => value !== 0).length;
      t.same(host.maskCounts(a, b, sizeVoxels), {
        both,
        inA: inside(a),
        inB: inside(b),
        box: { begin: low, end: high },
      });
      const union = a.map((value, i) => value | b[i]!);
      t.same(host.boundingBox(union, sizeVoxels), { begin: low, end: high });
    }
  }
  t.equal(host.boundingBox(new Uint8Array(24), [2, 3, 4]), null);
});

t.test('a size that does not fit the data is an error', async (t) => {
  const wrong = { code: 'VERSEMI_VOLUME_INVALID' };
  const data = new Float32Array(7);
  t.throws(() => host.resampleLinear(data, [2, 2, 2], [1, 1, 1], identity), wrong);
  t.throws(() => host.crop(data, [2, 2, 2], [0, 0, 0], [1, 1, 1]), wrong);
  t.throws(() => host.reorient(data, [2, 2, 2], [0, 1, 2], [true, false, false]), wrong);
  t.throws(() => host.boundingBox(new Uint8Array(7), [2, 2, 2]), wrong);
});
