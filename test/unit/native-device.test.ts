import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { loadNativeDevice, nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { createWasmDevice } from '../../src/tfjs/devices/wasm-device.js';
import {
  binaryKinds,
  type KernelName,
  kernelTable,
  reduceKinds,
  unaryKinds,
} from '../../src/tfjs/table/kernel-table.js';
import { coded, get, put } from './device-support.js';
import { callOfTwos } from './table-support.js';

const unavailable = nativeUnavailableReason();
const needsAddon = { skip: unavailable ?? false };

t.test('buffers are counted, reused and given back', needsAddon, async (t) => {
  const device = loadNativeDevice({ threads: 2 });
  t.teardown(() => device.dispose());
  t.equal(device.threads, 2);
  t.match(device.description, /2 threads/);
  t.same(device.memory(), { buffers: 0, bytesInUse: 0, bytesPooled: 0, bytesPeak: 0 });
  const first = device.allocate(4_000_000);
  const second = device.allocate(12);
  t.match(device.memory(), { buffers: 2, bytesInUse: 4_000_012, bytesPooled: 0 });
  device.release(first);
  const pooled = device.memory().bytesPooled;
  t.ok(pooled >= 4_000_000 && pooled <= 4_000_000 * 1.125, `at most an eighth is lost: ${pooled}`);
  const third = device.allocate(4_000_000);
  t.not(third, first, 'a new id for the same block');
  t.equal(device.memory().bytesPooled, 0, 'the block is used again');
  device.release(second);
  device.release(third);
  t.match(device.memory(), { buffers: 0, bytesInUse: 0, bytesPeak: 4_000_012 });
  device.trim();
  t.equal(device.memory().bytesPooled, 0);
});

t.test('what is written is read', needsAddon, async (t) => {
  const device = loadNativeDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  const buffer = device.allocate(40);
  device.write(buffer, Float32Array.of(1, 2, 3));
  t.same([...get(device, buffer, 3)], [1, 2, 3]);
  const bytes = new Uint8Array(6).fill(7);
  device.write(buffer, bytes.subarray(1, 4));
  const back = new DataView(new ArrayBuffer(8), 1, 3);
  await device.read(buffer, back);
  t.same([...new Uint8Array(back.buffer)], [0, 7, 7, 7, 0, 0, 0, 0], 'views keep their offset and length');
  const shared = new Float32Array(new SharedArrayBuffer(8));
  shared.set([5, 6]);
  device.write(buffer, shared);
  t.same([...get(device, buffer, 2)], [5, 6], 'shared memory too');
});

t.test('stale and false ids are coded errors', needsAddon, async (t) => {
  const device = loadNativeDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  const stale = device.allocate(16);
  device.release(stale);
  const live = device.allocate(16);
  const view = new Float32Array(4);
  for (const id of [stale, 0, -1, 1e12, 0.5, Number.NaN, live + 1]) {
    t.match(
      coded(() => device.release(id)),
      { code: 'VERSEMI_KERNEL_FAILED' },
      `release ${id}`,
    );
    t.match(
      coded(() => device.readSync(id, view)),
      { code: 'VERSEMI_KERNEL_FAILED' },
      `read ${id}`,
    );
    t.match(
      coded(() => device.write(id, view)),
      { code: 'VERSEMI_KERNEL_FAILED' },
      `write ${id}`,
    );
  }
  t.match(
    coded(() => device.run('fill', [stale], [4, 1])),
    { code: 'VERSEMI_KERNEL_FAILED', message: /fill.*not live/ },
  );
  device.readSync(live, view);
  t.equal(device.memory().buffers, 1);
});

t.test('reading or writing past the end is an error', needsAddon, async (t) => {
  const device = loadNativeDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  const buffer = device.allocate(16);
  for (const action of [
    () => device.write(buffer, new Uint8Array(17)),
    () => device.readSync(buffer, new Float32Array(5)),
  ]) {
    t.match(coded(action), { code: 'VERSEMI_KERNEL_FAILED', message: /16 bytes/ });
  }
  t.rejects(device.read(buffer, new Float32Array(5)), { code: 'VERSEMI_KERNEL_FAILED' });
  t.match(
    coded(() => device.allocate(1e15)),
    { code: 'VERSEMI_DEVICE_OUT_OF_MEMORY', message: /MiB in use/ },
  );
  t.match(
    coded(() => device.allocate(-1)),
    { code: 'VERSEMI_DEVICE_OUT_OF_MEMORY' },
  );
  t.match(device.memory(), { buffers: 1, bytesInUse: 16 });
});

t.test('every op checks its buffers and attributes before it runs', needsAddon, async (t) => {
  const device = loadNativeDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  const tiny = device.allocate(0);
  for (const kernel of Object.keys(kernelTable) as KernelName[]) {
    const { attributes, buffers: count } = callOfTwos(kernel);
    const buffers = new Array<number>(count).fill(tiny);
    t.equal(device.refuses(kernel, attributes), null, `${kernel} takes these attributes`);
    t.match(
      coded(() => device.run(kernel, buffers, attributes)),
      { code: 'VERSEMI_KERNEL_FAILED', message: /expected \d+ bytes, found 0/ },
      `${kernel}: empty buffers`,
    );
    t.match(
      coded(() =>
        device.run(
          kernel,
          buffers.map(() => 0),
          attributes,
        ),
      ),
      { code: 'VERSEMI_KERNEL_FAILED', message: /expected one, found none/ },
      `${kernel}: no buffers`,
    );
    t.match(
      coded(() => device.run(kernel, [...buffers.map(() => tiny), tiny], attributes)),
      { code: 'VERSEMI_KERNEL_FAILED' },
      `${kernel}: one buffer too many`,
    );
    const accepted: string[] = [];
    for (let i = 0; i < attributes.length; i++) {
      for (const value of [Number.NaN, -3, 0.25, 1e300]) {
        const changed = attributes.with(i, value);
        const run = () =>
          device.run(
            kernel,
            buffers.map(() => tiny),
            changed,
          );
        if (coded(run).code !== 'VERSEMI_KERNEL_FAILED') accepted.push(`attribute ${i} = ${value}`);
      }
    }
    t.same(accepted, [], `${kernel}: attributes that are no sizes`);
    t.match(
      coded(() =>
        device.run(
          kernel,
          buffers.map(() => tiny),
          attributes.slice(0, -1),
        ),
      ),
      { code: 'VERSEMI_KERNEL_FAILED' },
      `${kernel}: one attribute too few`,
    );
  }
});

t.test('kinds behind the last one are refused', needsAddon, async (t) => {
  const device = loadNativeDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  t.equal(device.refuses('unary', [unaryKinds.length - 1, 4, 0, 0]), null);
  t.match(device.refuses('unary', [unaryKinds.length, 4, 0, 0]), /kind/);
  t.equal(device.refuses('binary', [binaryKinds.length - 1, 0]), null);
  t.match(device.refuses('binary', [binaryKinds.length, 0]), /kind/);
  t.equal(device.refuses('reduce', [reduceKinds.length - 1, 1, 1, 1]), null);
  t.match(device.refuses('reduce', [reduceKinds.length, 1, 1, 1]), /kind/);
});

t.test('ops from end to end', needsAddon, async (t) => {
  const device = loadNativeDevice();
  t.teardown(() => device.dispose());
  const a = put(device, [1, -2, 3, -4, 5, -6]);
  const b = put(device, [10, 20, 30]);
  const out = device.allocate(24);
  device.run('binary', [a, b, out], [binaryKinds.indexOf('add'), 2, 2, 3, 3, 1, 0, 1]);
  t.same([...get(device, out, 6)], [11, 18, 33, 6, 25, 24]);
  device.run('unary', [a, out], [unaryKinds.indexOf('relu'), 6, 0, 0]);
  t.same([...get(device, out, 6)], [1, 0, 3, 0, 5, 0]);
  device.run('transpose', [a, out], [2, 2, 3, 1, 0]);
  t.same([...get(device, out, 6)], [1, -4, -2, 5, 3, -6]);
  device.run('reduce', [a, out], [reduceKinds.indexOf('sum'), 2, 3, 1]);
  t.same([...get(device, out, 2)], [2, -5]);
  device.run('matmul', [a, b, out], [1, 2, 3, 1, 0, 0, 0, 0]);
  t.same([...get(device, out, 2)], [10 - 40 + 90, -40 + 100 - 180]);
  device.run('instance_norm_relu', [a, out, 0, 0], [1, 6, 1, 0, 0]);
  const normalized = get(device, out, 6);
  t.ok(Math.abs(normalized.reduce((sum, x) => sum + x, 0)) < 1e-5);
  t.ok(Math.abs(normalized.reduce((sum, x) => sum + x * x, 0) - 6) < 1e-4);
  // a convolution of one voxel with a 1 x 1 x 1 kernel is a matrix product
  device.run('conv3d_forward', [b, a, 0, out], [1, 1, 1, 1, 3, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0]);
  t.same([...get(device, out, 2)], [10 + 60 + 150, -20 - 80 - 180]);
});

t.test('a disposed device answers with errors', needsAddon, async (t) => {
  const device = loadNativeDevice({ threads: 2 });
  const buffer = device.allocate(16);
  device.dispose();
  device.dispose();
  t.match(
    coded(() => device.write(buffer, new Uint8Array(1))),
    { message: /disposed/ },
  );
  t.match(
    coded(() => device.run('fill', [buffer], [1, 1])),
    { message: /disposed/ },
  );
  t.throws(() => device.allocate(4));
});

t.test('a number of threads that makes no sense is an error', needsAddon, async (t) => {
  for (const threads of [0, -1, 1.5, 1e6]) {
    t.match(
      coded(() => loadNativeDevice({ threads })),
      { code: 'VERSEMI_DEVICE_UNAVAILABLE', message: /threads/ },
    );
  }
});

t.test('a precision that a device does not have is an error', needsAddon, async (t) => {
  const refusal = { code: 'VERSEMI_DEVICE_UNAVAILABLE', details: { expected: /^float32/, found: 'bfloat16' } };
  t.match(
    coded(() => loadNativeDevice({ precision: 'bfloat16' })),
    refusal,
  );
  await t.rejects(createWasmDevice({ precision: 'bfloat16' }), refusal);
  const device = loadNativeDevice({ precision: 'float32', exact: true });
  t.teardown(() => device.dispose());
  t.equal(device.precision, 'float32');
});

t.test('worker threads load the addon again, each with devices of its own', needsAddon, async (t) => {
  const device = loadNativeDevice({ threads: 2 });
  t.teardown(() => device.dispose());
  const mine = put(device, [1]);
  const source = `
    import { parentPort } from 'node:worker_threads';
    const { loadNativeDevice } = await import(${JSON.stringify(new URL('../../src/tfjs/devices/native-device.js', import.meta.url).href)});
    const device = loadNativeDevice({ threads: 2 });
    const buffer = device.allocate(4096);
    device.run('fill', [buffer], [1024, 3]);
    const values = new Float32Array(1024);
    device.readSync(buffer, values);
    parentPort.postMessage({ sum: values.reduce((sum, x) => sum + x, 0), buffers: device.memory().buffers });
  `;
  const results = await Promise.all(
    [0, 1, 2].map(
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
          worker.once('error', reject);
          let message: unknown;
          worker.once('message', (value) => {
            message = value;
          });
          worker.once('exit', () => resolve(message));
        }),
    ),
  );
  for (const result of results) t.same(result, { sum: 3072, buffers: 1 });
  t.same([...get(device, mine, 1)], [1], 'the device of the main thread goes on');
});

