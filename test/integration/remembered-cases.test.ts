// What a run remembers of its cases, as a user meets it: folders that change between training and evaluation.
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type DatasetRecord, recordDifferences } from '../../src/checkpoints/case-record.js';
import { readModel, saveModel } from '../../src/checkpoints/files.js';
import { modelMetadata } from '../../src/checkpoints/metadata.js';
import { inferenceArguments } from '../../src/cli/inference-options.js';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { openDataset } from '../../src/datasets/dataset.js';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { resolveSplit } from '../../src/datasets/splits.js';
import { type CaseSelection, selectionNotes } from '../../src/inference/case-selection.js';
import { type DatasetFolder, matchDatasets } from '../../src/inference/dataset-match.js';
import { selectCases } from '../../src/inference/evaluate-dataset.js';
import { type InferenceOptions, inferenceSettings } from '../../src/inference/segmenter.js';
import { watchedCases } from '../../src/training/data.js';
import { makeCase } from '../unit/sampling-support.js';
import { runVersemi } from './cli-support.js';

const folder = t.testdir();
const at = (...parts: string[]) => join(folder, ...parts);
const versemi = (...args: string[]) => runVersemi(folder, args);
const json = (file: string) => JSON.parse(readFileSync(at(file), 'utf8'));
const key = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 32);

await Promise.all(
  (['mr-atrium', 'mr-ventricle'] as const).map((kind) =>
    makePhantomDataset(at(kind), kind, { cases: 8, labeledCases: 3, validationCases: 3, testCases: 1, seed: 3 }),
  ),
);

async function done(...args: string[]) {
  const outcome = await versemi(...args);
  if (outcome.code !== 0) throw new Error(`versemi ${args.join(' ')}: exit code ${outcome.code}\n${outcome.stderr}`);
  return outcome;
}

/** Two labelled, two validation cases, drawn; a label more changes the draw. */
await done(
  ...['plan', 'mr-atrium', 'mr-ventricle', '--labeled', 'labeled', '--validation', '2'],
  ...['--patch', '16', '--width', '4', '--merge-labels', 'all', '--gflops', '100', '--out', 'plan.json', '-q'],
);

function writePlan(name: string, change: (plan: Plan) => void = () => {}): void {
  const plan = json('plan.json');
  Object.assign(plan.network, { levels: 2, convolutions: [1, 1] });
  Object.assign(plan.training, { labeledBatchSize: 2, unlabeledBatchSize: 2, workers: 0, stage1Steps: 1 });
  Object.assign(plan.training, { stage2Steps: 1, checkpointEverySteps: 1, validateEverySteps: 0, validationCases: 1 });
  for (const dataset of plan.datasets) dataset.preprocessing.spacingMm = [6, 6, 8];
  change(plan);
  writeFileSync(at(name), JSON.stringify(plan));
}

writePlan('tiny.json');
await done('train', 'tiny.json', '--out', 'run', '--device', 'wasm', '-q');
const trained = (await readModel(at('run', 'model.safetensors'))).cases!;
const [atrium] = trained as [DatasetRecord, DatasetRecord];
/** No network is needed to select cases. */
const model = { ...(await readModel(at('run', 'model.safetensors'))), network: undefined as never };
const idsOf = (cases: DatasetRecord['labeled']) => cases.map(([id]) => id);

interface Evaluated {
  readonly ids: string[];
  readonly selection: CaseSelection;
  readonly stderr: string;
}

/** Ids of the cases that an evaluation took, what it says of them, and what it told the user. */
async function evaluated(data: string, cases: string, ...more: string[]): Promise<Evaluated> {
  const args = ['evaluate', 'run', '--data', data, '--cases', cases, '--device', 'wasm', '--json', ...more];
  const { stdout, stderr } = await done(...args);
  const result = JSON.parse(stdout);
  return { ids: result.cases.map(({ id }: { id: string }) => id), selection: result.selections[0], stderr };
}

