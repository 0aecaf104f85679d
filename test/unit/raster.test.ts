// NRRD and MetaImage: files of ITK and teem, axes beside those of space, what is refused, damaged files, and what is written.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import t from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase } from '../../src/datasets/load-case.js';
import { writeNrrd } from '../../src/datasets/nrrd-file.js';
import { imageFacts, imageInfo, readVolume } from '../../src/datasets/read-volume.js';
import type { ErrorCode } from '../../src/errors.js';
import { columnNorms } from '../../src/volume/affine.js';
import { failure, noData, readGolden, realData, writeTree } from './datasets-support.js';

interface Golden {
  readonly sizeVoxels: readonly [number, number, number];
  readonly affine: readonly number[];
  readonly cases: Record<string, { open: string; type: string; files: Record<string, string> }>;
}

const golden = readGolden<Golden>('raster.json');
const [sizeX, sizeY, sizeZ] = golden.sizeVoxels;
const count = sizeX * sizeY * sizeZ;

/** Voxels of the golden files in stored order. */
function voxels(type: string): number[] {
  const value = (i: number) => (i % sizeX) + 5 * (Math.floor(i / sizeX) % sizeY) + 20 * Math.floor(i / (sizeX * sizeY));
  return Array.from({ length: count }, (_, i) => value(i) - (type === 'uint8' ? 0 : 50));
}

const near = (a: readonly number[], b: readonly number[], tolerance: number) =>
  a.length === b.length && a.every((value, i) => Math.abs(value - b[i]!) <= tolerance);

t.test('files of ITK and teem', async (t) => {
  for (const [name, { open, type, files }] of Object.entries(golden.cases)) {
    const folder = t.testdir();
    await writeTree(
      folder,
      Object.fromEntries(Object.entries(files).map(([file, text]) => [file, Buffer.from(text, 'base64')])),
    );
    const file = join(folder, open);
    const volume = await readVolume(file);
    t.strictSame(volume.sizeVoxels, golden.sizeVoxels, `${name}: size`);
    // plastimatch keeps the affine of a NIfTI file in single precision.
    t.ok(near(volume.affine, golden.affine, name.startsWith('ITK') ? 1e-6 : 1e-12), `${name}: affine`);
    t.strictSame(Array.from(volume.data), voxels(type), `${name}: voxels`);
    const facts = await imageFacts(file);
    t.strictSame(facts.geometry.affine, volume.affine, `${name}: the affine of the header alone`);
    const info = await imageInfo(file);
    t.equal(info.datatype, type);
    t.equal(info.max, Math.max(...voxels(type)));
  }
});

