// Labels that a page saves lie where the readers of the dataset look for them, and nothing else changes.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase } from '../../src/datasets/load-case.js';
import { encodeNifti } from '../../src/datasets/nifti-bytes.js';
import { makePhantomDataset, type PhantomKindName, phantomKinds } from '../../src/datasets/phantom.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { toCanonical } from '../../src/scans/canonical.js';
import type { RunningServer } from '../../src/server/server.js';
import type { Affine, Triple, Volume } from '../../src/volume/volume.js';
import { runVersemi } from '../integration/cli-support.js';
import { writeTree } from '../unit/datasets-support.js';
import { ask, exampleModel, pageFixture, startFor, tokenOf } from './server-support.js';

const sizeVoxels: Triple = [6, 5, 4];
/** Stored as LPS, oblique by some degrees: nothing here is canonical. */
const affine: Affine = [-1.9, 0.2, 0, 30, -0.2, -1.9, 0, -20, 0, 0, 3, 7, 0, 0, 0, 1];
const spacingMm: Triple = [Math.hypot(1.9, 0.2), Math.hypot(0.2, 1.9), 3];
const image: Volume = { sizeVoxels, spacingMm, affine, data: Int16Array.from({ length: 120 }, (_, i) => 7 * i - 300) };
const label = (values: (i: number) => number): Volume<Uint8Array> => ({
  ...image,
  data: Uint8Array.from({ length: 120 }, (_, i) => values(i)),
});
const parts = label((i) => i % 3);
const bytesOf = (volume: Volume) => encodeNifti(volume);

const labels = { 0: 'background', 1: 'head', 2: 'tail' };

/** Layouts of one dataset with the cases a (labelled) and b. */
const layouts: Record<string, { images: string[]; files: Record<string, object>; labelOfA: string; expected: string }> =
  {
    'Decathlon, b without a label': {
      images: ['imagesTr/a.nii.gz', 'imagesTr/b.nii.gz'],
      files: {
        'dataset.json': {
          ...{ name: 'thing', modality: { 0: 'MR' }, labels, numTraining: 2 },
          training: [{ image: './imagesTr/a.nii.gz', label: './labelsTr/a.nii.gz' }, { image: './imagesTr/b.nii.gz' }],
          test: [],
        },
      },
      labelOfA: 'labelsTr/a.nii.gz',
      expected: 'labelsTr/b.nii.gz',
    },
    'Decathlon, b as a path': {
      images: ['images/a.nii.gz', 'images/b.nii.gz'],
      files: { 'dataset.json': { labels, training: ['images/a.nii.gz', 'images/b.nii.gz'] } },
      labelOfA: 'labels/a.nii.gz',
      expected: 'labels/b.nii.gz',
    },
    'Decathlon, a folder of any name': {
      images: ['scans/a.nii', 'scans/b.nii'],
      files: { 'dataset.json': { labels, training: [{ image: 'scans/a.nii', label: 'masks/a.nii' }, 'scans/b.nii'] } },
      labelOfA: 'masks/a.nii',
      expected: 'labelsTr/b.nii',
    },
    'nnU-Net': {
      images: ['imagesTr/a_0000.nii.gz', 'imagesTr/b_0000.nii.gz'],
      files: {
        'dataset.json': {
          channel_names: { 0: 'MR' },
          labels: { background: 0, head: 1, tail: 2 },
          file_ending: '.nii.gz',
        },
      },
      labelOfA: 'labelsTr/a.nii.gz',
      expected: 'labelsTr/b.nii.gz',
    },
    'nnU-Net, a list of files': {
      images: ['imagesTr/a_0000.nii.gz', 'imagesTr/b_0000.nii.gz'],
      files: {
        'dataset.json': {
          ...{ channel_names: { 0: 'MR' }, labels: { background: 0, head: 1, tail: 2 }, file_ending: '.nii.gz' },
          dataset: {
            a: { images: ['imagesTr/a_0000.nii.gz'], label: 'labelsTr/a.nii.gz' },
            b: { images: ['imagesTr/b_0000.nii.gz'] },
          },
        },
      },
      labelOfA: 'labelsTr/a.nii.gz',
      expected: 'labelsTr/b.nii.gz',
    },
    'images and labels': {
      images: ['images/a.nii.gz', 'images/b.nii.gz'],
      files: {},
      labelOfA: 'labels/a.nii.gz',
      expected: 'labels/b.nii.gz',
    },
    'imagesTr and labelsTr': {
      images: ['imagesTr/a.nii', 'imagesTr/b.nii'],
      files: {},
      labelOfA: 'labelsTr/a.nii',
      expected: 'labelsTr/b.nii',
    },
  };

