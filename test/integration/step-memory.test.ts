/**
 * The memory of a training step, added up without computing it: at small sizes equal to what devices measure, and at the
 * paper's setting (width 16, 96^3, batch 8 + 8, bfloat16) small enough for a GPU of 24 GiB.
 */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { networkConfig } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { madeBatch } from '../../src/sampling/made-batch.js';
import { VersemiBackend } from '../../src/tfjs/backend/backend.js';
import { registerKernels } from '../../src/tfjs/backend/register.js';
import type { Device } from '../../src/tfjs/devices/device.js';
import { registerVersemiBackends, selectDevice } from '../../src/tfjs/index.js';
import { createState, disposeState } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { AccountingDevice } from './accounting-device.js';
import { noEmulator } from './cuda-support.js';

const tasks = 4;

function plan(patch: number, batch: number, network: object, recomputedLevels: number): Plan {
  return parsePlan({
    version: 1,
    name: 'memory',
    datasets: [{ name: 'a', path: 'a', preprocessing: { spacingMm: [1, 1, 1] } }],
    tasks: Array.from({ length: tasks }, (_, k) => ({ name: `task ${k}`, dataset: 'a', labels: [k + 1] })),
    network,
    patchSizeVoxels: [patch, patch, patch],
    training: { labeledBatchSize: batch, unlabeledBatchSize: batch, stage1Steps: 1, stage2Steps: 1, recomputedLevels },
    losses: { auxiliaryInStage2: true },
  });
}

/** Memory of the second stage's step: in use after each kernel, and at the peak. */
async function measure(device: Device, settings: Plan) {
  const state = createState(new VersemiNetwork(networkConfig(settings), settings.seed), settings);
  const run = device.run.bind(device);
  const inUse: string[] = [];
  device.run = (kernel, ...call) => {
    run(kernel, ...call);
    inUse.push(`${kernel}: ${device.memory().bytesInUse}`);
  };
  device.trim();
  // Nobody takes the pages of zeros where nothing is computed.
  const batch = madeBatch(settings, 1, (_, voxels) => new Float32Array(voxels));
  const { numbers, free } = await state.program.start(settings, hostStep(settings, batch));
  await numbers.data();
  free();
  const { bytesPeak } = device.memory();
  disposeState(state);
  device.run = run;
  return { inUse, bytesPeak };
}

async function accounted(settings: Plan, precision: 'float32' | 'bfloat16') {
  const name = `accounting-${precision}`;
  const device = new AccountingDevice(precision);
  tf.registerBackend(name, () => new VersemiBackend(name, device));
  registerKernels(name);
  await tf.setBackend(name);
  try {
    return await measure(device, settings);
  } finally {
    t.equal(device.memory().bytesInUse, 0, 'nothing is left');
    tf.removeBackend(name);
  }
}

const small = { baseWidth: 8, levels: 3, convolutions: [1, 2, 1], headWidth: 8 };
await registerVersemiBackends();

for (const recomputedLevels of [0, 1, 3])
  t.test(`small, ${recomputedLevels} levels recomputed: as on wasm`, async (t) => {
    const settings = plan(16, 4, small, recomputedLevels);
    const expected = await accounted(settings, 'float32');
    const { device } = await selectDevice('wasm');
    const measured = await measure(device, settings);
    t.equal(measured.bytesPeak, expected.bytesPeak, 'the same peak');
    t.same(measured.inUse, expected.inUse, 'the same memory after each kernel');
  });

for (const [precision, recomputedLevels] of [
  ['bfloat16', 0],
  ['bfloat16', 3],
  ['float32', 1],
] as const)
  t.test(
    `small, ${recomputedLevels} levels recomputed: as on cuda, emulated, ${precision}`,
    { skip: noEmulator },
    async (t) => {
      const settings = plan(8, 2, small, recomputedLevels);
      const expected = await accounted(settings, precision);
      const { device } = await selectDevice('cuda', { precision });
      const measured = await measure(device, settings);
      t.same(measured.inUse, expected.inUse, 'the same memory after each kernel');
      const scratch = measured.bytesPeak - expected.bytesPeak;
      t.ok(scratch >= 0 && scratch < 2e6, `${scratch} bytes of scratch at the peak of ${measured.bytesPeak}`);
    },
  );

t.test("the paper's setting", async (t) => {
  const gibibytes: number[] = [];
  for (const recomputedLevels of [0, 1, 2, 5]) {
    const settings = plan(96, 8, {}, recomputedLevels);
    const { bytesPeak } = await accounted(settings, 'bfloat16');
    gibibytes.push(bytesPeak / 2 ** 30);
    t.comment(`${recomputedLevels} levels recomputed: ${(bytesPeak / 2 ** 30).toFixed(2)} GiB`);
  }
  const [plain, one, two, all] = gibibytes as [number, number, number, number];
  t.ok(one < 24, `${one} GiB with the first level recomputed`);
  t.ok(one < 0.8 * plain && two < one && all <= two, 'recomputation saves');
});
