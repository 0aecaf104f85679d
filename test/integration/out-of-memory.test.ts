/** A step that runs out of memory, wherever it does, leaves nothing behind, and the next one is none the worse for it. */
import * as tf from '@tensorflow/tfjs-core';
import t, { type Test } from 'tap';
import type { Plan } from '../../src/config/plan.js';
import { VersemiError } from '../../src/errors.js';
import { networkConfig } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { createSampler } from '../../src/sampling/sampler.js';
import type { Device } from '../../src/tfjs/devices/device.js';
import { registerVersemiBackends, selectDevice } from '../../src/tfjs/index.js';
import { createState, disposeState, runStep } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { shapes, tinyPlan } from './training-support.js';

const planWith = (recomputedLevels: number) => tinyPlan({ stage1Steps: 1, stage2Steps: 2, recomputedLevels });
const step = hostStep(planWith(0), createSampler(planWith(0), shapes(6)).batch(2));

/** A device that refuses its n-th allocation from now on; 0: none. */
function failing(device: Device) {
  const allocate = device.allocate.bind(device);
  const state = { allocations: 0, failAt: 0 };
  device.allocate = (bytes) => {
    if (++state.allocations === state.failAt) throw new VersemiError('DEVICE_OUT_OF_MEMORY', { field: 'test' });
    return allocate(bytes);
  };
  return state;
}

async function check(t: Test, device: Device, plan: Plan) {
  const { allocate } = device;
  const failure = failing(device);
  const state = createState(new VersemiNetwork(networkConfig(plan), plan.seed), plan);
  const gradients = async () => {
    await state.program.start(plan, step).then(({ free }) => free());
    return (await state.optimizer.state()).get('adam.first')!;
  };
  await gradients(); // parameters and inputs are on the device from here on
  const tensors = tf.memory().numTensors;
  const { buffers, bytesInUse } = device.memory();
  failure.allocations = 0;
  await gradients();
  const wanted = failure.allocations;
  t.ok(wanted > 100, `${wanted} allocations in a step`);
  const left: string[] = [];
  for (let failAt = 1; failAt <= wanted; failAt += 7) {
    Object.assign(failure, { allocations: 0, failAt });
    await t.rejects(gradients(), { code: 'VERSEMI_DEVICE_OUT_OF_MEMORY' }, `allocation ${failAt}`);
    const memory = device.memory();
    if (tf.memory().numTensors !== tensors || memory.buffers !== buffers || memory.bytesInUse !== bytesInUse)
      left.push(`${failAt}: ${tf.memory().numTensors - tensors} tensors, ${memory.buffers - buffers} buffers`);
  }
  t.same(left, [], 'nothing is left of any of them');
  device.allocate = allocate;
  const { losses } = await runStep(state, plan, step);
  disposeState(state);
  const fresh = createState(new VersemiNetwork(networkConfig(plan), plan.seed), plan);
  t.same((await runStep(fresh, plan, step)).losses, losses, 'the losses of a run in which nothing failed');
  disposeState(fresh);
}

const ofCuda = 'its memory is taken by kernels: see cuda-memory.test.ts';
for (const { backend, device: choice, available, why } of await registerVersemiBackends())
  for (const recomputedLevels of [0, 2])
    t.test(
      `${backend}, ${recomputedLevels} levels recomputed`,
      { skip: choice === 'cuda' ? ofCuda : available ? false : why },
      async (t) => check(t, (await selectDevice(choice)).device, planWith(recomputedLevels)),
    );
