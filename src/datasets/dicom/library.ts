import type { NativeCodecs as Codecs } from 'dcmjs-codecs';
import { nodeModule } from '../../node-module.js';

/**
 * The libraries for DICOM, loaded when the first DICOM file is met: dcmjs for elements, dcmjs-codecs for compressed frames.
 */

/** How a page loads the libraries: `{ dcmjs: () => import('dcmjs'), codecs: () => import('dcmjs-codecs') }`. */
export interface DicomLibraries {
  dcmjs(): Promise<unknown>;
  codecs(): Promise<unknown>;
  /** Address of dcmjs-codecs' file dcmjs-native-codecs.wasm. */
  codecsWasm(): Promise<string>;
}

let provided: DicomLibraries | undefined;

/** Tells how the libraries are loaded where there is no `require`. Called once, before the first DICOM file is read. */
export function provideDicomLibraries(libraries: DicomLibraries): void {
  provided = libraries;
}

/** By `require`: dcmjs calls its ES modules .js in a package of CommonJS, which Node before 20.19 cannot import. */
async function required(name: string): Promise<unknown> {
  return nodeModule('node:module').createRequire(import.meta.url)(name);
}

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
  library ??= (provided?.dcmjs() ?? required('dcmjs')).then((module) => {
    const dcmjs = module as {
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
  codecs ??= (provided?.codecs() ?? required('dcmjs-codecs')).then(async (module) => {
    const { NativeCodecs, Context } = module as typeof import('dcmjs-codecs');
    await NativeCodecs.initializeAsync({
      ...{ logCodecsInfo: false, logCodecsTrace: false },
      ...(provided === undefined ? {} : { webAssemblyModulePathOrUrl: await provided.codecsWasm() }),
    });
    return { native: NativeCodecs, Context };
  });
  return codecs;
}
