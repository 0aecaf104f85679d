import { VersemiError } from '../errors.js';
import { columnNorms } from '../volume/affine.js';
import type { Geometry } from '../volume/orientation.js';
import type { Triple, VoxelArray } from '../volume/volume.js';
import { largestRatio } from './deflate-bound.js';
import { parseMetaImageHeader } from './metaimage-header.js';
import { type ChannelOptions, chooseChannel, type UnscaledVolume } from './nifti-read.js';
import { parseNrrdHeader } from './nrrd-header.js';
import { datatypeBytes, type RasterHeader } from './raster-header.js';
import { voxelsFromBytes } from './voxel-arrays.js';

const rasterEnding = /\.(nrrd|nhdr|mha|mhd)$/i;

/** True for the name of an NRRD or MetaImage file. */
export function isRaster(file: string): boolean {
  return rasterEnding.test(file);
}

/** A file that is read in parts: one of a folder, or one that was dropped on a page. */
export interface RasterFile {
  /** For error sentences. */
  readonly name: string;
  sizeBytes(): Promise<number>;
  /** Bytes from `start` on, `length` of them or fewer where the file ends. */
  range(start: number, length: number): Promise<Uint8Array>;
  /** The first `wanted` bytes of a gzip or zlib stream that begins at `start`; fewer where it ends, `truncatedAfter` where it is cut. */
  inflated(start: number, wanted: number): Promise<{ readonly bytes: Uint8Array; readonly truncatedAfter?: number }>;
  /** A file of voxels that the header names. @throws where it is not there, or not in the folder of the header */
  beside(name: string): RasterFile;
}

/** Longer headers are something else. */
const mostHeaderBytes = 1 << 20;
/** Of a number written as text, with the space behind it. */
const mostTextBytes = 40;

/**
 * Reads one volume of an NRRD or MetaImage file, in stored orientation.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_CORRUPT, VERSEMI_FILE_FORMAT,
 *   VERSEMI_FORMAT_UNSUPPORTED, VERSEMI_DATASET_INVALID (voxels outside of the header's folder), VERSEMI_MODALITY_MISSING
 */
export async function readRaster(file: RasterFile, options: ChannelOptions): Promise<UnscaledVolume> {
  const header = await rasterHeader(file);
  const { sizeVoxels, volumes } = sizesOf(header);
  const chosen = chooseChannel({ shape: header.shape, volumes }, options, file.name);
  const data = volumeOf(await voxelsOf(header, file), header, chosen);
  return { volume: { data, sizeVoxels, ...placed(header), file: file.name }, slope: 1, intercept: 0 };
}

/** All voxels of a file in stored order, with its header. @throws as {@link readRaster} */
export async function readAllVoxels(
  file: RasterFile,
): Promise<{ header: RasterHeader; sizeVoxels: Triple; voxels: VoxelArray }> {
  const header = await rasterHeader(file);
  return { header, sizeVoxels: sizesOf(header).sizeVoxels, voxels: await voxelsOf(header, file) };
}

/** Names of the files in which the voxels lie, as the header has them; none where the voxels follow the header. */
export async function namedDataFiles(file: RasterFile): Promise<readonly string[]> {
  return (await rasterHeader(file)).dataFiles ?? [];
}

/** What the header says. @throws as {@link readRaster}, as far as the header shows it */
export async function rasterFacts(
  file: RasterFile,
): Promise<{ readonly geometry: Geometry; readonly bytesPerVoxel: number; readonly volumes: number }> {
  const header = await rasterHeader(file);
  const { sizeVoxels, volumes } = sizesOf(header);
  const isText = header.encoding === 'text' || header.encoding === 'hex';
  const bytesPerVoxel = (datatypeBytes[header.datatype] + (isText ? mostTextBytes : 0)) * volumes;
  return { geometry: { sizeVoxels, ...placed(header), file: file.name }, bytesPerVoxel, volumes };
}

function placed({ affine }: RasterHeader): Pick<Geometry, 'affine' | 'spacingMm'> {
  return { affine, spacingMm: columnNorms(affine) };
}

function sizesOf({ shape, spaceAxes }: RasterHeader): { readonly sizeVoxels: Triple; readonly volumes: number } {
  const sizeVoxels = spaceAxes.map((axis) => shape[axis]!) as unknown as Triple;
  const others = shape.filter((_, axis) => !spaceAxes.includes(axis));
  return { sizeVoxels, volumes: others.reduce((product, size) => product * size, 1) };
}

