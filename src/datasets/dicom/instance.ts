import { VersemiError } from '../../errors.js';
import type { Triple } from '../../volume/volume.js';
import { type DicomFile, type Elements, type FileHead, type ParsedFile, parseHeader, triple } from './elements.js';
import type { PixelElement } from './whole.js';

/** How the pixels of an object are stored (PS3.5, 8.1.1; PS3.3, C.7.6.3 and C.7.6.24). */
export interface PixelFormat {
  readonly transferSyntax: string;
  readonly element: PixelElement;
  readonly kind: 'integer' | 'float32' | 'float64';
  readonly bitsAllocated: number;
  readonly bitsStored: number;
  readonly highBit: number;
  readonly signed: boolean;
  readonly photometric: string;
  /** Stored values, both ends included, that mark pixels outside of the image. */
  readonly padding?: readonly [number, number];
}

/** One plane of pixels with its place. */
export interface Frame {
  readonly instance: Instance;
  /** Counted from 0 within its object. */
  readonly index: number;
  /** Centre of the first pixel, in millimetres, LPS (to the left, to the back, to the head). */
  readonly positionMm: Triple;
  /** Directions in which columns and rows are counted, LPS: along a row, then along a column. */
  readonly orientation: readonly number[];
  /** Between rows, then between columns. */
  readonly spacingMm: readonly [number, number];
  readonly sliceThicknessMm?: number;
  readonly slope: number;
  readonly intercept: number;
}

/** One object with an image: a file. */
export interface Instance {
  readonly file: DicomFile;
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  readonly studyUid: string;
  readonly seriesUid: string;
  readonly frameOfReferenceUid?: string;
  readonly modality: string;
  readonly seriesDescription?: string;
  readonly seriesNumber?: number;
  readonly instanceNumber?: number;
  /** True for scouts, on which slices are planned. */
  readonly isLocalizer: boolean;
  readonly rows: number;
  readonly columns: number;
  readonly numberOfFrames: number;
  readonly pixels: PixelFormat;
}

/** Objects that hold outlines or segments of other objects, and those that are neither these nor images. */
export type ObjectKind = 'image' | 'structures' | 'segmentation' | 'other';

const structureSetClass = '1.2.840.10008.5.1.4.1.1.481.3';
/** Segmentation, and Label Map Segmentation. */
const segmentationClasses = ['1.2.840.10008.5.1.4.1.1.66.4', '1.2.840.10008.5.1.4.1.1.66.7'];
/** Its elements list files of a medium. */
const directoryClass = '1.2.840.10008.1.3.10';

export function kindOf(elements: Elements): ObjectKind {
  const sopClass = elements.text('sopClassUid');
  if (sopClass === structureSetClass) return 'structures';
  if (sopClass === undefined) return 'other';
  if (segmentationClasses.includes(sopClass)) return 'segmentation';
  if (sopClass === directoryClass) return 'other';
  return elements.has('rows') && elements.has('columns') ? 'image' : 'other';
}

/** What is known of an object that holds no image, for the list of what a folder has. */
export interface OtherObject {
  readonly file: DicomFile;
  readonly kind: Exclude<ObjectKind, 'image'>;
  readonly modality: string;
  readonly studyUid?: string;
  readonly seriesUid?: string;
  readonly seriesDescription?: string;
  readonly frameOfReferenceUid?: string;
}

export interface ReadObject {
  readonly image?: { readonly instance: Instance; readonly frames: readonly Frame[] };
  readonly other?: OtherObject;
}

/**
 * Header of an object: an image with the places of its frames, or another object. Its pixels are not read.
 * @param head the start of the file, where it was read already
 * @throws VERSEMI_FILE_FORMAT, VERSEMI_FILE_CORRUPT, VERSEMI_FORMAT_UNSUPPORTED
 */
export async function readObject(file: DicomFile, head?: FileHead): Promise<ReadObject> {
  const parsed = await parseHeader(file, head);
  const { elements } = parsed;
  const kind = kindOf(elements);
  if (kind !== 'image') {
    const own = (name: 'studyUid' | 'seriesUid' | 'seriesDescription' | 'frameOfReferenceUid') => {
      const value = elements.text(name);
      return value === undefined ? {} : { [name]: value };
    };
    return {
      other: {
        file,
        kind,
        modality: elements.text('modality') ?? '?',
        ...own('studyUid'),
        ...own('seriesUid'),
        ...own('seriesDescription'),
        ...own('frameOfReferenceUid'),
      },
    };
  }
  const instance = instanceOf(parsed, file);
  return { image: { instance, frames: framesOf(elements, instance) } };
}

