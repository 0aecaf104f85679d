import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { z } from '#zod';
import { writeFileAtomic } from '../atomic-file.js';
import { parseJson } from '../json-text.js';
import { withRegularFile } from '../regular-file.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import type { ResampledGrid } from './grid.js';
import { type LabelMap, maximumForegroundSamples, type PreprocessedCase } from './preprocessed-case.js';

/**
 * One preprocessed case on disk, little-endian:
 *   8 bytes   "versemi" and the version of this layout
 *   8 bytes   length of the header
 *   32 bytes  SHA-256 of all other bytes of the file
 *   header    JSON, padded with spaces so that the arrays are 8-byte aligned
 *   arrays    image (float32), label and where it is known (uint8 or float32, if any), foreground samples (int32), each padded
 *             to 8 bytes
 * Bump the version whenever the layout or the meaning of preprocessing changes: older entries are then made anew.
 */
const magic = 'versemi\u0004';
const checksumStart = 16;
const preambleBytes = 48;
/** Headers have a few thousand bytes. */
const mostHeaderBytes = 1 << 20;

/** How a label map is stored; null: there is none. */
type MapForm = 'uint8' | 'float32' | null;

interface Header {
  readonly id: string;
  readonly dataset: string;
  readonly sizeVoxels: PreprocessedCase['sizeVoxels'];
  readonly spacingMm: PreprocessedCase['spacingMm'];
  readonly grid: ResampledGrid;
  readonly label: MapForm;
  readonly known: MapForm;
  /** Label value -> number of foreground samples, in the order in which they are stored; null when there is no label. */
  readonly foreground: readonly (readonly [number, number])[] | null;
}

const aligned = (bytes: number) => Math.ceil(bytes / 8) * 8;

function formOf(map: LabelMap | undefined): MapForm {
  if (map === undefined) return null;
  return map instanceof Uint8Array ? 'uint8' : 'float32';
}

