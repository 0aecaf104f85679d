import type { NativeCodecs as Codecs } from 'dcmjs-codecs';

/**
 * The libraries for DICOM, loaded when the first DICOM file is met: dcmjs for elements, dcmjs-codecs for compressed frames.
 */

interface DicomMessage {
  readFile(bytes: ArrayBuffer, options: { readonly noCopy: boolean }): { readonly meta: object; readonly dict: object };
}

interface Library {
  readonly DicomMessage: DicomMessage;
  readonly DicomDict: new (meta: object) => { dict: object; write(): ArrayBuffer };
  readonly DicomMetaDictionary: { denaturalizeDataset(natural: object): object };
}

let library: Promise<Library> | undefined;

export function dicomLibrary(): Promise<Library> {
  library ??= import('dcmjs').then((module) => {
    const dcmjs = (module.default ?? module) as {
      data: Library;
      log: { getLogger(name: string): { setLevel(level: string, persist: boolean): void } };
    };
    // The library writes a line for each element of a form that it guesses; what is wrong is found where a value is used.
    dcmjs.log.getLogger('validation.dcmjs').setLevel('silent', false);
    return dcmjs.data;
  });
  return library;
}

let codecs:
  | Promise<{ readonly native: typeof Codecs; readonly Context: typeof import('dcmjs-codecs').Context }>
  | undefined;

/** Decoders of compressed frames. */
export function frameCodecs(): NonNullable<typeof codecs> {
  codecs ??= import('dcmjs-codecs').then(async (module) => {
    const { NativeCodecs, Context } = (module.default ?? module) as typeof import('dcmjs-codecs');
    await NativeCodecs.initializeAsync({ logCodecsInfo: false, logCodecsTrace: false });
    return { native: NativeCodecs, Context };
  });
  return codecs;
}
