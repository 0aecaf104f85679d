// HDF5 files as h5py writes them: types, links, storage elsewhere, sizes that the file cannot hold, names, layouts; and
// thousands of damaged files in one process.
import { lstatSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import h5wasm from 'h5wasm/node';
import t, { type Test } from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase } from '../../src/datasets/load-case.js';
import { imageFacts, imageInfo, readVolume } from '../../src/datasets/read-volume.js';
import { type ErrorCode, isVersemiError } from '../../src/errors.js';
import { RandomStream, streams } from '../../src/random.js';
import { failure, foreignCase, readGolden } from './datasets-support.js';

interface Golden {
  readonly files: readonly {
    readonly name: string;
    readonly gzip: string;
    readonly voxels: readonly number[] | null;
    readonly refused: string | null;
  }[];
}

const { files } = readGolden<Golden>('hdf5.json');
const bytesOf = (name: string) => gunzipSync(Buffer.from(files.find((one) => one.name === name)!.gzip, 'base64'));

/** Voxels in the order of h5py, [x, y, z] with z fastest, from a volume, whose x is fastest. */
function inOrderOfH5py(data: ArrayLike<number>): number[] {
  return Array.from({ length: 24 }, (_, i) => data[Math.floor(i / 12) + 2 * ((Math.floor(i / 4) % 3) + 3 * (i % 4))]!);
}

t.test('what h5py writes', async (t) => {
  const folder = t.testdir();
  await writeFile(join(folder, 'other.raw'), Buffer.alloc(100, 7));
  for (const [i, { name, gzip, voxels, refused }] of files.entries()) {
    const file = join(folder, `${i}.h5`);
    await writeFile(file, gunzipSync(Buffer.from(gzip, 'base64')));
    if (voxels !== null) {
      t.same(inOrderOfH5py((await readVolume(file)).data), voxels, name);
      continue;
    }
    const started = performance.now();
    const error = await readVolume(file).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    t.ok(isVersemiError(error, ...(refused!.split('|') as ErrorCode[])), `${name}: ${String(error)}`);
    t.ok(performance.now() - started < 2000, `${name}: at once`);
    if (name === 'LZF') t.match((error as Error).message, /LZF compression/);
  }
  t.ok(process.memoryUsage().rss < 1e9, `${process.memoryUsage().rss} bytes`);
});

t.test('names of the arrays', async (t) => {
  await h5wasm.ready;
  const folder = t.testdir();
  const write = (name: string, keys: readonly string[]) => {
    const file = new h5wasm.File(join(folder, name), 'w');
    for (const [i, key] of keys.entries())
      file.create_dataset({ name: key, data: new Uint8Array(24).fill(i + 1), shape: [2, 3, 4] });
    file.close();
    return join(folder, name);
  };
  const pairs = { a: ['img', 'mask'], b: ['image', 'label', 'scribble'], c: ['data', 'seg'], d: ['Image', 'extra'] };
  for (const [id, keys] of Object.entries(pairs)) write(`${id}.h5`, keys);
  const dataset = await openDataset(folder);
  t.same(
    dataset.cases.map(({ id, label }) => [id, label !== undefined]),
    [
      ['a', true],
      ['b', true],
      ['c', true],
      ['d', false],
    ],
  );
  for (const files of dataset.cases) {
    const { image, label } = await loadCase(dataset, files);
    t.same([image.data[0], label?.data[0]], [1, files.id === 'd' ? undefined : 2], files.id);
  }
  const several = write('e.h5', ['img', 'data']);
  t.match((await failure(() => openDataset(folder), 'DATASET_INVALID')).message, /e\.h5.*data and img.*--keys/);
  t.match((await failure(() => readVolume(several), 'FILE_FORMAT')).message, /data and img/);
  t.equal((await readVolume(several, { key: 'data' })).data[0], 2);

  const odd = join(folder, 'odd');
  await mkdir(odd);
  write('odd/x.h5', ['raw', 'truth']);
  const unknown = await failure(() => readVolume(join(odd, 'x.h5')), 'FILE_FORMAT');
  t.match(unknown.message, /only raw, truth.*Rename/);
  t.notMatch(unknown.message, /option/, 'no option is named where there is none');
  const keys = { image: 'raw', label: 'truth' };
  const named = await openDataset(odd, { keys });
  const { image, label } = await loadCase(named, named.cases[0]!);
  t.same([image.data[0], label?.data[0]], [1, 2]);
  await failure(() => openDataset(odd, { keys: { image: 'gone', label: 'truth' } }), 'DATASET_INVALID');
});

