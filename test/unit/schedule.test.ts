import t from 'tap';
import { emaDecayAt, learningRateAt, stageOf, unsupervisedRamp } from '../../src/training/schedule.js';

const base = {
  learningRate: 0.5,
  warmupSteps: 0,
  mode: 'semi-supervised',
  stage1Steps: 10,
  stage2Steps: 20,
  schedule: 'constant',
} as const;

t.test('the learning rate follows its schedule in each stage', async (t) => {
  const at = (step: number, schedule: 'constant' | 'cosine' | 'polynomial') =>
    learningRateAt(step, { ...base, schedule });
  for (const schedule of ['constant', 'cosine', 'polynomial'] as const) {
    t.equal(at(0, schedule), 0.5, `${schedule} begins at the full rate`);
    t.equal(at(10, schedule), 0.5, `${schedule} begins anew in stage 2`);
  }
  t.equal(at(29, 'constant'), 0.5);
  t.ok(Math.abs(at(5, 'cosine') - 0.25) < 1e-12, 'half way');
  t.ok(Math.abs(at(20, 'cosine') - 0.25) < 1e-12, 'half way in stage 2');
  t.ok(Math.abs(at(5, 'polynomial') - 0.5 * 0.5 ** 0.9) < 1e-12);
  t.ok(at(9, 'cosine') > 0 && at(9, 'polynomial') > 0, 'never zero');
});

t.test('supervised training is one stage', async (t) => {
  const settings = { ...base, mode: 'supervised', schedule: 'cosine' } as const;
  t.equal(stageOf(25, settings), 1);
  t.equal(stageOf(25, base), 2);
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
    [10, 12, 14, 25].map((step) => unsupervisedRamp(step, 10, 4)),
    [0, 0.5, 1, 1],
  );
  t.equal(unsupervisedRamp(10, 10, 0), 1);
});

t.test('early averages of the weights are true means', async (t) => {
  let average = 123;
  const weights = [3, 5, 10];
  for (const [i, weight] of weights.entries()) {
    const decay = emaDecayAt(i + 1, 0.99);
    average = decay * average + (1 - decay) * weight;
  }
  t.ok(Math.abs(average - 6) < 1e-12);
  t.equal(emaDecayAt(1000, 0.99), 0.99);
});
