import { VersemiError } from '../../errors.js';
import { invertAffine, multiplyAffines } from '../../volume/affine.js';
import type { Affine, Triple } from '../../volume/volume.js';
import { type DicomFile, type Elements, type ParsedFile, parseDicom, triple } from './elements.js';
import { instanceOf } from './instance.js';
import { bytesOf, openFrames } from './pixels.js';

/** One segment of a segmentation object (PS3.3, A.51). */
export interface Segment {
  readonly number: number;
  readonly label: string;
}

interface SegmentFrame {
  /** Undefined in a label map, whose pixels are the numbers of segments. */
  readonly segment?: number;
  /** From (column, row, 0) to millimetres in RAS+. */
  readonly affine: Affine;
  /** 1 inside, 0 outside; in a label map the numbers of segments. */
  pixels(): Promise<ArrayLike<number>>;
}

export interface Segmentation {
  readonly file: string;
  readonly segments: readonly Segment[];
  readonly rows: number;
  readonly columns: number;
  readonly frames: readonly SegmentFrame[];
  /** Series that the segments were drawn on. */
  readonly seriesUids: readonly string[];
}

/** @throws VERSEMI_FILE_FORMAT, VERSEMI_FILE_CORRUPT, VERSEMI_FILE_TRUNCATED, VERSEMI_FORMAT_UNSUPPORTED */
export async function readSegmentation(file: DicomFile): Promise<Segmentation> {
  const parsed = await parseDicom(await file.bytes(), file.name);
  const { elements } = parsed;
  const type = elements.requireText('segmentationType');
  const segments = elements.items('segmentSequence').map((segment) => ({
    number: segment.whole('segmentNumber', 0, 65535),
    label: segment.text('segmentLabel') ?? `Segment ${segment.number('segmentNumber')}`,
  }));
  const rows = elements.whole('rows', 1, 65535);
  const columns = elements.whole('columns', 1, 65535);
  const count = elements.has('numberOfFrames') ? elements.whole('numberOfFrames', 1, 1e6) : 1;
  const shared = elements.items('sharedGroups')[0];
  const perFrame = elements.items('perFrameGroups');
  if (perFrame.length !== count) throw elements.wrong('perFrameGroups', `${count} items, one per frame`);
  const read = type === 'BINARY' ? binaryFrames(elements, rows * columns, count) : await byteFrames(parsed, file, type);
  const frames = perFrame.map((frame, index) => {
    const group = (
      name: 'planePositionSequence' | 'planeOrientationSequence' | 'pixelMeasuresSequence' | 'segmentIdentification',
    ) => frame.items(name)[0] ?? shared?.items(name)[0];
    const identification = group('segmentIdentification');
    const segment = type === 'LABELMAP' ? undefined : identification?.whole('referencedSegmentNumber', 1, 65535);
    if (type !== 'LABELMAP' && segment === undefined) throw elements.missing('segmentIdentification');
    return {
      ...(segment === undefined ? {} : { segment }),
      affine: planeAffine(
        elements,
        group('planePositionSequence'),
        group('planeOrientationSequence'),
        group('pixelMeasuresSequence'),
      ),
      pixels: () => read(index),
    };
  });
  const seriesUids = elements.items('referencedSeriesSequence').flatMap((series) => series.text('seriesUid') ?? []);
  return { file: file.name, segments, rows, columns, frames, seriesUids };
}

/** Pixels of one bit, eight in a byte, the first in the lowest bit; a frame may begin within a byte. */
function binaryFrames(elements: Elements, pixels: number, count: number): (index: number) => Promise<Uint8Array> {
  const bytes = bytesOf(elements.values('pixelData')[0], elements);
  const needed = Math.ceil((pixels * count) / 8);
  if (bytes.length < needed) {
    throw new VersemiError('FILE_TRUNCATED', {
      file: elements.file,
      field: 'pixelData (7FE0,0010)',
      expected: `${needed} bytes (${count} frames of ${pixels} bits)`,
      found: `${bytes.length}`,
      remedy: 'Copy or export the file again.',
    });
  }
  return async (index) => {
    const frame = new Uint8Array(pixels);
    for (let i = 0, bit = index * pixels; i < pixels; i++, bit++) frame[i] = (bytes[bit >> 3]! >> (bit & 7)) & 1;
    return frame;
  };
}

