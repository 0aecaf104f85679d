// NIfTI reader: nibabel's golden files, the public conformance files, the rules of the header, damaged files, fuzzing.
import { readFileSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import t from 'tap';
import { type ParseNiftiOptions, parseUnscaled, scaled } from '../../src/datasets/nifti-read.js';
import { imageInfo, readVolume } from '../../src/datasets/read-volume.js';
import { isVersemiError } from '../../src/errors.js';
import { RandomStream, streams } from '../../src/random.js';
import { orientationCode } from '../../src/volume/affine.js';
import { voxelCount } from '../../src/volume/volume.js';
import { type Fields, failure, niftiBytes, noData, readGolden, realData, writeTree } from './datasets-support.js';

interface GoldenFile {
  readonly name: string;
  readonly gzip: string;
  readonly shape: number[];
  readonly affine: number[];
  /** null where rules differ */
  readonly orientation: string | null;
  readonly voxels: number[];
}

const parseNifti = (bytes: Uint8Array, file: string, options?: ParseNiftiOptions) =>
  scaled(parseUnscaled(bytes, file, options));
const parse = (fields: Fields) => parseNifti(niftiBytes(fields), 'a.nii');
const near = (a: readonly number[], b: readonly number[], tolerance: number) =>
  a.length === b.length && a.every((value, i) => Math.abs(value - b[i]!) <= tolerance * Math.max(1, Math.abs(b[i]!)));

t.test('files written by nibabel', async (t) => {
  const { files } = readGolden<{ files: GoldenFile[] }>('nifti.json');
  t.ok(files.length >= 30);
  for (const file of files) {
    const volume = parseNifti(gunzipSync(Buffer.from(file.gzip, 'base64')), file.name);
    t.same(volume.sizeVoxels, file.shape, `${file.name}: size`);
    t.ok(near(volume.affine, file.affine, 1e-6), `${file.name}: affine ${volume.affine} is ${file.affine}`);
    if (file.orientation !== null)
      t.equal(orientationCode(volume.affine), file.orientation, `${file.name}: orientation`);
    const scaled = file.name.startsWith('scl');
    t.ok(near(Array.from(volume.data), file.voxels, scaled ? 1e-7 : 0), `${file.name}: voxels`);
  }
});

const conformance = realData('conformance');

t.test('conformance files', { skip: conformance === undefined && noData }, async (t) => {
  const folder = conformance!;
  interface Expected {
    readonly shape?: number[];
    readonly affine: number[][];
    readonly orientation: string;
    readonly min: number;
    readonly max: number;
    readonly mean: number;
    readonly datatype: string;
    readonly error?: string;
  }
  const table = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Record<string, Expected>;
  let compared = 0;
  for (const [name, expected] of Object.entries(table)) {
    const file = join(folder, name);
    if (expected.shape === undefined) {
      // Files of other formats have a test of their own.
      if (!name.includes('.nii')) continue;
      const code = name === 'empty.nii.gz' ? 'FILE_TRUNCATED' : 'FILE_FORMAT';
      const error = await failure(() => imageInfo(file), code);
      t.ok(error.message.includes(file), `${name} is refused: ${error.code}`);
      continue;
    }
    const info = await imageInfo(file);
    t.same(info.shape, expected.shape, `${name}: shape`);
    t.ok(near(info.affine, expected.affine.flat(), 1e-6), `${name}: affine`);
    t.equal(info.orientation, expected.orientation, `${name}: orientation`);
    t.ok(
      near([info.min, info.max, info.mean], [expected.min, expected.max, expected.mean], 1e-9),
      `${name}: statistics`,
    );
    t.equal(info.datatype, expected.datatype === '>i2' ? 'int16' : expected.datatype, `${name}: datatype`);
    const volumes = expected.shape.slice(3).reduce((product, size) => product * size, 1);
    if (volumes > 1) {
      const error = await failure(() => readVolume(file), 'FORMAT_UNSUPPORTED');
      t.ok(error.message.includes(expected.shape.join(' x ')), 'a 4-D file asks for a channel and names its shape');
    }
    const volume = await readVolume(file, volumes > 1 ? { channel: volumes - 1 } : {});
    t.equal(volume.data.length, voxelCount(volume.sizeVoxels), `${name}: voxels`);
    compared++;
  }
  t.ok(compared >= 15, `${compared} files compared`);
});

t.test('geometry', async (t) => {
  const srow = [0, -2, 0, 5, 3, 0, 0, 6, 0, 0, 4, 7];
  t.same(parse({ srow, qformCode: 1 }).affine.slice(0, 12), srow, 'sform comes first');
  t.same(parse({ srow }).spacingMm, [3, 2, 4], 'spacing is the length of the columns');
  const quarter = Math.SQRT1_2; // a quarter turn about z
  const qform = { sformCode: 0, qformCode: 1, quaternion: [0, 0, quarter, 1, 2, 3], pixdim: [1, 2, 3, 4, 0, 0, 0, 0] };
  const rotated = [0, -3, 0, 1, 2, 0, 0, 2, 0, 0, 4, 3];
  t.ok(near(parse(qform).affine.slice(0, 12), rotated, 1e-6), 'qform');
  const mirrored = parse({ ...qform, pixdim: [-1, 2, 3, 4, 0, 0, 0, 0] }).affine;
  t.ok(near([mirrored[10]!], [-4], 1e-6), 'a negative qfac reverses the third axis');
  const half = parse({ ...qform, quaternion: [0, 0, 1.0000001, 0, 0, 0] }).affine;
  t.ok(near(half.slice(0, 12), [-2, 0, 0, 0, 0, -3, 0, 0, 0, 0, 4, 0], 1e-6), 'a half turn, rounded upwards');
  const plain = parse({ sformCode: 0, pixdim: [1, -2, 0, 4, 0, 0, 0, 0] });
  t.same(
    plain.affine.slice(0, 12),
    [-2, 0, 0, 1, 0, 1, 0, -1, 0, 0, 4, -6],
    'voxel sizes alone, signs and zeros mended',
  );
  t.same(parse({ srow, units: 1 }).spacingMm, [3000, 2000, 4000], 'metres');
  t.ok(near(parse({ srow, units: 3 }).spacingMm, [0.003, 0.002, 0.004], 1e-12), 'micrometres');
  t.same(parse({ srow, units: 0 }).spacingMm, [3, 2, 4], 'no unit means millimetres');
  t.same(parse({ dim: [2, 6, 4, 0, 0, 0, 0, 0] }).sizeVoxels, [6, 4, 1], 'a slice');
  const singular = await failure(() => parse({ srow: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0] }), 'VOLUME_INVALID');
  t.match(singular.message, /a\.nii, sform.*invertible/);
  await failure(() => parse({ srow: [NaN, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0] }), 'VOLUME_INVALID');
});

