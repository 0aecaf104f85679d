import { VersemiError } from '../../errors.js';
import { shown } from '../../json-text.js';
import type { Triple } from '../../volume/volume.js';
import { dicomLibrary } from './library.js';
import { endOfHeader, endOfMeta, MoreBytesNeeded, type PixelElement, requireWhole, transferSyntaxOf } from './whole.js';

/** A DICOM file that was found in a folder, in a zip file or in a browser; it is read when it is needed. */
export interface DicomFile {
  /** For error sentences, and as part of ids: a path. */
  readonly name: string;
  /** The first bytes, at most `most` of them. */
  head(most: number): Promise<FileHead>;
  /** Bytes from `start` on, `length` of them or fewer where the file ends. */
  range(start: number, length: number): Promise<Uint8Array>;
  bytes(): Promise<Uint8Array>;
}

/** The start of a file. */
export interface FileHead {
  readonly bytes: Uint8Array;
  /** Of the whole file. */
  readonly sizeBytes: number;
}

/** A file whose bytes lie in memory, in a buffer of their own or in a part of one. */
export function fileOfBytes(name: string, bytes: Uint8Array): DicomFile {
  return withMeta({
    name,
    head: async (most) => ({ bytes: bytes.subarray(0, most), sizeBytes: bytes.length }),
    range: async (start, length) => bytes.subarray(start, start + length),
    bytes: async () => bytes,
  });
}

/**
 * The same file, with the preamble and the meta information put before its elements where it lacks both, as old archives and research
 * code write it.
 */