t.test('VERSEMI_POISON fills new buffers with NaN, VERSEMI_THREADS is the default', needsAddon, async (t) => {
  const before = { ...process.env };
  t.teardown(() => {
    process.env = before;
  });
  process.env.VERSEMI_POISON = '1';
  process.env.VERSEMI_THREADS = '3';
  const device = loadNativeDevice();
  t.teardown(() => device.dispose());
  t.equal(device.threads, 3);
  const buffer = put(device, [1, 2, 3]);
  device.release(buffer);
  t.same([...get(device, device.allocate(12), 3)], [Number.NaN, Number.NaN, Number.NaN]);
  process.env.VERSEMI_THREADS = 'many';
  t.match(coded(loadNativeDevice), { code: 'VERSEMI_DEVICE_UNAVAILABLE', message: /VERSEMI_THREADS.*many/ });
});

t.test('VERSEMI_ISA names an instruction set that exists', needsAddon, async (t) => {
  const before = { ...process.env };
  t.teardown(() => {
    process.env = before;
  });
  for (const name of ['avx', 'AVX2', 'neon', 'constructor']) {
    process.env.VERSEMI_ISA = name;
    const error = coded(loadNativeDevice);
    t.match(error, { code: 'VERSEMI_DEVICE_UNAVAILABLE', message: /VERSEMI_ISA.*avx512, avx2, baseline/s });
    t.match(error, { message: name });
  }
  // The addon asks once: which set it takes is seen in processes of their own.
  const described = (isa: string) =>
    execFileSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { selectDevice } from '${entry}'; console.log((await selectDevice('cpu')).why);`,
      ],
      { encoding: 'utf8', env: { ...before, VERSEMI_ISA: isa } },
    );
  const entry = new URL('../../src/tfjs/index.js', import.meta.url).href;
  t.match(described('baseline'), /^cpu: CPU, baseline/);
  t.match(described(''), /^cpu: /, 'an empty variable is an absent one');
});

/** The compiled loader alone, as in a package of its own. */
async function loaderIn(folder: string) {
  const source = fileURLToPath(new URL('../../src/', import.meta.url));
  for (const file of [
    'environment.js',
    'errors.js',
    'visible-text.js',
    'allowed-threads.js',
    'control-group.js',
    'memory-limit.js',
    'node-module.js',
    'root.js',
    'tfjs/devices/device.js',
    'tfjs/devices/native-device.js',
    'tfjs/devices/native-sums.js',
    'tfjs/devices/settings.js',
    'tfjs/table/kernel-table.js',
    'tfjs/table/rules.js',
  ]) {
    cpSync(join(source, file), join(folder, 'dist/src', file));
  }
  let copies = 0;
  return async () => {
    const url = `${pathToFileURL(join(folder, 'dist/src/tfjs/devices/native-device.js')).href}?${++copies}`;
    return (await import(url)) as typeof import('../../src/tfjs/devices/native-device.js');
  };
}

t.test('an addon that is absent or damaged is explained', async (t) => {
  const folder = t.testdir({ 'package.json': '{ "type": "module" }' });
  const load = await loaderIn(folder);
  const absent = await load();
  t.match(absent.nativeUnavailableReason(), /not built.*versemi\.node.*install\.mjs.*wasm works without it/);
  t.throws(() => absent.loadNativeDevice(), { code: 'VERSEMI_DEVICE_UNAVAILABLE', message: /install\.mjs/ });
  mkdirSync(join(folder, 'build/Release'), { recursive: true });
  writeFileSync(join(folder, 'build/Release/versemi.node'), 'not a library');
  t.match((await load()).nativeUnavailableReason(), /cannot be loaded.*install\.mjs/);
});

t.test('the addon that the package brings is used where none was built here', needsAddon, async (t) => {
  const folder = t.testdir({ 'package.json': '{ "type": "module" }' });
  const load = await loaderIn(folder);
  const prebuilt = join(folder, 'prebuilds', `${process.platform}-${process.arch}`, 'versemi.node');
  mkdirSync(dirname(prebuilt), { recursive: true });
  writeFileSync(prebuilt, 'not a library');
  t.match((await load()).nativeUnavailableReason(), /cannot be loaded/);
  cpSync(fileURLToPath(new URL('../../../build/Release/versemi.node', import.meta.url)), prebuilt);
  t.equal((await load()).nativeUnavailableReason(), null);
  mkdirSync(join(folder, 'build/Release'), { recursive: true });
  writeFileSync(join(folder, 'build/Release/versemi.node'), 'not a library');
  t.equal((await load()).nativeUnavailableReason(), null, 'also where the one that was built here does not load');
});