/** int16 voxels, little-endian. */
const bytes = Buffer.from(Int16Array.from(voxels('int16')).buffer);
const nrrd = (fields: Record<string, string | undefined>, data: Uint8Array = bytes, end = '\n\n'): Buffer => {
  const all = {
    type: 'short',
    dimension: '3',
    sizes: golden.sizeVoxels.join(' '),
    endian: 'little',
    encoding: 'raw',
    ...fields,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
  return Buffer.concat([Buffer.from(`NRRD0005\n# a comment\nkey:=value: with colon\n${lines.join('\n')}${end}`), data]);
};
const meta = (fields: Record<string, string | undefined>, data: Uint8Array = bytes): Buffer => {
  const all = {
    ...{
      ObjectType: 'Image',
      NDims: '3',
      BinaryData: 'True',
      DimSize: golden.sizeVoxels.join(' '),
      ElementType: 'MET_SHORT',
    },
    ...fields,
    ElementDataFile: fields.ElementDataFile ?? 'LOCAL',
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name} = ${value}`]));
  return Buffer.concat([Buffer.from(`${lines.join('\n')}\n`), data]);
};

async function readOne(folder: string, name: string, content: Uint8Array, channel?: number) {
  await writeTree(folder, { [name]: content });
  return readVolume(join(folder, name), channel === undefined ? {} : { channel });
}

t.test('places', async (t) => {
  const folder = t.testdir();
  const place = async (name: string, content: Uint8Array) => (await readOne(folder, name, content)).affine;
  t.strictSame(
    await place(
      'a.nrrd',
      nrrd({ space: 'RAS', 'space directions': '(2,0,0) (0,3,0) (0,0,4)', 'space origin': '(5,6,7)' }),
    ),
    [2, 0, 0, 5, 0, 3, 0, 6, 0, 0, 4, 7, 0, 0, 0, 1],
  );
  t.strictSame(
    await place(
      'a.nrrd',
      nrrd({
        space: 'left-anterior-superior',
        'space directions': '(2,0,0) (0,3,0) (0,0,4)',
        'space origin': '(5,6,7)',
      }),
    ),
    [-2, 0, 0, -5, 0, 3, 0, 6, 0, 0, 4, 7, 0, 0, 0, 1],
  );
  t.strictSame(
    await place(
      'a.nrrd',
      nrrd({
        'space dimension': '3',
        'space units': '"cm" "cm" "cm"',
        'space directions': '(.2,0,0) (0,.3,0) (0,0,.4)',
      }),
    ),
    [-2, 0, 0, 0, 0, -3, 0, 0, 0, 0, 4, 0, 0, 0, 0, 1],
    'without a space as ITK reads it; units count',
  );
  t.strictSame(
    await place('a.nrrd', nrrd({ spacings: '2 3 NaN', 'axis mins': '1 2 3' })),
    [-2, 0, 0, -1, 0, -3, 0, -2, 0, 0, 1, 3, 0, 0, 0, 1],
  );
  t.strictSame(
    await place('a.mha', meta({ TransformMatrix: '0 1 0 1 0 0 0 0 -1', Position: '5 6 7', ElementSpacing: '2 3 4' })),
    [0, -3, 0, -5, -2, 0, 0, -6, 0, 0, -4, 7, 0, 0, 0, 1],
    'row i of the matrix is the direction of axis i',
  );
});

t.test('axes that are not of space', async (t) => {
  const folder = t.testdir();
  const one = voxels('int16');
  const two = one.map((value) => value + 7);
  const interleaved = Buffer.from(Int16Array.from(one.flatMap((value, i) => [value, two[i]!])).buffer);
  const behind = Buffer.from(Int16Array.from([...one, ...two]).buffer);
  const space = '(2,0,0) (0,3,0) (0,0,4)';
  const files: Record<string, Buffer> = {
    'first.nrrd': nrrd(
      { dimension: '4', sizes: `2 ${golden.sizeVoxels.join(' ')}`, space: 'LPS', 'space directions': `none ${space}` },
      interleaved,
    ),
    'last.nrrd': nrrd(
      {
        dimension: '4',
        sizes: `${golden.sizeVoxels.join(' ')} 2`,
        space: 'LPS',
        'space directions': `${space} none`,
        kinds: 'domain domain domain list',
      },
      behind,
    ),
    'kinds.nrrd': nrrd(
      { dimension: '4', sizes: `2 ${golden.sizeVoxels.join(' ')}`, kinds: 'vector domain domain domain' },
      interleaved,
    ),
    'channels.mha': meta({ ElementNumberOfChannels: '2' }, interleaved),
    'time.mha': meta({ NDims: '4', DimSize: `${golden.sizeVoxels.join(' ')} 2` }, behind),
  };
  for (const [name, content] of Object.entries(files)) {
    t.strictSame(Array.from((await readOne(folder, name, content, 1)).data), two, `${name}: the second volume`);
    t.strictSame(Array.from((await readOne(folder, name, content, 0)).data), one, `${name}: the first volume`);
    await failure(() => readOne(folder, name, content), 'FORMAT_UNSUPPORTED');
    await failure(() => readOne(folder, name, content, 2), 'MODALITY_MISSING');
  }
});

t.test('voxels in other files', async (t) => {
  const folder = t.testdir();
  const half = bytes.length / 2;
  const plane = Buffer.concat([Buffer.from('a line\nanother\n'), Buffer.alloc(3), bytes]);
  await writeTree(folder, {
    'skipped.dat': plane,
    'part1.raw': bytes.subarray(0, half),
    'part2.raw': bytes.subarray(half),
    'plane-01.zz': gzipSync(bytes.subarray(0, half)),
    'plane-03.zz': gzipSync(bytes.subarray(half)),
    'deflated.zraw': deflateSync(bytes),
    'skipped.nhdr': nrrd({ 'data file': 'skipped.dat', 'line skip': '2', 'byte skip': '3' }, Buffer.alloc(0), ''),
    'end.nhdr': nrrd({ datafile: 'skipped.dat', 'byte skip': '-1' }, Buffer.alloc(0), '\r\n'),
    'list.nhdr': nrrd({ 'data file': 'LIST\npart1.raw\npart2.raw' }, Buffer.alloc(0), '\n'),
    'pattern.nhdr': nrrd({ encoding: 'gzip', 'data file': 'plane-%02d.zz 1 3 2' }, Buffer.alloc(0), '\n'),
    'list.mhd': meta({ ElementDataFile: 'LIST\npart1.raw\npart2.raw' }, Buffer.alloc(0)),
    'pattern.mhd': meta({ ElementDataFile: 'part%d.raw 1 2 1' }, Buffer.alloc(0)),
    'deflated.mhd': meta({ CompressedData: 'True', ElementDataFile: 'deflated.zraw' }, Buffer.alloc(0)),
    'end.mhd': meta({ HeaderSize: '-1', ElementDataFile: 'skipped.dat' }, Buffer.alloc(0)),
    'text.mhd': meta({ BinaryData: 'False', ElementDataFile: 'numbers.txt' }, Buffer.alloc(0)),
    'numbers.txt': voxels('int16').join(' '),
  });
  for (const name of ['skipped', 'end', 'list', 'pattern']
    .map((each) => `${each}.nhdr`)
    .concat(['list.mhd', 'pattern.mhd', 'deflated.mhd', 'end.mhd', 'text.mhd']))
    t.strictSame(Array.from((await readVolume(join(folder, name))).data), voxels('int16'), name);
});

t.test('refused', async (t) => {
  const folder = t.testdir({ secret: 'x'.repeat(500), data: {} });
  const cases: readonly [string, string, Uint8Array, ErrorCode, RegExp][] = [
    [
      'leaves the folder',
      'data/a.nhdr',
      nrrd({ 'data file': '../secret', 'byte skip': '-1' }, Buffer.alloc(0), ''),
      'DATASET_INVALID',
      /inside of the folder/,
    ],
    [
      'leaves the folder',
      'data/a.mhd',
      meta({ ElementDataFile: '/etc/passwd', HeaderSize: '-1' }, Buffer.alloc(0)),
      'DATASET_INVALID',
      /inside of the folder/,
    ],
    ['bzip2', 'a.nrrd', nrrd({ encoding: 'bzip2' }), 'FORMAT_UNSUPPORTED', /gzip or raw/],
    ['no endian', 'a.nrrd', nrrd({ endian: undefined }), 'FILE_FORMAT', /little or big/],
    [
      'scanner space',
      'a.nrrd',
      nrrd({ space: 'scanner-xyz', 'space directions': '(1,0,0) (0,1,0) (0,0,1)' }),
      'FORMAT_UNSUPPORTED',
      /LPS, RAS or LAS/,
    ],
    [
      'singular',
      'a.nrrd',
      nrrd({ space: 'LPS', 'space directions': '(1,0,0) (1,0,0) (0,0,1)' }),
      'FILE_FORMAT',
      /span the space/,
    ],
    ['plane', 'a.nrrd', nrrd({ dimension: '2', sizes: '6 10' }), 'FORMAT_UNSUPPORTED', /three axes of space/],
    [
      'four axes of space',
      'a.nrrd',
      nrrd({ dimension: '4', sizes: '3 4 5 1' }),
      'FORMAT_UNSUPPORTED',
      /three axes of space/,
    ],
    ['too many voxels', 'a.nrrd', nrrd({ sizes: '99999 99999 99999' }), 'FILE_FORMAT', /2\^40/],
    ['more voxels than bytes', 'a.nrrd', nrrd({ sizes: '3 4 6' }), 'FILE_TRUNCATED', /144 bytes.*120 bytes/],
    [
      'more voxels than deflate can give',
      'a.nrrd',
      nrrd({ encoding: 'gzip', sizes: '3000 4000 500' }, gzipSync(bytes)),
      'FILE_TRUNCATED',
      /hold at most/,
    ],
    ['cut gzip', 'a.nrrd', nrrd({ encoding: 'gzip' }, gzipSync(bytes).subarray(0, 60)), 'FILE_TRUNCATED', /./],
    ['damaged gzip', 'a.nrrd', nrrd({ encoding: 'gzip' }, flipped(gzipSync(bytes), -5)), 'FILE_CORRUPT', /gzip/],
    ['cut zlib', 'a.mha', meta({ CompressedData: 'True' }, deflateSync(bytes).subarray(0, 50)), 'FILE_TRUNCATED', /./],
    [
      'damaged zlib',
      'a.mha',
      meta({ CompressedData: 'True' }, flipped(deflateSync(bytes), -1)),
      'FILE_CORRUPT',
      /compressed stream/,
    ],
    [
      'words for voxels',
      'a.nrrd',
      nrrd({ encoding: 'text' }, Buffer.from('x '.repeat(count))),
      'FILE_CORRUPT',
      /numbers as text/,
    ],
    [
      'too large for the type',
      'a.nrrd',
      nrrd({ encoding: 'text' }, Buffer.from('70000 '.repeat(count))),
      'FILE_CORRUPT',
      /int16/,
    ],
    ['a field twice', 'a.nrrd', nrrd({ 'line skip': '0\nline skip: 1' }), 'FILE_FORMAT', /second time/],
    ['scaled', 'a.mha', meta({ ElementToIntensityFunctionSlope: '2' }), 'FORMAT_UNSUPPORTED', /scaled values/],
    ['a mesh', 'a.mha', meta({ ObjectType: 'Mesh' }), 'FORMAT_UNSUPPORTED', /not its surfaces/],
    ['colours', 'a.mha', meta({ ElementType: 'MET_OTHER' }), 'FORMAT_UNSUPPORTED', /MET_UCHAR/],
    [
      'no data file',
      'a.mha',
      Buffer.from('ObjectType = Image\nNDims = 3\nDimSize = 1 1 1\nElementType = MET_CHAR\n'),
      'FILE_FORMAT',
      /LOCAL/,
    ],
    ['nothing', 'a.nrrd', Buffer.alloc(0), 'FILE_FORMAT', /NDims|NRRD/],
  ];
  for (const [name, file, content, code, message] of cases) {
    const error = await failure(() => readOne(folder, file, content), code);
    t.match(error.message, message, `${name}: ${error.message}`);
  }
});

function flipped(content: Buffer, at: number): Buffer {
  const result = Buffer.from(content);
  result[result.length + at]! ^= 0x40;
  return result;
}

t.test('written files', async (t) => {
  const folder = t.testdir();
  const volume = {
    data: Int16Array.from(voxels('int16')),
    sizeVoxels: golden.sizeVoxels,
    affine: golden.affine,
    spacingMm: columnNorms(golden.affine),
  };
  const file = join(folder, 'new', 'a.nrrd');
  await writeNrrd(file, volume, { pairs: { Segment0_Name: 'two\nlines' } });
  const back = await readVolume(file);
  t.strictSame(Array.from(back.data), voxels('int16'));
  t.ok(near(back.affine, golden.affine, 0), 'the affine to the last bit');
  t.match(readFileSync(file, 'latin1'), /\nSegment0_Name:=two\\nlines\n\n/);
  await failure(() => writeNrrd(join(folder, 'a.nii'), volume), 'FORMAT_UNSUPPORTED');
});

const unu = spawnSync('teem-unu', ['about']).error === undefined;
t.test('teem reads what is written', { skip: !unu && 'teem-unu is not here (Debian: teem-apps)' }, async (t) => {
  const folder = mkdtempSync(join(t.testdir(), 'unu-'));
  const volume = {
    data: Uint8Array.from(voxels('uint8')),
    sizeVoxels: golden.sizeVoxels,
    affine: golden.affine,
    spacingMm: columnNorms(golden.affine),
  };
  const file = join(folder, 'a.nrrd');
  await writeNrrd(file, volume);
  const text = execFileSync('teem-unu', ['save', '-i', file, '-f', 'nrrd', '-e', 'text', '-o', '-'], {
    encoding: 'latin1',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.strictSame(text.slice(text.indexOf('\n\n')).trim().split(/\s+/).map(Number), voxels('uint8'));
});

t.test('a dataset of NRRD and MetaImage files', async (t) => {
  const folder = t.testdir();
  const label = Buffer.from(Uint8Array.from(voxels('uint8'), (value) => value % 2));
  const plain = { space: 'LPS', 'space directions': '(1,0,0) (0,1,0) (0,0,1)' };
  await writeTree(folder, {
    'images/one.nrrd': nrrd(plain),
    'images/two.mha': meta({}),
    'labels/one.seg.nrrd': nrrd({ ...plain, type: 'uchar' }, label),
    'labels/two.mha': meta({ ElementType: 'MET_UCHAR' }, label),
  });
  const dataset = await openDataset(folder);
  t.strictSame(
    dataset.cases.map(({ id, label }) => [id, label !== undefined]),
    [
      ['one', true],
      ['two', true],
    ],
  );
  for (const each of dataset.cases) {
    const loaded = await loadCase(dataset, each);
    t.equal(
      loaded.label!.data.reduce((sum, value) => sum + value, 0),
      label.reduce((sum, value) => sum + value, 0),
    );
  }
});

const conformance = realData('conformance');
t.test('public files', { skip: conformance === undefined && noData }, async (t) => {
  const ball = await readVolume(join(conformance!, 'BallBinary30x30x30.nrrd'));
  const detached = await readVolume(join(conformance!, 'BallBinary30x30x30.nhdr'));
  t.strictSame(ball.sizeVoxels, [30, 30, 30]);
  t.strictSame(ball.affine, [-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
  t.strictSame(detached.data, ball.data);
  t.ok(new Set(ball.data).size === 2);
  await failure(() => readVolume(join(conformance!, 'BallBinary30x30x30_bz2.nrrd')), 'FORMAT_UNSUPPORTED');
  const lung = await imageInfo(join(conformance!, '3DCT_lung_baseline_small.mha'));
  t.strictSame([lung.sizeVoxels, lung.orientation, lung.datatype], [[57, 78, 64], 'LPS', 'int16']);
  t.ok(near(lung.spacingMm, [2.732, 2.732, 5], 1e-12));
  // As Python's zlib and struct find them.
  t.strictSame([lung.min, lung.max], [-1130, 1379]);
  t.ok(near([lung.mean], [-349.9505138045434], 1e-9));
});
