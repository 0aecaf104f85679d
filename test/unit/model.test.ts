import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import {
  bufferSpecs,
  elementCount,
  initialValues,
  type NetworkConfig,
  parameterCount,
  parameterSpecs,
} from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { vnet } from '../../src/model/vnet.js';
import { conv3dNormRelu } from '../../src/tfjs/ops/index.js';
import { availableBackends, fromPyTorchConvolution, fromPyTorchMatrix, wave } from './model-support.js';

const paper: NetworkConfig = { baseWidth: 16, levels: 5, convolutions: [1, 2, 3, 3, 3], headWidth: 8, tasks: 4 };
const small: NetworkConfig = { baseWidth: 2, levels: 3, convolutions: [1, 2, 1], headWidth: 4, tasks: 2 };

t.test('parameters per layer at the setting of the paper', async (t) => {
  const counts = new Map<string, number>();
  for (const { name, shape } of parameterSpecs(paper)) {
    const [part, level] = name.split('.') as [string, string];
    const layer = /^(encoder|decoder|up|down)$/.test(part) ? `${part}.${level}` : part;
    counts.set(layer, (counts.get(layer) ?? 0) + elementCount(shape));
  }
  t.same(Object.fromEntries(counts), {
    'encoder.0': 448,
    'down.0': 4_128,
    'encoder.1': 55_360,
    'down.1': 16_448,
    'encoder.2': 331_968,
    'down.2': 65_664,
    'encoder.3': 1_327_488,
    'down.3': 262_400,
    'encoder.4': 5_309_184,
    'up.3': 262_272,
    'decoder.3': 1_327_488,
    'up.2': 65_600,
    'decoder.2': 331_968,
    'up.1': 16_416,
    'decoder.1': 55_360,
    'up.0': 4_112,
    gap: 512,
    controller: 47_160 - 4_716, // 162 of the 180 numbers of the released code
    prehead: 168,
  });
  t.equal(parameterCount(paper), 9_484_144 - 4_716);
});

t.test('full resolution: the skip has no parameters, the block those of the encoder there', async (t) => {
  const added = (options: Partial<NetworkConfig>) => {
    const names = new Set(parameterSpecs({ ...small, ...options }).map(({ name }) => name));
    for (const { name } of parameterSpecs(small)) t.ok(names.delete(name), name);
    return [...names];
  };
  t.same(added({ fullResolutionSkip: true }), []);
  t.same(added({ fullResolutionBlock: true }), ['decoder.0.0.weight', 'decoder.0.0.bias']);
  t.equal(parameterCount({ ...paper, fullResolutionBlock: true }) - parameterCount(paper), 27 * 16 * 16 + 16);
});

t.test('initial values are uniform with the fan-in of PyTorch, and the same for a seed', async (t) => {
  const specs = parameterSpecs(paper);
  const index = specs.findIndex(({ name }) => name === 'encoder.2.1.weight');
  const values = initialValues(specs[index]!, 7, index);
  const bound = 1 / Math.sqrt(27 * 64);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  t.ok(values.every((value) => Math.abs(value) <= bound));
  t.ok(Math.abs(mean) < bound / 100);
  t.ok(Math.abs(deviation / (bound / Math.sqrt(3)) - 1) < 0.01, 'as a uniform distribution spreads');
  t.same(values, initialValues(specs[index]!, 7, index));
  t.not(values[0], initialValues(specs[index]!, 8, index)[0], 'another seed');
  t.not(values[0], initialValues(specs[index]!, 7, index + 1)[0], 'another parameter');
  const fanIn = (name: string) => specs.find((spec) => spec.name === name)!.initialization;
  t.same(fanIn('encoder.2.1.bias'), { fanIn: 27 * 64 });
  t.same(fanIn('up.3.weight'), { fanIn: 8 * 128 }, 'PyTorch takes the outputs of a transposed convolution');
  t.same(fanIn('controller.weight'), { fanIn: 256 });
  t.same(fanIn('controller.prompt'), { fanIn: 5 }, 'the prompt has a say from the start');
  t.equal(fanIn('gap.gamma'), 'ones');
  t.equal(fanIn('gap.beta'), 'zeros');
  t.same(
    bufferSpecs(paper).map(({ name, shape, initialization }) => [name, shape, initialization]),
    [
      ['gap.movingMean', [256], 'zeros'],
      ['gap.movingVariance', [256], 'ones'],
      ['prehead.movingMean', [16], 'zeros'],
      ['prehead.movingVariance', [16], 'ones'],
    ],
  );
});

t.test('layouts of PyTorch', async (t) => {
  // conv [out 2, in 3, 1, 1, 2]: value 100 out + 10 in + k
  const values = Float32Array.from(
    [0, 1].flatMap((o) => [0, 1, 2].flatMap((i) => [0, 1].map((k) => 100 * o + 10 * i + k))),
  );
  t.same(
    [...fromPyTorchConvolution(values, [1, 1, 2, 3, 2])],
    [0, 1].flatMap((k) => [0, 1, 2].flatMap((i) => [0, 1].map((o) => 100 * o + 10 * i + k))),
  );
  t.same([...fromPyTorchMatrix(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2])], [1, 4, 2, 5, 3, 6]);
});

