// DICOM series in the forms in which archives and scanners hand them out, what is refused, and labels drawn on them.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zipSync } from 'fflate';
import t from 'tap';
import { placedFacts } from '../../src/datasets/dicom/placed.js';
import { placeSeries, readDicom } from '../../src/datasets/dicom/read-series.js';
import { maskOfSegment, readSegmentation } from '../../src/datasets/dicom/segmentation.js';
import { dicomFiles } from '../../src/datasets/dicom/sources.js';
import { maskOfRoi, readStructureSet } from '../../src/datasets/dicom/structures.js';
import { imageInfo, readVolume } from '../../src/datasets/read-volume.js';
import { findScans } from '../../src/datasets/scan-files.js';
import type { ErrorCode } from '../../src/errors.js';
import { toCanonical } from '../../src/scans/canonical.js';
import { columnNorms } from '../../src/volume/affine.js';
import { failure, noData, realData } from '../unit/datasets-support.js';
import { systemPython } from './python.js';

const script = fileURLToPath(new URL('../../../test/dicom/make_variants.py', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'versemi-dicom-'));
t.teardown(() => spawnSync('rm', ['-rf', folder]));

const python = systemPython('pydicom', 'numpy');
const made =
  python === undefined ? undefined : spawnSync(python, ['-W', 'ignore', script, folder], { encoding: 'utf8' });
const missing =
  made === undefined ? 'python3-pydicom is not here' : /No such file.*(gdcmconv|dcmconv)/.exec(made.stderr)?.[0];
if (made !== undefined && missing === undefined && made.status !== 0) throw new Error(made.stderr);
const skip = missing ?? false;

const [columns, rows, slices] = [21, 16, 9];
const value = (x: number, y: number, z: number) => x * 3 + y * 70 - z * 101 - 200;

function expected(change: (v: number, x: number, y: number, z: number) => number = (v) => v): number[] {
  const result: number[] = [];
  for (let z = 0; z < slices; z++)
    for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) result.push(change(value(x, y, z), x, y, z));
  return result;
}

/** Columns of the affine, RAS+, as make_variants.py places the series. */
const [a, b] = [0.8, 0.6];
const row = [a, b, 0];
const column = [-b * a, a * a, b];
const normal = [
  row[1]! * column[2]! - row[2]! * column[1]!,
  row[2]! * column[0]! - row[0]! * column[2]!,
  row[0]! * column[1]! - row[1]! * column[0]!,
];
const origin = [-50.5, 20.25, 300];
function affine(across = normal.map((v) => v * 2.5)): number[] {
  const lines = [0, 1, 2].map((r) => {
    const sign = r < 2 ? -1 : 1;
    return [row[r]! * 1.25, column[r]! * 0.75, across[r]!, origin[r]!].map((v) => sign * v);
  });
  return [...lines.flat(), 0, 0, 0, 1];
}
const near = (x: readonly number[], y: readonly number[], tolerance = 1e-9) =>
  x.length === y.length && x.every((v, i) => Math.abs(v - y[i]!) <= tolerance);

async function values(path: string, series?: string): Promise<number[]> {
  const { volume, slope, intercept } = await readDicom(path, series);
  return Array.from(volume.data, (v) => v * slope + intercept);
}

