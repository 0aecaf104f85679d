// Small DICOM objects that faults are made in: images in several transfer syntaxes, outlines, segments. Explicit, little-endian.
import { frameCodecs } from '../../src/datasets/dicom/library.js';
import type { BinaryField } from './mutate.js';

/** An object, and where its numbers and lengths lie. */
export interface DicomSeed {
  readonly bytes: Uint8Array;
  readonly fields: readonly BinaryField[];
}

export interface DicomSeeds {
  /** Each a whole series: its slices, or one object with several frames. */
  readonly series: readonly (readonly DicomSeed[])[];
  /** A structure set and a segmentation of the first series. */
  readonly structures: DicomSeed;
  readonly segmentation: DicomSeed;
}

type Item = readonly Element[];
type Element = readonly [tag: number, vr: string, value: string | readonly number[] | readonly Item[] | Uint8Array];

const longTypes = ['OB', 'OW', 'OF', 'SQ', 'UN', 'UT'];
const [columns, rows, slices] = [8, 6, 4];

/** Elements as bytes; a sequence has a length where its tag is even in its fourth bit, else a delimiter, so that both are tried. */
function encoded(elements: readonly Element[], fields: BinaryField[], at: number): Buffer {
  const parts: Buffer[] = [];
  let place = at;
  for (const [tag, vr, value] of elements) {
    const long = longTypes.includes(vr);
    const start = place + (long ? 12 : 8);
    const open = vr === 'SQ' && (tag & 8) !== 0;
    const content = contentOf(vr, value, fields, start, open);
    const head = Buffer.alloc(long ? 12 : 8);
    head.writeUInt16LE(tag >>> 16, 0);
    head.writeUInt16LE(tag & 0xffff, 2);
    head.write(vr, 4, 'latin1');
    if (long) head.writeUInt32LE(open ? 0xffffffff : content.length, 8);
    else head.writeUInt16LE(content.length, 6);
    fields.push({ at: place + (long ? 8 : 6), type: long ? 'int32' : 'int16' }, { at: place, type: 'int32' });
    if (vr === 'US') fields.push({ at: start, type: 'int16' }, { at: start, type: 'int16' });
    parts.push(head, content);
    place = start + content.length;
  }
  return Buffer.concat(parts);
}

function contentOf(vr: string, value: Element[2], fields: BinaryField[], start: number, open: boolean): Buffer {
  if (vr === 'SQ') {
    const parts: Buffer[] = [];
    let place = start;
    for (const item of value as readonly Item[]) {
      const content = encoded(item, fields, place + 8);
      const head = Buffer.alloc(8);
      head.writeUInt32LE(0xe000fffe, 0);
      head.writeUInt32LE(content.length, 4);
      fields.push({ at: place + 4, type: 'int32' });
      parts.push(head, content);
      place += 8 + content.length;
    }
    if (open) parts.push(Buffer.from([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]));
    return Buffer.concat(parts);
  }
  if (vr === 'US') {
    const bytes = Buffer.alloc(2 * (value as number[]).length);
    for (const [i, number] of (value as number[]).entries()) bytes.writeUInt16LE(number & 0xffff, 2 * i);
    return bytes;
  }
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : Buffer.from(value as Uint8Array);
  return bytes.length % 2 === 0
    ? bytes
    : Buffer.concat([bytes, Buffer.from(vr === 'UI' || vr[0] === 'O' ? '\0' : ' ')]);
}

function object(
  transferSyntax: string,
  elements: readonly Element[],
  behind: Uint8Array = new Uint8Array(),
): DicomSeed {
  const fields: BinaryField[] = [];
  const meta = encoded([[0x00020010, 'UI', transferSyntax]], fields, 144);
  const group = Buffer.from([2, 0, 0, 0, 0x55, 0x4c, 4, 0, meta.length, 0, 0, 0]);
  const head = Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), group, meta]);
  return { bytes: Buffer.concat([head, encoded(elements, fields, head.length), behind]), fields };
}

