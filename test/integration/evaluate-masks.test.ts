// `evaluate --masks` as a user meets it: results, lists of what failed, parts that are joined again, and options that make no sense.
import { copyFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import type { Evaluation } from '../../src/inference/evaluate.js';
import { runVersemi } from './cli-support.js';

const folder = t.testdir({ masks: {} });
const at = (...parts: string[]) => join(folder, ...parts);
await makePhantomDataset(at('mr-atrium'), 'mr-atrium', {
  ...{ cases: 4, labeledCases: 4, validationCases: 0, testCases: 0, seed: 3 },
});
const ids = [1, 2, 3, 4].map((number) => `mr-atrium_00${number}`);
// Each mask is the label of its case, moved by two voxels.
for (const id of ids) {
  const label = await readVolume(at('mr-atrium', 'labelsTr', `${id}.nii.gz`));
  const moved = Uint8Array.from(label.data, (_, i) => label.data[i + 2] ?? 0);
  await writeNifti(at('masks', `${id}.nii.gz`), { ...label, data: moved });
}

const evaluate = (...args: string[]) => runVersemi(folder, ['evaluate', ...args]);
const masks = ['--masks', 'masks', '--data', 'mr-atrium'] as const;

t.test('without a model: table, JSON, CSV, a folder for the report', async (t) => {
  const { code, stdout, stderr } = await evaluate(
    ...masks,
    '--out',
    'scores',
    '--json',
    'all.json',
    '--csv',
    'all.csv',
  );
  t.equal(code, 0, stderr);
  t.match(stdout, /^left atrium +4 /m);
  t.notMatch(stderr, /Device|model|trained/);
  const evaluation = JSON.parse(readFileSync(at('all.json'), 'utf8')) as Evaluation;
  t.same(
    evaluation.cases.map(({ id }) => id),
    ids,
  );
  t.ok(evaluation.cases.every(({ dice }) => dice! > 0 && dice! < 1));
  t.equal(readFileSync(at('all.csv'), 'utf8').trim().split('\n').length, 5);
  const { code: reported } = await runVersemi(folder, ['report', 'scores']);
  t.equal(reported, 0);
});

t.test('parts and manifests join to what one process finds; a changed mask is compared again', async (t) => {
  const all = JSON.parse(readFileSync(at('all.json'), 'utf8')) as Evaluation;
  const part = (index: number) =>
    evaluate(...masks, '--out', 'parts', '--part', `${index}/2`, '--manifest', 'parts/m.jsonl');
  for (const index of [1, 2]) t.equal((await part(index)).code, 0);
  const merged = await runVersemi(folder, ['merge', 'parts', '--out', 'parts']);
  t.equal(merged.code, 0, merged.stderr);
  const joined = JSON.parse(readFileSync(at('parts', 'evaluation.json'), 'utf8')) as Evaluation;
  t.same(joined.cases, all.cases);
  t.equal(joined.masks, 'masks');
  t.notOk('device' in joined);
  const mine = JSON.parse(readFileSync(at('parts', 'evaluation-1-of-2.json'), 'utf8')) as Evaluation;
  const { id } = mine.cases[0]!;
  copyFileSync(at('mr-atrium', 'labelsTr', `${id}.nii.gz`), at('masks', `${id}.nii.gz`));
  t.match((await part(1)).stderr, /1 of 2 cases are done, 1 are left/);
  const again = JSON.parse(readFileSync(at('parts', 'evaluation-1-of-2.json'), 'utf8')) as Evaluation;
  t.equal(again.cases[0]!.dice, 1);
});

t.test('a case without a mask is listed, and the others are compared', async (t) => {
  rmSync(at('masks', `${ids[2]}.nii.gz`));
  const { code, stdout, stderr } = await evaluate(...masks, '--json');
  t.equal(code, 3);
  t.match(stderr, /1 of 4 cases failed:\nVERSEMI_FILE_NOT_FOUND: .*mask of case mr-atrium_003/);
  const { cases, failures, selections } = JSON.parse(stdout) as Evaluation;
  t.equal(cases.length, 3);
  t.same(
    failures?.map(({ id }) => id),
    [ids[2]],
  );
  t.equal(selections![0]!.count, 4);
});

t.test('a model or masks, each with its own options', async (t) => {
  const refused = async (words: RegExp, ...args: string[]) => {
    const { code, stderr, stdout } = await evaluate(...args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, words);
    t.equal(stdout, '');
  };
  await refused(/expected a model, or the folder of masks.*neither/s, '--data', 'mr-atrium');
  await refused(/--masks.*found both/s, 'model.safetensors', ...masks);
  await refused(/--masks and --device/, ...masks, '--device', 'wasm');
  await refused(/--tasks and --plan/, ...masks, '--tasks', 'heart=1', '--plan', 'plan.json');
  await refused(
    /--tasks.*tasks of the model with --task/s,
    'model.safetensors',
    '--data',
    'mr-atrium',
    '--tasks',
    'heart=1',
  );
  await refused(/heart is given twice/, ...masks, '--tasks', 'heart=1', 'heart=2');
});