const image = (n: number, [depth, height, width]: readonly [number, number, number], offset = 0) =>
  tf.tensor(Float32Array.from(wave(n * depth * height * width, offset)), [n, depth, height, width, 1]) as tf.Tensor5D;

for (const backend of await availableBackends()) {
  t.test(`network on ${backend}`, async (t) => {
    await tf.setBackend(backend);
    const before = tf.memory().numTensors;
    const network = new VersemiNetwork(small, 3);

    t.test('every patch divisible by 2^(levels-1) works, all prompts in one pass', async (t) => {
      for (const patch of [
        [4, 8, 12],
        [8, 4, 4],
      ] as const) {
        const shapes = tf.tidy(() => {
          const trunk = network.trunk(image(2, patch));
          t.same(trunk.features.shape, [2, ...patch, 2]);
          t.same(trunk.bottleneck.shape, [2, ...patch.map((size) => size / 4), 8]);
          const logits = network.logits(
            trunk,
            [
              [0, 1, 2],
              [2, 1, 0],
            ],
            'moving',
          );
          return [logits.shape, logits.dataSync().every(Number.isFinite)];
        });
        t.same(shapes, [[2, 3, ...patch], true]);
      }
    });

    t.test('full resolution: what the encoder found there is added on the way up, then convolved', async (t) => {
      const config = { ...small, levels: 2, convolutions: [2, 1], fullResolutionSkip: true, fullResolutionBlock: true };
      const network = new VersemiNetwork(config, 3);
      const found = tf.tidy(() => {
        const images = tf.tensor([...wave(2 * 64, 1)], [2, 4, 4, 4, 1]) as tf.Tensor5D;
        const w = (name: string) => network.tensor<tf.Tensor5D>(`${name}.weight`);
        const convolved = (x: tf.Tensor5D, name: string) =>
          conv3dNormRelu(conv3dNormRelu(x, w(`${name}.0`), null), w(`${name}.1`), null);
        const top = convolved(images, 'encoder.0');
        const bottom = conv3dNormRelu(conv3dNormRelu(top, w('down.0'), null, { stride: 2 }), w('encoder.1.0'), null);
        const up = (skip?: tf.Tensor5D) =>
          conv3dNormRelu(bottom, w('up.0'), null, { stride: 2, transposed: true, ...(skip && { skip }) });
        const expected = [convolved(up(top), 'decoder.0'), convolved(up(), 'decoder.0'), up(top), up()];
        const options = [true, false].flatMap((block) => [true, false].map((skip) => [skip, block] as const));
        return options.map(([fullResolutionSkip, fullResolutionBlock], i) => {
          const { features } = vnet(images, { ...config, fullResolutionSkip, fullResolutionBlock }, network);
          return [features.dataSync(), expected[i]!.dataSync()] as const;
        });
      });
      for (const [features, expected] of found) t.same(features, expected);
      network.dispose();
    });

    t.test('a prompt gives the same prediction beside others, an image the same in any batch', async (t) => {
      const predict = (n: number, prompts: number[][]) =>
        tf.tidy(() => network.logits(network.trunk(image(n, [4, 4, 4])), prompts, 'moving').dataSync());
      const all = predict(2, [
        [0, 1, 2],
        [2, 0, 0],
      ]);
      const close = (a: ArrayLike<number>, b: ArrayLike<number>, what: string) =>
        t.ok(
          Array.from(a).every((value, i) => Math.abs(value - b[i]!) < 1e-5),
          what,
        );
      close(predict(1, [[1]]), all.subarray(64, 128), 'prompt 1 of image 0');
      close(predict(2, [[0], [2]]).subarray(64), all.subarray(192, 256), 'prompt 2 of image 1');
      t.ok(
        all.subarray(0, 64).some((value, i) => Math.abs(value - all[64 + i]!) > 1e-4),
        'prompts differ',
      );
    });

    t.test('training follows the statistics, evaluation leaves them', async (t) => {
      const read = () => [...network.buffers.values()].map((buffer) => [...buffer.dataSync()]);
      const start = read();
      const run = (training: boolean) =>
        network.logits(network.trunk(image(2, [4, 4, 4])), [[0], [1]], training ? 'follow' : 'moving').dispose();
      tf.tidy(() => run(false));
      t.same(read(), start);
      tf.tidy(() => run(true));
      t.notSame(read(), start);
    });

    t.test('values go out and come back', async (t) => {
      const values = await network.values();
      t.same(
        [...values.keys()],
        [...parameterSpecs(small), ...bufferSpecs(small)].map(({ name }) => name),
      );
      const copy = new VersemiNetwork(small, values);
      const other = new VersemiNetwork(small, 99);
      other.assign(values);
      const predict = (net: VersemiNetwork) =>
        tf.tidy(() => [...net.logits(net.trunk(image(1, [4, 4, 4])), [[1]], 'moving').dataSync()]);
      t.same(predict(copy), predict(network));
      t.same(predict(other), predict(network));
      copy.dispose();
      other.dispose();
      values.delete('gap.gamma');
      t.throws(() => new VersemiNetwork(small, values), {
        code: 'VERSEMI_MODEL_INVALID',
        details: { field: 'gap.gamma' },
      });
    });

    t.test('nothing is left when it is disposed', async (t) => {
      network.dispose();
      t.equal(tf.memory().numTensors, before);
    });
  });
}
