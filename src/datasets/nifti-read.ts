import { VersemiError } from '../errors.js';
import { columnNorms } from '../volume/affine.js';
import type { Volume, VoxelArray } from '../volume/volume.js';
import { voxelCount } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { type NiftiHeader, parseNiftiHeader } from './nifti-header.js';
import { voxelsFromBytes } from './voxel-arrays.js';

/** Which volume of a file that holds several. */
export interface ChannelOptions {
  /** Which 3-D volume of a file with more dimensions, counted along t, then u, v, w. */
  readonly channel?: number;
  /** Instead of `channel`: which one where there are several. */
  readonly channelOfSeveral?: number;
  /** What the file is, for the remedy where it holds several volumes; default 'image'. */
  readonly role?: 'image' | 'label';
}

export interface ParseNiftiOptions extends ChannelOptions {
  /** Voxel bytes of an .img file, inflated; absent when they follow the header in the same file. */
  readonly imageBytes?: Uint8Array;
  /** Name of the .img file, for error sentences. */
  readonly imageFile?: string;
}

/** A volume whose voxels are as stored, and what they stand for: voxel * slope + intercept. */
export interface UnscaledVolume {
  readonly volume: Volume;
  readonly slope: number;
  readonly intercept: number;
}

/** With the scaling applied: float32 where there is one. */
export function scaled({ volume, slope, intercept }: UnscaledVolume): Volume {
  if (slope === 1 && intercept === 0) return volume;
  return { ...volume, data: host().toFloat32(volume.data, slope, intercept) };
}

/**
 * Reads one 3-D volume from the inflated bytes of a NIfTI file, in stored orientation; {@link scaled} applies the scaling of its
 * header. Nothing here touches the file system, so that it runs in a browser too. Voxels are a view on `bytes` where byte order
 * and alignment allow.
 * @throws VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_FORMAT, VERSEMI_FILE_CORRUPT, VERSEMI_FORMAT_UNSUPPORTED,
 *   VERSEMI_VOLUME_INVALID, VERSEMI_MODALITY_MISSING (no such channel)
 */
export function parseUnscaled(bytes: Uint8Array, file: string, options: ParseNiftiOptions = {}): UnscaledVolume {
  const header = parseNiftiHeader(bytes, file);
  const channel = chooseChannel(header, options, file);
  const { sizeVoxels, affine, forms, slope, intercept } = header;
  const data = storedVoxels(header, bytes, file, options, channel);
  return { volume: { data, sizeVoxels, spacingMm: columnNorms(affine), affine, forms, file }, slope, intercept };
}

/** @throws VERSEMI_FORMAT_UNSUPPORTED when there are several volumes and none is chosen; VERSEMI_MODALITY_MISSING */
export function chooseChannel(
  header: Pick<NiftiHeader, 'volumes' | 'shape'>,
  options: ChannelOptions,
  file: string,
): number {
  const channel = options.channel ?? (header.volumes === 1 ? undefined : options.channelOfSeveral);
  if (channel === undefined) {
    if (header.volumes === 1) return 0;
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file,
      field: 'shape',
      expected: 'one 3-D volume',
      found: `${header.volumes} volumes, shape ${header.shape.join(' x ')}`,
      remedy:
        options.role === 'label'
          ? 'Keep the volume of the labels only, for example with nibabel or fslroi.'
          : `Choose one: --channel 0 to ${header.volumes - 1} of versemi predict, \`channel\` of the dataset in the plan or of the call.`,
    });
  }
  if (!Number.isInteger(channel) || channel < 0 || channel >= header.volumes) {
    throw new VersemiError('MODALITY_MISSING', {
      file,
      field: 'channel',
      expected: header.volumes === 1 ? '0, as the file has one volume' : `0 to ${header.volumes - 1}`,
      found: String(channel),
      remedy: 'Correct the channel, or give a file that has it.',
    });
  }
  return channel;
}

/** Bytes from the start of the file that holds the voxels up to its last voxel. */
export function neededBytes(header: NiftiHeader): number {
  return header.dataOffset + voxelCount(header.sizeVoxels) * header.bytesPerVoxel * header.volumes;
}

/** @param file that holds the voxels */
export function tooFewBytes(header: NiftiHeader, file: string, found: string): VersemiError {
  return new VersemiError('FILE_TRUNCATED', {
    file,
    expected: `${neededBytes(header)} bytes (${header.shape.join(' x ')} voxels of ${header.datatype})`,
    found,
    remedy: 'Copy or download the file again.',
  });
}

/**
 * Voxels as stored, before scaling.
 * @param channel one 3-D volume of the file; 'all' for every one, in the order of the file
 */
export function storedVoxels(
  header: NiftiHeader,
  bytes: Uint8Array,
  file: string,
  options: ParseNiftiOptions,
  channel: number | 'all',
): VoxelArray {
  if (!header.singleFile && options.imageBytes === undefined) {
    throw new VersemiError('FILE_FORMAT', {
      file,
      expected: 'header and voxels in one file (magic n+1 or n+2)',
      found: 'a header whose voxels are in an .img file',
      remedy: 'Name the file .hdr and put the .img file beside it.',
    });
  }
  const source = header.singleFile ? bytes : options.imageBytes!;
  const volumeBytes = voxelCount(header.sizeVoxels) * header.bytesPerVoxel;
  const needed = neededBytes(header);
  if (source.length < needed) {
    const voxelFile = header.singleFile ? file : (options.imageFile ?? file);
    throw tooFewBytes(header, voxelFile, `${source.length} bytes`);
  }
  const start = header.dataOffset + (channel === 'all' ? 0 : channel * volumeBytes);
  const end = channel === 'all' ? needed : start + volumeBytes;
  return voxelsFromBytes(source.subarray(start, end), header.datatype, header.littleEndian, file);
}
