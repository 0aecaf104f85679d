import { existsSync } from 'node:fs';
import { VersemiError } from '../errors.js';
import { columnNorms, orientationCode } from '../volume/affine.js';
import type { Geometry } from '../volume/orientation.js';
import type { Affine, Triple, Volume, VoxelArray } from '../volume/volume.js';
import { isHdf5 } from './case-files.js';
import { type PlacedSeries, placedFacts, readPlaced } from './dicom/placed.js';
import { placeSeries, type SeriesFiles } from './dicom/read-series.js';
import { describeSeries } from './dicom/series.js';
import { mayBeDicom } from './dicom/sources.js';
import { type Capacity, readInflated, readStart } from './files.js';
import { ownFormat, type ReadVoxelsOptions, readOwn } from './formats.js';
import { hdf5Facts, readHdf5 } from './hdf5.js';
import type { Hdf5Role } from './hdf5-keys.js';
import { type DatatypeName, type NiftiHeader, parseNiftiHeader } from './nifti-header.js';
import {
  neededBytes,
  type ParseNiftiOptions,
  parseUnscaled,
  scaled,
  storedVoxels,
  tooFewBytes,
  type UnscaledVolume,
} from './nifti-read.js';
import { rasterFile } from './raster.js';
import { isRaster, rasterFacts, readAllVoxels, readRaster } from './raster-read.js';
import { datatypeName } from './voxel-arrays.js';

export { type WriteNiftiOptions, writeNifti } from './nifti-file.js';

/** Which volume of a file is read, and how. */
export interface ReadVolumeOptions {
  /** HDF5: path of the array; default: the one of `role`, by its usual names. */
  readonly key?: string;
  /** What is read: of an HDF5 file the array; default 'image'. */
  readonly role?: Hdf5Role;
  /** A file with more than one 3-D volume: which one. */
  readonly channel?: number;
  /** Instead of `channel`: which one where there are several; a file of one volume is taken as it is. */
  readonly channelOfSeveral?: number;
  /** Spacing of files that store none (HDF5); default [1, 1, 1]. */
  readonly spacingMm?: Triple;
  /** DICOM: which series, by its number in the list of all, its UID or a part of its description; default: the only one. */
  readonly series?: string;
  /** DICOM: the files of one series, found before; instead of `series`. */
  readonly seriesFiles?: SeriesFiles;
  /** DICOM: the series as `placeSeries` found it, so that no header is read again; instead of `series`. */
  readonly placed?: PlacedSeries;
  /** Told what a person should know of how the voxels were read (DICOM: tilted slices, padding, copies). */
  readonly onNotice?: (text: string) => void;
}

function ownOptions({ role, channel, channelOfSeveral, spacingMm }: ReadVolumeOptions): ReadVoxelsOptions {
  const which = { role: role ?? 'image', channel: channel ?? channelOfSeveral ?? 0 };
  return spacingMm === undefined ? which : { ...which, spacingMm };
}

/** Names that say enough of a format. */
const namedEnding = /\.(nii|hdr|img)(\.gz)?$/i;

/** Whether a path is read as DICOM: a folder, a zip file or a file of any name with the mark of DICOM. */
export async function isDicomPath(path: string): Promise<boolean> {
  return !namedEnding.test(path) && mayBeDicom(path);
}

/**
 * The series that a path stands for; undefined where it is no DICOM.
 * @throws as `placeSeries`
 */
export async function seriesOf(
  file: string,
  { series, seriesFiles, placed }: Pick<ReadVolumeOptions, 'series' | 'seriesFiles' | 'placed'>,
): Promise<PlacedSeries | undefined> {
  if (placed !== undefined) return placed;
  if (seriesFiles !== undefined) return placeSeries(file, seriesFiles);
  return (await isDicomPath(file)) ? placeSeries(file, series) : undefined;
}

/**
 * Reads a volume in stored orientation, the scaling of its header applied: NIfTI (.nii, .hdr with .img, each also .gz; what
 * counts is the content, not whether the name ends with .gz), HDF5, NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), DICOM (a folder, a zip file, a file),
 * or a format of one's own (`VolumeFormat`).
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_CORRUPT, VERSEMI_FILE_FORMAT,
 *   VERSEMI_FORMAT_UNSUPPORTED, VERSEMI_VOLUME_INVALID, VERSEMI_MODALITY_MISSING (no such channel)
 */
