// A run that begins with a model: prompts by name of the task, what is refused, and what the new model remembers of the first one.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readModel, saveModel } from '../../src/checkpoints/files.js';
import { parsePlan } from '../../src/config/plan.js';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { selectionNotes } from '../../src/inference/case-selection.js';
import { selectCases } from '../../src/inference/evaluate-dataset.js';
import { readInitialModel } from '../../src/training/initial-model.js';
import { runFiles } from '../../src/training/run-folder.js';
import { runVersemi } from './cli-support.js';

const folder = t.testdir();
const at = (...parts: string[]) => join(folder, ...parts);
const versemi = (...args: string[]) => runVersemi(folder, args);
for (const [name, kind] of [
  ['first', 'mr-atrium'],
  ['second', 'mr-ventricle'],
] as const)
  await makePhantomDataset(at(name), kind, { cases: 6, labeledCases: 2, validationCases: 2, testCases: 0, seed: 3 });

const tasks = (names: readonly [string, string][]) => names.map(([name, dataset]) => ({ name, dataset, labels: [1] }));
function writePlan(name: string, change: Readonly<Record<string, unknown>>) {
  const dataset = (name: string) => ({
    name,
    path: at(name),
    split: { labeled: 'labeled', validation: 'validation' },
    preprocessing: { spacingMm: [6, 6, 8] },
  });
  const plan = parsePlan({
    version: 1,
    name,
    datasets: [dataset('first')],
    tasks: tasks([['atrium', 'first']]),
    network: { baseWidth: 4, levels: 2, convolutions: [1, 1] },
    patchSizeVoxels: [16, 16, 16],
    training: {
      stage1Steps: 2,
      stage2Steps: 1,
      labeledBatchSize: 2,
      unlabeledBatchSize: 2,
      workers: 0,
      checkpointEverySteps: 1,
    },
    inference: { network: 'ema' },
    ...change,
  });
  writeFileSync(at(`${name}.json`), JSON.stringify(plan));
  return { plan, dataset };
}

async function done(...args: string[]) {
  const outcome = await versemi(...args);
  if (outcome.code !== 0) throw new Error(`versemi ${args.join(' ')}: exit code ${outcome.code}\n${outcome.stderr}`);
  return outcome;
}

const { dataset } = writePlan('base', {});
const { plan } = writePlan('tuned', {
  seed: 5,
  datasets: [dataset('second'), dataset('first')],
  tasks: tasks([
    ['ventricle', 'second'],
    ['atrium', 'first'],
  ]),
});
const wasm = ['--device', 'wasm'];
await done('train', 'base.json', '--out', 'base', ...wasm, '-q');
const { stderr } = await done('train', 'tuned.json', '--init', 'base', '--out', 'tuned', ...wasm);
const base = await readModel(at('base', 'model.safetensors'));
const tuned = await readModel(at('tuned', 'model.safetensors'));

t.test('the first weights: those of the model, prompts by name, a new one as in a new network', async (t) => {
  const { values, known, added } = await readInitialModel(at('base', 'model.safetensors'), plan);
  t.same([known, added], [['atrium'], ['ventricle']]);
  const had = base.values('ema');
  for (const [name, value] of had) if (name !== 'controller.prompt') t.same(values.get(name), value, name);
  const width = had.get('controller.prompt')!.length / 2;
  const row = (of: Float32Array, index: number) => [...of.subarray(index * width, (index + 1) * width)];
  const [prompts, before] = [values.get('controller.prompt')!, had.get('controller.prompt')!];
  t.equal(prompts.length, 3 * width);
  t.same(row(prompts, 1), row(before, 0), 'atrium');
  t.same(row(prompts, 2), row(before, 1), 'any foreground');
  t.notOk(
    [0, 1].some((index) => row(before, index)[0] === row(prompts, 0)[0]),
    'ventricle',
  );
  t.ok(row(prompts, 0).every((value) => value !== 0 && Math.abs(value) <= 1 / Math.sqrt(3)));
  const seeded = await readInitialModel(at('base', 'model.safetensors'), { ...plan, seed: 6 });
  t.not(seeded.values.get('controller.prompt')![0], prompts[0], 'by the seed of the run');
});

