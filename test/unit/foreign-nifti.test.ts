// NIfTI files as other programs, and damage, leave them: what is kept, what is read, what is refused and at which cost.
import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import t from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { labelBytes } from '../../src/datasets/label-values.js';
import { loadCase, openScan } from '../../src/datasets/load-case.js';
import { encodeNiftiHeader } from '../../src/datasets/nifti-encode.js';
import { type ParseNiftiOptions, parseUnscaled, scaled } from '../../src/datasets/nifti-read.js';
import { imageFacts, imageInfo, readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { toCanonical, toStored } from '../../src/scans/canonical.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { emptyMask } from '../../src/wasm/host.js';
import { type Fields, failure, foreignCase, niftiBytes, writeTree } from './datasets-support.js';

const parseNifti = (bytes: Uint8Array, file: string, options?: ParseNiftiOptions) =>
  scaled(parseUnscaled(bytes, file, options));

/** Version, xyzt_units, pixdim[0..3], both codes, quaternion with offset, srow: where a program may take the place from. */
function place(bytes: Uint8Array): unknown[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getInt32(0, true) === 348 ? 1 : 2;
  const numbers = (at: number, count: number) =>
    Array.from({ length: count }, (_, i) =>
      version === 1 ? view.getFloat32(at + 4 * i, true) : view.getFloat64(at + 8 * i, true),
    );
  return version === 1
    ? [
        1,
        bytes[123],
        numbers(76, 4),
        view.getInt16(252, true),
        view.getInt16(254, true),
        numbers(256, 6),
        numbers(280, 12),
      ]
    : [
        2,
        view.getInt32(500, true),
        numbers(104, 4),
        view.getInt32(344, true),
        view.getInt32(348, true),
        numbers(352, 6),
        numbers(400, 12),
      ];
}

const quarterTurn = [0, 0, Math.SQRT1_2, 5, 6, 7];
const places: Readonly<Record<string, Fields>> = {
  'qform and sform differ': {
    ...{ qformCode: 1, sformCode: 4, quaternion: quarterTurn, pixdim: [-1, 2, 2, 2, 0, 0, 0, 0] },
    srow: [-2, 0, 0, 60, 0, 2, 0, -40, 0, 0, 2, 10],
  },
  'both codes 0': { qformCode: 0, sformCode: 0, pixdim: [0, -2, 3, 4, 0, 0, 0, 0] },
  metres: { units: 1, sformCode: 2, srow: [0.002, 0, 0, 0.1, 0, 0.002, 0, 0, 0, 0, 0.003, 0] },
  'micrometres and seconds': { units: 3 + 8, qformCode: 2, sformCode: 0, pixdim: [1, 500, 500, 700, 2, 0, 0, 0] },
  'an sform of zeros': { qformCode: 1, sformCode: 1, srow: new Array(12).fill(0), quaternion: quarterTurn },
  'NIfTI-2': {
    version: 2,
    qformCode: 3,
    sformCode: 3,
    quaternion: quarterTurn,
    srow: [0, 1 / 3, 0, 1, -1, 0, 0, 2, 0, 0, 1, 3],
  },
};

t.test('a mask has the forms, codes and units of its scan', async (t) => {
  for (const [name, fields] of Object.entries(places)) {
    const source = niftiBytes(fields);
    const volume = parseNifti(source, 'a.nii');
    t.same(place(encodeNiftiHeader(volume)), place(source), `${name}: as it was read`);
    const canonical = toCanonical(volume);
    t.same(place(encodeNiftiHeader(toStored(canonical))), place(source), `${name}: turned there and back`);
    const { data, ...geometry } = canonical;
    const packed = emptyMask(geometry.sizeVoxels);
    const mask = new MaskVolume(geometry, packed);
    t.same(place(encodeNiftiHeader(mask)), place(source), `${name}: a mask of bits`);
    t.equal(data.length, 24);
  }
  const volume = parseNifti(niftiBytes(places.metres), 'a.nii');
  t.same(
    volume.spacingMm.map((length) => Number(length.toPrecision(5))),
    [2, 2, 3],
    'metres became millimetres',
  );
  const moved = { ...volume, affine: volume.affine.map((value, i) => (i === 3 ? value + 1 : value)) };
  const read = parseNifti(Buffer.concat([encodeNiftiHeader(moved), Buffer.alloc(24)]), 'b.nii');
  t.ok(Math.abs(read.affine[3]! - moved.affine[3]!) < 1e-4, 'a volume that was moved gets forms of its own');
});

t.test('an sform of zeros gives way to the qform', async (t) => {
  const { affine } = parseNifti(niftiBytes(places['an sform of zeros']), 'a.nii');
  t.same(
    affine.map((value) => Math.round(value)),
    [0, -1, 0, 5, 1, 0, 0, 6, 0, 0, 1, 7, 0, 0, 0, 1],
  );
  await failure(() => parseNifti(niftiBytes({ srow: new Array(12).fill(0) }), 'a.nii'), 'VOLUME_INVALID');
});

t.test(
  '04: a mask written for a scan lies on it',
  { skip: foreignCase('04-mask-form-codes-not-kept') === undefined },
  async (t) => {
    const scan = join(foreignCase('04-mask-form-codes-not-kept')!, 'scan.nii.gz');
    const image = await openScan(scan);
    const mask = new MaskVolume(image, emptyMask(image.sizeVoxels));
    const file = join(t.testdir(), 'mask.nii.gz');
    await writeNifti(file, mask);
    t.same(place(gunzipSync(await readFile(file))), place(gunzipSync(await readFile(scan))));
  },
);

t.test('dimensions behind the third that state no size', async (t) => {
  const sizes = (dim: number[]) => parseNifti(niftiBytes({ dim }), 'a.nii').sizeVoxels;
  t.same(sizes([4, 2, 3, 4, 0, 1, 1, 1]), [2, 3, 4]);
  t.same(sizes([7, 2, 3, 4, 0, 0, -1, 0]), [2, 3, 4]);
  t.same(sizes([3, 2, 3, 4, -9, 0, 0, 0]), [2, 3, 4]);
  for (const dim of [
    [-1, 2, 3, 4, 1, 1, 1, 1],
    [0, 2, 3, 4, 1, 1, 1, 1],
    [8, 2, 3, 4, 1, 1, 1, 1],
    [4, 0, 3, 4, 1, 1, 1, 1],
  ])
    await failure(() => parseNifti(niftiBytes({ dim }), 'a.nii'), 'FILE_CORRUPT');
  const given = foreignCase('15-dim4-zero');
  if (given !== undefined) t.same((await imageInfo(join(given, 'scan.nii.gz'))).sizeVoxels, [28, 32, 24]);
});

/** Small streams are inflated at once, long ones in chunks. */
for (const [length, sizeVoxels] of [
  ['short', [40, 40, 30]],
  ['long', [100, 100, 40]],
] as const) {
  t.test(`bytes behind a ${length} gzip stream`, async (t) => {
    const whole = niftiBytes({
      dim: [3, ...sizeVoxels, 1, 1, 1, 1],
      voxels: Uint8Array.from({ length: sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2] }, (_, i) =>
        length === 'short' ? (i * 7) >> 2 : (Math.sin(i) * 1e6) & 255,
      ),
    });
    const packed = gzipSync(whole);
    const members = Buffer.concat([gzipSync(whole.subarray(0, 5000)), gzipSync(whole.subarray(5000))]);
    const bad = Buffer.from(packed);
    bad[bad.length - 6]! ^= 0xff;
    const harmless: Record<string, Buffer> = {
      text: Buffer.from('a signature of some archive'),
      zeros: Buffer.alloc(700),
      'zeros and text': Buffer.concat([Buffer.alloc(512), Buffer.from('x')]),
      'one byte': Buffer.from([0x1f]),
      'a gzip magic with reserved flags': Buffer.from([0x1f, 0x8b, 8, 0xff, 1, 2, 3]),
      'a megabyte': Buffer.alloc(1 << 20, 0xa5),
    };
    const folder = t.testdir();
    for (const [name, bytes] of Object.entries(harmless)) {
      for (const [kind, stream] of [
        ['one', packed],
        ['two', members],
      ] as const) {
        const file = join(folder, `${name} ${kind}.nii.gz`);
        await writeFile(file, Buffer.concat([stream, bytes]));
        t.same((await readVolume(file)).data.slice(-9), whole.slice(-9), `${name} behind ${kind}`);
        t.same((await imageFacts(file)).geometry.sizeVoxels, sizeVoxels);
      }
    }
    const damaged: Record<string, readonly [Buffer, 'FILE_CORRUPT' | 'FILE_TRUNCATED']> = {
      checksum: [Buffer.concat([bad, harmless.text!]), 'FILE_CORRUPT'],
      cut: [packed.subarray(0, packed.length - 100), 'FILE_TRUNCATED'],
      'cut second member': [members.subarray(0, members.length - 100), 'FILE_TRUNCATED'],
      'no checksum': [packed.subarray(0, packed.length - 4), 'FILE_TRUNCATED'],
    };
    const broken = Buffer.from(members);
    broken.fill(0xff, broken.length - 300, broken.length - 100);
    damaged['broken second member'] = [broken, 'FILE_CORRUPT'];
    t.equal(packed.length > 1 << 16, length === 'long');
    for (const [name, [bytes, code]] of Object.entries(damaged)) {
      await writeFile(join(folder, 'damaged.nii.gz'), bytes);
      t.ok(await failure(() => readVolume(join(folder, 'damaged.nii.gz')), code), name);
    }
  });
}