t.test('scaling', async (t) => {
  const int16 = new Uint8Array(new Int16Array(24).map((_, i) => i - 12).buffer);
  const scaled = parse({ datatype: 4, voxels: int16, slope: 0.5, intercept: -1 });
  t.type(scaled.data, Float32Array);
  t.same(Array.from(scaled.data.subarray(0, 3)), [-7, -6.5, -6]);
  for (const slope of [0, NaN, Infinity])
    t.type(parse({ datatype: 4, voxels: int16, slope, intercept: 3 }).data, Int16Array, `slope ${slope} means none`);
  const error = await failure(() => parse({ slope: 2, intercept: NaN }), 'FILE_CORRUPT');
  t.equal(error.details.field, 'scl_inter');
});

t.test('voxels are a view where they can be', async (t) => {
  const bytes = niftiBytes({ datatype: 4, voxels: new Uint8Array(48) });
  t.equal(parseNifti(bytes, 'a.nii').data.buffer, bytes.buffer, 'aligned: no copy');
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  const volume = parseNifti(shifted.subarray(1), 'a.nii');
  t.not(volume.data.buffer, shifted.buffer, 'not aligned: a copy');
  t.equal(volume.data.length, 24);
});

t.test('more than three dimensions', async (t) => {
  const fields: Fields = { dim: [5, 2, 3, 2, 1, 2, 1, 1] };
  t.same(
    Array.from(parseNifti(niftiBytes(fields), 'a.nii', { channel: 1 }).data),
    [12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23],
  );
  const error = await failure(() => parse(fields), 'FORMAT_UNSUPPORTED');
  t.match(error.message, /2 x 3 x 2 x 1 x 2.*--channel 0 to 1/s);
  for (const channel of [2, -1, 0.5])
    await failure(() => parseNifti(niftiBytes(fields), 'a.nii', { channel }), 'MODALITY_MISSING');
});

