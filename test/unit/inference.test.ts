// The sliding window round a network that answers with its own input: layout, blending, mirrors, and the way back.
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { isVersemiError } from '../../src/errors.js';
import { evaluateCase, validate } from '../../src/inference/evaluate.js';
import { finish, type PredictOptions, type PredictProgress, predictVolume } from '../../src/inference/predict.js';
import { type SegmentOptions, type SegmentProgress, segmentVolume } from '../../src/inference/segment.js';
import { groupTasks, type InferenceOptions, taskIndices, taskName } from '../../src/inference/segmenter.js';
import { planWindows, type WindowProtocol, windowBegins, windowWeights } from '../../src/inference/windows.js';
import { toCanonical } from '../../src/scans/canonical.js';
import { scanOf } from '../../src/scans/scan.js';
import { applyAffine, columnNorms } from '../../src/volume/affine.js';
import type { Affine, Triple, Volume } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';
import { noise, plan, spyNetwork, test } from './inference-support.js';
import { makeCase } from './sampling-support.js';

await tf.setBackend('cpu');

const standard: WindowProtocol = { protocol: 'default', overlap: 0.5, weighting: 'gaussian' };
const paper: WindowProtocol = { ...standard, protocol: 'versemi' };

const signs = (image: Float32Array, sign = 1) => Uint8Array.from(image, (value) => (sign * value > 0 ? 1 : 0));
const masked = (probability: Uint8Array) => Uint8Array.from(probability, (value) => (value > 127 ? 1 : 0));
const equalBytes = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

test('windows: from border to border, no gap, no stride above the wanted one', async (t) => {
  for (let size = 1; size <= 70; size++) {
    for (const patch of [1, 7, 16, 32]) {
      for (const overlap of [0, 0.25, 0.5, 0.75]) {
        const stride = Math.max(1, Math.floor((1 - overlap) * patch));
        const begins = windowBegins(size, patch, stride, true);
        const steps = begins.slice(1).map((begin, i) => begin - begins[i]!);
        const name = `size ${size}, patch ${patch}, overlap ${overlap}: ${begins}`;
        const bad =
          begins[0] !== 0 ||
          (size > patch && begins.at(-1) !== size - patch) ||
          (size <= patch && begins.length !== 1) ||
          steps.some((step) => step < 1 || step > stride) ||
          (steps.length > 0 && Math.max(...steps) - Math.min(...steps) > 1) ||
          begins.length !== 1 + Math.ceil(Math.max(0, size - patch) / stride);
        if (bad) t.fail(name);
      }
    }
  }
  t.same(planWindows([32, 48, 40], [32, 32, 16], standard), [[0], [0, 16], [0, 8, 16, 24]]);
});

test("windows: the paper's strides 16/16/4, the last one moved back to the border", async (t) => {
  const [x, y, z] = planWindows([96 + 33, 96 + 16, 96 + 9], [96, 96, 96], paper);
  t.same(x, [0, 16, 32, 33]);
  t.same(y, [0, 16]);
  t.same(z, [0, 4, 8, 9]);
  t.same(planWindows([129, 112, 105], [96, 96, 96], { ...paper, overlap: 0 }), [x, y, z], 'whatever the overlap');
  t.same(planWindows([20, 16, 7], [8, 16, 2], paper), [[0, 8, 12], [0], [0, 2, 4, 5]], 'no gap when patches are small');
});