t.test('bytes behind the gzip stream of a file that was seen', async (t) => {
  const given = foreignCase('11-gzip-trailing-bytes');
  if (given !== undefined) t.same((await imageInfo(join(given, 'scan.nii.gz'))).sizeVoxels, [28, 32, 24]);
});

t.test('vox_offset anywhere', async (t) => {
  const voxels = new Uint8Array(Int16Array.from({ length: 24 }, (_, i) => 300 * i).buffer);
  const folder = t.testdir();
  for (const voxOffset of [353, 355, 1001]) {
    const bytes = niftiBytes({ datatype: 4, voxels, voxOffset });
    for (const [name, content] of [
      ['a.nii', bytes],
      ['a.nii.gz', gzipSync(bytes)],
    ] as const) {
      await writeFile(join(folder, name), content);
      t.equal((await readVolume(join(folder, name))).data[23], 6900, `${name}, ${voxOffset}`);
    }
    t.equal(parseNifti(Buffer.from(bytes), 'a.nii').data[23], 6900);
  }
  await writeFile(join(folder, 'beyond.nii'), niftiBytes({ voxOffset: 1e9 }));
  t.match((await failure(() => readVolume(join(folder, 'beyond.nii')), 'FILE_TRUNCATED')).message, /1000000024 bytes/);
});

