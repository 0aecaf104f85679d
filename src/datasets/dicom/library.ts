import { isNode, nodeModule } from '../../node-module.js';

/**
 * The libraries for DICOM, loaded when the first DICOM file is met: dcmjs for elements, dcmjs-codecs for compressed frames.
 */

interface DicomMessage {
  readFile(bytes: ArrayBuffer, options: { readonly noCopy: boolean }): { readonly meta: object; readonly dict: object };
}

/** How the library reads the values of one type of elements. */
interface ValueReader {
  read(stream: object, lengthBytes: number, transferSyntax: string, options: object): object;
}

interface ValueReaders {
  createByTypeString(type: string): ValueReader;
  parseUnknownVr(type: string): ValueReader;
}

interface Library {
  readonly ValueRepresentation: ValueReaders;
  readonly DicomMessage: DicomMessage;
  readonly DicomDict: new (meta: object) => { dict: object; write(): ArrayBuffer };
  readonly DicomMetaDictionary: { denaturalizeDataset(natural: object): object };
}

let library: Promise<Library> | undefined;

export function dicomLibrary(): Promise<Library> {
  library ??= import('#dicom').then(({ dcmjs }) => {
    // The library writes a line for each element of a form that it guesses; what is wrong is found where a value is used.
    dcmjs.log.getLogger('validation.dcmjs').setLevel('silent', false);
    const { data } = dcmjs as { data: Library };
    readUnknownSequences(data.ValueRepresentation);
    return data;
  });
  return library;
}

const undefinedLength = 0xffffffff;
const implicitTypes = '1.2.840.10008.1.2';

/**
 * Teaches the library sequences whose type is written as unknown (UN), as programs write them that turned implicit types into explicit
 * ones: their items hold elements with implicit types (PS3.5, 6.2.2). By itself it takes them for compressed pixels.
 */
function readUnknownSequences(readers: ValueReaders): void {
  const sequences = readers.createByTypeString('SQ');
  const asSequence: ValueReader['read'] = (stream, length, _, options) =>
    sequences.read(stream, length, implicitTypes, options);
  // Of an element that its dictionary does not know, the length says that it is a sequence.
  const unknown = readers.createByTypeString('UN');
  const readBytes = unknown.read.bind(unknown);
  unknown.read = (stream, length, syntax, options) =>
    (length === undefinedLength ? asSequence : readBytes)(stream, length, syntax, options);
  const known = readers.parseUnknownVr.bind(readers);
  readers.parseUnknownVr = (type) =>
    type === 'SQ' ? Object.assign(Object.create(sequences) as ValueReader, { read: asSequence }) : known(type);
}

interface FrameContext {
  getDecodedBuffer(): Uint8Array | undefined;
  getEncodedBuffer(): Uint8Array | undefined;
}

interface Codecs {
  readonly native: Readonly<
    Record<
      'decodeRle' | 'decodeJpeg' | 'decodeJpegLs' | 'decodeJpeg2000' | 'decodeHtJpeg2000',
      (context: FrameContext) => FrameContext
    >
  > & {
    /** @param quality of libjpeg, 1 to 100 */
    encodeJpeg(context: FrameContext, parameters: { readonly lossy: true; readonly quality: number }): FrameContext;
  };
  readonly Context: new (frame: object) => FrameContext;
}

let codecs: Promise<Codecs> | undefined;

let provided: (() => Promise<ArrayBuffer>) | undefined;

/** Tells a page whose script is one bundle how it gets dicom-codecs.wasm. Called before the first compressed image is read. */
export function provideCodecs(bytes: () => Promise<ArrayBuffer>): void {
  provided = bytes;
}

/** The decoders' WebAssembly, which lies beside their code. */
async function codecBytes(): Promise<ArrayBuffer | Uint8Array> {
  if (provided !== undefined) return provided();
  const file = new URL('../../third-party/dicom-codecs.wasm', import.meta.url);
  if (isNode()) return nodeModule('node:fs').readFileSync(file);
  return (await fetch(file)).arrayBuffer();
}

/** Decoders of compressed frames, and an encoder. */
export function frameCodecs(): Promise<Codecs> {
  codecs ??= import('#dicom').then(async ({ codecs: { NativeCodecs, Context } }) => {
    // The library looks for the file by eval, which no module and no page with a Content-Security-Policy has.
    NativeCodecs._getWebAssemblyBytes = codecBytes;
    await NativeCodecs.initializeAsync({ logCodecsInfo: false, logCodecsTrace: false });
    return { native: NativeCodecs as Codecs['native'], Context };
  });
  return codecs;
}
