/** Rows of the kernel table: which one takes a call, VERSEMI_ROWS, the log of what was taken, and the selftest of every row. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { packageRoot } from '../../src/root.js';
import { VersemiBackend } from '../../src/tfjs/backend/backend.js';
import { registerKernels } from '../../src/tfjs/backend/register.js';
import type { Device } from '../../src/tfjs/devices/device.js';
import { loadNativeDevice, nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { createWasmDevice } from '../../src/tfjs/devices/wasm-device.js';
import { opCases, runSelftest } from '../../src/tfjs/selftest/index.js';

const skip = nativeUnavailableReason() ?? false;
const code = 'VERSEMI_DEVICE_UNAVAILABLE';

/** Makes a device while VERSEMI_ROWS has a value. */
async function withRows<T>(rows: string, make: () => T | Promise<T>): Promise<T> {
  process.env.VERSEMI_ROWS = rows;
  try {
    return await make();
  } finally {
    delete process.env.VERSEMI_ROWS;
  }
}

/** 32 to 32 channels at 12^3, 3 x 3 x 3: minimal filtering takes it on every instruction set. */
const [channels, voxels] = [32, 12 ** 3];
const attributes = [1, 12, 12, 12, channels, 12, 12, 12, channels, 3, 3, 3, 1, 1, 1, 1, 1, 1];

function convolve(device: Device): Float32Array {
  const put = (size: number) => {
    const buffer = device.allocate(4 * size);
    device.write(
      buffer,
      Float32Array.from({ length: size }, (_, i) => Math.sin(i)),
    );
    return buffer;
  };
  const [input, weight, output] = [put(voxels * channels), put(27 * channels * channels), put(voxels * channels)];
  device.run('conv3d_forward', [input, weight, 0, output], attributes);
  const values = new Float32Array(voxels * channels);
  device.readSync(output, values);
  for (const buffer of [input, weight, output]) device.release(buffer);
  return values;
}

/** Not `t.same`, which makes a text of both when they differ. */
function equal(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

function taken(device: Device): string {
  return device.rows!('conv3d_forward', attributes).find(({ reason }) => reason === null)!.name;
}

t.test('a forbidden row is not taken, and the reason is told', { skip }, async (t) => {
  const [free, exact] = [loadNativeDevice(), loadNativeDevice({ exact: true })];
  const filtering = taken(free);
  t.match(filtering, /^winograd-/);
  const forbidding = await withRows(`-${filtering}`, () => loadNativeDevice());
  t.teardown(() => {
    for (const device of [free, exact, forbidding]) device.dispose();
  });
  t.match(taken(forbidding), /^direct-/);
  t.match(forbidding.rows!('conv3d_forward', attributes)[0], {
    name: filtering,
    reason: 'forbidden by VERSEMI_ROWS',
  });
  t.ok(equal(convolve(forbidding), convolve(exact)), 'plain sums');
  t.notOk(equal(convolve(forbidding), convolve(free)), 'which differ from those of minimal filtering');

  free.useRow!(taken(exact));
  t.ok(equal(convolve(free), convolve(exact)), 'the row that was asked for');
  free.useRow!('none');
  t.match(free.refuses('conv3d_forward', attributes), `${filtering}: another row was asked for`);
  free.useRow!('');
  t.equal(taken(free), filtering);
});

t.test('where every row is forbidden the call is refused', async (t) => {
  const device = await withRows('-simd', () => createWasmDevice({ threads: 1 }));
  t.teardown(() => device.dispose());
  t.equal(device.refuses('fill', [1, 0]), 'simd: forbidden by VERSEMI_ROWS');
});

t.test('rows that no device has are coded errors that list those that it has', { skip }, async (t) => {
  const unknown = { code, details: { expected: /winograd-.*, direct-.*, vector-/, found: 'winograd' } };
  await t.rejects(
    withRows('-winograd', () => loadNativeDevice()),
    unknown,
  );
  await t.rejects(
    withRows('-winograd', () => createWasmDevice({ threads: 1 })),
    { code, details: { expected: /: simd$/, found: 'winograd' } },
  );
  await t.rejects(
    withRows('simd', () => createWasmDevice({ threads: 1 })),
    { code, details: { expected: /minus/, found: 'simd' } },
  );
});

t.test(
  'VERSEMI_LOG=dispatch tells each kind of call once: the row, and why better ones refuse',
  { skip },
  async (t) => {
    const device = loadNativeDevice();
    const name = 'versemi-logged';
    process.env.VERSEMI_LOG = 'dispatch';
    const backend = new VersemiBackend(name, device);
    delete process.env.VERSEMI_LOG;
    tf.registerBackend(name, () => backend);
    registerKernels(name);
    await tf.setBackend(name);
    const lines = t.capture(console, 'error');
    tf.tidy(() => {
      const input = tf.ones([1, 2, 3, 4, 2]) as tf.Tensor5D;
      for (let i = 0; i < 2; i++) tf.conv3d(input, tf.ones([2, 2, 2, 2, 5]) as tf.Tensor5D, 2, 'same');
    });
    const told = lines().map(({ args }) => String(args[0]));
    const convolutions = told.filter((line) => line.includes('conv3d_forward'));
    t.equal(convolutions.length, 1);
    t.match(
      convolutions[0],
      /^versemi: conv3d_forward 1x2x3x4x2 -> direct-\w+ \(winograd-\w+: the kernel is not 3 x 3 x 3 with stride 1\)$/,
    );
  },
);

t.test('selftest --every-row runs every row that takes a case', { skip }, async (t) => {
  const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [main, 'selftest', '--device', 'cpu', '--every-row', '--json'],
    { maxBuffer: 1 << 28 },
  );
  const { rows, results, failed } = JSON.parse(stdout) as {
    rows: Record<string, { passed: number }>;
    results: { row?: string }[];
    failed: number;
  };
  t.equal(failed, 0);
  const ofRows = results.filter(({ row }) => row !== undefined).length;
  t.ok(ofRows > opCases.length, `${ofRows} runs of ${opCases.length} cases`);
  for (const kernel of ['conv3d_forward', 'conv3d_grad_input', 'conv3d_grad_weight', 'conv3d_norm_relu']) {
    const kinds = Object.keys(rows).filter((row) => row.startsWith(`${kernel} `));
    t.ok(kinds.some((row) => row.includes('winograd')) && kinds.some((row) => row.includes('direct')), kernel);
  }
});

t.test('a device of one row per kernel runs that', async (t) => {
  const device = await createWasmDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  for await (const { row, ok } of runSelftest({ backend: 'cpu', device }, { everyRow: true })) {
    t.ok(ok);
    t.match(row, / simd$/);
    if (row?.startsWith('conv3d_grad_weight')) break;
  }
});
