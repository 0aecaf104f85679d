// Precisions below float32 on the device cpu: what they compute, and what refuses them.
import { existsSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { loadNativeDevice, nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { conv3dNormRelu, selectDevice } from '../../src/tfjs/index.js';
import { runSelftest } from '../../src/tfjs/selftest/index.js';
import { train } from '../../src/training/train.js';
import { shapes, tinyPlan } from './training-support.js';

const skip = nativeUnavailableReason() ?? false;
const precisions = ['bfloat16', 'int8'] as const;

/** A convolution of 16 to 16 channels with its normalisation. */
function convolve(): Float32Array {
  return tf.tidy(() => {
    const image = tf.relu(tf.randomNormal([1, 6, 7, 8, 16], 0, 1, 'float32', 1)) as tf.Tensor5D;
    const weight = tf.randomNormal([3, 3, 3, 16, 16], 0, 1, 'float32', 2) as tf.Tensor5D;
    return conv3dNormRelu(image, weight, null).dataSync() as Float32Array;
  });
}

t.test('the selftest passes, and the precision is in use', { skip }, async (t) => {
  await selectDevice('cpu', { precision: 'float32' });
  const expected = convolve();
  for (const precision of precisions) {
    const selected = await selectDevice('cpu', { precision });
    t.match(selected.device, { precision, inferenceOnly: true, description: new RegExp(`, ${precision} by `) });
    const errors = convolve().map((value, i) => Math.abs(value - expected[i]!));
    const most = Math.max(...errors);
    t.ok(most > 1e-4 && most < 0.1, `${precision}: normalised values differ by ${most} at most`);
    for await (const { name, ok, detail } of runSelftest(selected)) if (!ok) t.fail(`${precision}, ${name}: ${detail}`);
  }
});

t.test('training refuses what is for inference, before it writes', { skip }, async (t) => {
  const runFolder = `${t.testdir()}/run`;
  const refusal = { code: 'VERSEMI_DEVICE_UNAVAILABLE', details: { expected: /float32 to train/ } };
  for (const precision of precisions) {
    const options = { runFolder, data: shapes(8), precision };
    await t.rejects(train(tinyPlan(), { ...options, device: 'cpu' }).next(), refusal);
    await t.rejects(train(tinyPlan(), { ...options, device: 'current' }).next(), refusal);
  }
  t.notOk(existsSync(runFolder));
  await selectDevice('cpu', { precision: 'float32' });
  t.equal((await train(tinyPlan(), { runFolder, data: shapes(8), device: 'current' }).next()).value?.type, 'start');
});

t.test(
  'precisions that a device does not have, and exact beside a lower one, are coded errors',
  { skip },
  async (t) => {
    const code = 'VERSEMI_DEVICE_UNAVAILABLE';
    t.throws(() => loadNativeDevice({ precision: 'tf32' }), { code, message: /float32, bfloat16 and int8/ });
    for (const precision of precisions) {
      t.throws(() => loadNativeDevice({ precision, exact: true }), {
        code,
        details: { found: `exact with ${precision}` },
      });
      await t.rejects(selectDevice('wasm', { precision }), { code });
    }
    const exact = loadNativeDevice({ precision: 'float32', exact: true });
    t.match(exact, { precision: 'float32', inferenceOnly: false });
    exact.dispose();
  },
);
