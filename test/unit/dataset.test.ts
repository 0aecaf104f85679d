// Datasets on disk: Decathlon, nnU-Net, HDF5 folders, plain folders; what is wrong with them; loading and checking cases.
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import h5wasm from 'h5wasm/node';
import t from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { channelIndex, loadCase } from '../../src/datasets/load-case.js';
import type { Dataset } from '../../src/datasets/types.js';
import { failure, niftiBytes, noData, realData, writeTree } from './datasets-support.js';

const zeros = niftiBytes({ voxels: new Uint8Array(24) });
const image = niftiBytes();
const label = niftiBytes({ voxels: Uint8Array.from({ length: 24 }, (_, i) => i % 3) });
const labels = { 0: 'background', 1: 'liver', 2: 'tumour' };

const decathlon = {
  name: 'livers',
  description: 'three livers',
  licence: 'CC0',
  reference: 'nobody',
  modality: { 0: 'CT' },
  labels,
  training: [
    { image: './imagesTr/a.nii.gz', label: './labelsTr/a.nii.gz' },
    { image: './imagesTr/b.nii.gz' },
    './imagesTr/c.nii.gz',
    './imagesTr/d.nii.gz',
  ],
  test: [
    './imagesTs/e.nii.gz',
    { image: './imagesTs/f.nii.gz', label: './labelsTs/f.nii.gz' },
    './imagesTs/absent.nii.gz',
  ],
};

const files = {
  'imagesTr/a.nii.gz': gzipSync(image),
  'labelsTr/a.nii.gz': gzipSync(label),
  'imagesTr/b.nii.gz': gzipSync(image),
  'labelsTr/b.nii.gz': gzipSync(label),
  'imagesTr/c.nii.gz': gzipSync(image),
  'labelsTr/c.nii.gz': gzipSync(label),
  'imagesTr/d.nii.gz': gzipSync(image),
  'imagesTs/e.nii.gz': gzipSync(image),
  'imagesTs/f.nii.gz': gzipSync(image),
  'labelsTs/f.nii.gz': gzipSync(label),
};

const table = (dataset: Dataset) =>
  dataset.cases.map(({ id, label }) => (label === undefined ? id : `${id}+`)).join(' ');

t.test('Decathlon', async (t) => {
  const folder = await writeTree(t.testdir(), { 'dataset.json': decathlon, ...files });
  const dataset = await openDataset(folder);
  t.match(dataset, {
    name: 'livers',
    folder,
    format: 'decathlon',
    labels,
    labelsDeclared: true,
    modalities: ['CT'],
    description: 'three livers',
    licence: 'CC0',
    reference: 'nobody',
  });
  t.equal(table(dataset), 'a+ b c+ d', 'no "label" means unlabelled; a bare path takes the label of the same name');
  t.same(
    dataset.test.map(({ id, label }) => [id, label !== undefined]),
    [
      ['e', false],
      ['f', true],
    ],
  );
  t.same(await openDataset(join(folder, 'dataset.json')), dataset, 'dataset.json itself will do');
  t.equal((await openDataset(folder, { name: 'mine' })).name, 'mine');
});

t.test('descriptions that are wrong', async (t) => {
  const folder = t.testdir();
  const wrong = async (changes: object, field: string, code: Parameters<typeof failure>[1] = 'DATASET_INVALID') => {
    await writeTree(folder, { ...files, 'dataset.json': { ...decathlon, ...changes } });
    const error = await failure(() => openDataset(folder), code);
    t.ok(error.message.includes(folder), 'names the file');
    t.ok(error.message.includes(field), `${error.message} names ${field}`);
  };
  await wrong({ labels: {} }, 'labels');
  await wrong({ labels: ['background'] }, 'labels');
  await wrong({ labels: { background: 0, liver: 300 } }, 'liver');
  await wrong({ labels: { background: 0, liver: 1.5 } }, 'liver');
  await wrong({ labels: { background: 0, liver: 1, kidney: 1 } }, '["liver","kidney"]');
  await wrong({ modality: { 1: 'CT' } }, 'modality');
  await wrong({ modality: 'CT' }, 'modality');
  await wrong({ training: 'all' }, 'training');
  await wrong({ training: [{ label: 'x' }] }, 'training[0]');
  await wrong({ training: [{ image: 'a', label: 3 }] }, 'training[0]');
  await wrong({ training: ['./imagesTr/a.nii.gz', './imagesTs/../imagesTr/a.nii.gz'] }, 'case a');
  await wrong({ spacingMm: [1, 2] }, 'spacingMm');
  await wrong(
    { training: ['./imagesTr/a.nii.gz', './imagesTr/x.nii.gz', './imagesTr/y.nii.gz'] },
    '1 more missing',
    'FILE_NOT_FOUND',
  );
  await wrong(
    { training: [{ image: './imagesTr/a.nii.gz', label: './labelsTr/x.nii.gz' }] },
    'label of case a',
    'FILE_NOT_FOUND',
  );
  for (const text of ['{ "name": ', '[]', 'null']) {
    await writeTree(folder, { 'dataset.json': text });
    await failure(() => openDataset(folder), 'DATASET_INVALID');
  }
  await failure(() => openDataset(join(folder, 'absent')), 'FILE_NOT_FOUND');
  await failure(() => openDataset(join(folder, 'imagesTr', 'a.nii.gz')), 'DATASET_INVALID');
  await rm(join(folder, 'dataset.json'));
  await failure(() => openDataset(folder, { format: 'decathlon' }), 'DATASET_INVALID');
  await failure(() => openDataset(folder, { format: 'hdf5' }), 'DATASET_INVALID');
});