t.test('one series in many forms', { skip }, async (t) => {
  const forms: Record<string, number[]> = { 'unsigned-8': expected((v) => Math.floor((v + 1200) / 16)) };
  for (const name of [
    ...[
      'plain',
      'flat',
      'jpeg-lossless',
      'jpeg-ls',
      'jpeg-2000',
      'rle',
      'big-endian',
      'deflated',
      'implicit',
      'unsigned-16',
      'unsigned-12',
      'jpeg-ls-12',
      'jpeg-2000-12',
      'jpeg-lossless-12',
      'bare-explicit',
      'bare-implicit',
      'jpeg-ls-unknown-types',
    ],
    ...[
      'unsigned-12-overlay',
      'signed-12',
      'upper-bits',
      'signed-32',
      'unsigned-32',
      'monochrome1',
      'enhanced',
      'enhanced-rle',
    ],
  ])
    forms[name] = expected();
  for (const name of ['jpeg-lossless-8', 'jpeg-ls-8', 'rle-8']) forms[name] = forms['unsigned-8']!;
  forms['signed-8'] = expected((v) => Math.floor(v / 16) + 20);
  forms['scale-per-slice'] = expected((v, _x, _y, z) => Math.floor(v / 2) * (0.5 + z / 4) + z - 3);
  const lowest = Math.min(...expected().filter((_, i) => i % columns >= 2));
  for (const name of ['padding', 'padding-unsigned']) forms[name] = expected((v, x) => (x < 2 ? lowest : v));
  for (const [name, wanted] of Object.entries(forms)) {
    const path = join(folder, name);
    t.strictSame(await values(path), wanted, `${name}: voxels`);
    const { geometry } = placedFacts(await placeSeries(path), path);
    t.strictSame(geometry.sizeVoxels, [columns, rows, slices], `${name}: size`);
    t.ok(near(geometry.affine, affine()), `${name}: affine`);
  }
  t.strictSame(await values(join(folder, 'rounded')), expected());
  t.ok(
    near((await readDicom(join(folder, 'rounded'))).volume.affine, affine(), 0.06),
    'positions rounded to a tenth of a millimetre',
  );
});

t.test('what was noticed is said', { skip }, async (t) => {
  const notices = async (name: string) => (await readDicom(join(folder, name))).placed.notices.join('; ');
  t.equal(await notices('plain'), '');
  t.match(await notices('padding'), /288 voxels are padding/);
  t.match(await notices('monochrome1'), /MONOCHROME1/);
  t.match(await notices('copied'), /1 files repeat/);
  const tilted = await readDicom(join(folder, 'tilted'));
  t.match(tilted.placed.notices.join(), /tilted by 11\.3 degrees/);
  t.ok(near(tilted.volume.affine, affine(normal.map((v, i) => v * 2.5 + 0.5 * column[i]!))), 'the sheared affine');
  t.strictSame(Array.from(tilted.volume.data), expected());
});

t.test('a series of one slice', { skip }, async (t) => {
  const { volume } = await readDicom(join(folder, 'single'));
  t.strictSame(volume.sizeVoxels, [columns, rows, 1]);
  t.strictSame(Array.from(volume.data), expected().slice(4 * columns * rows, 5 * columns * rows));
  t.ok(Math.abs(volume.spacingMm[2] - 2.5) < 1e-9, 'as thick as the header says');
});

t.test('a file, a zip file, several series', { skip }, async (t) => {
  const flat = join(folder, 'flat');
  t.strictSame(await values(join(flat, 'IM05')), expected(), 'one slice stands for its series');
  t.strictSame(await values(join(folder, 'enhanced', 'enhanced.dcm')), expected());
  const entries = Object.fromEntries(
    readdirSync(flat).map((name) => [`study/${name}`, readFileSync(join(flat, name))]),
  );
  const archive = join(folder, 'study.zip');
  writeFileSync(
    archive,
    zipSync({ ...entries, 'study/readme.txt': Buffer.from('x'), '__MACOSX/._a': Buffer.from('x') }),
  );
  t.strictSame(await values(archive), expected());
  writeFileSync(join(folder, 'cut.zip'), readFileSync(archive).subarray(0, 3000));
  await failure(() => readDicom(join(folder, 'cut.zip')), 'FILE_CORRUPT');
  const two = join(folder, 'two');
  const error = await failure(() => readDicom(two), 'DATASET_INVALID');
  t.match(error.message, /1: CT "[a-z ]+", 21 x 16 x 9, number 3.*2: CT.*--series/);
  t.strictSame(await values(two, '1'), expected());
  t.strictSame(await values(two, 'SOFT'), expected());
  t.match((await failure(() => readDicom(two, 't'), 'DATASET_INVALID')).message, /found 2 of 1:/);
  t.match((await failure(() => readDicom(two, '7'), 'DATASET_INVALID')).message, /found none of 1:/);
  const uid = (await placeSeries(two, 'thin')).series.uid;
  t.equal((await placeSeries(two, uid)).series.description, 'thin slices');
  t.strictSame(
    await values(join(folder, 'scout'), '1'),
    expected(),
    'a scout of the same series is a stack of its own',
  );
  await failure(() => readDicom(join(folder, 'scout')), 'DATASET_INVALID');
});

