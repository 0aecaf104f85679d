import { basename, dirname, join, relative, sep } from 'node:path';
import { isVersemiError, VersemiError } from '../../errors.js';
import { shown } from '../../json-text.js';
import { entriesOf } from '../case-files.js';
import type { Description } from '../description.js';
import type { CaseFiles, DatasetCases, LeftOut } from '../types.js';
import { caseNames } from './case-names.js';
import type { DicomFile } from './elements.js';
import { gridOf } from './grid.js';
import { type LabelObject, readLabelObject, seriesMeant } from './label-objects.js';
import { labelTable, listed } from './label-table.js';
import type { SeriesFiles } from './read-series.js';
import { type DicomContents, describeSeries, instancesOf, readContents, type Series } from './series.js';
import { dicomFiles, filesNamed, isZipFile } from './sources.js';

/** A part of the dataset that is looked at by itself, so that nothing of one patient is taken for another's. */
interface Unit {
  /** A sub folder, a zip file, or the folder of the dataset itself. */
  readonly path: string;
  /** Its name, '' for the folder of the dataset. */
  readonly name: string;
  readonly files: readonly DicomFile[];
}

/** A series that may become a case. */
interface Candidate extends SeriesFiles {
  readonly unit: Unit;
  readonly inner: readonly string[];
  readonly studyUid: string;
  readonly frameOfReferenceUid?: string;
  readonly modality: string;
  readonly number?: number;
  readonly isLocalizer: boolean;
  readonly frames: number;
  readonly description: string;
  readonly tiltDegrees: number;
  /** True: dark means high. */
  readonly isInverse: boolean;
  /** Why its images make no volume. */
  readonly problem?: VersemiError;
  readonly labels: LabelObject[];
}

/**
 * Cases of a folder of DICOM files: each image series is one. Sub folders and zip files, one per patient, are looked at by themselves, to any
 * depth; structure sets and segmentations belong to the series that they refer to. Headers are read, no pixels.
 * @param lenient true: what cannot be read is kept as a case, so that reading it says what is wrong
 * @throws VERSEMI_DATASET_INVALID when there is no series, or when it is not clear to which an object belongs;
 *   VERSEMI_VOLUME_INVALID when the images of a labelled series make no volume; what reading a damaged file throws
 */
export async function readDicomDataset(
  folder: string,
  description: Description | undefined,
  lenient = false,
): Promise<DatasetCases> {
  const candidates: Candidate[] = [];
  const objects: { readonly object: LabelObject; readonly unit: Unit }[] = [];
  const leftOut: LeftOut[] = [];
  const broken: CaseFiles[] = [];
  /** Why outlines are used for nothing where that is no error. */
  const unclear: string[] = [];
  for (const unit of await unitsOf(folder)) {
    try {
      const contents = await readContents(unit.files);
      candidates.push(...candidatesIn(contents, unit));
      for (const other of contents.others)
        if (other.kind !== 'other') objects.push({ object: await readLabelObject(other), unit });
      leftOut.push(...leftOutOf(contents));
    } catch (error) {
      if (!lenient || !isVersemiError(error)) throw error;
      broken.push({ id: unit.name === '' ? basename(folder) : unit.name, image: unit.path });
    }
  }
  for (const { object, unit } of objects) {
    const problem = attach(object, unit, candidates);
    if (problem === undefined) continue;
    if (isVersemiError(problem) && !lenient) throw problem;
    if (isVersemiError(problem)) unclear.push(problem.message);
    else leftOut.push({ file: object.file, reason: problem });
  }
  const { taken, modalities } = chosen(candidates, description, leftOut, lenient);
  if (taken.length + broken.length === 0 && !lenient) throw nothing(folder, leftOut);
  const ids = caseNames(
    taken.map((one) => ({ ...one, unit: one.unit.name })),
    basename(folder),
  );
  const cases = taken.map((one, i): CaseFiles & { readonly labels: LabelObject[] } => {
    const { unit, files, uid, stack, labels } = one;
    const id = ids[i]!;
    if (labels.length > 1 && !lenient) throw severalLabels(id, labels);
    if (labels.length > 1) unclear.push(severalLabels(id, labels).message);
    const label = labels.length === 1 ? { label: labels[0]!.file } : {};
    return { id, image: unit.path, series: { files, uid, stack }, labels, ...label };
  });
  const { remarks, ...table } = labelTable(cases, description, lenient, folder);
  return {
    cases: [...cases.map(({ labels: _, ...files }) => files), ...broken],
    test: [],
    leftOut,
    modalities: [modalities.join(' and ')],
    ...table,
    remarks: [...unclear, ...remarks, ...remarksOn(taken, ids, modalities)],
  };
}