export function withMeta(file: DicomFile): DicomFile {
  let known: Uint8Array | undefined;
  const prefix = async () => {
    known ??= missingMeta((await file.head(16)).bytes);
    return known;
  };
  return {
    name: file.name,
    head: async (most) => {
      const head = await file.head(most);
      known ??= missingMeta(head.bytes);
      if (known.length === 0) return head;
      return { bytes: joined(known, head.bytes).subarray(0, most), sizeBytes: known.length + head.sizeBytes };
    },
    // Only pixels are read by place, which lie behind the elements.
    range: async (start, length) => file.range(start - (await prefix()).length, length),
    bytes: async () => {
      const before = await prefix();
      return before.length === 0 ? file.bytes() : joined(before, await file.bytes());
    },
  };
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** Elements of group 8 with which objects begin. */
const firstElements = [0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0016];

/** What a file that begins with its elements lacks; nothing for every other file. */
function missingMeta(start: Uint8Array): Uint8Array {
  if (start.length < 16 || start[0] !== 8 || start[1] !== 0) return new Uint8Array();
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  if (!firstElements.includes(view.getUint16(2, true))) return new Uint8Array();
  const type = String.fromCharCode(start[4]!, start[5]!);
  const isExplicit = /^(UL|CS|UI|DA|SH)$/.test(type) && view.getUint16(6, true) <= 128;
  if (!isExplicit && view.getUint32(4, true) > 128) return new Uint8Array();
  const syntax = isExplicit ? '1.2.840.10008.1.2.1\0' : '1.2.840.10008.1.2\0';
  const text = [...syntax].map((letter) => letter.charCodeAt(0));
  // Its length, then the transfer syntax.
  const meta = [
    2,
    0,
    0,
    0,
    0x55,
    0x4c,
    4,
    0,
    8 + text.length,
    0,
    0,
    0,
    2,
    0,
    0x10,
    0,
    0x55,
    0x49,
    text.length,
    0,
    ...text,
  ];
  const bytes = new Uint8Array(dicomStartBytes + meta.length);
  bytes.set([0x44, 0x49, 0x43, 0x4d], 128);
  bytes.set(meta, dicomStartBytes);
  return bytes;
}

/** Preamble and mark. */
export const dicomStartBytes = 132;

/** Tags, group and element (DICOM PS3.6). */
export const tags = {
  specificCharacterSet: '00080005',
  imageType: '00080008',
  sopClassUid: '00080016',
  sopInstanceUid: '00080018',
  studyDate: '00080020',
  studyTime: '00080030',
  accessionNumber: '00080050',
  referringPhysician: '00080090',
  studyDescription: '00081030',
  studyId: '00200010',
  patientBirthDate: '00100030',
  patientSex: '00100040',
  modality: '00080060',
  seriesDescription: '0008103E',
  referencedSeriesSequence: '00081115',
  patientName: '00100010',
  patientId: '00100020',
  sliceThickness: '00180050',
  seriesUid: '0020000E',
  studyUid: '0020000D',
  seriesNumber: '00200011',
  instanceNumber: '00200013',
  position: '00200032',
  orientation: '00200037',
  frameOfReferenceUid: '00200052',
  samplesPerPixel: '00280002',
  photometricInterpretation: '00280004',
  numberOfFrames: '00280008',
  rows: '00280010',
  columns: '00280011',
  pixelSpacing: '00280030',
  bitsAllocated: '00280100',
  bitsStored: '00280101',
  highBit: '00280102',
  pixelRepresentation: '00280103',
  pixelPaddingValue: '00280120',
  pixelPaddingRangeLimit: '00280121',
  rescaleIntercept: '00281052',
  rescaleSlope: '00281053',
  floatPixelData: '7FE00008',
  doublePixelData: '7FE00009',
  pixelData: '7FE00010',
  // Functional groups of multi-frame images.
  sharedGroups: '52009229',
  perFrameGroups: '52009230',
  planePositionSequence: '00209113',
  planeOrientationSequence: '00209116',
  pixelMeasuresSequence: '00289110',
  pixelValueTransformation: '00289145',
  // Segmentations.
  segmentationType: '00620001',
  segmentSequence: '00620002',
  segmentNumber: '00620004',
  segmentLabel: '00620005',
  segmentIdentification: '0062000A',
  referencedSegmentNumber: '0062000B',
  maximumFractionalValue: '0062000E',
  // Structure sets.
  structureSetRois: '30060020',
  roiNumber: '30060022',
  roiName: '30060026',
  roiContours: '30060039',
  contourSequence: '30060040',
  contourGeometricType: '30060042',
  contourData: '30060050',
  referencedRoiNumber: '30060084',
  referencedFramesOfReference: '30060010',
  rtReferencedStudies: '30060012',
  rtReferencedSeries: '30060014',
} as const;

export type TagName = keyof typeof tags;

interface RawElement {
  readonly vr: string;
  readonly Value?: readonly unknown[];
}

/** Elements of a data set, or of an item of a sequence. */
export class Elements {
  constructor(
    private readonly raw: Readonly<Record<string, RawElement>>,
    readonly file: string,
    /** Of an item: the library reads the texts of items as Latin-1, although they are UTF-8. */
    private readonly isUtf8Item = false,
  ) {}

  has(name: TagName): boolean {
    return (this.raw[tags[name]]?.Value?.length ?? 0) > 0;
  }

  values(name: TagName): readonly unknown[] {
    return this.raw[tags[name]]?.Value ?? [];
  }

  /** The value as text, without the spaces with which DICOM fills up; undefined where there is none. */
  text(name: TagName): string | undefined {
    const [value] = this.values(name);
    if (value === undefined || value === null) return undefined;
    const text = typeof value === 'object' ? (value as { Alphabetic?: unknown }).Alphabetic : value;
    const trimmed = this.decoded(String(text ?? '')).replace(/[\0 ]+$/, '');
    return trimmed === '' ? undefined : trimmed;
  }

  /** @throws VERSEMI_FILE_FORMAT when there is none */
  requireText(name: TagName): string {
    const text = this.text(name);
    if (text === undefined) throw this.missing(name);
    return text;
  }

  /** A finite number; undefined where there is none. @throws VERSEMI_FILE_FORMAT when it is no number */
  number(name: TagName): number | undefined {
    return this.has(name) ? this.numbers(name, 1)[0] : undefined;
  }

  /** @throws VERSEMI_FILE_FORMAT when there is none, or no whole number in the range */
  whole(name: TagName, low: number, high: number): number {
    const value = this.number(name);
    if (value === undefined) throw this.missing(name);
    if (!Number.isInteger(value) || value < low || value > high)
      throw this.wrong(name, `a whole number from ${low} to ${high}`);
    return value;
  }

  /** @param count undefined: as many as there are */
  numbers(name: TagName, count?: number): number[] {
    const values = this.values(name).map((value) =>
      typeof value === 'string' && value.trim() === '' ? NaN : Number(value),
    );
    if ((count !== undefined && values.length !== count) || !values.every(Number.isFinite))
      throw this.wrong(name, count === undefined ? 'numbers' : count === 1 ? 'a number' : `${count} numbers`);
    return values;
  }

  items(name: TagName): Elements[] {
    return this.values(name).map((item) => {
      if (typeof item !== 'object' || item === null || ArrayBuffer.isView(item))
        throw this.wrong(name, 'items of a sequence');
      const isUtf8 = this.isUtf8Item || this.text('specificCharacterSet') === 'ISO_IR 192';
      return new Elements(item as Record<string, RawElement>, this.file, isUtf8);
    });
  }

  private decoded(text: string): string {
    if (!this.isUtf8Item || !/^[\0-\xff]*[\x80-\xff][\0-\xff]*$/.test(text)) return text;
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0)));
    } catch {
      // It was read rightly, and holds letters of Latin-1.
      return text;
    }
  }

  missing(name: TagName): VersemiError {
    return new VersemiError('FILE_FORMAT', {
      file: this.file,
      field: fieldOf(name),
      expected: 'a value',
      found: 'none',
      remedy: 'Export the series again from the archive; this object lacks what its place or its pixels need.',
    });
  }

  wrong(name: TagName, expected: string): VersemiError {
    return new VersemiError('FILE_FORMAT', {
      file: this.file,
      field: fieldOf(name),
      expected,
      found: this.has(name) ? shown(this.values(name).slice(0, 8)) : 'nothing',
      remedy: 'Export the series again from the archive.',
    });
  }
}

