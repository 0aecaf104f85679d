// From where a run goes on: the last checkpoint, the one before it where the last is damaged, and never over what is there.
import fs, {
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { loadCheckpoint } from '../../src/checkpoints/checkpoint.js';
import { lockFileName } from '../../src/folder-lock.js';
import type { TrainingEvent } from '../../src/training/events.js';
import { runFiles } from '../../src/training/run-folder.js';
import { type TrainOptions, train } from '../../src/training/train.js';
import '../unit/model-support.js';
import { shapes, tinyPlan } from './training-support.js';

await tf.setBackend('cpu');
const data = shapes(6);
const plan = tinyPlan({ validateEverySteps: 0 });

async function run(
  runFolder: string,
  options: Partial<TrainOptions> = {},
  stopAfter?: number,
): Promise<TrainingEvent[]> {
  const events: TrainingEvent[] = [];
  for await (const event of train(plan, { runFolder, device: 'current', data, ...options })) {
    events.push(event);
    if (event.type === 'checkpoint' && event.step === stopAfter) break;
  }
  return events;
}

const lines = (folder: string) =>
  readFileSync(runFiles(folder).metrics, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as TrainingEvent);
const stepsOf = (events: readonly TrainingEvent[]) =>
  events.flatMap((event) => (event.type === 'step' ? [{ step: event.step, losses: event.losses }] : []));
const valuesOf = async (folder: string) => (await loadCheckpoint(runFiles(folder).last, plan)).model.values('student');

const root = t.testdir();
const whole = join(root, 'whole');
await run(whole);
const expected = { steps: stepsOf(lines(whole)), values: await valuesOf(whole) };
/** A run that stopped after four of six steps, with the checkpoints of steps 4 and 3. */
const stopped = join(root, 'stopped');
await run(stopped, {}, 4);

/** A copy of the stopped run. */
function copy(name: string): ReturnType<typeof runFiles> & { folder: string } {
  const folder = join(root, name);
  cpSync(stopped, folder, { recursive: true });
  return { folder, ...runFiles(folder) };
}

t.test('the last checkpoint is damaged or missing: the one before it serves, and it is said', async (t) => {
  const damages: [string, (file: string) => void][] = [
    ['cut', (file) => truncateSync(file, 500)],
    ['empty', (file) => truncateSync(file, 0)],
    [
      'zeros',
      (file) => {
        const bytes = readFileSync(file);
        writeFileSync(file, bytes.fill(0, bytes.length - 300, bytes.length - 200));
      },
    ],
    ['missing', (file) => rmSync(file)],
  ];
  for (const [name, damage] of damages) {
    const { folder, last, checkpoints } = copy(name);
    damage(last);
    const events = await run(folder, { resume: true });
    t.match(events.slice(0, 2), [
      { type: 'start', step: 3 },
      { type: 'log', message: /last\.safetensors.*The run goes on from the checkpoint before it, after step 3\./ },
    ]);
    t.same(await valuesOf(folder), expected.values, name);
    t.same(stepsOf(lines(folder)), expected.steps, name);
    t.equal(existsSync(join(checkpoints, 'damaged.safetensors')), name !== 'missing');
  }
});

t.test('the good checkpoint stays until there are two good ones again', async (t) => {
  const { folder, last, previous } = copy('once-more');
  truncateSync(last, 100);
  await run(folder, { resume: true }, 4);
  t.equal((await loadCheckpoint(last, plan)).step, 4);
  t.equal((await loadCheckpoint(previous, plan)).step, 3, 'no damaged one took its place');
});

t.test('both damaged, or of another plan: an error about the last one, and nothing is touched', async (t) => {
  const { folder, last, previous } = copy('both');
  for (const file of [last, previous]) truncateSync(file, 100);
  const before = readFileSync(runFiles(folder).metrics);
  await t.rejects(run(folder, { resume: true }), { code: 'VERSEMI_MODEL_INVALID', details: { file: last } });
  t.same(readFileSync(runFiles(folder).metrics), before);
  t.equal(fs.statSync(last).size, 100);
  t.notOk(existsSync(join(folder, lockFileName)));
});

t.test('--resume without a checkpoint empties nothing', async (t) => {
  for (const kept of ['metrics', 'model'] as const) {
    const { folder, last, previous, metrics, model } = copy(`without-${kept}`);
    for (const file of [last, previous]) rmSync(file);
    if (kept === 'model') {
      rmSync(metrics);
      copyFileSync(runFiles(whole).model, model);
    }
    const before = readFileSync(kept === 'model' ? model : metrics);
    await t.rejects(run(folder, { resume: true }), {
      code: 'VERSEMI_USAGE',
      details: { file: folder, expected: /a checkpoint to go on from/, remedy: /another folder/ },
    });
    t.same(readFileSync(kept === 'model' ? model : metrics), before);
  }
  const events = await run(join(root, 'new'), { resume: true });
  t.match(events[1], { type: 'log', message: /No checkpoint.*begins anew/ }, 'in a new folder the run begins');
});

t.test('a run that never wrote a checkpoint of its own goes on from its beginning', async (t) => {
  const folder = join(root, 'early');
  for await (const event of train(tinyPlan({ validateEverySteps: 0, checkpointEverySteps: 0 }), {
    runFolder: folder,
    device: 'current',
    data,
  }))
    if (event.step === 2) break;
  t.same(stepsOf(lines(folder)).length, 2);
  const events = await run(folder, { resume: true });
  t.match(events[0], { type: 'start', step: 0 });
  t.same(stepsOf(lines(folder)), expected.steps, 'each step once');
  t.same(await valuesOf(folder), expected.values);
  t.equal(readdirSync(runFiles(folder).tensorboard).length, 2);
});

t.test('the log is on the disk before the checkpoint that speaks of it', async (t) => {
  const folder = join(root, 'order');
  const done: string[] = [];
  const { fsyncSync, openSync } = fs;
  const { rename } = fsPromises;
  const names = new Map<number, string>();
  fs.openSync = (path, ...rest) => {
    const descriptor = openSync(path, ...rest);
    names.set(descriptor, String(path));
    return descriptor;
  };
  fs.fsyncSync = (descriptor) => {
    const { size } = fs.fstatSync(descriptor);
    fsyncSync(descriptor);
    done.push(`${/metrics|tfevents/.exec(names.get(descriptor) ?? '')?.[0]} ${size}`);
  };
  fsPromises.rename = async (from, to) => {
    await rename(from, to);
    const { metrics, tensorboard, last } = runFiles(folder);
    if (to !== last || !existsSync(metrics)) return;
    done.push('checkpoint');
    t.ok(done.includes(`metrics ${fs.statSync(metrics).size}`), 'all of metrics.jsonl');
    const events = join(tensorboard, readdirSync(tensorboard)[0]!);
    t.ok(done.includes(`tfevents ${fs.statSync(events).size}`), 'all of the TensorBoard events');
  };
  syncBuiltinESMExports();
  try {
    await run(folder);
  } finally {
    Object.assign(fs, { fsyncSync, openSync });
    fsPromises.rename = rename;
    syncBuiltinESMExports();
  }
  t.equal(done.filter((name) => name === 'checkpoint').length, 6);
});

t.test('two trainings of one process in one folder: the second is refused, and the first goes on', async (t) => {
  const folder = join(root, 'shared');
  let refused = 0;
  for await (const event of train(plan, { runFolder: folder, device: 'current', data })) {
    if (event.type !== 'step' || event.step !== 3) continue;
    await t.rejects(run(folder, { resume: true }), { code: 'VERSEMI_FOLDER_IN_USE', details: { file: folder } });
    refused++;
  }
  t.equal(refused, 1);
  t.same(stepsOf(lines(folder)), expected.steps);
  t.notOk(existsSync(join(folder, lockFileName)));
});

t.test('a finished run is extended: without a schedule it is the longer run, bit for bit', async (t) => {
  const constant = { validateEverySteps: 0, schedule: 'constant' };
  const [short, long] = [tinyPlan(constant), tinyPlan({ ...constant, stage2Steps: 5 })];
  const trained = async (name: string, one: typeof plan, options: Partial<TrainOptions> = {}) => {
    const events: TrainingEvent[] = [];
    for await (const event of train(one, { runFolder: join(root, name), device: 'current', data, ...options }))
      events.push(event);
    return events;
  };
  await trained('long', long);
  await trained('short', short);
  const withLonger = { resume: true };
  await t.rejects(trained('short', long, withLonger), {
    code: 'VERSEMI_CHECKPOINT_MISMATCH',
    details: { field: 'training.stage2Steps', remedy: /--steps/ },
  });
  const events = await trained('short', long, { ...withLonger, extend: true });
  t.match(
    events.find(({ type }) => type === 'log'),
    { message: 'The run has 8 steps now, where it had 6: the learning rate goes on at 0.00100.' },
  );
  t.same(stepsOf(lines(join(root, 'short'))), stepsOf(lines(join(root, 'long'))));
  const last = async (name: string) =>
    (await loadCheckpoint(runFiles(join(root, name)).last, long)).model.values('ema');
  t.same(await last('short'), await last('long'));
  const again = await trained('short', long, { ...withLonger, extend: true });
  t.equal(stepsOf(again).length, 0, 'the same call again has nothing to do');
  t.notMatch(JSON.stringify(again), /The run has/);
  const written = () => ['plan.json', 'metrics.jsonl'].map((name) => readFileSync(join(root, 'short', name), 'utf8'));
  const before = written();
  await t.rejects(trained('short', short, { ...withLonger, extend: true }), {
    code: 'VERSEMI_USAGE',
    details: { field: 'steps', found: '6' },
  });
  t.same(written(), before, 'what is refused changes nothing');
  const other = tinyPlan({ ...constant, learningRate: 0.5 });
  await t.rejects(trained('short', other, { ...withLonger, extend: true }), {
    code: 'VERSEMI_CHECKPOINT_MISMATCH',
    details: { field: 'training.learningRate' },
  });
});
