import { VersemiError } from '../../errors.js';
import type { VoxelArray } from '../../volume/volume.js';
import { type Elements, parseDicom } from './elements.js';
import type { Grid } from './grid.js';
import type { Frame, Instance, PixelFormat } from './instance.js';
import { frameCodecs } from './library.js';

/** Voxels of a series and what they stand for: voxel * slope + intercept. */
export interface SeriesVoxels {
  readonly data: VoxelArray;
  readonly slope: number;
  readonly intercept: number;
  /** Voxels that the object marks as lying outside of the image; they have the lowest value of all others. */
  readonly paddingVoxels: number;
}

const littleEndian = ['1.2.840.10008.1.2', '1.2.840.10008.1.2.1', '1.2.840.10008.1.2.1.99'];
const bigEndian = '1.2.840.10008.1.2.2';

type Decoder = 'decodeRle' | 'decodeJpeg' | 'decodeJpegLs' | 'decodeJpeg2000' | 'decodeHtJpeg2000';

const compressed: Readonly<Record<string, Decoder>> = {
  '1.2.840.10008.1.2.5': 'decodeRle',
  '1.2.840.10008.1.2.4.50': 'decodeJpeg',
  '1.2.840.10008.1.2.4.57': 'decodeJpeg',
  '1.2.840.10008.1.2.4.70': 'decodeJpeg',
  '1.2.840.10008.1.2.4.80': 'decodeJpegLs',
  '1.2.840.10008.1.2.4.81': 'decodeJpegLs',
  '1.2.840.10008.1.2.4.90': 'decodeJpeg2000',
  '1.2.840.10008.1.2.4.91': 'decodeJpeg2000',
  '1.2.840.10008.1.2.4.201': 'decodeHtJpeg2000',
  '1.2.840.10008.1.2.4.202': 'decodeHtJpeg2000',
  '1.2.840.10008.1.2.4.203': 'decodeHtJpeg2000',
};

/**
 * Voxels of a grid, columns fastest, in the type of the pixels where all slices share one scale, else scaled as float32.
 * @throws VERSEMI_FILE_TRUNCATED when pixels are missing; VERSEMI_FILE_CORRUPT when a frame cannot be decompressed;
 *   VERSEMI_FORMAT_UNSUPPORTED for a transfer syntax that is not read
 */
export async function readVoxels({ frames, sizeVoxels }: Grid): Promise<SeriesVoxels> {
  const plane = sizeVoxels[0] * sizeVoxels[1];
  const [first] = frames as [Frame];
  const oneScale = frames.every(({ slope, intercept }) => slope === first.slope && intercept === first.intercept);
  // Sizes are claims: files that cannot hold them are refused before memory is taken.
  for (const instance of byInstance(frames).keys()) {
    const { element, transferSyntax } = instance.pixels;
    if (element.place !== undefined && !Object.hasOwn(compressed, transferSyntax))
      requirePixels(instance, element.place.lengthBytes);
  }
  const data = reserved(frames, plane * frames.length, oneScale);
  const padded = new Map<number, number[]>();
  let lowest = Number.POSITIVE_INFINITY;
  const slices = new Map(frames.map((frame, slice) => [frame, slice]));
  for (const [instance, own] of byInstance(frames)) {
    const frameBytes = await openFrames(instance);
    for (const frame of own) {
      const stored = await frameBytes(frame.index);
      const slice = slices.get(frame)!;
      const [slope, intercept] = oneScale ? [1, 0] : [frame.slope, frame.intercept];
      const { padding } = instance.pixels;
      const marks: number[] = [];
      const at = slice * plane;
      for (let i = 0; i < plane; i++) {
        const value = stored[i]!;
        if (padding !== undefined && value >= padding[0] && value <= padding[1]) {
          marks.push(i);
          continue;
        }
        const scaled = value * slope + intercept;
        data[at + i] = scaled;
        if (scaled < lowest) lowest = scaled;
      }
      if (marks.length > 0) padded.set(slice, marks);
    }
  }
  let paddingVoxels = 0;
  // A negative slope turns the order round; such scales do not occur with padding, and the value then is the highest.
  for (const [slice, marks] of padded) {
    paddingVoxels += marks.length;
    for (const i of marks) data[slice * plane + i] = Number.isFinite(lowest) ? lowest : 0;
  }
  return { data, slope: oneScale ? first.slope : 1, intercept: oneScale ? first.intercept : 0, paddingVoxels };
}

