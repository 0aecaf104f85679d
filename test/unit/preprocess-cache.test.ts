import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { writeError } from '../../src/atomic-file.js';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { makePhantomDataset, type PhantomKindName, phantomKinds } from '../../src/datasets/phantom.js';
import type { Dataset } from '../../src/datasets/types.js';
import { readCacheFile, writeCacheFile } from '../../src/preprocessing/cache-file.js';
import { contentKeys } from '../../src/preprocessing/content-key.js';
import {
  type PreprocessEvent,
  type PreprocessedData,
  preprocessDatasets,
} from '../../src/preprocessing/preprocess-datasets.js';
import { inFractions, makeCase, withUnknown } from './sampling-support.js';

const kind = Object.keys(phantomKinds)[0] as PhantomKindName;
const folder = await mkdtemp(join(tmpdir(), 'versemi-cache-'));
t.teardown(() => rm(folder, { recursive: true }));

t.test('an entry comes back as it was, in shared memory; a damaged one counts as absent', async (t) => {
  const file = join(folder, 'one.case');
  for (const label of [undefined, (x: number) => x % 3]) {
    const one = makeCase('set', 'a', [5, 3, 7], (x, y, z) => Math.sin(x + 7 * y + z), label);
    await writeCacheFile(file, one);
    const read = await readCacheFile(file);
    t.same(read, one);
    t.ok(read!.image.buffer instanceof SharedArrayBuffer);
  }
  const labeled = makeCase(
    'set',
    'a',
    [5, 3, 7],
    (x) => x,
    (x, y) => (x + y) % 4,
  );
  for (const one of [inFractions(labeled), withUnknown(labeled), withUnknown(inFractions(labeled))]) {
    await writeCacheFile(file, one);
    const { label, known } = (await readCacheFile(file))!;
    t.same([label, known], [one.label, one.known], 'label pairs and unknown voxels');
  }
  const bytes = await readFile(file);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1;
    await writeFile(file, damaged);
    if ((await readCacheFile(file)) !== undefined) t.fail(`a flipped bit in byte ${at}`);
  }
  for (const length of [0, 10, 100, bytes.length - 1]) {
    await writeFile(file, bytes);
    await truncate(file, length);
    t.equal(await readCacheFile(file), undefined, `cut to ${length} bytes`);
  }
  t.equal(await readCacheFile(join(folder, 'none.case')), undefined);
  t.equal(await readCacheFile(folder), undefined);
});

/** The data with a hash in place of each array: quick to compare. */
function hashed(data: PreprocessedData): unknown {
  const replace = (_: string, value: unknown) =>
    ArrayBuffer.isView(value)
      ? createHash('sha256')
          .update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
          .digest('hex')
      : value;
  return JSON.parse(JSON.stringify(data, replace));
}

function makePlan(path: string, settings: Record<string, unknown> = {}, dataset: Record<string, unknown> = {}): Plan {
  return parsePlan({
    version: 1,
    name: 'cache',
    datasets: [
      {
        name: 'set',
        path,
        split: { labeled: 'labeled', validation: 'validation', unlabeled: 'unlabeled' },
        preprocessing: { spacingMm: [4, 4, 6], normalization: 'zscore', ...settings },
        ...dataset,
      },
    ],
    tasks: [{ name: 'task', dataset: 'set', labels: [1] }],
  });
}

t.test('datasets: cached by content and settings', async (t) => {
  const path = join(folder, 'phantom');
  await makePhantomDataset(path, kind, { cases: 5, labeledCases: 2, validationCases: 1, testCases: 0, seed: 3 });
  const cacheFolder = join(folder, 'cache');
  const run = async (plan: Plan, options: { workers?: number; cacheFolder?: string | null } = {}) => {
    const events: PreprocessEvent[] = [];
    const data = await preprocessDatasets(plan, {
      cacheFolder,
      workers: 0,
      onProgress: (event) => events.push(event),
      ...options,
    });
    return { data, cached: events.map((event) => event.cached), events };
  };
  const plan = makePlan(path);
  const first = await run(plan);
  t.same(first.cached, [false, false, false, false, false]);
  t.same([first.data.labeled.length, first.data.unlabeled.length, first.data.validation.length], [2, 2, 1]);
  t.ok(first.data.labeled.every((one) => one.label !== undefined && one.foreground?.[1] !== undefined));
  t.ok(first.data.unlabeled.every((one) => one.label === undefined && one.foreground === undefined));
  t.same(
    first.events.map(({ index, total }) => [index, total]),
    [1, 2, 3, 4, 5].map((i) => [i, 5]),
  );
  t.same((await readdir(cacheFolder)).length, 5, 'no temporary file stays');

  const second = await run(plan);
  t.same(second.cached, [true, true, true, true, true]);
  t.same(hashed(second.data), hashed(first.data));
  const threads = await run(plan, { cacheFolder: join(folder, 'cache2'), workers: 2 });
  t.same(threads.cached, [false, false, false, false, false]);
  t.same(hashed(threads.data), hashed(first.data), 'worker threads make the same');
  t.same(
    hashed((await run(plan, { cacheFolder: null })).data),
    hashed(first.data),
    'and so does doing without a cache',
  );
  t.same((await readdir(cacheFolder)).sort(), (await readdir(join(folder, 'cache2'))).sort());

  const [entry] = (await readdir(cacheFolder)).sort();
  await truncate(join(cacheFolder, entry!), 1000);
  const mended = await run(plan);
  t.equal(mended.cached.filter((cached) => !cached).length, 1, 'only the damaged entry is made again');
  t.same(hashed(mended.data), hashed(first.data));

  t.same(
    (await run(makePlan(path, { window: [0, 100] }))).cached,
    [false, false, false, false, false],
    'other settings',
  );
  t.same((await run(makePlan(path, {}, { name: 'set' }))).cached, [true, true, true, true, true]);

  const images = (await readdir(join(path, 'imagesTr'))).sort();
  await rename(join(path, 'imagesTr', images[0]!), join(folder, 'kept.nii.gz'));
  await writeFile(join(path, 'imagesTr', images[0]!), await readFile(join(path, 'imagesTr', images[3]!)));
  await t.rejects(run(plan), { code: /VERSEMI_GEOMETRY_MISMATCH/ }, 'a changed file is noticed');
  await rename(join(folder, 'kept.nii.gz'), join(path, 'imagesTr', images[0]!));
  t.same((await run(plan)).cached, [true, true, true, true, true], 'as before');

  await writeFile(join(path, 'imagesTr', images[4]!), 'no image');
  await t.rejects(run(plan), { code: /^VERSEMI_FILE_/ });
  await t.rejects(run(plan, { workers: 1 }), { code: /^VERSEMI_FILE_/ }, 'errors of a worker carry their code');
});