/** The same without segmenting anything. */
async function selected(data: string, cases: string): Promise<Pick<Evaluated, 'ids' | 'selection' | 'stderr'>> {
  const [found] = await selectCases(model, [{ folder: at(data) }], undefined, [cases]);
  const { selection, cases: files } = found!;
  return { ids: files.map(({ id }) => id), selection, stderr: selectionNotes(selection).join('\n') };
}

/** What the command line refuses, by the same words as the library. */
async function refused(code: number, words: RegExp, ...args: string[]): Promise<void> {
  const outcome = await versemi(...args);
  t.equal(outcome.code, code, `${args.join(' ')}: ${outcome.stderr}`);
  t.match(outcome.stderr, words);
  t.equal(outcome.stdout, '');
}

/** A copy of a dataset, to be changed. */
function copyOf(name: string, to: string): (...parts: string[]) => string {
  cpSync(at(name), at(to), { recursive: true });
  return (...parts) => at(to, ...parts);
}

t.test('checkpoint and model name the cases of each role, by content', async (t) => {
  const dataset = await openDataset(at('mr-atrium'));
  const split = resolveSplit(dataset, json('tiny.json').datasets[0], json('tiny.json').seed);
  const recorded = (cases: typeof split.labeled) =>
    cases.map(({ id, image, label }) => [id, key(image), ...(label === undefined ? [] : [key(label)])]);
  t.equal(atrium.dataset, 'mr-atrium');
  t.same(atrium.labeled, recorded(split.labeled));
  t.same(atrium.unlabeled, recorded(split.unlabeled));
  t.same(atrium.validation, recorded(split.validation));
  t.same([atrium.labeled.length, atrium.unlabeled.length, atrium.validation.length], [3, 3, 2]);
  t.equal(atrium.watched.length, 1);
  t.ok(idsOf(atrium.validation).includes(atrium.watched[0]!));
  t.same((await readModel(at('run', 'checkpoints', 'last.safetensors'))).cases, trained);
  t.same((await readModel(at('run', 'checkpoints', 'best.safetensors'))).cases, trained);
});

t.test('what validation watches depends on the split, not on the seed', async (t) => {
  const named = (plan: Plan) => {
    for (const [i, dataset] of plan.datasets.entries()) dataset.split.validation = idsOf(trained[i]!.validation);
    plan.training.stage2Steps = 0;
  };
  writePlan('named.json', named);
  await done('train', 'named.json', '--out', 'run-seed-1', '--seed', '1', '--device', 'wasm', '-q');
  await done(
    'train',
    'named.json',
    '--out',
    'run-seed-2',
    '--seed',
    '2',
    '--mode',
    'supervised',
    '--device',
    'wasm',
    '-q',
  );
  for (const run of ['run-seed-1', 'run-seed-2']) {
    const { cases } = await readModel(at(run, 'model.safetensors'));
    t.same(
      cases!.map(({ watched }) => watched),
      trained.map(({ watched }) => watched),
      run,
    );
  }
});

t.test('watched cases are a draw by their ids, in whatever order the dataset lists them', async (t) => {
  const plan = parsePlan(json('tiny.json'));
  plan.training.validationCases = 3;
  const cases = Array.from({ length: 12 }, (_, i) => makeCase('mr-atrium', `case${10 + i}`, [1, 1, 1], () => 0));
  const ids = (list: typeof cases) => watchedCases(plan, list).map(({ id }) => id);
  const drawn = ids(cases);
  t.equal(drawn.length, 3);
  t.notSame(drawn, ['case10', 'case11', 'case12'], 'not the first');
  t.same(ids([...cases].reverse()).sort(), [...drawn].sort());
  plan.training.validationCases = null;
  t.equal(ids(cases).length, 12);
});

