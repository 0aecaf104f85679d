// NIfTI writer: what is written is read back the same, and nothing half written is left behind.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { encodeNiftiHeader } from '../../src/datasets/nifti-encode.js';
import { parseNiftiHeader } from '../../src/datasets/nifti-header.js';
import { imageInfo, readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { RandomStream, streams } from '../../src/random.js';
import { multiplyAffines, scalingAffine } from '../../src/volume/affine.js';
import type { Affine, Triple, Volume, VoxelArray } from '../../src/volume/volume.js';
import { failure } from './datasets-support.js';

const sizeVoxels: Triple = [5, 3, 4];

function rotation(turns: Triple): Affine {
  const [a, b, c] = turns;
  const about = (i: number, j: number, angle: number) => {
    const m = scalingAffine([1, 1, 1]).slice() as number[];
    [m[5 * i], m[5 * j], m[4 * i + j], m[4 * j + i]] = [
      Math.cos(angle),
      Math.cos(angle),
      -Math.sin(angle),
      Math.sin(angle),
    ];
    return m;
  };
  return multiplyAffines(about(0, 1, c), multiplyAffines(about(0, 2, b), about(1, 2, a)));
}

function volumeOf<T extends VoxelArray>(data: T, affine: Affine = scalingAffine([2, 3, 4], [7, 8, 9])): Volume<T> {
  return { data, sizeVoxels, spacingMm: [2, 3, 4], affine };
}

const arrays: readonly VoxelArray[] = [
  new Uint8Array(60).map((_, i) => i * 4),
  new Int8Array(60).map((_, i) => i * 4 - 128),
  new Uint16Array(60).map((_, i) => i * 1000),
  new Int16Array(60).map((_, i) => i * 1000 - 30000),
  new Uint32Array(60).map((_, i) => i * 7e7),
  new Int32Array(60).map((_, i) => i * 7e7 - 2e9),
  new Float32Array(60).map((_, i) => Math.sin(i)),
  new Float64Array(60).map((_, i) => Math.cos(i) * 1e200),
];

t.test('every datatype, every ending', async (t) => {
  const folder = t.testdir();
  for (const ending of ['.nii', '.nii.gz', '.hdr', '.img', '.hdr.gz']) {
    for (const data of arrays) {
      const file = join(folder, `${data.constructor.name}${ending}`);
      await writeNifti(file, volumeOf(data));
      const read = await readVolume(file);
      t.same(read.data, data, `${data.constructor.name} ${ending}`);
      t.equal(read.data.constructor, data.constructor);
      t.same(
        [read.sizeVoxels, read.spacingMm, read.affine],
        [sizeVoxels, [2, 3, 4], scalingAffine([2, 3, 4], [7, 8, 9])],
      );
    }
  }
  t.notOk(
    (await readdir(folder)).some((name) => name.includes('tmp')),
    'no temporary files',
  );
});

t.test('sform and qform say the same', async (t) => {
  let inexact = 0;
  for (let round = 0; round < 200; round++) {
    const random = new RandomStream(1, streams.test, round);
    const between = (low: number, high: number): Triple => [
      random.uniformBetween(low, high),
      random.uniformBetween(low, high),
      random.uniformBetween(low, high),
    ];
    const turns =
      round < 8 ? ([0, 1, 2].map((i) => ((round >> i) & 1) * Math.PI) as unknown as Triple) : between(-3.2, 3.2);
    const spacing = between(0.3, 5);
    const scale: Triple = [round % 2 === 0 ? spacing[0] : -spacing[0], spacing[1], spacing[2]];
    const affine = multiplyAffines(rotation(turns), scalingAffine(scale, between(-100, 100)));
    const bytes = encodeNiftiHeader(volumeOf(arrays[0]!, affine));
    const view = new DataView(bytes.buffer);
    const codes = [view.getInt16(252, true), view.getInt16(254, true)];
    const header = parseNiftiHeader(bytes, 'sform');
    t.equal(header.affineSource, 'sform');
    view.setInt16(252, 1, true);
    view.setInt16(254, 0, true);
    const other = parseNiftiHeader(bytes, 'qform');
    t.equal(other.affineSource, 'qform');
    const furthest = (a: Affine) => Math.max(...affine.map((x, i) => Math.abs(x - a[i]!)));
    t.ok(furthest(header.affine) < 1e-5, `round ${round}: sform within ${furthest(header.affine)}`);
    if (codes[0] === 0) inexact++;
    else t.ok(furthest(other.affine) < 6e-4, `round ${round}: qform within ${furthest(other.affine)}`);
  }
  t.ok(inexact < 5, `${inexact} rotations too near to a half turn for float32`);
  const sheared = multiplyAffines(scalingAffine([1, 2, 3]), [1, 0.2, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
  const view = new DataView(encodeNiftiHeader(volumeOf(arrays[0]!, sheared)).buffer);
  t.same([view.getInt16(252, true), view.getInt16(254, true)], [0, 1], 'a quaternion cannot hold shears');
});

t.test('NIfTI-2 where a dimension needs it', async (t) => {
  const file = join(t.testdir(), 'long.nii.gz');
  const data = new Uint8Array(40000).map((_, i) => i);
  const affine = scalingAffine([0.1, 0.2, 0.3], [1 / 3, 0, 0]);
  await writeNifti(file, { data, sizeVoxels: [1, 40000, 1], spacingMm: [0.1, 0.2, 0.3], affine });
  t.equal(parseNiftiHeader(gunzipSync(await readFile(file)), file).version, 2);
  const read = await readVolume(file);
  t.same(read.sizeVoxels, [1, 40000, 1]);
  t.same(read.affine, affine, 'double precision');
  t.same(read.data, data);
});

t.test('one gzip member, text, and the same bytes each time', async (t) => {
  const folder = t.testdir();
  const [a, b] = [join(folder, 'a.nii.gz'), join(folder, 'b.nii.gz')];
  await writeNifti(a, volumeOf(arrays[3]!), { description: 'made by a test' });
  await writeNifti(b, volumeOf(arrays[3]!), { description: 'made by a test', compressionLevel: 9 });
  const [first, second] = [await readFile(a), await readFile(b)];
  t.match(gunzipSync(first).subarray(148, 162).toString(), 'made by a test');
  t.same(gunzipSync(first), gunzipSync(second));
  await writeNifti(b, volumeOf(arrays[3]!), { description: 'made by a test' });
  t.same(await readFile(b), first);
  t.equal((await imageInfo(a)).datatype, 'int16');
});

t.test('refusals leave nothing behind', async (t) => {
  const folder = t.testdir();
  const good = volumeOf(arrays[0]!);
  await failure(() => writeNifti(join(folder, 'a.txt'), good), 'FORMAT_UNSUPPORTED');
  const wrongSize = await failure(
    () => writeNifti(join(folder, 'a.nii'), { ...good, sizeVoxels: [5, 3, 5] }),
    'VOLUME_INVALID',
  );
  t.match(wrongSize.message, /75 voxels \(5 x 3 x 5\), found 60/);
  await failure(() => writeNifti(join(folder, 'a.nii'), { ...good, sizeVoxels: [60, 1, 0] }), 'VOLUME_INVALID');
  await failure(
    () => writeNifti(join(folder, 'a.nii'), { ...good, affine: new Array<number>(16).fill(0) }),
    'VOLUME_INVALID',
  );
  await failure(() => writeNifti(join(folder, 'a.nii'), { ...good, affine: [] }), 'VOLUME_INVALID');
  t.same(await readdir(folder), []);
  await writeFile(join(folder, 'file'), 'not a folder');
  await failure(() => writeNifti(join(folder, 'file', 'a.nii'), good), 'IO_FAILED');
  // A folder stands where the result should go: the renaming fails after everything was written.
  await mkdir(join(folder, 'taken.nii'));
  await writeFile(join(folder, 'taken.nii', 'x'), '');
  await failure(() => writeNifti(join(folder, 'taken.nii'), good), 'IO_FAILED');
  t.same((await readdir(folder)).sort(), ['file', 'taken.nii'], 'no temporary file');
});