t.test('equal scans, made at the same time by threads, under one name', async (t) => {
  const path = join(folder, 'equal');
  await makePhantomDataset(path, kind, { cases: 6, labeledCases: 1, validationCases: 1, testCases: 0, seed: 3 });
  for (const name of ['imagesTr', 'labelsTr']) {
    const [first, ...others] = (await readdir(join(path, name))).sort().map((file) => join(path, name, file));
    for (const file of others) await copyFile(first!, file);
  }
  const plan = makePlan(path);
  const expected = hashed(await preprocessDatasets(plan, { cacheFolder: null }));
  for (let round = 0; round < 5; round++) {
    const cacheFolder = join(folder, `equal-cache-${round}`);
    const twice = [0, 1].map(() => preprocessDatasets(plan, { cacheFolder, workers: 4 }));
    for (const found of await Promise.all(twice)) t.same(hashed(found), expected);
    const left = await readdir(cacheFolder, { recursive: true });
    t.same(
      left.filter((name) => name.endsWith('.tmp')),
      [],
    );
  }
});

t.test('the key of a content is the SHA-256 of its file, and of every file that holds its voxels', async (t) => {
  const path = join(folder, 'contents');
  await mkdir(path, { recursive: true });
  const at = (name: string) => join(path, name);
  const header = (data: string) =>
    `ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = ${data}\n`;
  await writeFile(at('one.mha'), Buffer.concat([Buffer.from(header('LOCAL')), new Uint8Array(8)]));
  await writeFile(at('two.mhd'), header('two.raw'));
  await writeFile(at('two.raw'), new Uint8Array(8));
  await writeFile(at('three.hdr'), 'header');
  await writeFile(at('three.img'), 'voxels');
  const dataset = { modalities: ['CT'] } as unknown as Dataset;
  const key = async (image: string, label?: string) =>
    contentKeys(dataset, { id: 'a', image: at(image), ...(label === undefined ? {} : { label: at(label) }) }, 0);
  const sha = async (name: string) =>
    createHash('sha256')
      .update(await readFile(at(name)))
      .digest('hex');
  t.same(await key('one.mha'), { image: await sha('one.mha') });
  t.same(await key('one.mha', 'one.mha'), { image: await sha('one.mha'), label: await sha('one.mha') });
  for (const [named, voxels] of [
    ['two.mhd', 'two.raw'],
    ['three.hdr', 'three.img'],
  ] as const) {
    const before = await key('one.mha', named);
    await writeFile(at(voxels), new Uint8Array(8).fill(3));
    const after = await key('one.mha', named);
    t.equal(after.image, before.image);
    t.not(after.label, before.label, `${voxels} belongs to ${named}`);
  }
});

t.test('label files of unlabelled cases are never opened', async (t) => {
  const path = join(folder, 'secret');
  await makePhantomDataset(path, kind, { cases: 3, labeledCases: 3, validationCases: 0, testCases: 0, seed: 5 });
  const labels = (await readdir(join(path, 'labelsTr'))).sort();
  for (const name of labels.slice(1)) await writeFile(join(path, 'labelsTr', name), 'must not be read');
  const id = labels[0]!.replace('.nii.gz', '');
  const plan = makePlan(path, {}, { split: { labeled: [id], validation: [], unlabeled: 'rest' } });
  const { labeled, unlabeled } = await preprocessDatasets(plan, { cacheFolder: null });
  t.same([labeled.length, unlabeled.length], [1, 2]);
});

t.test('errors', async (t) => {
  const path = join(folder, 'errors');
  await makePhantomDataset(path, kind, { cases: 2, labeledCases: 1, validationCases: 0, testCases: 0, seed: 6 });
  const plan = makePlan(path, {}, { split: { labeled: 'labeled' } });
  await writeFile(join(folder, 'file'), '');
  await t.rejects(preprocessDatasets(plan, { cacheFolder: join(folder, 'file', 'cache') }), {
    code: 'VERSEMI_IO_FAILED',
  });
  const full = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  t.equal(writeError('x.case', full).code, 'VERSEMI_DISK_FULL');
  const stop = new AbortController();
  stop.abort();
  await t.rejects(preprocessDatasets(plan, { cacheFolder: null, signal: stop.signal }), {
    code: 'VERSEMI_ABORTED',
  });
  const wrong = { ...plan, tasks: [{ name: 'task', dataset: 'set', labels: [200] }] };
  await t.rejects(preprocessDatasets(wrong, { cacheFolder: null }), {
    code: 'VERSEMI_PLAN_CONTRADICTION',
    details: { field: 'tasks[0].labels' },
  });
});