test('weights: Gaussian, symmetric, at most 1, at least 1e-3; else uniform', async (t) => {
  const [sizeX, sizeY, sizeZ] = [7, 9, 12] as const;
  const weights = windowWeights([sizeX, sizeY, sizeZ], standard);
  const reversed = weights.slice().reverse();
  t.same(weights, reversed, 'symmetric about the middle');
  const at = (x: number, y: number, z: number) => weights[x + sizeX * (y + sizeY * z)]!;
  t.equal(at(1, 4, 5), at(5, 4, 5), 'symmetric along x alone');
  t.equal(at(3, 2, 5), at(3, 6, 5), 'symmetric along y alone');
  const middle = at(3, 4, 5);
  t.equal(middle, Math.max(...weights));
  t.ok(middle <= 1 && middle > 0.9);
  t.equal(Math.max(...windowWeights([7, 9, 11], standard)), 1, 'odd sizes have a voxel in the middle');
  t.equal(Math.min(...weights), Math.fround(1e-3));
  // standard deviation: an eighth of the patch
  t.ok(Math.abs(at(2, 4, 5) / middle - Math.exp(-0.5 * (8 / sizeX) ** 2)) < 1e-6);
  for (const options of [paper, { ...standard, weighting: 'uniform' as const }])
    t.ok(windowWeights([7, 9, 12], options).every((weight) => weight === 1));
});

test('an identity network gives the sign of its input, whatever the size, the protocol and mirrors', async (t) => {
  const patch: Triple = [8, 6, 4];
  const sizes: Triple[] = [
    [19, 11, 13], // larger, odd
    [8, 6, 4], // equal
    [5, 3, 1], // smaller
    [21, 5, 4], // some of each
    [6, 15, 9],
  ];
  for (const size of sizes) {
    const image = noise(size, 1);
    for (const protocol of [standard, paper, { ...standard, overlap: 0.75, weighting: 'uniform' as const }]) {
      for (const mirror of [false, true]) {
        const { network, seen } = spyNetwork();
        const options: SegmentOptions = { ...protocol, mirror, patchSizeVoxels: patch, tasks: [2, 1] };
        const [plain, negative] = await finish(segmentVolume(network, image, size, options));
        const windows = planWindows(size, patch, options).reduce((product, begins) => product * begins.length, 1);
        const name = `${size}, ${protocol.protocol}, mirror ${mirror}`;
        if (!equalBytes(masked(plain!), signs(image))) t.fail(`${name}: task 2`);
        if (!equalBytes(masked(negative!), signs(image, -1))) t.fail(`${name}: task 1`);
        t.equal(seen.length, windows * (mirror ? 8 : 1), `${name}: one pass of the trunk per window for both tasks`);
      }
    }
  }
});

test('a volume smaller than the patch stands in the middle of zeros', async (t) => {
  const [size, patch]: [Triple, Triple] = [
    [5, 4, 3],
    [8, 4, 6],
  ];
  const image = noise(size, 2);
  const { network, seen } = spyNetwork();
  await finish(segmentVolume(network, image, size, { ...standard, mirror: true, patchSizeVoxels: patch, tasks: [0] }));
  const padded = new Float32Array(8 * 4 * 6);
  // of 3 missing voxels 1 goes before and 2 behind
  for (let z = 0; z < 3; z++)
    for (let y = 0; y < 4; y++)
      for (let x = 0; x < 5; x++) padded[x + 1 + 8 * (y + 4 * (z + 1))] = image[x + 5 * (y + 4 * z)]!;
  t.same(seen[0], padded);
  const mirrored = new Set(seen.map((window) => window.join()));
  t.equal(mirrored.size, 8, 'eight different mirror images');
  for (let bits = 0; bits < 8; bits++) {
    const flips = [1, 2, 4].map((bit) => (bits & bit) !== 0) as unknown as readonly [boolean, boolean, boolean];
    t.ok(mirrored.has(host().reorient(padded, patch, [0, 1, 2], flips).join()), `mirrored along ${flips}`);
  }
});

