import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { VersemiNetwork } from '../model/network.js';
import { medianOf } from '../preprocessing/fingerprint.js';
import { RandomStream, streams } from '../random.js';
import { conv3dNormRelu, type DeviceChoice, type DeviceOptions, deviceOptions, selectDevice } from '../tfjs/index.js';

/** One line of `versemi bench`. */
export interface BenchRow {
  readonly name: string;
  readonly device: string;
  readonly threads: number;
  /** Median over the runs. */
  readonly milliseconds: number;
  /** 10^9 floating-point operations per second; a multiply-add counts as two. */
  readonly gflops: number;
  /** What else does the same work; null where nothing else is installed. */
  readonly peer: string | null;
  readonly peerMilliseconds: number | null;
}

export interface BenchOptions extends DeviceOptions {
  readonly device: DeviceChoice;
  readonly only?: readonly string[];
  readonly runs: number;
  /** Edge of the network's patch, voxels. */
  readonly patch: number;
  /** Folder with the peers' programs. */
  readonly peers: string;
}

interface Peer {
  readonly name: string;
  /** Programs that can run it: the first one that does. */
  readonly commands: readonly string[];
  readonly args: readonly string[];
}

interface BenchCase {
  readonly name: string;
  readonly flops: (patch: number) => number;
  /** Builds what is timed; one call of `run` is one run, and waits for its result. */
  readonly prepare: (patch: number) => { run: () => Promise<void>; dispose: () => void };
  readonly peer: (device: string, threads: number, options: BenchOptions) => Peer | undefined;
}

/** Multiply-adds of the paper's network at 1 x 96^3 (METHOD: network). */
const networkMultiplyAdds = 29.47e9;
const networkFlops = (patch: number) => 2 * networkMultiplyAdds * (patch / 96) ** 3;
const paperNetwork = { baseWidth: 16, levels: 5, convolutions: [1, 2, 3, 3, 3], headWidth: 8, tasks: 4 };

/** Shapes of the network at 96^3: [edge, channels]. */
const layers = [
  [96, 16],
  [48, 32],
  [24, 64],
  [12, 128],
  [6, 256],
] as const;

export const benchCases: readonly BenchCase[] = [
  {
    name: 'vnet-forward',
    flops: networkFlops,
    prepare: (patch) => {
      const { network, image } = setUp(patch);
      return {
        run: async () => {
          const logits = tf.tidy(() => network.logits(network.trunk(image), [[0]], 'moving'));
          await logits.data();
          logits.dispose();
        },
        dispose: () => {
          network.dispose();
          image.dispose();
        },
      };
    },
    peer: (device, threads, { runs, patch, peers }) =>
      nodePeer(peers, device === 'cpu' ? 'onnxruntime-node' : 'onnxruntime-web', 'onnxruntime.mjs', [
        device === 'cpu' ? 'node' : 'web',
        threads,
        runs,
        patch,
      ]),
  },
  {
    name: 'vnet-training',
    flops: (patch) => 3 * networkFlops(patch),
    prepare: (patch) => {
      const { network, image } = setUp(patch);
      const variables = [...network.parameters.values()];
      return {
        run: async () => {
          const { value, grads } = tf.variableGrads(
            () => tf.mean(tf.square(network.logits(network.trunk(image), [[0]], 'batch'))) as tf.Scalar,
            variables,
          );
          await value.data();
          await Object.values(grads)[0]!.data();
          tf.dispose([value, grads]);
        },
        dispose: () => {
          network.dispose();
          image.dispose();
        },
      };
    },
    peer: (_device, threads, { runs, patch, peers }) => ({
      name: 'PyTorch',
      // The first Python on the path is not always the one that has PyTorch.
      commands: ['python3', '/usr/bin/python3'],
      args: [join(peers, 'pytorch.py'), 'training', String(threads), String(runs), String(patch)],
    }),
  },
  ...layers.map(
    ([edge, channels]): BenchCase => ({
      name: `conv3d-${channels}-${edge}`,
      flops: () => 2 * 27 * channels ** 2 * edge ** 3,
      prepare: () => {
        const x = randomTensor([1, edge, edge, edge, channels]);
        const w = randomTensor([3, 3, 3, channels, channels]);
        return timed(() => tf.conv3d(x, w, 1, 'same'), [x, w]);
      },
      peer: (device, threads, { peers }) =>
        device === 'wasm' && threads === 1 && edge <= 24
          ? nodePeer(peers, '@tensorflow/tfjs-backend-wasm', 'tfjs-wasm.mjs', [edge, channels, channels, 1])
          : undefined,
    }),
  ),
  {
    name: 'conv3d-norm-relu-16-96',
    flops: () => 2 * 27 * 16 ** 2 * 96 ** 3,
    prepare: () => {
      const x = randomTensor([1, 96, 96, 96, 16]);
      const w = randomTensor([3, 3, 3, 16, 16]);
      return timed(() => conv3dNormRelu(x, w, null, { stride: 1 }), [x, w]);
    },
    peer: () => undefined,
  },
];