async function makeDataset(folder: string, { images, files, labelOfA }: (typeof layouts)[string]): Promise<string> {
  await writeTree(folder, files);
  for (const file of images) await writeNifti(join(folder, file), image);
  await writeNifti(
    join(folder, labelOfA),
    label(() => 2),
  );
  return folder;
}

async function put(server: RunningServer, query: string, body: Uint8Array) {
  return ask(server, `/api/labels?${query}`, { method: 'PUT', headers: { 'x-versemi-token': tokenOf(server) }, body });
}

for (const [name, layout] of Object.entries(layouts))
  t.test(name, async (t) => {
    const folder = await makeDataset(join(t.testdir({ page: pageFixture }), 'data'), layout);
    const server = await startFor(t, { data: folder }, join(folder, '..', 'page'));
    const headers = { 'x-versemi-token': tokenOf(server) };
    const before = (await ask(server, '/api/cases', { headers })).json;
    t.strictSame(before.cases, [
      { id: 'a', labeled: true, test: false },
      { id: 'b', labeled: false, test: false },
    ]);
    const description = existsSync(join(folder, 'dataset.json'))
      ? readFileSync(join(folder, 'dataset.json'), 'utf8')
      : '';

    // As a viewer may hand it over: canonical, so that axes differ from those of the image.
    const saved = await put(server, 'case=b', await bytesOf(toCanonical(parts)));
    t.equal(saved.status, 200, saved.text);
    t.equal(saved.json.file, join(folder, layout.expected));
    const after = (await ask(server, '/api/cases', { headers })).json.cases as { id: string; labeled: boolean }[];
    t.ok(
      after.every(({ labeled }) => labeled),
      'the server sees it',
    );
    const dataset = await openDataset(folder);
    const files = dataset.cases.find(({ id }) => id === 'b')!;
    t.equal(files.label, join(folder, layout.expected));
    const loaded = await loadCase(dataset, files);
    t.strictSame(loaded.label!.data, toCanonical(parts).data, 'a reader finds the same voxels');
    const onDisk = await readVolume(files.label!);
    t.strictSame(onDisk.data, parts.data, "and lies on the image's own grid");
    t.strictSame((await readVolume(files.image)).affine, onDisk.affine);
    if (description.includes('"training"') || description.includes('"dataset"')) {
      const [was, is] = [JSON.parse(description), JSON.parse(readFileSync(join(folder, 'dataset.json'), 'utf8'))];
      for (const key of Object.keys(was))
        if (key !== 'training' && key !== 'dataset') t.strictSame(is[key], was[key], key);
    }

    const second = await put(server, 'case=b', await bytesOf(label(() => 1)));
    t.equal(second.status, 409, 'a label that is there is not replaced in passing');
    t.equal(second.json.code, 'VERSEMI_LABEL_EXISTS');
    t.strictSame((await readVolume(files.label!)).data, parts.data);
    const replaced = await put(server, 'case=b&replace=1', await bytesOf(label(() => 1)));
    t.equal(replaced.status, 200, replaced.text);
    t.equal((await readVolume(files.label!)).data[5], 1);
    t.ok(existsSync(replaced.json.kept as string), 'the label of before stays');
    t.match(replaced.json.kept, /\.1\.bak$/);
    const third = await put(server, 'case=b&replace=1', await bytesOf(label(() => 2)));
    t.match(third.json.kept, /\.2\.bak$/, 'each of them');
    const reread = await openDataset(folder);
    t.equal(reread.cases.length, 2, 'and is no case and no label');
    t.strictSame(reread.leftOut ?? [], []);
    t.notOk(readdirSync(join(folder, layout.expected, '..')).some((file) => file.includes('.tmp')));
  });

