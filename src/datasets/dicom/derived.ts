import type { Code } from '../../config/facts-schema.js';
import type { Affine, Triple } from '../../volume/volume.js';
import { parseHeader, type TagName } from './elements.js';
import { dicomLibrary } from './library.js';
import type { PlacedSeries } from './placed.js';
import { instancesOf } from './series.js';

/** What is written of one task. */
export interface LabelledMask {
  readonly name: string;
  /** On the grid of the series as it was read (columns, rows, slices): 0 outside, else inside. */
  readonly data: Uint8Array;
  /** Red, green, blue, 0 to 255. */
  readonly colour: Triple;
  /** Code of what is segmented; a general one where the plan names none. */
  readonly code?: Code;
  /** Code of the category of it; an anatomical structure where the plan names none. */
  readonly category?: Code;
}

/** A code as an item of a sequence of codes (PS3.3, 8.8). */
export function codeItem({ scheme, value, meaning }: Code) {
  return { CodeValue: value, CodingSchemeDesignator: scheme, CodeMeaning: meaning };
}

export interface DerivedOptions {
  /** Leaves names, numbers and dates of the patient out; UIDs stay, since objects are linked by them. */
  readonly deidentify?: boolean;
  /** Name of the model, for the description. */
  readonly model: string;
  /** Names of all models, where several were averaged. */
  readonly models?: readonly string[];
  readonly version: string;
  /** When the object is made; default now. */
  readonly date?: Date;
}

/** A data set by keywords, as dcmjs takes it. */
export type Natural = Record<string, unknown>;

/** A new UID from a random UUID (PS3.5, B.2). Pages without a secure context have no `crypto.randomUUID`, so the bits are set here. */
export function newUid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return `2.25.${bytes.reduce((value, byte) => value * 256n + BigInt(byte), 0n)}`;
}

const patientFields = [
  'patientName',
  'patientId',
  'patientBirthDate',
  'patientSex',
] as const satisfies readonly TagName[];
const studyFields = [
  'studyDate',
  'studyTime',
  'accessionNumber',
  'studyId',
  'referringPhysician',
  'studyDescription',
] as const satisfies readonly TagName[];

const keywords: Readonly<Record<(typeof patientFields)[number] | (typeof studyFields)[number], string>> = {
  patientName: 'PatientName',
  patientId: 'PatientID',
  patientBirthDate: 'PatientBirthDate',
  patientSex: 'PatientSex',
  studyDate: 'StudyDate',
  studyTime: 'StudyTime',
  accessionNumber: 'AccessionNumber',
  studyId: 'StudyID',
  referringPhysician: 'ReferringPhysicianName',
  studyDescription: 'StudyDescription',
};

/** Patient, study and equipment of an object that is derived from a series: of its first image, or empty; nothing is invented. */
export async function derivedFrom(source: PlacedSeries, options: DerivedOptions): Promise<Natural> {
  const [first] = source.grid.frames;
  const { file, studyUid, frameOfReferenceUid } = first!.instance;
  const { elements } = await parseHeader(file);
  const copied = (fields: readonly (keyof typeof keywords)[]) =>
    Object.fromEntries(
      fields.map((name) => [keywords[name], options.deidentify === true ? '' : (elements.text(name) ?? '')]),
    );
  // An empty description is no description; the other fields are to be there even when nothing is known.
  const study = copied(studyFields);
  if (study.StudyDescription === '') delete study.StudyDescription;
  const { date, time } = dateTime(options.date ?? new Date());
  return {
    SpecificCharacterSet: 'ISO_IR 192',
    ...copied(patientFields),
    ...study,
    ...(options.deidentify === true
      ? { PatientIdentityRemoved: 'YES', DeidentificationMethod: 'names, numbers and dates left out' }
      : {}),
    StudyInstanceUID: studyUid,
    SeriesInstanceUID: newUid(),
    SOPInstanceUID: newUid(),
    ...(frameOfReferenceUid === undefined
      ? {}
      : { FrameOfReferenceUID: frameOfReferenceUid, PositionReferenceIndicator: '' }),
    Manufacturer: 'versemi',
    ManufacturerModelName: options.model.slice(0, 64),
    DeviceSerialNumber: 'none',
    SoftwareVersions: [options.version, ...(options.models ?? [])].map((text) => text.slice(0, 64)),
    SeriesDate: date,
    SeriesTime: time,
    SeriesNumber: 9000,
    InstanceNumber: 1,
  };
}

export function dateTime(date: Date): { readonly date: string; readonly time: string } {
  const digits = date.toISOString().replace(/\D/g, '');
  return { date: digits.slice(0, 8), time: digits.slice(8, 14) };
}

/** A data set as the bytes of a DICOM file, explicit little-endian. */
export async function encodeDicom(natural: Natural): Promise<Uint8Array> {
  const { DicomDict, DicomMetaDictionary } = await dicomLibrary();
  const meta = {
    FileMetaInformationVersion: new Uint8Array([0, 1]).buffer,
    MediaStorageSOPClassUID: natural.SOPClassUID,
    MediaStorageSOPInstanceUID: natural.SOPInstanceUID,
    TransferSyntaxUID: '1.2.840.10008.1.2.1',
    ImplementationClassUID: implementationClassUid,
    ImplementationVersionName: 'VERSEMI',
  };
  const dictionary = new DicomDict(DicomMetaDictionary.denaturalizeDataset(meta));
  dictionary.dict = DicomMetaDictionary.denaturalizeDataset(natural);
  return new Uint8Array(dictionary.write());
}

/** Names the program that wrote a file; a UUID of its own, made once. */
const implementationClassUid = '2.25.181363718350741586304563926128480128731';

/** A decimal string of at most 16 characters (PS3.5, 6.2), rounded no more than it must be. */
export function decimal(value: number): string {
  const plain = String(value + 0);
  if (plain.length <= 16) return plain;
  for (let digits = 15; digits > 0; digits--) {
    const text = String(Number(value.toPrecision(digits)));
    if (text.length <= 16) return text;
  }
  return value.toExponential(8);
}

/** Place of a voxel of a grid in millimetres, LPS. @param affine to RAS+ */
export function lpsOf(affine: Affine, x: number, y: number, z: number): Triple {
  const row = (r: number) => affine[4 * r]! * x + affine[4 * r + 1]! * y + affine[4 * r + 2]! * z + affine[4 * r + 3]!;
  return [-row(0), -row(1), row(2)];
}

/** The images of a series, each once. */
export function references({
  grid,
}: PlacedSeries): { ReferencedSOPClassUID: string; ReferencedSOPInstanceUID: string }[] {
  const instances = instancesOf(grid);
  return instances.map(({ sopClassUid, sopInstanceUid }) => ({
    ReferencedSOPClassUID: sopClassUid,
    ReferencedSOPInstanceUID: sopInstanceUid,
  }));
}
