// Several models as one: the mean of their probabilities, computed side by side, and what cannot be averaged.
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import type { Plan } from '../../src/config/plan.js';
import { isVersemiError } from '../../src/errors.js';
import { ensembleOf } from '../../src/inference/ensemble.js';
import { evaluateCase, validate } from '../../src/inference/evaluate.js';
import { type ScanToFit, taskFits } from '../../src/inference/fit.js';
import { estimateMemory } from '../../src/inference/memory.js';
import { finish, predictVolume, predictWindows } from '../../src/inference/predict.js';
import { segmentVolume } from '../../src/inference/segment.js';
import { inferenceSettings, type Segmenter } from '../../src/inference/segmenter.js';
import { boxSize, inverseMapping, isIdentity } from '../../src/preprocessing/grid.js';
import { prepareScan } from '../../src/preprocessing/preprocess-case.js';
import { asScan } from '../../src/scans/scan.js';
import type { Triple, Volume } from '../../src/volume/volume.js';
import { type Answer, noise, plan, spyNetwork, test } from './inference-support.js';
import { makeCase } from './sampling-support.js';

await tf.setBackend('cpu');

/** Logits of which the probabilities lie on both sides of one half, and anywhere between 0 and 1. */
const soft =
  (factor: number, shift: number): Answer =>
  (image, task) =>
    tf.add(tf.mul(image, task % 2 === 0 ? factor : -factor), shift);

const smooth = (image: Float32Array): Float32Array =>
  image.map((_, i) => (image[i]! + (image[i + 1] ?? 0) + (image[i + 5] ?? 0)) / 3);

function volume(size: Triple, spacingMm: Triple = [1, 1, 1]): Volume<Float32Array> {
  const [x, y, z] = spacingMm;
  const affine = [x, 0, 0, -3, 0, y, 0, 5, 0, 0, z, 7, 0, 0, 0, 1] as const;
  return { data: smooth(noise(size, 5)), sizeVoxels: size, spacingMm, affine: [...affine] as never };
}

/** A model that answers as it is told, at a spacing and with a patch. */
function member(answer: Answer, preprocessing: object = {}, change: (plan: Plan) => void = () => {}): Segmenter {
  const made = plan(preprocessing, { a: [[1], [2]] });
  change(made);
  return { network: Object.assign(spyNetwork(answer).network, { parameterCount: 1000 }), plan: made };
}

/** Probabilities of the tasks on the voxels of the scan in steps of 1/256, by a model alone, interpolated here. */
async function byHand(model: Segmenter, scan: Volume<Float32Array>, tasks: readonly number[]): Promise<Float64Array[]> {
  const { grid, slices } = prepareScan(asScan(scan), model.plan.datasets[0]!.preprocessing);
  const [sizeX, sizeY, sizeZ] = grid.sizeVoxels;
  const image = new Float32Array(sizeX * sizeY * sizeZ);
  slices.read(image, 0, sizeZ);
  slices.dispose();
  const { patchSizeVoxels } = model.plan;
  const options = { ...inferenceSettings(model), patchSizeVoxels, tasks };
  const bytes = await finish(segmentVolume(model.network, image, grid.sizeVoxels, options));
  const map = isIdentity(grid) ? { scale: [1, 1, 1], offset: [0, 0, 0] } : inverseMapping(grid);
  const size = boxSize(grid.crop);
  const along = (axis: number, voxel: number): [number, number] => {
    const position = Math.min(Math.max(voxel * map.scale[axis]! + map.offset[axis]!, 0), grid.sizeVoxels[axis]! - 1);
    return [Math.floor(position), position - Math.floor(position)];
  };
  return bytes.map((own) => {
    const at = (x: number, y: number, z: number) =>
      own[Math.min(x, sizeX - 1) + sizeX * (Math.min(y, sizeY - 1) + sizeY * Math.min(z, sizeZ - 1))]!;
    const mix = (a: number, b: number, weight: number) => a + (b - a) * weight;
    const result = new Float64Array(size[0] * size[1] * size[2]);
    let i = 0;
    for (let z = 0; z < size[2]; z++)
      for (let y = 0; y < size[1]; y++)
        for (let x = 0; x < size[0]; x++) {
          const [[x0, wx], [y0, wy], [z0, wz]] = [along(0, x), along(1, y), along(2, z)];
          const row = (yy: number, zz: number) => mix(at(x0, yy, zz), at(x0 + 1, yy, zz), wx);
          const plane = (zz: number) => mix(row(y0, zz), row(y0 + 1, zz), wy);
          result[i++] = mix(plane(z0), plane(z0 + 1), wz);
        }
    return result;
  });
}

const masksOf = async (model: Segmenter, scan: Volume<Float32Array>, options = {}) =>
  (await predictVolume(model, scan, options)).map(({ mask }) => mask.data);

