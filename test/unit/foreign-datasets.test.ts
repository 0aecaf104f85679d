// Datasets as nnU-Net and other programs describe them, and descriptions from people who are not trusted.
import { execFileSync } from 'node:child_process';
import { symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import t from 'tap';
import { readPlan } from '../../src/config/read-plan.js';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase } from '../../src/datasets/load-case.js';
import { resolveSplit } from '../../src/datasets/splits.js';
import { isVersemiError } from '../../src/errors.js';
import { parseJson, shown } from '../../src/json-text.js';
import { makeCase } from '../../src/preprocessing/case-job.js';
import { fingerprintDatasets } from '../../src/preprocessing/fingerprint.js';
import { makePlan } from '../../src/preprocessing/planning.js';
import { prepareScan } from '../../src/preprocessing/preprocess-case.js';
import { scanOf } from '../../src/scans/scan.js';
import { scalingAffine } from '../../src/volume/affine.js';
import type { VoxelArray } from '../../src/volume/volume.js';
import { failure, foreignCase, niftiBytes, writeTree } from './datasets-support.js';

const size = 4096;
const dim = [3, 16, 16, 16, 1, 1, 1, 1];
const image = niftiBytes({ dim, voxels: Uint8Array.from({ length: size }, (_, i) => (i * 37) % 251) });
/** Values 0, 1, 2, 3 in blocks of a quarter each. */
const label = niftiBytes({ dim, voxels: Uint8Array.from({ length: size }, (_, i) => (4 * i) / size) });

const image1mm = {
  spacingMm: [1, 1, 1] as [number, number, number],
  window: null,
  normalization: 'zscore',
  crop: 'none',
} as const;

/** An nnU-Net folder of two cases. */
const nnunet = (labels: unknown, more: object = {}) => ({
  'dataset.json': { channel_names: { 0: 'MR' }, labels, numTraining: 2, file_ending: '.nii', ...more },
  'imagesTr/a_0000.nii': image,
  'imagesTr/b_0000.nii': image,
  'labelsTr/a.nii': label,
  'labelsTr/b.nii': label,
});

async function planOf(folder: string) {
  return makePlan(await fingerprintDatasets([{ path: folder, name: 'set' }]));
}

const tasksOf = async (folder: string) =>
  (await planOf(folder)).plan.tasks.map(({ name, labels }) => [name.replace(/^.*?set-/, ''), labels]);

t.test('the ignored label', async (t) => {
  const folder = await writeTree(t.testdir(), nnunet({ background: 0, a: 1, b: 2, ignore: 3 }));
  t.same(await tasksOf(folder), [
    ['a', [1]],
    ['b', [2]],
  ]);
  const merged = makePlan(await fingerprintDatasets([{ path: folder, name: 'set' }]), { mergeLabels: true });
  t.same(
    merged.plan.tasks.map(({ labels }) => labels),
    [[1, 2]],
  );
  t.match(merged.explanations.find(({ field }) => field === 'datasets[0]')?.reason, /label 3 are ignored/);
  const dataset = await openDataset(folder);
  t.match(dataset, { ignoredLabel: 3, labels: { 0: 'background', 1: 'a', 2: 'b' } });
  const loaded = await loadCase(dataset, dataset.cases[0]!);
  t.equal(loaded.ignoredLabel, 3);
  const job = {
    ...{ dataset, name: 'set', channel: 0 },
    settings: { ...image1mm, targets: 'labels' } as const,
  };
  const one = await makeCase({ ...job, files: dataset.cases[0]! });
  t.equal(one.known!.filter((known) => known === 0).length, 1024, 'the voxels of label 3 are unknown');
  t.same([...new Set(one.label)], [0, 1, 2]);
  t.same(Object.keys(one.foreground!), ['1', '2'], 'and no patch is centred on them');
  const { label: _, ...unlabeled } = dataset.cases[0]!;
  t.equal((await makeCase({ ...job, files: unlabeled })).label, undefined);
  await writeTree(folder, nnunet({ background: 0, a: 1, b: 2, ignore: [3] }));
  await failure(() => openDataset(folder), 'DATASET_INVALID');
  const given = foreignCase('02-nnunet-ignore-label');
  if (given !== undefined) {
    const tasks = (await planOf(given)).plan.tasks;
    t.same(
      tasks.map(({ labels }) => labels),
      [[1], [2]],
    );
  }
});