test('probabilities are averaged by weight over the windows', async (t) => {
  const [size, patch]: [Triple, Triple] = [
    [9, 7, 11],
    [6, 4, 4],
  ];
  for (const protocol of [standard, paper]) {
    const options: SegmentOptions = { ...protocol, mirror: false, patchSizeVoxels: patch, tasks: [0] };
    const logitOf = (pass: number) => Math.sin(7 * pass + 1);
    const { network } = spyNetwork((image, _, pass) => tf.fill(image.shape, logitOf(pass)));
    const [found] = await finish(segmentVolume(network, noise(size, 3), size, options));
    const weights = windowWeights(patch, options);
    const [sums, totals] = [new Float64Array(9 * 7 * 11), new Float64Array(9 * 7 * 11)];
    const [beginsX, beginsY, beginsZ] = planWindows(size, patch, options);
    let pass = 0;
    for (const z0 of beginsZ)
      for (const y0 of beginsY)
        for (const x0 of beginsX) {
          const probability = 1 / (1 + Math.exp(-logitOf(pass++)));
          for (const [i, weight] of weights.entries()) {
            const [x, y, z] = [x0 + (i % 6), y0 + (Math.floor(i / 6) % 4), z0 + Math.floor(i / 24)];
            const voxel = x + 9 * (y + 7 * z);
            sums[voxel]! += weight * probability;
            totals[voxel]! += weight;
          }
        }
    t.ok(
      totals.every((total) => total > 0),
      'every voxel is covered',
    );
    const worst = found!.reduce(
      (most, value, i) => Math.max(most, Math.abs((value + 0.5) / 256 - sums[i]! / totals[i]!)),
      0,
    );
    t.ok(worst <= 0.75 / 256, `${protocol.protocol}: off by ${worst * 256} steps of 1/256`);
  }
});

test('progress counts every window; leaving early gives the memory back', async (t) => {
  const size: Triple = [12, 12, 12];
  const options: SegmentOptions = { ...standard, mirror: false, patchSizeVoxels: [8, 8, 8], tasks: [0] };
  const events: SegmentProgress[] = [];
  for await (const event of segmentVolume(spyNetwork().network, noise(size, 4), size, options)) events.push(event);
  t.same(
    events.map(({ window }) => window),
    [1, 2, 3, 4, 5, 6, 7, 8],
  );
  t.ok(events.every(({ windows }) => windows === 8));
  t.equal(events.at(-1)!.slices, 12);
  t.ok(events.every(({ slices }, i) => i === 0 || slices >= events[i - 1]!.slices));
  for await (const { window } of segmentVolume(spyNetwork().network, noise(size, 4), size, options)) {
    t.ok(host().memory().blocks > 0, 'the slab is held while it goes on');
    if (window === 3) break;
  }
  t.equal(host().memory().blocks, 0);
  const failing = spyNetwork(() => {
    throw new Error('no memory');
  });
  await t.rejects(finish(segmentVolume(failing.network, noise(size, 4), size, options)), { message: 'no memory' });
});

test('masks come back in the geometry in which the image was stored', async (t) => {
  // x of the file runs to the feet, y to the right, z to the back; anisotropic, a little oblique, odd sizes
  const affine: Affine = [0.05, 1.2, 0.1, -10, 0.04, 0.06, -0.9, 20, -2, 0.05, 0.02, 40, 0, 0, 0, 1];
  const sizeVoxels: Triple = [17, 23, 29];
  const spacingMm = columnNorms(affine);
  const normal = [0.48, 0.64, 0.6];
  const middle = applyAffine(affine, [8, 11, 14]);
  // distance in mm from a slanted plane through the volume
  const distance = Float32Array.from({ length: 17 * 23 * 29 }, (_, i) => {
    const at = applyAffine(affine, [i % 17, Math.floor(i / 17) % 23, Math.floor(i / (17 * 23))]);
    return at.reduce((sum, value, axis) => sum + normal[axis]! * (value - middle[axis]!), 0);
  });
  const stored: Volume<Float32Array> = { data: distance, sizeVoxels, spacingMm, affine };
  const image = toCanonical(stored);
  t.not(image.sizeVoxels.join(), sizeVoxels.join(), 'axes are permuted');
  for (const [spacing, tolerance] of [
    [image.spacingMm, 0],
    [[1.5, 1.3, 1.1], 0.3],
    [[0.8, 2, 2.6], 0.3],
  ] as const) {
    // so soft that the probability is nearly linear in the distance, as is the interpolation on the way back
    const { network } = spyNetwork((seen) => tf.mul(seen, 0.3));
    const model = { network, plan: plan({ spacingMm: spacing }) };
    const [made] = await predictVolume(model, image);
    const mask = { ...made!.mask, data: made!.mask.data };
    t.same(mask.sizeVoxels, sizeVoxels);
    t.same(mask.affine, affine);
    t.same(mask.spacingMm, spacingMm);
    // at the border of the volume the plane bends a little, since nothing is known beyond
    const inner = (i: number) =>
      [i % 17, Math.floor(i / 17) % 23, Math.floor(i / (17 * 23))].every(
        (at, axis) => tolerance === 0 || (at > 2 && at < sizeVoxels[axis]! - 3),
      );
    const wrong = mask.data.filter(
      (value, i) => Math.abs(distance[i]!) > tolerance && inner(i) && (value === 1) !== distance[i]! > 0,
    );
    t.equal(wrong.length, 0, `spacing ${spacing}: ${wrong.length} voxels on the wrong side of the plane`);
    t.ok(mask.data.every((value) => value <= 1));
  }
});

