/** Patches and mixes made on the device from tables are bitwise those that the host makes. */
import * as tf from '@tensorflow/tfjs-core';
import t, { type Test } from 'tap';
import type { Plan } from '../../src/config/plan.js';
import type { SamplingData } from '../../src/sampling/rows.js';
import { createSampler } from '../../src/sampling/sampler.js';
import { hostOnlyDatasets } from '../../src/sampling/volume-tables.js';
import { registerVersemiBackends, selectDevice } from '../../src/tfjs/index.js';
import { DeviceVolumes } from '../../src/training/device-volumes.js';
import type { TrainingEvent } from '../../src/training/events.js';
import { StepInputs, stepValues } from '../../src/training/inputs.js';
import { hostStep } from '../../src/training/step-data.js';
import { stepSource } from '../../src/training/step-source.js';
import { train } from '../../src/training/train.js';
import { inFractions, makeCase, makePlan, withUnknown } from '../unit/sampling-support.js';
import { noEmulator } from './cuda-support.js';

/** Volumes smaller and larger than the patch, with several labels. */
function world() {
  const one = (dataset: string, id: string, size: [number, number, number], labeled: boolean) => {
    const seed = id.charCodeAt(id.length - 1) + dataset.length;
    const image = (x: number, y: number, z: number) => Math.fround(Math.sin(seed + 1.3 * x + 2.7 * y + 0.9 * z));
    const label = (x: number, y: number, z: number) => (x + 2 * y + 3 * z + seed) % 4;
    return makeCase(dataset, id, size, image, labeled ? label : undefined);
  };
  return {
    labeled: [
      one('a', 'a1', [9, 12, 7], true),
      one('a', 'a2', [5, 5, 4], true),
      one('b', 'b1', [11, 6, 9], true),
      one('b', 'b2', [8, 8, 8], true),
    ],
    unlabeled: [one('a', 'a3', [10, 9, 8], false), one('b', 'b3', [4, 13, 5], false)],
  };
}

type Tasks = Readonly<Record<string, readonly number[][]>>;
const bothDatasets: Tasks = { a: [[1], [2, 3]], b: [[1, 2]] };

function settings(
  unlabeledMix: string,
  augmentation: object,
  training: object = {},
  tasks = bothDatasets,
  teacher = 0,
): Plan {
  return makePlan(tasks, 'rotation90' in augmentation ? [6, 6, 4] : [8, 6, 4], {
    network: { levels: 2, baseWidth: 2, headWidth: 2, convolutions: [1, 1] },
    training: { stage1Steps: 4, stage2Steps: 4, labeledBatchSize: 6, unlabeledBatchSize: 4, workers: 0, ...training },
    losses: { auxiliaryInStage2: true, teacher },
    cutmix: { unlabeledMix },
    augmentation,
  });
}

const turns = { flip: [true, true, true], rotation90: true };

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Every tensor of all steps of a plan, from the host's voxels and from the device's. */
async function compare(t: Test, plan: Plan, data: SamplingData = world()) {
  const { stage1Steps, stage2Steps } = plan.training;
  const steps = stage1Steps + stage2Steps;
  const sampler = createSampler(plan, data);
  const volumes = new DeviceVolumes(plan, data);
  const [onHost, onDevice] = [new StepInputs(), new StepInputs()];
  let compared = 0;
  for (let step = 0; step < steps; step++) {
    const expected = stepValues(plan, hostStep(plan, sampler.batch(step)));
    const tables = await volumes.data(step);
    await onHost.load(expected);
    await onDevice.load(stepValues(plan, tables));
    const found: [string, Float32Array][] = tf.tidy(() => {
      const inputs = tables.tensors(onDevice);
      return [...expected].map(([name, { shape }]) => {
        const tensor = inputs.get(name);
        if (String(tensor.shape) !== String(shape)) t.fail(`${name}: shape ${tensor.shape}`);
        return [name, tensor.dataSync() as Float32Array];
      });
    });
    for (const [name, values] of found) {
      const wanted = expected.get(name)!.values;
      if (!bytesOf(values).equals(bytesOf(wanted))) t.fail(`step ${step}, ${name}: other bits`);
      compared++;
    }
  }
  onHost.dispose();
  onDevice.dispose();
  await volumes.close();
  return compared;
}