/** The image of an object, without the places of its frames. */
export function instanceOf(parsed: ParsedFile, file: DicomFile): Instance {
  const { elements } = parsed;
  const optional = <Key extends string, Value>(key: Key, value: Value | undefined) =>
    (value === undefined ? {} : { [key]: value }) as { readonly [K in Key]?: Value };
  const samples = elements.number('samplesPerPixel') ?? 1;
  if (samples !== 1) {
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file: file.name,
      field: 'samplesPerPixel (0028,0002)',
      expected: '1, an image of grey values',
      found: `${samples} (${elements.text('photometricInterpretation') ?? 'colours'})`,
      remedy: 'Leave colour images (screenshots, reports, ultrasound) out.',
    });
  }
  return {
    file,
    sopClassUid: elements.requireText('sopClassUid'),
    sopInstanceUid: elements.requireText('sopInstanceUid'),
    studyUid: elements.requireText('studyUid'),
    seriesUid: elements.requireText('seriesUid'),
    modality: elements.text('modality') ?? '?',
    rows: elements.whole('rows', 1, 65535),
    columns: elements.whole('columns', 1, 65535),
    numberOfFrames: elements.has('numberOfFrames') ? elements.whole('numberOfFrames', 1, 1e6) : 1,
    pixels: pixelFormat(parsed),
    isLocalizer: elements.values('imageType').some((value) => /^LOCALI[SZ]ER\s*$/i.test(String(value))),
    ...optional('frameOfReferenceUid', elements.text('frameOfReferenceUid')),
    ...optional('seriesDescription', elements.text('seriesDescription')),
    ...optional('seriesNumber', elements.number('seriesNumber')),
    ...optional('instanceNumber', elements.number('instanceNumber')),
  };
}

function pixelFormat({ elements, transferSyntax, pixels: element }: ParsedFile): PixelFormat {
  const photometric = elements.text('photometricInterpretation') ?? 'MONOCHROME2';
  if (!/^MONOCHROME[12]$/.test(photometric)) {
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file: elements.file,
      field: 'photometricInterpretation (0028,0004)',
      expected: 'MONOCHROME1 or MONOCHROME2',
      found: photometric,
      remedy: 'Leave colour images out.',
    });
  }
  if (element === undefined) throw elements.missing('pixelData');
  if (element.name !== 'pixelData') {
    const bits = element.name === 'floatPixelData' ? 32 : 64;
    return {
      transferSyntax,
      element,
      kind: bits === 32 ? 'float32' : 'float64',
      bitsAllocated: bits,
      bitsStored: bits,
      highBit: bits - 1,
      signed: true,
      photometric,
    };
  }
  const bitsAllocated = elements.whole('bitsAllocated', 1, 32);
  if (![8, 16, 32].includes(bitsAllocated)) throw elements.wrong('bitsAllocated', '8, 16 or 32');
  const bitsStored = elements.has('bitsStored') ? elements.whole('bitsStored', 1, bitsAllocated) : bitsAllocated;
  const highBit = elements.has('highBit')
    ? elements.whole('highBit', bitsStored - 1, bitsAllocated - 1)
    : bitsStored - 1;
  const signed = (elements.has('pixelRepresentation') ? elements.whole('pixelRepresentation', 0, 1) : 0) === 1;
  const padding = paddingOf(elements, signed, bitsAllocated);
  return {
    transferSyntax,
    element,
    kind: 'integer',
    bitsAllocated,
    bitsStored,
    highBit,
    signed,
    photometric,
    ...(padding === undefined ? {} : { padding }),
  };
}