t.test(
  'predictVolume: tasks that share a preprocessing share a pass; counts and volumes; largest component',
  async (t) => {
    const model = { network: spyNetwork().network, plan: plan({}, { a: [[1], [2]], b: [[1]] }) };
    const data = new Float32Array(20 * 18 * 17).fill(-1);
    data.set([1, 1, 1], 5);
    data[4000] = 1;
    const affine: Affine = [2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1.5, 0, 0, 0, 0, 1];
    const image: Volume<Float32Array> = { data, sizeVoxels: [20, 18, 17], spacingMm: [2, 1, 1.5], affine };
    for (const dataset of model.plan.datasets) dataset.preprocessing.spacingMm = [2, 1, 1.5];
    const passes = new Set<number>();
    const together = await predictVolume(model, image, {
      onProgress({ pass, tasks }) {
        passes.add(pass);
        t.same(tasks, ['a-0', 'a-1', 'b-0']);
      },
    });
    t.equal(passes.size, 1);
    t.same(
      together.map(({ task, foregroundVoxels }) => [task, foregroundVoxels]),
      [
        ['a-0', 4],
        ['a-1', 20 * 18 * 17 - 4],
        ['b-0', 4],
      ],
    );
    t.equal(together[0]!.volumeMl, (4 * 3) / 1000);
    const largest = await predictVolume(model, image, { tasks: ['a-0'], largestComponent: true });
    t.same(
      largest.map(({ foregroundVoxels }) => foregroundVoxels),
      [3],
    );

    model.plan.datasets[1]!.preprocessing.normalization = 'zscore';
    const groups = groupTasks(model, [0, 1, 2]);
    t.same(
      groups.map(({ dataset, tasks }) => [dataset, tasks]),
      [
        ['a', [0, 1]],
        ['b', [2]],
      ],
    );
    const predictions = await predictVolume(model, image);
    t.same(
      predictions.map(({ task }) => task),
      ['a-0', 'a-1', 'b-0'],
    );
  },
);

