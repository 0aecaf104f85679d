// train() on the smallest network: what it writes, what it refuses, and that a resumed run is bitwise the same.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { loadModel } from '../../src/checkpoints/files.js';
import { parseSafetensors } from '../../src/checkpoints/safetensors.js';
import { networkConfig } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { createSampler } from '../../src/sampling/sampler.js';
import { registerVersemiBackends } from '../../src/tfjs/index.js';
import type { TrainingEvent } from '../../src/training/events.js';
import { Optimizer } from '../../src/training/optimizer.js';
import { runFiles } from '../../src/training/run-folder.js';
import { createState, disposeState, runStep } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { type TrainOptions, train } from '../../src/training/train.js';
import '../unit/model-support.js';
import { shapes, tinyPlan } from './training-support.js';

await tf.setBackend('cpu');
const data = shapes(6);

async function run(
  plan = tinyPlan(),
  options: Partial<TrainOptions> & { runFolder: string },
  stop = Number.POSITIVE_INFINITY,
) {
  const events: TrainingEvent[] = [];
  for await (const event of train(plan, { device: 'current', data, ...options })) {
    events.push(event);
    // leaving the loop here is what a killed process looks like from the outside
    if (event.type === 'checkpoint' && !event.best && event.step >= stop) break;
  }
  return events;
}

/** Bytes of every tensor of a file. */
function tensorsOf(file: string): Record<string, string> {
  const { tensors } = parseSafetensors(readFileSync(file));
  return Object.fromEntries([...tensors].map(([name, { bytes }]) => [name, Buffer.from(bytes).toString('base64')]));
}

