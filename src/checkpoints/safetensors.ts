/**
 * The safetensors container (https://huggingface.co/docs/safetensors): eight bytes with the length of a JSON header
 * (little-endian), the header, and the tensors' bytes one after the other, little-endian, row-major. Everything that a
 * file claims is checked before anything is used. No `node:` import: a browser parses the bytes it has fetched.
 */

import { z } from '#zod';
import { VersemiError } from '../errors.js';
import { bfloat16Bits, bfloat16Value, float16Bits, float16Value, fromHalf, toHalf } from '../half.js';
import { parseJson, shown } from '../json-text.js';

const bytesPerElement = { F32: 4, F16: 2, BF16: 2, F64: 8, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const;

export type SafetensorsDtype = keyof typeof bytesPerElement;

/** What the tensors of our own files are. */
const ownDtypes: readonly SafetensorsDtype[] = ['F32', 'F16', 'BF16'];
/** What tensors of other programs may be, counters beside the weights included. */
export const foreignDtypes = Object.keys(bytesPerElement) as readonly SafetensorsDtype[];

/** Longer headers are refused, as by the reference implementation, so that a damaged length cannot exhaust the memory. */
const headerBytesMaximum = 100_000_000;

export interface SafetensorsTensor {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Raw bytes, a view into the file's. */
  readonly bytes: Uint8Array;
}

export interface SafetensorsFile {
  /** In the order in which the tensors lie in the file. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface TensorToStore {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

const remedy = 'Copy or download the file again, or give another file.';

function invalid(file: string | undefined, field: string, expected: string, found: string): VersemiError {
  return new VersemiError('MODEL_INVALID', { ...(file === undefined ? {} : { file }), field, expected, found, remedy });
}

/**
 * Parses and checks a whole file.
 * @param file name for error sentences
 * @param dtypes that tensors may have; default: those of our own files
 * @throws VERSEMI_MODEL_INVALID naming the header entry that is truncated, overlapping, oversized or unknown
 */
export function parseSafetensors(
  bytes: Uint8Array,
  file?: string,
  dtypes: readonly SafetensorsDtype[] = ownDtypes,
): SafetensorsFile {
  if (bytes.byteLength < 8) throw invalid(file, 'header length', 'at least 8 bytes', `${bytes.byteLength} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  const room = Math.min(bytes.byteLength - 8, headerBytesMaximum);
  if (headerBytes < 2 || headerBytes > room)
    throw invalid(file, 'header length', `2 to ${room} bytes`, `${headerBytes} bytes`);
  const header = parseHeader(bytes.subarray(8, 8 + headerBytes), file);
  const data = bytes.subarray(8 + headerBytes);

  const entries: { name: string; tensor: SafetensorsTensor; begin: number; end: number }[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') metadata = parseMetadata(entry, file);
    else {
      const { dtype, shape, begin, end } = parseEntry(name, entry, data.byteLength, dtypes, file);
      entries.push({ name, tensor: { dtype, shape, bytes: data.subarray(begin, end) }, begin, end });
    }
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== position)
      throw invalid(file, `${name}.data_offsets`, `a tensor that begins at byte ${position}`, `byte ${begin}`);
    position = end;
  }
  if (position !== data.byteLength)
    throw invalid(file, 'data', `${position} bytes of tensors`, `${data.byteLength} bytes`);
  return { tensors: new Map(entries.map(({ name, tensor }) => [name, tensor])), metadata };
}

const size = z.int().gte(0);
const headerSchema = z.record(z.string(), z.unknown());
const metadataSchema = z.record(z.string(), z.string());
const entrySchema = z.object({
  dtype: z.enum(foreignDtypes),
  shape: z.array(size),
  data_offsets: z.tuple([size, size]),
});
/** What is expected of each field of an entry. */
const fields: Readonly<Record<string, string>> = {
  shape: 'a list of sizes',
  data_offsets: 'two byte offsets',
};

function parseHeader(bytes: Uint8Array, file: string | undefined): Record<string, unknown> {
  let header: unknown;
  try {
    header = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes), { code: 'MODEL_INVALID' });
  } catch {
    throw invalid(file, 'header', 'JSON (a safetensors file)', 'something else');
  }
  const result = headerSchema.safeParse(header);
  if (!result.success) throw invalid(file, 'header', 'a JSON object', shown(header));
  return result.data;
}

function parseMetadata(entry: unknown, file: string | undefined): Record<string, string> {
  const result = metadataSchema.safeParse(entry);
  if (result.success) return result.data;
  const [key] = result.error.issues[0]!.path;
  if (key === undefined) throw invalid(file, '__metadata__', 'an object of strings', typeof entry);
  throw invalid(file, `__metadata__.${String(key)}`, 'a string', typeof (entry as Record<PropertyKey, unknown>)[key]);
}

function parseEntry(
  name: string,
  entry: unknown,
  dataBytes: number,
  dtypes: readonly SafetensorsDtype[],
  file: string | undefined,
) {
  const result = entrySchema.safeParse(entry);
  const [wrong] = result.success ? [] : result.error.issues[0]!.path;
  const given = entry as Record<PropertyKey, unknown>;
  const known = result.success && dtypes.includes(result.data.dtype);
  if (wrong === 'dtype' || (result.success && !known))
    throw invalid(file, `${name}.dtype`, dtypes.join(', ').replace(/, (?=[^,]*$)/, ' or '), shown(given.dtype));
  if (!result.success) {
    if (wrong === undefined) throw invalid(file, name, 'an object', typeof entry);
    throw invalid(file, `${name}.${String(wrong)}`, fields[String(wrong)]!, shown(given[wrong]));
  }
  const { dtype, shape, data_offsets: offsets } = result.data;
  const [begin, end] = offsets;
  if (end < begin || end > dataBytes)
    throw invalid(file, `${name}.data_offsets`, `offsets in order, at most ${dataBytes}`, `[${begin}, ${end}]`);
  const bytes = shape.reduce((product, length) => product * length, bytesPerElement[dtype]);
  if (bytes !== end - begin)
    throw invalid(file, `${name}.data_offsets`, `${bytes} bytes for ${dtype} [${shape}]`, `${end - begin} bytes`);
  return { dtype, shape, begin, end };
}

/**
 * The elements of a tensor of floating-point numbers as float32: a copy, whatever the alignment of the bytes (hosts are little-endian).
 * @throws VERSEMI_INTERNAL for a tensor of whole numbers
 */
export function tensorValues({ dtype, bytes }: SafetensorsTensor): Float32Array {
  const copy = new Uint8Array(bytes).buffer; // slice() of a Node Buffer would be a view of the same memory
  if (dtype === 'F32') return new Float32Array(copy);
  if (dtype === 'F64') return Float32Array.from(new Float64Array(copy));
  if (dtype !== 'F16' && dtype !== 'BF16') throw new VersemiError('INTERNAL', { field: dtype, found: 'no weights' });
  return fromHalf(new Uint16Array(copy), dtype === 'F16' ? float16Value : bfloat16Value);
}

/**
 * The parts of a file, to be written one after the other: the header (padded with spaces so that the data begins at a
 * multiple of eight), then each tensor, without copying float32 ones.
 */
export function encodeSafetensors(
  tensors: readonly TensorToStore[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array[] {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  const parts: Uint8Array[] = [];
  let position = 0;
  for (const { name, shape, data, dtype } of tensors) {
    if (name in header) throw new VersemiError('INTERNAL', { field: name, found: 'a tensor name used twice' });
    const stored = dtype === 'F32' ? data : toHalf(data, dtype === 'F16' ? float16Bits : bfloat16Bits);
    const part = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
    header[name] = { dtype, shape, data_offsets: [position, position + part.byteLength] };
    position += part.byteLength;
    parts.push(part);
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(json.byteLength / 8) * 8;
  const head = new Uint8Array(8 + padded).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(json, 8);
  return [head, ...parts];
}