test('of the tasks of a dataset the largest component of all of them comes first', async (t) => {
  const sizeVoxels: Triple = [20, 10, 3];
  // Bit i of a voxel: task i. An organ of both tasks of a, x 0 to 9; a spot of a-0 that is larger than the organ's part of a-0.
  const data = new Float32Array(600);
  const paint = (bit: number, [x0, x1]: [number, number], [y0, y1]: [number, number]) => {
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) data[y * 20 + x]! += bit;
  };
  paint(1, [0, 4], [0, 2]);
  paint(2, [4, 8], [0, 3]);
  paint(1, [14, 19], [6, 8]);
  paint(4, [14, 20], [5, 9]);
  paint(4, [0, 2], [0, 2]);
  paint(2, [10, 11], [9, 10]);
  const bits: number[] = [];
  const answer = (image: tf.Tensor4D, task: number) => {
    bits.push(task);
    return tf.sub<tf.Tensor4D>(tf.mod(tf.floor(tf.div(image, 2 ** task)), 2), 0.5);
  };
  const model = { network: spyNetwork(answer).network, plan: plan({}, { a: [[1], [2]], b: [[1]] }) };
  const image = {
    data,
    sizeVoxels,
    spacingMm: [1, 1, 1] as Triple,
    affine: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] as const,
  };
  const counts = async (options: PredictOptions) =>
    (await predictVolume(model, image, options)).map(({ task, foregroundVoxels }) => [task, foregroundVoxels]);
  t.same(await counts({}), [
    ['a-0', 18],
    ['a-1', 13],
    ['b-0', 28],
  ]);
  t.same(await counts({ largestComponent: true }), [
    ['a-0', 10],
    ['a-1', 12],
    ['b-0', 24],
  ]);
  const together = { largestComponent: true, largestComponentOf: 'dataset' } as const;
  t.same(
    await counts(together),
    [
      ['a-0', 8],
      ['a-1', 12],
      ['b-0', 24],
    ],
    'b is another organ',
  );
  bits.length = 0;
  const seen: PredictProgress[] = [];
  t.same(await counts({ ...together, tasks: ['a-0'], onProgress: (step) => seen.push(step) }), [['a-0', 8]]);
  t.same([...new Set(bits)], [0, 1], 'whatever else was asked for');
  t.ok(seen.every(({ tasks, masks }) => tasks.join() === 'a-0' && masks.length === 1));
  t.same(await counts({ ...together, tasks: ['any-foreground'] }), [['any-foreground', 0]]);
  t.same(await counts({ largestComponentOf: 'dataset', tasks: ['a-0'] }), [['a-0', 18]], 'no component is looked for');
});

test('computed in parts, from a scan as it is stored: the same masks, bit for bit', async (t) => {
  // stored with x to the feet; 16-bit integers with a slope
  const affine: Affine = [0, 0, -1.2, 3, -0.8, 0, 0, 9, 0, 1.5, 0, 2, 0, 0, 0, 1];
  const sizeVoxels: Triple = [41, 33, 27];
  const data = Int16Array.from(noise(sizeVoxels, 6), (value) => Math.round(100 * value));
  const volume = { data, sizeVoxels, spacingMm: columnNorms(affine), affine };
  const scan = scanOf(volume, { slope: 0.02, intercept: 0.3 });
  const floats = { ...volume, data: host().toFloat32(data, 0.02, 0.3) };
  for (const preprocessing of [
    { spacingMm: [...scan.spacingMm] },
    { spacingMm: [1.7, 1.1, 2], normalization: 'zscore', window: [-1, 1.5] },
    { spacingMm: [0.9, 0.7, 1], normalization: 'zscore-nonzero' },
  ]) {
    const answer = (image: tf.Tensor4D, task: number) => tf.sin(tf.mul<tf.Tensor4D>(image, task + 2));
    const model = { network: spyNetwork(answer).network, plan: plan(preprocessing, { a: [[1], [2]] }) };
    const masksOf = async (image: Parameters<typeof predictVolume>[1], options: PredictOptions) =>
      (await predictVolume(model, image, options)).map(({ mask }) => Buffer.from(mask.data).toString('base64'));
    const whole = await masksOf(toCanonical(floats), {});
    t.ok(new Set(whole).size === 2, 'two different masks');
    for (const strips of [1, 2, 3, 4])
      t.same(await masksOf(scan, { strips }), whole, `${preprocessing.spacingMm}, ${strips} parts`);
    const progress: PredictProgress[] = [];
    await predictVolume(model, scan, { strips: 3, onProgress: (step) => progress.push(step) });
    t.same(
      progress.map(({ window }) => window),
      Array.from({ length: progress.at(-1)!.windows }, (_, i) => i + 1),
      'every window of every part is counted',
    );
  }
});