t.test('validation cases are those of the run, though labels were added since', async (t) => {
  // The phantoms without label files are those that have one in no list: they get one, as after a day of annotating.
  const grown = copyOf('mr-atrium', 'grown/mr-atrium');
  const description = JSON.parse(readFileSync(grown('dataset.json'), 'utf8'));
  const labels = description.training.flatMap(({ label }: { label?: string }) => label ?? []);
  for (const entry of description.training) {
    if (entry.label !== undefined) continue;
    entry.label = `./labelsTr/${entry.image.split('/').at(-1)}`;
    const image = await readVolume(grown(entry.image));
    await writeNifti(grown(entry.label), {
      ...image,
      data: Uint8Array.from(image.data, (_, i) => (i % 7 === 0 ? 1 : 0)),
    });
  }
  t.not(labels.length, description.training.length, 'there were cases without a label');
  writeFileSync(grown('dataset.json'), JSON.stringify(description));
  const dataset = await openDataset(grown());
  const now = resolveSplit(dataset, json('tiny.json').datasets[0], json('tiny.json').seed);
  t.notSame(
    now.validation.map(({ id }) => id),
    idsOf(atrium.validation),
    'a split drawn anew would be another',
  );

  const validation = await evaluated('grown/mr-atrium', 'validation');
  t.same(validation.ids, idsOf(atrium.validation));
  t.match(validation.selection, {
    recorded: true,
    asked: 'validation',
    count: 2,
    labeled: [],
    missing: [],
    changed: [],
  });
  const training = await selected('grown/mr-atrium', 'training');
  t.same([...training.ids].sort(), [...idsOf(atrium.labeled), ...idsOf(atrium.unlabeled)].sort());
  t.match(training.stderr, /trained on 3 of these 6 cases .*with their labels.*\n.*trained on 3 of these 6 .*without/);
  const unlabeled = await selected('grown/mr-atrium', 'unlabelled');
  t.same([...unlabeled.ids].sort(), idsOf(atrium.unlabeled).sort(), 'their labels came later');
  t.match(unlabeled.selection, { asked: 'unlabeled', labeled: [], count: 3 });
  const unseen = await selected('grown/mr-atrium', 'unseen');
  t.same(unseen.ids, ['mr-atrium_009'], 'the test case');
  t.match(unseen.selection, { labeled: [], unlabeled: [], validation: [] });
  t.notMatch(unseen.stderr, /trained on/);
});

t.test('copies of training cases are leaks under any name; other scans under the same name are none', async (t) => {
  const renamed = copyOf('mr-atrium', 'renamed/mr-atrium');
  const [[first], [second]] = atrium.labeled as [[string], [string]];
  const files = (id: string) => [`imagesTr/${id}.nii.gz`, `labelsTr/${id}.nii.gz`] as const;
  mkdirSync(renamed('images'));
  mkdirSync(renamed('labels'));
  const [image, label] = files(first);
  copyFileSync(renamed(image), renamed('images', 'stranger.nii.gz'));
  copyFileSync(renamed(label), renamed('labels', 'stranger.nii.gz'));
  const [otherImage, otherLabel] = ['imagesTs/mr-atrium_009.nii.gz', 'labelsTs/mr-atrium_009.nii.gz'];
  copyFileSync(renamed(otherImage), renamed('images', `${second}.nii.gz`));
  copyFileSync(renamed(otherLabel), renamed('labels', `${second}.nii.gz`));
  for (const name of ['imagesTr', 'labelsTr', 'imagesTs', 'labelsTs', 'dataset.json', 'splits.json'])
    rmSync(renamed(name), { recursive: true, force: true });
  const all = await evaluated('renamed/mr-atrium', 'all');
  t.same([...all.ids].sort(), [second, 'stranger'].sort());
  t.match(all.selection, { labeled: ['stranger'], changed: [second] });
  t.match(all.stderr, /mr-atrium: the model was trained on 1 of these 2 cases \(stranger\) with their labels/);
  t.match(all.stderr, new RegExp(`1 of these 2 cases \\(${second}\\) have another image or label`));
  t.same((await selected('renamed/mr-atrium', 'unseen')).ids, [second]);
  t.same((await selected('renamed/mr-atrium', 'labelled')).ids.includes('stranger'), true, 'found by its content');
});

