import { VersemiError } from '../../errors.js';

/**
 * Whether a DICOM file holds all the bytes of which its elements speak (PS3.5, 7.1 to 7.5). The library fills up with zeros what a cut
 * file lacks, and a slice of zeros is a wrong slice that nobody notices.
 */

const undefinedLength = 0xffffffff;
/** Items and delimiters of sequences have neither a type nor, as delimiters, a length. */
const itemGroup = 0xfffe;
const [itemDelimiter, sequenceDelimiter] = [0xe00d, 0xe0dd];
/** Types whose length takes four bytes, behind two that are reserved. */
const longTypes = new Set(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'SQ', 'SV', 'UC', 'UN', 'UR', 'UT', 'UV']);
/** Deeper sequences are made to exhaust a reader. */
const mostDepth = 64;

interface Encoding {
  readonly explicit: boolean;
  readonly little: boolean;
}

class Walker {
  private readonly view: DataView;

  constructor(
    bytes: Uint8Array,
    private readonly file: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Passes over elements from `at` to the end of the file, or to the delimiter of the item that they stand in. */
  elements(at: number, encoding: Encoding, depth: number, isItem: boolean): number {
    let place = at;
    while (isItem || place < this.view.byteLength) {
      this.require(place, 8, 'an element');
      const group = this.view.getUint16(place, encoding.little);
      const element = this.view.getUint16(place + 2, encoding.little);
      if (group === itemGroup) {
        if (isItem && element === itemDelimiter) return place + 8;
        throw this.damaged(`an element, found an item of a sequence at byte ${place}`);
      }
      const { length, start } = this.length(place, encoding);
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
    if (!longTypes.has(type)) return { length: this.view.getUint16(place + 6, little), start: place + 8 };
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
    if (start + length <= this.view.byteLength) return;
    throw new VersemiError('FILE_TRUNCATED', {
      file: this.file,
      field: what,
      expected: `${length} bytes at byte ${start}`,
      found: `the end of the file at byte ${this.view.byteLength}`,
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

/**
 * @param start of the elements behind the meta information
 * @throws VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_CORRUPT
 */
export function requireWhole(bytes: Uint8Array, start: number, transferSyntax: string, file: string): void {
  const encoding = {
    explicit: transferSyntax !== '1.2.840.10008.1.2',
    little: transferSyntax !== '1.2.840.10008.1.2.2',
  };
  new Walker(bytes, file).elements(start, encoding, 0, false);
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
