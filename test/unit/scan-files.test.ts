// What a person means by the files and folders that are named for prediction.
import { mkdir, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import h5wasm from 'h5wasm/node';
import t, { type Test } from 'tap';
import { openScan } from '../../src/datasets/load-case.js';
import { readVolume } from '../../src/datasets/read-volume.js';
import { type FindScansOptions, findScans, type ScanFiles, scanSource } from '../../src/datasets/scan-files.js';
import { failure, niftiBytes, writeTree } from './datasets-support.js';

const image = niftiBytes();
/** Two volumes, the second of which holds 24 to 47. */
const two = niftiBytes({ dim: [4, 2, 3, 4, 2, 1, 1, 1], voxels: Uint8Array.from({ length: 48 }, (_, i) => i) });

const name = ({ id, image: file, modalityFiles }: ScanFiles) =>
  modalityFiles === undefined ? `${id}: ${basename(file)}` : `${id}: ${[...modalityFiles.keys()].join(' ')}`;

async function expectScans(
  t: Test,
  paths: string | readonly string[],
  scans: readonly string[],
  leftOut: readonly string[] = [],
  options: FindScansOptions = {},
) {
  const found = await findScans(typeof paths === 'string' ? [paths] : paths, options);
  t.same(found.scans.map(name).sort(), [...scans].sort());
  t.same(
    found.leftOut.map(({ file }) => basename(file)),
    leftOut,
  );
  return found.scans;
}

function writeHdf5(file: string, shape: readonly number[] = [2, 3, 4], key = 'image'): void {
  const hdf5 = new h5wasm.File(file, 'w');
  const data = new Uint8Array(shape.reduce((product, length) => product * length, 1));
  hdf5.create_dataset({ name: key, data, shape: [...shape] });
  hdf5.close();
}

t.test('a folder of images', async (t) => {
  const folder = await writeTree(t.testdir(), {
    'a.nii.gz': image,
    '._a.nii.gz': 'resource fork',
    '.DS_Store': 'x',
    'b.nii/b.nii': image,
    'c.hdr': image,
    'c.img': image,
    'd.mgz': 'x',
    'notes.txt': 'x',
    'old/a_mask.nii.gz': image,
  });
  await symlink(join(folder, 'gone.nii'), join(folder, 'e.nii'));
  await expectScans(t, folder, ['a: a.nii.gz', 'b: b.nii', 'c: c.hdr', 'e: e.nii'], ['d.mgz']);
  const files = ['a.nii.gz', 'c.img', 'c.hdr'].map((file) => join(folder, file));
  await expectScans(t, [...files, files[0]!], ['a: a.nii.gz', 'c: c.hdr']);
  const [first] = await expectScans(
    t,
    [folder, files[0]!],
    ['a: a.nii.gz', 'b: b.nii', 'c: c.hdr', 'e: e.nii'],
    ['d.mgz'],
  );
  t.equal(first?.id, 'a');
});

t.test('folders in a folder', async (t) => {
  const cases = await writeTree(join(t.testdir(), 'cases'), {
    'p1/image.nii.gz': image,
    'p1/label.nii.gz': image,
    'p2/image.nii.gz': image,
    'p3/other.nii': image,
    'p4/t1.nii': image,
    'p4/t2.nii': image,
    'out/x.nii': image,
  });
  await expectScans(t, cases, ['p1: image.nii.gz', 'p2: image.nii.gz', 'other: other.nii'], ['p4'], {
    except: join(cases, 'out'),
  });
  const wrapped = await writeTree(join(t.testdir(), 'wrapped'), { 'scans/a.nii': image, 'scans/b.nii': image });
  await expectScans(t, wrapped, ['a: a.nii', 'b: b.nii']);
  const empty = await writeTree(join(t.testdir(), 'empty'), { 'x/t1.nii': image, 'x/t2.nii': image, 'y/a.mgz': 'x' });
  await mkdir(join(empty, 'z'));
  await expectScans(t, empty, ['t1: t1.nii', 't2: t2.nii']);
  const none = await writeTree(join(t.testdir(), 'none'), { 'a.mgz': 'x' });
  t.match((await failure(() => findScans([none]), 'FILE_NOT_FOUND')).message, /a\.mgz \(a format that is not read\)/);
  await failure(() => findScans([join(none, 'nowhere')]), 'FILE_NOT_FOUND');
});

t.test('modalities in files of their own', async (t) => {
  const folder = await writeTree(t.testdir(), {
    'raw/a_0000.nii': image,
    'raw/a_0001.nii': image,
    'raw/b_0001.nii': image,
    'raw/c.nii': image,
    'runs/case_0001.nii': image,
    'runs/case_0002.nii': image,
    'many/case_0000.nii': image,
    'many/case_0011.nii': image,
  });
  const raw = join(folder, 'raw');
  const scans = await expectScans(t, raw, ['a: 0 1', 'b: 1', 'c: c.nii']);
  const [a, b, c] = ['a', 'b', 'c'].map((id) => scans.find((scan) => scan.id === id)!);
  const choose = (scan: ScanFiles | undefined, channel: number | string, asked = false) =>
    basename(scanSource(scan!, { channel, asked }).file);
  t.equal(choose(a, 0), 'a_0000.nii');
  t.equal(choose(a, 1), 'a_0001.nii');
  t.equal(choose(b, 1, true), 'b_0001.nii');
  t.equal(choose(c, 1), 'c.nii', 'one volume without a number is what the model wants');
  t.match((await failure(() => choose(b, 0), 'MODALITY_MISSING')).message, /modality 0, as the model.*b_0001\.nii/);
  await failure(() => choose(a, 'T2'), 'MODALITY_MISSING');
  await expectScans(t, join(folder, 'runs'), ['case_0001: case_0001.nii', 'case_0002: case_0002.nii']);
  await expectScans(t, join(folder, 'many'), ['case_0000: case_0000.nii', 'case_0011: case_0011.nii']);
  const all = ['a_0000: a_0000.nii', 'a_0001: a_0001.nii', 'b_0001: b_0001.nii', 'c: c.nii'];
  await expectScans(t, raw, all, [], { eachFile: true });
  // Named one by one, the names mean the same.
  const [named] = await expectScans(t, join(raw, 'a_0001.nii'), ['a: 1']);
  await failure(() => choose(named, 0), 'MODALITY_MISSING');

  const set = await writeTree(join(folder, 'set'), {
    'dataset.json': { channel_names: { 0: 'T1', 1: 'FLAIR' }, labels: { background: 0, x: 1 }, file_ending: '.nii' },
    'imagesTs/d_0000.nii': image,
    'imagesTs/d_0001.nii': image,
  });
  for (const path of [set, join(set, 'imagesTs')]) {
    const [d] = await expectScans(t, path, ['d: 0 1']);
    t.equal(choose(d, 'flair', true), 'd_0001.nii');
  }
});

t.test('files of several volumes', async (t) => {
  const folder = await writeTree(t.testdir(), { 'a.nii': two, 'b.nii': image });
  const [a, b] = (await findScans([folder])).scans;
  const first = async (scan: ScanFiles | undefined, channel: number | string, asked: boolean) => {
    const { file, options } = scanSource(scan!, { channel, asked });
    return (await readVolume(file, options)).data[0];
  };
  t.equal(await first(a, 0, false), 0);
  t.equal(await first(a, 1, false), 24);
  t.equal(await first(a, 1, true), 24);
  t.equal(await first(b, 1, false), 0, 'a plan for several volumes takes a file of one');
  await failure(() => first(b, 1, true), 'MODALITY_MISSING');
  await failure(() => first(a, 2, false), 'MODALITY_MISSING');
  t.match(
    (await failure(() => first(a, 'T2', false), 'FORMAT_UNSUPPORTED')).message,
    /--channel 0 to 1 of versemi predict/,
  );
  await failure(() => first(a, 'T2', true), 'MODALITY_MISSING');
});

t.test('HDF5: spacing, layouts, damaged files', async (t) => {
  await h5wasm.ready;
  const folder = await writeTree(t.testdir(), {
    'set/dataset.json': { labels: { 0: 'background', 1: 'x' }, spacingMm: [0.5, 0.6, 0.7] },
    'set/data/x.txt': '',
    'set/a_slices/x.txt': '',
    'bare/bad.h5': 'no HDF5 at all',
  });
  const set = join(folder, 'set');
  writeHdf5(join(set, 'data', 'a.h5'));
  writeHdf5(join(set, 'data', 'b.h5'));
  writeHdf5(join(set, 'a_slices', 'a_1.h5'), [3, 4]);
  for (const path of [set, join(set, 'data'), join(set, 'data', 'a.h5')]) {
    const [a] = (await findScans([path])).scans;
    t.same([a?.id, a?.spacingMm], ['a', [0.5, 0.6, 0.7]], path);
    const { file, options } = scanSource(a!, { channel: 0, asked: false });
    t.same((await openScan(file, options)).spacingMm, [0.5, 0.6, 0.7]);
  }
  await expectScans(t, set, ['a: a.h5', 'b: b.h5'], ['a_slices']);
  writeHdf5(join(folder, 'bare', 'good.h5'));
  const [bad, good] = await expectScans(t, join(folder, 'bare'), ['bad: bad.h5', 'good: good.h5']);
  t.equal(good?.spacingMm, undefined);
  await failure(() => openScan(bad!.image), 'FILE_FORMAT');
});

t.test('datasets, as far as their files are there', async (t) => {
  const labels = { background: 0, x: 1 };
  const decathlon = await writeTree(join(t.testdir(), 'decathlon'), {
    'dataset.json': {
      modality: { 0: 'T2', 1: 'ADC' },
      labels: { 0: 'background', 1: 'x' },
      training: [
        { image: './imagesTr/a.nii', label: './labelsTr/a.nii' },
        { image: './imagesTr/gone.nii', label: './labelsTr/gone.nii' },
      ],
      test: ['./imagesTs/t.nii'],
    },
    'imagesTr/a.nii': two,
    'imagesTs/t.nii': two,
  });
  const [a] = await expectScans(t, decathlon, ['a: a.nii', 'gone: gone.nii', 't: t.nii']);
  t.equal(scanSource(a!, { channel: 'ADC', asked: false }).options.channelOfSeveral, 1);
  t.equal(scanSource(a!, { channel: 'adc', asked: true }).options.channel, 1);
  const nnunet = await writeTree(join(t.testdir(), 'nnunet'), {
    'dataset.json': { channel_names: { 0: 'T1', 1: 'T2' }, labels, file_ending: '.nii' },
    'imagesTr/a_0000.nii': image,
    'imagesTr/a_0001.nii': image,
    'imagesTr/b_0000.nii': image,
    'imagesTr/odd.nii': image,
    'labelsTr/z.nii': image,
  });
  const scans = await expectScans(t, nnunet, ['a: 0 1', 'b: 0 1'], ['odd.nii']);
  const b = scans.find(({ id }) => id === 'b')!;
  t.equal(basename(scanSource(b, { channel: 0, asked: false }).file), 'b_0000.nii');
  t.match(
    (await failure(() => scanSource(b, { channel: 1, asked: false }), 'MODALITY_MISSING')).message,
    /found 0 \(b_0/,
  );
  const layout = await writeTree(join(t.testdir(), 'layout'), { 'images/a.nii': image, 'labels/a.nii': image });
  await expectScans(t, layout, ['a: a.nii']);
  const outside = await writeTree(join(t.testdir(), 'outside'), {
    'dataset.json': { labels: { 0: 'background' }, training: [{ image: '../layout/images/a.nii' }] },
  });
  t.match(
    (await failure(() => findScans([outside]), 'DATASET_INVALID')).message,
    /--files-outside of versemi plan and predict/,
  );
  await expectScans(t, outside, ['a: a.nii'], [], { filesOutside: true });
});