t.test('recorded cases that are gone or changed are told', async (t) => {
  const changed = copyOf('mr-atrium', 'changed/mr-atrium');
  const [[gone], [other]] = atrium.validation as [[string], [string]];
  const image = await readVolume(changed('imagesTr', `${other}.nii.gz`));
  await writeNifti(changed('imagesTr', `${other}.nii.gz`), { ...image, data: image.data.map((value) => value + 1) });
  const description = JSON.parse(readFileSync(changed('dataset.json'), 'utf8'));
  description.training = description.training.filter((entry: { image: string }) => !entry.image.includes(gone));
  writeFileSync(changed('dataset.json'), JSON.stringify(description));
  rmSync(changed('splits.json'), { force: true });
  const validation = await evaluated('changed/mr-atrium', 'validation');
  t.same(validation.ids, [other]);
  t.match(validation.selection, { changed: [other], missing: [gone] });
  t.match(validation.stderr, new RegExp(`left out, .*: 1 cases? \\(${gone}\\)`));
  t.match(validation.stderr, new RegExp(`1 of these 1 cases \\(${other}\\) have another image or label`));
});

t.test('a run goes on with the cases that it began with, or not at all', async (t) => {
  const train = ['train', 'moved.json', '--out', 'resumed', '--device', 'wasm', '-q'];
  copyOf('mr-atrium', 'own/mr-atrium');
  copyOf('mr-ventricle', 'own/mr-ventricle');
  writePlan('moved.json', (plan) => {
    for (const dataset of plan.datasets) dataset.path = `own/${dataset.name}`;
  });
  await done(...train);
  await done(...train, '--resume');
  const before = readFileSync(at('resumed', 'metrics.jsonl'), 'utf8');
  const [[id]] = atrium.labeled as [[string]];
  const label = at('own/mr-atrium/labelsTr', `${id}.nii.gz`);
  const volume = await readVolume(label);
  renameSync(label, `${label}.kept`);
  await writeNifti(label, { ...volume, data: Uint8Array.from(volume.data, (_, i) => (i % 5 === 0 ? 1 : 0)) });
  const unlabeled = idsOf(atrium.unlabeled)[0]!;
  const file = at('own/mr-atrium/dataset.json');
  const text = readFileSync(file, 'utf8');
  const description = JSON.parse(text);
  description.training = description.training.filter((entry: { image: string }) => !entry.image.includes(unlabeled));
  writeFileSync(file, JSON.stringify(description));
  const lists = at('own/mr-atrium/splits.json');
  const splits = JSON.parse(readFileSync(lists, 'utf8'));
  const without = Object.entries(splits).map(
    ([name, list]) => [name, Array.isArray(list) ? list.filter((one) => one !== unlabeled) : list] as const,
  );
  writeFileSync(lists, JSON.stringify(Object.fromEntries(without)));
  const resumed = await versemi(...train, '--resume');
  t.equal(resumed.code, 5, resumed.stderr);
  t.match(resumed.stderr, /VERSEMI_CHECKPOINT_MISMATCH/);
  t.match(resumed.stderr, `mr-atrium/${id}: another label`);
  t.match(resumed.stderr, `mr-atrium/${unlabeled} (unlabelled) is gone`);
  t.match(resumed.stderr, /start a new run in another folder/);
  t.equal(readFileSync(at('resumed', 'metrics.jsonl'), 'utf8'), before, 'the run stays as it was');
  renameSync(`${label}.kept`, label);
  writeFileSync(file, text);
  writeFileSync(lists, JSON.stringify(splits));
  await done(...train, '--resume');
});

t.test('which cases differ', async (t) => {
  const began: DatasetRecord[] = [
    { dataset: 'd', labeled: [['a', 'A', 'L']], unlabeled: [['b', 'B'], ['c']], validation: [], watched: [] },
  ];
  const now = (change: Partial<DatasetRecord>) => recordDifferences(began, [{ ...began[0]!, ...change }]);
  t.same(now({}), []);
  t.same(now({ labeled: [['a', 'A', 'M']] }), ['d/a: another label']);
  t.same(now({ labeled: [['a', 'X', 'L']] }), ['d/a: another image']);
  t.same(now({ labeled: [['a']] }), [], 'a content that is not known is not another');
  t.same(
    now({
      labeled: [
        ['a', 'A', 'L'],
        ['b', 'B', 'K'],
      ],
      unlabeled: [['c']],
    }),
    ['d/b was unlabelled and is labelled now'],
  );
  t.same(now({ unlabeled: [['b', 'B'], ['c'], ['n', 'N']] }), ['d/n (unlabelled) is new']);
  t.same(now({ unlabeled: [['c'], ['b', 'B']] }), ['d: the same cases in another order']);
});