t.test('nnU-Net', async (t) => {
  const description = {
    channel_names: { 0: 'T1', 1: 'T2' },
    labels: { background: 0, 'whole tumour': [1, 2], core: 2 },
    numTraining: 2,
    file_ending: '.nii',
  };
  const folder = await writeTree(t.testdir(), {
    'dataset.json': description,
    'imagesTr/p_1_0000.nii': image,
    'imagesTr/p_1_0001.nii': zeros,
    'imagesTr/p_2_0000.nii': image,
    'imagesTr/p_2_0001.nii': image,
    'imagesTr/._p_2_0001.nii': 'macOS',
    'labelsTr/p_1.nii': label,
    'imagesTs/q_0000.nii': image,
    'imagesTs/q_0001.nii': image,
  });
  const dataset = await openDataset(folder);
  t.match(dataset, {
    format: 'nnunet',
    modalities: ['T1', 'T2'],
    labels: { 0: 'background', 1: 'whole tumour', 2: 'core' },
  });
  t.equal(table(dataset), 'p_1+ p_2');
  t.same(
    dataset.test.map(({ id }) => id),
    ['q'],
  );
  t.equal((await loadCase(dataset, dataset.cases[0]!)).image.data[5], 5);
  t.equal((await loadCase(dataset, dataset.cases[0]!, { channel: 't2' })).image.data[5], 0, 'modality by name');
  t.equal((await loadCase(dataset, dataset.cases[0]!, { channel: 1 })).image.data[5], 0, 'modality by number');
  for (const channel of [2, -1, 'FLAIR'])
    t.match((await failure(() => channelIndex(dataset, channel), 'MODALITY_MISSING')).message, /0 \(T1\) or 1 \(T2\)/);

  await rm(join(folder, 'imagesTr', 'p_2_0001.nii'));
  const missing = await failure(() => openDataset(folder), 'MODALITY_MISSING');
  t.match(missing.message, /p_2_0001\.nii.*modality 1 \(T2\) of case p_2/);

  await writeTree(folder, { 'imagesTr/p_2_0001.nii': image, 'imagesTr/p_3.nii': image });
  t.match((await failure(() => openDataset(folder), 'DATASET_INVALID')).message, /p_3\.nii.*_0000\.nii/);

  const dataset2 = { P: { images: ['imagesTr/p_1_0000.nii', 'imagesTr/p_1_0001.nii'], label: 'labelsTr/p_1.nii' } };
  await writeTree(folder, { 'dataset.json': { ...description, dataset: dataset2 } });
  t.equal(table(await openDataset(folder)), 'P+', 'files listed in dataset.json');
  await writeTree(folder, {
    'dataset.json': { ...description, dataset: { P: { images: ['imagesTr/p_1_0000.nii'] } } },
  });
  await failure(() => openDataset(folder), 'MODALITY_MISSING');
  await writeTree(folder, { 'dataset.json': { ...description, file_ending: '.nii.gz' } });
  await failure(() => openDataset(folder), 'DATASET_INVALID');
});

