/**
 * In bfloat16 gradients of a small network differ from the exact ones by several per cent. That this is rounding and nothing
 * else: plain arithmetic that rounds at the same places gives the same gradients to seven digits.
 */
import '@tensorflow/tfjs-backend-cpu';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { packageRoot } from '../../src/root.js';
import { VersemiBackend } from '../../src/tfjs/backend/backend.js';
import { registerKernels } from '../../src/tfjs/backend/register.js';
import type { BufferId, Device } from '../../src/tfjs/devices/device.js';
import { type GraphCase, type GraphResult, runGraph } from '../../src/tfjs/selftest/graph-case.js';
import { encoderDecoder } from '../../src/tfjs/selftest/graph-cases.js';
import { LoweredDevice } from '../../src/tfjs/selftest/lowered-device.js';
import { rounded } from '../../src/tfjs/selftest/precision.js';

const addon = join(packageRoot, 'build', 'native-tests', 'versemi.node');
const skip = existsSync(addon) ? false : 'no emulated addon: node test/native-build.mjs makes it';

const nearest = (value: number) => rounded(value, 'bfloat16');

/** What is uploaded is rounded on all devices, so that it does not matter which kernel rounds its operands itself. */
function roundUploads(device: Device): Device {
  const write = device.write.bind(device);
  device.write = (buffer: BufferId, source: ArrayBufferView) =>
    write(buffer, new Float32Array(source.buffer, source.byteOffset, source.byteLength / 4).map(nearest));
  return device;
}

async function runOn(name: string, device: Device, graph: GraphCase): Promise<GraphResult> {
  tf.registerBackend(name, () => new VersemiBackend(name, roundUploads(device)));
  registerKernels(name);
  await tf.setBackend(name);
  return runGraph(graph);
}

/** Channels that no tensor core takes: the kernel that serves them normalises what it stored, as LoweredDevice does. */
const graph: GraphCase = {
  name: 'encoder and decoder with a skip connection',
  shapes: [[1, 8, 8, 8, 1], [3, 3, 3, 1, 4], [2, 2, 2, 4, 6], [2, 2, 2, 4, 6], [4], [4]],
  f: encoderDecoder,
};

t.test('gradients in bfloat16 are those of plain arithmetic that rounds at the same places', { skip }, async (t) => {
  process.env.VERSEMI_ADDON = addon;
  const { loadNativeDevice } = await import('../../src/tfjs/devices/native-device.js');
  const plain = new LoweredDevice();
  const exact = await runOn('plain-exact', new LoweredDevice(), graph);
  plain.round = nearest;
  plain.like = { precision: 'bfloat16' };
  const expected = await runOn('plain-rounded', plain, graph);
  const actual = await runOn('cuda-emulated', loadNativeDevice({ precision: 'bfloat16' }, 'cuda'), graph);
  for (const [i, gradient] of actual.gradients.entries()) {
    const size = rms(expected.gradients[i]!);
    const error = rms(gradient, expected.gradients[i]) / size;
    t.ok(error < 1e-5, `gradient ${i} is off by ${error.toExponential(1)}`);
  }
  const rounding = rms(actual.gradients[1]!, exact.gradients[1]) / rms(exact.gradients[1]!);
  t.ok(rounding > 1e-3, `rounding alone makes ${rounding.toExponential(1)}`);
});

function rms(values: Float32Array, from?: Float32Array): number {
  const squares = values.reduce((sum, value, i) => sum + (value - (from?.[i] ?? 0)) ** 2, 0);
  return Math.sqrt(squares / values.length);
}