function setUp(patch: number) {
  return { network: new VersemiNetwork(paperNetwork, 0), image: randomTensor([1, patch, patch, patch, 1]) };
}

function timed(op: () => tf.Tensor, owned: tf.Tensor[]) {
  return {
    run: async () => {
      const output = op();
      // One number waits for all the work without copying the result.
      const probe = tf.tidy(() => tf.slice(output.flatten(), 0, 1));
      await probe.data();
      tf.dispose([output, probe]);
    },
    dispose: () => tf.dispose(owned),
  };
}

/** Reproducible values in [-1, 1): zeros would let a kernel seem faster or more exact than it is. */
export function randomTensor(shape: [number, number, number, number, number]): tf.Tensor5D {
  const random = new RandomStream(1, streams.test);
  // One pool of numbers, over and over: to draw each would take longer than what is timed.
  const pool = Float32Array.from({ length: 65_521 }, () => 2 * random.uniform() - 1);
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor5d(
    Float32Array.from({ length: size }, (_, i) => pool[i % pool.length]!),
    shape,
  );
}

function nodePeer(
  folder: string,
  packageName: string,
  program: string,
  args: readonly (string | number)[],
): Peer | undefined {
  if (!existsSync(join(folder, 'node_modules', packageName))) return undefined;
  return { name: packageName, commands: [process.execPath], args: [join(folder, program), ...args.map(String)] };
}

/** Times every case, and its peer right after it, on the chosen device. */
export async function* runBench(options: BenchOptions, onCase: (name: string) => void): AsyncGenerator<BenchRow> {
  const { device } = await selectDevice(options.device, deviceOptions(options));
  for (const { name, flops, prepare, peer } of benchCases) {
    if (options.only !== undefined && !options.only.includes(name)) continue;
    onCase(name);
    const { run, dispose } = prepare(options.patch);
    const times: number[] = [];
    try {
      await run();
      for (let i = 0; i < options.runs; i++) {
        const started = performance.now();
        await run();
        times.push(performance.now() - started);
      }
    } finally {
      dispose();
    }
    device.trim();
    const milliseconds = medianOf(times);
    const other = await peerTime(peer(device.name, device.threads, options));
    yield {
      name,
      device: device.name,
      threads: device.threads,
      milliseconds,
      gflops: flops(options.patch) / milliseconds / 1e6,
      peer: other?.name ?? null,
      peerMilliseconds: other?.milliseconds ?? null,
    };
  }
}

/** Peers run in processes of their own and print {"milliseconds": [...]}; one that cannot run is left out. */
async function peerTime(peer: Peer | undefined): Promise<{ name: string; milliseconds: number } | undefined> {
  if (peer === undefined) return undefined;
  for (const command of peer.commands) {
    try {
      const { stdout } = await promisify(execFile)(command, [...peer.args], { timeout: 600_000 });
      const { milliseconds } = JSON.parse(stdout) as { milliseconds: number[] };
      return { name: peer.name, milliseconds: medianOf(milliseconds) };
    } catch {
      // Not installed there.
    }
  }
  return undefined;
}