t.test('a model without a record keeps the split of its plan, and says so', async (t) => {
  await saveModel(
    at('old.safetensors'),
    model.values('student'),
    modelMetadata(model.plan, model.history, model.provenance),
  );
  const args = ['evaluate', 'old.safetensors', '--data', 'mr-atrium', '--device', 'wasm', '--json', '--cases'];
  const { stdout, stderr } = await done(...args, 'validation');
  t.same(
    JSON.parse(stdout).cases.map(({ id }: { id: string }) => id),
    idsOf(atrium.validation),
  );
  t.match(JSON.parse(stdout).selections[0], { recorded: false, validation: idsOf(atrium.validation) });
  t.match(stderr, /mr-atrium: the model has no record of the cases/);
  t.match((await done(...args, 'labeled')).stderr, /trained on 3 of these 3 cases/);
  t.match((await done('info', 'old.safetensors')).stdout, /no record of the cases/);
});

t.test('labels of one dataset are never taken for those of another', async (t) => {
  const evaluate = ['evaluate', 'run', '--cases', 'test', '--device', 'wasm', '-q', '--json'];
  await refused(2, /--data NAME=FOLDER/, ...evaluate, '--dataset', 'mr-atrium', '--data', 'mr-atrium', 'mr-ventricle');
  await refused(5, /dataset mr-ventricle/, ...evaluate, '--data', 'mr-atrium=mr-ventricle');
  await refused(5, /mr-atrium, mr-ventricle, found spleen/, ...evaluate, '--data', 'spleen=mr-atrium');
  await refused(5, /NAME=FOLDER/, ...evaluate, '--data', 'mr-atrium', 'grown/mr-atrium');
  const doubtful = (words: RegExp, folders: DatasetFolder[], tasks?: string[]) => {
    const full = folders.map((one) => ({ ...one, folder: at(one.folder) }));
    return t.rejects(matchDatasets(model, full, tasks), { code: 'VERSEMI_MODEL_TASK_UNKNOWN', message: words });
  };
  await doubtful(/dataset mr-ventricle/, [{ folder: 'mr-ventricle', dataset: 'mr-atrium' }]);
  await doubtful(/tasks of the dataset mr-ventricle/, [{ folder: 'mr-ventricle' }], ['mr-atrium']);
  const tasks = ['mr-atrium', 'mr-ventricle'];
  await doubtful(/folder of the dataset mr-ventricle/, [{ folder: 'mr-atrium' }], tasks);
  await doubtful(/synthetic task/, [{ folder: 'mr-atrium' }], ['any-foreground']);
  cpSync(at('mr-ventricle'), at('elsewhere'), { recursive: true });
  const description = json('elsewhere/dataset.json');
  writeFileSync(at('elsewhere/dataset.json'), JSON.stringify({ ...description, name: 'hospital' }));
  await doubtful(/found hospital.*NAME=FOLDER/s, [{ folder: 'elsewhere' }]);
  await doubtful(/labels mean different things/, [{ folder: 'elsewhere' }], tasks);
  t.same(
    (await matchDatasets(model, [{ folder: at('elsewhere') }], ['mr-atrium']))[0]?.tasks,
    [0],
    'tasks of one are meant',
  );
  const both = JSON.parse((await done(...evaluate, '--data', 'mr-atrium', 'mr-ventricle=elsewhere')).stdout);
  t.same(
    both.cases.map(({ dataset, task }: { dataset: string; task: string }) => [dataset, task]),
    [
      ['mr-atrium', 'mr-atrium'],
      ['mr-ventricle', 'mr-ventricle'],
    ],
  );
  writeFileSync(at('elsewhere/dataset.json'), JSON.stringify({ ...description, name: 'mr-atrium' }));
  renameSync(at('elsewhere'), at('grown/mr-ventricle'));
  await doubtful(/could be mr-atrium or mr-ventricle/, [{ folder: 'grown/mr-ventricle' }]);
});