t.test('what a header promises bounds what is read', async (t) => {
  const small = { dim: [3, 4, 4, 4, 1, 1, 1, 1] };
  const voxels = new Uint8Array(64).fill(3);
  const bomb = gzipSync(Buffer.concat([niftiBytes({ ...small, voxels }), Buffer.alloc(300e6)]));
  const wide = niftiBytes({ version: 2, dim: [3, 2 ** 21, 2 ** 21, 2 ** 20, 1, 1, 1, 1] });
  const folder = await writeTree(t.testdir(), {
    'bomb.nii.gz': bomb,
    'petabytes.nii': wide,
    'petabytes.nii.gz': gzipSync(wide),
    'gigabytes.nii.gz': gzipSync(niftiBytes({ dim: [3, 2000, 2000, 1000, 1, 1, 1, 1] })),
    'beyond numbers.nii.gz': gzipSync(niftiBytes({ dim: [7, 32767, 32767, 32767, 32767, 32767, 32767, 32767] })),
    'a.hdr': niftiBytes({ ...small, magic: 'ni1\0', voxOffset: 0 }).subarray(0, 348),
    'a.img.gz': gzipSync(Buffer.concat([voxels, Buffer.alloc(300e6)])),
  });
  const script = `
    import { existsSync, readFileSync } from 'node:fs';
    import { readVolume } from ${JSON.stringify(new URL('../../src/datasets/read-volume.js', import.meta.url).href)};
    for (const name of ['bomb.nii.gz', 'a.hdr']) console.log((await readVolume(${JSON.stringify(folder)} + '/' + name)).data.join());
    const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : '';
    console.log(/VmHWM:\\s*(\\d+)/.exec(status)?.[1] ?? 0);`;
  const lines = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
    .trim()
    .split('\n');
  t.same(lines.slice(0, 2), [voxels.join(), voxels.join()]);
  t.ok(Number(lines[2]) < 250e3, `${lines[2]} kB: the 300 MB behind the voxels are not kept`);
  for (const name of ['petabytes.nii', 'petabytes.nii.gz', 'gigabytes.nii.gz', 'beyond numbers.nii.gz']) {
    const started = performance.now();
    await failure(() => readVolume(join(folder, name)), 'FILE_TRUNCATED');
    await failure(() => imageFacts(join(folder, name)), 'FILE_TRUNCATED');
    t.ok(performance.now() - started < 2000, name);
  }
});

t.test('only regular files are read', { skip: process.platform === 'win32' }, async (t) => {
  const folder = t.testdir();
  execFileSync('mkfifo', [join(folder, 'pipe.nii')]);
  for (const file of [join(folder, 'pipe.nii'), '/dev/zero', folder]) {
    t.match((await failure(() => readVolume(file), 'FILE_FORMAT')).message, /a pipe|a device|a folder/, file);
    await failure(() => imageFacts(file), 'FILE_FORMAT');
  }
});

