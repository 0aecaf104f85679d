// Blending of windows in a ring of slices, against accumulation over the whole volume in double precision.
import t from 'tap';
import { type Triple, voxelCount } from '../../src/volume/volume.js';
import { createHost } from '../../src/wasm/host.js';
import { forEachVoxel } from './metrics-support.js';

const host = createHost();
const window: Triple = [9, 6, 5];
const tasks = 3;
const voxels = voxelCount(window);
const weights = Float32Array.from({ length: voxels }, (_, i) => 0.1 + ((i * 31) % 17) / 9);
type Mirror = readonly [boolean, boolean, boolean];

const logitsOf = (number: number) =>
  Float32Array.from({ length: tasks * voxels }, (_, i) => 12 * Math.sin(0.7 * i + number * 1.3));

/** Whether a byte is right for a probability that is known to half a millionth: ceil(256 p) - 1. */
const isByteOf = (byte: number, p: number) => {
  const of = (q: number) => Math.min(255, Math.max(0, Math.ceil(256 * q) - 1));
  return byte >= of(p - 5e-7) && byte <= of(p + 5e-7);
};

/** Sums over the whole volume. */
function reference(size: Triple, placed: readonly { begin: Triple; logits: Float32Array; mirror: Mirror }[]) {
  const sums = new Float64Array(tasks * voxelCount(size));
  const total = new Float64Array(voxelCount(size));
  for (const { begin, logits, mirror } of placed)
    forEachVoxel(window, (x, y, z, i) => {
      const at = [x + begin[0], y + begin[1], z + begin[2]];
      if (at.some((c, axis) => c < 0 || c >= size[axis]!)) return;
      const voxel = at[0]! + size[0] * (at[1]! + size[1] * at[2]!);
      const from = [x, y, z].map((c, axis) => (mirror[axis] ? window[axis]! - 1 - c : c));
      const source = from[0]! + window[0] * (from[1]! + window[1] * from[2]!);
      total[voxel]! += weights[i]!;
      for (let task = 0; task < tasks; task++)
        sums[task * total.length + voxel]! += weights[i]! / (1 + Math.exp(-logits[task * voxels + source]!));
    });
  return (task: number, voxel: number) => (total[voxel]! > 0 ? sums[task * total.length + voxel]! / total[voxel]! : 0);
}

function blend(
  size: Triple,
  begins: readonly [readonly number[], readonly number[], readonly number[]],
  mirrors: Mirror[],
) {
  const before = host.memory().bytesInUse;
  const slab = host.slabAccumulator(tasks, size, window);
  const bytesHeld = host.memory().bytesInUse - before;
  const placed: { begin: Triple; logits: Float32Array; mirror: Mirror }[] = [];
  const plane = size[0] * size[1];
  const bytes = new Uint8Array(tasks * voxelCount(size));
  let taken = 0;
  const takeUntil = (end: number) => {
    for (; taken < end; taken++) {
      const slice = slab.takeQuantized(taken);
      for (let task = 0; task < tasks; task++)
        bytes.set(slice.subarray(task * plane, (task + 1) * plane), (task * size[2] + taken) * plane);
    }
  };
  for (const z of begins[2]) {
    takeUntil(z);
    for (const y of begins[1])
      for (const x of begins[0])
        for (const mirror of mirrors) {
          const logits = logitsOf(placed.length);
          slab.add(logits, weights, [x, y, z], mirror);
          placed.push({ begin: [x, y, z], logits, mirror });
        }
  }
  takeUntil(size[2]);
  slab.dispose();
  return { bytes, expected: reference(size, placed), bytesHeld };
}

for (const [name, size, begins] of [
  [
    'overlapping windows',
    [19, 13, 14],
    [
      [0, 5, 10],
      [0, 3, 7],
      [0, 2, 5, 9],
    ],
  ],
  [
    'windows beyond the border',
    [19, 13, 8],
    [
      [-3, 6, 14],
      [-1, 5, 10],
      [0, 3, 6],
    ],
  ],
  ['a volume smaller than the window', [5, 4, 3], [[-2], [-1], [-1]]],
  ['gaps that no window covers', [30, 14, 12], [[0, 20], [7], [6]]],
] as [string, Triple, [number[], number[], number[]]][]) {
  t.test(name, async (t) => {
    const mirrors: Mirror[] = [
      [false, false, false],
      [true, false, true],
      [false, true, false],
      [true, true, true],
    ];
    const { bytes, expected } = blend(size, begins, mirrors);
    const count = voxelCount(size);
    const wrong: string[] = [];
    for (let task = 0; task < tasks; task++)
      for (let i = 0; i < count; i++) {
        const byte = bytes[task * count + i]!;
        if (!isByteOf(byte, expected(task, i))) wrong.push(`${byte} for ${expected(task, i)}`);
      }
    t.same(wrong, []);
    t.equal(host.memory().blocks, 0, 'disposed');
  });
}

