/**
 * How the elements of an HDF5 array are laid out in bits, read from the file itself: the library tells class and size only, and
 * 16 bits may be IEEE 754 binary16 or bfloat16, 32 bits IEEE 754 or the order of a VAX. (HDF5 file format specification, version
 * 3: IV.A object headers, IV.A.2.d the datatype message.)
 */

/** A range of bytes of the file. @throws where the file ends before it */
export type ReadBytes = (position: number, length: number) => DataView;

/** Element type as the file states it; positions and sizes count bits from the least significant one. */
export type ElementType = FloatType | IntegerType;

export interface FloatType {
  readonly kind: 'float';
  readonly order: 'little-endian' | 'big-endian' | 'VAX order';
  readonly sizeBytes: number;
  readonly offset: number;
  readonly precision: number;
  readonly sign: number;
  readonly exponentAt: number;
  readonly exponentSize: number;
  readonly fractionAt: number;
  readonly fractionSize: number;
  readonly bias: number;
  /** True: the first bit of the significand is 1 and is not stored. */
  readonly implied: boolean;
}

export interface IntegerType {
  readonly kind: 'integer';
  readonly sizeBytes: number;
  readonly offset: number;
  readonly precision: number;
}

const [integerClass, floatClass, enumerationClass] = [0, 1, 8];

/** IEEE 754 binary16, binary32 and binary64: exponent and fraction in bits. */
const ieee: Readonly<Record<number, readonly [exponent: number, fraction: number]>> = {
  2: [5, 10],
  4: [8, 23],
  8: [11, 52],
};

/** What is unusual about a type, in words for an error; undefined for whole bytes of integers and for the floats of IEEE 754. */
export function unusual(type: ElementType): string | undefined {
  const bits = 8 * type.sizeBytes;
  if (type.kind === 'integer') {
    if (type.offset === 0 && type.precision === bits) return undefined;
    return `integers of ${type.precision} bits, from bit ${type.offset} on, in ${bits}`;
  }
  const { order, offset, precision, sign, exponentAt, exponentSize, fractionAt, fractionSize, bias, implied } = type;
  const usual = ieee[type.sizeBytes];
  const layout = [offset, precision, sign, exponentAt, exponentSize, fractionAt, fractionSize, bias];
  const [exponent, fraction] = usual ?? [0, 0];
  const expected = [0, bits, bits - 1, fraction, exponent, 0, fraction, 2 ** (exponent - 1) - 1];
  if (usual !== undefined && order !== 'VAX order' && implied && layout.every((value, i) => value === expected[i]))
    return undefined;
  if (order === 'VAX order') return `floats of ${bits} bits in the order of a VAX`;
  if (type.sizeBytes === 2 && exponentSize === 8 && fractionSize === 7 && bias === 127) return 'bfloat16';
  return `floats of ${bits} bits with ${exponentSize} bits of exponent (bias ${bias}) and ${fractionSize} of fraction`;
}

/**
 * Type of the elements of an array.
 * @param address of the array's object header, as a reference to the array holds it
 * @returns undefined for a class other than integers, floats and enumerations, and where the file keeps the type elsewhere
 * @throws RangeError or what `read` throws for a damaged file
 */
export function elementType(read: ReadBytes, address: number): ElementType | undefined {
  const file = superblock(read);
  return typeAt(file, address, 0);
}

/** What the superblock says of all addresses of a file. */
interface Format {
  readonly read: ReadBytes;
  /** Where address 0 lies. */
  readonly base: number;
  readonly addressBytes: number;
  readonly lengthBytes: number;
}

function superblock(read: ReadBytes): Format {
  for (let start = 0; ; start = start === 0 ? 512 : 2 * start) {
    const view = read(start, 16);
    if (view.getUint32(0) !== 0x89484446 || view.getUint32(4) !== 0x0d0a1a0a) continue;
    const [addressBytes, lengthBytes] =
      view.getUint8(8) < 2 ? [view.getUint8(13), view.getUint8(14)] : [view.getUint8(9), view.getUint8(10)];
    // The base address is that of the signature, unless somebody put bytes before a finished file.
    return { read, base: start, addressBytes, lengthBytes };
  }
}