async function rasterHeader(file: RasterFile): Promise<RasterHeader> {
  const { name } = file;
  const sizeBytes = await file.sizeBytes();
  const start = await file.range(0, Math.min(sizeBytes, mostHeaderBytes));
  const text = byteText(start);
  const isNrrd = text.startsWith('NRRD');
  const end = isNrrd ? nrrdEnd(text) : metaImageEnd(text);
  if (end === undefined && sizeBytes > start.length) {
    throw new VersemiError('FILE_FORMAT', {
      file: name,
      expected: `an NRRD or MetaImage header of at most ${mostHeaderBytes} bytes`,
      found: 'no end of the header',
      remedy: 'Check that the file is what its name says.',
    });
  }
  const headerBytes = end ?? start.length;
  const header = new TextDecoder('utf-8', { ignoreBOM: true }).decode(start.subarray(0, headerBytes));
  return isNrrd ? parseNrrdHeader(header, headerBytes, name) : parseMetaImageHeader(header, headerBytes, name);
}

/** One character per byte, so that places in the text are places in the file. */
function byteText(bytes: Uint8Array): string {
  return new TextDecoder('windows-1252').decode(bytes);
}

/** The voxels follow an empty line. */
function nrrdEnd(text: string): number | undefined {
  const found = /\r?\n\r?\n/.exec(text);
  return found === null ? undefined : found.index + found[0].length;
}

/** The voxels follow the line of ElementDataFile; where it is a list, names do. */
function metaImageEnd(text: string): number | undefined {
  const found = /^\s*ElementDataFile\s*[=:][^\n]*\n/m.exec(text);
  if (found === null || /[=:]\s*LIST\b/.test(found[0])) return undefined;
  return found.index + found[0].length;
}

async function voxelsOf(header: RasterHeader, file: RasterFile): Promise<VoxelArray> {
  const { datatype, littleEndian, shape } = header;
  const count = shape.reduce((product, size) => product * size, 1);
  const files = header.dataFiles?.map((name) => file.beside(name)) ?? [file];
  if (count % files.length !== 0) {
    throw new VersemiError('FILE_FORMAT', {
      file: file.name,
      field: `${header.format}: files of voxels`,
      expected: `a number of files that divides ${shape.join(' x ')} voxels`,
      found: `${files.length}`,
      remedy: 'Export the volume again.',
    });
  }
  const start = header.dataFiles === undefined ? header.headerBytes : 0;
  const perFile = count / files.length;
  if (header.encoding === 'text') {
    const parts: number[][] = [];
    for (const each of files)
      parts.push(numbersIn(await wholeText(each, start, header, perFile), header, each.name, perFile));
    const bytes = new Uint8Array(count * datatypeBytes[datatype]);
    return textVoxels(parts.flat(), datatype, bytes, file.name);
  }
  const bytesPerFile = perFile * datatypeBytes[datatype];
  const [first] = files;
  if (files.length === 1)
    return voxelsFromBytes(await dataBytes(first!, start, header, bytesPerFile), datatype, littleEndian, first!.name);
  const joined = new Uint8Array(bytesPerFile * files.length);
  for (const [i, each] of files.entries())
    joined.set(await dataBytes(each, start, header, bytesPerFile), i * bytesPerFile);
  return voxelsFromBytes(joined, datatype, littleEndian, file.name);
}

/** Bytes of the voxels in one file. */
async function dataBytes(
  file: RasterFile,
  headerBytes: number,
  header: RasterHeader,
  wanted: number,
): Promise<Uint8Array> {
  const missing = (found: string) =>
    new VersemiError('FILE_TRUNCATED', {
      file: file.name,
      expected: `${wanted} bytes of voxels (${header.shape.join(' x ')} of ${header.datatype}${header.dataFiles === undefined ? '' : `, in ${header.dataFiles.length} files`})`,
      found,
      remedy: 'Copy or download the file again.',
    });
  if (header.encoding === 'hex') {
    const digits = (await wholeText(file, headerBytes, header, wanted)).replace(/\s+/g, '');
    const bytes = bytesOfHex(digits.slice(0, 2 * wanted));
    if (bytes.length === wanted) return bytes;
    throw missing(`${bytes.length} bytes as hexadecimal digits`);
  }
  const { at, sizeBytes } = await afterLines(file, headerBytes, header.skipLines);
  if (header.encoding === 'raw') {
    const from = header.skipBytes === -1 ? sizeBytes - wanted : at + header.skipBytes;
    if (from < at || sizeBytes - from < wanted) throw missing(`${Math.max(0, sizeBytes - Math.max(from, at))} bytes`);
    return file.range(from, wanted);
  }
  const needed = header.skipBytes + wanted;
  if (needed > largestRatio * (sizeBytes - at))
    throw missing(`${sizeBytes - at} compressed bytes, which hold at most ${largestRatio * (sizeBytes - at)}`);
  const { bytes, truncatedAfter } = await file.inflated(at, needed);
  if (bytes.length < needed) throw missing(`${Math.max(0, bytes.length - header.skipBytes)} bytes`);
  if (truncatedAfter !== undefined) throw missing('all of them, and no checksum at the end of the compressed stream');
  return bytes.subarray(header.skipBytes);
}