t.test('the run says so, begins there, and goes on without the model', async (t) => {
  t.match(
    stderr,
    /begins as model\.safetensors was after 3 steps, and keeps what the prompts of atrium have learned and learns new prompts for ventricle/,
  );
  t.notMatch(stderr, /trained with the labels of/);
  const [known] = tuned.provenance.initial!.cases!;
  t.same(known, base.cases![0]);
  const before = base.values('ema').get('encoder.0.0.weight')!;
  const after = tuned.values('ema').get('encoder.0.0.weight')!;
  const largest = Math.max(...after.map((value, i) => Math.abs(value - before[i]!)));
  t.ok(largest > 0 && largest < 0.01, `three steps move it a little: ${largest}`);
  const { code } = await versemi('train', 'tuned.json', '--resume', '--init', 'base', '--out', 'tuned', ...wasm, '-q');
  t.equal(code, 0, 'the same model again, as in a script of a scheduler');
  await done('train', 'tuned.json', '--resume', '--out', 'tuned', ...wasm, '-q');
  t.same((await readModel(at('tuned', 'model.safetensors'))).provenance.initial, tuned.provenance.initial);
  const other = await versemi(
    'train',
    'tuned.json',
    '--resume',
    '--init',
    'tuned/checkpoints/last.safetensors',
    '--out',
    'tuned',
    ...wasm,
    '-q',
  );
  t.match(other, { code: 5, stderr: /VERSEMI_CHECKPOINT_MISMATCH.*init/s });
});

t.test('another network is refused, with the one to write', async (t) => {
  writePlan('wide', { network: { baseWidth: 8, levels: 2, convolutions: [1, 1] } });
  const { code, stderr } = await versemi('train', 'wide.json', '--init', 'base', '--out', 'wide', ...wasm, '-q');
  t.equal(code, 4);
  t.match(stderr, /network\.baseWidth/);
  t.match(stderr, /"network": \{"baseWidth":4,"levels":2/);
  t.notOk(existsSync(runFiles(at('wide')).last));
});

t.test('cases of the first model are no unseen ones of the second', async (t) => {
  writePlan('only', { datasets: [dataset('second')], tasks: tasks([['ventricle', 'second']]) });
  await done('train', 'only.json', '--init', 'base', '--out', 'only', ...wasm, '-q');
  const model = { ...(await readModel(at('only', 'model.safetensors'))), network: undefined as never };
  const select = async (provenance = model.provenance) => {
    const folders = [{ folder: at('first'), dataset: 'second' }];
    const [found] = await selectCases({ ...model, provenance }, folders, undefined, ['all']);
    return found!.selection;
  };
  const selection = await select();
  t.same(
    selection.labeled,
    base.cases![0]!.labeled.map(([id]) => id),
  );
  t.match(selectionNotes(selection).join('\n'), /trained on \d of these \d cases/);
  const { cases: _, ...unrecorded } = model.provenance.initial!;
  const unknown = await select({ ...model.provenance, initial: unrecorded });
  t.same(unknown.labeled, []);
  t.match(selectionNotes(unknown).join('\n'), /began with model\.safetensors, which has no record/);
});

t.test('validation cases that the first model was trained with are named', async (t) => {
  const ids = base.cases![0]!.labeled.map(([id]) => id);
  writePlan('leak', {
    datasets: [
      { ...dataset('first'), split: { labeled: 'validation', validation: ids.slice(0, 1), unlabeled: 'rest' } },
    ],
  });
  const { stderr } = await done('train', 'leak.json', '--init', 'base', '--out', 'leak', ...wasm);
  t.match(stderr, new RegExp(`trained with the labels of 1 validation cases \\(${ids[0]}\\)`));
  const { cases: __, ...rest } = base;
  await saveModel(at('unknown.safetensors'), base.values('ema'), rest);
  const second = await versemi('train', 'leak.json', '--init', 'unknown.safetensors', '--out', 'leak2', ...wasm);
  t.match(second.stderr, /not recorded: it may have seen the validation cases/);
});
