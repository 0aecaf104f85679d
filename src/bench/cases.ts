import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '#tfjs';
import { onnxInterface, onnxNetwork } from '../exchange/onnx-network.js';
import { VersemiNetwork } from '../model/network.js';
import { RandomStream, streams } from '../random.js';
import { packageVersion } from '../root.js';
import { conv3dNormRelu } from '../tfjs/index.js';
import { batchCase } from './batch.js';
import { evaluationCase } from './evaluation.js';
import { metricsCase } from './metrics.js';
import { type BenchCase, type BenchOptions, type BenchRow, nodePeer, pythons, timeCases } from './run.js';

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
    prepare: async ({ patch, runs, peers, chosen: { name, threads } }) => {
      const { network, image } = setUp(patch);
      const [kind, packageName] = name === 'cpu' ? ['node', 'onnxruntime-node'] : ['web', 'onnxruntime-web'];
      const folder = await mkdtemp(join(tmpdir(), 'versemi-forward-'));
      const file = join(folder, 'network.onnx');
      const exported = onnxNetwork(network.config, await network.values(), {
        prompts: [0],
        dtype: 'float32',
        withoutTransposed: false,
      });
      await writeFile(
        file,
        exported.graph.model({
          ...onnxInterface(exported, network.config, [0]),
          ...{ producer: { name: 'versemi', version: packageVersion() }, description: '', metadata: {} },
        }),
      );
      return {
        peers: [nodePeer(peers, packageName!, 'onnxruntime.mjs', [kind!, threads, runs, patch, file])],
        run: async () => {
          const logits = tf.tidy(() => network.logits(network.trunk(image), [[0]], 'moving'));
          await logits.data();
          logits.dispose();
        },
        dispose: async () => {
          network.dispose();
          image.dispose();
          await rm(folder, { recursive: true });
        },
      };
    },
  },
  {
    name: 'vnet-training',
    flops: (patch) => 3 * networkFlops(patch),
    prepare: ({ patch, runs, peers, chosen: { threads } }) => {
      const { network, image } = setUp(patch);
      const variables = [...network.parameters.values()];
      return {
        peers: [
          {
            name: 'PyTorch',
            commands: pythons,
            args: [join(peers, 'pytorch.py'), 'training', String(threads), String(runs), String(patch)],
          },
        ],
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
  },
  ...layers.map(
    ([edge, channels]): BenchCase => ({
      name: `conv3d-${channels}-${edge}`,
      flops: () => 2 * 27 * channels ** 2 * edge ** 3,
      prepare: ({ peers, chosen: { name, threads } }) => {
        const x = randomTensor([1, edge, edge, edge, channels]);
        const w = randomTensor([3, 3, 3, channels, channels]);
        // Larger convolutions take this peer minutes.
        const comparable = name === 'wasm' && threads === 1 && edge <= 24;
        const args = [edge, channels, channels, 1];
        return {
          ...timed(() => tf.conv3d(x, w, 1, 'same'), [x, w]),
          peers: comparable ? [nodePeer(peers, '@tensorflow/tfjs-backend-wasm', 'tfjs-wasm.mjs', args)] : [],
        };
      },
    }),
  ),
  {
    name: 'conv3d-norm-relu-16-96',
    flops: () => 2 * 27 * 16 ** 2 * 96 ** 3,
    prepare: () => {
      const x = randomTensor([1, 96, 96, 96, 16]);
      const w = randomTensor([3, 3, 3, 16, 16]);
      return { ...timed(() => conv3dNormRelu(x, w, null, { stride: 1 }), [x, w]), peers: [] };
    },
  },
  evaluationCase,
  metricsCase,
  batchCase,
];

/** Times every case on the chosen device, and its peer right after it. @throws as `timeCases` */
export function runBench(options: BenchOptions): AsyncGenerator<BenchRow> {
  return timeCases(benchCases, options);
}

function setUp(patch: number) {
  return { network: new VersemiNetwork(paperNetwork, 0), image: randomTensor([1, patch, patch, patch, 1]) };
}

function timed(op: () => tf.Tensor, owned: tf.Tensor[]) {
  return {
    run: async () => {
      const output = op();
      // Reading one number back waits for all the work without copying the result.
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
  // The numbers of one small pool are repeated, because drawing each anew would take longer than what is timed.
  const pool = Float32Array.from({ length: 65_521 }, () => 2 * random.uniform() - 1);
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor5d(
    Float32Array.from({ length: size }, (_, i) => pool[i % pool.length]!),
    shape,
  );
}