test('the mask is where the mean of the probabilities is above one half, bit for bit', async (t) => {
  const scan = volume([21, 18, 33]);
  const models = [member(soft(2, -0.3)), member(soft(-1.5, 0.4)), member(soft(0.7, 0.1))];
  for (const count of [2, 3]) {
    const some = models.slice(0, count);
    const each = await Promise.all(some.map((model) => byHand(model, scan, [0, 1])));
    const masks = await masksOf(ensembleOf(some), scan);
    for (const task of [0, 1]) {
      const mean = each[0]![task]!.map((_, i) => each.reduce((sum, own) => sum + own[task]![i]!, 0) / count);
      const expected = Uint8Array.from(mean, (value) => (value > 127.5 ? 1 : 0));
      t.equal(Buffer.compare(masks[task]!, expected), 0, `${count} models, task ${task}`);
      const alone = await masksOf(some[0]!, scan);
      t.not(Buffer.compare(masks[task]!, alone[task]!), 0, 'not what the first says alone');
    }
  }
});

test('models of other spacings, patches and orders of tasks meet on the voxels of the scan, whatever the parts', async (t) => {
  const scan = volume([40, 35, 30], [1, 1, 1.5]);
  const coarse = member(soft(2.5, -0.2), { spacingMm: [1.7, 1.7, 1.5] });
  const fine = member(soft(-1.5, 0.3), { spacingMm: [1, 0.8, 1] }, (made) => {
    Object.assign(made, { patchSizeVoxels: [24, 16, 8] });
    made.inference.overlap = 0.25;
  });
  const turned = member(soft(1.2, 0.2), {}, (made) => void made.tasks.reverse());
  const models = [coarse, fine, turned];
  const each = [
    await byHand(coarse, scan, [0, 1]),
    await byHand(fine, scan, [0, 1]),
    await byHand(turned, scan, [1, 0]),
  ];
  const masks = await masksOf(ensembleOf(models), scan);
  for (const task of [0, 1]) {
    const mean = each[0]![task]!.map((_, i) => each.reduce((sum, own) => sum + own[task]![i]!, 0) / 3);
    // Interpolated in float32 there and in float64 here: where the mean is one half but for rounding, both are right.
    const clear = Array.from(mean.keys()).filter((i) => Math.abs(mean[i]! - 127.5) > 1e-3);
    t.ok(clear.length > 0.998 * mean.length, `${mean.length - clear.length} voxels at one half`);
    const wrong = clear.filter((i) => masks[task]![i] !== (mean[i]! > 127.5 ? 1 : 0));
    t.equal(wrong.length, 0, `task ${task}`);
  }
  for (const strips of [2, 3])
    t.same(await masksOf(ensembleOf(models), scan, { strips }), masks, `${strips} parts, bit for bit`);
  t.same(
    await masksOf(ensembleOf(models), scan, { tasks: [turned.plan.tasks[0]!.name] }),
    [masks[1]],
    'one task by name',
  );
});

test('one model twice, three and five times is that model', async (t) => {
  const scan = volume([30, 21, 26], [1, 1.2, 2]);
  const model = member(soft(3, -0.1), { spacingMm: [1.3, 1.3, 1.3] });
  const alone = await masksOf(model, scan);
  for (const times of [1, 2, 3, 5])
    t.same(await masksOf(ensembleOf(Array.from({ length: times }, () => model)), scan), alone, `${times} times`);
});

test('the largest component is taken of the mean', async (t) => {
  const size: Triple = [20, 16, 16];
  const scan = { ...volume(size), data: new Float32Array(20 * 16 * 16).fill(-1) };
  const blob = (from: number, to: number) => {
    for (let z = 4; z < 10; z++) for (let x = from; x < to; x++) scan.data[x + 20 * (8 + 16 * z)] = 1;
  };
  blob(2, 5);
  blob(9, 17);
  // The first finds both, the second none: together they are sure of nothing but what the third sees, which is both again.
  const found = member((image) => tf.mul(image, 8));
  const none = member((image) => tf.sub(tf.mul(image, 0), 1));
  const masks = await predictVolume(ensembleOf([found, none, found]), scan, { largestComponent: true });
  t.same(
    masks.map(({ foregroundVoxels }) => foregroundVoxels),
    [48, 48],
  );
  const both = await predictVolume(ensembleOf([found, none, found]), scan);
  t.same(
    both.map(({ foregroundVoxels }) => foregroundVoxels),
    [66, 66],
  );
});

test('every window of every model is told, and leaving early frees everything', async (t) => {
  const scan = volume([33, 20, 24]);
  const models = [member(soft(1, 0)), member(soft(2, 0), { spacingMm: [2, 2, 2] })];
  const windowsOf = async (model: Segmenter) => {
    let [windows, told] = [0, 0];
    await predictVolume(model, scan, {
      onProgress: (progress) => {
        windows = progress.windows;
        t.equal(progress.window, ++told);
      },
    });
    t.equal(told, windows);
    return windows;
  };
  const [first, second] = [await windowsOf(models[0]!), await windowsOf(models[1]!)];
  t.equal(await windowsOf(ensembleOf(models)), first + second);
  for await (const { window } of predictWindows(ensembleOf(models), scan)) if (window === 3) break;
});