t.test('damaged headers', async (t) => {
  const refused = async (fields: Fields, code: Parameters<typeof failure>[1], field?: string) => {
    const error = await failure(() => parse(fields), code);
    t.match(error.message, /a\.nii/);
    if (field !== undefined) t.equal(error.details.field, field);
  };
  await refused({ magic: 'xyz\0' }, 'FILE_FORMAT');
  await refused({ magic: 'n+2\0' }, 'FILE_FORMAT');
  await refused({ magic: '\0\0\0\0' }, 'FILE_FORMAT');
  await refused({ magic: 'ni1\0' }, 'FILE_FORMAT');
  await refused({ dim: [0, 2, 3, 4, 1, 1, 1, 1] }, 'FILE_CORRUPT', 'dim[0]');
  await refused({ dim: [8, 2, 3, 4, 1, 1, 1, 1] }, 'FILE_CORRUPT', 'dim[0]');
  await refused({ dim: [3, 2, 0, 4, 1, 1, 1, 1] }, 'FILE_CORRUPT', 'dim[2]');
  await refused({ dim: [3, 2, 3, -4, 1, 1, 1, 1] }, 'FILE_CORRUPT', 'dim[3]');
  await refused({ version: 2, dim: [3, 2 ** 60, 3, 4, 1, 1, 1, 1] }, 'FILE_CORRUPT', 'dim[1]');
  await refused({ version: 2, dim: [3, 2 ** 31, 2 ** 31, 2 ** 31, 1, 1, 1, 1] }, 'FILE_TRUNCATED');
  await refused({ dim: [7, 32767, 32767, 32767, 32767, 32767, 32767, 32767] }, 'FORMAT_UNSUPPORTED');
  await refused({ dim: [3, 32767, 32767, 32767, 1, 1, 1, 1] }, 'FILE_TRUNCATED');
  for (const voxOffset of [100, -5, NaN, 352.5]) await refused({ voxOffset }, 'FILE_CORRUPT', 'vox_offset');
  await refused({ voxOffset: 3e9 }, 'FILE_TRUNCATED');
  const names = {
    32: 'complex64',
    128: 'rgb24',
    1536: 'float128',
    1792: 'complex128',
    2304: 'rgba32',
    1: 'binary',
    9: 'unknown',
  };
  for (const [datatype, name] of Object.entries(names)) {
    const error = await failure(() => parse({ datatype: Number(datatype) }), 'FORMAT_UNSUPPORTED');
    t.ok(error.message.includes(name), name);
  }
  for (const length of [0, 3, 4, 100, 347])
    await failure(() => parseNifti(niftiBytes().subarray(0, length), 'a.nii'), 'FILE_TRUNCATED');
  await failure(() => parseNifti(niftiBytes({ version: 2 }).subarray(0, 539), 'a.nii'), 'FILE_TRUNCATED');
  const short = await failure(() => parseNifti(niftiBytes().subarray(0, 370), 'a.nii'), 'FILE_TRUNCATED');
  t.match(short.message, /376 bytes.*370 bytes/, 'expected and found sizes are named');
  const wide = new Uint8Array(new BigInt64Array(24).fill(2n ** 53n + 1n).buffer);
  await refused({ datatype: 1024, voxels: wide }, 'FORMAT_UNSUPPORTED', 'int64 voxel 0');
  const exact = new Uint8Array(new BigInt64Array(24).fill(-(2n ** 53n)).buffer);
  t.equal(parse({ datatype: 1024, voxels: exact }).data[23], -(2 ** 53));
});

t.test('vox_offset and extensions', async (t) => {
  t.same(parse({ voxOffset: 0 }).data[1], 1, 'offset 0 in a single file stands for the end of the header');
  const extended = niftiBytes({ voxOffset: 400 });
  extended[348] = 1; // an extension lies between header and voxels
  extended.fill(0xab, 352, 400);
  t.equal(parseNifti(extended, 'a.nii').data[23], 23);
});