t.test('regions', async (t) => {
  const labels = { background: 0, whole: [1, 2, 3], core: [2, 3], enhancing: 3 };
  const folder = await writeTree(t.testdir(), nnunet(labels, { regions_class_order: [1, 2, 3] }));
  t.same(await tasksOf(folder), [
    ['whole', [1, 2, 3]],
    ['core', [2, 3]],
    ['enhancing', [3]],
  ]);
  const dataset = await openDataset(folder);
  t.same(dataset.labels, { 0: 'background', 1: 'whole', 2: 'core', 3: 'enhancing' });
  t.same(
    dataset.regions?.map(({ writtenAs }) => writtenAs),
    [1, 2, 3],
  );
  await writeTree(folder, nnunet({ background: 0, whole: [1, 2], core: [2], ignore: 3 }));
  t.same(await tasksOf(folder), [
    ['whole', [1, 2]],
    ['core', [2]],
  ]);
  for (const [wrong, order] of [
    [{ background: 0, whole: [] }],
    [{ background: 0, whole: [0, 1] }],
    [{ background: 0, whole: [1, 1] }],
    [{ background: 0, whole: [1, { toString: 1 }] }],
    [{ background: 0, whole: [1, '2'] }],
    [labels, [1, 2]],
    [labels, 'abc'],
  ] as const) {
    await writeTree(folder, nnunet(wrong, order === undefined ? {} : { regions_class_order: order }));
    await failure(() => openDataset(folder), 'DATASET_INVALID');
  }
  const given = foreignCase('03-nnunet-regions');
  if (given !== undefined)
    t.same(
      (await planOf(given)).plan.tasks.map((task) => task.labels),
      [[1, 2], [2]],
    );
});

t.test('labels that belong to no image are reported, and cases counted', async (t) => {
  const folder = await writeTree(t.testdir(), {
    ...nnunet({ background: 0, a: 1, b: 2, c: 3 }),
    'imagesTr/c_0000.nii': image,
    'labelsTr/c_seg.nii': label,
    'imagesTr/d_0001.nii': image,
    'imagesTr/d_0000.nii': image,
    'imagesTr/e_0000.nii.gz': image,
  });
  const { explanations } = await planOf(folder);
  const { reason } = explanations.find(({ field }) => field === 'datasets[0]')!;
  t.match(reason, /^4 cases: 2 labelled, 2 unlabelled, 0 for validation; 3 left out: /);
  const dataset = await openDataset(folder);
  t.same(dataset.leftOut?.map(({ file }) => basename(file)).sort(), ['c_seg.nii', 'd_0001.nii', 'e_0000.nii.gz']);
  const plain = await writeTree(join(folder, 'plain'), {
    'images/a.nii': image,
    'labels/a.nii': label,
    'labels/b_gt.nii': label,
  });
  t.same(
    (await openDataset(plain)).leftOut?.map(({ file }) => basename(file)),
    ['b_gt.nii'],
  );
  const given = foreignCase('26-label-misnamed-becomes-unlabelled');
  if (given === undefined) return;
  const found = (await planOf(given)).explanations.find(({ field }) => field === 'datasets[0]')!;
  t.match(found.reason, /^3 cases: 2 labelled, 1 unlabelled.*c2_seg\.nii\.gz/);
});

t.test('values with quotes are shown with their quotes', async (t) => {
  const folder = await writeTree(t.testdir(), nnunet({ background: '0', a: '1' }));
  t.match((await failure(() => openDataset(folder), 'DATASET_INVALID')).message, /found "0"\. Write 0 without quotes/);
  const given = foreignCase('25-labels-values-as-strings');
  if (given !== undefined) t.match((await failure(() => openDataset(given), 'DATASET_INVALID')).message, /found "0"/);
});

t.test('single slices get a plan that does not contradict itself', async (t) => {
  const flat = [3, 20, 20, 1, 1, 1, 1, 1];
  const slice = niftiBytes({ dim: flat, voxels: Uint8Array.from({ length: 400 }, (_, i) => i % 200) });
  const ones = niftiBytes({ dim: flat, voxels: Uint8Array.from({ length: 400 }, (_, i) => Number(i > 200)) });
  const folder = await writeTree(t.testdir(), {
    'images/a.nii': slice,
    'images/b.nii': slice,
    'labels/a.nii': ones,
  });
  const { plan } = await planOf(folder);
  t.ok(plan.patchSizeVoxels[2] >= 4 && plan.patchSizeVoxels[2] <= 8, `${plan.patchSizeVoxels}`);
  const given = foreignCase('21-single-slice-dataset');
  if (given !== undefined) t.ok((await planOf(given)).plan);
});