t.test('refused', { skip }, async (t) => {
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  const cases: readonly [string, ErrorCode, RegExp][] = [
    ['missing', 'VOLUME_INVALID', /every 2\.5 mm, found no slice at \([-\d., ]+\) mm, between .*IM\d\d and .*IM\d\d/],
    ['enhanced-missing', 'VOLUME_INVALID', /no slice at .*between frame 5 of .*frame 1 of|no slice at/],
    ['uneven', 'VOLUME_INVALID', /0\.75 mm before or behind/],
    ['beside', 'VOLUME_INVALID', /3 mm beside its place/],
    ['twice', 'VOLUME_INVALID', /two at \(.*again|two at/],
    ['time', 'VOLUME_INVALID', /two at .*second \d.*Separate what the series holds/s],
    ['cut', 'FILE_TRUNCATED', /\(7FE0,0010\).*672 bytes/],
    ['cut-deflated', 'FILE_CORRUPT', /./],
    ['short-pixels', 'FILE_TRUNCATED', /expected 672 bytes .*, found 632/],
    ['colour', 'FORMAT_UNSUPPORTED', /RGB/],
    ['unknown-syntax', 'FORMAT_UNSUPPORTED', /gdcmconv/],
    ['empty', 'FILE_FORMAT', /a folder of DICOM images/],
    ['labels', 'DATASET_INVALID', /other DICOM objects/],
    ['nowhere', 'FILE_NOT_FOUND', /./],
  ];
  for (const [name, code, message] of cases) {
    const error = await failure(() => readDicom(join(folder, name)), code);
    t.match(error.message, message, `${name}: ${error.message}`);
  }
  const before = (z: number) => [0, 1, 2].map((i) => origin[i]! + z * 2.5 * normal[i]!);
  const error = await failure(() => readDicom(join(folder, 'missing')), 'VOLUME_INVALID');
  const place = /slice at \(([^)]*)\)/.exec(error.message)![1]!.split(', ').map(Number);
  t.ok(near(place, before(4), 2e-3), 'the missing position is named');
});

t.test('segmentations', { skip }, async (t) => {
  const { volume } = await readDicom(join(folder, 'plain'));
  const frames = [
    [2, 6],
    [1, 3],
    [1, 2],
    [2, 0],
  ];
  for (const name of ['binary.dcm', 'turned.dcm', 'fractional.dcm']) {
    const [file] = await dicomFiles(join(folder, 'labels', name));
    const segmentation = await readSegmentation(file!);
    t.strictSame(segmentation.segments, [
      { number: 1, label: 'part 1' },
      { number: 2, label: 'part 2' },
    ]);
    for (const number of [1, 2]) {
      const wanted = expected((_v, x, y, z) =>
        frames.some(([n, slice]) => n === number && slice === z) && (x + 2 * y + 3 * z) % (number + 2) === 0 ? 1 : 0,
      );
      const mask = await maskOfSegment(segmentation, number, volume.sizeVoxels, volume.affine);
      t.strictSame(Array.from(mask), wanted, `${name}: segment ${number}`);
    }
    const shifted = volume.affine.map((v, i) => (i === 3 ? v + 0.4 : v));
    await failure(() => maskOfSegment(segmentation, 1, volume.sizeVoxels, shifted), 'GEOMETRY_MISMATCH');
    await failure(() => maskOfSegment(segmentation, 2, [columns, rows, 5], volume.affine), 'GEOMETRY_MISMATCH');
  }
});

