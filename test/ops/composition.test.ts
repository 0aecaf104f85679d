/** Every fused op equals the composition of plain TF.js ops, forward and gradient, on TF.js's own cpu backend. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import {
  aggregateMax,
  batchNormRelu,
  conv3dNormRelu,
  dynamicHead,
  dynamicHeadParameterCount,
  instanceNormRelu,
  overlapSums,
} from '../../src/tfjs/index.js';
import { runGraph } from '../../src/tfjs/selftest/graph-case.js';

await tf.setBackend('cpu');

type F = (...inputs: never[]) => tf.Tensor | tf.Tensor[];

function same(name: string, shapes: number[][], fused: F, composed: F, tolerance = 2e-5): void {
  const a = runGraph({ name, shapes, f: fused });
  const b = runGraph({ name, shapes, f: composed });
  for (const what of ['outputs', 'gradients'] as const)
    b[what].forEach((expected, i) => {
      const scale = tolerance * Math.max(1, ...expected.map(Math.abs));
      const worst = Math.max(...expected.map((value, j) => Math.abs(value - a[what][i]![j]!)));
      t.ok(expected.length > 0 && worst <= scale, `${name}: ${what} ${i}, largest difference ${worst}`);
    });
}

const instanceNorm = (x: tf.Tensor5D) => {
  const { mean, variance } = tf.moments(x, [1, 2, 3], true);
  return tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)));
};

same(
  'instanceNormRelu',
  [[2, 3, 4, 5, 3]],
  (x: tf.Tensor5D) => instanceNormRelu(x),
  (x: tf.Tensor5D) => tf.relu(instanceNorm(x)),
);

same(
  'conv3dNormRelu',
  [[2, 4, 5, 6, 3], [3, 3, 3, 3, 4], [4]],
  (x: tf.Tensor5D, w: tf.Tensor5D, b: tf.Tensor1D) => conv3dNormRelu(x, w, b),
  (x: tf.Tensor5D, w: tf.Tensor5D, b: tf.Tensor1D) => tf.relu(instanceNorm(tf.add(tf.conv3d(x, w, 1, 'same'), b))),
  1e-4,
);

same(
  'conv3dNormRelu, stride 2, skip, no relu',
  [
    [2, 4, 6, 4, 3],
    [2, 2, 2, 3, 5],
    [2, 2, 3, 2, 5],
  ],
  (x: tf.Tensor5D, w: tf.Tensor5D, skip: tf.Tensor5D) => conv3dNormRelu(x, w, null, { stride: 2, skip, relu: false }),
  (x: tf.Tensor5D, w: tf.Tensor5D, skip: tf.Tensor5D) => tf.add(instanceNorm(tf.conv3d(x, w, 2, 'same')), skip),
  1e-4,
);

same(
  'conv3dNormRelu, transposed, skip',
  [
    [2, 3, 2, 4, 5],
    [2, 2, 2, 3, 5],
    [2, 6, 4, 8, 3],
  ],
  (x: tf.Tensor5D, w: tf.Tensor5D, skip: tf.Tensor5D) =>
    conv3dNormRelu(x, w, null, { stride: 2, transposed: true, skip }),
  (x: tf.Tensor5D, w: tf.Tensor5D, skip: tf.Tensor5D) =>
    tf.add(tf.relu(instanceNorm(tf.conv3dTranspose(x, w, [2, 6, 4, 8, 3], 2, 'same'))), skip),
  1e-4,
);

same(
  'batchNormRelu, training',
  [[2, 3, 4, 2, 5], [5], [5]],
  (x: tf.Tensor5D, gamma: tf.Tensor1D, beta: tf.Tensor1D) => batchNormRelu(x, gamma, beta, { training: true }).output,
  (x: tf.Tensor5D, gamma: tf.Tensor1D, beta: tf.Tensor1D) => {
    const { mean, variance } = tf.moments(x, [0, 1, 2, 3]);
    return tf.relu(tf.add(tf.mul(tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5))), gamma), beta));
  },
);

const movingMean = tf.tensor1d([0.3, -0.2]);
const movingVariance = tf.tensor1d([1.5, 0.4]);
for (const relu of [true, false])
  same(
    `batchNormRelu, inference, relu ${relu}`,
    [[3, 7, 2], [2], [2]],
    (x: tf.Tensor3D, gamma: tf.Tensor1D, beta: tf.Tensor1D) =>
      batchNormRelu(x, gamma, beta, { training: false, movingMean, movingVariance, relu }).output,
    (x: tf.Tensor3D, gamma: tf.Tensor1D, beta: tf.Tensor1D) => {
      const y = tf.add(tf.mul(tf.div(tf.sub(x, movingMean), tf.sqrt(tf.add(movingVariance, 1e-5))), gamma), beta);
      return relu ? tf.relu(y) : y;
    },
  );

{
  const [n, prompts, width] = [2, 3, 4];
  const count = dynamicHeadParameterCount(width);
  t.equal(dynamicHeadParameterCount(8), 162, 'the parameters of the paper that are used');
  same(
    'dynamicHead',
    [
      [n, 2, 3, 2, width],
      [n, prompts, count],
    ],
    (features: tf.Tensor5D, parameters: tf.Tensor3D) => dynamicHead(features, parameters),
    (features: tf.Tensor5D, parameters: tf.Tensor3D) => {
      const rows: tf.Tensor[] = [];
      for (let sample = 0; sample < n; sample++)
        for (let prompt = 0; prompt < prompts; prompt++) {
          const p = tf.reshape(tf.slice(parameters, [sample, prompt, 0], [1, 1, count]), [count]);
          const part = (begin: number, ...shape: number[]) =>
            tf.reshape(tf.slice(p, [begin], [shape.reduce((a, b) => a * b)]), shape as [number, number]);
          const square = width * width;
          const f = tf.reshape(tf.slice(features, [sample, 0, 0, 0, 0], [1, -1, -1, -1, -1]), [-1, width]);
          const biases = 2 * square + 2 * width;
          const layer = (x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) =>
            tf.add(tf.matMul(x, weight, false, true), bias);
          const h1 = tf.relu(layer(f, part(0, width, width), part(biases, width)));
          const h2 = tf.relu(layer(h1, part(square, width, width), part(biases + width, width)));
          const o = layer(h2, part(2 * square, 2, width), part(biases + 2 * width, 2));
          const [background, foreground] = tf.unstack(o, 1) as [tf.Tensor, tf.Tensor];
          rows.push(tf.sub(foreground, background));
        }
      return tf.reshape(tf.stack(rows), [n, prompts, 2, 3, 2]);
    },
  );
}

for (const masked of [false, true]) {
  const mask = tf.tensor1d([1, 0, 0.5, 1, 0, 1]);
  same(
    `overlapSums, mask ${masked}`,
    [[6], [6]],
    (logits: tf.Tensor1D, target: tf.Tensor1D) => overlapSums(logits, target, masked ? mask : undefined),
    (logits: tf.Tensor1D, target: tf.Tensor1D) => {
      const m = masked ? mask : tf.onesLike(mask);
      const p = tf.mul(tf.sigmoid(logits), m);
      const y = tf.mul(target, m);
      const crossEntropy = tf.mul(m, tf.sub(tf.softplus(logits), tf.mul(target, logits)));
      return tf.stack([tf.mul(p, y), tf.square(p), tf.square(y), crossEntropy, m].map((term) => tf.sum(term)));
    },
  );
}

same(
  'aggregateMax',
  [[2, 4, 2, 3, 2]],
  (logits: tf.Tensor5D) => aggregateMax(logits, 3),
  (logits: tf.Tensor5D) => tf.sigmoid(tf.max(tf.slice(logits, 0, [2, 3, 2, 3, 2]), 1)),
);

movingMean.dispose();
movingVariance.dispose();