/** Pixels of whole bytes: numbers of segments, or fractions, of which half and more counts as inside. */
async function byteFrames(
  parsed: ParsedFile,
  file: DicomFile,
  type: string,
): Promise<(index: number) => Promise<ArrayLike<number>>> {
  const { elements } = parsed;
  if (type !== 'FRACTIONAL' && type !== 'LABELMAP')
    throw elements.wrong('segmentationType', 'BINARY, FRACTIONAL or LABELMAP');
  const read = await openFrames(instanceOf(parsed, file));
  if (type === 'LABELMAP') return read;
  const most = elements.whole('maximumFractionalValue', 1, 255);
  return async (index) => Uint8Array.from(await read(index), (value) => (2 * value >= most ? 1 : 0));
}

function planeAffine(
  elements: Elements,
  place: Elements | undefined,
  turn: Elements | undefined,
  measure: Elements | undefined,
): Affine {
  if (place === undefined) throw elements.missing('position');
  if (turn === undefined) throw elements.missing('orientation');
  if (measure === undefined) throw elements.missing('pixelSpacing');
  const position = triple(place.numbers('position', 3));
  const directions = turn.numbers('orientation', 6);
  const [betweenRows, betweenColumns] = measure.numbers('pixelSpacing', 2) as [number, number];
  const line = (r: number, sign: number) => [
    sign * directions[r]! * betweenColumns,
    sign * directions[3 + r]! * betweenRows,
    0,
    sign * position[r]!,
  ];
  return [...line(0, -1), ...line(1, -1), ...line(2, 1), 0, 0, 0, 1];
}

/** Deviation from a voxel's centre that is taken for rounding, in voxels. */
const placeTolerance = 0.05;

/**
 * Voxels of a segment on the grid of the images that it was drawn on. The planes may be turned or mirrored within the grid and may leave slices
 * out, which then are empty.
 * @param affine of the grid, to millimetres in RAS+
 * @returns 0 and 1
 * @throws VERSEMI_GEOMETRY_MISMATCH when a plane does not lie on the voxels of the grid
 */
export async function maskOfSegment(
  segmentation: Segmentation,
  number: number,
  sizeVoxels: Triple,
  affine: Affine,
): Promise<Uint8Array> {
  const mask = new Uint8Array(sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2]);
  const toVoxel = invertAffine(affine)!;
  const strides = [1, sizeVoxels[0], sizeVoxels[0] * sizeVoxels[1]];
  const { rows, columns } = segmentation;
  for (const frame of segmentation.frames) {
    if (frame.segment !== undefined && frame.segment !== number) continue;
    const place = multiplyAffines(toVoxel, frame.affine);
    const column = (c: number): number[] => [place[c]!, place[4 + c]!, place[8 + c]!];
    const first = column(3).map(Math.round);
    const [right, down] = [column(0).map(Math.round), column(1).map(Math.round)];
    const last = [0, 1, 2].map((r) => column(3)[r]! + (columns - 1) * column(0)[r]! + (rows - 1) * column(1)[r]!);
    const end = [0, 1, 2].map((r) => first[r]! + (columns - 1) * right[r]! + (rows - 1) * down[r]!);
    const inside = (voxel: readonly number[]) => voxel.every((value, axis) => value >= 0 && value < sizeVoxels[axis]!);
    const fits =
      column(3).every((value, r) => Math.abs(value - first[r]!) <= placeTolerance) &&
      last.every((value, r) => Math.abs(value - end[r]!) <= placeTolerance) &&
      [right, down].every((direction) => direction.reduce((sum, value) => sum + Math.abs(value), 0) === 1) &&
      inside(first) &&
      inside(end);
    if (!fits) {
      const text = (voxel: readonly number[]) => `(${voxel.map((value) => Number(value.toFixed(2))).join(', ')})`;
      throw new VersemiError('GEOMETRY_MISMATCH', {
        file: segmentation.file,
        field: `segment ${number}`,
        expected: `planes on the voxels of the images, 0 to ${sizeVoxels.map((size) => size - 1).join(' x ')}`,
        found: `one from voxel ${text(column(3))} to ${text(last)}`,
        remedy: 'Give the images that the segmentation was drawn on, or export it on their grid.',
      });
    }
    const at = (voxel: readonly number[]) => voxel.reduce((sum, value, axis) => sum + value * strides[axis]!, 0);
    const [start, stepRight, stepDown] = [at(first), at(right), at(down)];
    const pixels = await frame.pixels();
    const wanted = frame.segment === undefined ? number : 1;
    for (let row = 0, i = 0; row < rows; row++)
      for (let c = 0; c < columns; c++, i++) if (pixels[i] === wanted) mask[start + row * stepDown + c * stepRight] = 1;
  }
  return mask;
}