function byInstance(frames: readonly Frame[]): Map<Instance, Frame[]> {
  const result = new Map<Instance, Frame[]>();
  for (const frame of frames) {
    const own = result.get(frame.instance);
    if (own === undefined) result.set(frame.instance, [frame]);
    else own.push(frame);
  }
  return result;
}

/** @throws VERSEMI_FORMAT_UNSUPPORTED when no array is that large */
function reserved(frames: readonly Frame[], length: number, oneScale: boolean): VoxelArray {
  try {
    return oneScale ? arrayFor(frames, length) : new Float32Array(length);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new VersemiError(
      'FORMAT_UNSUPPORTED',
      {
        file: frames[0]!.instance.file.name,
        field: 'size of the series',
        expected: 'no more voxels than one array can hold',
        found: `${length} voxels`,
        remedy: 'Export a part of the series, or resample it.',
      },
      error,
    );
  }
}

/** An array that holds the stored values of all frames, whose formats may differ. */
function arrayFor(frames: readonly Frame[], length: number): VoxelArray {
  const formats = [...new Set(frames.map(({ instance }) => instance.pixels))];
  const float = formats.find(({ kind }) => kind !== 'integer');
  if (float !== undefined) return float.kind === 'float32' ? new Float32Array(length) : new Float64Array(length);
  const least = Math.min(...formats.map(({ signed, bitsStored }) => (signed ? -(2 ** (bitsStored - 1)) : 0)));
  const most = Math.max(...formats.map(({ signed, bitsStored }) => 2 ** (signed ? bitsStored - 1 : bitsStored) - 1));
  if (least >= 0) {
    if (most <= 0xff) return new Uint8Array(length);
    return most <= 0xffff ? new Uint16Array(length) : new Uint32Array(length);
  }
  if (least >= -0x80 && most <= 0x7f) return new Int8Array(length);
  if (least >= -0x8000 && most <= 0x7fff) return new Int16Array(length);
  return most <= 0x7fffffff ? new Int32Array(length) : new Float64Array(length);
}

/** Bytes of integer pixels of a frame, little-endian, uncompressed. */
type FrameReader = (index: number) => Promise<ArrayLike<number>>;

/** Reads an object's frames, one at a time. */
export async function openFrames(instance: Instance): Promise<FrameReader> {
  const { pixels, rows, columns, file } = instance;
  const { transferSyntax } = pixels;
  const count = rows * columns;
  const decoder = Object.hasOwn(compressed, transferSyntax) ? compressed[transferSyntax] : undefined;
  if (decoder !== undefined && pixels.kind === 'integer') {
    const { elements } = await parseDicom(await file.bytes(), file.name);
    const values = elements.values('pixelData');
    if (values.length !== instance.numberOfFrames) {
      throw new VersemiError('FILE_TRUNCATED', {
        file: elements.file,
        field: 'pixelData (7FE0,0010)',
        expected: `${instance.numberOfFrames} compressed frames`,
        found: `${values.length}`,
        remedy: 'Copy or export the file again.',
      });
    }
    return async (index) => {
      const decoded = await decompress(bytesOf(values[index], elements), instance, decoder);
      return storedValues(decoded, pixels, count, false, file.name);
    };
  }
  const isBig = transferSyntax === bigEndian;
  if (!isBig && !littleEndian.includes(transferSyntax)) {
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file: file.name,
      field: 'transfer syntax (0002,0010)',
      expected: 'uncompressed pixels, RLE, JPEG baseline, JPEG lossless, JPEG-LS or JPEG 2000',
      found: transferSyntax,
      remedy: 'Decompress the files, for example with gdcmconv (its option raw) or dcmdjpeg.',
    });
  }
  const frameBytes = (count * pixels.bitsAllocated) / 8;
  const { place } = pixels.element;
  const bytes = place === undefined ? await wholePixels(instance) : undefined;
  requirePixels(instance, bytes?.length ?? place!.lengthBytes);
  return async (index) => {
    const frame =
      bytes?.subarray(index * frameBytes, (index + 1) * frameBytes) ??
      (await file.range(place!.start + index * frameBytes, frameBytes));
    return storedValues(frame, pixels, count, isBig, file.name);
  };
}