/** The limits may be written as signed or as unsigned, whatever the pixels are. */
function paddingOf(elements: Elements, signed: boolean, bits: number): readonly [number, number] | undefined {
  const asStored = (value: number) => {
    const wrapped = ((value % 2 ** bits) + 2 ** bits) % 2 ** bits;
    return signed && wrapped >= 2 ** (bits - 1) ? wrapped - 2 ** bits : wrapped;
  };
  const value = elements.number('pixelPaddingValue');
  if (value === undefined) return undefined;
  const limit = elements.number('pixelPaddingRangeLimit') ?? value;
  const ends = [asStored(value), asStored(limit)].sort((a, b) => a - b);
  return [ends[0]!, ends[1]!];
}

/** Frames of an object with their places: of its functional groups where it has those, else of the object itself. */
function framesOf(elements: Elements, instance: Instance): Frame[] {
  if (!elements.has('perFrameGroups') && !elements.has('sharedGroups')) {
    if (instance.numberOfFrames !== 1) {
      throw new VersemiError('FORMAT_UNSUPPORTED', {
        file: elements.file,
        field: 'numberOfFrames (0028,0008)',
        expected: 'one frame, or functional groups that place each of them',
        found: `${instance.numberOfFrames} frames without places`,
        remedy: 'Leave the object out; cine loops and nuclear medicine of this kind are not volumes.',
      });
    }
    return [placed(instance, 0, [elements], [elements], [elements], [elements])];
  }
  const shared = elements.items('sharedGroups')[0];
  const perFrame = elements.items('perFrameGroups');
  if (perFrame.length !== instance.numberOfFrames)
    throw elements.wrong('perFrameGroups', `${instance.numberOfFrames} items, one per frame`);
  const group = (
    frame: Elements,
    name: 'planePositionSequence' | 'planeOrientationSequence' | 'pixelMeasuresSequence' | 'pixelValueTransformation',
  ) => [...frame.items(name), ...(shared?.items(name) ?? [])];
  return perFrame.map((frame, index) =>
    placed(
      instance,
      index,
      group(frame, 'planePositionSequence'),
      group(frame, 'planeOrientationSequence'),
      group(frame, 'pixelMeasuresSequence'),
      group(frame, 'pixelValueTransformation'),
    ),
  );
}

/** @param places where the element may stand, the first that there is counts; likewise for the others */
function placed(
  instance: Instance,
  index: number,
  places: readonly Elements[],
  orientations: readonly Elements[],
  measures: readonly Elements[],
  values: readonly Elements[],
): Frame {
  const [place, turn, measure] = [places[0], orientations[0], measures[0]];
  const noPlace = (field: string) =>
    new VersemiError('FILE_FORMAT', {
      file: instance.file.name,
      field,
      expected: 'a place in the patient for each frame',
      found: 'none',
      remedy: 'Leave the object out; scouts, reports and screenshots have no place.',
    });
  if (place?.has('position') !== true) throw noPlace('position (0020,0032)');
  if (turn?.has('orientation') !== true) throw noPlace('orientation (0020,0037)');
  if (measure?.has('pixelSpacing') !== true) throw noPlace('pixelSpacing (0028,0030)');
  const spacing = measure.numbers('pixelSpacing', 2);
  if (!spacing.every((length) => length > 0)) throw measure.wrong('pixelSpacing', 'two lengths above 0');
  const orientation = turn.numbers('orientation', 6);
  const [row, column] = [triple(orientation), triple(orientation.slice(3))];
  const isUnit = (v: Triple) => Math.abs(Math.hypot(...v) - 1) < 1e-3;
  if (!isUnit(row) || !isUnit(column) || Math.abs(dot(row, column)) > 1e-3)
    throw turn.wrong('orientation', 'two directions of length 1 at a right angle');
  const thickness = measure.number('sliceThickness');
  return {
    instance,
    index,
    ...(thickness === undefined || !(thickness > 0) ? {} : { sliceThicknessMm: thickness }),
    positionMm: triple(place.numbers('position', 3)),
    orientation,
    spacingMm: [spacing[0]!, spacing[1]!],
    slope: values[0]?.number('rescaleSlope') ?? 1,
    intercept: values[0]?.number('rescaleIntercept') ?? 0,
  };
}

export function dot(a: Triple, b: Triple): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/** Direction across the plane of a frame, in which slices are counted. */
export function normalOf(orientation: readonly number[]): Triple {
  const [a, b, c, d, e, f] = orientation as [number, number, number, number, number, number];
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}