t.test('nnU-Net, first version: dataset.json names files without _0000', async (t) => {
  const folder = await writeTree(t.testdir(), {
    'dataset.json': { ...decathlon, training: [{ image: './imagesTr/a.nii.gz', label: './labelsTr/a.nii.gz' }] },
    'imagesTr/a_0000.nii.gz': gzipSync(image),
    'labelsTr/a.nii.gz': gzipSync(label),
  });
  const dataset = await openDataset(folder);
  t.equal(dataset.format, 'nnunet');
  t.equal(table(dataset), 'a+');
});

t.test('folders without dataset.json', async (t) => {
  const folder = await writeTree(t.testdir(), {
    'b.nii': image,
    'a.nii.gz': gzipSync(image),
    '.hidden.nii': image,
    'notes.txt': '',
  });
  const plain = await openDataset(folder);
  t.match(plain, { format: 'images', labelsDeclared: false });
  t.equal(table(plain), 'a b', 'unlabelled images');
  await writeTree(folder, {
    'images/x.nii': image,
    'images/y.nii.gz': gzipSync(image),
    'labels/x.nii.gz': gzipSync(label),
  });
  t.equal(table(await openDataset(folder)), 'x+ y');
  const loaded = await loadCase(plain, plain.cases[0]!);
  t.equal(loaded.label, undefined);
  const empty = await writeTree(join(folder, 'empty'), { 'notes.txt': '' });
  t.match(
    (await failure(() => openDataset(empty), 'DATASET_INVALID')).message,
    /HDF5 files, NIfTI files or DICOM series/,
  );
});

t.test('folders of HDF5 cases', async (t) => {
  await h5wasm.ready;
  const folder = await writeTree(t.testdir(), { 'P2/notes.txt': '' });
  const write = (name: string, keys: readonly string[]) => {
    const file = new h5wasm.File(join(folder, name), 'w');
    for (const key of keys) file.create_dataset({ name: key, data: new Uint8Array(24), shape: [2, 3, 4] });
    file.close();
  };
  write('P1.h5', ['image', 'label']);
  write('P2/mri_norm2.h5', ['image']);
  const dataset = await openDataset(folder);
  t.equal(table(dataset), 'P1+ P2');
  t.same((await loadCase(dataset, dataset.cases[0]!)).image.spacingMm, [1, 1, 1]);
  await writeTree(folder, { 'dataset.json': { labels: { 0: 'background', 1: 'atrium' }, spacingMm: [0.6, 0.6, 1.2] } });
  const described = await openDataset(folder);
  t.match(described, { format: 'hdf5', labels: { 1: 'atrium' }, labelsDeclared: true });
  const { image, label } = await loadCase(described, described.cases[0]!);
  t.same(
    [image.spacingMm, label?.spacingMm],
    [
      [0.6, 0.6, 1.2],
      [0.6, 0.6, 1.2],
    ],
  );
  write('P3.h5', ['voxels']);
  t.match((await failure(() => openDataset(folder), 'DATASET_INVALID')).message, /P3\.h5.*found voxels/);
});

t.test('a loaded case is canonical', async (t) => {
  const srow = [0, 0, -3, 9, -2, 0, 0, 4, 0, 1, 0, 0]; // x: backwards along stored z; y: backwards along x; z: along y
  const folder = await writeTree(t.testdir(), {
    'images/a.nii': niftiBytes({
      srow,
      datatype: 4,
      voxels: new Uint8Array(Int16Array.from({ length: 24 }, (_, i) => -i).buffer),
    }),
    'labels/a.nii': niftiBytes({
      srow,
      datatype: 16,
      voxels: new Uint8Array(Float32Array.from({ length: 24 }, (_, i) => i % 2).buffer),
    }),
  });
  const dataset = await openDataset(folder);
  const { id, image, label } = await loadCase(dataset, dataset.cases[0]!);
  t.equal(id, 'a');
  t.same(
    [image.sizeVoxels, image.spacingMm],
    [
      [4, 2, 3],
      [3, 2, 1],
    ],
  );
  t.type(image.data, Float32Array);
  t.type(label?.data, Uint8Array);
  t.equal(image.data[0], -(1 + 6 * 3), 'the last voxel along stored z and x');
  t.equal(label?.data[0], 1);
  t.match(image.stored, { sizeVoxels: [2, 3, 4], axes: [2, 0, 1], flipped: [true, true, false] });
  t.ok(image.file?.endsWith('a.nii'));
});

