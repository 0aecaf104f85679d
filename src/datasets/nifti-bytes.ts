/**
 * NIfTI from bytes to bytes, for pages that have fetched or opened a file. No `node:` import. As when a file is read, what the
 * header asks for bounds what is inflated.
 */
import { type Scan, scanOf } from '../scans/scan.js';
import type { Volume } from '../volume/volume.js';
import { largestRatio } from './deflate-bound.js';
import { checkFinite } from './finite.js';
import { gzipped, inflateBytes, isGzip } from './inflate-bytes.js';
import { encodeNiftiHeader, type SlabbedVolume, voxelParts } from './nifti-encode.js';
import { parseNiftiHeader } from './nifti-header.js';
import { neededBytes, parseUnscaled, tooFewBytes, type UnscaledVolume } from './nifti-read.js';
import { joinedBytes } from './voxel-arrays.js';

/** How the bytes of a scan are read. */
export interface OpenScanBytesOptions {
  /** Name for error sentences; default `scan.nii`. */
  readonly name?: string;
  /** Of a file with more than one 3-D volume: which one. */
  readonly channel?: number;
}

/**
 * Reads a scan from the bytes of a .nii or .nii.gz file, for `predictVolume`. Its voxels stay as they are in the file.
 * @throws VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_CORRUPT, VERSEMI_FILE_FORMAT, VERSEMI_FORMAT_UNSUPPORTED, VERSEMI_VOLUME_INVALID,
 *   VERSEMI_MODALITY_MISSING (no such channel), VERSEMI_VOXELS_NOT_FINITE
 */
export async function openScanBytes(bytes: Uint8Array, options: OpenScanBytesOptions = {}): Promise<Scan> {
  const { name = 'scan.nii' } = options;
  const { volume, slope, intercept } = await readVolumeBytes(bytes, options);
  const scan = scanOf(volume, { slope, intercept });
  checkFinite(scan, volume, name);
  return scan;
}

/** The .img file of a pair, whose .hdr file holds the header. */
export interface ImgBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * The voxels as stored, in stored orientation, of the bytes of a .nii or .nii.gz file, or of a pair of .hdr and .img.
 * @throws as {@link openScanBytes}, values unchecked
 */
export async function readVolumeBytes(
  bytes: Uint8Array,
  { img, ...options }: OpenScanBytesOptions & { readonly img?: ImgBytes } = {},
): Promise<UnscaledVolume> {
  const { name = 'scan.nii', channel } = options;
  const chosen = channel === undefined ? {} : { channel };
  if (img === undefined) return parseUnscaled(await wholeOf(bytes, name), name, chosen);
  const header = isGzip(bytes) ? await inflateBytes(bytes, pairHeaderBytes, name) : bytes;
  const needed = neededBytes(parseNiftiHeader(header, name));
  const imageBytes = isGzip(img.bytes) ? await inflateBytes(img.bytes, needed, img.name) : img.bytes;
  return parseUnscaled(header, name, { ...chosen, imageBytes, imageFile: img.name });
}

/** Of a .hdr file this much is read: header and extensions, which are passed over. */
const pairHeaderBytes = 1 << 16;

/** Inflates, where it is compressed, as much as the header in the first bytes asks for. */
async function wholeOf(bytes: Uint8Array, name: string): Promise<Uint8Array> {
  if (!isGzip(bytes)) return bytes;
  const wanted = (start: Uint8Array): number => {
    const header = parseNiftiHeader(start, name);
    const needed = neededBytes(header);
    if (needed > bytes.length * largestRatio)
      throw tooFewBytes(
        header,
        name,
        `${bytes.length} bytes of gzip, which hold at most ${bytes.length * largestRatio}`,
      );
    return needed;
  };
  return inflateBytes(bytes, wanted, name);
}

/**
 * The bytes of a volume as a NIfTI file, in the geometry of its source where it has one.
 * @param volume a mask of `predictVolume`, or any volume
 * @param options gzip: default true, the bytes of a .nii.gz file; description: text of the header, at most 79 bytes
 * @throws VERSEMI_VOLUME_INVALID when size, data or affine contradict each other
 */
export async function encodeNifti(
  volume: Volume | SlabbedVolume,
  { gzip = true, description }: { readonly gzip?: boolean; readonly description?: string } = {},
): Promise<Uint8Array> {
  const header = encodeNiftiHeader(volume, description === undefined ? {} : { description });
  const parts = partsOf(header, volume);
  return gzip ? gzipped(parts) : joinedBytes([...parts]);
}

function* partsOf(header: Uint8Array, volume: Volume | SlabbedVolume): Generator<Uint8Array> {
  yield header;
  yield* voxelParts(volume);
}
