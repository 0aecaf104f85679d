/**
 * NIfTI from bytes to bytes, for pages that have fetched or opened a file. No `node:` import. As when a file is read, what the
 * header asks for bounds what is inflated.
 */
import { VersemiError } from '../errors.js';
import { type Scan, scanOf } from '../scans/scan.js';
import type { Volume } from '../volume/volume.js';
import { largestRatio } from './deflate-bound.js';
import { checkFinite } from './finite.js';
import { encodeNiftiHeader, type SlabbedVolume, voxelBytes } from './nifti-encode.js';
import { parseNiftiHeader } from './nifti-header.js';
import { neededBytes, parseUnscaled, tooFewBytes, type UnscaledVolume } from './nifti-read.js';

/** How the bytes of a scan are read. */
export interface OpenScanBytesOptions {
  /** Name for error sentences; default `scan.nii`. */
  readonly name?: string;
  /** Of a file with more than one 3-D volume: which one. */
  readonly channel?: number;
}

/** Bytes of a header of either version with the four that follow it. */
const longestHeaderBytes = 544;

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

/** The voxels as stored, in stored orientation, of the bytes of a .nii or .nii.gz file. @throws as {@link openScanBytes}, values unchecked */
export async function readVolumeBytes(bytes: Uint8Array, options: OpenScanBytesOptions = {}): Promise<UnscaledVolume> {
  const { name = 'scan.nii', channel } = options;
  const inflated = bytes[0] === 0x1f && bytes[1] === 0x8b ? await inflate(bytes, name) : bytes;
  return parseUnscaled(inflated, name, channel === undefined ? {} : { channel });
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
  const voxels = 'slabs' in volume ? [...volume.slabs()].map(voxelBytes) : [voxelBytes(volume.data)];
  const parts = [header, ...voxels] as Uint8Array<ArrayBuffer>[];
  if (!gzip) return joined(parts);
  return gzipped(parts);
}

/** One gzip member of all parts. @param before comes first, as it is */
export async function gzipped(parts: readonly Uint8Array[], before?: Uint8Array): Promise<Uint8Array> {
  const blob = new Blob(parts as Uint8Array<ArrayBuffer>[]);
  const member = await collect(blob.stream().pipeThrough(new CompressionStream('gzip')));
  return before === undefined ? member : joined([before, member]);
}

/** Inflates as much as the header in the first bytes asks for. */
async function inflate(bytes: Uint8Array, name: string): Promise<Uint8Array> {
  const stream = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream('gzip'));
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
  return collect(stream, wanted, (error) => {
    throw new VersemiError(
      'FILE_CORRUPT',
      {
        file: name,
        expected: 'a gzip stream of one member',
        found: error instanceof Error ? error.message : String(error),
        remedy:
          'Copy or download the file again; where it was compressed in parts (bgzip), compress it anew with gzip.',
      },
      error,
    );
  });
}

/**
 * @param wanted bytes that are of use, asked once with the first bytes of the stream; default: all
 * @param failed what a failing stream throws
 */
async function collect(
  stream: ReadableStream<Uint8Array>,
  wanted?: (start: Uint8Array) => number,
  failed?: (error: unknown) => never,
): Promise<Uint8Array> {
  const reader = stream.getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  let needed = wanted === undefined ? Number.POSITIVE_INFINITY : undefined;
  try {
    while (needed === undefined || length < needed) {
      const { done, value } = await reader
        .read()
        .catch((error) => (failed === undefined ? Promise.reject(error) : failed(error)));
      if (done) break;
      parts.push(value);
      length += value.length;
      if (needed === undefined && length >= longestHeaderBytes) needed = wanted!(joined(parts));
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
  return joined(parts);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