const uid = (number: number) => `1.2.3.${number}`;
const common = (sopClass: string, instance: number, modality: string): Element[] => [
  [0x00080016, 'UI', sopClass],
  [0x00080018, 'UI', uid(instance)],
  [0x00080060, 'CS', modality],
  [0x0008103e, 'LO', 'made up'],
  [0x0020000d, 'UI', uid(1)],
  [0x0020000e, 'UI', modality === 'CT' ? uid(2) : uid(instance)],
  [0x00200011, 'IS', '3'],
  [0x00200052, 'UI', uid(3)],
];
const pixelFormat = (bits: number, signed: number): Element[] => [
  [0x00280002, 'US', [1]],
  [0x00280004, 'CS', 'MONOCHROME2'],
  [0x00280010, 'US', [rows]],
  [0x00280011, 'US', [columns]],
  [0x00280100, 'US', [bits]],
  [0x00280101, 'US', [bits]],
  [0x00280102, 'US', [bits - 1]],
  [0x00280103, 'US', [signed]],
];
const sorted = (elements: readonly Element[]) => [...elements].sort((a, b) => a[0] - b[0]);
const voxels = (z: number) => Int16Array.from({ length: columns * rows }, (_, i) => ((i * 37 + z * 11) % 200) - 90);
const pixelBytes = (z: number) => new Uint8Array(voxels(z).buffer);

const ct = '1.2.840.10008.5.1.4.1.1.2';
const slice = (z: number, transferSyntax: string, pixels: readonly Element[], behind?: Uint8Array) =>
  object(
    transferSyntax,
    sorted([
      ...common(ct, 10 + z, 'CT'),
      ...pixelFormat(16, 1),
      [0x00200032, 'DS', `-10\\20\\${z * 2.5}`],
      [0x00200037, 'DS', '1\\0\\0\\0\\1\\0'],
      [0x00280030, 'DS', '0.75\\1.25'],
      [0x00280120, 'US', [0x8000]],
      [0x00281052, 'DS', '-24'],
      [0x00281053, 'DS', z === 1 ? '2' : '1'],
      ...pixels,
    ]),
    behind,
  );

/** A compressed frame as the only fragment, behind an empty table of offsets (PS3.5, A.4). */
function fragments(frame: Uint8Array): Buffer {
  const even = frame.length % 2 === 0 ? frame : Buffer.concat([frame, Buffer.alloc(1)]);
  const head = Buffer.from([
    0xe0, 0x7f, 0x10, 0, 0x4f, 0x42, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0, 0xe0, 0, 0, 0, 0,
  ]);
  const item = Buffer.from([0xfe, 0xff, 0, 0xe0, 0, 0, 0, 0]);
  item.writeUInt32LE(even.length, 4);
  return Buffer.concat([head, item, even, Buffer.from([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0])]);
}

const encoders = [
  ['1.2.840.10008.1.2.5', 'encodeRle'],
  ['1.2.840.10008.1.2.4.70', 'encodeJpeg'],
  ['1.2.840.10008.1.2.4.80', 'encodeJpegLs'],
  ['1.2.840.10008.1.2.4.90', 'encodeJpeg2000'],
] as const;

const place = (z: number): Item => [[0x00200032, 'DS', `-10\\20\\${z * 2.5}`]];
const planes: Item = [
  [0x00209116, 'SQ', [[[0x00200037, 'DS', '1\\0\\0\\0\\1\\0']]]],
  [0x00289110, 'SQ', [[[0x00280030, 'DS', '0.75\\1.25']]]],
];
const explicit = '1.2.840.10008.1.2.1';

/** @param order of the frames in the object */
function enhanced(order: readonly number[]): DicomSeed {
  return object(
    explicit,
    sorted([
      ...common('1.2.840.10008.5.1.4.1.1.2.1', 20, 'CT'),
      ...pixelFormat(16, 1),
      [0x00280008, 'IS', String(order.length)],
      [0x52009229, 'SQ', [planes]],
      [0x52009230, 'SQ', order.map((z): Item => [[0x00209113, 'SQ', [place(z)]]])],
      [0x7fe00010, 'OW', Buffer.concat(order.map(pixelBytes))],
    ]),
  );
}

