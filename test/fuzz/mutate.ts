// Bytes that are almost right: a few faults in a file that was whole, most of them where a reader looks.
import type { RandomStream } from '../../src/random.js';

/** A number of a file: where it lies and how it is stored. */
export interface BinaryField {
  readonly at: number;
  readonly type: 'int8' | 'int16' | 'int32' | 'int64' | 'float32' | 'float64';
  /** Default true. */
  readonly littleEndian?: boolean;
}

const integers = [
  0,
  1,
  -1,
  2,
  3,
  4,
  7,
  8,
  16,
  127,
  128,
  255,
  256,
  348,
  540,
  32767,
  -32768,
  65535,
  2 ** 31 - 1,
  -(2 ** 31),
];
const hugeIntegers = [2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 62];
const reals = [
  ...[0, -0, 1, -1, 0.5, 1e-3, 0.1, 100, 352, 352.5, 353, 1e4, 1e9, 1e21, 1e38, 1e-38, 1e-45],
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324, 1.7e308],
];

export function pick<T>(random: RandomStream, items: readonly T[]): T {
  return items[random.integer(items.length)]!;
}

/** True once in `times`. */
export function once(random: RandomStream, times: number): boolean {
  return random.integer(times) === 0;
}

/** How many faults: mostly one, since a reader stops at the first that it sees; now and then many. */
export function few(random: RandomStream): number {
  if (once(random, 2)) return 1;
  return once(random, 6) ? 1 + random.integer(20) : 2 + random.integer(2);
}

/** Writes an odd number into a field. */
function setField(bytes: Uint8Array, { at, type, littleEndian = true }: BinaryField, random: RandomStream): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole = pick(random, once(random, 4) ? hugeIntegers : integers);
  if (at + Number(type.replace(/\D/g, '')) / 8 > bytes.length) return;
  if (type === 'int8') view.setInt8(at, whole);
  else if (type === 'int16') view.setInt16(at, whole, littleEndian);
  else if (type === 'int32') view.setInt32(at, whole, littleEndian);
  else if (type === 'int64') view.setBigInt64(at, BigInt(whole), littleEndian);
  else if (type === 'float32') view.setFloat32(at, pick(random, reals), littleEndian);
  else view.setFloat64(at, pick(random, reals), littleEndian);
}

const joined = (...parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const noise = (random: RandomStream, length: number) => Uint8Array.from({ length }, () => random.integer(256));

/**
 * A copy of a file with faults.
 * @param fields numbers that mean something, which are changed more often than other bytes
 */
export function mutatedBytes(
  source: Uint8Array,
  random: RandomStream,
  fields: readonly BinaryField[] = [],
): Uint8Array<ArrayBuffer> {
  let bytes = new Uint8Array(source);
  for (let faults = few(random); faults > 0; faults--) {
    // Headers stand at the beginning: half of the faults are within the first 600 bytes.
    const end = once(random, 2) ? Math.min(bytes.length, 600) : bytes.length;
    const at = random.integer(Math.max(1, end));
    const length = 1 + random.integer(once(random, 4) ? 4096 : 16);
    if (fields.length > 0 && !once(random, 3)) {
      setField(bytes, pick(random, fields), random);
      continue;
    }
    const kind = random.integer(9);
    if (kind <= 1) bytes[at] = bytes[at]! ^ (1 << random.integer(8));
    else if (kind === 2) bytes[at] = pick(random, integers) & 255;
    else if (kind === 3)
      setField(bytes, { at, type: pick(random, ['int16', 'int32', 'int64', 'float32', 'float64'] as const) }, random);
    else if (kind === 4) bytes = bytes.slice(0, at);
    else if (kind === 5) bytes = joined(bytes, noise(random, length));
    else if (kind === 6) bytes = joined(bytes.subarray(0, at), noise(random, length), bytes.subarray(at));
    else if (kind === 7) bytes = joined(bytes.subarray(0, at), bytes.subarray(at + length));
    else bytes.copyWithin(random.integer(Math.max(1, bytes.length)), at, at + length);
  }
  return bytes;
}

const oddWords = [
  ...[
    '0',
    '-1',
    '1',
    '2',
    '3',
    '4',
    '16',
    '65536',
    '4294967295',
    '4294967296',
    '9007199254740993',
    '1e21',
    '1e308',
    '1e999',
  ],
  ...[
    'nan',
    'inf',
    '-inf',
    '0x10',
    '',
    '.',
    '../../etc/passwd',
    '/dev/zero',
    'LIST',
    'LOCAL',
    '???',
    'none',
    '(1,0)',
    '(nan,0,0)',
  ],
  ...[
    'raw',
    'ascii',
    'text',
    'hex',
    'gzip',
    'bz2',
    'short',
    'double',
    'block',
    'uchar',
    'True',
    'False',
    'big',
    'little',
  ],
];

/** A header of words and lines with some words exchanged, lines lost or repeated. */
export function mutatedWords(text: string, random: RandomStream): string {
  const lines = text.split('\n');
  for (let faults = few(random); faults > 0; faults--) {
    const at = random.integer(lines.length);
    const words = lines[at]!.split(/([ ,():=]+)/);
    const kind = random.integer(8);
    if (kind === 0) lines.splice(at, 1);
    else if (kind === 1) lines.push(lines[at]!);
    else if (kind === 2) lines[at] = `${lines[at]} ${pick(random, oddWords)}`;
    else words[random.integer(words.length)] = pick(random, oddWords);
    if (kind > 2) lines[at] = words.join('');
  }
  return lines.join('\n');
}
