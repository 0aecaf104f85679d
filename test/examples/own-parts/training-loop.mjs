// A training loop of one's own on versemi's pieces: batches, network and loss are versemi's; the optimiser, its schedule and the end
// of the training are decided here. It writes a model that every command takes.
//
//     node training-loop.mjs plan.json model.safetensors [most steps]
import {
  createPrefetcher,
  modelMetadata,
  networkConfig,
  preprocessDatasets,
  readPlan,
  saveModel,
  selectDevice,
  supervisedLoss,
  VersemiNetwork,
  validate,
} from 'versemi';
import { tf } from 'versemi/tfjs';

const [planFile, modelFile, mostSteps = '200'] = process.argv.slice(2);
const plan = await readPlan(planFile);
await selectDevice('auto');
const data = await preprocessDatasets(plan, { onNotice: console.log });
const batches = createPrefetcher(plan, data);
const network = new VersemiNetwork(networkConfig(plan), plan.seed);
const optimizer = tf.train.momentum(0.05, 0.9);
const [sizeX, sizeY, sizeZ] = plan.patchSizeVoxels;

/** L_sup of one batch. `follow`: the statistics of the batch go into those of the model. */
const lossOf = ({ fields, prompts }) => {
  const n = prompts.labeled.length;
  const images = tf.tensor5d(fields['labeled.image'], [n, sizeZ, sizeY, sizeX, 1]);
  const target = tf.tensor(fields['labeled.target'], [n, prompts.labeled[0].length, sizeZ, sizeY, sizeX]);
  const { dice, crossEntropy } = supervisedLoss(
    network.logits(network.trunk(images), prompts.labeled, 'follow'),
    target,
  );
  return tf.add(dice, crossEntropy);
};

let [best, sinceBest, step] = [Number.POSITIVE_INFINITY, 0, 0];
try {
  for (; step < Number(mostSteps) && sinceBest < 50; step++) {
    const batch = await batches.batch(step);
    const loss = optimizer.minimize(() => lossOf(batch), true, [...network.parameters.values()]);
    const [value] = await loss.data();
    loss.dispose();
    [best, sinceBest] = value < best ? [value, 0] : [best, sinceBest + 1];
    if (step % 10 === 0) console.log(`step ${step + 1}, loss ${value.toFixed(3)}`);
  }
  const { mean } = await validate({ network, plan }, data.validation.length > 0 ? data.validation : data.labeled);
  console.log(`${step} steps, mean Dice ${mean.toFixed(3)}`);
  const history = { steps: step, losses: [], validation: [], best: null };
  const provenance = { created: new Date().toISOString(), versions: { node: process.versions.node }, data: [] };
  await saveModel(modelFile, network, modelMetadata(plan, history, provenance));
} finally {
  await batches.close();
  network.dispose();
}
