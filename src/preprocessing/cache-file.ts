import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { writeFileAtomic } from '../atomic-file.js';
import { voxelCount } from '../volume/volume.js';
import type { ResampledGrid } from './grid.js';
import type { LabelMap, PreprocessedCase } from './preprocessed-case.js';

/**
 * One preprocessed case on disk, little-endian:
 *   8 bytes   "versemi" and the version of this layout
 *   8 bytes   length of the header
 *   32 bytes  SHA-256 of everything that follows
 *   header    JSON, padded with spaces so that the arrays are 8-byte aligned
 *   arrays    image (float32), label and where it is known (uint8 or float32, if any), foreground samples (int32), each padded
 *             to 8 bytes
 * Bump the version whenever the layout or the meaning of preprocessing changes: older entries are then made anew.
 */
const magic = 'versemi\u0003';
const preambleBytes = 48;

interface Header {
  readonly id: string;
  readonly dataset: string;
  readonly sizeVoxels: PreprocessedCase['sizeVoxels'];
  readonly spacingMm: PreprocessedCase['spacingMm'];
  readonly grid: ResampledGrid;
  /** Form of the label map and of the map of known voxels; null where there is none. */
  readonly label: 'uint8' | 'float32' | null;
  readonly known: 'uint8' | 'float32' | null;
  /** Label value -> number of foreground samples, in the order in which they are stored; null when there is no label. */
  readonly foreground: readonly (readonly [number, number])[] | null;
}

const aligned = (bytes: number) => Math.ceil(bytes / 8) * 8;

function formOf(map: LabelMap | undefined): Header['label'] {
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
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  const preamble = new Uint8Array(preambleBytes);
  preamble.set(new TextEncoder().encode(magic));
  new DataView(preamble.buffer).setBigUint64(8, BigInt(headerBytes.length), true);
  preamble.set(hash.digest(), 16);
  await writeFileAtomic(file, [preamble, ...parts]);
}

/**
 * Reads an entry into memory that worker threads can share.
 * @returns undefined when there is none, or when it is damaged, cut short or of another version: to be made anew
 */
export async function readCacheFile(file: string): Promise<PreprocessedCase | undefined> {
  const bytes = await readShared(file);
  if (bytes === undefined || bytes.length < preambleBytes) return undefined;
  const preamble = bytes.slice(0, preambleBytes);
  if (new TextDecoder('latin1').decode(preamble.subarray(0, 8)) !== magic) return undefined;
  const digest = createHash('sha256').update(bytes.subarray(preambleBytes)).digest();
  if (!digest.equals(preamble.subarray(16))) return undefined;
  // From here on the content is what was written.
  const headerLength = Number(new DataView(preamble.buffer).getBigUint64(8, true));
  // The decoder does not take shared memory: a copy of the few header bytes.
  const text = new TextDecoder().decode(bytes.slice(preambleBytes, preambleBytes + headerLength));
  const header = JSON.parse(text) as Header;
  let at = preambleBytes + headerLength;
  const next = (elementBytes: number, length: number) => {
    const from = at;
    at += aligned(elementBytes * length);
    return from;
  };
  const { buffer } = bytes;
  const voxels = voxelCount(header.sizeVoxels);
  const image = new Float32Array(buffer, next(4, voxels), voxels);
  const mapOf = (form: Header['label']): LabelMap | undefined => {
    if (form === null) return undefined;
    return form === 'uint8'
      ? new Uint8Array(buffer, next(1, voxels), voxels)
      : new Float32Array(buffer, next(4, voxels), voxels);
  };
  const [label, known] = [mapOf(header.label), mapOf(header.known)];
  const foreground = header.foreground?.map(
    ([value, count]) => [value, new Int32Array(buffer, next(4, count), count)] as const,
  );
  return {
    id: header.id,
    dataset: header.dataset,
    image,
    ...(label === undefined ? {} : { label }),
    ...(known === undefined ? {} : { known }),
    sizeVoxels: header.sizeVoxels,
    spacingMm: header.spacingMm,
    ...(foreground === undefined ? {} : { foreground: Object.fromEntries(foreground) }),
    grid: header.grid,
  };
}

async function readShared(file: string): Promise<Uint8Array | undefined> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, 'r');
  } catch {
    return undefined;
  }
  try {
    const { size } = await handle.stat();
    const bytes = new Uint8Array(new SharedArrayBuffer(size));
    let have = 0;
    while (have < size) {
      const { bytesRead } = await handle.read(bytes, have, Math.min(size - have, 2 ** 30), have);
      if (bytesRead === 0) return undefined;
      have += bytesRead;
    }
    return bytes;
  } catch {
    return undefined;
  } finally {
    await handle.close();
  }
}