t.test('compressed files', async (t) => {
  const whole = niftiBytes({
    dim: [3, 64, 64, 16, 1, 1, 1, 1],
    voxels: new Uint8Array(65536).map((_, i) => (i * 37) >> 3),
  });
  const packed = gzipSync(whole);
  const bad = Buffer.from(packed);
  bad[bad.length - 6]! ^= 0xff; // checksum
  const broken = Buffer.from(packed);
  broken.fill(0xff, 40, 60);
  const folder = await writeTree(t.testdir(), {
    'good.nii.gz': packed,
    'plain-named.nii': packed,
    'raw-named.nii.gz': whole,
    'members.nii.gz': Buffer.concat([gzipSync(whole.subarray(0, 5000)), gzipSync(whole.subarray(5000))]),
    'trailing.nii.gz': Buffer.concat([packed, Buffer.alloc(512)]),
    'checksum.nii.gz': bad,
    'broken.nii.gz': broken,
    'half.nii.gz': packed.subarray(0, packed.length >> 1),
    'no-end.nii.gz': packed.subarray(0, packed.length - 4),
    'stub.nii.gz': packed.subarray(0, 12),
    'magic.nii.gz': packed.subarray(0, 2),
    'short.nii.gz': gzipSync(whole.subarray(0, 9999)),
    'huge.nii': '',
    'nrrd.nii.gz': gzipSync(Buffer.from('NRRD0004\ntype: short\n')),
    'other.nii.gz': gzipSync(Buffer.from('a text file, but no NIfTI at all')),
  });
  const at = (name: string) => join(folder, name);
  for (const name of ['good.nii.gz', 'plain-named.nii', 'raw-named.nii.gz', 'members.nii.gz', 'trailing.nii.gz'])
    t.same(Buffer.from((await readVolume(at(name))).data.buffer).subarray(-9), whole.subarray(-9), name);
  await failure(() => readVolume(at('checksum.nii.gz')), 'FILE_CORRUPT');
  await failure(() => readVolume(at('broken.nii.gz')), 'FILE_CORRUPT');
  const half = await failure(() => readVolume(at('half.nii.gz')), 'FILE_TRUNCATED');
  t.match(half.message, /expected 65888 bytes .*found \d+ bytes/);
  for (const name of ['no-end.nii.gz', 'stub.nii.gz', 'magic.nii.gz', 'short.nii.gz'])
    await failure(() => readVolume(at(name)), 'FILE_TRUNCATED');
  await failure(() => readVolume(at('other.nii.gz')), 'FILE_FORMAT');
  await truncate(at('huge.nii'), 3 * 2 ** 30); // sparse: takes no room
  await failure(() => readVolume(at('huge.nii')), 'FILE_FORMAT'); // and not 3 GiB of memory
  t.match((await failure(() => readVolume(at('nrrd.nii.gz')), 'FORMAT_UNSUPPORTED')).message, /NRRD/);
  await failure(() => readVolume(at('absent.nii.gz')), 'FILE_NOT_FOUND');
  t.match((await failure(() => readVolume(folder), 'FILE_FORMAT')).message, /a folder/);
});

t.test('header and voxels in two files', async (t) => {
  const whole = niftiBytes({ magic: 'ni1\0', voxOffset: 0 });
  const [header, voxels] = [whole.subarray(0, 348), whole.subarray(352)];
  const folder = await writeTree(t.testdir(), {
    'a.hdr': header,
    'a.img': voxels,
    'b.hdr.gz': gzipSync(header),
    'b.img.gz': gzipSync(voxels),
    'c.hdr': header,
    'd.hdr': header,
    'd.img': voxels.subarray(0, 20),
    'e.hdr': header,
    'e.img.gz': gzipSync(voxels).subarray(0, 25),
    'F.HDR': header,
    'F.IMG': voxels,
  });
  for (const name of ['a.hdr', 'a.img', 'b.hdr.gz', 'b.img.gz', 'F.HDR'])
    t.equal((await readVolume(join(folder, name))).data[23], 23, name);
  const lonely = await failure(() => readVolume(join(folder, 'c.hdr')), 'FILE_NOT_FOUND');
  t.match(lonely.message, /c\.img.*c\.hdr/);
  t.match(
    (await failure(() => readVolume(join(folder, 'd.hdr')), 'FILE_TRUNCATED')).message,
    /d\.img.*24 bytes.*20 bytes/,
  );
  t.match((await failure(() => readVolume(join(folder, 'e.hdr')), 'FILE_TRUNCATED')).message, /e\.img\.gz.*24 bytes/);
});

