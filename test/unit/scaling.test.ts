// The model of a step on several machines: what it counts is what a step does, and its curve does what such curves do.
import t from 'tap';
import { totalSteps } from '../../src/config/steps.js';
import { networkConfig, parameterCount } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { methodNames, methodRow } from '../../src/preprocessing/methods.js';
import { type Communicator, solo } from '../../src/ranks/communicator.js';
import { createSampler } from '../../src/sampling/sampler.js';
import { selectDevice } from '../../src/tfjs/index.js';
import { rankPlan } from '../../src/training/ranks.js';
import { batchForRanks, lastStageStep, rankedStep, sumsPerStep } from '../../src/training/scaling.js';
import { createState, disposeState } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { shapes, tinyPlan } from '../integration/training-support.js';

/** Rank 0 of two, whose partner always has the same values: it counts the sums and the bytes of gradients. */
function counting(): Communicator & { small: number; gradients: number } {
  return {
    ...{ ...solo, size: 2, small: 0, gradients: 0 },
    allReduceSum(values) {
      this.small++;
      for (let i = 0; i < values.length; i++) values[i]! *= 2;
    },
    allGather(values) {
      this.small++;
      return Float64Array.from([...values, ...values]);
    },
    startAllReduceSum() {
      this.gradients++;
      return { wait: () => {} };
    },
  };
}

t.test('it counts the sums that a step of every method has', async (t) => {
  await selectDevice('wasm', { threads: 1 });
  for (const method of methodNames) {
    const { mode = 'semi-supervised', prompts = 'each', losses = {}, cutmix = {} } = methodRow(method);
    const sizes = { labeledBatchSize: 4, unlabeledBatchSize: 4, validateEverySteps: 0 };
    const stages = { stage1Steps: 1, stage2Steps: mode === 'supervised' ? 0 : 1 };
    const plan = tinyPlan({ mode, promptsPerImage: prompts, ...sizes, ...stages }, { losses, cutmix });
    const ranks = counting();
    const own = rankPlan(plan, ranks);
    const state = createState(new VersemiNetwork(networkConfig(plan), 1), plan, undefined, ranks);
    const sampler = createSampler(own, shapes(6));
    for (let step = 0; step < totalSteps(plan.training); step++) {
      Object.assign(ranks, { small: 0, gradients: 0 });
      const { numbers, free } = await state.program.start(own, hostStep(own, sampler.batch(step)));
      await numbers.data();
      free();
      t.same({ small: ranks.small, gradients: ranks.gradients }, sumsPerStep(plan, step), `${method}, step ${step}`);
    }
    disposeState(state);
  }
});

const plan = tinyPlan(
  { labeledBatchSize: 8, unlabeledBatchSize: 8, stage1Steps: 10, stage2Steps: 10 },
  { network: { baseWidth: 16, levels: 5, convolutions: [1, 2, 3, 3, 3] }, patchSizeVoxels: [32, 32, 32] },
);
const step = lastStageStep(plan);
const fast = { latencySeconds: 2e-6, bytesPerSecond: 12e9 };
const slow = { latencySeconds: 1e-3, bytesPerSecond: 1e8 };

t.test('a rank alone takes the time that was measured; what ranks send is two parts of the gradients', (t) => {
  const alone = rankedStep(plan, step, 3, 1, fast);
  t.match(alone, { secondsPerStep: 3, communicationSeconds: 0, efficiency: 1, bytesSent: 0 });
  const gradients = 4 * parameterCount(networkConfig(plan));
  const groups = sumsPerStep(plan, step).gradients;
  for (const ranks of [2, 4, 8])
    t.equal(rankedStep(plan, step, 3, ranks, fast).bytesSent, (groups * 2 * (ranks - 1) * gradients) / ranks);
  t.end();
});

t.test('more ranks, a longer way and a narrower one cost efficiency; a larger batch gains some', (t) => {
  const at = (ranks: number, link = fast, batch?: [number, number]) =>
    rankedStep(plan, step, 3, ranks, link, batch).efficiency;
  t.ok(at(2) > 0.9 && at(2) < 1, String(at(2)));
  t.ok(at(4) < at(2) && at(8) < at(4));
  t.ok(at(4, { ...fast, latencySeconds: 0.01 }) < at(4));
  t.ok(at(4, { ...fast, bytesPerSecond: 1e8 }) < at(4));
  t.ok(at(8, slow, [64, 64]) > at(8, slow));
  // Five rows for four ranks: one of them has two, and the others wait for it.
  t.ok(at(4, fast, [5, 5]) < 0.7);
  const wanted = batchForRanks(plan, step, 3, 8, slow)!;
  t.ok(wanted.efficiency >= 0.9);
  t.ok(wanted.batch[0] > 8 && at(8, slow, [wanted.batch[0] - 8, wanted.batch[1] - 8]) < 0.9, 'and no smaller one');
  t.equal(batchForRanks(plan, step, 3, 8, { latencySeconds: 10, bytesPerSecond: 1 }), undefined);
  t.end();
});
