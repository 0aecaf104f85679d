/**
 * The device wasm by itself: all cases of the op table on one, two and three threads with equal bits, the shapes on which
 * its convolutions change their ways, accuracy of exp and log, and what happens to calls that make no sense.
 */
import { spawnSync } from 'node:child_process';
import t from 'tap';
import type { BufferId, Device } from '../../src/tfjs/devices/device.js';
import { createWasmDevice } from '../../src/tfjs/devices/wasm-device.js';
import { caseData, checkCase } from '../../src/tfjs/selftest/check-case.js';
import { opCases } from '../../src/tfjs/selftest/index.js';
import { normal, type OpCase, packedAttributes } from '../../src/tfjs/selftest/op-case.js';
import { type KernelName, kernelTable, unaryKinds } from '../../src/tfjs/table/kernel-table.js';
import { coded, get, put } from './device-support.js';
import { callOfTwos } from './table-support.js';

// New buffers hold NaN, so that a kernel that reads what it should write is found out.
process.env.VERSEMI_POISON = '1';

const devices = await Promise.all([1, 2, 3].map((threads) => createWasmDevice({ threads, smallestSharedWork: 0 })));
const [single, pair] = devices as [Device, Device, Device];
t.teardown(() => {
  for (const device of devices) device.dispose();
});

/** Outputs of a case on a device, as bits. */
function outputsOf(device: Device, opCase: OpCase): Uint32Array[] {
  const data = caseData(opCase);
  const buffers: BufferId[] = [];
  const keep = (values: Float32Array): BufferId => {
    const buffer = put(device, values);
    buffers.push(buffer);
    return buffer;
  };
  const inputs = data.inputs.map((values) => (values === null ? 0 : keep(Float32Array.from(values))));
  const outputs = data.outputs.map((values) => {
    if (values === null) return null;
    const contents = typeof values === 'number' ? new Float32Array(values) : Float32Array.from(values);
    return { buffer: keep(contents), size: contents.length };
  });
  device.run(opCase.row, [...inputs, ...outputs.map((output) => output?.buffer ?? 0)], packedAttributes(opCase));
  const results = outputs.map((output) => {
    const values = new Uint32Array(output?.size ?? 0);
    if (output !== null) device.readSync(output.buffer, values);
    return values;
  });
  for (const buffer of buffers) device.release(buffer);
  return results;
}

/** The four convolution ops of one problem; `pad` before and after each axis. */
function convolutionCases(
  name: string,
  [n, d, h, w, inC]: [number, number, number, number, number],
  outC: number,
  kernel: [number, number, number],
  stride: [number, number, number] = [1, 1, 1],
  pad: [number, number] = [0, 0],
): OpCase[] {
  const out = [d, h, w].map((size, i) => Math.floor((size + pad[0] + pad[1] - kernel[i]!) / stride[i]!) + 1);
  const [outD, outH, outW] = out as [number, number, number];
  const [[kD, kH, kW], [sD, sH, sW]] = [kernel, stride];
  const [padD, padH, padW] = [pad[0], pad[0], pad[0]];
  const attributes = {
    n,
    inD: d,
    inH: h,
    inW: w,
    inC,
    outD,
    outH,
    outW,
    outC,
    kD,
    kH,
    kW,
    sD,
    sH,
    sW,
    padD,
    padH,
    padW,
  };
  const inSize = n * d * h * w * inC;
  const outSize = n * out[0]! * out[1]! * out[2]! * outC;
  const taps = kernel[0] * kernel[1] * kernel[2];
  const weight = normal(taps * inC * outC);
  const voxels = outSize / outC;
  return [
    {
      row: 'conv3d_forward',
      name,
      attributes,
      inputs: [normal(inSize), weight, normal(outC)],
      outputs: [outSize],
      terms: taps * inC,
    },
    {
      row: 'conv3d_grad_input',
      name,
      attributes,
      inputs: [normal(outSize), weight, normal(inC)],
      outputs: [inSize],
      terms: taps * outC,
    },
    {
      row: 'conv3d_grad_weight',
      name,
      attributes,
      inputs: [normal(inSize), normal(outSize)],
      outputs: [taps * inC * outC, outC],
      terms: voxels,
    },
    ...[0, 1].flatMap((transposed): OpCase[] => {
      const size = transposed ? inSize : outSize;
      const channels = n * (transposed ? inC : outC);
      if (size / channels < 8) return [];
      return [
        {
          row: 'conv3d_norm_relu',
          name: `${name}, transposed ${transposed}`,
          attributes: { ...attributes, transposed, relu: 1, epsilon: 1e-5 },
          inputs: [normal(transposed ? outSize : inSize), weight, normal(size)],
          outputs: [size, size, channels, channels],
          terms: taps * (inC + outC),
          conditioning: 4,
        },
      ];
    }),
  ];
}