t.test('the paper’s protocol and the options that switch off what the plan adds', async (t) => {
  const inference = { ...model.plan.inference, mirror: true, largestComponent: true };
  const plan = { ...model.plan, inference };
  await saveModel(
    at('adding.safetensors'),
    model.values('student'),
    modelMetadata(plan, model.history, model.provenance),
  );
  const how = async (...options: string[]) => {
    const args = ['evaluate', 'adding.safetensors', '--data', 'mr-atrium', '--cases', 'test', '--device', 'wasm', '-q'];
    return JSON.parse((await done(...args, '--json', ...options)).stdout).inference;
  };
  t.match(await how(), { mirror: true, largestComponent: true });
  t.match(await how('--largest-component-of', 'dataset'), { largestComponent: true, largestComponentOf: 'dataset' });
  t.match(await how('--no-tta', '--no-largest-component'), { mirror: false, largestComponent: false });
  t.throws(() => inferenceArguments({ largestComponent: false, largestComponentOf: 'dataset' }), {
    code: 'VERSEMI_USAGE',
    message: /--largest-component-of/,
  });
  const settings = (options: InferenceOptions) => inferenceSettings({ ...model, plan }, options);
  t.match(settings({ protocol: 'versemi' }), { mirror: false, largestComponent: false });
  t.match(settings({ protocol: 'versemi', largestComponent: true }), { mirror: false, largestComponent: true });
  t.match(settings({ protocol: 'default' }), { mirror: true, largestComponent: true });
});

t.test('info shows the score of the weights in the file, and says when another step was better', async (t) => {
  const validation = [
    { step: 1, mean: 0.6, perTask: { 'mr-atrium': 0.4, 'mr-ventricle': 0.8 } },
    { step: 2, mean: 0.55, perTask: { 'mr-atrium': 0.5, 'mr-ventricle': 0.6 } },
  ];
  const save = (name: string, steps: number, until: number) => {
    const history = { steps, losses: [], validation: validation.slice(0, until), best: { step: 1, mean: 0.6 } };
    const metadata = modelMetadata(model.plan, history, model.provenance, model.cases);
    return saveModel(at(name), model.values('student'), metadata);
  };
  await save('last.safetensors', 2, 2);
  await save('best.safetensors', 1, 1);
  const last = (await done('info', 'last.safetensors')).stdout;
  t.match(last, /weights +step 2, the last of the run/);
  t.match(last, /mean Dice 0\.550; the best was step 1 with 0\.600 \(checkpoints\/best\.safetensors/);
  t.match(last, /^mr-atrium .* 0\.500$/m);
  t.match(last, /^mr-ventricle .* 0\.600$/m);
  t.notMatch(last, '0.800', 'no value that these weights never reached');
  t.match(last, /^mr-atrium +3 +3 +2 +1$/m, 'and the cases that trained it');
  const best = (await done('info', 'best.safetensors')).stdout;
  t.match(best, /weights +step 1 of 2/);
  t.match(best, /mean Dice 0\.600, the best until step 1/);
  t.match(best, /^mr-ventricle .* 0\.800$/m);
});

t.test('a task that no labelled case shows is refused before the first step', async (t) => {
  const blank = copyOf('mr-ventricle', 'blank');
  for (const id of idsOf(trained[1]!.labeled)) {
    const file = blank('labelsTr', `${id}.nii.gz`);
    const label = await readVolume(file);
    await writeNifti(file, { ...label, data: new Uint8Array(label.data.length) });
  }
  writePlan('blank.json', (plan) => {
    plan.datasets[1]!.path = 'blank';
  });
  const outcome = await versemi('train', 'blank.json', '--out', 'nothing', '--device', 'wasm', '-q');
  t.equal(outcome.code, 3, outcome.stderr);
  t.match(outcome.stderr, /tasks\[1\] "mr-ventricle".*foreground voxel.*none in 3 labelled cases/s);
  t.notOk(existsSync(at('nothing')), 'no run was begun');
});
