/**
 * `node random-ops-child.js KIND DEVICE SEED FIRST COUNT`, started by random-ops.test.ts. KIND `ops`: random calls of TF.js's
 * API are compared with TF.js's cpu backend. KIND `rows`: random calls of the kernel table must return and touch their buffers
 * alone. Each call is announced before it runs, so that the parent knows which one does not return.
 */
import { writeSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { VersemiBackend } from '../../src/tfjs/backend/backend.js';
import { registerKernels } from '../../src/tfjs/backend/register.js';
import type { Device } from '../../src/tfjs/devices/device.js';
import { createWasmDevice } from '../../src/tfjs/devices/wasm-device.js';
import { type DeviceChoice, selectDevice } from '../../src/tfjs/index.js';
import { randomCall } from './random-calls.js';
import { randomRowCall, runRowCall } from './random-rows.js';

/** One line on the child's standard output. */
export interface Report {
  readonly index: number;
  readonly description: string;
  /** Absent where the call begins; empty where nothing was wrong. */
  readonly problem?: string;
}

const [kind, choice, ...numbers] = process.argv.slice(2) as [string, string, ...string[]];
const [seed, first, count] = numbers.map(Number) as [number, number, number];

/** The emulator takes milliseconds for a block of threads. */
const emulatedElements = 2 ** 12;

// At once and whatever happens next: a message or a stream would wait for a thread that may never be free again.
const report = (line: Report) => writeSync(1, `${JSON.stringify(line)}\n`);

/** A device, and the name of a backend over it; `wasm-always-shared`: each call, however small, wakes all threads. */
async function open(): Promise<{ device: Device; backend: string }> {
  if (choice !== 'wasm-always-shared') return selectDevice(choice as DeviceChoice, { threads: 3 });
  const device = await createWasmDevice({ threads: 3, smallestSharedWork: 0 });
  tf.registerBackend(choice, () => new VersemiBackend(choice, device));
  registerKernels(choice);
  return { device, backend: choice };
}

type Results = { readonly shape: number[]; readonly values: Float32Array }[] | Error;

async function results(name: string, run: () => tf.Tensor[]): Promise<Results> {
  await tf.setBackend(name);
  try {
    return tf.tidy(() => run().map((tensor) => ({ shape: tensor.shape, values: tensor.dataSync() as Float32Array })));
  } catch (error) {
    return error as Error;
  }
}

function difference(found: Results, expected: Results): string {
  if (found instanceof Error || expected instanceof Error) {
    if (found instanceof Error && expected instanceof Error) return '';
    return found instanceof Error ? `refused: ${found.message}` : `TF.js refuses it: ${(expected as Error).message}`;
  }
  for (const [i, { shape, values }] of expected.entries()) {
    if (`${found[i]?.shape}` !== `${shape}`) return `result ${i} has shape [${found[i]?.shape}], not [${shape}]`;
    // Both sum in their own order; what they differ by grows with the largest numbers of the sums.
    const allowed = 2e-5 * values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    const at = values.findIndex((value, j) => !(Math.abs(found[i]!.values[j]! - value) <= allowed));
    if (at >= 0) return `result ${i}[${at}] is ${found[i]!.values[at]}, not ${values[at]}`;
  }
  return found.length === expected.length ? '' : `${found.length} results, not ${expected.length}`;
}

const { device, backend } = await open();
for (let index = first; index < first + count; index++) {
  if (kind === 'rows') {
    const call = randomRowCall(seed, index, choice === 'cuda' ? emulatedElements : 2 ** 20);
    report({ index, description: call.description });
    report({ index, description: call.description, problem: runRowCall(device, call) });
    continue;
  }
  const { description, run } = randomCall(seed, index);
  report({ index, description });
  const found = await results(backend, run);
  report({ index, description, problem: difference(found, await results('cpu', run)) });
}
process.exit();