t.test('cases that are wrong', async (t) => {
  const floats = (change: (values: Float32Array) => void) => {
    const values = Float32Array.from({ length: 24 }, (_, i) => i % 3);
    change(values);
    return niftiBytes({ datatype: 16, voxels: new Uint8Array(values.buffer) });
  };
  const cases = {
    nan: [floats((v) => v.fill(Number.NaN, 9, 11).fill(Number.NEGATIVE_INFINITY, 20, 21)), label],
    value: [image, niftiBytes({ voxels: new Uint8Array(24).fill(7, 2, 5) })],
    fraction: [image, floats((v) => v.fill(0.5, 3, 4))],
    negative: [image, niftiBytes({ datatype: 256, voxels: new Uint8Array(24).fill(255, 3, 4) })],
    large: [image, niftiBytes({ datatype: 512, voxels: new Uint8Array(48).fill(2) })],
    nanlabel: [image, floats((v) => v.fill(Number.NaN, 3, 4))],
    size: [image, niftiBytes({ dim: [3, 3, 2, 4, 1, 1, 1, 1], voxels: new Uint8Array(24) })],
    spacing: [image, niftiBytes({ srow: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0], voxels: new Uint8Array(24) })],
    truncated: [image.subarray(0, 360), label],
    channels: [
      niftiBytes({ dim: [4, 2, 3, 2, 2, 1, 1, 1] }),
      niftiBytes({ dim: [3, 2, 3, 2, 1, 1, 1, 1], voxels: new Uint8Array(12) }),
    ],
  };
  const folder = await writeTree(t.testdir(), {
    'dataset.json': {
      modality: { 0: 'a', 1: 'b' },
      labels,
      training: Object.keys(cases).map((id) => ({ image: `images/${id}.nii`, label: `labels/${id}.nii` })),
    },
    ...Object.fromEntries(
      Object.entries(cases).flatMap(([id, [i, l]]) => [
        [`images/${id}.nii`, i!],
        [`labels/${id}.nii`, l!],
      ]),
    ),
  });
  const dataset = await openDataset(folder);
  const load = (id: string, channel?: number) =>
    loadCase(dataset, dataset.cases.find((one) => one.id === id)!, channel === undefined ? {} : { channel });
  t.match((await failure(() => load('nan'), 'VOXELS_NOT_FINITE')).message, /nan\.nii.*3 of 24.*\[1, 1, 1\] \(NaN\)/);
  t.match(
    (await failure(() => load('value'), 'LABEL_INVALID')).message,
    /labels.value\.nii.*2 \(tumour\).*7 in 3 voxels/,
  );
  t.match((await failure(() => load('fraction'), 'LABEL_INVALID')).message, /such as 0\.5/);
  t.match((await failure(() => load('negative'), 'LABEL_INVALID')).message, /such as -1/);
  t.match((await failure(() => load('large'), 'LABEL_INVALID')).message, /such as 514/);
  t.match((await failure(() => load('nanlabel'), 'LABEL_INVALID')).message, /such as NaN/);
  t.match(
    (await failure(() => load('size'), 'GEOMETRY_MISMATCH')).message,
    /images.size\.nii and .*labels.size\.nii.*2 x 3 x 4.*3 x 2 x 4/,
  );
  t.match((await failure(() => load('spacing'), 'GEOMETRY_MISMATCH')).message, /spacingMm/);
  await failure(() => load('truncated'), 'FILE_TRUNCATED');
  t.match((await failure(() => load('value', 1), 'MODALITY_MISSING')).message, /value\.nii, channel.*one volume/);
  const second = await load('channels', 1);
  t.same([second.image.sizeVoxels, second.image.data[0]], [[2, 3, 2], 12], 'a volume of a 4-D file');
});

t.test('the real datasets open', async (t) => {
  for (const name of ['hippocampus', 'left-atrium', 'cardiac-cine', 'soft-tissue-sarcoma-ct']) {
    const folder = realData(name);
    t.test(name, { skip: folder === undefined && noData }, async (t) => {
      const dataset = await openDataset(folder!);
      const { name: expectedName, training } = JSON.parse(await readFile(join(folder!, 'dataset.json'), 'utf8'));
      t.ok(training.length > 0);
      t.equal(dataset.cases.length, training.length);
      t.equal(dataset.name, expectedName);
      for (const one of [dataset.cases[0]!, dataset.cases[1]!, dataset.cases.at(-1)!]) {
        const { image, label } = await loadCase(dataset, one);
        t.ok(
          label?.data.some((value) => value > 0),
          `${one.id} ${image.sizeVoxels}`,
        );
      }
    });
  }
});
