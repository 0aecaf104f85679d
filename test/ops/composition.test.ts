/** Every fused op of the selftest's graphs equals the composition of plain TF.js ops, forward and gradient, on TF.js's own cpu backend. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { dynamicHeadParameterCount } from '../../src/tfjs/index.js';
import { type GraphCase, runGraph } from '../../src/tfjs/selftest/graph-case.js';
import { graphCases } from '../../src/tfjs/selftest/graph-cases.js';

await tf.setBackend('cpu');

/** Compares a case of the selftest with what its fused op stands for. */
function same(name: string, composed: GraphCase['f'], tolerance = 2e-5): void {
  const graph = graphCases.find((each) => each.name === name);
  if (graph === undefined) throw new Error(`the selftest has no graph ${name}`);
  const a = runGraph(graph);
  const b = runGraph({ ...graph, f: composed });
  for (const what of ['outputs', 'gradients'] as const)
    b[what].forEach((expected, i) => {
      const scale = tolerance * Math.max(1, ...expected.map(Math.abs));
      const worst = Math.max(...expected.map((value, j) => Math.abs(value - a[what][i]![j]!)));
      t.ok(expected.length > 0 && worst <= scale, `${name}: ${what} ${i}, largest difference ${worst}`);
    });
}

const normalized = (x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) =>
  tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)));

const instanceNorm = (x: tf.Tensor) => {
  const { mean, variance } = tf.moments(x, [1, 2, 3], true);
  return normalized(x, mean, variance);
};

same('instanceNormRelu', (x: tf.Tensor5D) => tf.relu(instanceNorm(x)));

same(
  'conv3dNormRelu',
  (x: tf.Tensor5D, w: tf.Tensor5D, b: tf.Tensor1D) => tf.relu(instanceNorm(tf.add(tf.conv3d(x, w, 1, 'same'), b))),
  1e-4,
);

same(
  'conv3dNormRelu, stride 2, skip, no relu',
  (x: tf.Tensor5D, w: tf.Tensor5D, skip: tf.Tensor5D) => tf.add(instanceNorm(tf.conv3d(x, w, 2, 'same')), skip),
  1e-4,
);

same(
  'conv3dNormRelu, transposed, skip',
  (x: tf.Tensor5D, w: tf.Tensor5D, b: tf.Tensor1D, skip: tf.Tensor5D) => {
    const raw = tf.conv3dTranspose(x, w, skip.shape, 2, 'same');
    return tf.add(tf.relu(instanceNorm(tf.add(raw, b))), skip);
  },
  1e-4,
);

same('batchNormRelu, training', (x: tf.Tensor5D, gamma: tf.Tensor1D, beta: tf.Tensor1D) => {
  const { mean, variance } = tf.moments(x, [0, 1, 2, 3]);
  return tf.relu(tf.add(tf.mul(normalized(x, mean, variance), gamma), beta));
});

same('batchNormRelu, inference', (x: tf.Tensor3D, gamma: tf.Tensor1D, beta: tf.Tensor1D) =>
  tf.relu(tf.add(tf.mul(normalized(x, tf.tensor1d([0.1, -0.2, 0.3]), tf.tensor1d([0.5, 1, 2])), gamma), beta)),
);

t.equal(dynamicHeadParameterCount(8), 162, 'the parameters of the paper that are used');

same('dynamicHead', (features: tf.Tensor5D, parameters: tf.Tensor3D) => {
  const [n, d, h, w, width] = features.shape;
  const [, prompts, count] = parameters.shape;
  const square = width * width;
  const biases = 2 * square + 2 * width;
  const rows: tf.Tensor[] = [];
  for (let sample = 0; sample < n; sample++)
    for (let prompt = 0; prompt < prompts; prompt++) {
      const p = tf.reshape(tf.slice(parameters, [sample, prompt, 0], [1, 1, count]), [count]);
      const part = (begin: number, ...shape: number[]) =>
        tf.reshape(tf.slice(p, [begin], [shape.reduce((a, b) => a * b)]), shape as [number, number]);
      const f = tf.reshape(tf.slice(features, [sample, 0, 0, 0, 0], [1, -1, -1, -1, -1]), [-1, width]);
      const layer = (x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) =>
        tf.add(tf.matMul(x, weight, false, true), bias);
      const h1 = tf.relu(layer(f, part(0, width, width), part(biases, width)));
      const h2 = tf.relu(layer(h1, part(square, width, width), part(biases + width, width)));
      const o = layer(h2, part(2 * square, 2, width), part(biases + 2 * width, 2));
      const [background, foreground] = tf.unstack(o, 1) as [tf.Tensor, tf.Tensor];
      rows.push(tf.sub(foreground, background));
    }
  return tf.reshape(tf.stack(rows), [n, prompts, d, h, w]);
});

same('overlapSums, target and mask', (logits: tf.Tensor, target: tf.Tensor) =>
  [tf.onesLike(target), tf.sigmoid(tf.onesLike(target))].map((m) => {
    const p = tf.mul(tf.sigmoid(logits), m);
    const y = tf.mul(target, m);
    const crossEntropy = tf.mul(m, tf.sub(tf.softplus(logits), tf.mul(target, logits)));
    return tf.stack([tf.mul(p, y), tf.square(p), tf.square(y), crossEntropy, m].map((term) => tf.sum(term)));
  }),
);

same('aggregateMax', (logits: tf.Tensor5D) => {
  const [n, , d, h, w] = logits.shape;
  return tf.sigmoid(tf.max(tf.slice(logits, 0, [n, 3, d, h, w]), 1));
});
