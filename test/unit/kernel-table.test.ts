// The kernel table itself, the files that are made from it, and that TypeScript and native code read it alike.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { RandomStream, streams } from '../../src/random.js';
import { packageRoot } from '../../src/root.js';
import type { Device } from '../../src/tfjs/devices/device.js';
import { loadNativeDevice, nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { createWasmDevice } from '../../src/tfjs/devices/wasm-device.js';
import { type BufferNeed, bufferNeeds, buffersOf, CallError, inputCount } from '../../src/tfjs/table/call-check.js';
import { compileExpression, parseExpression, printExpression } from '../../src/tfjs/table/expression.js';
import { type KernelName, kernelTable } from '../../src/tfjs/table/kernel-table.js';
import { callOfTwos } from './table-support.js';

const kernels = Object.keys(kernelTable) as KernelName[];

t.test('the generated files follow the table', async (t) => {
  const url = pathToFileURL(join(packageRoot, 'src/tfjs/table/generate.mjs')).href;
  const { generate } = (await import(url)) as { generate(): Promise<Record<string, string>> };
  const files = await generate();
  t.equal(Object.keys(files).length, 3);
  for (const [path, text] of Object.entries(files))
    t.ok(readFileSync(join(packageRoot, path), 'utf8') === text, `${path} is not stale (npm run build writes it)`);
});

t.test('rows: codes stand once, every expression has a meaning', async (t) => {
  const codes = kernels.map((name) => kernelTable[name].code);
  t.equal(new Set(codes).size, codes.length);
  for (const kernel of kernels) {
    const { attributes, buffers } = callOfTwos(kernel);
    const needs = bufferNeeds(kernel, attributes);
    t.ok(
      needs.every(({ elements }) => Number.isInteger(elements)),
      `${kernel}: ${needs.map(({ name, elements }) => `${name} ${elements}`).join(', ')}`,
    );
    const outputs = buffersOf(kernel).filter(({ output }) => output);
    t.equal(
      buffers - inputCount(kernel, buffers),
      outputs.some(({ repeated }) => repeated) ? outputs.length + 1 : outputs.length,
    );
  }
});

t.test('expressions', async (t) => {
  const names = ['a', 'b', 'shape', 'strides'];
  const evaluate = (text: string, ...values: (number | number[])[]) =>
    compileExpression(parseExpression(text), (name) => names.indexOf(name))(values, 1);
  t.equal(evaluate('2 + a * b - 1', 3, 4), 13);
  t.equal(evaluate('(2 + a) * (b - 1)', 3, 4), 15);
  t.equal(evaluate('a - b - 1', 9, 4), 4, 'from the left');
  t.equal(evaluate('a ? b : a == 0 ? 7 : 8', 0, 4), 7);
  t.equal(evaluate('a <= b', 4, 4), 1);
  t.equal(evaluate('a < b', 4, 4), 0);
  t.equal(evaluate('a * shape', 2, 0, [5, 6]), 12, 'a list stands for its element');
  t.equal(evaluate('extent(shape, strides)', 0, 0, [2, 3], [10, 1]), 13);
  t.equal(evaluate('extent(shape, strides)', 0, 0, [2, 0], [10, 1]), 0);
  t.equal(evaluate('strided(a, b, 6)', 3, 10), 26);
  t.equal(evaluate('product(shape) + sum(strides)', 0, 0, [2, 3], [4, 5]), 15);
  for (const wrong of ['', '2 +', 'a b', '(a', 'median(a)', 'a $ b', '*'])
    t.throws(() => parseExpression(wrong), /expression/, JSON.stringify(wrong));
  t.equal(
    printExpression(parseExpression('a ? inC : 2 * b'), (name) => `<${name}>`),
    '(<a> != 0.0 ? <inC> : (2.0 * <b>))',
  );
});

t.test('what is no call is refused', async (t) => {
  const refused = (kernel: KernelName, attributes: number[], message: RegExp) =>
    t.throws(() => bufferNeeds(kernel, attributes), message, `${kernel} ${attributes}`);
  refused('slice', [1, 4, 2, 3], /isWithin\(begin, size, shape\)/);
  refused('transpose', [2, 3, 4, 1, 1], /isPermutation/);
  refused('aggregate_max', [1, 2, 8, 3], /real <= prompts/);
  refused('concat', [2 ** 20, 1], /only 2 attributes/);
  refused('fill', [2 ** 47, 0], /from 0 to/);
  refused('reduce', [0, 2 ** 40, 2 ** 40, 1], /buffer input.*at most/);
  const { attributes } = callOfTwos('conv3d_forward');
  refused('conv3d_forward', attributes.with(15, 2), /padD < kD/);
  refused('conv3d_forward', attributes.with(6, 3), /\(outH - 1\) \* sH - padH < inH/);
  t.throws(() => bufferNeeds('nothing' as never, []), /a row of the kernel table/);
});

/** A legal call in which some attributes are changed, mostly to something near. */
function* variations(kernel: KernelName, count: number): Generator<number[]> {
  const random = new RandomStream(5, streams.test, kernelTable[kernel].code);
  const hostile = [Number.NaN, Number.POSITIVE_INFINITY, -1, 0.5, 2 ** 20, 2 ** 31, 2 ** 46, 2 ** 47, 1e300];
  const pick = <T>(from: readonly T[]) => from[Math.min(from.length - 1, Math.floor(random.uniform() * from.length))]!;
  for (let i = 0; i < count; i++) {
    const attributes = callOfTwos(kernel).attributes;
    const changes = 1 + Math.floor(random.uniform() * 4);
    for (let change = 0; change < changes; change++) {
      const at = Math.floor(random.uniform() * attributes.length);
      attributes[at] = random.uniform() < 0.1 ? pick(hostile) : pick([0, 1, 2, 3, 4, 5]);
    }
    if (random.uniform() < 0.05) attributes.pop();
    if (random.uniform() < 0.05) attributes.push(1);
    yield attributes;
  }
}

function needsOrNothing(kernel: KernelName, attributes: number[]): BufferNeed[] | undefined {
  try {
    return bufferNeeds(kernel, attributes);
  } catch (error) {
    if (error instanceof CallError) return undefined;
    throw error;
  }
}

/** Runs a call with buffers of exactly the elements needed, then with each of them an element too small. */
function runExactly(
  t: Test,
  device: Device,
  kernel: KernelName,
  attributes: number[],
  needs: readonly BufferNeed[],
): void {
  const allocate = (elements: number) => {
    const buffer = device.allocate(4 * elements);
    if (elements > 0) device.write(buffer, new Float32Array(elements));
    return buffer;
  };
  const buffers = needs.map(({ elements }) => allocate(elements));
  const what = `${device.name}, ${kernel} [${attributes}]`;
  t.doesNotThrow(() => device.run(kernel, buffers, attributes), what);
  for (const [i, { name, elements }] of needs.entries()) {
    if (elements === 0) continue;
    const small = allocate(elements - 1);
    t.throws(
      () => device.run(kernel, buffers.with(i, small), attributes),
      new RegExp(`buffer ${name}.*expected`),
      `${what}: ${name} is an element too small`,
    );
    device.release(small);
  }
  for (const [i, { name, optional }] of needs.entries()) {
    if (optional) continue;
    t.throws(
      () => device.run(kernel, buffers.with(i, 0), attributes),
      new RegExp(`buffer ${name}`),
      `${what}: without ${name}`,
    );
  }
  for (const buffer of buffers) device.release(buffer);
}

const unavailable = nativeUnavailableReason();

t.test('native code and TypeScript take the same calls', { skip: unavailable ?? false }, async (t) => {
  const device = loadNativeDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  let [taken, refused] = [0, 0];
  for (const kernel of kernels) {
    let ran = 0;
    for (const attributes of variations(kernel, 400)) {
      const needs = needsOrNothing(kernel, attributes);
      const reason = device.refuses(kernel, attributes);
      if (needs === undefined) {
        refused++;
        if (reason === null) t.fail(`${kernel} [${attributes}] is no call, and native code takes it`);
      } else {
        taken++;
        if (reason !== null && /^(attribute|buffer)/.test(reason))
          t.fail(`${kernel} [${attributes}] is a call, and native code says: ${reason}`);
        const elements = needs.reduce((sum, need) => sum + need.elements, 0);
        if (reason === null && elements < 1e5 && ran++ < 12) runExactly(t, device, kernel, attributes, needs);
      }
    }
  }
  t.ok(taken > 3000 && refused > 1500, `${taken} taken, ${refused} refused`);
});

t.test('the device wasm checks sizes of buffers', async (t) => {
  const device = await createWasmDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  for (const kernel of kernels) {
    const { attributes } = callOfTwos(kernel);
    runExactly(t, device, kernel, attributes, bufferNeeds(kernel, attributes));
  }
});
