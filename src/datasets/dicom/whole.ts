import { VersemiError } from '../../errors.js';

/**
 * Whether a DICOM file holds all the bytes of which its elements speak (PS3.5, 7.1 to 7.5). The library fills up with zeros what a cut
 * file lacks, and a slice of zeros is a wrong slice that nobody notices.
 */

const undefinedLength = 0xffffffff;
/** Items and delimiters of sequences have neither a type nor, as delimiters, a length. */
const itemGroup = 0xfffe;
const [itemDelimiter, sequenceDelimiter] = [0xe00d, 0xe0dd];
/** Types whose length takes two bytes; of all others, unknown ones too, it takes four behind two that are reserved (PS3.5, 7.1.2). */
const shortTypes = new Set('AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US'.split(' '));
/** Deeper sequences are made to exhaust a reader. */
const mostDepth = 64;

interface Encoding {
  readonly explicit: boolean;
  readonly little: boolean;
}

/** Group and elements of pixels: those of floats, of doubles, and of integers. */
const pixelGroup = 0x7fe0;
const pixelNames = new Map([
  [0x0008, 'floatPixelData'],
  [0x0009, 'doublePixelData'],
  [0x0010, 'pixelData'],
] as const);

/** The element that holds the pixels of an object. */
export interface PixelElement {
  readonly name: 'pixelData' | 'floatPixelData' | 'doublePixelData';
  /** Where its bytes lie in the file; absent where they are compressed, or where the file is deflated as a whole. */
  readonly place?: { readonly start: number; readonly lengthBytes: number };
}

/** The start of a file ended before its header did. */
export class MoreBytesNeeded extends Error {
  constructor(readonly bytes: number) {
    super('more bytes are needed');
  }
}

class Walker {
  private readonly view: DataView;
  pixels: PixelElement | undefined;

  /** @param sizeBytes of the file, of which `bytes` may be the start only */
  constructor(
    bytes: Uint8Array,
    private readonly sizeBytes: number,
    private readonly file: string,
    /** True: to the end of the file, over the pixels. */
    private readonly whole: boolean,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Passes over elements from `at` to the pixels, to the end of the file, or to the delimiter of the item that they stand in. */
  elements(at: number, encoding: Encoding, depth: number, isItem: boolean): number {
    let place = at;
    while (isItem || place < this.sizeBytes) {
      this.require(place, 8, 'an element');
      const group = this.view.getUint16(place, encoding.little);
      const element = this.view.getUint16(place + 2, encoding.little);
      if (group === itemGroup) {
        if (isItem && element === itemDelimiter) return place + 8;
        throw this.damaged(`an element, found an item of a sequence at byte ${place}`);
      }
      const { length, start } = this.length(place, encoding);
      const name = depth === 0 && group === pixelGroup ? pixelNames.get(element as 8 | 9 | 16) : undefined;
      if (name !== undefined && !this.whole) {
        if (length !== undefinedLength) this.requireInFile(start, length, `element (${hex(group)},${hex(element)})`);
        this.pixels = { name, ...(length === undefinedLength ? {} : { place: { start, lengthBytes: length } }) };
        return place;
      }
      if (length === undefinedLength) place = this.sequence(start, this.inner(place, encoding), depth + 1);
      else {
        this.require(start, length, `element (${hex(group)},${hex(element)})`);
        place = start + length;
      }
    }
    return place;
  }

  private length(place: number, { explicit, little }: Encoding): { length: number; start: number } {
    if (!explicit) return { length: this.view.getUint32(place + 4, little), start: place + 8 };
    const type = String.fromCharCode(this.view.getUint8(place + 4), this.view.getUint8(place + 5));
    if (shortTypes.has(type)) return { length: this.view.getUint16(place + 6, little), start: place + 8 };
    this.require(place, 12, 'an element');
    return { length: this.view.getUint32(place + 8, little), start: place + 12 };
  }

  /** Sequences of unknown type are written with implicit types, whatever the file says (PS3.5, 6.2.2). */
  private inner(place: number, encoding: Encoding): Encoding {
    const isUnknown =
      encoding.explicit && this.view.getUint8(place + 4) === 0x55 && this.view.getUint8(place + 5) === 0x4e;
    return isUnknown ? { explicit: false, little: true } : encoding;
  }

  /** Passes over the items of a sequence, or over the fragments of compressed pixels, and over their delimiter. */
  private sequence(at: number, encoding: Encoding, depth: number): number {
    if (depth > mostDepth) throw this.damaged(`at most ${mostDepth} sequences within each other`);
    for (let place = at; ; ) {
      this.require(place, 8, 'an item of a sequence');
      const group = this.view.getUint16(place, encoding.little);
      const element = this.view.getUint16(place + 2, encoding.little);
      const length = this.view.getUint32(place + 4, encoding.little);
      place += 8;
      if (group !== itemGroup) throw this.damaged(`an item of a sequence at byte ${place - 8}`);
      if (element === sequenceDelimiter) return place;
      if (length === undefinedLength) place = this.elements(place, encoding, depth, true);
      else {
        this.require(place, length, 'an item of a sequence');
        place += length;
      }
    }
  }

  private require(start: number, length: number, what: string): void {
    this.requireInFile(start, length, what);
    if (start + length > this.view.byteLength) throw new MoreBytesNeeded(start + length);
  }

  private requireInFile(start: number, length: number, what: string): void {
    if (start + length <= this.sizeBytes) return;
    throw new VersemiError('FILE_TRUNCATED', {
      file: this.file,
      field: what,
      expected: `${length} bytes at byte ${start}`,
      found: `the end of the file at byte ${this.sizeBytes}`,
      remedy: 'Copy or export the file again.',
    });
  }

  private damaged(expected: string): VersemiError {
    return new VersemiError('FILE_CORRUPT', { file: this.file, expected, remedy: 'Copy or export the file again.' });
  }
}

function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(4, '0');
}