t.test('the sigmoid, by where the mean passes one half', async (t) => {
  // Beside p = sigmoid(logit) with weight 1 stands an exact 0 or 1 with weight w: the mean is above one half exactly where
  // p > (1 + w) / 2, or p + w > (1 + w) / 2. So w is a scale that p is weighed on.
  const heavier = (logit: number, other: number, weight: number) => {
    const slab = host.slabAccumulator(1, [1, 1, 1], [1, 1, 1]);
    slab.add(Float32Array.of(logit), Float32Array.of(1), [0, 0, 0]);
    slab.add(Float32Array.of(other), Float32Array.of(weight), [0, 0, 0]);
    const [byte] = slab.takeQuantized(0);
    slab.dispose();
    return byte! > 127;
  };
  for (const logit of [0.01, 0.3, 1, 2.7, 5, 8]) {
    const weight = 2 / (1 + Math.exp(-logit)) - 1;
    for (const sign of [1, -1]) {
      const other = sign * -Infinity;
      t.equal(heavier(sign * logit, other, weight - 1e-6), sign > 0, `sigmoid(${sign * logit})`);
      t.equal(heavier(sign * logit, other, weight + 1e-6), sign < 0, `sigmoid(${sign * logit})`);
    }
  }
});

t.test('the sigmoid at the ends of its range', async (t) => {
  const logits = Float32Array.of(0, 1e-4, -1e-4, 20, -20, 88, -88, 1e6, -1e6, Infinity, -Infinity, 3.5);
  const slab = host.slabAccumulator(1, [12, 1, 1], [12, 1, 1]);
  slab.add(logits, new Float32Array(12).fill(0.5), [0, 0, 0]);
  const found = slab.takeQuantized(0);
  slab.dispose();
  logits.forEach((logit, i) => {
    t.ok(isByteOf(found[i]!, 1 / (1 + Math.exp(-logit))), `sigmoid(${logit}): ${found[i]}`);
  });
});

t.test('memory is bounded by the window, not by the volume', async (t) => {
  const short = blend(
    [12, 10, 10],
    [
      [0, 3],
      [0, 4],
      [0, 5],
    ],
    [[false, false, false]],
  );
  const tall = blend(
    [12, 10, 100],
    [[0, 3], [0, 4], Array.from({ length: 20 }, (_, i) => 5 * i)],
    [[false, false, false]],
  );
  t.equal(tall.bytesHeld, short.bytesHeld);
  const ring = (tasks + 1) * window[2] * 120 * 4;
  t.ok(short.bytesHeld >= ring && short.bytesHeld < ring + 2 * 64, 'two blocks of whole cache lines');
});

t.test('bytes: above 127 exactly where above one half', async (t) => {
  const logits = Float32Array.of(0, 1e-6, -1e-6, 3, -3, 50, -50, 0.02);
  const slab = host.slabAccumulator(1, [8, 1, 1], [8, 1, 1]);
  slab.add(logits, new Float32Array(8).fill(0.3), [0, 0, 0]);
  const bytes = slab.takeQuantized(0);
  slab.dispose();
  t.same(
    Array.from(bytes, (byte) => byte > 127),
    Array.from(logits, (logit) => logit > 0),
  );
});

t.test('order is enforced', async (t) => {
  const slab = host.slabAccumulator(tasks, [9, 6, 12], window);
  const logits = logitsOf(0);
  t.throws(() => slab.add(logits, weights, [0, 0, 1]), { code: 'VERSEMI_INTERNAL' }, 'slice 0 has not been taken');
  t.throws(() => slab.takeQuantized(1), { code: 'VERSEMI_INTERNAL' }, 'slices in order');
  slab.takeQuantized(0);
  t.throws(() => slab.add(logits, weights, [0, 0, 0]), { code: 'VERSEMI_INTERNAL' }, 'slice 0 is gone');
  slab.add(logits, weights, [0, 0, 1]);
  t.throws(() => slab.add(logits.subarray(1), weights, [0, 0, 1]), { code: 'VERSEMI_INTERNAL' });
  slab.add(logits, weights, [100, 0, 1]);
  slab.dispose();
});