const [datatypeMessage, continuationMessage] = [0x03, 0x10];
const sharedFlag = 2;
/** More than any header has; a damaged one may lead in a circle. */
const mostBytes = 16 << 20;

function typeAt(file: Format, address: number, depth: number): ElementType | undefined {
  const message = findMessage(file, address);
  if (message === undefined || depth > 1) return undefined;
  const { view, shared } = message;
  if (!shared) return parseType(view, 0);
  // A named type is a message of another object; a type in the heap of shared messages has no address.
  const version = view.getUint8(0);
  if (version === 3 && view.getUint8(1) !== 2) return undefined;
  return typeAt(file, unsigned(view, version === 1 ? 8 : 2, file.addressBytes), depth + 1);
}

interface Message {
  readonly view: DataView;
  readonly shared: boolean;
}

/** The datatype message of an object. */
function findMessage(file: Format, address: number): Message | undefined {
  const { read, base } = file;
  const start = read(base + address, 16);
  const first = start.getUint32(0) === signature('OHDR') ? firstBlock2(file, address) : undefined;
  const flags = first?.flags ?? 0;
  // Blocks of messages: those of version 2 begin with OCHK, and end with a checksum.
  const blocks = [first?.block ?? { at: base + address + 16, length: start.getUint32(8, true) }];
  const header = first === undefined ? 8 : flags & 4 ? 6 : 4;
  let bytes = 0;
  for (const block of blocks) {
    bytes += block.length;
    if (bytes > mostBytes) throw new RangeError('an object header without an end');
    const view = read(block.at, block.length);
    for (let at = 0; at + header <= view.byteLength; ) {
      const type = first === undefined ? view.getUint16(at, true) : view.getUint8(at);
      const size = view.getUint16(at + (first === undefined ? 2 : 1), true);
      const messageFlags = view.getUint8(at + (first === undefined ? 4 : 3));
      const body = at + header;
      if (body + size > view.byteLength) break;
      const content = new DataView(view.buffer, view.byteOffset + body, size);
      if (type === datatypeMessage) return { view: content, shared: (messageFlags & sharedFlag) !== 0 };
      if (type === continuationMessage) {
        const next = base + unsigned(content, 0, file.addressBytes);
        const length = unsigned(content, file.addressBytes, file.lengthBytes);
        blocks.push(first === undefined ? { at: next, length } : { at: next + 4, length: length - 8 });
      }
      at = body + size;
    }
  }
  return undefined;
}

/** First block of messages of an object header of version 2. */
function firstBlock2({ read, base }: Format, address: number) {
  const flags = read(base + address + 5, 1).getUint8(0);
  const at = base + address + 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0);
  const bytes = 2 ** (flags & 3);
  return { flags, block: { at: at + bytes, length: unsigned(read(at, bytes), 0, bytes) } };
}

function signature(text: string): number {
  return [...text].reduce((value, letter) => value * 256 + letter.charCodeAt(0), 0);
}

/** A little-endian number of up to 8 bytes. */
function unsigned(view: DataView, at: number, bytes: number): number {
  let value = 0;
  for (let i = bytes - 1; i >= 0; i--) value = value * 256 + view.getUint8(at + i);
  return value;
}

function parseType(view: DataView, at: number): ElementType | undefined {
  const kind = view.getUint8(at) & 15;
  const sizeBytes = view.getUint32(at + 4, true);
  const properties = at + 8;
  // An enumeration holds the type of its values.
  if (kind === enumerationClass) return parseType(view, properties);
  if (kind !== integerClass && kind !== floatClass) return undefined;
  const [offset, precision] = [view.getUint16(properties, true), view.getUint16(properties + 2, true)];
  if (kind === integerClass) return { kind: 'integer', sizeBytes, offset, precision };
  const bits = view.getUint8(at + 1);
  const order = bits & 0x40 ? 'VAX order' : bits & 1 ? 'big-endian' : 'little-endian';
  return {
    ...{ kind: 'float', order, sizeBytes, offset, precision },
    sign: view.getUint8(at + 2),
    exponentAt: view.getUint8(properties + 4),
    exponentSize: view.getUint8(properties + 5),
    fractionAt: view.getUint8(properties + 6),
    fractionSize: view.getUint8(properties + 7),
    bias: view.getUint32(properties + 8, true),
    implied: ((bits >> 4) & 3) === 2,
  };
}