function remarksOn(taken: readonly Candidate[], ids: readonly string[], modalities: readonly string[]): string[] {
  const named = (text: (one: Candidate) => string | undefined) =>
    taken.flatMap((one, i) => (text(one) === undefined ? [] : [`${ids[i]}${text(one)}`]));
  const tilted = named(({ tiltDegrees }) => (tiltDegrees > 0 ? ` by ${tiltDegrees.toFixed(1)} degrees` : undefined));
  const inverse = named(({ isInverse }) => (isInverse ? '' : undefined));
  return [
    ...(modalities.length > 1
      ? [
          `the series are of ${modalities.join(' and ')}, which one network should not see as the same; name one of them as "modality" in dataset.json`,
        ]
      : []),
    ...(tilted.length > 0
      ? [`gantry tilt, the volume keeps its shear, along whose axes surface distances are measured: ${listed(tilted)}`]
      : []),
    ...(inverse.length > 0 ? [`MONOCHROME1 (dark means high), values are kept as stored: ${listed(inverse)}`] : []),
  ];
}

/** Sub folders and zip files with their files, in order of name; the files of the folder itself are one unit too. */
async function unitsOf(folder: string): Promise<Unit[]> {
  const entries = await entriesOf(folder);
  const folders = entries.filter(({ isFolder }) => isFolder).map(({ name }) => name);
  const names = entries.filter(({ isFolder }) => !isFolder).map(({ name }) => join(folder, name));
  const own: string[] = [];
  const zips: string[] = [];
  for (const file of names) (await isZipFile(file)) ? zips.push(file) : own.push(file);
  const units: Unit[] = [];
  const ownFiles = await filesNamed(folder, own);
  const isDicom = (await readsAsDicom(ownFiles)) || zips.length > 0;
  // A folder around the folder of patients, as archives have it.
  if (!isDicom && folders.length === 1) return unitsOf(join(folder, folders[0]!));
  if (ownFiles.length > 0) units.push({ path: folder, name: '', files: ownFiles });
  for (const name of folders) {
    const path = join(folder, name);
    const files = await dicomFiles(path);
    const inner: string[] = [];
    for (const file of files) if (/\.zip$/i.test(file.name)) inner.push(file.name);
    zips.push(...inner);
    units.push({ path, name, files: files.filter((file) => !inner.includes(file.name)) });
  }
  for (const path of zips) {
    const name = relative(folder, path)
      .replace(/\.zip$/i, '')
      .split(sep)
      .join('_');
    units.push({ path, name, files: await dicomFiles(path) });
  }
  return units;
}

async function readsAsDicom(files: readonly DicomFile[]): Promise<boolean> {
  for (const file of files) {
    const { bytes } = await file.head(132);
    if (String.fromCharCode(...bytes.subarray(128)) === 'DICM') return true;
  }
  return false;
}

function candidatesIn({ series }: DicomContents, unit: Unit): Candidate[] {
  return series.map((one) => {
    const instances = instancesOf(one);
    const files = instances.map(({ file }) => file.name);
    const { frameOfReferenceUid, isLocalizer } = instances[0]!;
    return {
      ...{ unit, files, uid: one.uid, studyUid: one.studyUid, modality: one.modality, labels: [] },
      ...{ stack: series.filter(({ uid }) => uid === one.uid).indexOf(one), isLocalizer, frames: one.frames.length },
      isInverse: instances.some(({ pixels }) => pixels.photometric === 'MONOCHROME1'),
      ...{ inner: commonFolders(files, unit.path), description: describeSeries(one), ...placeOf(one) },
      ...(one.number === undefined ? {} : { number: one.number }),
      ...(frameOfReferenceUid === undefined ? {} : { frameOfReferenceUid }),
    };
  });
}

function placeOf(series: Series): { readonly tiltDegrees: number; readonly problem?: VersemiError } {
  try {
    return { tiltDegrees: gridOf(series).tiltDegrees };
  } catch (error) {
    if (!isVersemiError(error)) throw error;
    return { tiltDegrees: 0, problem: error };
  }
}

/** Folders below `root` that all files have in common. */
function commonFolders(files: readonly string[], root: string): string[] {
  const paths = files.map((file) => dirname(relative(root, file)).split(/[\\/]/));
  const [first] = paths as [string[]];
  const differs = first.findIndex((folder, i) => !paths.every((path) => path[i] === folder));
  return first.slice(0, differs < 0 ? first.length : differs).filter((folder) => folder !== '.');
}