function lines(folder: string): TrainingEvent[] {
  return readFileSync(runFiles(folder).metrics, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** What must be equal in two runs: everything but clocks and paths. */
function comparable(events: readonly TrainingEvent[]): object[] {
  return events.flatMap((event): object[] => {
    if (event.type === 'step')
      return [{ step: event.step, losses: event.losses, norm: event.gradientNorm, rate: event.learningRate }];
    return event.type === 'validation' ? [{ step: event.step, perTask: event.perTask, best: event.best }] : [];
  });
}

t.test('a run writes plan, metrics, TensorBoard, checkpoints and a model', async (t) => {
  const folder = `${t.testdir()}/run`;
  const before = tf.memory().numTensors;
  const events = await run(tinyPlan(), { runFolder: folder });
  t.equal(tf.memory().numTensors, before, 'nothing is left on the device');
  t.same(
    events.map(({ type, step }) => `${type} ${step}`).filter((text) => !text.startsWith('checkpoint')),
    [
      'start 0',
      'step 1',
      'step 2',
      'validation 2',
      'step 3',
      'step 4',
      'validation 4',
      'step 5',
      'step 6',
      'validation 6',
      'end 6',
    ],
  );
  const [start, first] = events;
  t.match(start, {
    device: 'cpu',
    why: /current backend/,
    steps: 6,
    cases: { labeled: 4, unlabeled: 4, validation: 4 },
  });
  t.ok(start?.type === 'start' && start.parameters > 0);
  t.match(first, { stage: 1, learningRate: 1e-3 });
  if (first?.type === 'step')
    for (const value of [first.gradientNorm, first.samplesPerSecond, first.secondsPerStep, first.etaSeconds])
      t.ok(Number.isFinite(value) && value > 0);
  t.same(
    events.flatMap((event) => (event.type === 'step' ? [Object.keys(event.losses).sort().join()] : [])),
    [
      ...Array(3).fill('auxiliary,crossEntropy,dice,synthetic,total'),
      ...Array(3).fill('crossEntropy,cube,dice,synthetic,total,unsupervised'),
    ],
  );
  t.same(lines(folder), JSON.parse(JSON.stringify(events)), 'metrics.jsonl holds the events');
  t.same(JSON.parse(readFileSync(`${folder}/plan.json`, 'utf8')), tinyPlan());
  t.equal(readdirSync(`${folder}/tensorboard`).length, 1);
  t.same(readdirSync(folder).sort(), [
    'checkpoints',
    'metrics.jsonl',
    'model.safetensors',
    'plan.json',
    'tensorboard',
    'train.log',
  ]);
  t.same(
    readdirSync(`${folder}/checkpoints`).sort(),
    ['best', 'last', 'previous'].map((name) => `${name}.safetensors`),
  );

  const files = runFiles(folder);
  const [last, model] = [tensorsOf(files.last), tensorsOf(files.model)];
  for (const [name, bytes] of Object.entries(model)) t.equal(bytes, last[name], name);
  t.notOk(
    Object.keys(model).some((name) => /^(ema|adam)/.test(name)),
    'the model is for inference only',
  );
  t.notOk(Object.keys(tensorsOf(files.best)).some((name) => name.startsWith('adam')));
  const loaded = await loadModel(files.model);
  t.match(loaded.history, { steps: 6, validation: [{ step: 2 }, { step: 4 }, { step: 6 }] });
  t.equal(loaded.history.losses.length, 6);
  t.match(loaded.provenance, {
    versions: { versemi: /\d/, node: /\d/ },
    data: [{ dataset: 'balls', licence: 'none' }, {}],
  });
  const bestEvents = events.filter((event) => event.type === 'validation' && event.best);
  t.equal(loaded.history.best?.step, bestEvents.at(-1)?.step);
  loaded.network.dispose();
});

t.test('checkpoints by minutes: a clock decides when, and changes no number', async (t) => {
  const folder = t.testdir();
  const bySteps = { checkpointEverySteps: 0, checkpointEveryMinutes: 0, validateEverySteps: 0 };
  const whole = await run(tinyPlan(bySteps), { runFolder: `${folder}/whole` });
  const saved = (events: readonly TrainingEvent[]) =>
    events.flatMap((event) => (event.type === 'checkpoint' && !event.best ? [event.step] : []));
  t.same(saved(whole), [6], '0 minutes: by steps alone');
  const minutes = tinyPlan({ ...bySteps, checkpointEveryMinutes: 15 });
  t.same(saved(await run(minutes, { runFolder: `${folder}/quick`, clock: () => 0 })), [6], 'not due');
  // Five minutes pass with every look at the clock after a step, and with every one after a checkpoint.
  let time = 0;
  const clock = () => {
    time += 5 * 60_000;
    return time;
  };
  const clocked = await run(minutes, { runFolder: `${folder}/clocked`, clock });
  const steps = saved(clocked);
  t.ok(steps.length > 1 && steps.length < 6, `after steps ${steps}`);
  t.same(comparable(clocked), comparable(whole), 'the same numbers');
  const expected = tensorsOf(runFiles(`${folder}/whole`).last);
  t.same(tensorsOf(runFiles(`${folder}/clocked`).last), expected);
  const [stop] = steps;
  await run(minutes, { runFolder: `${folder}/parts`, clock }, stop);
  const rest = await run(minutes, { runFolder: `${folder}/parts`, clock, resume: true });
  t.ok(rest[0]?.type === 'start' && rest[0].step >= 1, 'it goes on from a checkpoint of the clock');
  t.same(tensorsOf(runFiles(`${folder}/parts`).last), expected, 'bitwise as never having stopped');
});

t.test('train.log: what people are told, one log for all parts of a run', async (t) => {
  const folder = t.testdir();
  const runFolder = `${folder}/run`;
  const log = () => readFileSync(runFiles(runFolder).log, 'utf8').trimEnd().split('\n');
  const words = () => log().map((line) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ /, ''));
  // A minute passes from step to step.
  let time = 0;
  const clock = () => {
    time += 60_000;
    return time;
  };
  const plan = tinyPlan({ checkpointEverySteps: 2, checkpointEveryMinutes: 0 });
  await run(plan, { runFolder, clock }, 2);
  t.match(words()[0], /^versemi \d.*, plan .*, seed \d/);
  t.match(
    words().join('\n'),
    /^Device .*\n4 labelled, 4 unlabelled, 4 validation cases; [\d,]+ parameters; steps 1 to 6$/m,
  );
  t.ok(words().some((line) => /^1\/6 stage 1, .*, loss /.test(line)));
  t.ok(words().some((line) => /^step 2: validation Dice /.test(line)));
  t.ok(words().includes(`step 2: ${runFiles(runFolder).last} written`));
  const first = log();
  const broken = shapes(6);
  const bad = { ...broken, labeled: broken.labeled.map((one) => ({ ...one, image: one.image.map(() => Number.NaN) })) };
  await t.rejects(run(plan, { runFolder, clock, resume: true, data: bad }), { code: 'VERSEMI_TRAINING_NOT_FINITE' });
  t.match(words().at(-1), /^Failed: /, 'what ended a run');
  t.notMatch(words().at(-1), /\n/);
  await run(plan, { runFolder, clock, resume: true });
  t.same(log().slice(0, first.length), first, 'nothing is cut off');
  t.match(words().at(-1), /^Finished after 6 steps, .*: .*model\.safetensors$/);
  time = 0;
  await run(tinyPlan({ stage1Steps: 6 }), { runFolder: `${folder}/quick`, clock: () => 0 });
  const quick = readFileSync(runFiles(`${folder}/quick`).log, 'utf8').split('\n');
  t.same(
    quick.flatMap((line) => /Z (\d+)\/9 /.exec(line)?.[1] ?? []),
    ['1', '9'],
    'a line about steps per minute, and about the last',
  );
});

t.test('a folder that is in use names how to go on', async (t) => {
  const runFolder = `${t.testdir()}/run`;
  await run(tinyPlan(), { runFolder }, 2);
  await t.rejects(run(tinyPlan(), { runFolder }), {
    code: 'VERSEMI_USAGE',
    message: new RegExp(`versemi train PLAN --out ${runFolder} --resume`),
  });
});

const fullResolution = { fullResolutionSkip: true, fullResolutionBlock: true };

t.test('resuming is bitwise the same as never having stopped, wherever it stopped', async (t) => {
  const folder = t.testdir();
  const whole = await run(tinyPlan(), { runFolder: `${folder}/whole` });
  const expected = tensorsOf(runFiles(`${folder}/whole`).last);
  for (let stop = 1; stop <= 6; stop++) {
    const runFolder = `${folder}/${stop}`;
    await run(tinyPlan(), { runFolder }, stop);
    // the process died later than the checkpoint, in the middle of a line
    appendFileSync(runFiles(runFolder).metrics, `{"type":"step","step":${stop + 1}}\n{"type":"st`);
    const rest = await run(tinyPlan(), { runFolder, resume: true });
    t.match(rest[0], { type: 'start', step: stop });
    t.match(rest.at(-1), { type: 'end', step: 6, reason: 'finished' });
    t.same(tensorsOf(runFiles(runFolder).last), expected, `stopped after step ${stop}`);
    t.same(comparable(lines(runFolder)), comparable(whole), 'metrics.jsonl reads as one run');
    const histories = await Promise.all(
      [`${folder}/whole`, runFolder].map(async (from) => {
        const { history, network } = await loadModel(runFiles(from).model);
        network.dispose();
        return history;
      }),
    );
    t.same(histories[1], histories[0], 'history');
  }
});

t.test('resuming with gradient descent, and with all that the options add to a step', async (t) => {
  const folder = t.testdir();
  const options = {
    'gradient descent': tinyPlan({ optimizer: 'sgd', learningRate: 1e-2, weightDecay: 1e-4 }),
    'components of both sides': tinyPlan(
      { promptsPerImage: 'each' },
      {
        network: { baseWidth: 2, levels: 2, convolutions: [1, 1], headWidth: 2, ...fullResolution },
        cutmix: { unlabeledMix: 'both-sides' },
        losses: { diceOver: 'task', agreement: 1, teacher: 1, cubeTasks: 1, largestComponent: true, ramp: 'sigmoid' },
      },
    ),
    noise: tinyPlan(
      { stage1Steps: 1, stage2Steps: 5, workers: 1 },
      {
        cutmix: { unlabeledMix: 'none' },
        losses: { teacher: 1, teacherNoise: 0.1, noisyPasses: 1, entropy: [0.75, 1], unsupervisedRampSteps: 4 },
      },
    ),
  };
  for (const [name, plan] of Object.entries(options)) {
    const [whole, parts] = [`${folder}/${name} whole`, `${folder}/${name} parts`];
    await run(plan, { runFolder: whole });
    for (const stop of [2, 4, undefined]) await run(plan, { runFolder: parts, resume: true }, stop);
    const expected = tensorsOf(runFiles(whole).last);
    t.same(tensorsOf(runFiles(parts).last), expected, name);
    const memory = Object.keys(expected).filter((tensor) => /^(adam|sgd)/.test(tensor));
    t.same(memory, name === 'gradient descent' ? ['sgd.velocity'] : ['adam.first', 'adam.second']);
  }
  const other = tinyPlan({ optimizer: 'sgd', learningRate: 1e-2, weightDecay: 1e-4, momentum: 0.5 });
  await t.rejects(run(other, { runFolder: `${folder}/gradient descent parts`, resume: true }), {
    code: 'VERSEMI_CHECKPOINT_MISMATCH',
    details: { field: 'training.momentum' },
  });
});

for (const { backend, device, available, why } of await registerVersemiBackends())
  t.test(`resuming on ${backend}, across the stages`, available ? {} : { skip: why }, async (t) => {
    const folder = t.testdir();
    await run(tinyPlan(), { runFolder: `${folder}/whole`, device });
    await run(tinyPlan(), { runFolder: `${folder}/parts`, device }, 2);
    await run(tinyPlan(), { runFolder: `${folder}/parts`, device, resume: true }, 4);
    await run(tinyPlan(), { runFolder: `${folder}/parts`, device, resume: true });
    t.same(tensorsOf(runFiles(`${folder}/parts`).last), tensorsOf(runFiles(`${folder}/whole`).last));
    await tf.setBackend('cpu');
  });

t.test('a run that is killed goes on from its last checkpoint', async (t) => {
  const folder = t.testdir();
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('training-child.js', import.meta.url)), `${folder}/run`],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  child.stdout.setEncoding('utf8');
  for await (const text of child.stdout) if (/step [3-9]/.test(text as string)) child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  t.equal(child.signalCode, 'SIGKILL');
  const plan = tinyPlan({ stage1Steps: 20, stage2Steps: 4 });
  await run(plan, { runFolder: `${folder}/run`, resume: true });
  await run(plan, { runFolder: `${folder}/whole` });
  t.same(tensorsOf(runFiles(`${folder}/run`).last), tensorsOf(runFiles(`${folder}/whole`).last));
});