function fieldOf(name: TagName): string {
  const tag = tags[name];
  return `${name} (${tag.slice(0, 4)},${tag.slice(4)})`;
}

/** Its elements are compressed as a whole, and so are their lengths. */
const deflated = '1.2.840.10008.1.2.1.99';

/** A file as the library parsed it. */
export interface ParsedFile {
  readonly elements: Elements;
  readonly transferSyntax: string;
  /** Undefined where the object has none. */
  readonly pixels?: PixelElement;
}

/** True when the bytes are a DICOM file of its own kind (PS3.10): a preamble and a mark. */
export function isDicom(start: Uint8Array): boolean {
  return start.length >= dicomStartBytes && String.fromCharCode(...start.subarray(128, 132)) === 'DICM';
}

/** Of most files this holds all elements but the pixels. */
export const headBytes = 1 << 15;

/**
 * The elements of a file, without its pixels, which are not read.
 * @param known the start of the file, where it was read already
 * @throws as {@link parseDicom}; of a file that is cut within compressed pixels, reading these tells
 */
export async function parseHeader(file: DicomFile, known?: FileHead): Promise<ParsedFile> {
  let head = known ?? (await file.head(headBytes));
  requireDicom(head.bytes, file.name);
  for (;;) {
    try {
      const start = endOfMeta(head.bytes, file.name);
      if (start > head.bytes.length && head.bytes.length < head.sizeBytes) throw new MoreBytesNeeded(start);
      const transferSyntax = transferSyntaxOf(head.bytes, start, file.name);
      // Deflated elements have no places in the file.
      if (transferSyntax === deflated) return await parseDicom(await file.bytes(), file.name);
      const { end, pixels } = endOfHeader(head.bytes, head.sizeBytes, start, transferSyntax, file.name);
      const parsed = await elementsOf(new Uint8Array(head.bytes.subarray(0, end)), file.name);
      return { ...parsed, ...(pixels === undefined ? {} : { pixels }) };
    } catch (error) {
      if (!(error instanceof MoreBytesNeeded)) throw error;
      head = await file.head(Math.max(error.bytes, 4 * head.bytes.length));
    }
  }
}

/** @throws VERSEMI_FILE_FORMAT when it is no DICOM file; VERSEMI_FILE_CORRUPT, VERSEMI_FILE_TRUNCATED when it cannot be parsed */
export async function parseDicom(bytes: Uint8Array, file: string): Promise<ParsedFile> {
  requireDicom(bytes, file);
  // The library keeps to the whole of a buffer.
  const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
  const parsed = await elementsOf(own, file);
  if (parsed.transferSyntax !== deflated) requireWhole(bytes, endOfMeta(bytes, file), parsed.transferSyntax, file);
  const name = (['floatPixelData', 'doublePixelData', 'pixelData'] as const).find((each) => parsed.elements.has(each));
  return { ...parsed, ...(name === undefined ? {} : { pixels: { name } }) };
}

function requireDicom(start: Uint8Array, file: string): void {
  if (isDicom(start)) return;
  throw new VersemiError('FILE_FORMAT', {
    file,
    expected: 'a DICOM file, with "DICM" at byte 128',
    found: `${start.length} bytes without it`,
    remedy: 'Leave the file out, or export it again as a DICOM file (PS3.10).',
  });
}

/** @param bytes all of a buffer */
async function elementsOf(bytes: Uint8Array, file: string): Promise<ParsedFile> {
  const { DicomMessage } = await dicomLibrary();
  let parsed: ReturnType<typeof DicomMessage.readFile>;
  try {
    parsed = DicomMessage.readFile(bytes.buffer as ArrayBuffer, { noCopy: true });
  } catch (error) {
    throw new VersemiError(
      'FILE_CORRUPT',
      {
        file,
        expected: 'DICOM elements up to the end of the file',
        found: error instanceof Error ? error.message.slice(0, 200) : 'an error of the parser',
        remedy: 'Copy or export the file again.',
      },
      error,
    );
  }
  const meta = new Elements(parsed.meta as Record<string, RawElement>, file);
  const syntax = (parsed.meta as Record<string, RawElement>)['00020010']?.Value?.[0];
  if (typeof syntax !== 'string') throw meta.missing('sopClassUid');
  return {
    elements: new Elements(parsed.dict as Record<string, RawElement>, file),
    transferSyntax: syntax.replace(/\0+$/, ''),
  };
}

/** Three numbers of an element. */
export function triple(values: readonly number[]): Triple {
  return [values[0]!, values[1]!, values[2]!];
}
