import { createHash } from 'node:crypto';

/** A series, as far as its name as a case goes. */
export interface NameableSeries {
  /** Folder or zip file, relative to the dataset, that holds the patient; '' for the folder of the dataset itself. */
  readonly unit: string;
  /** Folders between the unit and the files of the series. */
  readonly inner: readonly string[];
  readonly modality: string;
  readonly number?: number;
  readonly uid: string;
  readonly stack: number;
}

/** Folders that say what lies in them, but not whose it is. */
const generic = /^(images?|dicoms?|dcm|scans?|series|data|volumes?|input)$/i;
/** Longer names of folders are UIDs. */
const mostLetters = 60;

/**
 * Ids of cases: names of folders, never what a header says of the patient. A folder (or zip file) with one series gives the case its name;
 * where it holds several, the folders within follow, or else modality, number and six digits of the hash of the series' UID.
 * @param alone name of the case where the dataset has only one
 */
export function caseNames(series: readonly NameableSeries[], alone: string): string[] {
  if (series.length === 1) return [alone];
  return series.map((one) => {
    const siblings = series.filter(({ unit }) => unit === one.unit);
    const unit = one.unit === '' || generic.test(one.unit) ? [] : [one.unit];
    if (siblings.length === 1 && unit.length > 0) return unit[0]!;
    const folders = foldersThatTell(one, siblings);
    return [...unit, folders ?? headerName(one)].join('_');
  });
}

/** The folders below what all siblings share; undefined where they do not tell the series apart. */
function foldersThatTell(one: NameableSeries, siblings: readonly NameableSeries[]): string | undefined {
  const named = (series: NameableSeries) => {
    const folders = [...series.inner];
    while (folders.length > 0 && generic.test(folders.at(-1)!)) folders.pop();
    return folders;
  };
  const all = siblings.map(named);
  const shared = all[0]!.findIndex((folder, i) => !all.every((folders) => folders[i] === folder));
  const from = shared < 0 ? all[0]!.length : shared;
  const texts = all.map((folders) => folders.slice(from).join('_'));
  const text = texts[siblings.indexOf(one)]!;
  const tells = text !== '' && text.length <= mostLetters && texts.filter((other) => other === text).length === 1;
  return tells ? text : undefined;
}

function headerName({ modality, number, uid, stack }: NameableSeries): string {
  const hash = createHash('sha256').update(uid).digest('hex').slice(0, 6);
  const parts = [modality.replace(/[^A-Za-z0-9]/g, ''), ...(number === undefined ? [] : [number]), hash];
  return [...parts, ...(stack === 0 ? [] : [stack + 1])].join('_');
}
