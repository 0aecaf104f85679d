// A network of one's own in TF.js ops, promptable as versemi's: two convolutions at full resolution, two at half of it, and a weight
// vector per task with which the features are weighed. Training, resume, model files and prediction are versemi's. In a plan:
//
//     "network": { "architecture": "small", "baseWidth": 8, "levels": 2 }
//
//     versemi train plan.json --parts network.mjs --out runs/small
//     versemi predict runs/small scan.nii.gz --parts network.mjs --out out
import { conv3dNormRelu, tf } from 'versemi/tfjs';

const convolution = (name, inputs, outputs) => ({
  name,
  shape: [3, 3, 3, inputs, outputs],
  initialization: { fanIn: 27 * inputs },
});

const small = {
  name: 'small',
  // Each image is computed for itself: several processes can have some each.
  acrossRanks: true,
  parameters: ({ baseWidth: width, tasks }) => [
    convolution('first', 1, width),
    convolution('down', width, 2 * width),
    convolution('deep', 2 * width, 2 * width),
    { name: 'up', shape: [2, 2, 2, width, 2 * width], initialization: { fanIn: 8 * width } },
    convolution('last', width, width),
    // One row per task and one for the synthetic task, any foreground.
    { name: 'prompt', shape: [tasks + 1, width], initialization: { fanIn: tasks + 1 } },
    { name: 'bias', shape: [1], initialization: 'zeros' },
  ],
  // images [n, depth, height, width, 1] -> features [n, depth, height, width, channels]
  trunk(images, tensors) {
    const weight = (name) => tensors.tensor(name);
    const top = conv3dNormRelu(images, weight('first'), null);
    const deep = conv3dNormRelu(conv3dNormRelu(top, weight('down'), null, { stride: 2 }), weight('deep'), null);
    const up = conv3dNormRelu(deep, weight('up'), null, { stride: 2, transposed: true, skip: top });
    return conv3dNormRelu(up, weight('last'), null);
  },
  // prompts [n, p, tasks + 1] -> logits [n, p, depth, height, width]
  logits(features, prompts, tensors) {
    const [n, depth, height, width, channels] = features.shape;
    const [, count, codes] = prompts.shape;
    const weights = tf.matMul(tf.reshape(prompts, [n * count, codes]), tensors.tensor('prompt'));
    const perPrompt = tf.reshape(weights, [n, count, 1, 1, 1, channels]);
    const weighed = tf.sum(tf.mul(tf.expandDims(features, 1), perPrompt), -1);
    return tf.add(tf.reshape(weighed, [n, count, depth, height, width]), tensors.tensor('bias'));
  },
  numbersPerVoxel: ({ baseWidth }, prompts) => (3 + prompts) * baseWidth,
};

/** @type {import('versemi').Parts} */
export const parts = { networks: [small] };
