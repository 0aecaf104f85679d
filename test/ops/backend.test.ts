/** Data, memory, delegation and in-place ops of VersemiBackend, over the plain device. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { VersemiBackend } from '../../src/tfjs/backend/backend.js';
import { registerKernels } from '../../src/tfjs/backend/register.js';
import {
  adamStep,
  conv3dNormRelu,
  copyInto,
  dispatchCounts,
  dynamicHead,
  emaStep,
  packGradients,
  resetDispatchCounts,
} from '../../src/tfjs/index.js';
import { PlainDevice } from '../../src/tfjs/selftest/plain-device.js';
import type { KernelName } from '../../src/tfjs/table/kernel-table.js';

const name = 'versemi-plain';
const device = new PlainDevice();
const backend = new VersemiBackend(name, device);
tf.registerBackend(name, () => backend);
registerKernels(name);
await tf.setBackend(name);

t.test('data goes to the device when a kernel needs it, and once', (t) => {
  const x = tf.tensor1d([1, 2, 3]);
  t.equal(device.memory().buffers, 0, 'on the host at first');
  const y = tf.add(x, 1);
  t.equal(device.memory().buffers, 2, 'the operand and the result; the constant is gone');
  t.same(y.dataSync(), [2, 3, 4]);
  t.same(x.dataSync(), [1, 2, 3], 'read back from the device');
  const view = tf.reshape(x, [3, 1]);
  t.equal(backend.refCount(x.dataId as object), 2, 'a reshape shares the data');
  x.dispose();
  t.same(view.dataSync(), [1, 2, 3], 'which lives as long as one tensor does');
  tf.dispose([y, view]);
  t.end();
});

t.test('tidy leaves nothing behind', (t) => {
  const before = { tensors: tf.memory().numTensors, buffers: device.memory().buffers, ids: backend.numDataIds() };
  tf.tidy(() => {
    const x = tf.randomNormal<tf.Rank.R5>([1, 4, 4, 4, 2]);
    const w = tf.randomNormal<tf.Rank.R5>([3, 3, 3, 2, 2]);
    tf.grads((a: tf.Tensor, b: tf.Tensor) => {
      const weight = b as tf.Tensor5D;
      return tf.sum(conv3dNormRelu(conv3dNormRelu(a as tf.Tensor5D, weight, null), weight, null));
    })([x, w]);
    tf.argMax(x, 4);
  });
  t.same({ tensors: tf.memory().numTensors, buffers: device.memory().buffers, ids: backend.numDataIds() }, before);
  t.end();
});

t.test('read is asynchronous and other types stay on the host', async (t) => {
  const buffers = device.memory().buffers;
  const integers = tf.tensor1d([1, -2], 'int32');
  const booleans = tf.tensor1d([true, false], 'bool');
  const words = tf.tensor1d(['one', 'two']);
  t.same(await integers.data(), [1, -2]);
  t.same(await booleans.data(), [1, 0]);
  t.same(await words.data(), ['one', 'two']);
  t.equal(device.memory().buffers, buffers);
  const sum = tf.tidy(() => tf.add(tf.tensor1d([1, 2]), 3));
  t.same(await sum.data(), [4, 5]);
  tf.dispose([integers, booleans, words, sum]);
});

t.test('tensors move between backends', async (t) => {
  const x = tf.tidy(() => tf.mul(tf.tensor1d([1, 2]), 2));
  await tf.setBackend('cpu');
  const y = tf.add(x, 1);
  t.same(y.dataSync(), [3, 5]);
  await tf.setBackend(name);
  const z = tf.add(y, x);
  t.same(z.dataSync(), [5, 9]);
  tf.dispose([x, y, z]);
});

t.test('delegation is counted and says why', (t) => {
  resetDispatchCounts();
  const lines: string[] = [];
  const { error } = console;
  console.error = (line: string) => lines.push(line);
  process.env.VERSEMI_LOG = 'dispatch';
  try {
    tf.tidy(() => {
      tf.add(tf.tensor1d([1]), tf.tensor1d([2]));
      tf.add(tf.tensor1d([1], 'int32'), tf.tensor1d([2], 'int32'));
      tf.cumsum(tf.tensor2d([[1, 2]]), 1);
      device.refuse = new Set<KernelName>(['unary']);
      t.same(tf.neg(tf.tensor1d([3])).dataSync(), [-3]);
    });
  } finally {
    device.refuse = new Set();
    console.error = error;
    delete process.env.VERSEMI_LOG;
  }
  t.same(dispatchCounts(), { own: { Add: 1 }, delegated: { Add: 1, Cumsum: 1, Neg: 1 } });
  t.same(lines, [
    'versemi-plain: Add(a int32[1], b int32[1]) delegated to cpu: int32 tensor',
    'versemi-plain: Cumsum(x float32[1, 2]) delegated to cpu: not in the kernel table',
    'versemi-plain: Neg(x float32[1]) delegated to cpu: unary: told to refuse',
  ]);
  t.end();
});

for (const refuse of [[], ['pack_gradients', 'adam_step', 'ema_step', 'unary'] as const]) {
  t.test(`optimiser ops work in place${refuse.length ? ', delegated' : ''}`, (t) => {
    device.refuse = new Set<KernelName>(refuse);
    const values = [Float32Array.of(1, 2), Float32Array.of(3)];
    const parameters = values.map((value) => tf.variable(tf.tensor1d(value)));
    const arena = tf.zeros<tf.Rank.R1>([3]);
    const first = tf.zeros<tf.Rank.R1>([3]);
    const second = tf.zeros<tf.Rank.R1>([3]);
    const average = tf.tensor1d([1, 1, 1]);
    const gradient = tf.tensor1d([0.5, -4]);
    const gradientOfAll = tf.tensor1d([7, 8, 9]);
    const norm = packGradients([gradient, null], [2, 1], arena);
    t.equal(norm.dataSync()[0], 16.25);
    t.same(arena.dataSync(), [0.5, -4, 0], 'an absent gradient counts as zeros');
    const settings = {
      learningRate: 0.1,
      beta1: 0.5,
      beta2: 0.999,
      epsilon: 1e-8,
      weightDecay: 0,
      step: 1,
      gradientScale: 1,
    };
    adamStep(parameters, arena, first, second, settings);
    // The first step of Adam has the length of the learning rate whatever the gradient.
    t.ok(Math.abs(parameters[0]!.dataSync()[0]! - 0.9) < 1e-6);
    t.ok(Math.abs(parameters[0]!.dataSync()[1]! - 2.1) < 1e-6);
    t.equal(parameters[1]!.dataSync()[0], 3);
    t.same(Array.from(first.dataSync()), [0.25, -2, 0]);
    emaStep(average, parameters, 0.5);
    t.ok(Math.abs(average.dataSync()[0]! - 0.95) < 1e-6 && average.dataSync()[2] === 2);
    copyInto(average, gradientOfAll);
    t.same(average.dataSync(), [7, 8, 9], 'copyInto');
    t.same(values[0], [1, 2], "the user's array is not touched");
    t.throws(() => emaStep(average, [parameters[0]!], 0.5), { code: 'VERSEMI_KERNEL_FAILED' });
    tf.dispose([...parameters, arena, first, second, average, gradient, gradientOfAll, norm]);
    device.refuse = new Set();
    t.end();
  });
}

t.test('optimiser ops on TF.js cpu give the same', async (t) => {
  await tf.setBackend('cpu');
  const values = Float32Array.of(1, 2);
  const parameter = tf.variable(tf.tensor1d(values));
  const average = tf.tensor1d([0, 0]);
  emaStep(average, [parameter], 0.75);
  t.same(average.dataSync(), [0.25, 0.5]);
  t.same(values, [1, 2]);
  tf.dispose([parameter, average]);
  await tf.setBackend(name);
});

t.test('a gradient nobody asks for is not computed, and activations are freed on the way', (t) => {
  const x = tf.randomNormal<tf.Rank.R5>([1, 4, 4, 4, 2]);
  const weights = [1, 2, 3, 4].map(() => tf.variable(tf.randomNormal<tf.Rank.R5>([3, 3, 3, 2, 2])));
  resetDispatchCounts();
  const live: number[] = [];
  const { run } = device;
  device.run = (kernel, buffers, attributes) => {
    if (kernel === 'conv3d_grad_weight') live.push(device.memory().buffers);
    run.call(device, kernel, buffers, attributes);
  };
  const { value, grads } = tf.variableGrads(
    () => tf.sum(weights.reduce((y, w) => conv3dNormRelu(y, w as unknown as tf.Tensor5D, null), x)) as tf.Scalar,
  );
  device.run = run;
  const { own, delegated } = dispatchCounts();
  t.equal(own.Conv3DBackpropFilterV2, 4);
  t.equal(own.Conv3DBackpropInputV2, 3, 'not for the image');
  t.equal(own.VersemiInstanceNormReluGrad, 4, 'once per layer, although two gradients need it');
  t.same(delegated, {});
  // A layer frees raw, mean, rstd, its input, its gradient and that of raw; it leaves the gradient of its weight.
  t.ok(
    live.every((buffers, i) => i === 0 || buffers <= live[i - 1]! - 3),
    `buffers at each layer: ${live}`,
  );
  tf.dispose([x, value, ...weights, ...Object.values(grads)]);
  t.end();
});

t.test('gradients of higher order and gradients given by the user survive the early freeing', (t) => {
  const x = tf.tensor5d([1, -2, 3, 4, 0.5, -1, 2, 2], [1, 2, 2, 2, 1]);
  const w = tf.tensor5d([1, 0.5], [1, 1, 1, 1, 2]);
  const dy = tf.ones<tf.Rank.R5>([1, 2, 2, 2, 2]);
  const first = tf.grad((a: tf.Tensor) => conv3dNormRelu(a as tf.Tensor5D, w, null))(x, dy);
  t.notOk(dy.isDisposed);
  t.equal(dy.dataSync()[0], 1);
  const p = tf.randomNormal<tf.Rank.R3>([1, 1, 18]);
  const f = tf.randomNormal<tf.Rank.R5>([1, 1, 1, 2, 2]);
  const both = tf.grads((a: tf.Tensor, b: tf.Tensor) => dynamicHead(a as tf.Tensor5D, b as tf.Tensor3D))([f, p]);
  const onlyFirst = tf.grad((a: tf.Tensor) => dynamicHead(a as tf.Tensor5D, p))(f);
  t.same(onlyFirst.dataSync(), both[0]!.dataSync());
  tf.dispose([x, w, dy, first, p, f, both, onlyFirst]);
  t.end();
});

t.test('shapes that do not fit are coded errors', (t) => {
  const x = tf.zeros<tf.Rank.R5>([1, 2, 2, 2, 3]);
  const w = tf.zeros<tf.Rank.R5>([3, 3, 3, 2, 4]);
  t.throws(() => conv3dNormRelu(x, w, null), { code: 'VERSEMI_KERNEL_FAILED', message: /weight.*\[3, 3, 3, 3, 4\]/ });
  t.throws(() => dynamicHead(x, tf.zeros([1, 2, 5])), { code: 'VERSEMI_KERNEL_FAILED' });
  tf.dispose([x, w]);
  t.end();
});

t.test('time, memory and precision', async (t) => {
  const { kernelMs } = await backend.time(() => tf.tidy(() => void tf.add(1, 2)));
  t.ok(kernelMs >= 0);
  t.equal(backend.floatPrecision(), 32);
  t.equal(tf.memory().unreliable, false);
  t.equal(tf.backend().epsilon(), 1e-7);
});