test('an evaluation of several models compares the mask of their mean', async (t) => {
  const size: Triple = [18, 16, 20];
  const image = volume(size);
  const models = [member(soft(2, -0.3)), member(soft(-1.5, 0.4))];
  const [mask] = await masksOf(ensembleOf(models), image, { tasks: [models[0]!.plan.tasks[0]!.name] });
  const label = { ...image, data: mask! };
  const [outcome] = await evaluateCase(ensembleOf(models), { id: 'one', image, label }, 'a', [0]);
  t.equal(outcome!.result.dice, 1);
  const [alone] = await evaluateCase(models[0]!, { id: 'one', image, label }, 'a', [0]);
  t.ok(alone!.result.dice! < 1);
});

test('memory: windows of all models at once, activations of models of one size once', async (t) => {
  const facts = { geometry: asScan(volume([64, 64, 64])), bytesPerVoxel: 4 };
  const options = { processBytes: 0 };
  const of = (models: readonly Segmenter[]) => estimateMemory(ensembleOf(models), facts, [0, 1], options);
  const model = member(soft(1, 0));
  const alone = of([model]);
  t.same(alone, estimateMemory(model, facts, [0, 1], options));
  const twice = of([model, model]);
  t.equal(twice.windows, 2 * alone.windows);
  t.equal(twice.scan, alone.scan);
  t.equal(twice.masks, alone.masks);
  t.ok(twice.device < 1.1 * alone.device && twice.device > alone.device);
  const other = member(soft(1, 0), {}, (made) => Object.assign(made, { patchSizeVoxels: [16, 16, 8] }));
  t.ok(of([model, other]).device > 1.4 * alone.device);
  const most = twice.total - alone.windows / 2;
  const parts = estimateMemory(ensembleOf([model, model]), facts, [0, 1], { ...options, maxMemoryBytes: most });
  t.ok(parts.strips > 1 && parts.total <= most);
});

test('a scan is compared with the scans of every model', async (t) => {
  const scan: ScanToFit = { sizeVoxels: [10, 10, 10], spacingMm: [1, 1, 1], modality: 'MR' };
  const of = (modality: string) => {
    const model = member(soft(1, 0));
    for (const dataset of model.plan.datasets)
      Object.assign(dataset, {
        scans: {
          cases: 5,
          spacingMm: [
            [1, 1, 1],
            [1, 1, 1],
          ],
          extentMm: [
            [9, 9, 9],
            [12, 12, 12],
          ],
          modality,
        },
      });
    return model;
  };
  const misfits = (...models: Segmenter[]) =>
    taskFits(ensembleOf(models), scan).map((fit) => fit.misfits.map(({ field }) => field));
  t.same(misfits(of('MR'), of('MR')), [[], []]);
  t.same(misfits(of('MR'), of('CT')), [['modality'], ['modality']]);
});

test('what cannot be averaged is refused, with what differs', async (t) => {
  const model = member(soft(1, 0));
  const refused = (other: Segmenter, words: RegExp) => {
    try {
      ensembleOf([model, other]);
      t.fail('averaged');
    } catch (error) {
      t.ok(isVersemiError(error, 'MODEL_INVALID'));
      t.match(String(error), words);
    }
  };
  const changed = (change: (plan: Plan) => void) => member(soft(1, 0), {}, change);
  const [first, second] = model.plan.tasks.map(({ name }) => name) as [string, string];
  refused(
    changed((made) => void made.tasks.pop()),
    new RegExp(`tasks\\): expected ${first}, ${second}, as .*, found no ${second}`),
  );
  refused(
    changed((made) => {
      made.tasks[1]!.name = 'spleen';
    }),
    new RegExp(`found no ${second}; spleen besides`),
  );
  refused(
    changed((made) => {
      made.tasks[0]!.labels = [1, 3];
    }),
    new RegExp(`label values of ${first}.*expected 1, .*found 1,3`),
  );
  refused(
    changed((made) => {
      made.datasets[0]!.channel = 2;
    }),
    /channel of .*expected 0, .*found 2/,
  );
  refused(
    changed((made) => {
      made.datasets[0]!.preprocessing.crop = 'body';
    }),
    /crop.*expected none, .*found body/,
  );
  t.throws(() => ensembleOf([]), { code: 'VERSEMI_MODEL_INVALID' });
  await t.rejects(
    validate(ensembleOf([model, model]), [
      makeCase(
        'a',
        'one',
        [8, 8, 8],
        () => 1,
        () => 1,
      ),
    ]),
    { code: 'VERSEMI_MODEL_INVALID' },
  );
});