t.test('labels that are refused, and leave everything as it was', async (t) => {
  const layout = layouts['Decathlon, b without a label']!;
  const folder = await makeDataset(join(t.testdir({ page: pageFixture }), 'data'), layout);
  await writeNifti(join(folder, 'imagesTs', 'c.nii.gz'), image);
  const json = JSON.parse(readFileSync(join(folder, 'dataset.json'), 'utf8'));
  await writeTree(folder, { 'dataset.json': { ...json, test: ['./imagesTs/c.nii.gz'] } });
  const server = await startFor(t, { data: folder }, join(folder, '..', 'page'));
  const tree = () => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  const before = tree();
  const description = readFileSync(join(folder, 'dataset.json'), 'utf8');
  const moved = { ...parts, affine: affine.map((value, i) => (i === 3 ? value + 1 : value)) };
  const cut = { ...parts, sizeVoxels: [6, 5, 3] as Triple, data: parts.data.subarray(0, 90) };
  const refused = [
    ['case=b', moved, 409, 'VERSEMI_GEOMETRY_MISMATCH', /affine/],
    ['case=b', cut, 409, 'VERSEMI_GEOMETRY_MISMATCH', /6 x 5 x 3/],
    ['case=b', label(() => 3), 400, 'VERSEMI_LABEL_INVALID', /3 in 120 voxels/],
    ['case=b', { ...image, data: Float32Array.from({ length: 120 }, () => 0.5) }, 400, 'VERSEMI_LABEL_INVALID', /0\.5/],
    ['case=x', parts, 404, 'VERSEMI_REQUEST_UNKNOWN', /found x/],
    ['case=', parts, 404, 'VERSEMI_REQUEST_UNKNOWN', /case/],
    ['', parts, 404, 'VERSEMI_REQUEST_UNKNOWN', /case/],
    ['case=..%2Fb', parts, 404, 'VERSEMI_REQUEST_UNKNOWN', /case/],
    ['case=c', parts, 400, 'VERSEMI_DATASET_INVALID', /test case/],
    ['case=b&names=%7B', parts, 400, 'VERSEMI_REQUEST_INVALID', /names/],
    ['case=b&names=%7B%7D', parts, 400, 'VERSEMI_REQUEST_INVALID', /names/],
    ['case=b&names={%221%22:%22liver%22,%222%22:%22tail%22}', parts, 400, 'VERSEMI_LABEL_INVALID', /liver.*Rename/s],
    ['case=b&names={%221%22:%22head%22}', parts, 400, 'VERSEMI_LABEL_INVALID', /values that have a name: 1, found 2/],
  ] as const;
  for (const [query, volume, status, code, words] of refused) {
    const answer = await put(server, query, await bytesOf(volume as Volume));
    t.equal(answer.status, status, query);
    t.equal(answer.json.code, code);
    t.match(answer.json.message, words);
    t.notMatch(answer.text, /versemi-serve-/, 'no path of the server');
  }
  for (const [body, code] of [
    [Buffer.from('no image'), 'VERSEMI_FILE_FORMAT'],
    [Buffer.alloc(0), 'VERSEMI_FILE_TRUNCATED'],
    [(await bytesOf(parts)).subarray(0, 100), undefined],
  ] as const) {
    const answer = await put(server, 'case=b', body);
    t.ok(answer.status >= 400 && answer.status < 500, `${answer.status} ${answer.text}`);
    if (code !== undefined) t.match(answer.json.code, /FILE_(FORMAT|TRUNCATED)/);
    t.match(answer.text, /the (file|label) that was sent/);
    t.notMatch(answer.text, /versemi-serve-/);
  }
  t.strictSame(tree(), before);
  t.equal(readFileSync(join(folder, 'dataset.json'), 'utf8'), description);
  const byName = await put(
    server,
    'case=b&names={%221%22:%22TAIL%22,%222%22:%22head%22,%223%22:%22an%20empty%20segment%22}',
    await bytesOf(parts),
  );
  t.equal(byName.status, 200, byName.text);
  const renamed = await readVolume(join(folder, 'labelsTr', 'b.nii.gz'));
  t.strictSame(Array.from(renamed.data.subarray(0, 3)), [0, 2, 1], 'names decide, not numbers');
  t.equal(readFileSync(join(folder, 'dataset.json.bak'), 'utf8'), description, 'the description of before stays');
});