t.test('labels within rounding of whole numbers', async (t) => {
  const unscaled = { slope: 1, intercept: 0 };
  const labels = (values: number[], scaling = unscaled) => [...labelBytes(Float32Array.from(values), scaling, 'l.nii')];
  t.same(labels([0, 1.0000153, 1.9995, 254.9961, 0.0005, -0.0005]), [0, 1, 2, 255, 0, 0]);
  t.same(
    [...labelBytes(Int16Array.of(-32768, -10923, 32767), { slope: 3 / 65535, intercept: 1.50002 }, 'l.nii')],
    [0, 1, 3],
  );
  t.same([...labelBytes(Uint8Array.of(0, 4), { slope: 0.5, intercept: 0 }, 'l.nii')], [0, 2]);
  const same = Uint8Array.of(1, 2);
  t.equal(labelBytes(same, unscaled, 'l.nii'), same, 'bytes are not copied');
  const remedies = new Set<string>();
  for (const [wrong, found] of [
    [[0.5, -1, 1000], /0\.5/],
    [[1.002], /1\.002/],
    [[-1, 300], /-1/],
    [[1000, 7, 1000], /2 voxels with values such as 1000\./],
    [[Number.NaN, 0.5], /NaN/],
    [[Number.POSITIVE_INFINITY], /Infinity/],
  ] as const) {
    const error = await failure(() => labels([...wrong]), 'LABEL_INVALID');
    t.match(error.message, found);
    remedies.add(error.details.remedy!);
  }
  t.equal(remedies.size, 4, 'each cause has a remedy of its own');
  t.match([...remedies][2], /renumber/);
});

for (const [name, expected] of [
  ['10-label-rescaled-by-nibabel', [0, 1, 2]],
  ['27-label-above-255', undefined],
] as const) {
  t.test(name, { skip: foreignCase(name) === undefined }, async (t) => {
    const dataset = await openDataset(foreignCase(name)!);
    if (expected === undefined) {
      t.match(
        (await failure(() => loadCase(dataset, dataset.cases[0]!), 'LABEL_INVALID')).message,
        /1000.*255.*renumber/,
      );
      return;
    }
    for (const files of dataset.cases)
      t.same([...new Set((await loadCase(dataset, files)).label!.data)].sort(), expected);
  });
}

t.test(
  '23: an oblique label at 45 degrees',
  { skip: foreignCase('23-oblique-45-degrees') === undefined },
  async (t) => {
    const dataset = await openDataset(foreignCase('23-oblique-45-degrees')!);
    for (const files of dataset.cases) {
      const { image, label } = await loadCase(dataset, files);
      t.same(label?.sizeVoxels, image.sizeVoxels, files.id);
    }
  },
);

t.test('a label stored as LPS lies on an image stored as RAS', async (t) => {
  const [sizeX, sizeY] = [2, 3];
  const voxels = Uint8Array.from({ length: 24 }, (_, i) => i);
  const turned = Uint8Array.from({ length: 24 }, (_, i) => {
    const [x, y, z] = [i % sizeX, Math.floor(i / sizeX) % sizeY, Math.floor(i / (sizeX * sizeY))];
    return voxels[sizeX - 1 - x + sizeX * (sizeY - 1 - y + sizeY * z)]!;
  });
  const folder = await writeTree(t.testdir(), {
    'images/a.nii': niftiBytes({ voxels, srow: [2, 0, 0, 5, 0, 2, 0, 6, 0, 0, 2, 7] }),
    'labels/a.nii': niftiBytes({
      voxels: turned,
      srow: [-2, 0, 0, 5 + 2 * (sizeX - 1), 0, -2, 0, 6 + 2 * (sizeY - 1), 0, 0, 2, 7],
    }),
    'images/b.nii': niftiBytes({ voxels, srow: [2, 0, 0, 5, 0, 2, 0, 6, 0, 0, 2, 7] }),
    'labels/b.nii': niftiBytes({ voxels: turned, srow: [-2, 0, 0, 5, 0, -2, 0, 6, 0, 0, 2, 7] }),
  });
  const dataset = await openDataset(folder);
  const { image, label } = await loadCase(dataset, dataset.cases[0]!);
  t.same([...label!.data], [...image.data]);
  const error = await failure(() => loadCase(dataset, dataset.cases[1]!), 'GEOMETRY_MISMATCH');
  t.match(error.message, /would mirror/);
  t.notMatch(error.message, /copy the header/);
});