function encodingOf(transferSyntax: string): Encoding {
  return { explicit: transferSyntax !== '1.2.840.10008.1.2', little: transferSyntax !== '1.2.840.10008.1.2.2' };
}

/**
 * @param start of the elements behind the meta information
 * @throws VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_CORRUPT
 */
export function requireWhole(bytes: Uint8Array, start: number, transferSyntax: string, file: string): void {
  new Walker(bytes, bytes.length, file, true).elements(start, encodingOf(transferSyntax), 0, false);
}

/**
 * Where the pixels of a file begin, or its end where it has none.
 * @param bytes the start of the file
 * @param start of the elements behind the meta information
 * @throws MoreBytesNeeded; VERSEMI_FILE_TRUNCATED also when the file ends within pixels that are not compressed; VERSEMI_FILE_CORRUPT
 */
export function endOfHeader(
  bytes: Uint8Array,
  sizeBytes: number,
  start: number,
  transferSyntax: string,
  file: string,
): { readonly end: number; readonly pixels?: PixelElement } {
  const walker = new Walker(bytes, sizeBytes, file, false);
  const end = walker.elements(start, encodingOf(transferSyntax), 0, false);
  return { end, ...(walker.pixels === undefined ? {} : { pixels: walker.pixels }) };
}

/** Where the elements behind the meta information begin: its first element says how long it is. */
export function endOfMeta(bytes: Uint8Array, file: string): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = 132;
  if (
    bytes.length >= first + 12 &&
    view.getUint32(first, true) === 0x00000002 &&
    view.getUint16(first + 4, true) === 0x4c55
  )
    return first + 12 + view.getUint32(first + 8, true);
  throw new VersemiError('FILE_FORMAT', {
    file,
    field: 'meta information (0002,0000)',
    expected: 'its length as the first element',
    found: 'another element',
    remedy: 'Export the file again as a DICOM file (PS3.10).',
  });
}

/**
 * The transfer syntax that the meta information names.
 * @param end of the meta information
 * @throws VERSEMI_FILE_FORMAT when it names none
 */
export function transferSyntaxOf(bytes: Uint8Array, end: number, file: string): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 144; at + 12 <= Math.min(end, bytes.length); ) {
    const isLong = !shortTypes.has(String.fromCharCode(bytes[at + 4]!, bytes[at + 5]!));
    const start = at + (isLong ? 12 : 8);
    const length = isLong ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true);
    if (view.getUint32(at, true) === 0x00100002)
      return String.fromCharCode(...bytes.subarray(start, Math.min(start + length, start + 64))).replace(/[\0 ]+$/, '');
    at = start + length;
  }
  throw new VersemiError('FILE_FORMAT', {
    file,
    field: 'transfer syntax (0002,0010)',
    expected: 'the way in which the elements are written',
    found: 'none',
    remedy: 'Export the file again as a DICOM file (PS3.10).',
  });
}