t.test('byte order marks', async (t) => {
  const value = { few: ['a'], text: 'ä' };
  const text = JSON.stringify(value);
  const utf16 = Buffer.from(`\uFEFF${text}`, 'utf16le');
  const swapped = Buffer.from(utf16).swap16();
  for (const content of [text, `\uFEFF${text}`, Buffer.from(`\uFEFF${text}`), utf16, swapped])
    t.same(parseJson(content, { code: 'PLAN_INVALID' }), value);
  const folder = await writeTree(t.testdir(), nnunet({ background: 0, a: 1, b: 2, c: 3 }));
  await writeTree(folder, { 'splits.json': `\uFEFF${JSON.stringify({ few: ['a'] })}` });
  const dataset = await openDataset(folder);
  const split = { file: null, labeled: 'few', validation: 0, unlabeled: 'rest' } as const;
  t.same(
    resolveSplit(dataset, { split }, 0).labeled.map(({ id }) => id),
    ['a'],
  );
  const { plan } = await planOf(folder);
  await writeFile(join(folder, 'plan.json'), `\uFEFF${JSON.stringify(plan)}`);
  t.equal((await readPlan(join(folder, 'plan.json'))).name, plan.name);
  const given = foreignCase('19-json-byte-order-mark');
  if (given === undefined) return;
  t.equal(resolveSplit(await openDataset(given), { split }, 0).labeled.length, 1);
  t.match((await failure(() => readPlan(join(given, 'plan.json')), 'PLAN_INVALID')).message, /datasets/);
});

t.test('the place of a syntax error', async (t) => {
  const place = async (text: string) =>
    (await failure(() => parseJson(text, { file: 'a.json', code: 'PLAN_INVALID' }), 'PLAN_INVALID')).details.field;
  t.equal(await place('{\n  "a": 1,\n  b: 2\n}'), 'line 3, column 3');
  t.equal(await place('{"a": [1, 2'), 'line 1, column 12');
  t.equal(await place('{"a": tru }'), 'line 1, column 10');
  t.equal(await place(''), 'line 1, column 1');
});

t.test('JSON that was made to break a reader', async (t) => {
  const deep = `${'['.repeat(2e5)}${']'.repeat(2e5)}`;
  const longKey = 'k'.repeat(3e6);
  const evil: unknown[] = [
    deep,
    `{"name": ${deep}}`,
    { toString: 1, valueOf: 1 },
    { [longKey]: 1 },
    { labels: { [longKey]: 'x' } },
    { labels: { background: 0, a: { toString: 1 } } },
    { labels: JSON.parse('{"__proto__": 1, "a": {"toString": 1}}') },
    { modality: { 4294967294: 'CT' } },
    { modality: { 0: 'CT', 1e21: 'MR' } },
    { modality: JSON.parse('{"__proto__": "x"}') },
    { training: [{ image: { toString: 1 } }] },
    { training: [{ image: 'a\u0000b' }] },
    { training: { length: 1e9 } },
    { dataset: { a: { images: [{ toString: 1 }] } } },
    { spacingMm: [{ toString: 1 }, 1, 1] },
    { version: 1, datasets: [{ [longKey]: longKey }] },
    { version: { toString: 1 }, tasks: { toString: 1 } },
    'null',
    '[]',
    '"a"',
    '\uFEFF',
  ];
  const folder = await writeTree(t.testdir(), { 'imagesTr/a_0000.nii': image });
  const coded = async (name: string, run: () => unknown) => {
    const started = performance.now();
    try {
      await run();
    } catch (error) {
      if (!isVersemiError(error)) t.fail(`${name}: ${String((error as Error).stack)}`);
      else t.ok(error.message.length < 2e4, `${name}: ${error.message.length} characters`);
    }
    t.ok(performance.now() - started < 2000, `${name}: ${performance.now() - started} ms`);
  };
  const split = { file: null, labeled: 'few', validation: 0, unlabeled: 'rest' } as const;
  const dataset = {
    ...(await openDataset(await writeTree(join(folder, 'set'), nnunet({ background: 0, a: 1 })))),
    folder,
  };
  for (const [i, content] of evil.entries()) {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    await writeTree(folder, { 'dataset.json': text, 'splits.json': text, 'plan.json': text });
    await coded(`dataset ${i}`, () => openDataset(folder));
    await coded(`split ${i}`, () => resolveSplit(dataset, { split }, 0));
    await coded(`plan ${i}`, () => readPlan(join(folder, 'plan.json')));
  }
  for (const list of [[{ toString: 1 }], [null], ['a', 'a'], [longKey], { toString: 1 }]) {
    await writeTree(folder, { 'splits.json': { few: list, test: [{ toString: 1 }] } });
    await coded('list', () => resolveSplit(dataset, { split }, 0));
  }
  t.equal(shown(JSON.parse('{"a":[1,"x"],"toString":1}')), '{"a":[1,"x"],"toString":1}');
  t.ok(shown(JSON.parse(deep.slice(2e5 - 1000, 2e5 + 1000))).length <= 80);
});