const unit: [number, number, number] = [1, 1, 1];
const cube: [number, number, number] = [3, 3, 3];
/** Shapes that take every branch of assembly/kernels/geometry.ts. */
const shapes: OpCase[] = [
  ...convolutionCases('gathered patches, rows of several tiles', [1, 3, 9, 70, 1], 16, cube, unit, [1, 1]),
  ...convolutionCases('gathered patches, one row cut into columns', [1, 2, 3, 601, 1], 8, cube, unit, [1, 1]),
  ...convolutionCases('strips, several rows', [2, 4, 10, 6, 18], 14, cube, unit, [1, 1]),
  ...convolutionCases('strips, one row cut into columns', [1, 2, 3, 150, 22], 6, cube, unit, [1, 1]),
  ...convolutionCases('padded copy, groups of panels', [1, 3, 6, 6, 70], 86, cube, unit, [1, 1]),
  ...convolutionCases('minimal filtering, odd sizes', [2, 5, 7, 9, 8], 16, cube, unit, [1, 1]),
  ...convolutionCases('minimal filtering, no borders', [1, 6, 8, 8, 16], 8, cube),
  ...convolutionCases('minimal filtering, several tiles', [1, 6, 22, 42, 24], 16, cube, unit, [1, 1]),
  ...convolutionCases('minimal filtering, groups of panels', [1, 6, 6, 6, 64], 72, cube, unit, [1, 1]),
  ...convolutionCases('direct, stride 2', [1, 4, 6, 10, 16], 24, [2, 2, 2], [2, 2, 2]),
  ...convolutionCases('direct, one long row of voxels', [2, 3, 17, 30, 9], 7, unit),
  ...convolutionCases('stride above kernel: voxels without taps', [1, 5, 6, 7, 3], 5, unit, [2, 3, 2]),
  ...convolutionCases('uneven kernel, stride and borders', [1, 6, 7, 9, 5], 11, [3, 3, 4], [2, 1, 3], [1, 2]),
  ...convolutionCases('long kernel', [1, 1, 5, 20, 2], 3, [1, 5, 7], unit, [0, 0]),
];

/** Some cases of every row; test/ops/devices.test.ts runs all of them, on as many threads as there are cores. */
const someCases = Object.keys(kernelTable).flatMap((row) => {
  const cases = opCases.filter((each) => each.row === row);
  const step = Math.max(1, Math.floor(cases.length / 4));
  return cases.filter((_, i) => i % step === 0);
});

t.test('cases of the op table and shapes of the convolution engine', (t) => {
  for (const opCase of [...shapes, ...someCases]) {
    const result = checkCase(pair, opCase);
    t.ok(result.ok && !result.refused, `${result.name}: ${result.detail}`);
  }
  const covered = new Set(someCases.map(({ row }) => row));
  t.same(
    Object.keys(kernelTable).filter((row) => !covered.has(row as KernelName)),
    [],
  );
  t.end();
});

t.test('the number of threads changes no bit', (t) => {
  t.same(
    devices.map(({ threads }) => threads),
    [1, 2, 3],
  );
  for (const opCase of [...shapes, ...someCases]) {
    const expected = outputsOf(single, opCase);
    for (const device of devices.slice(1)) {
      const actual = outputsOf(device, opCase);
      const equal = expected.every((bits, i) => bits.every((value, at) => value === actual[i]![at]));
      t.ok(equal, `${opCase.row}, ${opCase.name}: ${device.threads} threads`);
    }
  }
  for (const device of devices) t.equal(device.memory().buffers, 0);
  t.end();
});

/** Largest error of a function over many floats, in units in the last place of the exact result. */
function worstError(kind: (typeof unaryKinds)[number], exact: (x: number) => number, inputs: Float32Array): number {
  const input = put(single, inputs);
  const output = single.allocate(inputs.byteLength);
  single.run('unary', [input, output], [unaryKinds.indexOf(kind), inputs.length, 0, 0]);
  const results = get(single, output, inputs.length);
  single.release(input);
  single.release(output);
  let worst = 0;
  for (const [i, x] of inputs.entries()) {
    const wanted = exact(x);
    const ulp = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(wanted)))) - 23);
    const error = Math.abs(results[i]! - wanted) / ulp;
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