test('tasks by name, the synthetic one among them', async (t) => {
  const model = { network: spyNetwork().network, plan: plan({}, { a: [[1], [2]], b: [[1]] }) };
  model.plan.datasets[1]!.preprocessing.normalization = 'zscore';
  t.same(taskIndices(model), [0, 1, 2]);
  t.same(taskIndices(model, []), [0, 1, 2]);
  t.same(taskIndices(model, ['b-0', 'any-foreground']), [2, 3]);
  t.same(
    [0, 1, 2, 3].map((index) => taskName(model, index)),
    ['a-0', 'a-1', 'b-0', 'any-foreground'],
  );
  t.same(
    groupTasks(model, [3, 2]).map(({ dataset }) => dataset),
    ['b'],
    'it joins the first real task asked for',
  );
  t.same(
    groupTasks(model, [3]).map(({ dataset }) => dataset),
    ['a'],
  );
  t.throws(() => taskIndices(model, ['a-0', 'spleen']), {
    code: 'VERSEMI_MODEL_TASK_UNKNOWN',
    details: { found: 'spleen', expected: 'a-0, a-1, b-0, any-foreground' },
  });
});

test('evaluateCase: a binary image that is its own label has Dice 1 at the resolution of the source', async (t) => {
  const sizeVoxels: Triple = [21, 19, 18];
  const affine: Affine = [-0.9, 0, 0, 5, 0, 0.9, 0, -3, 0, 0, 1.4, 2, 0, 0, 0, 1];
  const inside = (i: number) => Math.hypot((i % 21) - 9, (Math.floor(i / 21) % 19) - 8, Math.floor(i / 399) - 10) < 6.5;
  const geometry = { sizeVoxels, spacingMm: [0.9, 0.9, 1.4] as Triple, affine };
  const count = 21 * 19 * 18;
  const image = toCanonical({
    ...geometry,
    data: Float32Array.from({ length: count }, (_, i) => (inside(i) ? 1 : -1)),
  });
  // two values of the label make up the task; a third does not
  const label = toCanonical({
    ...geometry,
    data: Uint8Array.from({ length: count }, (_, i) => (inside(i) ? 1 + (i & 1) : i % 7 === 0 ? 3 : 0)),
  });
  const model = { network: spyNetwork().network, plan: plan({ spacingMm: [0.9, 0.9, 1.4] }, { a: [[1, 2], [3]] }) };
  const evaluate = (options: InferenceOptions = {}) =>
    evaluateCase(model, { id: 'c', image, label }, 'a', [0], options);
  const [outcome] = await evaluate();
  t.match(outcome!.result, {
    id: 'c',
    dataset: 'a',
    task: 'a-0',
    dice: 1,
    jaccard: 1,
    hd95PooledMm: 0,
    asdMm: 0,
    surfaceDice: 1,
  });
  t.notOk('asdVoxels' in outcome!.result);
  t.ok(equalBytes(outcome!.prediction.data, outcome!.reference.data));
  const [inVoxels] = await evaluate({ protocol: 'versemi' });
  t.match(inVoxels!.result, { dice: 1, asdVoxels: 0, hd95PooledVoxels: 0 });
  const coarse = { network: model.network, plan: plan({ spacingMm: [1.7, 1.7, 1.7] }, { a: [[1, 2], [3]] }) };
  const [resampled] = await evaluateCase(coarse, { id: 'c', image, label }, 'a', [0], {});
  t.ok(resampled!.result.dice > 0.9 && resampled!.result.dice < 1, `coarser: Dice ${resampled!.result.dice}`);
  // Half of what is predicted has a label that the task does not have: false, unless voxels of that label do not count.
  const half = { ...label, data: label.data.map((value, i) => (value > 0 && value < 3 && i % 21 > 9 ? 4 : value)) };
  const [counted] = await evaluateCase(model, { id: 'c', image, label: half }, 'a', [0], {});
  const [left] = await evaluateCase(model, { id: 'c', image, label: half, ignoredLabel: 4 }, 'a', [0], {});
  t.ok(counted!.result.dice < 0.8, `counted: Dice ${counted!.result.dice}`);
  t.match(left!.result, { dice: 1, hd95PooledMm: 0 }, 'ignored');
});

