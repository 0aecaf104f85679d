// A network made with @tensorflow/tfjs-layers, trained by `fit` and applied to whole scans by versemi's sliding window, all on
// versemi's kernels. It needs `npm install @tensorflow/tfjs-core @tensorflow/tfjs-layers` beside versemi.
//
//     node layers-network.mjs plan.json scan.nii.gz mask.nii.gz [epochs]
import * as tf from '@tensorflow/tfjs-core';
import { layers, sequential } from '@tensorflow/tfjs-layers';
import {
  createSampler,
  openScan,
  predictVolume,
  preprocessDatasets,
  readPlan,
  selectDevice,
  writeNifti,
} from 'versemi';

const [planFile, scanFile, maskFile, epochs = '8'] = process.argv.slice(2);
const plan = await readPlan(planFile);
const { backend } = await selectDevice('auto');
console.log(`on ${backend}`);
const [task] = plan.tasks;

const convolution = (filters, more = {}) =>
  layers.conv3d({
    filters,
    kernelSize: 3,
    padding: 'same',
    activation: 'relu',
    kernelInitializer: 'heNormal',
    ...more,
  });
const model = sequential({
  layers: [
    convolution(8, { inputShape: [null, null, null, 1] }),
    convolution(8),
    layers.conv3d({ filters: 1, kernelSize: 1 }),
  ],
});
model.compile({
  optimizer: tf.train.adam(0.01),
  loss: (target, logits) => tf.losses.sigmoidCrossEntropy(target, logits),
});

const sampler = createSampler(plan, await preprocessDatasets(plan));
const [sizeX, sizeY, sizeZ] = plan.patchSizeVoxels;
for (let epoch = 0; epoch < Number(epochs); epoch++) {
  const { fields, prompts } = sampler.batch(epoch);
  const shape = [prompts.labeled.length, sizeZ, sizeY, sizeX, 1];
  const [images, target] = [fields['labeled.image'], fields['labeled.target']].map((field) => tf.tensor(field, shape));
  const { history } = await model.fit(images, target, { batchSize: shape[0], epochs: 1, verbose: 0 });
  console.log(`loss ${history.loss[0].toFixed(3)}`);
  tf.dispose([images, target]);
}

/** What versemi asks of a network: it answers every prompt alike, since it knows one task. */
const network = {
  parameterCount: model.countParams(),
  trunk: (images) => model.predict(images),
  logits: (output, prompts) =>
    tf.tile(tf.reshape(output, [1, 1, ...output.shape.slice(1, 4)]), [1, prompts[0].length, 1, 1, 1]),
};
const [{ mask, volumeMl }] = await predictVolume({ network, plan }, await openScan(scanFile), { tasks: [task.name] });
await writeNifti(maskFile, mask);
console.log(`${task.name}: ${volumeMl.toFixed(1)} ml`);