/** As many bytes as there are pairs of hexadecimal digits at the start of a text. */
function bytesOfHex(digits: string): Uint8Array {
  const pairs = /^(?:[0-9a-f]{2})*/i.exec(digits)![0];
  return Uint8Array.from({ length: pairs.length / 2 }, (_, i) => Number.parseInt(pairs.slice(2 * i, 2 * i + 2), 16));
}

/** Where a file goes on behind its header and some lines. */
async function afterLines(
  file: RasterFile,
  start: number,
  lines: number,
): Promise<{ readonly at: number; readonly sizeBytes: number }> {
  const sizeBytes = await file.sizeBytes();
  if (lines === 0) return { at: start, sizeBytes };
  const bytes = await file.range(start, Math.min(sizeBytes - start, mostHeaderBytes));
  let at = 0;
  for (let line = 0; line < lines; line++) {
    at = bytes.indexOf(10, at) + 1;
    if (at === 0) {
      throw new VersemiError('FILE_FORMAT', {
        file: file.name,
        field: 'line skip',
        expected: `at most the lines in the first ${mostHeaderBytes} bytes`,
        found: String(lines),
        remedy: 'Correct the header.',
      });
    }
  }
  return { at: start + at, sizeBytes };
}

/** What follows the header, as text; bounded by what the promised numbers can take. */
async function wholeText(file: RasterFile, start: number, header: RasterHeader, numbers: number): Promise<string> {
  const { at, sizeBytes } = await afterLines(file, start, header.skipLines);
  const from = at + Math.max(0, header.skipBytes);
  const length = Math.max(0, Math.min(sizeBytes - from, numbers * mostTextBytes + mostHeaderBytes));
  return byteText(await file.range(from, length));
}

function numbersIn(text: string, header: RasterHeader, file: string, wanted: number): number[] {
  const words = text.match(/[^\s,]+/g) ?? [];
  if (words.length < wanted) {
    throw new VersemiError('FILE_TRUNCATED', {
      file,
      expected: `${wanted} numbers (${header.shape.join(' x ')} voxels)`,
      found: `${words.length}`,
      remedy: 'Copy or download the file again.',
    });
  }
  return words.slice(0, wanted).map((word) => {
    if (/^[+-]?nan$/i.test(word)) return Number.NaN;
    if (/^[+-]?inf(inity)?$/i.test(word))
      return word.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
    const value = Number(word);
    if (Number.isNaN(value)) {
      const details = { file, expected: 'numbers as text', found: JSON.stringify(word.slice(0, 40)) };
      throw new VersemiError('FILE_CORRUPT', { ...details, remedy: 'Copy or download the file again.' });
    }
    return value;
  });
}

/** @param bytes room for the voxels, zeros */
function textVoxels(
  values: readonly number[],
  datatype: RasterHeader['datatype'],
  bytes: Uint8Array,
  file: string,
): VoxelArray {
  const wide = datatype === 'int64' || datatype === 'uint64';
  const array: VoxelArray = wide ? new Float64Array(values.length) : voxelsFromBytes(bytes, datatype, true, file);
  array.set(values);
  const wrong = array.findIndex(
    (value, i) => !Object.is(value, values[i]) && value !== values[i] && datatype !== 'float32',
  );
  if (wrong < 0) return array;
  throw new VersemiError('FILE_CORRUPT', {
    file,
    field: `voxel ${wrong}`,
    expected: `a number that ${datatype} holds`,
    found: String(values[wrong]),
    remedy: 'Save the volume again with the type of its voxels.',
  });
}

/** The voxels of one volume: a view where they lie together, else gathered. */
function volumeOf(voxels: VoxelArray, { shape, spaceAxes }: RasterHeader, channel: number): VoxelArray {
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, size) => product * size, 1));
  let start = 0;
  let rest = channel;
  for (const [axis, size] of shape.entries()) {
    if (spaceAxes.includes(axis)) continue;
    start += (rest % size) * strides[axis]!;
    rest = Math.floor(rest / size);
  }
  const [sizeX, sizeY, sizeZ] = spaceAxes.map((axis) => shape[axis]!) as unknown as Triple;
  const [stepX, stepY, stepZ] = spaceAxes.map((axis) => strides[axis]!) as unknown as Triple;
  const count = sizeX * sizeY * sizeZ;
  if (stepX === 1 && stepY === sizeX && stepZ === sizeX * sizeY) return voxels.subarray(start, start + count);
  const result = new (voxels.constructor as new (length: number) => VoxelArray)(count);
  let at = 0;
  for (let z = 0; z < sizeZ; z++)
    for (let y = 0; y < sizeY; y++)
      for (let x = 0, from = start + z * stepZ + y * stepY; x < sizeX; x++, from += stepX) result[at++] = voxels[from]!;
  return result;
}
