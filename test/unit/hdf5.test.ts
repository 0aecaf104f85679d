// HDF5 cases: axis order, datatypes, files that are not what they should be, and the real ones beside their NIfTI copies.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import h5wasm from 'h5wasm/node';
import t from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { readHdf5, withHdf5Contents } from '../../src/datasets/hdf5.js';
import { loadCase } from '../../src/datasets/load-case.js';
import { imageInfo, readVolume } from '../../src/datasets/read-volume.js';
import { failure, noData, realData } from './datasets-support.js';

await h5wasm.ready;

type Data = Parameters<InstanceType<typeof h5wasm.File>['create_dataset']>[0];

function write(file: string, datasets: readonly Data[]): string {
  const hdf5 = new h5wasm.File(file, 'w');
  for (const dataset of datasets) hdf5.create_dataset(dataset);
  hdf5.close();
  return file;
}

/** An array indexed [x, y, z] of shape [2, 3, 4], whose value at [x, y, z] is 100 x + 10 y + z. */
const values = Array.from({ length: 24 }, (_, i) => 100 * Math.floor(i / 12) + 10 * (Math.floor(i / 4) % 3) + (i % 4));
const shape = [2, 3, 4];

t.test('axes: the first index of the array is x', async (t) => {
  const file = write(join(t.testdir(), 'a.h5'), [
    {
      name: 'image',
      data: Float32Array.from(values),
      shape,
      chunks: [1, 2, 3],
      compression: 'gzip',
      compression_opts: 4,
    },
    { name: 'label', data: Uint8Array.from(values), shape },
  ]);
  t.same(await withHdf5Contents(file, ({ names }) => names), ['image', 'label']);
  const volume = await readVolume(file);
  t.same(volume.sizeVoxels, shape);
  t.same([volume.data[0], volume.data[1], volume.data[2], volume.data[6]], [0, 100, 10, 1], 'x runs fastest');
  t.same([volume.spacingMm, volume.affine[0], volume.affine[5]], [[1, 1, 1], 1, 1], 'spacing is taken as 1 mm');
  const spaced = await readVolume(file, { key: 'label', spacingMm: [0.5, 0.6, 0.7] });
  t.type(spaced.data, Uint8Array);
  t.same([spaced.spacingMm, spaced.affine[10]], [[0.5, 0.6, 0.7], 0.7]);
  const info = await imageInfo(file);
  t.match(info, { sizeVoxels: shape, orientation: 'RAS', datatype: 'float32', min: 0, max: 123, shape });
});

t.test('datatypes', async (t) => {
  const types = [Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array];
  const big = BigInt64Array.from(values.map((value) => BigInt(value) - 50n));
  const file = write(join(t.testdir(), 'types.h5'), [
    ...types.map((type) => ({ name: type.name, data: type.from(values), shape })),
    { name: 'int64', data: big, shape },
    { name: 'uint64', data: BigUint64Array.from(big.map((value) => value + 50n)), shape },
    { name: 'beyond', data: big.map((value) => value + 2n ** 60n + 1n), shape },
  ]);
  for (const type of types) {
    const { datatype, volume } = await readHdf5(file, { key: type.name });
    t.equal(volume.data.constructor, type);
    t.equal(datatype, type.name.replace('Array', '').toLowerCase());
    t.equal(volume.data[23], 123);
  }
  const wide = await readHdf5(file, { key: 'int64' });
  t.same([wide.datatype, wide.volume.data[0], wide.volume.data[23]], ['int64', -50, 73]);
  t.type(wide.volume.data, Float64Array);
  t.equal((await readHdf5(file, { key: 'uint64' })).volume.data[23], 123);
  await failure(() => readHdf5(file, { key: 'beyond' }), 'FORMAT_UNSUPPORTED');
});

t.test('what is refused', async (t) => {
  const folder = t.testdir();
  const file = write(join(folder, 'a.h5'), [
    { name: 'raw', data: new Float32Array(24), shape },
    { name: 'flat', data: new Float32Array(24), shape: [4, 6] },
    { name: 'four', data: new Float32Array(24), shape: [1, 2, 3, 4] },
    { name: 'empty', data: new Float32Array(0), shape: [0, 2, 3] },
    { name: 'text', data: ['a', 'b'] },
  ]);
  const missing = await failure(() => readVolume(file), 'FILE_FORMAT');
  t.match(missing.message, /a\.h5, image.*found only .*raw/);
  for (const key of ['flat', 'four', 'empty', 'text'])
    await failure(() => readVolume(file, { key }), 'FORMAT_UNSUPPORTED');
  t.match((await failure(() => readVolume(file, { key: 'four' }), 'FORMAT_UNSUPPORTED')).message, /\[1, 2, 3, 4\]/);
  await failure(() => readVolume(join(folder, 'absent.h5')), 'FILE_NOT_FOUND');

  const group = new h5wasm.File(join(folder, 'group.h5'), 'w');
  group.create_group('image');
  group.close();
  await failure(() => readVolume(join(folder, 'group.h5')), 'FILE_FORMAT');

  const junk = join(folder, 'junk.h5');
  await writeFile(junk, Buffer.alloc(5000, 7));
  t.match((await failure(() => readVolume(junk), 'FILE_FORMAT')).message, /no HDF5 signature/);
  await writeFile(junk, '');
  t.match((await failure(() => readVolume(junk), 'FILE_FORMAT')).message, /empty/);

  const whole = await readFile(file);
  const half = join(folder, 'half.h5');
  await writeFile(half, whole.subarray(0, whole.length >> 1));
  t.match(
    (await failure(() => readVolume(half), 'FILE_TRUNCATED')).message,
    /half\.h5.*expected \d+ bytes, found \d+ bytes/,
  );
});

t.test('a damaged chunk is an error, not zeros', async (t) => {
  const noise = Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i * i));
  const file = write(join(t.testdir(), 'a.h5'), [
    { name: 'image', data: noise, shape: [16, 16, 16], chunks: [16, 16, 16], compression: 'gzip', compression_opts: 4 },
  ]);
  const bytes = await readFile(file);
  const start = bytes.length >> 1;
  await writeFile(file, bytes.fill(0x55, start, start + 2000));
  const error = await failure(() => readVolume(file), 'FILE_CORRUPT');
  t.match(error.message, /a\.h5.*filter/i);
});

const folders = [realData('left-atrium-h5'), realData('left-atrium')];

t.test('real cases equal their NIfTI copies', { skip: folders.includes(undefined) && noData }, async (t) => {
  const hdf5 = await openDataset(folders[0]!);
  const nifti = await openDataset(folders[1]!);
  t.match(hdf5, { format: 'hdf5', labelsDeclared: false });
  t.equal(hdf5.cases.length, 2);
  for (const files of hdf5.cases) {
    const a = await loadCase(hdf5, files);
    const b = await loadCase(nifti, nifti.cases.find(({ id }) => id === files.id)!);
    t.same(a.image.sizeVoxels, b.image.sizeVoxels);
    t.same(Buffer.compare(a.label!.data, b.label!.data), 0, 'labels');
    const worst = a.image.data.reduce((most, value, i) => Math.max(most, Math.abs(value - b.image.data[i]!)), 0);
    t.ok(worst < 1e-6, `images within ${worst}`);
  }
});
