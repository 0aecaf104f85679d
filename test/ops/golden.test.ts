/** Ops and gradients against PyTorch (test/golden/ops.py), on every backend of this machine. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import {
  aggregateMax,
  batchNormRelu,
  conv3dNormRelu,
  dynamicHead,
  instanceNormRelu,
  overlapSums,
  registerVersemiBackends,
} from '../../src/tfjs/index.js';

interface Values {
  shape: number[];
  values: number[];
}

interface GoldenCase {
  name: string;
  op: string;
  options: Options;
  inputs: Record<string, Values>;
  output: Values;
  cotangent: number[];
  gradients: Record<string, number[]>;
}

interface Golden {
  provenance: { sha256: string };
  cases: GoldenCase[];
}

const file = new URL('../../../test/golden/ops.json', import.meta.url);
const text = await readFile(file, 'utf8');
const golden = JSON.parse(text) as Golden;

/** Typed as `never` so that they can be handed to any op; the golden file says which ones there are. */
type Names = 'x' | 'w' | 'bias' | 'skip' | 'gamma' | 'beta' | 'features' | 'parameters' | 'logits' | 'target' | 'other';
type Options = Record<'stride' | 'pad' | 'training' | 'movingMean' | 'movingVariance' | 'real' | 'relu', never>;
type Tensors = Record<Names, never>;

const five = (x: tf.Tensor) => tf.reshape(x, [x.shape[0]!, 1, ...x.shape.slice(1)]) as unknown as tf.Tensor5D;

function diceOf(sums: tf.Tensor1D): tf.Tensor1D {
  const [pt, pp, tt] = tf.split(sums, [1, 1, 1, 2]) as [tf.Tensor1D, tf.Tensor1D, tf.Tensor1D];
  return tf.sub(1, tf.div(tf.add(tf.mul(pt, 2), 1e-5), tf.add(tf.add(pp, tt), 1e-5)));
}

const ops: Record<string, (inputs: Tensors, options: Options) => tf.Tensor> = {
  conv3d: ({ x, w }, { stride, pad }) => tf.conv3d(x, w, stride, pad),
  conv3dTranspose: ({ x, w }, { stride }) => {
    const [n, d, h, width] = (x as tf.Tensor5D).shape;
    return tf.conv3dTranspose(x, w, [n, d * 2, h * 2, width * 2, (w as tf.Tensor5D).shape[3]], stride, 'same');
  },
  conv3dNormRelu: ({ x, w, bias, skip }, options) => conv3dNormRelu(x, w, bias, { ...options, skip }),
  instanceNormRelu: ({ x }, { relu }) => instanceNormRelu(x, { relu }),
  batchNormRelu: ({ x, gamma, beta }, { training, movingMean, movingVariance }) =>
    batchNormRelu(x, gamma, beta, {
      training,
      ...(training ? {} : { movingMean: tf.tensor1d(movingMean), movingVariance: tf.tensor1d(movingVariance) }),
    }).output,
  dynamicHead: ({ features, parameters }) => dynamicHead(features, parameters),
  dice: ({ logits, target }) => diceOf(overlapSums(logits, target)),
  crossEntropy: ({ logits, target }) => {
    const [, entropy, count] = tf.split(overlapSums(logits, target), [3, 1, 1]) as [tf.Tensor, tf.Tensor, tf.Tensor];
    return tf.div(entropy, count);
  },
  aggregateDice: ({ logits, other }, { real }) => diceOf(overlapSums(five(logits), five(aggregateMax(other, real)))),
};

const backends: [string, string | false][] = [['cpu', false]];
for (const { backend, available, why } of await registerVersemiBackends({ precision: 'float32' }))
  backends.push([backend, available ? false : why]);

t.equal(
  createHash('sha256')
    .update(text.slice(text.indexOf('"cases":') + 8, text.lastIndexOf('}')))
    .digest('hex'),
  golden.provenance.sha256,
  'the numbers are those that the script wrote',
);

for (const [backend, skip] of backends)
  t.test(backend, { skip }, async (t) => {
    t.ok(await tf.setBackend(backend));
    for (const each of golden.cases) {
      const names = Object.keys(each.inputs);
      const differentiated = Object.keys(each.gradients);
      tf.tidy(() => {
        const inputs = Object.fromEntries(
          names.map((name) => [name, tf.tensor(each.inputs[name]!.values, each.inputs[name]!.shape)]),
        );
        const f = (...xs: tf.Tensor[]) => {
          const changed = Object.fromEntries(differentiated.map((name, i) => [name, xs[i]!]));
          return ops[each.op]!({ ...inputs, ...changed } as never, each.options);
        };
        const dy = tf.tensor(each.cotangent, each.output.shape);
        const { value, grads } = tf.valueAndGrads(f)(
          differentiated.map((name) => inputs[name]!),
          dy,
        );
        near(each.name, value, each.output.values);
        differentiated.forEach((name, i) => {
          near(`${each.name}, gradient of ${name}`, grads[i]!, each.gradients[name]!);
        });
      });
    }

    function near(what: string, actual: tf.Tensor, expected: readonly number[]): void {
      const values = actual.dataSync();
      const scale = 1e-5 * Math.max(1, ...expected.map(Math.abs));
      const worst = expected.reduce((max, b, i) => Math.max(max, Math.abs(values[i]! - b)), 0);
      t.ok(
        values.length === expected.length && worst <= scale,
        `${what}: largest difference ${worst.toExponential(1)}`,
      );
    }
  });