async function check(t: Test) {
  const before = tf.memory().numTensors;
  for (const unlabeledMix of ['labeled-inside', 'unlabeled-pairs'])
    for (const augmentation of [{}, turns, { foregroundFraction: 0.5, unlabeledCrop: 'center' }]) {
      const compared = await compare(t, settings(unlabeledMix, augmentation));
      t.ok(compared > 50, `${unlabeledMix}, ${JSON.stringify(augmentation)}: ${compared} tensors are equal`);
    }
  for (const unlabeledMix of ['labeled-inside', 'unlabeled-pairs'])
    for (const promptsPerImage of ['one', 'all'])
      t.ok(
        (await compare(t, settings(unlabeledMix, turns, { promptsPerImage }, bothDatasets, 1))) > 50,
        `${unlabeledMix}, with a teacher, ${promptsPerImage}`,
      );
  t.ok((await compare(t, settings('labeled-inside', turns, { mode: 'supervised' }))) > 8, 'supervised');
  // Fractions and unknown voxels, in all cases of one dataset or in some of both.
  const some = world();
  const pairs = { ...some, labeled: some.labeled.map(inFractions) };
  const unknown = { ...some, labeled: some.labeled.map((one) => (one.dataset === 'a' ? withUnknown(one) : one)) };
  const all = { ...pairs, labeled: pairs.labeled.map((one, i) => (i < 3 ? withUnknown(one) : some.labeled[i]!)) };
  for (const [name, data, promptsPerImage] of [
    ['pairs', pairs, 'one'],
    ['unknown', unknown, 'one'],
    ['all', all, 'all'],
  ] as const)
    t.ok((await compare(t, settings('labeled-inside', turns, { promptsPerImage }), data)) > 50, name);
  // Mixes within one dataset: each target covers the whole mix.
  const { labeled, unlabeled } = world();
  const ofA = { labeled: labeled.slice(0, 2), unlabeled: unlabeled.slice(0, 1) };
  const alone = settings('labeled-inside', turns, { promptsPerImage: 'all' }, { a: [[1], [2, 3]] });
  t.ok((await compare(t, alone, ofA)) > 50, 'one dataset');
  t.equal(tf.memory().numTensors, before, 'no tensor left');
}

await registerVersemiBackends();
t.test('TF.js cpu', async (t) => {
  await tf.setBackend('cpu');
  await check(t);
});
for (const { backend, device, available, why } of await registerVersemiBackends())
  if (device !== 'cuda')
    t.test(backend, { skip: available ? false : why }, async (t) => {
      await selectDevice(device);
      await check(t);
    });
t.test('versemi-cuda, emulated', { skip: noEmulator }, async (t) => {
  await selectDevice('cuda');
  await check(t);
});

t.test('training says where patches are cut, and the losses are the same', { skip: noEmulator }, async (t) => {
  const { device } = await selectDevice('cuda');
  const data = { ...world(), validation: [], sources: [] };
  const run = async (plan: Plan) => {
    const events: TrainingEvent[] = [];
    for await (const event of train(plan, { runFolder: t.testdir(), device: 'current', data })) events.push(event);
    return {
      logs: events.flatMap((event) => (event.type === 'log' ? [event.message] : [])),
      losses: events.flatMap((event) => (event.type === 'step' ? [event.losses] : [])),
    };
  };
  const { buffers } = device.memory();
  const long = { stage1Steps: 5, stage2Steps: 5 };
  const onDevice = await run(settings('labeled-inside', turns, long));
  t.same(onDevice.logs, ['The volumes lie on the device (1 MiB): patches are cut and mixed there.']);
  t.equal(device.memory().buffers, buffers, 'no buffer left');
  const never = await run(settings('labeled-inside', turns, { ...long, deviceVolumesMiB: 0 }));
  t.same(never.logs, []);
  t.same(onDevice.losses, never.losses, 'the same losses, recorded steps included');
  const noisy = await run(settings('labeled-inside', { noise: 0.1, gamma: [0.9, 1.1] }));
  t.same(noisy.logs, [
    'Patches are cut on the host: only it augments as the plan says (a: gamma, noise; b: gamma, noise).',
  ]);
});

t.test('volumes that do not fit stay on the host', { skip: noEmulator }, async (t) => {
  const { labeled, unlabeled } = world();
  const large = makeCase(
    'a',
    'large',
    [80, 80, 60],
    () => 0.5,
    () => 1,
  );
  const data = { labeled: [...labeled, large], unlabeled };
  const noticeOf = async (plan: Plan) => {
    const source = stepSource(plan, data);
    t.ok((await source.data(0)).prompts.labeled.length > 0);
    await source.close();
    return source.notice;
  };
  await selectDevice('cuda');
  t.match(await noticeOf(settings('labeled-inside', {})), /lie on the device \(3 MiB\)/);
  t.match(
    await noticeOf(settings('labeled-inside', {}, { deviceVolumesMiB: 2 })),
    /cut on the host: the volumes take 3 MiB, more than training.deviceVolumesMiB/,
  );
  tf.removeBackend('versemi-cuda');
  process.env.VERSEMI_CUDA_MEMORY_MIB = '2';
  const { device } = await selectDevice('cuda');
  t.match(await noticeOf(settings('labeled-inside', {})), /do not fit the memory of the device/);
  t.match(device.memory(), { buffers: 0, bytesInUse: 0 }, 'nothing is left');
});

t.test('an augmentation that only the host does is refused', async (t) => {
  await tf.setBackend('cpu');
  for (const augmentation of [{ noise: 0.1 }, { rotationDegrees: [0, 0, 30] }]) {
    const volumes = new DeviceVolumes(settings('labeled-inside', augmentation), world());
    await t.rejects(volumes.data(0), { code: 'VERSEMI_INTERNAL', details: { field: 'augmentation' } });
    await volumes.close();
  }
});

t.test('which datasets only the host can augment', async (t) => {
  t.same(hostOnlyDatasets(settings('labeled-inside', turns)), []);
  const all = { rotationDegrees: [0, 0, 5], magnification: [0.9, 1], intensityScale: 0.1, intensityShift: 1 };
  const reasons = 'rotationDegrees, magnification, intensityScale, intensityShift';
  t.same(hostOnlyDatasets(settings('labeled-inside', all)), [`a: ${reasons}`, `b: ${reasons}`]);
});