t.test('worker threads change nothing', async (t) => {
  const folder = t.testdir();
  for (const workers of [0, 2]) await run(tinyPlan({ workers }), { runFolder: `${folder}/${workers}` });
  t.same(tensorsOf(runFiles(`${folder}/2`).last), tensorsOf(runFiles(`${folder}/0`).last));
});

t.test('an abort finishes the step, writes a checkpoint and ends', async (t) => {
  const runFolder = `${t.testdir()}/run`;
  const plan = tinyPlan({ checkpointEverySteps: 0 });
  const abort = new AbortController();
  const onBatch = (_: unknown, step: number) => {
    if (step === 3) abort.abort();
  };
  const events = await run(plan, { runFolder, signal: abort.signal, onBatch });
  t.match(events.slice(-2), [
    { type: 'checkpoint', step: 4, best: false },
    { type: 'end', step: 4, reason: 'aborted' },
  ]);
  t.notOk(existsSync(runFiles(runFolder).model));
  await run(plan, { runFolder, resume: true });
  await run(plan, { runFolder: `${runFolder}-whole` });
  t.same(tensorsOf(runFiles(runFolder).last), tensorsOf(runFiles(`${runFolder}-whole`).last));
});

t.test('NaN stops the run by name, and the last good checkpoint stays', async (t) => {
  const runFolder = `${t.testdir()}/run`;
  const before = tf.memory().numTensors;
  const onBatch: TrainOptions['onBatch'] = (batch, step) => {
    if (step === 4) batch.fields['unlabeled.image']!.fill(Number.NaN);
  };
  await t.rejects(run(tinyPlan(), { runFolder, onBatch }), {
    code: 'VERSEMI_TRAINING_NOT_FINITE',
    exitCode: 7,
    details: { field: 'step 5, loss term unsupervised', found: 'NaN' },
  });
  t.equal(tf.memory().numTensors, before, 'nothing is left on the device');
  const rest = await run(tinyPlan(), { runFolder, resume: true });
  t.match(rest[0], { step: 4 });
  await run(tinyPlan(), { runFolder: `${runFolder}-whole` });
  t.same(tensorsOf(runFiles(runFolder).last), tensorsOf(runFiles(`${runFolder}-whole`).last));
});