t.test('imageInfo counts what is not finite', async (t) => {
  const voxels = new Float32Array(24).map((_, i) => i);
  voxels[3] = NaN;
  voxels[4] = Infinity;
  const folder = await writeTree(t.testdir(), {
    'a.nii': niftiBytes({ datatype: 16, voxels: new Uint8Array(voxels.buffer) }),
  });
  const info = await imageInfo(join(folder, 'a.nii'));
  t.same([info.nonFinite, info.min, info.max], [2, 0, 23]);
  t.ok(near([info.mean], [(276 - 7) / 22], 1e-12));
});

t.test('fuzz: whatever a header says, the outcome is a valid volume or a coded error', async (t) => {
  const bases = [
    niftiBytes(),
    niftiBytes({ version: 2, littleEndian: false, datatype: 16, voxels: new Uint8Array(96) }),
    niftiBytes({ littleEndian: false, sformCode: 0, qformCode: 1, datatype: 512, voxels: new Uint8Array(48) }),
  ];
  let [volumes, errors] = [0, 0];
  for (let round = 0; round < 6000; round++) {
    const random = new RandomStream(3, streams.test, round);
    const bytes = bases[round % bases.length]!.slice();
    const limit = random.uniform() < 0.5 ? 120 : bytes.length;
    for (let i = random.integer(6); i >= 0; i--) {
      const at = random.integer(limit);
      bytes[at] = random.uniform() < 0.3 ? [0, 1, 0x7f, 0x80, 0xff][random.integer(5)]! : random.integer(256);
    }
    const cut = random.uniform() < 0.2 ? bytes.subarray(0, random.integer(bytes.length)) : bytes;
    try {
      const volume = parseNifti(cut, 'fuzz.nii', random.uniform() < 0.5 ? {} : { channel: 0 });
      const sane =
        volume.data.length === voxelCount(volume.sizeVoxels) &&
        volume.affine.every(Number.isFinite) &&
        volume.spacingMm.every((length) => length > 0);
      if (!sane) t.fail(`round ${round}: ${JSON.stringify({ ...volume, data: volume.data.length })}`);
      volumes++;
    } catch (error) {
      if (!isVersemiError(error) || isVersemiError(error, 'INTERNAL')) t.fail(`round ${round}: ${error}`);
      errors++;
    }
  }
  t.ok(volumes > 500 && errors > 500, `${volumes} volumes, ${errors} errors`);
});

t.test('fuzz: cut and damaged compressed files', async (t) => {
  const packed = gzipSync(niftiBytes({ datatype: 4, voxels: new Uint8Array(48).map((_, i) => i * 29) }));
  const file = join(t.testdir(), 'fuzz.nii.gz');
  const outcome = async (bytes: Uint8Array) => {
    await writeFile(file, bytes);
    try {
      await readVolume(file);
      return 'volume';
    } catch (error) {
      return isVersemiError(error) ? error.code : String(error);
    }
  };
  for (let length = 0; length < packed.length; length++) {
    const code = await outcome(packed.subarray(0, length));
    if (code !== 'VERSEMI_FILE_TRUNCATED' && !(length < 2 && code === 'VERSEMI_FILE_FORMAT'))
      t.fail(`${length} bytes: ${code}`);
  }
  const codes = new Map<string, number>();
  for (let round = 0; round < 300; round++) {
    const random = new RandomStream(4, streams.test, round);
    const bytes = Buffer.from(packed);
    bytes[random.integer(bytes.length)]! ^= 1 << random.integer(8);
    const code = await outcome(bytes);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  t.ok(
    [...codes.keys()].every((code) => code === 'volume' || code.startsWith('VERSEMI_F')),
    JSON.stringify([...codes]),
  );
  t.ok(codes.get('VERSEMI_FILE_CORRUPT')! > 200, 'the checksum finds nearly all of them');
});
