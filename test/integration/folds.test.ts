// Cross-validation as a lab does it: the runs of all folds as one model, its masks, and the same scores of masks that are there.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadModel } from '../../src/checkpoints/files.js';
import type { Plan } from '../../src/config/plan.js';
import { loadScan } from '../../src/datasets/load-case.js';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { readVolume } from '../../src/datasets/read-volume.js';
import { ensembleOf } from '../../src/inference/ensemble.js';
import type { Evaluation } from '../../src/inference/evaluate.js';
import { predictVolume } from '../../src/inference/predict.js';
import { packageRoot } from '../../src/root.js';
import { selectDevice } from '../../src/tfjs/index.js';
import { runVersemi } from './cli-support.js';

const folder = t.testdir();
const at = (...parts: string[]) => join(folder, ...parts);
const json = (...parts: string[]) => JSON.parse(readFileSync(at(...parts), 'utf8'));
const versemi = (...args: string[]) => runVersemi(folder, args);
const device = ['--device', 'wasm'] as const;

async function done(...args: string[]) {
  const outcome = await versemi(...args);
  if (outcome.code !== 0) throw new Error(`versemi ${args.join(' ')}: exit code ${outcome.code}\n${outcome.stderr}`);
  return outcome;
}

await makePhantomDataset(at('mr-atrium'), 'mr-atrium', {
  ...{ cases: 4, labeledCases: 4, validationCases: 0, testCases: 2, seed: 3 },
});
await done(
  ...['plan', 'mr-atrium', '--labeled', 'all', '--folds', '2', '--patch', '16', '--width', '4', '--gflops', '100'],
  ...['--out', 'plan.json', '-q'],
);
const plan = json('plan.json') as Plan;
Object.assign(plan.network, { levels: 2, convolutions: [1, 1] });
Object.assign(plan.training, { mode: 'supervised', labeledBatchSize: 2, workers: 0, stage1Steps: 4, stage2Steps: 0 });
Object.assign(plan.training, { checkpointEverySteps: 0, validateEverySteps: 0 });
for (const dataset of plan.datasets) dataset.preprocessing.spacingMm = [6, 6, 8];
plan.inference.largestComponent = false;
writeFileSync(at('plan.json'), JSON.stringify(plan));
for (const fold of ['0', '1'])
  await done('train', 'plan.json', '--fold', fold, '--out', `folds/fold-${fold}`, ...device, '-q');
const models = [0, 1].map((fold) => join('folds', `fold-${fold}`, 'model.safetensors'));