t.test('a gradient that is not finite is named by its parameter', async (t) => {
  const network = new VersemiNetwork(networkConfig(tinyPlan()), 1);
  const optimizer = new Optimizer(network.parameters, tinyPlan().training);
  const poisoned = tf.tidy(() =>
    optimizer.pack(new Map([['up.0.weight', tf.fill(network.weight('up.0.weight').shape, Number.NaN)]])),
  );
  const norm = optimizer.take([poisoned]);
  t.ok(Number.isNaN(norm.dataSync()[0]));
  t.equal(await optimizer.firstNotFinite(), 'up.0.weight');
  norm.dispose();
  poisoned.dispose();
  optimizer.take([]).dispose();
  t.equal(await optimizer.firstNotFinite(), undefined);
  optimizer.dispose();
  network.dispose();
});

t.test('a folder with a run in it, and a checkpoint of another plan, are refused', async (t) => {
  const runFolder = `${t.testdir()}/run`;
  const fresh = await run(tinyPlan(), { runFolder, resume: true }, 2);
  t.match(fresh[1], { type: 'log', message: /No checkpoint/ });
  await t.rejects(run(tinyPlan(), { runFolder }), {
    code: 'VERSEMI_USAGE',
    details: { file: runFolder, remedy: /Resume/ },
  });
  await t.rejects(run(tinyPlan({ learningRate: 0.5 }), { runFolder, resume: true }), {
    code: 'VERSEMI_CHECKPOINT_MISMATCH',
    details: { field: 'training.learningRate' },
  });
  t.equal(lines(runFolder).at(-1)?.step, 2, 'nothing was touched');
});