t.test('layouts of folders', async (t) => {
  await h5wasm.ready;
  const root = t.testdir();
  const write = async (name: string, shape = [2, 3, 4]) => {
    await mkdir(join(root, name, '..'), { recursive: true });
    const file = new h5wasm.File(join(root, name), 'w');
    const data = new Uint8Array(shape.reduce((product, length) => product * length, 1));
    for (const key of ['image', 'label']) file.create_dataset({ name: key, data, shape });
    file.close();
  };
  for (const id of ['p1_frame01', 'p2_frame01']) {
    await write(`ACDC/data/${id}.h5`);
    await write(`ACDC/data/slices/${id}_slice_0.h5`, [3, 4]);
    await write(`BraTS/data/${id}.h5`);
  }
  await write('one/data/p1.h5');
  await write('mixed/p1.h5');
  await write('mixed/p1_slice_0.h5', [3, 4]);
  await write('LA/P1/mri_norm2.h5');
  await write('LA/P2/mri_norm2.h5');
  await write('again/a/1.h5');
  await write('again/a/2.h5');
  await write('again/b/1.h5');
  const ids = async (name: string) => (await openDataset(join(root, name))).cases.map(({ id }) => id);
  for (const name of ['ACDC', 'ACDC/data', 'BraTS']) t.same(await ids(name), ['p1_frame01', 'p2_frame01'], name);
  t.same(await ids('one'), ['p1']);
  t.same(await ids('mixed'), ['p1']);
  t.same(await ids('LA'), ['P1', 'P2']);
  t.same(await ids('again'), ['a_1', 'a_2', 'b_1']);
  const leftOut = async (name: string) =>
    (await openDataset(join(root, name))).leftOut?.map(({ file, reason }) => [basename(file), reason]);
  t.same(await leftOut('ACDC/data'), [['slices', 'a folder of 2-D slices']]);
  t.same(await leftOut('mixed'), [['p1_slice_0.h5', 'a 2-D slice']]);
  if (process.platform !== 'win32') {
    await mkdir(join(root, 'linked'));
    await symlink(join(root, 'LA', 'P1'), join(root, 'linked', 'CASE'));
    await symlink(join(root, 'LA', 'P2', 'mri_norm2.h5'), join(root, 'linked', 'P2.h5'));
    t.same((await ids('linked')).sort(), ['CASE', 'P2']);
  }
});

t.test('thousands of damaged files, then a good one', async (t) => {
  const folder = t.testdir();
  const bases = ['<f4', 'latest format, gzip, shuffle, checksum', 'earliest format, gzip', 'LZF', 'external link'].map(
    bytesOf,
  );
  const file = join(folder, 'odd.h5');
  let refused = 0;
  for (let round = 0; round < 5000; round++) {
    const random = new RandomStream(7, streams.test, round);
    const bytes = Buffer.from(bases[round % bases.length]!);
    for (let change = random.integer(6); change >= 0; change--)
      bytes[8 + random.integer(bytes.length - 8)] = random.integer(256);
    await writeFile(file, bytes);
    try {
      await imageFacts(file);
      await readVolume(file);
    } catch (error) {
      refused++;
      if (!isVersemiError(error)) t.fail(`round ${round}: ${String((error as Error)?.stack ?? error)}`);
    }
  }
  t.ok(refused > 1000, `${refused} were refused`);
  await writeFile(file, bytesOf('<f4'));
  t.equal((await readVolume(file)).data[1], 81);
  t.ok(process.memoryUsage().rss < 1.5e9, `${process.memoryUsage().rss} bytes`);
});

for (const [name, check] of Object.entries({
  '01-hdf5-big-endian': async (t: Test, folder: string) => {
    const [big, little] = await Promise.all([imageInfo(join(folder, 'c0.h5')), imageInfo(join(folder, 'le', 'c0.h5'))]);
    t.same([big.min, big.max], [18, 145]);
    t.equal(big.mean, little.mean);
  },
  '12-ssl4mis-layout': async (t: Test, folder: string) => {
    for (const name of ['ACDC', 'ACDC/data', 'BraTS2019'])
      t.equal((await openDataset(join(folder, name))).cases.length, 2);
  },
  '13-hdf5-symlinked-case-folder': async (t: Test, folder: string) => {
    // Where a copy of the files turned the link into a file, there is nothing to try.
    if (!lstatSync(join(folder, 'LA', 'CASE0')).isSymbolicLink()) return;
    t.same(
      (await openDataset(join(folder, 'LA'))).cases.map(({ id }) => id),
      ['CASE0'],
    );
  },
  '17-hdf5-lzf-and-float16-messages': async (t: Test, folder: string) => {
    const error = await failure(() => imageInfo(join(folder, 'lzf', 'c0.h5')), 'FORMAT_UNSUPPORTED');
    t.match(error.message, /LZF compression/);
    t.notMatch(error.message, /__w/);
    t.ok((await imageInfo(join(folder, 'half', 'c0.h5'))).max > 0);
  },
  '18-hdf5-other-keys': async (t: Test, folder: string) => {
    t.ok((await imageInfo(join(folder, 'c0.h5'))).max > 0);
  },
})) {
  const folder = foreignCase(name);
  t.test(name, { skip: folder === undefined }, (t) => check(t, folder!));
}