export async function readVolume(file: string, options: ReadVolumeOptions = {}): Promise<Volume> {
  return scaled(await readUnscaled(file, options));
}

/** As {@link readVolume}, voxels as stored: those of a CT are 16-bit integers. @throws as {@link readVolume} */
export async function readUnscaled(file: string, options: ReadVolumeOptions = {}): Promise<UnscaledVolume> {
  const own = ownFormat(file);
  if (own !== undefined) return { volume: await readOwn(own, file, ownOptions(options)), slope: 1, intercept: 0 };
  if (isHdf5(file)) return { volume: (await readHdf5(file, options)).volume, slope: 1, intercept: 0 };
  if (isRaster(file)) return readRaster(rasterFile(file), options);
  const series = await seriesOf(file, options);
  if (series !== undefined) {
    const { placed, ...unscaled } = await readPlaced(series, file);
    for (const notice of placed.notices) options.onNotice?.(`${file}: ${notice}`);
    return unscaled;
  }
  const { bytes, ...parts } = await niftiParts(file);
  return parseUnscaled(bytes, file, {
    ...parts,
    ...(options.channel === undefined ? {} : { channel: options.channel }),
    ...(options.role === undefined ? {} : { role: options.role }),
    ...(options.channelOfSeveral === undefined ? {} : { channelOfSeveral: options.channelOfSeveral }),
  });
}

/** What the header of a file says, before its voxels are read. */
export interface ImageFacts {
  /** In stored orientation. */
  readonly geometry: Geometry;
  /** Bytes of memory per voxel of the image while it is read and kept as it is stored. */
  readonly bytesPerVoxel: number;
  /** How many 3-D volumes the file holds. */
  readonly volumes: number;
  /** As DICOM names it ("CT", "MR"); absent for files that do not say it. */
  readonly modality?: string;
}

/** A file of one chunk lies whole in memory of the library's own; then the axes are exchanged: three times in all. */
const hdf5Copies = 3;

/** Reads a header only. @throws as {@link readVolume}, as far as the header shows it */
export async function imageFacts(file: string, options: ReadVolumeOptions = {}): Promise<ImageFacts> {
  const own = ownFormat(file);
  if (own !== undefined) {
    const { data, ...geometry } = await readOwn(own, file, ownOptions(options));
    return { geometry, bytesPerVoxel: data.BYTES_PER_ELEMENT, volumes: 1 };
  }
  if (isHdf5(file)) {
    const { bytesPerVoxel, ...geometry } = await hdf5Facts(file, options);
    return { geometry: { ...geometry, file }, bytesPerVoxel: hdf5Copies * bytesPerVoxel, volumes: 1 };
  }
  if (isRaster(file)) return rasterFacts(rasterFile(file));
  const series = await seriesOf(file, options);
  if (series !== undefined) return { ...placedFacts(series, file), volumes: 1 };
  const pair = /\.(hdr|img)(\.gz)?$/i.exec(file);
  const headerFile = pair === null ? file : beside(file.slice(0, pair.index), 'hdr', file, pair);
  const { start, capacity } = await readStart(headerFile);
  const header = headerOf(start, headerFile);
  if (header.singleFile) requireCapacity(header, headerFile, capacity);
  const { sizeVoxels, affine, bytesPerVoxel, volumes } = header;
  const geometry = { sizeVoxels, affine, spacingMm: columnNorms(affine), file };
  // All volumes of a 4-D file are inflated together.
  return { geometry, bytesPerVoxel: bytesPerVoxel * volumes, volumes };
}

/** What a file says of its image; statistics are over all voxels, all volumes of a 4-D file, after scaling. */
export interface ImageInfo {
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  /** 4 x 4, row-major, voxel index to millimetres in RAS+ space. */
  readonly affine: Affine;
  /** Directions in which the voxel indices grow, e.g. 'LAS'. */
  readonly orientation: string;
  readonly datatype: DatatypeName;
  /** Over the finite voxels; NaN when there are none. */
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  /** Voxels that are NaN or infinite. */
  readonly nonFinite: number;
  /** All dimensions as stored, e.g. [128, 96, 24, 2]. */
  readonly shape: readonly number[];
  /** DICOM: modality, description, size and UID of the series. */
  readonly series?: string;
}

