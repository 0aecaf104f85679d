import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { writeFileAtomic } from '../atomic-file.js';
import { VersemiError } from '../errors.js';
import { type Volume, voxelCount } from '../volume/volume.js';
import { type EncodeNiftiOptions, encodeNiftiHeader, type SlabbedVolume, voxelBytes } from './nifti-encode.js';

/** How a NIfTI file is written. */
export interface WriteNiftiOptions {
  /** Free text of at most 79 characters, for the header's `descrip`. */
  readonly description?: string;
  /** 1 (fast, the default) to 9 (small), for .gz files. */
  readonly compressionLevel?: number;
}

/** Bytes given to the compressor at a time. */
const chunkBytes = 1 << 20;

/**
 * Writes a volume as NIfTI: .nii, .nii.gz, or .hdr with .img (each .gz too). The datatype is that of the voxels; the
 * geometry is `sizeVoxels` and `affine`. Each file is written to a temporary name and renamed; its folder is
 * made when it is missing.
 * @throws VERSEMI_VOLUME_INVALID, VERSEMI_FORMAT_UNSUPPORTED (the name's ending), VERSEMI_DISK_FULL,
 *   VERSEMI_IO_FAILED
 */
export async function writeNifti(
  file: string,
  volume: Volume | SlabbedVolume,
  options: WriteNiftiOptions = {},
): Promise<void> {
  const ending = /\.(nii|hdr|img)(\.gz)?$/i.exec(file);
  if (ending === null) {
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file,
      expected: 'a name that ends with .nii, .nii.gz, .hdr or .img',
      remedy: 'Rename the output.',
    });
  }
  const pair = ending[1]!.toLowerCase() !== 'nii';
  const encoding: EncodeNiftiOptions = {
    pair,
    ...(options.description === undefined ? {} : { description: options.description }),
  };
  const header = encodeNiftiHeader(volume, encoding);
  const voxels = volumeBytes(volume);
  const level = ending[2] === undefined ? undefined : (options.compressionLevel ?? 1);
  if (!pair) return writeParts(file, joined([header], voxels), level);
  const base = file.slice(0, ending.index);
  const suffix = ending[2] ?? '';
  // The voxels are written first, because a header without voxels would look like a damaged scan.
  await writeParts(`${base}.img${suffix}`, voxels, level);
  await writeParts(`${base}.hdr${suffix}`, [header], level);
}

function* joined(...parts: readonly Iterable<Uint8Array>[]): Generator<Uint8Array> {
  for (const part of parts) yield* part;
}

/** The voxels of a volume as little-endian bytes, in parts. */
export function volumeBytes(volume: Volume | SlabbedVolume): Iterable<Uint8Array> {
  return 'slabs' in volume ? slabBytes(volume) : [voxelBytes(volume.data)];
}

function* slabBytes(volume: SlabbedVolume): Generator<Uint8Array> {
  let bytes = 0;
  for (const slab of volume.slabs()) {
    bytes += slab.byteLength;
    yield voxelBytes(slab);
  }
  const expected = voxelCount(volume.sizeVoxels) * volume.type.BYTES_PER_ELEMENT;
  if (bytes !== expected)
    throw new VersemiError('INTERNAL', { field: 'slabs', expected: `${expected} bytes`, found: `${bytes}` });
}

/**
 * Writes a file whole or not at all.
 * @param level of gzip; undefined: the parts as they are
 * @param header comes before the compressed parts, as it is
 */
export async function writeParts(
  file: string,
  parts: Iterable<Uint8Array>,
  level: number | undefined,
  header?: Uint8Array,
): Promise<void> {
  const body = level === undefined ? parts : await compressed(parts, level);
  await writeFileAtomic(file, header === undefined ? body : joined([header], body));
}

/** One gzip member of all parts, compressed in the thread pool, without joining the parts first. */
async function compressed(parts: Iterable<Uint8Array>, level: number): Promise<Uint8Array[]> {
  const result: Uint8Array[] = [];
  const gzip = createGzip({ level, chunkSize: chunkBytes });
  // A pipeline that ended with `gzip` would wait for what is written into it, not for what comes out.
  await pipeline(Readable.from(chunks(parts), { objectMode: false }), gzip, async (compressed) => {
    for await (const chunk of compressed) result.push(chunk as Uint8Array);
  });
  return result;
}

function* chunks(parts: Iterable<Uint8Array>): Generator<Uint8Array> {
  for (const part of parts)
    for (let start = 0; start < part.length; start += chunkBytes) yield part.subarray(start, start + chunkBytes);
}