function segmentation(): DicomSeed {
  return object(
    explicit,
    sorted([
      ...common('1.2.840.10008.5.1.4.1.1.66.4', 30, 'SEG').filter(([tag]) => tag !== 0x0020000e),
      [0x0020000e, 'UI', uid(31)],
      ...pixelFormat(1, 0),
      [0x00081115, 'SQ', [[[0x0020000e, 'UI', uid(2)]]]],
      [0x00280008, 'IS', '2'],
      [0x00620001, 'CS', 'BINARY'],
      [
        0x00620002,
        'SQ',
        [
          [
            [0x00620004, 'US', [1]],
            [0x00620005, 'LO', 'organ'],
          ],
        ],
      ],
      [0x52009229, 'SQ', [[...planes, [0x0062000a, 'SQ', [[[0x0062000b, 'US', [1]]]]]]]],
      [0x52009230, 'SQ', [1, 2].map((z): Item => [[0x00209113, 'SQ', [place(z)]]])],
      [0x7fe00010, 'OB', Uint8Array.from({ length: 12 }, (_, i) => (i * 73) & 255)],
    ]),
  );
}

function structures(): DicomSeed {
  const contour = (z: number): Item => [
    [0x30060042, 'CS', 'CLOSED_PLANAR'],
    [0x30060046, 'IS', '4'],
    [
      0x30060050,
      'DS',
      [-9, 21, -4, 21, -4, 23, -9, 23].map((v, i) => (i % 2 === 0 ? `${v}` : `${v}\\${z * 2.5}`)).join('\\'),
    ],
  ];
  return object(
    explicit,
    sorted([
      ...common('1.2.840.10008.5.1.4.1.1.481.3', 40, 'RTSTRUCT'),
      [
        0x30060010,
        'SQ',
        [
          [
            [0x00200052, 'UI', uid(3)],
            [0x30060012, 'SQ', [[[0x30060014, 'SQ', [[[0x0020000e, 'UI', uid(2)]]]]]]],
          ],
        ],
      ],
      [
        0x30060020,
        'SQ',
        [
          [
            [0x30060022, 'IS', '1'],
            [0x30060026, 'LO', 'organ'],
          ],
        ],
      ],
      [
        0x30060039,
        'SQ',
        [
          [
            [0x30060040, 'SQ', [contour(1), contour(2)]],
            [0x30060084, 'IS', '1'],
          ],
        ],
      ],
    ]),
  );
}

/** The library that decodes frames encodes them too. */
type Encoders = Readonly<Record<string, (context: unknown) => { getEncodedBuffer(): Uint8Array }>>;

export async function makeDicomSeeds(): Promise<DicomSeeds> {
  const { native, Context } = await frameCodecs();
  const all = Array.from({ length: slices }, (_, z) => z);
  const plain = (syntax: string) => all.map((z) => slice(z, syntax, [[0x7fe00010, 'OW', pixelBytes(z)]]));
  const compressed = encoders.map(([syntax, encoder]) =>
    all.map((z) => {
      const context = new Context({
        ...{ width: columns, height: rows, bitsAllocated: 16, bitsStored: 16, samplesPerPixel: 1 },
        ...{ pixelRepresentation: 1, planarConfiguration: 0, photometricInterpretation: 'MONOCHROME2' },
        decodedBuffer: pixelBytes(z),
      });
      return slice(
        z,
        syntax,
        [],
        fragments(Uint8Array.from((native as unknown as Encoders)[encoder]!(context).getEncodedBuffer())),
      );
    }),
  );
  return {
    series: [plain(explicit), plain(explicit), [enhanced([2, 0, 3, 1])], ...compressed],
    structures: structures(),
    segmentation: segmentation(),
  };
}
