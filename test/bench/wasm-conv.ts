/**
 * Convolutions of the V-Net (METHOD: base width 16, patch 96) on the device wasm: milliseconds and GFLOP/s per layer for
 * the fused forward op and both gradients, on one thread and on two.
 *
 * `node dist/test/bench/wasm-conv.js [threads,threads...] [edge] [repeats]`
 */
import type { BufferId, Device } from '../../src/tfjs/devices/device.js';
import { createWasmDevice } from '../../src/tfjs/devices/wasm-device.js';
import type { KernelName } from '../../src/tfjs/table/kernel-table.js';

interface Layer {
  readonly name: string;
  /** Edge of the larger tensor as a fraction of the patch. */
  readonly scale: number;
  readonly channels: readonly [number, number];
  readonly kernel: number;
  readonly transposed?: boolean;
  /** How often the network has it. */
  readonly count: number;
}

const layers: readonly Layer[] = [
  { name: '1 -> 16, 3^3', scale: 1, channels: [1, 16], kernel: 3, count: 1 },
  { name: '16 -> 32, 2^3 s2', scale: 1, channels: [16, 32], kernel: 2, count: 1 },
  { name: '32 -> 32, 3^3', scale: 2, channels: [32, 32], kernel: 3, count: 4 },
  { name: '32 -> 64, 2^3 s2', scale: 2, channels: [32, 64], kernel: 2, count: 1 },
  { name: '64 -> 64, 3^3', scale: 4, channels: [64, 64], kernel: 3, count: 6 },
  { name: '64 -> 128, 2^3 s2', scale: 4, channels: [64, 128], kernel: 2, count: 1 },
  { name: '128 -> 128, 3^3', scale: 8, channels: [128, 128], kernel: 3, count: 6 },
  { name: '128 -> 256, 2^3 s2', scale: 8, channels: [128, 256], kernel: 2, count: 1 },
  { name: '256 -> 256, 3^3', scale: 16, channels: [256, 256], kernel: 3, count: 3 },
  { name: '256 -> 128, 2^3 up', scale: 8, channels: [128, 256], kernel: 2, transposed: true, count: 1 },
  { name: '128 -> 64, 2^3 up', scale: 4, channels: [64, 128], kernel: 2, transposed: true, count: 1 },
  { name: '64 -> 32, 2^3 up', scale: 2, channels: [32, 64], kernel: 2, transposed: true, count: 1 },
  { name: '32 -> 16, 2^3 up', scale: 1, channels: [16, 32], kernel: 2, transposed: true, count: 1 },
  { name: '16 -> 8, 1^3', scale: 1, channels: [16, 8], kernel: 1, count: 1 },
];

const passes = ['forward', 'gradInput', 'gradWeight'] as const;

function random(device: Device, count: number): BufferId {
  const values = new Float32Array(count);
  let state = 1;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = state / 2 ** 31;
  }
  const buffer = device.allocate(count * 4);
  device.write(buffer, values);
  return buffer;
}

/** Best time of one layer and pass, milliseconds, and its GFLOP. */
function measure(device: Device, layer: Layer, pass: (typeof passes)[number], patch: number, repeats: number) {
  const { kernel, transposed = false } = layer;
  const [inC, outC] = layer.channels;
  const edge = Math.max(2, Math.round(patch / layer.scale));
  const stride = kernel === 2 ? 2 : 1;
  const pad = kernel === 3 ? 1 : 0;
  const out = kernel === 2 ? edge / 2 : edge;
  const problem = [1, edge, edge, edge, inC, out, out, out, outC, kernel, kernel, kernel, stride, stride, stride];
  problem.push(pad, pad, pad);
  const large = random(device, edge ** 3 * inC);
  const small = random(device, out ** 3 * outC);
  const weight = random(device, kernel ** 3 * inC * outC);
  const gradWeight = device.allocate(kernel ** 3 * inC * outC * 4);
  const [input, output] = transposed ? [small, large] : [large, small];
  let call: [KernelName, BufferId[], number[]];
  if (pass === 'forward')
    call = ['conv3d_norm_relu', [input, weight, 0, output, 0, 0, 0], [...problem, transposed ? 1 : 0, 1, 1e-5]];
  else if (pass === 'gradWeight') call = ['conv3d_grad_weight', [large, small, gradWeight, 0], problem];
  else if (transposed) call = ['conv3d_forward', [large, weight, 0, small], problem];
  else call = ['conv3d_grad_input', [small, weight, 0, large], problem];
  const [name, buffers, attributes] = call;
  let best = Number.POSITIVE_INFINITY;
  for (let i = -1; i < repeats; i++) {
    const start = performance.now();
    device.run(name, buffers, attributes);
    if (i >= 0) best = Math.min(best, performance.now() - start);
  }
  for (const buffer of [large, small, weight, gradWeight]) device.release(buffer);
  return { milliseconds: best, gflop: (2 * out ** 3 * kernel ** 3 * inC * outC) / 1e9 };
}

const [threadList = '1,2', patch = '96', repeats = '5'] = process.argv.slice(2);
for (const threads of threadList.split(',').map(Number)) {
  const device = await createWasmDevice({ threads });
  console.log(`${device.description}\nlayer               x  ${passes.map((pass) => pass.padStart(22)).join('')}`);
  const totals = passes.map(() => ({ milliseconds: 0, gflop: 0 }));
  for (const layer of layers) {
    const cells = passes.map((pass, i) => {
      const { milliseconds, gflop } = measure(device, layer, pass, Number(patch), Number(repeats));
      totals[i]!.milliseconds += milliseconds * layer.count;
      totals[i]!.gflop += gflop * layer.count;
      return cell(milliseconds, gflop);
    });
    console.log(`${layer.name.padEnd(20)}${layer.count}  ${cells.join('')}`);
  }
  console.log(`network                ${totals.map((total) => cell(total.milliseconds, total.gflop)).join('')}\n`);
  device.dispose();
}

function cell(milliseconds: number, gflop: number): string {
  return `${milliseconds.toFixed(1)} ms ${((gflop / milliseconds) * 1e3).toFixed(1).padStart(5)} GF/s`.padStart(22);
}
