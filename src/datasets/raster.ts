import { dirname, join } from 'node:path';
import { VersemiError } from '../errors.js';
import { shown } from '../json-text.js';
import { withRegularFile } from '../regular-file.js';
import { columnNorms } from '../volume/affine.js';
import type { Geometry } from '../volume/orientation.js';
import type { Triple, VoxelArray } from '../volume/volume.js';
import { leaves } from './case-files.js';
import { largestRatio } from './deflate-bound.js';
import { readCompressed, readRange } from './files.js';
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

/** Longer headers are something else. */
const mostHeaderBytes = 1 << 20;
/** Of a number written as text, with the space behind it. */
const mostTextBytes = 40;

/**
 * Reads one volume of an NRRD or MetaImage file, in stored orientation.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_CORRUPT, VERSEMI_FILE_FORMAT,
 *   VERSEMI_FORMAT_UNSUPPORTED, VERSEMI_DATASET_INVALID (voxels outside of the header's folder), VERSEMI_MODALITY_MISSING
 */
export async function readRaster(file: string, options: ChannelOptions): Promise<UnscaledVolume> {
  const header = await rasterHeader(file);
  const { sizeVoxels, volumes } = sizesOf(header);
  const chosen = chooseChannel({ shape: header.shape, volumes }, options, file);
  const data = volumeOf(await voxelsOf(header, file), header, chosen);
  return { volume: { data, sizeVoxels, ...placed(header), file }, slope: 1, intercept: 0 };
}

/** All voxels of a file in stored order, with its header. @throws as {@link readRaster} */
export async function readAllVoxels(
  file: string,
): Promise<{ header: RasterHeader; sizeVoxels: Triple; voxels: VoxelArray }> {
  const header = await rasterHeader(file);
  return { header, sizeVoxels: sizesOf(header).sizeVoxels, voxels: await voxelsOf(header, file) };
}

/** The file and those in which its voxels lie, where its header names such. @throws as {@link readRaster}, as far as the header shows it */
export async function filesOfRaster(file: string): Promise<string[]> {
  const { dataFiles = [] } = await rasterHeader(file);
  return [file, ...dataFiles.map((name) => dataFile(file, name))];
}

/** What the header says. @throws as {@link readRaster}, as far as the header shows it */
export async function rasterFacts(
  file: string,
): Promise<{ readonly geometry: Geometry; readonly bytesPerVoxel: number; readonly volumes: number }> {
  const header = await rasterHeader(file);
  const { sizeVoxels, volumes } = sizesOf(header);
  const isText = header.encoding === 'text' || header.encoding === 'hex';
  const bytesPerVoxel = (datatypeBytes[header.datatype] + (isText ? mostTextBytes : 0)) * volumes;
  return { geometry: { sizeVoxels, ...placed(header), file }, bytesPerVoxel, volumes };
}

function placed({ affine }: RasterHeader): Pick<Geometry, 'affine' | 'spacingMm'> {
  return { affine, spacingMm: columnNorms(affine) };
}

function sizesOf({ shape, spaceAxes }: RasterHeader): { readonly sizeVoxels: Triple; readonly volumes: number } {
  const sizeVoxels = spaceAxes.map((axis) => shape[axis]!) as unknown as Triple;
  const others = shape.filter((_, axis) => !spaceAxes.includes(axis));
  return { sizeVoxels, volumes: others.reduce((product, size) => product * size, 1) };
}

async function rasterHeader(file: string): Promise<RasterHeader> {
  const { start, sizeBytes } = await withRegularFile(file, async ({ handle, sizeBytes }) => ({
    start: await readRange(handle, 0, Math.min(sizeBytes, mostHeaderBytes)),
    sizeBytes,
  }));
  // One character per byte, so that places in the text are places in the file.
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.byteLength);
  const isNrrd = bytes.subarray(0, 4).toString('latin1') === 'NRRD';
  const text = bytes.toString('latin1');
  const end = isNrrd ? nrrdEnd(text) : metaImageEnd(text);
  if (end === undefined && sizeBytes > start.length) {
    throw new VersemiError('FILE_FORMAT', {
      file,
      expected: `an NRRD or MetaImage header of at most ${mostHeaderBytes} bytes`,
      found: 'no end of the header',
      remedy: 'Check that the file is what its name says.',
    });
  }
  const headerBytes = end ?? start.length;
  const header = bytes.subarray(0, headerBytes).toString('utf8');
  return isNrrd ? parseNrrdHeader(header, headerBytes, file) : parseMetaImageHeader(header, headerBytes, file);
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