function leftOutOf({ refused, repeated, others }: DicomContents): LeftOut[] {
  return [
    ...refused.map(({ file, error }) => ({ file: file.name, reason: error.message })),
    ...repeated.map((file) => ({ file: file.name, reason: 'repeats an image of another file' })),
    ...others
      .filter(({ kind }) => kind === 'other')
      .map(({ file, modality }) => ({ file: file.name, reason: `no image and no outlines (${modality})` })),
  ];
}

/**
 * Gives an object to the series that it was drawn on: one of its own unit, else one of another.
 * @returns why it belongs to none: a reason, or an error where it is not clear to which
 */
function attach(object: LabelObject, unit: Unit, candidates: readonly Candidate[]): string | VersemiError | undefined {
  if (object.names.length === 0) return 'outlines nothing';
  const volumes = candidates.filter(({ isLocalizer, problem }) => !isLocalizer && problem === undefined);
  // A series whose images make no volume is named by an object only to be refused.
  const all = seriesMeant(object, candidates).some(({ problem }) => problem !== undefined) ? candidates : volumes;
  const inUnit = seriesMeant(
    object,
    all.filter((one) => one.unit === unit),
  );
  const meant = inUnit.length > 0 ? inUnit : seriesMeant(object, all);
  const stacks = meant.filter(({ frames }) => frames > 1);
  const fitting = meant.length > 1 && stacks.length === 1 ? stacks : meant;
  const [one, ...others] = fitting;
  if (one === undefined) return 'outlines of a series that is not here';
  if (others.length === 0) {
    one.labels.push(object);
    return undefined;
  }
  return new VersemiError('DATASET_INVALID', {
    file: object.file,
    field: 'references to images',
    expected: 'one series that the outlines were drawn on',
    found: `${fitting.length} that they may mean: ${fitting
      .slice(0, 3)
      .map(({ description }) => description)
      .join('; ')}${fitting.length > 3 ? '; ...' : ''}`,
    remedy: 'Keep the images that belong to the outlines in a folder of their own, and the others elsewhere.',
  });
}

/** The series that become cases; the others are told with a reason. */
function chosen(
  candidates: readonly Candidate[],
  description: Description | undefined,
  leftOut: LeftOut[],
  lenient: boolean,
): { readonly taken: readonly Candidate[]; readonly modalities: readonly string[] } {
  const present = new Set(candidates.map(({ modality }) => modality));
  const named = (description?.modalities ?? []).filter((name) => present.has(name));
  const labelled = new Set(candidates.filter(({ labels }) => labels.length > 0).map(({ modality }) => modality));
  const allowed = named.length > 0 ? new Set(named) : labelled.size > 0 ? labelled : present;
  const hasVolumes = new Set(candidates.filter(({ frames }) => frames > 1).map(({ unit }) => unit));
  const why = ({ modality, isLocalizer, frames, unit, labels, problem }: Candidate): string | undefined => {
    if (!allowed.has(modality))
      return named.length > 0
        ? `dataset.json names ${named.join(' and ')}`
        : `the labelled series are ${[...labelled].join(' and ')}`;
    if (labels.length > 0) {
      if (problem !== undefined && !lenient) throw problem;
      return undefined;
    }
    if (isLocalizer) return 'a localizer';
    if (frames === 1 && hasVolumes.has(unit)) return 'a single image beside volumes';
    return lenient ? undefined : problem?.message;
  };
  const taken = candidates.filter((one) => {
    const reason = why(one);
    if (reason !== undefined) leftOut.push({ file: one.files[0]!, reason: `${imagesText(one)}: ${reason}` });
    return reason === undefined;
  });
  return { taken, modalities: [...new Set(taken.map(({ modality }) => modality))].sort() };
}

function imagesText({ modality, frames }: Candidate): string {
  return `${modality}, ${frames} ${frames === 1 ? 'image' : 'images'}`;
}

function severalLabels(id: string, labels: readonly LabelObject[]): VersemiError {
  return new VersemiError('DATASET_INVALID', {
    file: labels[0]!.file,
    field: `label of case ${id}`,
    expected: 'one structure set or segmentation per series',
    found: labels.map(({ file, names }) => `${file} (${names.map((name) => shown(name, 40)).join(', ')})`).join('; '),
    remedy: 'Keep the one that is to be learned from, and move the others out of the folder.',
  });
}

function nothing(folder: string, leftOut: readonly LeftOut[]): VersemiError {
  const [first] = leftOut;
  return new VersemiError('DATASET_INVALID', {
    file: folder,
    expected: 'at least one DICOM series that is a volume',
    found: first === undefined ? 'none' : `none; left out: ${first.file} (${first.reason})`,
    remedy: 'Give the folder that holds the series, in sub folders or in zip files.',
  });
}
