// Segmentations and structure sets that are written: read back here, by pydicom, checked by dciodvfy.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { outlinesOf } from '../../src/datasets/dicom/contours.js';
import { decimal, type LabelledMask } from '../../src/datasets/dicom/derived.js';
import { fileOfBytes, parseDicom } from '../../src/datasets/dicom/elements.js';
import { readDicom } from '../../src/datasets/dicom/read-series.js';
import { maskOfSegment, readSegmentation } from '../../src/datasets/dicom/segmentation.js';
import { maskOfRoi, readStructureSet } from '../../src/datasets/dicom/structures.js';
import { cieLab, encodeSegmentation } from '../../src/datasets/dicom/write-segmentation.js';
import { encodeStructureSet } from '../../src/datasets/dicom/write-structures.js';
import { RandomStream, streams } from '../../src/random.js';
import { scalingAffine } from '../../src/volume/affine.js';
import { failure } from '../unit/datasets-support.js';
import { systemPython } from './python.js';

const root = fileURLToPath(new URL('../../../test/dicom/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'versemi-dicom-out-'));
t.teardown(() => spawnSync('rm', ['-rf', folder]));
const python = systemPython('pydicom', 'numpy');
const made = python && spawnSync(python, ['-W', 'ignore', join(root, 'make_variants.py'), folder]).status === 0;
const skip = made !== true && 'python3-pydicom, gdcmconv or dcmconv is not here';
const noChecker = spawnSync('dciodvfy', ['-help']).error !== undefined && 'dciodvfy is not here (Debian: dicom3tools)';

t.test('outlines give back their pixels, whoever fills them', (t) => {
  for (let round = 0; round < 300; round++) {
    const stream = new RandomStream(4, streams.test, round);
    const [columns, rows] = [1 + (round % 13), 1 + ((round * 7) % 11)];
    const share = [0.3, 0.55, 0.8][round % 3]!;
    const plane = Uint8Array.from({ length: columns * rows }, () => (stream.uint32() < share * 2 ** 32 ? 1 : 0));
    const outlines = outlinesOf(plane, columns, rows);
    const set = (contours: readonly (readonly number[])[]) => ({
      ...{ number: 1, name: 'x' },
      contours: contours.map((outline) => {
        const points = Array.from({ length: outline.length / 2 }, (_, i) => [
          -outline[2 * i]!,
          -outline[2 * i + 1]!,
          0,
        ]);
        return Float64Array.from(points.flat());
      }),
    });
    const grid = scalingAffine([1, 1, 1]);
    const together = maskOfRoi(set(outlines), [columns, rows, 1], grid, 'x');
    // A program that fills each outline on its own and adds them up must see the same.
    const added = new Uint8Array(plane.length);
    for (const outline of outlines)
      for (const [i, v] of maskOfRoi(set([outline]), [columns, rows, 1], grid, 'x').entries()) added[i]! |= v;
    if (!t.strictSame([together, added], [plane, plane], `${columns} x ${rows}`)) break;
  }
  t.end();
});

t.test('numbers of at most 16 characters', (t) => {
  for (const value of [0, -0, 1 / 3, -123456.78901234567, 1e-17, -1.2345678901234e-7, 1e300 / 3, 300.125]) {
    const text = decimal(value);
    t.ok(text.length <= 16 && Math.abs(Number(text) - value) <= 1e-8 * Math.abs(value), text);
  }
  t.equal(decimal(-0), '0');
  t.strictSame(
    cieLab([255, 255, 255]).map((v) => Math.round(v / 512)),
    [128, 64, 64],
  );
  t.strictSame(cieLab([0, 0, 0]), [0, 32896, 32896]);
  t.end();
});

const options = { model: 'heart', version: '0.1.0', date: new Date('2026-01-02T03:04:05Z') };

/** Three masks: a block with a hole, scattered voxels, nothing. */
function masksFor([columns, rows, slices]: readonly [number, number, number]): LabelledMask[] {
  const place = (i: number) => [i % columns, Math.floor(i / columns) % rows, Math.floor(i / (columns * rows))] as const;
  const make = (inside: (x: number, y: number, z: number) => boolean) =>
    Uint8Array.from({ length: columns * rows * slices }, (_, i) => (inside(...place(i)) ? 1 : 0));
  return [
    {
      ...{
        name: 'ventricle',
        colour: [200, 30, 60] as const,
        code: { scheme: 'SCT', value: '87878005', meaning: 'Left ventricle' },
        category: { scheme: 'SCT', value: '123037004', meaning: 'Anatomical Structure' },
      },
      data: make((x, y, z) => z > 1 && z < 6 && x > 2 && x < 15 && y > 3 && !(x > 6 && x < 9 && y > 6 && y < 9)),
    },
    { name: 'scattered ä', colour: [0, 120, 255], data: make((x, y, z) => (7 * x + 3 * y + 5 * z) % 11 === 0) },
    { name: 'empty', colour: [9, 9, 9], data: make(() => false) },
  ];
}

t.test('read back, by pydicom, checked by dciodvfy', { skip }, async (t) => {
  for (const name of ['plain', 'tilted', 'enhanced']) {
    const { volume, placed } = await readDicom(join(folder, name));
    const masks = masksFor(volume.sizeVoxels);
    const segmentation = await encodeSegmentation(placed, masks, options);
    const structures = await encodeStructureSet(placed, masks, options);
    const [segFile, rtFile] = [join(folder, `${name}.seg.dcm`), join(folder, `${name}.rt.dcm`)];
    writeFileSync(segFile, segmentation);
    writeFileSync(rtFile, structures);
    const seg = await readSegmentation(fileOfBytes(segFile, segmentation));
    const rt = await readStructureSet(fileOfBytes(rtFile, structures));
    t.strictSame(seg.seriesUids, [placed.series.uid]);
    t.strictSame(rt.seriesUids, [placed.series.uid]);
    t.strictSame(
      seg.segments.map(({ label }) => label),
      masks.map((mask) => mask.name),
    );
    t.strictSame(
      rt.rois.map((roi) => roi.name),
      masks.map((mask) => mask.name),
    );
    for (const [i, { data }] of masks.entries()) {
      t.strictSame(
        await maskOfSegment(seg, i + 1, volume.sizeVoxels, volume.affine),
        data,
        `${name}: segment ${i + 1}`,
      );
      t.strictSame(maskOfRoi(rt.rois[i]!, volume.sizeVoxels, volume.affine, rtFile), data, `${name}: region ${i + 1}`);
    }
    const read = spawnSync(python!, ['-W', 'ignore', join(root, 'read_labels.py'), segFile, rtFile], {
      encoding: 'utf8',
    });
    t.equal(read.status, 0, read.stderr);
    const facts = JSON.parse(read.stdout) as {
      segments: Record<string, number[]>;
      patient: string[];
      references: number;
      points: number;
    };
    const plane = volume.sizeVoxels[0] * volume.sizeVoxels[1];
    for (const [i, { data }] of masks.entries()) {
      const found = new Uint8Array(data.length);
      for (const at of facts.segments[String(i + 1)] ?? []) found[at] = 1;
      t.strictSame(found, data, `${name}: segment ${i + 1} as pydicom reads it, by ${plane} pixels a plane`);
    }
    t.strictSame(facts.patient, ['Test^Phantom', 'P1', '20260101', 'O', ''], 'patient and study of the source');
    t.equal(facts.references, name === 'enhanced' ? 1 : 9);
    if (noChecker !== false) continue;
    for (const file of [segFile, rtFile]) {
      const { stderr } = spawnSync('dciodvfy', [file], { encoding: 'utf8' });
      t.strictSame(
        stderr.split('\n').filter((line) => /^error|abort/i.test(line)),
        [],
        `${file}: dciodvfy`,
      );
    }
  }
  const { placed, volume } = await readDicom(join(folder, 'plain'));
  const masks = masksFor(volume.sizeVoxels);
  for (const encode of [encodeSegmentation, encodeStructureSet]) {
    const bytes = await encode(placed, masks, { ...options, deidentify: true });
    const { elements } = await parseDicom(bytes, 'x');
    for (const field of ['patientName', 'patientId', 'studyDate', 'accessionNumber', 'studyId', 'patientSex'] as const)
      t.equal(elements.text(field), undefined, `${field} stays away`);
    t.equal(elements.text('studyUid'), placed.series.studyUid);
  }
  await failure(() => encodeSegmentation(placed, [masks[2]!], options), 'VOLUME_INVALID');
});

t.test('dciodvfy', { skip: noChecker }, (t) => t.end());
