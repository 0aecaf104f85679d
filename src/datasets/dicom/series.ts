import { isVersemiError, VersemiError } from '../../errors.js';
import { type DicomFile, headBytes, isDicom } from './elements.js';
import { type Frame, type Instance, type OtherObject, readObject } from './instance.js';

/** Images of one series that have orientation and size in common: what can be one volume. */
export interface Series {
  readonly uid: string;
  readonly studyUid: string;
  readonly modality: string;
  readonly description: string;
  readonly number?: number;
  readonly rows: number;
  readonly columns: number;
  readonly frames: readonly Frame[];
}

/** What a folder, a zip file or a drop in a browser holds. */
export interface DicomContents {
  readonly series: readonly Series[];
  readonly others: readonly OtherObject[];
  /** Files that are no DICOM files. */
  readonly notDicom: readonly DicomFile[];
  /** DICOM files whose image cannot be used, with the reason. */
  readonly refused: readonly { readonly file: DicomFile; readonly error: VersemiError }[];
  /** Files that repeat an object that another file holds too. */
  readonly repeated: readonly DicomFile[];
}

const damages: ReadonlySet<string> = new Set(['VERSEMI_FILE_CORRUPT', 'VERSEMI_FILE_TRUNCATED', 'VERSEMI_IO_FAILED']);

/** Directions of one orientation may differ by rounding. */
const orientationTolerance = 1e-3;

/**
 * Reads the headers of files and sorts them into series. Files may come in any order and under any name; files of other kinds may
 * lie beside them.
 * @throws VERSEMI_FILE_CORRUPT, VERSEMI_FILE_TRUNCATED when a DICOM file is damaged: a volume without its first or last slice would be wrong in
 *   silence
 */
export async function readContents(files: readonly DicomFile[]): Promise<DicomContents> {
  const groups: { readonly first: Frame; readonly frames: Frame[] }[] = [];
  const others: OtherObject[] = [];
  const notDicom: DicomFile[] = [];
  const refused: { file: DicomFile; error: VersemiError }[] = [];
  const repeated: DicomFile[] = [];
  const seen = new Set<string>();
  for (const file of files) {
    const head = await file.head(headBytes);
    if (!isDicom(head.bytes)) {
      notDicom.push(file);
      continue;
    }
    let object: Awaited<ReturnType<typeof readObject>>;
    try {
      object = await readObject(file, head);
    } catch (error) {
      if (!isVersemiError(error) || damages.has(error.code)) throw error;
      refused.push({ file, error });
      continue;
    }
    if (object.other !== undefined) others.push(object.other);
    if (object.image === undefined) continue;
    const { instance, frames } = object.image;
    if (seen.has(instance.sopInstanceUid)) {
      repeated.push(file);
      continue;
    }
    seen.add(instance.sopInstanceUid);
    for (const frame of frames) {
      const group = groups.find(({ first }) => sameStack(first, frame));
      if (group === undefined) groups.push({ first: frame, frames: [frame] });
      else group.frames.push(frame);
    }
  }
  const series = groups.map(({ first: { instance }, frames }) => ({
    uid: instance.seriesUid,
    studyUid: instance.studyUid,
    modality: instance.modality,
    description: instance.seriesDescription ?? '',
    ...(instance.seriesNumber === undefined ? {} : { number: instance.seriesNumber }),
    rows: instance.rows,
    columns: instance.columns,
    frames,
  }));
  // The order of files does not count.
  series.sort(
    (a, b) =>
      (a.number ?? 0) - (b.number ?? 0) ||
      compare(a.uid, b.uid) ||
      b.frames.length - a.frames.length ||
      a.rows - b.rows,
  );
  return { series, others, notDicom, refused, repeated };
}

function sameStack(a: Frame, b: Frame): boolean {
  return (
    a.instance.seriesUid === b.instance.seriesUid &&
    a.instance.rows === b.instance.rows &&
    a.instance.columns === b.instance.columns &&
    a.spacingMm.every((length, i) => Math.abs(length - b.spacingMm[i]!) <= 1e-4 * length) &&
    a.orientation.every((value, i) => Math.abs(value - b.orientation[i]!) <= orientationTolerance)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** One line about a series. */
export function describeSeries({ modality, description, columns, rows, frames, number, uid }: Series): string {
  const named = description === '' ? 'without description' : `"${description}"`;
  return `${modality} ${named}, ${columns} x ${rows} x ${frames.length}${number === undefined ? '' : `, number ${number}`}, ${uid}`;
}

/**
 * The series that is meant.
 * @param wanted its place in the list (from 1), its UID, or a part of its description; undefined: the only one
 * @throws VERSEMI_DATASET_INVALID when there is none, or more than one that fits
 */
export function chooseSeries(contents: DicomContents, wanted: string | undefined, place: string): Series {
  const { series, refused } = contents;
  const listed = series.map((each, i) => `${i + 1}: ${describeSeries(each)}`).join('; ');
  const fail = (expected: string, found: string, remedy: string) =>
    new VersemiError('DATASET_INVALID', { file: place, field: 'series', expected, found, remedy });
  if (series.length === 0) {
    const [first] = refused;
    if (first !== undefined) throw first.error;
    if (contents.others.length === 0) {
      throw new VersemiError('FILE_FORMAT', {
        file: place,
        expected: 'a file, or a folder of DICOM images',
        found: 'a folder without any',
        remedy: 'Give the file inside of it.',
      });
    }
    throw fail(
      'at least one DICOM image',
      `${contents.others.length} other DICOM objects`,
      'Give the folder of the images.',
    );
  }
  const choose = 'Choose one with --series: its number in this list, its UID or a part of its description.';
  if (wanted === undefined) {
    if (series.length === 1) return series[0]!;
    throw fail('one series', `${series.length} (${listed})`, choose);
  }
  const fitting = /^\d{1,4}$/.test(wanted)
    ? series.slice(Number(wanted) - 1, Number(wanted))
    : series.filter(
        ({ uid, description }) => uid === wanted || description.toLowerCase().includes(wanted.toLowerCase()),
      );
  if (fitting.length === 1) return fitting[0]!;
  throw fail(
    `one series that is ${JSON.stringify(wanted)}`,
    `${fitting.length === 0 ? 'none' : fitting.length} of ${listed}`,
    choose,
  );
}

/** The objects of a series' images, each once, in order of their files. */
export function instancesOf({ frames }: Pick<Series, 'frames'>): Instance[] {
  return [...new Set(frames.map(({ instance }) => instance))];
}