t.test('structure sets', { skip }, async (t) => {
  const { volume, placed } = await readDicom(join(folder, 'plain'));
  const read = async (name: string) => readStructureSet((await dicomFiles(join(folder, 'labels', name)))[0]!);
  const set = await read('outlines.dcm');
  t.strictSame(set.seriesUids, [placed.series.uid]);
  t.strictSame(
    set.rois.map(({ number, name, contours }) => [number, name, contours.length]),
    [[7, 'tumour', 4]],
  );
  const between = (v: number, low: number, high: number) => v > low && v < high;
  const inSquare = (x: number, y: number, [x0, y0, x1, y1]: readonly number[]) =>
    between(x, x0!, x1!) && between(y, y0!, y1!);
  const wanted = expected((_v, x, y, z) => {
    if (z === 4) return inSquare(x, y, [2.5, 3.5, 12.5, 11.5]) && !inSquare(x, y, [5.5, 5.5, 8.5, 8.5]) ? 1 : 0;
    if (z === 5) return inSquare(x, y, [1.5, 1.5, 4.5, 4.5]) ? 1 : 0;
    if (z === 7) return inSquare(x, y, [1.5, 1.5, 9.5, 9.5]) && !inSquare(x, y, [4.5, 4.5, 6.5, 6.5]) ? 1 : 0;
    return 0;
  });
  t.strictSame(Array.from(maskOfRoi(set.rois[0]!, volume.sizeVoxels, volume.affine, 'outlines.dcm')), wanted);
  for (const [name, message] of [
    ['outside.dcm', /one at slice 13/],
    ['across.dcm', /from slice 3\.0 to 5\.0/],
  ] as const) {
    const other = await read(name);
    const error = await failure(
      () => maskOfRoi(other.rois[0]!, volume.sizeVoxels, volume.affine, name),
      'LABEL_INVALID',
    );
    t.match(error.message, message);
  }
});

const real = realData('dicom');
t.test('public series with outlines', { skip: real === undefined && noData }, async (t) => {
  for (const name of ['STS_008/CT', 'STS_008/MR_T1', 'STS_019/CT', 'STS_025/CT']) {
    const path = join(real!, name);
    const { volume, placed } = await readDicom(path);
    const canonical = (data: typeof volume.data) =>
      toCanonical({
        data,
        sizeVoxels: volume.sizeVoxels,
        affine: volume.affine,
        spacingMm: columnNorms(volume.affine),
      });
    const image = toCanonical(await readVolume(`${path}_image.nii.gz`));
    const own = canonical(volume.data);
    t.ok(near(own.affine, image.affine, 2e-5), `${name}: affine`);
    t.ok(
      own.data.every((v, i) => v === image.data[i]),
      `${name}: voxels`,
    );
    const set = await readStructureSet(placed.contents.others[0]!.file);
    const mask = canonical(maskOfRoi(set.rois[0]!, volume.sizeVoxels, volume.affine, name));
    const wanted = toCanonical(await readVolume(`${path}_mask.nii.gz`));
    t.ok(
      mask.data.every((v, i) => v === wanted.data[i]),
      `${name}: mask`,
    );
  }
});

t.test('folders of scans', { skip }, async (t) => {
  const found = async (path: string) =>
    (await findScans([path])).scans.map(({ id, image }) => [id, image.slice(folder.length + 1)]);
  t.strictSame(await found(join(folder, 'flat')), [['flat', 'flat']]);
  mkdirSync(join(folder, 'patients', 'p1', 'image'), { recursive: true });
  for (const name of readdirSync(join(folder, 'flat')))
    copyFileSync(join(folder, 'flat', name), join(folder, 'patients', 'p1', 'image', name));
  t.strictSame(await found(join(folder, 'patients')), [['patients', 'patients/p1/image']]);
  mkdirSync(join(folder, 'patients', 'p2'));
  copyFileSync(join(folder, 'enhanced', 'enhanced.dcm'), join(folder, 'patients', 'p2', 'a file'));
  mkdirSync(join(folder, 'patients', 'outlines'));
  copyFileSync(join(folder, 'labels', 'outlines.dcm'), join(folder, 'patients', 'outlines', 'rs.dcm'));
  t.strictSame(await found(join(folder, 'patients')), [
    ['p1', 'patients/p1'],
    ['p2', 'patients/p2'],
  ]);
  await failure(() => findScans([join(folder, 'labels')]), 'FILE_NOT_FOUND');
  const info = await imageInfo(join(folder, 'flat'));
  t.match(info.series, /^CT "thin slices", 21 x 16 x 9/);
  t.strictSame([info.datatype, info.max], ['int16', Math.max(...expected())]);
  const told: string[] = [];
  await readVolume(join(folder, 'padding'), { onNotice: (text) => told.push(text) });
  t.match(told.join(), /padding: 288 voxels are padding/);
  await failure(() => readVolume(join(folder, 'plain', 'notes.txt')), 'FILE_FORMAT');
});