/** Geometry, datatype and statistics of an image file. @throws as {@link readVolume} */
export async function imageInfo(file: string, options: Omit<ReadVolumeOptions, 'channel'> = {}): Promise<ImageInfo> {
  const own = ownFormat(file);
  if (own !== undefined) {
    const { data, sizeVoxels, affine } = await readOwn(own, file, ownOptions(options));
    const facts = { ...describe(sizeVoxels, affine), datatype: datatypeName(data), ...statistics(data, 1, 0) };
    return { ...facts, shape: sizeVoxels };
  }
  if (isHdf5(file)) {
    const { datatype, shape, volume } = await readHdf5(file, options);
    return { ...describe(volume.sizeVoxels, volume.affine), datatype, ...statistics(volume.data, 1, 0), shape };
  }
  if (isRaster(file)) {
    const { header, sizeVoxels, voxels } = await readAllVoxels(rasterFile(file));
    const { affine, datatype, shape } = header;
    return { ...describe(sizeVoxels, affine), datatype, ...statistics(voxels, 1, 0), shape };
  }
  const found = await seriesOf(file, options);
  if (found !== undefined) {
    const { volume, slope, intercept, placed } = await readPlaced(found, file);
    for (const notice of placed.notices) options.onNotice?.(notice);
    const { data, sizeVoxels, affine } = volume;
    const series = describeSeries(placed.series);
    return {
      ...{ ...describe(sizeVoxels, affine), datatype: datatypeName(data), ...statistics(data, slope, intercept) },
      ...{ shape: sizeVoxels, series },
    };
  }
  const { bytes, ...parts } = await niftiParts(file);
  const header: NiftiHeader = parseNiftiHeader(bytes, file);
  const voxels = storedVoxels(header, bytes, file, parts, 'all');
  return {
    ...describe(header.sizeVoxels, header.affine),
    datatype: header.datatype,
    ...statistics(voxels, header.slope, header.intercept),
    shape: header.shape,
  };
}

function describe(sizeVoxels: Triple, affine: Affine) {
  return { sizeVoxels, spacingMm: columnNorms(affine), affine, orientation: orientationCode(affine) };
}

/** In double precision and in chunks, so that any datatype is exact. (Preprocessing has its own statistics, in WebAssembly.) */
function statistics(voxels: VoxelArray, slope: number, intercept: number) {
  const chunk = new Float64Array(1 << 16);
  let [min, max, sum, nonFinite] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0];
  for (let start = 0; start < voxels.length; start += chunk.length) {
    const part = voxels.subarray(start, start + chunk.length);
    chunk.set(part);
    let partSum = 0;
    for (let i = 0; i < part.length; i++) {
      const value = chunk[i]! * slope + intercept;
      if (value - value !== 0) {
        nonFinite++;
        continue;
      }
      if (value < min) min = value;
      if (value > max) max = value;
      partSum += value;
    }
    sum += partSum;
  }
  const count = voxels.length - nonFinite;
  return { min: count > 0 ? min : NaN, max: count > 0 ? max : NaN, mean: sum / count, nonFinite };
}

/** Inflated bytes of a NIfTI file, and of its .img file when it is an .hdr (or of its .hdr file when it is an .img). */
async function niftiParts(
  file: string,
): Promise<{ bytes: Uint8Array } & Pick<ParseNiftiOptions, 'imageBytes' | 'imageFile'>> {
  const pair = /\.(hdr|img)(\.gz)?$/i.exec(file);
  if (pair === null) return { bytes: await niftiBytes(file) };
  const base = file.slice(0, pair.index);
  const header = beside(base, 'hdr', file, pair);
  const bytes = await niftiBytes(header);
  const imageFile = beside(base, 'img', file, pair);
  return { bytes, imageBytes: await niftiBytes(imageFile, bytes), imageFile };
}