async function voxelsOf(header: RasterHeader, file: string): Promise<VoxelArray> {
  const { datatype, littleEndian, shape } = header;
  const count = shape.reduce((product, size) => product * size, 1);
  const files = header.dataFiles?.map((name) => dataFile(file, name)) ?? [file];
  if (count % files.length !== 0) {
    throw new VersemiError('FILE_FORMAT', {
      file,
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
      parts.push(numbersIn(await wholeText(each, start, header, perFile), header, each, perFile));
    const bytes = new Uint8Array(count * datatypeBytes[datatype]);
    return textVoxels(parts.flat(), datatype, bytes, file);
  }
  const bytesPerFile = perFile * datatypeBytes[datatype];
  const [first] = files;
  if (files.length === 1)
    return voxelsFromBytes(await dataBytes(first!, start, header, bytesPerFile), datatype, littleEndian, first!);
  const joined: Uint8Array[] = [];
  for (const each of files) joined.push(await dataBytes(each, start, header, bytesPerFile));
  return voxelsFromBytes(Buffer.concat(joined), datatype, littleEndian, file);
}

/** A header may come from somebody else: it does not reach files elsewhere. */
function dataFile(file: string, name: string): string {
  if (!leaves(dirname(file), name)) return join(dirname(file), name);
  throw new VersemiError('DATASET_INVALID', {
    file,
    field: 'file of the voxels',
    expected: 'a path inside of the folder of the header, relative to it',
    found: shown(name),
    remedy: 'Put the file beside its header and name it without a folder.',
  });
}

/** Bytes of the voxels in one file. */
async function dataBytes(file: string, headerBytes: number, header: RasterHeader, wanted: number): Promise<Uint8Array> {
  const missing = (found: string) =>
    new VersemiError('FILE_TRUNCATED', {
      file,
      expected: `${wanted} bytes of voxels (${header.shape.join(' x ')} of ${header.datatype}${header.dataFiles === undefined ? '' : `, in ${header.dataFiles.length} files`})`,
      found,
      remedy: 'Copy or download the file again.',
    });
  if (header.encoding === 'hex') {
    const digits = (await wholeText(file, headerBytes, header, wanted)).replace(/\s+/g, '');
    const bytes = Buffer.from(digits.slice(0, 2 * wanted), 'hex');
    if (bytes.length === wanted) return bytes;
    throw missing(`${bytes.length} bytes as hexadecimal digits`);
  }
  const { at, sizeBytes } = await afterLines(file, headerBytes, header.skipLines);
  if (header.encoding === 'raw') {
    const from = header.skipBytes === -1 ? sizeBytes - wanted : at + header.skipBytes;
    if (from < at || sizeBytes - from < wanted) throw missing(`${Math.max(0, sizeBytes - Math.max(from, at))} bytes`);
    return withRegularFile(file, ({ handle }) => readRange(handle, from, wanted));
  }
  const needed = header.skipBytes + wanted;
  if (needed > largestRatio * (sizeBytes - at))
    throw missing(`${sizeBytes - at} compressed bytes, which hold at most ${largestRatio * (sizeBytes - at)}`);
  const { bytes, truncatedAfter } = await readCompressed(file, at, needed);
  if (bytes.length < needed) throw missing(`${Math.max(0, bytes.length - header.skipBytes)} bytes`);
  if (truncatedAfter !== undefined) throw missing('all of them, and no checksum at the end of the compressed stream');
  return bytes.subarray(header.skipBytes);
}

/** Where a file goes on behind its header and some lines. */
async function afterLines(
  file: string,
  start: number,
  lines: number,
): Promise<{ readonly at: number; readonly sizeBytes: number }> {
  return withRegularFile(file, async ({ handle, sizeBytes }) => {
    if (lines === 0) return { at: start, sizeBytes };
    const bytes = await readRange(handle, start, Math.min(sizeBytes - start, mostHeaderBytes));
    let at = 0;
    for (let line = 0; line < lines; line++) {
      at = bytes.indexOf(10, at) + 1;
      if (at === 0) {
        throw new VersemiError('FILE_FORMAT', {
          file,
          field: 'line skip',
          expected: `at most the lines in the first ${mostHeaderBytes} bytes`,
          found: String(lines),
          remedy: 'Correct the header.',
        });
      }
    }
    return { at: start + at, sizeBytes };
  });
}

/** What follows the header, as text; bounded by what the promised numbers can take. */
async function wholeText(file: string, start: number, header: RasterHeader, numbers: number): Promise<string> {
  const { at, sizeBytes } = await afterLines(file, start, header.skipLines);
  const from = at + Math.max(0, header.skipBytes);
  const length = Math.max(0, Math.min(sizeBytes - from, numbers * mostTextBytes + mostHeaderBytes));
  const bytes = await withRegularFile(file, ({ handle }) => readRange(handle, from, length));
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
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