function bytesOf(array: Float32Array | Uint8Array | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Writes an entry: complete or not at all. @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
export async function writeCacheFile(file: string, one: PreprocessedCase): Promise<void> {
  const foreground = one.foreground && Object.entries(one.foreground).map(([k, v]) => [Number(k), v] as const);
  const header: Header = {
    id: one.id,
    dataset: one.dataset,
    sizeVoxels: one.sizeVoxels,
    spacingMm: one.spacingMm,
    grid: one.grid,
    label: formOf(one.label),
    known: formOf(one.known),
    foreground: foreground?.map(([value, voxels]) => [value, voxels.length] as const) ?? null,
  };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = new Uint8Array(aligned(json.length)).fill(0x20);
  headerBytes.set(json);
  const parts: Uint8Array[] = [headerBytes];
  const maps = [one.label, one.known].filter((map) => map !== undefined);
  const arrays = [one.image, ...maps, ...(foreground ?? []).map(([, v]) => v)];
  for (const array of arrays) {
    parts.push(bytesOf(array), new Uint8Array(aligned(array.byteLength) - array.byteLength));
  }
  const preamble = new Uint8Array(preambleBytes);
  preamble.set(new TextEncoder().encode(magic));
  new DataView(preamble.buffer).setBigUint64(8, BigInt(headerBytes.length), true);
  preamble.set(checksum(preamble, parts), checksumStart);
  await writeFileAtomic(file, [preamble, ...parts]);
}

function checksum(preamble: Uint8Array, rest: Iterable<Uint8Array>): Uint8Array {
  const hash = createHash('sha256').update(preamble.subarray(0, checksumStart));
  for (const part of rest) hash.update(part);
  return hash.digest();
}

const sizes = z.tuple([z.int().gt(0), z.int().gt(0), z.int().gt(0)]);
/** What the size of a file follows from; of the rest the checksum says that it is as it was written. */
const headerSizes = z.object({
  sizeVoxels: sizes,
  label: z.enum(['uint8', 'float32']).nullable(),
  known: z.enum(['uint8', 'float32']).nullable(),
  foreground: z
    .array(z.tuple([z.int().gt(0).lte(255), z.int().gt(0).lte(maximumForegroundSamples)]))
    .max(255)
    .nullable(),
});

/**
 * Reads an entry into memory that worker threads can share. Memory is taken once the header and the size of the file agree.
 * @returns undefined when there is none, or when it is damaged, cut short or of another version: to be made anew
 */
export async function readCacheFile(file: string): Promise<PreprocessedCase | undefined> {
  try {
    return await withRegularFile(file, ({ handle, sizeBytes }) => readEntry(handle, sizeBytes, file));
  } catch {
    return undefined;
  }
}

async function readEntry(handle: FileHandle, sizeBytes: number, file: string): Promise<PreprocessedCase | undefined> {
  const preamble = new Uint8Array(preambleBytes);
  if (!(await fill(handle, preamble, 0))) return undefined;
  if (new TextDecoder('latin1').decode(preamble.subarray(0, 8)) !== magic) return undefined;
  const headerBytes = Number(new DataView(preamble.buffer).getBigUint64(8, true));
  if (headerBytes > mostHeaderBytes) return undefined;
  const headerText = new Uint8Array(headerBytes);
  if (!(await fill(handle, headerText, preambleBytes))) return undefined;
  const header = parseJson(headerText, { file, code: 'FILE_CORRUPT' });
  if (!headerSizes.safeParse(header).success) return undefined;
  const { id, dataset, sizeVoxels, spacingMm, grid, label, known, foreground } = header as Header;
  const lengths = arrayLengths(sizeVoxels, [label, known], foreground);
  const starts: number[] = [];
  let end = preambleBytes + headerBytes;
  for (const [elements, elementBytes] of lengths) {
    starts.push(end);
    end += aligned(elements * elementBytes);
  }
  if (end !== sizeBytes) return undefined;
  const bytes = new Uint8Array(new SharedArrayBuffer(sizeBytes));
  if (!(await fill(handle, bytes, 0))) return undefined;
  const stored = bytes.slice(checksumStart, preambleBytes);
  if (Buffer.compare(checksum(bytes, [bytes.subarray(preambleBytes)]), stored) !== 0) return undefined;
  const { buffer } = bytes;
  const voxels = voxelCount(sizeVoxels);
  let next = 1;
  const mapOf = (form: MapForm): LabelMap | undefined => {
    if (form === null) return undefined;
    const start = starts[next++]!;
    return form === 'uint8' ? new Uint8Array(buffer, start, voxels) : new Float32Array(buffer, start, voxels);
  };
  const [labels, knownVoxels] = [mapOf(label), mapOf(known)];
  const samples = foreground?.map(([value, count]) => [value, new Int32Array(buffer, starts[next++]!, count)] as const);
  return {
    id,
    dataset,
    image: new Float32Array(buffer, starts[0]!, voxels),
    ...(labels === undefined ? {} : { label: labels }),
    ...(knownVoxels === undefined ? {} : { known: knownVoxels }),
    sizeVoxels,
    spacingMm,
    ...(samples === undefined ? {} : { foreground: Object.fromEntries(samples) }),
    grid,
  };
}

/** Elements of each array of a file, in order, and bytes per element. */
function arrayLengths(
  sizeVoxels: Triple,
  maps: readonly MapForm[],
  foreground: Header['foreground'],
): [elements: number, elementBytes: number][] {
  const voxels = voxelCount(sizeVoxels);
  return [
    [voxels, 4],
    ...maps.flatMap((form): [number, number][] => (form === null ? [] : [[voxels, form === 'uint8' ? 1 : 4]])),
    ...(foreground ?? []).map(([, count]): [number, number] => [count, 4]),
  ];
}

/** Fills an array from a position of a file on. @returns false where the file ends before */
async function fill(handle: FileHandle, bytes: Uint8Array, position: number): Promise<boolean> {
  let have = 0;
  while (have < bytes.length) {
    const { bytesRead } = await handle.read(bytes, have, Math.min(bytes.length - have, 2 ** 30), position + have);
    if (bytesRead === 0) return false;
    have += bytesRead;
  }
  return true;
}