/** The file of a pair with the given ending, in the same case of letters, compressed or not. */
function beside(base: string, ending: 'hdr' | 'img', file: string, pair: RegExpExecArray): string {
  const cased = pair[1] === pair[1]!.toUpperCase() ? ending.toUpperCase() : ending;
  if (pair[1]!.toLowerCase() === ending) return file;
  const candidates = [`${base}.${cased}${pair[2] ?? ''}`, `${base}.${cased}`, `${base}.${cased}.gz`];
  const found = candidates.find((candidate) => existsSync(candidate));
  if (found !== undefined) return found;
  throw new VersemiError('FILE_NOT_FOUND', {
    file: candidates[0]!,
    expected: `the ${ending === 'img' ? 'voxels' : 'header'} of ${file} beside it`,
    found: 'no such file',
    remedy: 'Copy both files of the pair into one folder.',
  });
}

/**
 * Bytes of a file, as many as its header asks for, inflated if they are gzip. A file that ends early is reported with that
 * number, and one that cannot hold it is not read at all.
 * @param header for an .img file: the bytes of its header
 */
async function niftiBytes(file: string, header?: Uint8Array): Promise<Uint8Array> {
  const { bytes, truncatedAfter } = await readInflated(file, (start, capacity) => {
    const facts = header === undefined ? headerOf(start, file) : parseNiftiHeader(header, file);
    // Of the two files of a pair, one holds the header and nothing else.
    if (facts.singleFile === (header !== undefined)) return header === undefined ? start.length : 0;
    requireCapacity(facts, file, capacity);
    return neededBytes(facts);
  });
  if (truncatedAfter === undefined) return bytes;
  // `storedVoxels` throws and names the expected size where voxels are missing. Where it does not, only the end mark of the stream
  // is missing.
  const options = header === undefined ? {} : { imageBytes: bytes, imageFile: file };
  storedVoxels(parseNiftiHeader(header ?? bytes, file), bytes, file, options, 'all');
  throw new VersemiError('FILE_TRUNCATED', {
    file,
    expected: 'a gzip stream with its checksum at the end',
    found: `${truncatedAfter} bytes without it`,
    remedy: 'Copy or download the file again.',
  });
}

/** Header in the first bytes of a file. */
function headerOf(start: Uint8Array, file: string): NiftiHeader {
  if (start.length === 0) {
    throw new VersemiError('FILE_TRUNCATED', {
      file,
      expected: 'a NIfTI file',
      found: 'an empty file (0 bytes)',
      remedy: 'Copy or download the file again.',
    });
  }
  refuseOtherFormats(start, file);
  return parseNiftiHeader(start, file);
}

/** @throws VERSEMI_FILE_TRUNCATED when the file cannot hold the voxels of which its header speaks */
function requireCapacity(header: NiftiHeader, file: string, { sizeBytes, inflatedBytes }: Capacity): void {
  if (neededBytes(header) <= inflatedBytes) return;
  const compressed = inflatedBytes > sizeBytes ? ` of gzip, which hold at most ${inflatedBytes}` : '';
  throw tooFewBytes(header, file, `${sizeBytes} bytes${compressed}`);
}

/** Formats that people try to open, and the bytes that such files start with. */
const otherFormats: readonly (readonly [name: string, starts: string, offset: number])[] = [
  ['NRRD (name it .nrrd)', 'NRRD0', 0],
  ['MetaImage (name it .mha)', 'ObjectType', 0],
  ['MetaImage (name it .mha)', 'NDims', 0],
  ['DICOM', 'DICM', 128],
  ['HDF5 (name it .h5)', '\x89HDF', 0],
  ['MINC or netCDF', 'CDF', 0],
  ['ZIP', 'PK\x03\x04', 0],
  ['numpy', '\x93NUMPY', 0],
  ['PNG', '\x89PNG', 0],
];

function refuseOtherFormats(bytes: Uint8Array, file: string): void {
  for (const [name, starts, offset] of otherFormats) {
    const start = String.fromCharCode(...bytes.subarray(offset, offset + starts.length));
    if (start !== starts) continue;
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file,
      expected: 'NIfTI (.nii, .nii.gz, .hdr with .img), HDF5 (.h5), NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd)',
      found: name,
      remedy: 'Convert the file to NIfTI, for example with dcm2niix, SimpleITK or 3D Slicer.',
    });
  }
}