t.test(
  'the best model is kept by mean validation Dice; the averaged network is validated where the plan says so',
  async (t) => {
    const folder = t.testdir();
    const scores = [0.25, 0.75, 0.5];
    const seen: number[] = [];
    const validate: TrainOptions['validate'] = async (network, step) => {
      seen.push(network.parameters.get('up.0.weight')!.dataSync()[0]!);
      return { perTask: { 'balls-0': scores[step / 2 - 1]!, 'boxes-0': null } };
    };
    for (const network of ['student', 'ema']) {
      const runFolder = `${folder}/${network}`;
      const events = await run(tinyPlan({}, { inference: { network } }), { runFolder, validate });
      t.same(
        events.flatMap((event) => (event.type === 'validation' ? [[event.mean, event.best]] : [])),
        [
          [0.25, true],
          [0.75, true],
          [0.5, false],
        ],
      );
      const best = await loadModel(runFiles(runFolder).best);
      t.same(best.history.best, { step: 4, mean: 0.75 });
      t.equal(best.history.steps, 4);
      t.equal(
        best.network.parameters.get('up.0.weight')!.dataSync()[0],
        seen[1],
        'the network that was validated is loaded',
      );
      best.network.dispose();
      const final = await loadModel(runFiles(runFolder).model);
      t.equal(final.network.parameters.get('up.0.weight')!.dataSync()[0], seen[2]);
      final.network.dispose();
      seen.length = 0;
    }
  },
);

t.test('the trunk runs once per image: 12 times in a step of stage 1, 20 in one of stage 2', async (t) => {
  const plan = tinyPlan({ labeledBatchSize: 8, unlabeledBatchSize: 8 });
  const sampler = createSampler(plan, data);
  const network = new VersemiNetwork(networkConfig(plan), 1);
  let images = 0;
  const trunk = network.trunk.bind(network);
  network.trunk = (x) => {
    images += x.shape[0];
    return trunk(x);
  };
  const state = createState(network, plan);
  const counts: number[] = [];
  let live: number | undefined;
  for (let step = 0; step < 6; step++) {
    images = 0;
    await runStep(state, plan, hostStep(plan, sampler.batch(step)));
    counts.push(images);
    // The inputs of a step stay on the device; the second stage has more of them.
    if (step === 0 || step === plan.training.stage1Steps) live = tf.memory().numTensors;
    t.equal(tf.memory().numTensors, live, `no tensor is left by step ${step + 1}`);
  }
  t.same(counts, [12, 12, 12, 20, 20, 20]);
  disposeState(state);
});

t.test('terms without a weight are not computed', async (t) => {
  const cases: [object, (1 | 2)[], string][] = [
    [{ synthetic: 0, auxiliary: 0 }, [1], 'crossEntropy,dice,total'],
    [{ auxiliary: 0, dice: 0 }, [1], 'crossEntropy,dice,synthetic,total'],
    [{ unsupervised: 0, cube: 0, synthetic: 0 }, [2], 'crossEntropy,dice,total'],
    [{ unsupervised: 0 }, [2], 'crossEntropy,cube,dice,synthetic,total'],
  ];
  for (const [losses, [stage], expected] of cases) {
    const plan = tinyPlan({}, { losses });
    const step = stage === 1 ? 0 : 3;
    const state = createState(new VersemiNetwork(networkConfig(plan), 1), plan);
    const result = await runStep(state, plan, hostStep(plan, createSampler(plan, data).batch(step)));
    t.equal(Object.keys(result.losses).sort().join(), expected);
    disposeState(state);
  }
});
