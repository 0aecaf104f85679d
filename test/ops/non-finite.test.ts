/**
 * NaN and infinity in the operands of a convolution stay visible: minimal filtering may spread them, and turn an infinity into NaN
 * (a difference of two), but no output is finite where plain sums are not. With `exact` an infinity stays one.
 */
import t from 'tap';
import type { Device } from '../../src/tfjs/devices/device.js';
import { loadNativeDevice, nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { createWasmDevice } from '../../src/tfjs/devices/wasm-device.js';
import { runPlain } from '../../src/tfjs/reference/plain-kernels.js';
import { bufferNeeds, inputCount, packAttributes } from '../../src/tfjs/table/call-check.js';
import type { KernelName } from '../../src/tfjs/table/kernel-table.js';

/** 3 x 3 x 3 taps, stride 1, enough channels and voxels for minimal filtering to be taken. */
const problem = {
  n: 1, inD: 8, inH: 9, inW: 10, inC: 16, outD: 8, outH: 9, outW: 10, outC: 16,
  kD: 3, kH: 3, kW: 3, sD: 1, sH: 1, sW: 1, padD: 1, padH: 1, padW: 1,
}; // biome-ignore format: groups
const fused = { ...problem, transposed: 0, relu: 1, epsilon: 1e-5 };

const calls: readonly (readonly [KernelName, Float64Array])[] = [
  ['conv3d_forward', packAttributes('conv3d_forward', problem)],
  ['conv3d_grad_input', packAttributes('conv3d_grad_input', problem)],
  ['conv3d_grad_weight', packAttributes('conv3d_grad_weight', problem)],
  ['conv3d_norm_relu', packAttributes('conv3d_norm_relu', fused)],
];

/** Outputs of a call whose operand `operand` holds `value` at one place; the others are ones and minus ones. */
function outputsOf(
  run: (buffers: Float32Array[]) => void,
  row: KernelName,
  attributes: Float64Array,
  operand: number,
  value: number,
): Float32Array[] {
  const needs = bufferNeeds(row, attributes);
  const buffers = needs.map(({ elements }) =>
    Float32Array.from({ length: elements }, (_, i) => (i % 3 === 0 ? -1 : 1)),
  );
  buffers[operand]![Math.floor(buffers[operand]!.length / 2)] = value;
  run(buffers);
  return buffers.slice(inputCount(row, needs.length));
}

function onDevice(device: Device, row: KernelName, attributes: Float64Array) {
  return (buffers: Float32Array[]) => {
    const ids = buffers.map(({ byteLength }) => device.allocate(byteLength));
    for (const [i, values] of buffers.entries()) device.write(ids[i]!, values);
    device.run(row, ids, attributes);
    for (const [i, values] of buffers.entries()) device.readSync(ids[i]!, values);
    for (const id of ids) device.release(id);
  };
}

const kindOf = (value: number) => (Number.isFinite(value) ? 'finite' : String(value));
const nonFinite = (outputs: readonly Float32Array[]) =>
  outputs.reduce((sum, output) => sum + output.filter((value) => !Number.isFinite(value)).length, 0);

const native = nativeUnavailableReason() ?? false;
for (const [name, skip, open] of [
  ['cpu', native, (exact: boolean) => loadNativeDevice({ threads: 2, exact })],
  ['wasm', false, (exact: boolean) => createWasmDevice({ threads: 2, exact })],
] as const)
  t.test(`NaN and infinity on ${name}`, { skip }, async (t) => {
    const [filtering, exact] = [await open(false), await open(true)];
    for (const [row, attributes] of calls)
      for (const operand of [0, 1])
        for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
          const what = `${row}, ${value} in operand ${operand}`;
          const outputs = (run: (buffers: Float32Array[]) => void) => outputsOf(run, row, attributes, operand, value);
          const plain = outputs((buffers) => runPlain(row, buffers, attributes));
          t.ok(nonFinite(plain) > 0, `${what}: plain sums show it`);
          const found = outputs(onDevice(filtering, row, attributes));
          const hidden = plain.flatMap((values, i) =>
            Array.from(values.filter((one, at) => !Number.isFinite(one) && Number.isFinite(found[i]![at]!))),
          );
          t.equal(hidden.length, 0, `${what}: shown`);
          if (row !== 'conv3d_forward' && row !== 'conv3d_grad_input') continue;
          const kinds = (results: readonly Float32Array[]) =>
            results.map((values) => Array.from(values, kindOf).join());
          const same = outputs(onDevice(exact, row, attributes));
          t.ok(`${kinds(same)}` === `${kinds(plain)}`, `${what}: exact is as plain sums`);
          if (operand === 0 && !Number.isNaN(value))
            t.ok(`${kinds(found)}` !== `${kinds(plain)}`, `${what}: filtering is taken`);
        }
    filtering.dispose();
    exact.dispose();
  });
