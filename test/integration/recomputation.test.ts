/** Recomputed activations change the memory of a step and nothing else: losses, gradients and statistics are bitwise equal. */
import * as tf from '@tensorflow/tfjs-core';
import t, { type Test } from 'tap';
import type { Plan } from '../../src/config/plan.js';
import { networkConfig } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { createSampler } from '../../src/sampling/sampler.js';
import { currentDevice, registerVersemiBackends, selectDevice } from '../../src/tfjs/index.js';
import { createState, disposeState } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { noEmulator } from './cuda-support.js';
import { shapes, shapesPlan } from './training-support.js';

const data = shapes(16);

function plan(recomputedLevels: number, patch = 16, network: object = {}): Plan {
  return shapesPlan(patch, {
    network: { baseWidth: 4, levels: 3, convolutions: [2, 1, 2], headWidth: 4, ...network },
    training: {
      stage1Steps: 1,
      stage2Steps: 1,
      labeledBatchSize: 2,
      unlabeledBatchSize: 2,
      recomputedLevels,
      workers: 0,
    },
  });
}

/** Terms and norm, gradients and moving statistics of the second stage's step, and the memory at its peak. */
async function gradients(settings: Plan) {
  const network = new VersemiNetwork(networkConfig(settings), settings.seed);
  const state = createState(network, settings);
  const step = hostStep(settings, createSampler(settings, data).batch(1));
  currentDevice()?.trim();
  const { numbers, free } = await state.program.start(settings, step);
  const terms = await numbers.data();
  free();
  const peak = currentDevice()?.memory().bytesPeak ?? 0;
  const first = await firstMoment(state);
  const statistics = await Promise.all([...network.buffers.values()].map((variable) => variable.data()));
  disposeState(state);
  return { terms, first, statistics, peak };
}

/** Adam's first moment after one step from zero is the gradient times 1 - beta1. */
async function firstMoment({ optimizer }: ReturnType<typeof createState>) {
  optimizer.apply(1, 1e-3, 1);
  return (await optimizer.state()).get('adam.first')!;
}

async function check(t: Test, peaks: boolean) {
  const before = tf.memory().numTensors;
  const plain = await gradients(plan(0));
  t.ok(plain.first.some((value) => value !== 0));
  t.ok(plain.statistics.some((values) => values.some((value) => value !== 0 && value !== 1)));
  let last = plain.peak;
  for (const levels of [1, 2, 3]) {
    const { peak, ...others } = await gradients(plan(levels));
    const { peak: _, ...expected } = plain;
    t.same(others, expected, `${levels} levels: the same bits`);
    if (peaks)
      t.ok(levels === 1 ? peak < 0.9 * last : peak <= last, `${levels} levels: ${peak} of ${plain.peak} bytes`);
    last = peak;
  }
  t.equal(tf.memory().numTensors, before, 'no tensor left');
}

await registerVersemiBackends();
t.test('with a skip and a block at full resolution', async (t) => {
  await selectDevice('wasm');
  const all = { fullResolutionSkip: true, fullResolutionBlock: true };
  for (const network of [all, { ...all, fullResolutionBlock: false }]) {
    const { peak: _, ...expected } = await gradients(plan(0, 16, network));
    for (const levels of [1, 3]) {
      const { peak: __, ...found } = await gradients(plan(levels, 16, network));
      t.same(found, expected, `${levels} levels`);
    }
  }
});

t.test('TF.js cpu', async (t) => {
  await tf.setBackend('cpu');
  await check(t, false);
});
for (const { backend, device, available, why } of await registerVersemiBackends())
  if (device !== 'cuda')
    t.test(backend, { skip: available ? false : why }, async (t) => {
      await selectDevice(device);
      await check(t, true);
    });
for (const precision of ['float32', 'bfloat16'] as const)
  t.test(`versemi-cuda, emulated, ${precision}`, { skip: noEmulator }, async (t) => {
    await selectDevice('cuda', { precision });
    await check(t, true);
  });