t.test('exp, log and their kin within a few units in the last place', (t) => {
  const grid = (low: number, high: number) =>
    Float32Array.from({ length: 200_001 }, (_, i) => low + ((high - low) * i) / 200_000);
  const powers = (low: number, high: number) => grid(low, high).map((x) => 2 ** x);
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const table: [(typeof unaryKinds)[number], (x: number) => number, Float32Array, number][] = [
    ['exp', Math.exp, grid(-103, 88.7), 2],
    ['exp', Math.exp, grid(-1e-3, 1e-3), 2],
    ['log', Math.log, powers(-149, 127.9), 2],
    ['log', Math.log, grid(0.9, 1.1), 2],
    ['log1p', Math.log1p, powers(-30, 30), 3],
    ['log1p', Math.log1p, grid(-0.999, 3), 3],
    ['expm1', Math.expm1, grid(-20, 88), 3],
    ['expm1', Math.expm1, powers(-40, 0), 3],
    ['sigmoid', sigmoid, grid(-85, 85), 4],
    ['tanh', Math.tanh, grid(-10, 10), 4],
    ['tanh', Math.tanh, powers(-40, 3), 4],
    ['softplus', softplus, grid(-80, 80), 4],
  ];
  for (const [kind, exact, inputs, allowed] of table) {
    const error = worstError(kind, exact, inputs);
    t.ok(error <= allowed, `${kind} on [${inputs[0]}, ${inputs.at(-1)}]: ${error.toFixed(2)}`);
  }
  t.end();
});

t.test('sums over many elements keep their digits', (t) => {
  const count = 3_000_001;
  const values = new Float32Array(count).fill(0.1);
  const input = put(single, values);
  const output = single.allocate(4);
  single.run('reduce', [input, output], [0, 1, count, 1]);
  t.equal(get(single, output, 1)[0], Math.fround(Math.fround(0.1) * count));
  // a mean far from 0: variance by cancellation would be lost
  single.write(
    input,
    values.map((_, i) => 1000 + (i % 2)),
  );
  const normalized = single.allocate(values.byteLength);
  const rstd = single.allocate(4);
  single.run('instance_norm_relu', [input, normalized, 0, rstd], [1, count - 1, 1, 0, 0]);
  const [found] = get(single, rstd, 1);
  t.ok(Math.abs(found! - 2) < 1e-5, `rstd ${found}`);
  for (const buffer of [input, output, normalized, rstd]) single.release(buffer);
  t.end();
});

t.test('buffers are counted, reused, poisoned, and dead ids are errors', (t) => {
  const start = single.memory();
  t.equal(start.buffers, 0);
  t.equal(start.bytesInUse, 0);
  const first = single.allocate(4000);
  const second = single.allocate(12);
  t.match(single.memory(), { buffers: 2, bytesInUse: 4012 });
  const values = new Float32Array(1000);
  single.readSync(first, values);
  t.ok(values.every(Number.isNaN), 'new buffers are poisoned');
  single.release(first);
  t.match(single.memory(), { buffers: 1, bytesInUse: 12 });
  for (const id of [first, 0, -1, 0.5, Number.NaN, second + 1]) {
    t.match(
      coded(() => single.release(id)),
      { code: 'VERSEMI_KERNEL_FAILED', message: /live buffer/ },
      `${id}`,
    );
    t.match(
      coded(() => single.readSync(id, values)),
      { code: 'VERSEMI_KERNEL_FAILED' },
    );
  }
  t.match(
    coded(() => single.run('fill', [first], [4, 1])),
    { code: 'VERSEMI_KERNEL_FAILED', message: /fill, buffer output.*not live/ },
  );
  t.match(
    coded(() => single.write(second, new Uint8Array(13))),
    { message: /12 bytes/ },
  );
  t.match(
    coded(() => single.readSync(second, new Float32Array(4))),
    { message: /12 bytes/ },
  );
  single.release(second);
  single.trim();
  t.equal(single.memory().buffers, 0);
  t.end();
});

t.test('every op checks its buffers and attributes before it runs', (t) => {
  const tiny = single.allocate(0);
  for (const kernel of Object.keys(kernelTable) as KernelName[]) {
    const { attributes, buffers: count } = callOfTwos(kernel);
    const buffers = new Array<BufferId>(count).fill(tiny);
    t.equal(single.refuses(kernel, attributes), null, `${kernel} takes these attributes`);
    const failure = (ids: readonly BufferId[], numbers: readonly number[]) =>
      coded(() => single.run(kernel, ids, numbers));
    const code = 'VERSEMI_KERNEL_FAILED';
    t.match(failure(buffers, attributes), { code, message: /expected \d+ bytes, found 0/ }, `${kernel}: empty buffers`);
    t.match(
      failure(buffers.fill(0), attributes),
      { code, message: /must not be absent, found none/ },
      `${kernel}: no buffers`,
    );
    t.match(failure([...buffers, tiny], attributes), { code }, `${kernel}: one buffer too many`);
    t.match(failure(buffers, attributes.slice(0, -1)), { code }, `${kernel}: one attribute too few`);
    for (let i = 0; i < attributes.length; i++) {
      for (const value of [Number.NaN, -3, 0.25, 1e300]) {
        t.match(
          failure(buffers.fill(tiny), attributes.with(i, value)),
          { code },
          `${kernel}: attribute ${i} = ${value}`,
        );
      }
    }
  }
  t.match(single.refuses('binary', [99, 0]), /kind/);
  t.match(single.refuses('transpose', [9]), /rank.*from 0 to 8/);
  single.release(tiny);
  t.end();
});

