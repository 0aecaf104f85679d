/** Training steps of both stages, with every loss and option, delegate nothing, leak nothing and repeat bit by bit. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { RandomStream, streams } from '../../src/random.js';
import { type FieldPlan, fields } from '../../src/sampling/fields.js';
import { madeBatch } from '../../src/sampling/made-batch.js';
import { dispatchCounts, registerVersemiBackends, resetDispatchCounts, selectDevice } from '../../src/tfjs/index.js';
import { createState, disposeState, runStep } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';

const size = 8;

const plan = (unlabeledMix: string, aggregateGradient: string, teacher: number) =>
  parsePlan({
    version: 1,
    name: 'small',
    seed: 3,
    datasets: [{ name: 'a', path: 'a', preprocessing: { spacingMm: [1, 1, 1] } }],
    tasks: [
      { name: 'one', dataset: 'a', labels: [1] },
      { name: 'two', dataset: 'a', labels: [2] },
    ],
    network: { baseWidth: 4, levels: 3, convolutions: [1, 2, 1], headWidth: 4 },
    patchSizeVoxels: [size, size, size],
    // Adam's first steps have the size of the learning rate whatever the gradient: at 1e-3 rounding alone takes a ReLU over
    // zero on one backend and not on another, and from there on their gradients rightly differ.
    training: {
      stage1Steps: 2,
      stage2Steps: 2,
      labeledBatchSize: 2,
      unlabeledBatchSize: 2,
      gradientClipNorm: 1,
      learningRate: 2e-4,
    },
    cutmix: { unlabeledMix },
    losses: {
      auxiliaryCrossEntropy: true,
      auxiliaryInStage2: true,
      aggregateGradient,
      teacher,
      unsupervisedRampSteps: 2,
    },
  });

/** A step on noise and random masks. */
function noise(settings: Plan & FieldPlan, step: number) {
  const random = new RandomStream(1, streams.test, step);
  const batch = madeBatch(settings, step, (name, voxels) => {
    const image = fields[name].kind === 'image';
    return Float32Array.from({ length: voxels }, () => (image ? random.normal() : Number(random.uniform() < 0.4)));
  });
  return hostStep(settings, batch);
}

/** Losses of four steps, two of each stage, and the parameters after them. */
async function train(
  unlabeledMix: string,
  aggregateGradient: string,
  teacher: number,
  unknownVoxels = false,
): Promise<{ losses: number[]; last: Float32Array }> {
  const settings = { ...plan(unlabeledMix, aggregateGradient, teacher), unknownVoxels };
  const network = new VersemiNetwork({ ...settings.network, tasks: settings.tasks.length }, settings.seed);
  const state = createState(network, settings);
  const losses: number[] = [];
  for (let step = 0; step < 4; step++) {
    const result = await runStep(state, settings, noise(settings, step));
    losses.push(...Object.values(result.losses), result.gradientNorm);
  }
  const last = Float32Array.from(await [...network.parameters.values()].at(-1)!.data());
  disposeState(state);
  return { losses, last };
}

await registerVersemiBackends();
await tf.setBackend('cpu');
const expected = await train('labeled-inside', 'both', 0.5);
const expectedOfKnown = await train('labeled-inside', 'stop', 0, true);

for (const { backend, device: choice, available, why } of await registerVersemiBackends())
  t.test(backend, { skip: available ? false : why }, async (t) => {
    const { device } = await selectDevice(choice, { precision: 'float32' });
    const tensors = tf.memory().numTensors;
    const { buffers } = device.memory();
    resetDispatchCounts();
    const first = await train('labeled-inside', 'both', 0.5);
    t.same(dispatchCounts().delegated, {}, 'delegates nothing');
    t.equal(tf.memory().numTensors, tensors, 'no tensor left');
    t.equal(device.memory().buffers, buffers, 'no buffer left');
    const compare = (found: readonly number[], references: readonly number[]) => {
      t.equal(found.length, references.length);
      for (const [i, loss] of found.entries()) {
        const reference = references[i]!;
        t.ok(Math.abs(loss - reference) <= 1e-3 * Math.max(1, Math.abs(reference)), `${i}: ${loss} is ${reference}`);
      }
    };
    compare(first.losses, expected.losses);
    t.notSame(expectedOfKnown.losses, expected.losses, 'voxels that are not known change every loss');
    // Not the last step: there rounding takes a ReLU over zero on one backend.
    const known = (await train('labeled-inside', 'stop', 0, true)).losses;
    compare(known.slice(0, 20), expectedOfKnown.losses.slice(0, 20));
    t.same(await train('labeled-inside', 'both', 0.5), first, 'the same numbers again');
    await train('unlabeled-pairs', 'stop', 0);
    await train('unlabeled-pairs', 'stop', 1);
    t.same(dispatchCounts().delegated, {}, 'nor do the other options');
  });

t.test('the averaged network has the moving average of the steps before', async (t) => {
  await selectDevice('wasm', { precision: 'float32' });
  const settings = plan('labeled-inside', 'both', 0.5);
  const state = createState(new VersemiNetwork({ ...settings.network, tasks: 2 }, settings.seed), settings);
  for (let step = 0; step < 3; step++) await runStep(state, settings, noise(settings, step));
  const average = await state.average.values();
  await runStep(state, settings, noise(settings, 3));
  const found = await state.averageNetwork!.values();
  t.same([...found.keys()].sort(), [...average.keys()].sort());
  for (const [name, values] of average) t.same(found.get(name), values, name);
  disposeState(state);
  const alone = createState(
    new VersemiNetwork({ ...settings.network, tasks: 2 }, 3),
    plan('labeled-inside', 'both', 0),
  );
  t.equal(alone.averageNetwork, undefined, 'no memory for it where its loss has no weight');
  disposeState(alone);
});
