/** The memory of the device `cuda` (emulated) under a limit: what it says when there is none left, and that it goes on. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import type { Plan } from '../../src/config/plan.js';
import { isVersemiError, type VersemiError } from '../../src/errors.js';
import { networkConfig } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { createSampler } from '../../src/sampling/sampler.js';
import type { Device } from '../../src/tfjs/devices/device.js';
import { selectDevice } from '../../src/tfjs/index.js';
import type { TrainingEvent } from '../../src/training/events.js';
import { createState, disposeState, runStep } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { train } from '../../src/training/train.js';
import { noEmulator } from './cuda-support.js';
import { shapes, tinyPlan } from './training-support.js';

const data = shapes(16);
const small = tinyPlan({ stage1Steps: 1, stage2Steps: 1 });
const large = tinyPlan(
  { stage1Steps: 1, stage2Steps: 1, labeledBatchSize: 6 },
  { patchSizeVoxels: [16, 16, 16], network: { baseWidth: 8, levels: 2, convolutions: [1, 1], headWidth: 2 } },
);
const mebibyte = 2 ** 20;

/** A device of its own with so much memory; 0: all that there is. */
async function limited(mebibytes: number): Promise<Device> {
  process.env.VERSEMI_CUDA_MEMORY_MIB = mebibytes === 0 ? '' : String(mebibytes);
  if (tf.engine().registryFactory['versemi-cuda'] !== undefined) tf.removeBackend('versemi-cuda');
  return (await selectDevice('cuda')).device;
}

/** Losses of the two steps of a plan. */
async function losses(plan: Plan): Promise<object[]> {
  const state = createState(new VersemiNetwork(networkConfig(plan), plan.seed), plan);
  try {
    const sampler = createSampler(plan, data);
    const first = await runStep(state, plan, hostStep(plan, sampler.batch(0)));
    const second = await runStep(state, plan, hostStep(plan, sampler.batch(1)));
    return [first.losses, second.losses];
  } finally {
    disposeState(state);
  }
}

t.test(
  'out of memory is an error with numbers and a remedy, and the device goes on',
  { skip: noEmulator },
  async (t) => {
    const unlimited = await limited(0);
    const expected = { small: await losses(small), large: await losses(large) };
    const { bytesPeak } = unlimited.memory();
    t.ok(bytesPeak > 4 * mebibyte, `${bytesPeak} bytes at the peak`);

    let refused = 0;
    const limits = [0.25, 0.4, 0.6, 0.8, 2].map((share) => (share * bytesPeak) / mebibyte);
    for (const limit of limits) {
      const device = await limited(limit);
      const tensors = tf.memory().numTensors;
      try {
        t.same(await losses(large), expected.large, `${limit} MiB suffice, and the losses are the same`);
        t.ok(limit * mebibyte > bytesPeak / 2);
      } catch (error) {
        t.ok(isVersemiError(error, 'DEVICE_OUT_OF_MEMORY'), String(error));
        const { message, exitCode } = error as VersemiError;
        t.equal(exitCode, 6);
        const numbers =
          /a request for ([\d.]+) MiB more, with ([\d.]+) of (\d+) MiB free: ([\d.]+) MiB are in use by (\d+) tensors, ([\d.]+) MiB scratch/.exec(
            message,
          );
        t.ok(numbers, message);
        const [asked, free, all, used, count, scratch] = numbers!.slice(1).map(Number) as [
          number,
          number,
          number,
          number,
          number,
          number,
        ];
        t.ok(asked > 0 && asked <= limit && count > 10, message);
        t.ok(Math.abs(all - limit) <= 0.5, 'the limit');
        t.ok(
          Math.abs(used + scratch + free - limit) <= 0.2,
          `what is in use and what is free make up the whole: ${message}`,
        );
        for (const setting of ['recomputedLevels', 'labeledBatchSize', 'unlabeledBatchSize', 'patchSizeVoxels'])
          t.match(message, setting);
        refused++;
      }
      t.equal(tf.memory().numTensors, tensors, 'no tensor left');
      t.match(device.memory(), { buffers: 0, bytesInUse: 0 }, 'no memory left');
      t.same(await losses(small), expected.small, 'a smaller step still works');
    }
    t.ok(refused >= 3 && refused < limits.length, `${refused} of ${limits.length} limits were too small`);
  },
);

t.test('a run out of memory ends with that error, and its folder stays', { skip: noEmulator }, async (t) => {
  const device = await limited(1);
  const tensors = tf.memory().numTensors;
  const events: TrainingEvent[] = [];
  const run = async () => {
    for await (const event of train(large, { runFolder: t.testdir(), device: 'current', data })) events.push(event);
  };
  await t.rejects(run(), { code: 'VERSEMI_DEVICE_OUT_OF_MEMORY' });
  t.equal(tf.memory().numTensors, tensors);
  t.equal(device.memory().buffers, 0);
});

t.test('steps tell the peak of the memory', { skip: noEmulator }, async (t) => {
  const device = await limited(0);
  const peaks: number[] = [];
  const validate = async () => ({ perTask: {} });
  for await (const event of train(small, { runFolder: t.testdir(), device: 'current', data, validate }))
    if (event.type === 'step') peaks.push(event.bytesPeak!);
  t.equal(peaks.length, 2);
  t.ok(peaks[0]! > 0 && peaks[1]! >= peaks[0]!);
  t.ok(peaks[1]! <= device.memory().bytesPeak);
  device.trim();
  t.equal(device.memory().bytesPeak, device.memory().bytesInUse, 'trim counts anew');
});
