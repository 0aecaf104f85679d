import t from 'tap';
import { forwardPasses, runPasses, stageBegins, stageOf, trunkPasses } from '../../src/config/steps.js';
import { HistoryRecorder } from '../../src/training/history.js';
import { Pace } from '../../src/training/pace.js';
import { averageDecayAt, learningRateAt, unsupervisedRamp } from '../../src/training/schedule.js';

import { makePlan } from './sampling-support.js';

const base = {
  learningRate: 0.5,
  warmupSteps: 0,
  mode: 'semi-supervised',
  stage1Steps: 10,
  stage2Steps: 20,
  schedule: 'constant',
} as const;

t.test('the learning rate follows its schedule over the whole run', async (t) => {
  const at = (step: number, schedule: 'constant' | 'cosine' | 'polynomial') =>
    learningRateAt(step, { ...base, schedule });
  for (const schedule of ['constant', 'cosine', 'polynomial'] as const) {
    t.equal(at(0, schedule), 0.5, `${schedule} begins at the full rate`);
  }
  t.equal(at(29, 'constant'), 0.5);
  t.ok(Math.abs(at(15, 'cosine') - 0.25) < 1e-12, 'half way');
  t.ok(Math.abs(at(15, 'polynomial') - 0.5 * 0.5 ** 0.9) < 1e-12);
  t.ok(
    at(10, 'cosine') < at(9, 'cosine') && at(10, 'polynomial') < at(9, 'polynomial'),
    'stage 2 goes on from stage 1',
  );
  t.ok(at(29, 'cosine') > 0 && at(29, 'polynomial') > 0, 'never zero');
});

t.test('supervised training is one stage', async (t) => {
  const settings = { ...base, mode: 'supervised', schedule: 'cosine' } as const;
  t.equal(stageOf(25, settings), 1);
  t.equal(stageOf(25, base), 2);
  t.same(stageBegins(settings), [0]);
  t.same(stageBegins(base), [0, 10]);
  t.same(stageBegins({ ...base, stage1Steps: 0 }), [0], 'the second alone');
  t.same(stageBegins({ ...base, stage2Steps: 0 }), [0], 'the first alone');
  t.ok(Math.abs(learningRateAt(15, settings) - 0.25) < 1e-12);
});

t.test('warm-up rises linearly to the full rate', async (t) => {
  const settings = { ...base, warmupSteps: 4 };
  t.same(
    [0, 1, 2, 3, 4].map((step) => learningRateAt(step, settings)),
    [0.125, 0.25, 0.375, 0.5, 0.5],
  );
});

t.test('the unsupervised weight ramps over stage 2', async (t) => {
  t.same(
    [10, 12, 14, 25].map((step) => unsupervisedRamp(step, 10, { unsupervisedRampSteps: 4, ramp: 'linear' })),
    [0, 0.5, 1, 1],
  );
  t.equal(unsupervisedRamp(10, 10, { unsupervisedRampSteps: 0, ramp: 'sigmoid' }), 1);
  const sigmoid = [10, 12, 14, 25].map((step) =>
    unsupervisedRamp(step, 10, { unsupervisedRampSteps: 4, ramp: 'sigmoid' }),
  );
  t.same(sigmoid, [Math.exp(-5), Math.exp(-1.25), 1, 1]);
});

t.test('early averages of the weights are true means', async (t) => {
  let average = 123;
  const weights = [3, 5, 10];
  for (const [i, weight] of weights.entries()) {
    const decay = averageDecayAt(i + 1, 0.99);
    average = decay * average + (1 - decay) * weight;
  }
  t.ok(Math.abs(average - 6) < 1e-12);
  t.equal(averageDecayAt(1000, 0.99), 0.99);
});

t.test('the history averages losses over stretches, never across stages, and goes on after a resume', async (t) => {
  const record = (steps: number[], from?: HistoryRecorder) => {
    const recorder = new HistoryRecorder(1000, 8, from && { history: from.history, pending: from.pending });
    for (const step of steps) recorder.addStep(step, step <= 8 ? { a: step } : { b: step });
    return recorder;
  };
  const steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  const whole = record(steps);
  t.same(whole.history.losses, [
    { step: 5, losses: { a: 3 } },
    { step: 8, losses: { a: 7 } },
    { step: 10, losses: { b: 9.5 } },
  ]);
  for (let stop = 1; stop < 10; stop++) {
    const resumed = record(steps.slice(stop), record(steps.slice(0, stop)));
    t.same([resumed.history, resumed.pending], [whole.history, whole.pending], `resumed after ${stop}`);
  }
  t.same(record([1, 2, 3]).pending, { steps: 3, sums: { a: 6 } });
  const best = [0.25, 0.75, 0.75, 0.5].map((mean, i) => whole.addValidation({ step: i + 1, mean, perTask: {} }));
  t.same(best, [true, true, false, false]);
  t.same(whole.history.best, { step: 2, mean: 0.75 });
});

t.test('the estimate knows that stage 2 costs more', async (t) => {
  const planWith = (training: object, losses: object = {}) =>
    makePlan({ a: [[1]] }, [8, 8, 8], {
      training: { stage1Steps: 10, stage2Steps: 20, labeledBatchSize: 8, unlabeledBatchSize: 8, ...training },
      losses,
    });
  const passes = (plan: ReturnType<typeof planWith>, step: number) => trunkPasses(plan, step);
  const plan = planWith({});
  t.same(
    [passes(plan, 9), passes(plan, 10)],
    [
      { training: 12, forwardOnly: 0 },
      { training: 20, forwardOnly: 0 },
    ],
  );
  t.same(passes(planWith({}, { teacher: 1 }), 10), { training: 20, forwardOnly: 8 }, 'the averaged network');
  t.same(passes(planWith({}, { synthetic: 0, auxiliary: 0 }), 0), { training: 8, forwardOnly: 0 }, 'no term, no pass');
  t.same(passes(planWith({}, { agreement: 1 }), 10), { training: 20, forwardOnly: 8 }, 'once for both terms');
  const noisy = { teacher: 1, noisyPasses: 8, entropy: [0.75, 1], teacherNoise: 0.1 };
  t.same(passes(planWith({}, noisy), 10), { training: 20, forwardOnly: 72 }, 'and for each noisy pass');
  t.equal(forwardPasses({ training: 20, forwardOnly: 8 }), 68);
  t.equal(runPasses(planWith({}, { teacher: 1 })), 10 * 3 * 12 + 20 * 68);
  t.equal(runPasses(planWith({ mode: 'supervised' })), 30 * 3 * 8);
  t.equal(runPasses(planWith({ stage2Steps: 0 })), 10 * 3 * 12);
  t.equal(runPasses(planWith({ stage1Steps: 0 })), 20 * 3 * 20);
  t.equal(new Pace(plan).add(0, 12), 9 * 12 + 20 * 20, 'a second per image');
  t.equal(new Pace(plan).add(29, 12), 0);
  t.equal(new Pace(planWith({ mode: 'supervised' })).add(0, 8), 29 * 8);
});
