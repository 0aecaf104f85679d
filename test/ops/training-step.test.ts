/** Training steps of both stages, with every loss and option, delegate nothing, leak nothing and repeat bit by bit. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { parsePlan } from '../../src/config/plan.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { RandomStream, streams } from '../../src/random.js';
import type { StepBatch } from '../../src/sampling/types.js';
import { dispatchCounts, registerVersemiBackends, resetDispatchCounts, selectDevice } from '../../src/tfjs/index.js';
import { createState, disposeState, trainingStep } from '../../src/training/step.js';

const size = 8;
const voxels = size ** 3;

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

function batch(step: number): StepBatch {
  const random = new RandomStream(1, streams.test, step);
  const image = (n: number) => Float32Array.from({ length: n * voxels }, () => random.normal());
  const mask = (n: number) => Float32Array.from({ length: n * voxels }, () => Number(random.uniform() < 0.4));
  return {
    step,
    labeled: { image: image(2), target: mask(2), tasks: Int32Array.of(0, 1), caseIds: ['a/1', 'a/2'] },
    mixed: {
      image: image(1),
      anyForeground: mask(1),
      targetA: mask(1),
      targetB: mask(1),
      tasksA: Int32Array.of(0),
      tasksB: Int32Array.of(1),
    },
    unlabeled: {
      image: image(2),
      inside: mask(2),
      cubeLabel: mask(2),
      teacher: { image: image(2), tasks: Int32Array.of(1, 0) },
    },
  };
}

/** Losses of four steps, two of each stage, and the parameters after them. */
async function train(
  unlabeledMix: string,
  aggregateGradient: string,
  teacher: number,
): Promise<{ losses: number[]; last: Float32Array }> {
  const settings = plan(unlabeledMix, aggregateGradient, teacher);
  const network = new VersemiNetwork({ ...settings.network, tasks: settings.tasks.length }, settings.seed);
  const state = createState(network, settings);
  const losses: number[] = [];
  for (let step = 0; step < 4; step++) {
    const result = await trainingStep(state, settings, batch(step), step);
    losses.push(...Object.values(result.losses), result.gradientNorm);
  }
  const last = Float32Array.from(await [...network.parameters.values()].at(-1)!.data());
  disposeState(state);
  return { losses, last };
}

await registerVersemiBackends();
await tf.setBackend('cpu');
const expected = await train('labeled-inside', 'both', 0.5);

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
    t.equal(first.losses.length, expected.losses.length);
    first.losses.forEach((loss, i) => {
      const reference = expected.losses[i]!;
      t.ok(Math.abs(loss - reference) <= 1e-3 * Math.max(1, Math.abs(reference)), `${i}: ${loss} is ${reference}`);
    });
    t.same(await train('labeled-inside', 'both', 0.5), first, 'the same numbers again');
    await train('unlabeled-pairs', 'stop', 0);
    await train('unlabeled-pairs', 'stop', 1);
    t.same(dispatchCounts().delegated, {}, 'nor do the other options');
  });

t.test('the teacher is the moving average of the steps before', async (t) => {
  await selectDevice('wasm', { precision: 'float32' });
  const settings = plan('labeled-inside', 'both', 0.5);
  const state = createState(new VersemiNetwork({ ...settings.network, tasks: 2 }, settings.seed), settings);
  for (let step = 0; step < 3; step++) await trainingStep(state, settings, batch(step), step);
  const average = await state.average.values();
  await trainingStep(state, settings, batch(3), 3);
  const teacher = await state.teacher!.values();
  t.same([...teacher.keys()].sort(), [...average.keys()].sort());
  for (const [name, values] of average) t.same(teacher.get(name), values, name);
  disposeState(state);
  const alone = createState(
    new VersemiNetwork({ ...settings.network, tasks: 2 }, 3),
    plan('labeled-inside', 'both', 0),
  );
  t.equal(alone.teacher, undefined, 'no memory for it where its loss has no weight');
  disposeState(alone);
});