test('validate: Dice by hand on the preprocessed grid', async (t) => {
  const model = { network: spyNetwork().network, plan: plan({}, { a: [[1], [2, 3]], b: [[1]], c: [[1]] }) };
  // a-0 (identity) predicts x < 4 and a-1 (its negative) x >= 4, of 8; b-0 (identity) predicts x < 2
  const cases = [
    // label 1 at x < 2: Dice 2*2/(4+2); label 3 at x = 7: Dice 2*1/(4+1)
    makeCase(
      'a',
      'first',
      [8, 8, 8],
      (x) => (x < 4 ? 1 : -1),
      (x) => (x < 2 ? 1 : x === 7 ? 3 : 0),
    ),
    // label 1 at x < 4: Dice 1; no label 2 or 3: Dice 0
    makeCase(
      'a',
      'second',
      [8, 8, 8],
      (x) => (x < 4 ? 1 : -1),
      (x) => (x < 4 ? 1 : 0),
    ),
    // nothing there and nothing found: Dice 1
    makeCase(
      'b',
      'empty',
      [8, 8, 8],
      () => -1,
      () => 0,
    ),
    makeCase('b', 'unlabelled', [8, 8, 8], () => 1),
  ];
  const { perTask, mean } = await validate(model, cases);
  const expected = [(4 / 6 + 1) / 2, (2 / 5 + 0) / 2, 1];
  const close = (a: number | null | undefined, b: number) => Math.abs(a! - b) < 1e-12;
  t.same(Object.keys(perTask), ['a-0', 'a-1', 'b-0', 'c-0']);
  t.ok(close(perTask['a-0'], expected[0]!), `${perTask['a-0']}`);
  t.ok(close(perTask['a-1'], expected[1]!), `${perTask['a-1']}`);
  t.equal(perTask['b-0'], 1);
  t.equal(perTask['c-0'], null, 'no case of the task');
  t.ok(close(mean, (expected[0]! + expected[1]! + 1) / 3));
  // Fractions count as foreground above a half, and unknown voxels not at all: label 1 has x < 2 in the first case and 255/510 of
  // x = 2; of the second case only x < 2 is known.
  const half = (value: number, i: number) => (i % 8 === 2 ? 256 + 255 * 65536 : value);
  const [first, second] = [{ ...cases[0]!, label: Float32Array.from(cases[0]!.label!, half) }, cases[1]!];
  const known = Float32Array.from(second.label!, (_, i) => (i % 8 < 2 ? 1 : 255 * 65536 + 256));
  const other = { ...second, label: Float32Array.from(second.label!, (_, i) => (i % 8 < 3 ? 1 : 0)), known };
  const fractions = await validate(model, [first, other]);
  t.ok(close(fractions.perTask['a-0'], (4 / 6 + 1) / 2), `fractions: ${fractions.perTask['a-0']}`);
  t.same(await validate(model, []), { perTask: { 'a-0': null, 'a-1': null, 'b-0': null, 'c-0': null }, mean: 0 });
});

test('errors of the network keep their code', async (t) => {
  const model = { network: spyNetwork().network, plan: plan() };
  const image: Volume<Float32Array> = {
    data: new Float32Array(8),
    sizeVoxels: [2, 2, 2],
    spacingMm: [1, 1, 1],
    affine: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
  };
  const failure = await predictVolume(model, image, { tasks: ['liver'] }).catch((error: unknown) => error);
  t.ok(isVersemiError(failure, 'MODEL_TASK_UNKNOWN'));
});
