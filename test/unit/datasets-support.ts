// Small NIfTI files made byte by byte, folders that vanish, and the place of the real data.
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { environment } from '../../src/environment.js';
import { type ErrorCode, isVersemiError, type VersemiError } from '../../src/errors.js';

/** Repository root, from dist/test/unit. */
const root = fileURLToPath(new URL('../../..', import.meta.url));

export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(join(root, 'test', 'golden', name), 'utf8')) as T;
}

/** A folder of the real data, or undefined where the machine has none. */
export function realData(name: string): string | undefined {
  const folder = join(environment('VERSEMI_DATA') ?? join(root, '..', 'shared', 'data'), name);
  return existsSync(folder) ? folder : undefined;
}

/** A folder of the files on which earlier versions failed (../shared/cases), or undefined where the machine has none. */
export function foreignCase(name: string): string | undefined {
  const folder = join(root, '..', 'shared', 'cases', name);
  return existsSync(folder) ? folder : undefined;
}

export const noData = 'the real data is not here (set VERSEMI_DATA)';

export interface Fields {
  readonly version?: 1 | 2;
  readonly littleEndian?: boolean;
  readonly dim?: readonly number[];
  readonly datatype?: number;
  readonly pixdim?: readonly number[];
  readonly voxOffset?: number;
  readonly slope?: number;
  readonly intercept?: number;
  readonly units?: number;
  readonly qformCode?: number;
  readonly sformCode?: number;
  /** b, c, d, x, y, z */
  readonly quaternion?: readonly number[];
  readonly srow?: readonly number[];
  readonly magic?: string;
  /** Voxel bytes, appended at voxOffset. */
  readonly voxels?: Uint8Array;
}

/** A NIfTI file written from the standard's table of fields, apart from the writer under test. 2 x 3 x 4 uint8 by default. */
export function niftiBytes(fields: Fields = {}): Uint8Array {
  const { version = 1, littleEndian: le = true, dim = [3, 2, 3, 4, 1, 1, 1, 1], datatype = 2 } = fields;
  const offset = fields.voxOffset ?? (version === 1 ? 352 : 544);
  const voxels = fields.voxels ?? Uint8Array.from({ length: 24 }, (_, i) => i);
  const headerBytes = version === 1 ? 352 : 544;
  const start = Number.isFinite(offset) && offset >= 0 && offset < 1e6 ? Math.max(offset, headerBytes) : headerBytes;
  const bytes = new Uint8Array(start + voxels.length);
  const view = new DataView(bytes.buffer);
  const pixdim = fields.pixdim ?? [1, 1, 1, 1, 0, 0, 0, 0];
  const quaternion = fields.quaternion ?? [0, 0, 0, 0, 0, 0];
  const srow = fields.srow ?? [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0];
  const floats = (at: number, values: readonly number[]) => {
    for (const [i, value] of values.entries()) {
      if (version === 1) view.setFloat32(at + 4 * i, value, le);
      else view.setFloat64(at + 8 * i, value, le);
    }
  };
  const text = (at: number, value: string) => bytes.set(Buffer.from(value, 'latin1'), at);
  const scaling = [fields.slope ?? 0, fields.intercept ?? 0];
  if (version === 1) {
    view.setInt32(0, 348, le);
    for (const [i, size] of dim.entries()) view.setInt16(40 + 2 * i, size, le);
    view.setInt16(70, datatype, le);
    floats(76, pixdim);
    floats(108, [offset, ...scaling]);
    bytes[123] = fields.units ?? 2;
    view.setInt16(252, fields.qformCode ?? 0, le);
    view.setInt16(254, fields.sformCode ?? 1, le);
    floats(256, quaternion);
    floats(280, srow);
    text(344, fields.magic ?? 'n+1\0');
  } else {
    view.setInt32(0, 540, le);
    text(4, fields.magic ?? 'n+2\0\r\n\x1a\n');
    view.setInt16(12, datatype, le);
    for (const [i, size] of dim.entries()) view.setBigInt64(16 + 8 * i, BigInt(size), le);
    floats(104, pixdim);
    view.setBigInt64(168, BigInt(offset), le);
    floats(176, scaling);
    view.setInt32(344, fields.qformCode ?? 0, le);
    view.setInt32(348, fields.sformCode ?? 1, le);
    floats(352, quaternion);
    floats(400, srow);
    view.setInt32(500, fields.units ?? 2, le);
  }
  bytes.set(voxels, start);
  return bytes;
}

/** Writes files into a folder: names may contain folders; values are bytes, text, or objects (as JSON). */
export async function writeTree(folder: string, files: Readonly<Record<string, Uint8Array | string | object>>) {
  for (const [name, content] of Object.entries(files)) {
    const file = join(folder, name);
    await mkdir(dirname(file), { recursive: true });
    const plain = typeof content === 'string' || content instanceof Uint8Array;
    await writeFile(file, plain ? content : JSON.stringify(content));
  }
  return folder;
}

/** The coded error that `run` throws; any other outcome fails the test. */
export async function failure(run: () => unknown, code: ErrorCode): Promise<VersemiError> {
  try {
    await run();
  } catch (error) {
    if (isVersemiError(error, code)) return error;
    throw error;
  }
  throw new Error(`expected VERSEMI_${code}, but nothing was thrown`);
}