t.test('layouts without a place for a label', async (t) => {
  const page = t.testdir({ page: pageFixture });
  await writeNifti(join(page, 'flat', 'a.nii.gz'), image);
  await writeNifti(join(page, 'flat', 'b.nii.gz'), image);
  const flat = await startFor(t, { data: join(page, 'flat') }, join(page, 'page'));
  const answer = await put(flat, 'case=a', await bytesOf(parts));
  t.equal(answer.status, 400);
  t.match(answer.json.message, /images\/ beside labels\//);
  t.strictSame(readdirSync(join(page, 'flat')), ['a.nii.gz', 'b.nii.gz']);
});

t.test('a dataset that names no labels takes the names of tasks', async (t) => {
  const page = t.testdir({ page: pageFixture });
  const folder = await makeDataset(join(page, 'data'), layouts['images and labels']!);
  const server = await startFor(t, { data: folder, models: [exampleModel] }, join(page, 'page'));
  const ventricle = await put(
    server,
    'case=b&names={%221%22:%22left-ventricle%22,%222%22:%22right-ventricle%22}',
    await bytesOf(parts),
  );
  t.equal(ventricle.status, 200, ventricle.text);
  t.strictSame(Array.from((await readVolume(join(folder, 'labels', 'b.nii.gz'))).data.subarray(0, 3)), [0, 3, 1]);
  const both = await put(
    server,
    'case=b&replace=1&names={%221%22:%22hippocampus%22,%222%22:%22sarcoma%22}',
    await bytesOf(parts),
  );
  t.equal(both.status, 400);
  t.match(both.json.message, /several of them \(foreground, 2\)/);
  const joined = await put(
    server,
    'case=b&replace=1&names={%221%22:%22left-atrium%22,%222%22:%22sarcoma%22}',
    await bytesOf(parts),
  );
  t.match(joined.json.message, /1, which is that of left-atrium/, 'two segments do not become one in passing');
});

t.test('images of cases', async (t) => {
  const page = t.testdir({ page: pageFixture });
  const folder = await makeDataset(join(page, 'data'), layouts['images and labels']!);
  await writeNifti(join(folder, 'images', 'pair.hdr'), image);
  const server = await startFor(t, { data: folder }, join(page, 'page'));
  const headers = { 'x-versemi-token': tokenOf(server) };
  const whole = await ask(server, '/api/cases/a/image', { headers });
  t.equal(whole.status, 200);
  t.ok(whole.bytes.equals(await readFile(join(folder, 'images', 'a.nii.gz'))), 'the bytes of the file');
  t.equal(whole.headers['content-disposition'], `attachment; filename="a.nii.gz"; filename*=UTF-8''a.nii.gz`);
  const pair = await ask(server, '/api/cases/pair/image', { headers });
  await writeTree(page, { 'got.nii.gz': pair.bytes });
  t.strictSame((await readVolume(join(page, 'got.nii.gz'))).data, image.data, 'a pair comes as one file');
  t.equal((await ask(server, '/api/cases/..%2F..%2Fpage%2Findex/image', { headers })).status, 404);
  t.equal((await ask(server, '/api/cases/a/image?channel=7', { headers })).status, 400);
});

t.test('which case comes next', async (t) => {
  const page = t.testdir({ page: pageFixture });
  const folder = await makeDataset(join(page, 'data'), layouts['images and labels']!);
  await writeNifti(join(folder, 'images', 'c.nii.gz'), image);
  const server = await startFor(t, { data: folder }, join(page, 'page'));
  const headers = { 'x-versemi-token': tokenOf(server) };
  const list = async () => (await ask(server, '/api/cases', { headers })).json;
  const note = (id: string, value: string) =>
    ask(server, `/api/cases/${id}/disagreement?value=${value}`, { method: 'PUT', headers });
  t.equal((await list()).next, 'b', 'the first without a label');
  t.strictSame((await note('c', '0.3')).json, { case: 'c', disagreement: 0.3 });
  t.equal((await list()).next, 'c', 'one that was predicted, before those that were not');
  t.equal((await note('b', '0.75')).status, 200);
  await note('a', '1');
  const { cases, next } = (await list()) as { cases: { disagreement?: number }[]; next: string };
  t.equal(next, 'b', 'where the tasks disagree most, of those without a label');
  t.strictSame(
    cases.map(({ disagreement }) => disagreement),
    [1, 0.75, 0.3],
  );
  for (const value of ['', 'x', '-0.1', '1.5', 'NaN'])
    t.equal((await note('b', value)).json.code, 'VERSEMI_REQUEST_INVALID', `value ${value}`);
  t.equal((await note('nobody', '0.5')).status, 404);
  for (const id of ['b', 'c']) await put(server, `case=${id}`, await bytesOf(parts));
  t.equal((await list()).next, null, 'all have labels');
});

t.test('a plan has the label that was saved', async (t) => {
  const page = t.testdir({ page: pageFixture });
  const folder = join(page, 'phantom');
  const [kind] = Object.keys(phantomKinds) as PhantomKindName[];
  await makePhantomDataset(folder, kind!, { cases: 5, labeledCases: 3, validationCases: 0, testCases: 0, seed: 1 });
  // Lists of cases by name would keep the new label out, as they should.
  rmSync(join(folder, 'splits.json'), { force: true });
  const { cases } = await openDataset(folder);
  const unlabeled = cases.find((files) => files.label === undefined)!;
  const server = await startFor(t, { data: folder }, join(page, 'page'));
  const planned = async () => {
    // A speed that is given: which steps fit into how many hours is not asked here, and nothing need be timed.
    const speed = ['--gflops', '100'];
    const { code, stdout, stderr } = await runVersemi(page, [
      ...['plan', folder, '--json', '--force', '--out', 'plan.json'],
      ...speed,
    ]);
    t.equal(code, 0, stderr);
    const { datasets } = JSON.parse(stdout) as {
      datasets: { labeled: number; unlabeled: number; validation: number }[];
    };
    const { labeled, validation, unlabeled } = datasets[0]!;
    return { labeled: labeled + validation, unlabeled };
  };
  t.strictSame(await planned(), { labeled: 3, unlabeled: 2 });
  const scan = await readVolume(unlabeled.image);
  const drawn = { ...scan, data: Uint8Array.from({ length: scan.data.length }, (_, i) => (i % 7 === 0 ? 1 : 0)) };
  const saved = await put(server, `case=${unlabeled.id}`, await bytesOf(drawn));
  t.equal(saved.status, 200, saved.text);
  t.strictSame(await planned(), { labeled: 4, unlabeled: 1 });
});