t.test('ids are names, and paths stay in the folder', async (t) => {
  const root = await writeTree(t.testdir(), { 'outside/a.nii': image, 'outside/l.nii': label });
  const folder = join(root, 'set');
  const listed = (id: string, file: string) => ({
    'dataset.json': { ...nnunet({ background: 0, a: 1 })['dataset.json'], dataset: { [id]: { images: [file] } } },
    'imagesTr/a_0000.nii': image,
  });
  for (const id of ['../x', 'a/b', 'a\\b', '..', '.', 'a\u001b[2J', '', 'x'.repeat(300)]) {
    await writeTree(folder, listed(id, 'imagesTr/a_0000.nii'));
    const error = await failure(() => openDataset(folder), 'DATASET_INVALID');
    t.notMatch(error.message, '\u001b', 'no code for a terminal in a message');
  }
  for (const file of [
    '../outside/a.nii',
    join(root, 'outside', 'a.nii'),
    '/dev/zero',
    'imagesTr/../../outside/a.nii',
  ]) {
    await writeTree(folder, listed('a', file));
    t.match((await failure(() => openDataset(folder), 'DATASET_INVALID')).message, /--files-outside/, file);
    await writeTree(folder, { 'dataset.json': { labels: { 0: 'background', 1: 'a' }, training: [{ image: file }] } });
    await failure(() => openDataset(folder), 'DATASET_INVALID');
    await writeTree(folder, {
      'dataset.json': {
        labels: { 0: 'background', 1: 'a' },
        training: [{ image: 'imagesTr/a_0000.nii', label: file }],
      },
    });
    await failure(() => openDataset(folder), 'DATASET_INVALID');
  }
  await writeTree(folder, listed('a', '../outside/a.nii'));
  const allowed = await openDataset(folder, { filesOutside: true });
  t.equal((await loadCase(allowed, allowed.cases[0]!)).image.sizeVoxels[0], 16);
  if (process.platform === 'win32') return;
  await symlink(join(root, 'outside', 'a.nii'), join(folder, 'imagesTr', 'link_0000.nii'));
  await writeTree(folder, listed('a', 'imagesTr/link_0000.nii'));
  t.equal((await openDataset(folder)).cases.length, 1, 'links that lie in the folder may lead out of it');
  const pipes = await writeTree(join(root, 'pipes'), { 'images/notes.txt': '' });
  execFileSync('mkfifo', [join(pipes, 'images', 'a.nii'), join(pipes, 'dataset.json')]);
  await failure(() => openDataset(pipes), 'FILE_FORMAT');
  const set = await openDataset(join(pipes), { format: 'images' }).catch((error: unknown) => error);
  t.ok(isVersemiError(set, 'FILE_FORMAT'));
});

t.test('constant is relative to the values', async (t) => {
  const normalized = (values: VoxelArray, normalization: 'zscore' | 'zscore-nonzero' | 'range') => {
    const scan = scanOf({
      data: values,
      sizeVoxels: [8, 8, 8],
      spacingMm: [1, 1, 1],
      affine: scalingAffine([1, 1, 1]),
    });
    const { slices } = prepareScan(scan, { ...image1mm, normalization });
    try {
      return slices.collect();
    } finally {
      slices.dispose();
    }
  };
  const base = Float32Array.from({ length: 512 }, (_, i) => (i % 3 === 0 ? 0 : 100 + ((i * 37) % 91)));
  for (const normalization of ['zscore', 'zscore-nonzero', 'range'] as const) {
    const expected = normalized(base, normalization);
    for (const factor of [1e-15, 1e-30, 1e20]) {
      const found = normalized(
        base.map((value) => value * factor),
        normalization,
      );
      const furthest = Math.max(...expected.map((value, i) => Math.abs(value - found[i]!)));
      t.ok(furthest < 1e-4, `${normalization}, times ${factor}: within ${furthest}`);
    }
    for (const constant of [0, 1e-30, 1000.1, -1e20, 3e5]) {
      const found = normalized(new Float32Array(512).fill(constant), normalization);
      t.ok(
        found.every((value) => value === 0),
        `${normalization}: constant ${constant} becomes 0`,
      );
    }
  }
});