/** @throws VERSEMI_FILE_TRUNCATED when an object has fewer bytes of pixels, uncompressed, than its frames need */
function requirePixels({ file, pixels, rows, columns, numberOfFrames }: Instance, lengthBytes: number): void {
  const needed = (rows * columns * numberOfFrames * pixels.bitsAllocated) / 8;
  if (lengthBytes >= needed) return;
  throw new VersemiError('FILE_TRUNCATED', {
    file: file.name,
    field: 'pixelData (7FE0,0010)',
    expected: `${needed} bytes (${columns} x ${rows}, ${numberOfFrames} frames of ${pixels.bitsAllocated} bits)`,
    found: `${lengthBytes}`,
    remedy: 'Copy or export the file again.',
  });
}

/** Pixels that have no place of their own in the file. */
async function wholePixels({ file, pixels }: Instance): Promise<Uint8Array> {
  const { elements } = await parseDicom(await file.bytes(), file.name);
  return bytesOf(elements.values(pixels.element.name)[0], elements);
}

/** Pixels as the library hands them out. @throws VERSEMI_FILE_FORMAT when they are no bytes */
export function bytesOf(value: unknown, elements: Elements): Uint8Array {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer as ArrayBuffer, value.byteOffset, value.byteLength);
  throw elements.wrong('pixelData', 'bytes');
}

async function decompress(encodedBuffer: Uint8Array, instance: Instance, decoder: Decoder): Promise<Uint8Array> {
  const { pixels, rows, columns, file } = instance;
  const { native, Context } = await frameCodecs();
  const damaged = (found: string, cause?: unknown) =>
    new VersemiError(
      'FILE_CORRUPT',
      {
        file: file.name,
        field: 'pixelData (7FE0,0010)',
        expected: `a frame of ${columns} x ${rows} pixels, compressed as the file says (${pixels.transferSyntax})`,
        found,
        remedy: 'Copy or export the file again.',
      },
      cause,
    );
  let decoded: Uint8Array | undefined;
  try {
    const context = new Context({
      width: columns,
      height: rows,
      bitsAllocated: pixels.bitsAllocated,
      bitsStored: pixels.bitsStored,
      samplesPerPixel: 1,
      pixelRepresentation: pixels.signed ? 1 : 0,
      planarConfiguration: 0,
      photometricInterpretation: pixels.photometric,
      encodedBuffer,
    });
    decoded = native[decoder](context).getDecodedBuffer();
  } catch (error) {
    throw damaged(error instanceof Error ? error.message.slice(0, 200) : 'an error of the decoder', error);
  }
  const expected = (rows * columns * pixels.bitsAllocated) / 8;
  if (decoded?.length !== expected) throw damaged(`${decoded?.length ?? 0} bytes instead of ${expected}`);
  return decoded;
}

/** Values as their bits say: those above the stored ones (overlays of old files) are taken off, and the sign is spread. */
function storedValues(
  bytes: Uint8Array,
  pixels: PixelFormat,
  count: number,
  isBig: boolean,
  file: string,
): ArrayLike<number> {
  const { kind, bitsAllocated, bitsStored, highBit, signed } = pixels;
  const width = bitsAllocated / 8;
  if (bytes.length < count * width) {
    const details = { file, expected: `${count * width} bytes of pixels`, found: `${bytes.length}` };
    throw new VersemiError('FILE_TRUNCATED', { ...details, remedy: 'Copy or export the file again.' });
  }
  // A copy, since the bytes may lie at any place.
  const own = new Uint8Array(bytes.subarray(0, count * width));
  if (isBig && width > 1) for (let at = 0; at < own.length; at += width) own.subarray(at, at + width).reverse();
  if (kind === 'float32') return new Float32Array(own.buffer);
  if (kind === 'float64') return new Float64Array(own.buffer);
  if (bitsStored === bitsAllocated) {
    if (bitsAllocated === 8) return signed ? new Int8Array(own.buffer) : own;
    if (bitsAllocated === 16) return signed ? new Int16Array(own.buffer) : new Uint16Array(own.buffer);
    return signed ? new Int32Array(own.buffer) : new Uint32Array(own.buffer);
  }
  const raw =
    bitsAllocated === 8 ? own : bitsAllocated === 16 ? new Uint16Array(own.buffer) : new Uint32Array(own.buffer);
  const values = new Int32Array(count);
  const [up, down] = [31 - highBit, 32 - bitsStored];
  for (let i = 0; i < count; i++) {
    const top = raw[i]! << up;
    values[i] = signed ? top >> down : top >>> down;
  }
  return values;
}
