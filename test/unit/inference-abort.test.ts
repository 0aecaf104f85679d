// Predictions and evaluations that end early: by a signal, by leaving the loop, by an error of the caller. Nothing is left in memory.
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { isVersemiError } from '../../src/errors.js';
import { evaluateCase } from '../../src/inference/evaluate.js';
import { type CaseProgress, evaluateDataset } from '../../src/inference/evaluate-dataset.js';
import { finish, type PredictProgress, predictVolume, predictWindows } from '../../src/inference/predict.js';
import type { Affine, Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';
import { noise, plan, spyNetwork, test } from './inference-support.js';

await tf.setBackend('cpu');

/** A scan of 2 x 2 x 3 windows of [16, 16, 16] whose spacing is not the plan's, so that everything between file and mask is held. */
function abortable() {
  const sizeVoxels: Triple = [24, 20, 30];
  const model = { network: spyNetwork().network, plan: plan({ spacingMm: [1, 1, 1.1] }, { a: [[1], [2]], b: [[1]] }) };
  model.plan.datasets[1]!.preprocessing.normalization = 'zscore';
  const affine: Affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  const image = { data: noise(sizeVoxels, 8), sizeVoxels, spacingMm: [1, 1, 1] as Triple, affine };
  return { model, image };
}

test('an aborted prediction rejects, computes no further window and frees everything', async (t) => {
  const { model, image } = abortable();
  const stopped = new AbortController();
  stopped.abort();
  const before: PredictProgress[] = [];
  await t.rejects(
    predictVolume(model, image, { signal: stopped.signal, onProgress: (step) => before.push(step) }),
    { code: 'VERSEMI_ABORTED' },
    'aborted before it began',
  );
  t.equal(before.length, 0);

  for (const [pass, last] of [
    [0, 1],
    [0, 5],
    [1, 2],
  ] as const) {
    const abort = new AbortController();
    const reason = new Error('the window was closed');
    const seen: PredictProgress[] = [];
    const failure = await predictVolume(model, image, {
      signal: abort.signal,
      strips: 2,
      onProgress(step) {
        seen.push(step);
        t.ok(host().memory().blocks > 0, 'memory is held while it goes on');
        if (step.pass === pass && step.window === last) abort.abort(reason);
      },
    }).catch((error: unknown) => error);
    if (!isVersemiError(failure, 'ABORTED')) throw failure;
    t.equal(failure.cause, reason, 'the reason of the signal is the cause');
    t.match(seen.at(-1), { pass, window: last }, 'no window after that');
    t.equal(host().memory().blocks, 0);
    t.equal(tf.memory().numTensors, 0);
  }

  let turns = 0;
  const timer = new AbortController();
  // Slow windows: the event loop gets its turn between two of them, and the timer its call.
  const slow = spyNetwork((seen) => {
    turns++;
    for (const end = performance.now() + 60; performance.now() < end; );
    return tf.clone(seen);
  });
  setTimeout(() => timer.abort(), 1);
  await t.rejects(predictVolume({ ...model, network: slow.network }, image, { signal: timer.signal }), {
    code: 'VERSEMI_ABORTED',
  });
  t.ok(turns < 12, `${turns} calls of the network before a timer could abort`);
});

test('leaving predictWindows early, and an error in onProgress, free everything', async (t) => {
  const { model, image } = abortable();
  for await (const { window } of predictWindows(model, image)) if (window === 3) break;
  t.equal(host().memory().blocks, 0);
  const steps = predictWindows(model, image);
  const [made, again] = [await finish(steps), await predictVolume(model, image)];
  t.same(
    made.map(({ mask }) => mask.data),
    again.map(({ mask }) => mask.data),
  );
  const onProgress = () => {
    throw new Error('the caller has a defect');
  };
  await t.rejects(predictVolume(model, image, { onProgress }), { message: 'the caller has a defect' });
});

test('an aborted evaluation rejects and frees everything', async (t) => {
  const { model, image } = abortable();
  const label = { ...image, data: new Uint8Array(image.data.length).fill(1, 0, 999) };
  const abort = new AbortController();
  const windows: number[] = [];
  const evaluation = evaluateCase(model, { id: 'c', image, label }, 'a', [0, 1], {
    signal: abort.signal,
    onProgress({ window }) {
      windows.push(window);
      if (window === 2) abort.abort();
    },
  });
  await t.rejects(evaluation, { code: 'VERSEMI_ABORTED' });
  t.same(windows, [1, 2]);
});

test('evaluateDataset tells its windows, and an aborted one frees everything', async (t) => {
  const folder = t.testdir();
  await makePhantomDataset(folder, 'mr-atrium', {
    cases: 2,
    labeledCases: 2,
    validationCases: 0,
    testCases: 0,
    seed: 1,
  });
  const model = { network: spyNetwork().network, plan: plan({ spacingMm: [6, 6, 6] }) };
  const whole: CaseProgress[] = [];
  const ids: string[] = [];
  const options = { dataset: 'a', onProgress: (progress: CaseProgress) => whole.push(progress) };
  for await (const { id, index, total, outcomes } of evaluateDataset(model, folder, options)) {
    t.same([index, total, outcomes.length], [ids.length + 1, 2, 1]);
    t.match(whole.at(-1), { dataset: 'a', id, index, total, window: whole.at(-1)!.windows, tasks: ['a-0'] });
    ids.push(id);
  }
  t.equal(ids.length, 2);

  for (const stopAt of [2, whole.findIndex(({ index }) => index === 2)]) {
    const abort = new AbortController();
    let windows = 0;
    const evaluated = evaluateDataset(model, folder, {
      dataset: 'a',
      signal: abort.signal,
      onProgress() {
        windows++;
        if (windows === stopAt) abort.abort();
      },
    });
    await t.rejects(finish(evaluated), { code: 'VERSEMI_ABORTED' });
    t.equal(windows, stopAt, 'no further window, in this case or the next');
    t.equal(host().memory().blocks, 0);
    t.equal(tf.memory().numTensors, 0);
  }
});
