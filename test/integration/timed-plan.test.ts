// Plans that follow from real steps: sizes that fit the memory, hours that are kept, and intensities of scans that are read once.

import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { readPlan, writePlan } from '../../src/config/read-plan.js';
import { totalSteps } from '../../src/config/steps.js';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { VersemiError } from '../../src/errors.js';
import { type KnownIntensities, rangesOfDataset } from '../../src/preprocessing/dataset-facts.js';
import { fingerprintDatasets } from '../../src/preprocessing/fingerprint.js';
import { preprocessDatasets } from '../../src/preprocessing/preprocess-datasets.js';
import { selectDevice } from '../../src/tfjs/index.js';
import { validationCount } from '../../src/training/planned-cost.js';
import { makeTimedPlan } from '../../src/training/timed-plan.js';

const folder = t.testdir();
await makePhantomDataset(join(folder, 'mr-atrium'), 'mr-atrium', {
  cases: 6,
  labeledCases: 2,
  validationCases: 2,
  testCases: 0,
  seed: 3,
});
const split = { labeled: 'labeled', validation: 2 };
const fingerprint = await fingerprintDatasets([{ path: join(folder, 'mr-atrium'), split }]);
const { device } = await selectDevice('wasm', { threads: 1 });

t.test('what does not fit the memory of the device is planned smaller', async (t) => {
  const sizes = { baseWidth: 2, hours: null };
  const plenty = await makeTimedPlan(fingerprint, {
    ...sizes,
    deviceMemoryBytes: 2 ** 30,
    patchSizeVoxels: [32, 32, 32],
  });
  const { allocate } = device;
  const limit = plenty.time.measured!.bytesPeak! * 0.6;
  let refused = 0;
  device.allocate = (bytes) => {
    if (device.memory().bytesInUse + bytes > limit) {
      refused++;
      throw new VersemiError('DEVICE_OUT_OF_MEMORY', { field: 'test' });
    }
    return allocate.call(device, bytes);
  };
  t.teardown(() => {
    device.allocate = allocate;
  });
  const said: string[] = [];
  const before = tf.memory().numTensors;
  const { plan, time } = await makeTimedPlan(fingerprint, {
    ...{ ...sizes, deviceMemoryBytes: 2 ** 30, patchSizeVoxels: [32, 32, 32] },
    onProgress: (text) => said.push(text),
  });
  t.ok(refused > 0, 'the first plan did not fit');
  t.ok(time.measured!.bytesPeak! <= limit, `${time.measured!.bytesPeak} bytes`);
  t.ok(
    plan.training.labeledBatchSize < plenty.plan.training.labeledBatchSize,
    `batch ${plan.training.labeledBatchSize}`,
  );
  t.equal(tf.memory().numTensors, before, 'nothing is left on the device');
  t.match(said.join('\n'), /^Preprocessing 1 of 4 cases for the timing\n/);
  t.match(said.join('\n'), /Timing steps \(patch 32 x 32 x 32, width 2, batch \d\): stage 2, 2 timed/);
});

t.test('hours: steps, and validations that do not take more than a tenth of them', async (t) => {
  const hours = 0.02;
  // A method whose stages have as many steps as the paper's, for as much work.
  const given = { baseWidth: 2, patchSizeVoxels: [16, 16, 16] as const, method: 'versemi-views' as const };
  const { plan, time } = await makeTimedPlan(fingerprint, { ...given, hours });
  // Steps are counted in tens, and never less than ten in a stage.
  const rest = time.trainingSeconds - time.validationSeconds;
  const perStep = rest / totalSteps(plan.training);
  t.ok(time.trainingSeconds <= 3600 * hours * 1.02 + 20 * perStep, `${time.trainingSeconds} s`);
  // A slow machine: each validation would take most of the time with both cases.
  const slow = await makeTimedPlan(fingerprint, { ...given, hours: 0.5, gflopsPerSecond: 0.001 });
  t.equal(slow.plan.training.validationCases, 1);
  t.match(
    slow.explanations.find(({ field }) => field === 'training.validationCases')?.reason,
    /would take \d+ % of the time/,
  );
  t.equal(slow.time.measured, undefined, 'where the speed is given, nothing is timed');
  const fast = await makeTimedPlan(fingerprint, { ...given, hours: 100, gflopsPerSecond: 1e6 });
  t.equal(fast.plan.training.validationCases, null, 'all');
  t.match(fast.plan.training, { stage1Steps: 13000, stage2Steps: 13000 });
  t.same([fast.time.givenUp, fast.time.paperSeconds], [[], undefined], 'the schedule of the paper fits');
  t.equal(validationCount(fast.plan), 10);
  const paper = await makeTimedPlan(fingerprint, { ...given, hours: null, gflopsPerSecond: 1 });
  t.match(paper.plan.training, { stage1Steps: 13000, stage2Steps: 13000, validationCases: null });
  t.ok(slow.time.givenUp.some((text) => /^steps [\d,]+ instead of 26,000$/.test(text)));
});

t.test('intensities of scans that one run has read are not read by the next', async (t) => {
  const file = join(folder, 'plan.json');
  await writePlan(file, (await makeTimedPlan(fingerprint, { gflopsPerSecond: 100 })).plan);
  const plan = await readPlan(file);
  const { labeled, unlabeled } = await preprocessDatasets(plan, { cacheFolder: null });
  const [entry] = plan.datasets;
  const known: KnownIntensities = new Map();
  const first = await rangesOfDataset(plan, entry!, [...labeled, ...unlabeled], undefined, known);
  t.equal(known.size, labeled.length + unlabeled.length);
  t.same(first, entry!.scans, 'what a plan records is what a training would find');
  for (const key of known.keys()) known.set(key, { percentile005: -7, percentile995: 77 });
  const second = await rangesOfDataset(plan, entry!, labeled, undefined, known);
  t.match(second, { cases: labeled.length, percentile005: [-7, -7], percentile995: [77, 77] });
});
