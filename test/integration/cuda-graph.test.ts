/** Steps that are captured as a graph and replayed are bitwise the steps whose kernels are called one by one. */

import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { networkConfig } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { createSampler } from '../../src/sampling/sampler.js';
import type { Device, Precision, Recording } from '../../src/tfjs/devices/device.js';
import { selectDevice } from '../../src/tfjs/index.js';
import type { TrainingEvent } from '../../src/training/events.js';
import { createState, disposeState, runStep } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { train } from '../../src/training/train.js';
import { noEmulator } from './cuda-support.js';
import { shapes, tinyPlan } from './training-support.js';

const data = shapes(16);
const steps = 8;
// Large enough a patch that batches are brought ahead of their step.
const patchSizeVoxels = [16, 16, 8];
// The teacher's weights are brought into place within the step: a replay must do that too.
const plan = tinyPlan(
  { stage1Steps: steps / 2, stage2Steps: steps / 2, validateEverySteps: 0, promptsPerImage: 'all' },
  { patchSizeVoxels, losses: { teacher: 1, unsupervisedRampSteps: 3 } },
);

type Recorder = NonNullable<Device['record']>;

/** Replaces what the device does with work that is to be recorded; undefined: it cannot record. */
function recordBy(device: Device, record: Recorder | undefined): void {
  (device as { record?: Recorder | undefined }).record = record;
}

const sampler = createSampler(plan, data, { buffers: steps });
const stepData = Array.from({ length: steps }, (_, step) => hostStep(plan, sampler.batch(step)));

/**
 * Losses and norms of every step; parameters, moving statistics, moments and average at the end.
 * @param ahead whether batches are brought to the device while the step before computes
 */
async function run(device: Device, ahead: boolean, own = plan, ownData = stepData) {
  const network = new VersemiNetwork(networkConfig(own), own.seed);
  const state = createState(network, own);
  const losses: object[] = [];
  for (const [step, data] of ownData.entries()) {
    const next = ahead ? async () => ownData[step + 1] : undefined;
    const { losses: terms, gradientNorm } = await runStep(state, own, data, next);
    losses.push({ ...terms, gradientNorm });
  }
  const values = {
    ...Object.fromEntries(await network.values()),
    ...Object.fromEntries(await state.optimizer.state()),
  };
  const average = Object.fromEntries(await state.average.values());
  const notice = state.program.takeNotice();
  disposeState(state);
  await device.synchronize();
  return { losses, values, average, notice };
}

for (const precision of ['float32', 'bfloat16'] as const satisfies Precision[])
  t.test(`a captured step, ${precision}`, { skip: noEmulator }, async (t) => {
    const { device } = await selectDevice('cuda', { precision });
    const record = device.record!.bind(device);
    const before = device.memory().buffers;

    let replays = 0;
    let recordings = 0;
    recordBy(device, (work) => {
      const recording: Recording = record(work);
      recordings++;
      return {
        replay: () => {
          const done = recording.replay();
          if (done) replays++;
          return done;
        },
        dispose: () => recording.dispose(),
      };
    });
    const captured = await run(device, true);
    t.equal(recordings, 2, 'one recording per stage');
    t.equal(replays, steps - 4, 'every step is a replay after two of each stage that warm up');
    t.equal(captured.notice, undefined);
    t.equal(device.memory().buffers, before, 'no buffer left');

    recordBy(device, undefined);
    const plain = await run(device, false);
    t.same(captured.losses, plain.losses, 'the same losses and norms, bit by bit');
    t.same(captured.values, plain.values, 'the same parameters, statistics and moments');
    t.same(captured.average, plain.average, 'the same moving average');
    t.not(
      JSON.stringify(captured.losses[2]),
      JSON.stringify(captured.losses[3]),
      'a replay takes in the values of its own step',
    );
    recordBy(device, record);
  });

t.test('a step between whose halves the host looks for components', { skip: noEmulator }, async (t) => {
  const { device } = await selectDevice('cuda', { precision: 'float32' });
  const record = device.record!.bind(device);
  const before = device.memory().buffers;
  const own = tinyPlan(
    { stage1Steps: 0, stage2Steps: steps, validateEverySteps: 0, promptsPerImage: 'each', optimizer: 'sgd' },
    {
      patchSizeVoxels,
      cutmix: { unlabeledMix: 'both-sides' },
      losses: { diceOver: 'task', teacher: 1, agreement: 1, cubeTasks: 1, largestComponent: true },
    },
  );
  const ownSampler = createSampler(own, data, { buffers: steps });
  const ownData = Array.from({ length: steps }, (_, step) => hostStep(own, ownSampler.batch(step)));
  let recordings = 0;
  recordBy(device, (work) => {
    recordings++;
    return record(work);
  });
  const captured = await run(device, true, own, ownData);
  t.equal(recordings, 2, 'what the average finds, and the step');
  recordBy(device, undefined);
  t.same(captured, await run(device, false, own, ownData), 'the same bits');
  t.equal(device.memory().buffers, before, 'no buffer left');
  recordBy(device, record);
});

t.test('work that cannot be captured is run, and the log says why', { skip: noEmulator }, async (t) => {
  const { device } = await selectDevice('cuda', { precision: 'bfloat16' });
  const record = device.record!.bind(device);
  const messages: string[] = [];
  const losses = async (recorder: Recorder | undefined) => {
    recordBy(device, recorder);
    const events: TrainingEvent[] = [];
    for await (const event of train(plan, { runFolder: t.testdir(), device: 'current', data })) events.push(event);
    messages.push(
      ...events.flatMap((event) => (event.type === 'log' && /graph/.test(event.message) ? [event.message] : [])),
    );
    return events.flatMap((event) => (event.type === 'step' ? [event.losses] : []));
  };
  const plain = await losses(undefined);
  t.same(messages, []);
  // Reading a result needs the GPU to have computed it, which it does not do during a capture.
  const probe = tf.add(tf.tensor1d([1, 2]), 1);
  const refused = await losses((work) =>
    record(() => {
      work();
      probe.dataSync();
    }),
  );
  t.same(refused, plain, 'the same losses');
  t.equal(messages.length, 1, 'said once');
  t.match(messages[0], /one by one, not replayed as a graph: the host reads a result/);
  probe.dispose();
  recordBy(device, record);
});
