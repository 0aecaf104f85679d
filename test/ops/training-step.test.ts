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

type Settings = Readonly<Record<'training' | 'cutmix' | 'losses' | 'network', object>> &
  Pick<FieldPlan, 'unknownVoxels'>;

const common = { auxiliaryCrossEntropy: true, auxiliaryInStage2: true, unsupervisedRampSteps: 2 };
const labeledInside = { losses: { ...common, teacher: 0.5 } };
/** Cases with voxels whose labels are unknown. */
const unknown = { ...labeledInside, losses: { ...common, aggregateGradient: 'stop' }, unknownVoxels: true };

/** Every option of a step, several at a time. */
const others: readonly Partial<Settings>[] = [
  { cutmix: { unlabeledMix: 'unlabeled-pairs' }, losses: { ...common, aggregateGradient: 'stop' } },
  { cutmix: { unlabeledMix: 'unlabeled-pairs' }, losses: { ...common, aggregateGradient: 'stop', teacher: 1 } },
  {
    // Dice per task, every prompt once, the agreement across views.
    training: { promptsPerImage: 'each', labeledBatchSize: 2, unlabeledBatchSize: 3 },
    cutmix: { unlabeledMix: 'both-sides' },
    losses: {
      ...common,
      diceOver: 'task',
      agreement: 1,
      teacher: 1,
      cubeTasks: 1,
      pseudoLabel: 'soft',
      ramp: 'sigmoid',
    },
    network: { fullResolutionSkip: true, fullResolutionBlock: true },
    unknownVoxels: true,
  },
  {
    // As UA-MT, with gradient descent.
    training: { optimizer: 'sgd', learningRate: 1e-3, weightDecay: 1e-2, stage1Steps: 0, stage2Steps: 4 },
    cutmix: { unlabeledMix: 'none' },
    losses: {
      ...{ synthetic: 0, auxiliary: 0, unsupervised: 0, cube: 0, teacher: 0.5, consistency: 'squares' },
      ...{ pseudoLabel: 'soft', teacherNoise: 0.1, noisyPasses: 2, entropy: [0.9, 1], teacherStatistics: 'batch' },
    },
  },
  {
    // As BCP, and the agreement of pairs.
    cutmix: { unlabeledMix: 'unlabeled-pairs' },
    losses: { ...common, unsupervised: 0, agreement: 1, consistency: 'dice', largestComponent: true, confidence: 0.51 },
  },
];

const plan = ({ training, cutmix, losses, network }: Partial<Settings>) =>
  parsePlan({
    version: 1,
    name: 'small',
    seed: 3,
    datasets: ['a', 'b'].map((name) => ({ name, path: name, preprocessing: { spacingMm: [1, 1, 1] } })),
    tasks: [
      { name: 'one', dataset: 'a', labels: [1] },
      { name: 'two', dataset: 'a', labels: [2] },
      { name: 'three', dataset: 'b', labels: [1] },
    ],
    network: { baseWidth: 4, levels: 3, convolutions: [1, 2, 1], headWidth: 4, ...network },
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
      ...training,
    },
    ...(cutmix && { cutmix }),
    ...(losses && { losses }),
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
async function train(options: Partial<Settings>): Promise<{ losses: number[]; last: Float32Array }> {
  const settings = { ...plan(options), ...(options.unknownVoxels && { unknownVoxels: true }) };
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
const all = [labeledInside, unknown, ...others];
const expected: Awaited<ReturnType<typeof train>>[] = [];
for (const options of all) expected.push(await train(options));

for (const { backend, device: choice, available, why } of await registerVersemiBackends())
  t.test(backend, { skip: available ? false : why }, async (t) => {
    const { device } = await selectDevice(choice, { precision: 'float32' });
    const tensors = tf.memory().numTensors;
    const { buffers } = device.memory();
    resetDispatchCounts();
    for (const [i, options] of all.entries()) {
      const first = await train(options);
      t.same(dispatchCounts().delegated, {}, 'delegates nothing');
      t.equal(tf.memory().numTensors, tensors, 'no tensor left');
      t.equal(device.memory().buffers, buffers, 'no buffer left');
      t.equal(first.losses.length, expected[i]!.losses.length);
      first.losses.forEach((loss, at) => {
        const reference = expected[i]!.losses[at]!;
        const close = Math.abs(loss - reference) <= 1e-3 * Math.max(1, Math.abs(reference));
        t.ok(close, `options ${i}, number ${at}: ${loss} is ${reference}`);
      });
      t.same(await train(options), first, 'the same numbers again');
    }
  });

t.test('the averaged network has the moving average of the steps before', async (t) => {
  await selectDevice('wasm', { precision: 'float32' });
  const settings = plan(labeledInside);
  const state = createState(
    new VersemiNetwork({ ...settings.network, tasks: settings.tasks.length }, settings.seed),
    settings,
  );
  for (let step = 0; step < 3; step++) await runStep(state, settings, noise(settings, step));
  const average = await state.average.values();
  await runStep(state, settings, noise(settings, 3));
  const found = await state.averageNetwork!.values();
  t.same([...found.keys()].sort(), [...average.keys()].sort());
  for (const [name, values] of average) t.same(found.get(name), values, name);
  disposeState(state);
  const alone = createState(
    new VersemiNetwork({ ...settings.network, tasks: settings.tasks.length }, 3),
    plan({ losses: common }),
  );
  t.equal(alone.averageNetwork, undefined, 'no memory for it where its loss has no weight');
  disposeState(alone);
});
