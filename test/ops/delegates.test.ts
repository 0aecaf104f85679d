/** Delegation to a tfjs-node where one is installed, and devices that do not start or change their threads. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { registerVersemiBackends, selectDevice } from '../../src/tfjs/index.js';

const here = (path: string) => new URL(path, import.meta.url).href;

t.test('a tfjs-node that works is the first delegate, and does not become the current backend', async (t) => {
  const hooks = `export async function resolve(specifier, context, next) {
    if (specifier === '@tensorflow/tfjs-node') return { url: '${here('./fake-tfjs-node.js')}', shortCircuit: true };
    return next(specifier, context);
  }`;
  const program = `
    import { register } from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hooks)}));
    const tf = await import('${here('../../../node_modules/@tensorflow/tfjs-core/dist/tf-core.node.js')}');
    const { registerVersemiBackends, selectDevice } = await import('${here('../../src/tfjs/index.js')}');
    await tf.setBackend('cpu');
    const wasm = (await registerVersemiBackends()).at(-1);
    const current = tf.getBackend();
    await selectDevice('wasm');
    const sums = tf.cumsum(tf.tensor1d([1, 2, 3]));
    console.log(JSON.stringify({ why: wasm.why, current, sums: [...sums.dataSync()], left: tf.findBackend('tensorflow').numDataIds() }));
  `;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
    env: { ...process.env, VERSEMI_LOG: 'dispatch' },
  });
  const result = JSON.parse(stdout);
  t.match(result.why, '@tensorflow/tfjs-node');
  t.equal(result.current, 'cpu');
  t.same(result.sums, [1, 3, 6]);
  t.equal(result.left, 0, 'the delegate keeps nothing');
  t.match(stderr, 'Cumsum(x float32[3]) delegated to tensorflow');
});

t.test('delegates keep no data', async (t) => {
  await selectDevice('wasm');
  const before = tf.findBackend('cpu').numDataIds();
  tf.tidy(() => {
    tf.argMax(tf.tensor1d([1, 2, 3]));
    tf.abs(tf.fft(tf.complex(tf.tensor1d([1, 2]), tf.tensor1d([3, 4]))));
    tf.topk(tf.tensor1d([1, 2, 3]), 2);
  });
  t.equal(tf.findBackend('cpu').numDataIds(), before);
  const outside = () => tf.tidy(() => tf.gather(tf.tensor1d([1]), tf.tensor1d([5], 'int32')));
  t.throws(outside, 'errors of the delegate reach the caller');
  t.equal(tf.findBackend('cpu').numDataIds(), before, 'and nothing is left then either');
});

t.test('the number of threads can change while no tensor lives', async (t) => {
  const first = await selectDevice('wasm', { threads: 1 });
  t.equal(first.device.threads, 1);
  t.equal((await selectDevice('wasm')).device, first.device, 'no wish keeps the device');
  const tensor = tf.tensor1d([1]);
  await t.rejects(selectDevice('wasm', { threads: 2 }), {
    code: 'VERSEMI_DEVICE_UNAVAILABLE',
    message: /live tensors/,
  });
  tensor.dispose();
  const second = await selectDevice('wasm', { threads: 2 });
  t.not(second.device, first.device);
  t.same(
    tf.tidy(() => tf.add(1, 2).dataSync()),
    [3],
  );
});

t.test('wishes that cannot be met are coded errors', async (t) => {
  await t.rejects(selectDevice('gpu' as never), {
    code: 'VERSEMI_DEVICE_UNAVAILABLE',
    message: /auto, cuda, cpu or wasm/,
  });
  const cpu = (await registerVersemiBackends()).find(({ device }) => device === 'cpu');
  if (!cpu!.available) await t.rejects(selectDevice('cpu'), { code: 'VERSEMI_DEVICE_UNAVAILABLE' });
  else await t.rejects(selectDevice('cpu', { threads: 0.5 }), { code: 'VERSEMI_DEVICE_UNAVAILABLE' });
});