t.test('a folder of folds is the mean of its runs, in predict and in evaluate', async (t) => {
  const { stdout, stderr } = await done(
    ...['predict', 'folds', 'mr-atrium/imagesTs', '--out', 'masks', '--task', 'all', '--json', ...device],
  );
  t.match(stderr, `The mean of 2 models: ${models.join(', ')}.`);
  t.notMatch(stderr, 'not among them');
  const told = JSON.parse(stdout);
  t.same(
    told.models.map(({ model, weights }: { model: string; weights: object }) => [model, weights]),
    models.map((model) => [model, { step: 4, network: plan.inference.network }]),
  );
  await selectDevice('wasm', { threads: 1 });
  const loaded = await Promise.all(models.map((model) => loadModel(at(model))));
  const masks: Uint8Array[][] = [];
  for (const { input, output } of told.predictions as { input: string; output: string }[]) {
    const scan = await loadScan(at(input));
    const written = (await readVolume(at(output))).data as Uint8Array;
    const [both] = await predictVolume(ensembleOf(loaded), scan);
    t.equal(Buffer.compare(both!.mask.data, Uint8Array.from(written)), 0, `${output} is what the library finds`);
    masks.push([both!.mask.data]);
    for (const model of loaded) masks.at(-1)!.push((await predictVolume(model, scan))[0]!.mask.data);
  }
  t.ok(
    masks.some(([both, ...alone]) => alone.every((mask) => Buffer.compare(mask, both!) !== 0)),
    'and what neither finds alone',
  );
  for (const { network } of loaded) network.dispose();

  const evaluated = await done('evaluate', 'folds', '--data', 'mr-atrium', '--cases', 'test', '--json', ...device);
  const evaluation = JSON.parse(evaluated.stdout) as Evaluation;
  t.same(
    evaluation.models?.map(({ model }) => model),
    models,
  );
  t.equal(evaluation.cases.length, 2);
  const named = await done(
    ...[
      'evaluate',
      models[0]!,
      '--ensemble',
      models[1]!,
      '--data',
      'mr-atrium',
      '--cases',
      'test',
      '--json',
      ...device,
    ],
  );
  t.same(JSON.parse(named.stdout).cases, evaluation.cases, 'the same with --ensemble');

  const there = await done(
    'evaluate',
    '--masks',
    'masks',
    '--plan',
    'plan.json',
    '--data',
    'mr-atrium',
    '--cases',
    'test',
    '--json',
    '--out',
    'scores',
  );
  const compared = JSON.parse(there.stdout) as Evaluation;
  t.same(compared.cases, evaluation.cases, 'masks that are there have the same scores');
  t.same(compared.summary, evaluation.summary);
  t.equal(compared.masks, 'masks');
  t.notOk('model' in compared || 'device' in compared || 'inference' in compared);
  const byLabel = await done('evaluate', '--masks', 'masks', '--data', 'mr-atrium', '--cases', 'test', '--json');
  t.same(
    Object.values(JSON.parse(byLabel.stdout).summary),
    Object.values(compared.summary),
    'found by the name of the label too',
  );
  await done('report', 'scores');
  t.match(readFileSync(at('scores', 'report.html'), 'utf8'), /masks, which were there already/);
});

t.test('what one fold was trained on, all have seen', async (t) => {
  const { stdout, stderr } = await done(
    'evaluate',
    'folds',
    '--data',
    'mr-atrium',
    '--json',
    '--out',
    'all',
    ...device,
  );
  const [selection] = (JSON.parse(stdout) as Evaluation).selections!;
  t.equal(selection!.recorded, true);
  t.equal(selection!.labeled.length, 4);
  t.equal(selection!.validation.length, 4);
  t.match(stderr, /was trained on 4 of these 6 cases/);
  const unseen = await done('evaluate', 'folds', '--data', 'mr-atrium', '--cases', 'unseen', '--json', ...device);
  t.equal(JSON.parse(unseen.stdout).cases.length, 2);
  await done('report', 'all');
  t.match(
    readFileSync(at('all', 'report.html'), 'utf8'),
    /fold-0.model.safetensors, .*fold-1.model.safetensors \(mean of 2\)/,
  );
});

t.test('a manifest knows all models, and folds that are missing are named', async (t) => {
  const predict = (model: string, ...more: string[]) =>
    versemi(
      ...['predict', model, 'mr-atrium/imagesTs', '--out', 'out', '--task', 'all', '--manifest', 'out/m.jsonl'],
      ...[...device, ...more],
    );
  mkdirSync(at('some'));
  renameSync(at('folds', 'fold-1'), at('some', 'fold-1'));
  const one = await predict('some');
  t.equal(one.code, 0);
  t.match(one.stderr, /some.fold-1.model.safetensors.*Of 2 folds, these are not among them: 0\./);
  const both = await predict('some', '--ensemble', 'folds');
  t.equal(both.code, 0);
  t.notMatch(both.stderr, /not among them/);
  t.notMatch(both.stderr, /scans are done/, 'of more models it is another result');
});

t.test('models of other tasks are refused before a scan is read', async (t) => {
  const other = join(packageRoot, 'test', 'examples', 'real-data.safetensors');
  const { code, stderr, stdout } = await versemi(
    ...['predict', 'some', 'mr-atrium/imagesTs', '--out', 'none', '--ensemble', other, ...device],
  );
  t.equal(code, 5);
  t.match(
    stderr,
    /VERSEMI_MODEL_INVALID.*real-data.*tasks.*expected mr-atrium, as .*fold-1.*found no mr-atrium; .*hippocampus.* besides/s,
  );
  t.equal(stdout, '');
});
