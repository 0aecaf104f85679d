// Segmentations and structure sets that are written: read back here, by pydicom, checked by dciodvfy.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
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
import { codedAnatomy } from '../../src/preprocessing/anatomy.js';
import { RandomStream, streams } from '../../src/random.js';
import { scalingAffine } from '../../src/volume/affine.js';
import { failure } from '../unit/datasets-support.js';
import { systemPython } from './python.js';

/** As much of dcmjs as a viewer uses. */
interface DcmjsViewer {
  readonly data: { readonly DicomMessage: { readFile(bytes: ArrayBuffer): { write(): ArrayBuffer } } };
  readonly adapters: {
    readonly Cornerstone: {
      readonly Segmentation: {
        generateToolState(
          imageIds: readonly string[],
          bytes: ArrayBuffer,
          metadata: { get(module: string, id: string): unknown },
        ): {
          readonly labelmapBufferArray: readonly ArrayBuffer[];
          readonly segMetadata: {
            readonly data: readonly { readonly SegmentedPropertyTypeCodeSequence: readonly { CodeValue: string }[] }[];
          };
        };
      };
    };
  };
}

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
  for (const name of ['plain', 'tilted', 'flipped', 'enhanced']) {
    const { volume, placed } = await readDicom(join(folder, name));
    const masks = masksFor(volume.sizeVoxels);
    const averaged = name === 'tilted' ? { models: ['folds/fold-0', 'folds/fold-1'] } : {};
    const segmentation = await encodeSegmentation(placed, masks, { ...options, ...averaged });
    const structures = await encodeStructureSet(placed, masks, { ...options, ...averaged });
    for (const bytes of averaged.models === undefined ? [] : [segmentation, structures])
      t.ok(Buffer.from(bytes).includes('0.1.0\\folds/fold-0\\folds/fold-1'), 'all models are named');
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
      types: string[][][];
      regions: string[][][];
    };
    t.strictSame(facts.types, [
      [
        ['123037004', 'SCT', 'Anatomical Structure'],
        ['87878005', 'SCT', 'Left ventricle'],
      ],
      ...[1, 2].map(() => [
        ['91723000', 'SCT', 'Anatomical Structure'],
        ['85756007', 'SCT', 'Tissue'],
      ]),
    ]);
    t.strictSame(facts.regions, [[['87878005', 'SCT', 'Left ventricle']], [], []]);
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

t.test('the viewer adapter that comes with dcmjs puts every voxel in its place', { skip }, async (t) => {
  const { adapters, data } = createRequire(import.meta.url)('dcmjs') as DcmjsViewer;
  for (const name of ['plain', 'tilted', 'flipped', 'enhanced']) {
    const { volume, placed } = await readDicom(join(folder, name));
    const [columns, rows] = volume.sizeVoxels;
    const { series, grid } = placed;
    // What a viewer knows of each image of the series.
    const metadata = {
      get(module: string, id: string) {
        const { instance, orientation, positionMm, spacingMm } = grid.frames[Number.parseInt(id, 10)]!;
        const known: Record<string, unknown> = {
          generalSeriesModule: { seriesInstanceUID: series.uid, studyInstanceUID: series.studyUid },
          sopCommonModule: { sopInstanceUID: instance.sopInstanceUid, sopClassUID: instance.sopClassUid },
          imagePixelModule: { rows, columns },
          imagePlaneModule: {
            ...{ rows, columns, rowCosines: orientation.slice(0, 3), columnCosines: orientation.slice(3) },
            ...{ imagePositionPatient: positionMm, pixelSpacing: spacingMm },
            frameOfReferenceUID: instance.frameOfReferenceUid,
          },
        };
        return known[module];
      },
    };
    const masks = masksFor(volume.sizeVoxels);
    // A voxel of this adapter's label map has one label, so that the masks may not overlap.
    const apart = masks[1]!.data.map((voxel, i) => (masks[0]!.data[i] === 0 ? voxel : 0));
    const bytes = await encodeSegmentation(placed, [masks[0]!, { ...masks[1]!, data: apart }], options);
    const buffer = bytes.slice().buffer;
    // The adapter finds a frame of an object of several by the end of this name.
    const ids = grid.frames.map(({ index }, slice) => `${slice}, frame=${index}`);
    const { labelmapBufferArray, segMetadata } = adapters.Cornerstone.Segmentation.generateToolState(
      ids,
      buffer,
      metadata,
    );
    t.equal(labelmapBufferArray.length, 1);
    t.strictSame(
      Array.from(new Uint16Array(labelmapBufferArray[0]!)),
      Array.from(masks[0]!.data, (voxel, i) => voxel + 2 * apart[i]!),
      name,
    );
    t.equal(segMetadata.data[1]!.SegmentedPropertyTypeCodeSequence[0]?.CodeValue, '87878005');
    // Written again by dcmjs, it still says the same.
    const parsed = data.DicomMessage.readFile(buffer);
    const again = await readSegmentation(fileOfBytes('again', new Uint8Array(parsed.write())));
    for (const [i, wanted] of [masks[0]!.data, apart].entries())
      t.strictSame(await maskOfSegment(again, i + 1, volume.sizeVoxels, volume.affine), wanted, `${name}, again`);
  }
});

t.test(
  'codes of well-known labels are those of DICOM',
  { skip: python === undefined && 'python3-pydicom is not here' },
  (t) => {
    const program = `
import json, sys
from pydicom.sr._concepts_dict import concepts
print(json.dumps({code: [m for n in concepts["SCT"].values() if code in n for m in [n[code][0]]] for code in sys.argv[1:]}))`;
    const all = codedAnatomy().flatMap(({ code, category }) => [code, category]);
    const { stdout, stderr } = spawnSync(python!, ['-W', 'ignore', '-c', program, ...all.map(({ value }) => value)], {
      encoding: 'utf8',
    });
    if (stdout === '') t.comment(stderr);
    const meanings = JSON.parse(stdout) as Record<string, string[]>;
    for (const { value, meaning } of all) {
      // The dictionary has no myocardium as a whole.
      if (value === '74281007') continue;
      const known = meanings[value]!.map((text) => text.toLowerCase());
      t.ok(known.includes(meaning.toLowerCase()), `${value} ${meaning}: ${known.join(', ')}`);
    }
    t.end();
  },
);

t.test('dciodvfy', { skip: noChecker }, (t) => t.end());