t.test('memory beyond 2 GiB is used like any other, and the end of memory is a coded error', async (t) => {
  process.env.VERSEMI_POISON = '0';
  const device = await createWasmDevice({ threads: 2, smallestSharedWork: 0 });
  process.env.VERSEMI_POISON = '1';
  t.teardown(() => device.dispose());
  const wide = device.allocate(2.5 * 2 ** 30);
  for (const opCase of shapes.slice(0, 5)) t.match(checkCase(device, opCase), { ok: true });
  t.match(
    coded(() => device.allocate(2 ** 31)),
    { code: 'VERSEMI_DEVICE_OUT_OF_MEMORY', message: /2048 MiB more.*2560 MiB in use/ },
  );
  t.match(
    coded(() => device.allocate(1e15)),
    { code: 'VERSEMI_DEVICE_OUT_OF_MEMORY' },
  );
  t.match(
    coded(() => device.allocate(-1)),
    { code: 'VERSEMI_DEVICE_OUT_OF_MEMORY' },
  );
  t.match(device.memory(), { buffers: 1, bytesInUse: 2.5 * 2 ** 30 });
  device.release(wide);
  t.ok(device.memory().bytesPooled >= 2.5 * 2 ** 30);
});

t.test('threads: how many, and what happens without them', async (t) => {
  for (const threads of [0, -1, 1.5, 1e6]) {
    await t.rejects(createWasmDevice({ threads }), { code: 'VERSEMI_DEVICE_UNAVAILABLE', message: /threads/ });
  }
  process.env.VERSEMI_THREADS = '2';
  const two = await createWasmDevice();
  delete process.env.VERSEMI_THREADS;
  t.equal(two.threads, 2);
  t.match(two.description, /2 threads/);
  two.dispose();
  two.dispose();
  t.match(
    coded(() => two.allocate(4)),
    { message: /disposed/ },
  );
  const shared = globalThis.SharedArrayBuffer;
  // @ts-expect-error a page that is not cross-origin isolated has none
  globalThis.SharedArrayBuffer = undefined;
  const alone = await createWasmDevice({ threads: 4 });
  globalThis.SharedArrayBuffer = shared;
  t.equal(alone.threads, 1);
  t.match(alone.description, /1 thread \(.*SharedArrayBuffer/);
  t.ok(checkCase(alone, shapes[0]!).ok);
  alone.dispose();
});

t.test('after a thread has failed the device goes on alone', async (t) => {
  const device = await createWasmDevice({ threads: 3, smallestSharedWork: 0 });
  t.teardown(() => device.dispose());
  const inside = device as unknown as { kernels: { run(op: number, call: number, parts: number): void } };
  const { kernels } = inside;
  const id = device.allocate(64);
  // the other threads start with an op that there is not, and trap
  inside.kernels = { ...kernels, run: (_, call, parts) => kernels.run(99, call, parts) };
  t.match(
    coded(() => device.run('fill', [id], [16, 1])),
    { code: 'VERSEMI_KERNEL_FAILED', message: /fill, WebAssembly/ },
  );
  inside.kernels = kernels;
  t.equal(device.threads, 1);
  device.run('fill', [id], [16, 3]);
  const values = new Float32Array(16);
  device.readSync(id, values);
  t.ok(values.every((value) => value === 3));
  device.release(id);
});

t.test('idle threads do not keep the process alive', (t) => {
  const script = `
    import { createWasmDevice } from ${JSON.stringify(new URL('../../src/tfjs/devices/wasm-device.js', import.meta.url).href)};
    const device = await createWasmDevice({ threads: 3, smallestSharedWork: 0 });
    const buffer = device.allocate(4000);
    device.run('fill', [buffer], [1000, 2]);
    console.log(device.description);
  `;
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 30_000 });
  t.equal(status, 0);
  t.match(String(stdout), /3 threads/);
  t.end();
});
