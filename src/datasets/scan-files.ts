import { existsSync, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { VersemiError } from '../errors.js';
import { readError } from '../regular-file.js';
import type { Triple } from '../volume/volume.js';
import { caseId, entriesOf, hdf5Names, isHdf5, isImage, volumeNames } from './case-files.js';
import { openDataset } from './dataset.js';
import { type Description, readDescription } from './description.js';
import type { SeriesFiles } from './dicom/read-series.js';
import { holdsDicom, holdsDicomImage } from './dicom/sources.js';
import { readHdf5Folder } from './folders.js';
import { type Hdf5Keys, keysOf } from './hdf5-keys.js';
import type { ReadVolumeOptions } from './read-volume.js';
import type { CaseFiles, Dataset, LeftOut } from './types.js';

/** A scan that is to be segmented: where its files are, before anything is read. */
export interface ScanFiles {
  /** Its name, after which outputs are named: that of its file without ending and without the number of a modality. */
  readonly id: string;
  /** Its file, or the first of `modalityFiles`. */
  readonly image: string;
  /** Modalities in files of their own, by number; absent where one file holds everything. */
  readonly modalityFiles?: ReadonlyMap<number, string>;
  /** Names of the modalities, where a dataset.json has them. */
  readonly modalities?: readonly string[];
  /** Spacing of a file that stores none (HDF5), from dataset.json. */
  readonly spacingMm?: Triple;
  /** DICOM: which files in `image` are the scan. */
  readonly series?: SeriesFiles;
}

/** The scans that paths mean, and what was passed over. */
export interface FoundScans {
  readonly scans: readonly ScanFiles[];
  /** What lies in the folders and is no scan of its own. */
  readonly leftOut: readonly LeftOut[];
}

/** How paths are taken for scans. */
export interface FindScansOptions {
  readonly keys?: Hdf5Keys | undefined;
  /** True: dataset.json may name files outside of its folder. Default false. */
  readonly filesOutside?: boolean | undefined;
  /** True: names that end with _0000, _0001 ... are scans of their own, no modalities of one. Default false. */
  readonly eachFile?: boolean | undefined;
  /** DICOM: the series that is wanted of each folder; default: all are scans where the folder is a dataset. */
  readonly series?: string | undefined;
  /** Folder that is passed over where it lies in a folder of scans: that of the outputs. */
  readonly except?: string | undefined;
}

/**
 * Finds the scans that a person means by files and folders, by the rules of datasets: a dataset in any form that
 * `openDataset` knows (all of its cases, labelled or not, and its test cases), a folder of images, or a folder of folders
 * with one image each, or a folder of DICOM files. Hidden files ("._scan.nii.gz" of macOS) are passed over. ID_0000.nii.gz, ID_0001.nii.gz ... are
 * modalities of one scan, ID. Scans whose files are missing or damaged are among the result: reading them says what is wrong.
 * @throws VERSEMI_FILE_NOT_FOUND when a path does not exist or holds no scan, VERSEMI_DATASET_INVALID
 */
export async function findScans(paths: readonly string[], options: FindScansOptions = {}): Promise<FoundScans> {
  const scans: ScanFiles[] = [];
  const leftOut: LeftOut[] = [];
  const named: string[] = [];
  for (const path of paths) {
    const info = await kindOf(path);
    if (!info.isDirectory() && extname(path) !== '.json') {
      named.push(path);
      continue;
    }
    const found = info.isDirectory() ? await scansIn(path, options) : await scansOfDataset(path, options);
    if (found.scans.length === 0) throw noScans(path, found.leftOut);
    scans.push(...found.scans);
    leftOut.push(...found.leftOut);
  }
  scans.push(...(await namedScans(named, options)));
  // A file that is named, and lies in a folder that is named too, is one scan.
  const byFile = new Map(
    scans.map((scan) => [`${resolve(scan.image)}|${scan.series?.uid ?? ''}|${scan.series?.stack ?? 0}`, scan]),
  );
  return { scans: [...byFile.values()], leftOut };
}

async function kindOf(path: string): Promise<Stats> {
  try {
    return await stat(path);
  } catch (error) {
    throw readError(error, path);
  }
}

function noScans(path: string, leftOut: readonly LeftOut[]): VersemiError {
  const [first] = leftOut;
  return new VersemiError('FILE_NOT_FOUND', {
    file: path,
    expected: 'images (.nii, .nii.gz, .hdr, .h5, .nrrd, .mha, DICOM)',
    found: first === undefined ? 'none in this folder' : `none but ${first.file} (${first.reason})`,
    remedy: 'Name the folder that holds the images themselves, or the images.',
  });
}

async function scansOfDataset(path: string, options: FindScansOptions): Promise<FoundScans> {
  const dataset = await openDataset(path, { keys: options.keys, filesOutside: options.filesOutside, lenient: true });
  const cases = [...dataset.cases, ...dataset.test];
  return { scans: cases.map((files) => scanOfCase(dataset, files)), leftOut: withoutLabels(dataset.leftOut ?? []) };
}

/** Label files without an image do not matter where nothing but images is read. */
function withoutLabels(leftOut: readonly LeftOut[]): LeftOut[] {
  return leftOut.filter(({ file }) => !/^labels/.test(basename(dirname(file))));
}

function scanOfCase({ modalities, spacingMm }: Dataset, { id, image, channels, series }: CaseFiles): ScanFiles {
  return {
    id,
    image,
    ...(channels === undefined ? {} : { modalityFiles: new Map(channels.entries()) }),
    // Where a dataset has one modality, its name says nothing about which volume of a file to take.
    ...(modalities.length > 1 ? { modalities } : {}),
    ...(spacingMm === undefined ? {} : { spacingMm }),
    ...(series === undefined ? {} : { series }),
  };
}

async function scansIn(folder: string, options: FindScansOptions): Promise<FoundScans> {
  const own = join(folder, 'dataset.json');
  if (existsSync(own)) {
    const { training, listed } = readDescription(own);
    if (training !== undefined || listed !== undefined || existsSync(join(folder, 'imagesTr')))
      return scansOfDataset(folder, options);
  }
  const except = options.except === undefined ? undefined : resolve(options.except);
  const entries = (await entriesOf(folder)).filter(({ name }) => resolve(folder, name) !== except);
  const folders = entries.filter(({ isFolder }) => isFolder).map(({ name }) => join(folder, name));
  const layout = folders.filter((path) => /^images(Tr|Ts)?$/.test(basename(path)));
  const leftOut: LeftOut[] = entries
    .filter(({ name, isFolder }) => !isFolder && otherFormats.test(name))
    .map(({ name }) => ({ file: join(folder, name), reason: 'a format that is not read' }));
  const scans: ScanFiles[] = await volumeScans(folder, options);
  if (scans.length === 0) for (const images of layout) scans.push(...(await volumeScans(images, options)));
  scans.push(...(await hdf5Scans(folder, options, leftOut)));
  const nested = await nestedScans(folders, scans.length > 0, options);
  if (scans.length === 0 && nested.scans.length === 0) {
    const dicom = await dicomScans(folder, folders, options);
    if (dicom.scans.length > 0) return dicom;
  }
  return { scans: [...scans, ...nested.scans], leftOut: [...leftOut, ...nested.leftOut] };
}

/** Images of formats that are not read. */
const otherFormats = /\.(mgz|mgh|mnc)$/i;

/**
 * A folder of DICOM images is one scan. A folder that holds none itself is a dataset, whose cases are the series in it; with `series`, each
 * folder in it is a scan (where only one of these holds images, the scan has the name of the folder around it).
 */
async function dicomScans(
  folder: string,
  folders: readonly string[],
  { series }: FindScansOptions,
): Promise<FoundScans> {
  const named = (name: string, image: string) => ({ id: basename(resolve(name)), image });
  if (!existsSync(join(folder, 'dataset.json')) && (await holdsDicomImage(folder, 0)))
    return { scans: [named(folder, folder)], leftOut: [] };
  if (series === undefined) {
    if (!(await holdsDicom(folder))) return { scans: [], leftOut: [] };
    const dataset = await openDataset(folder, { format: 'dicom', lenient: true });
    return { scans: dataset.cases.map((files) => scanOfCase(dataset, files)), leftOut: dataset.leftOut ?? [] };
  }
  const found: string[] = [];
  for (const path of folders) if (await holdsDicomImage(path, 3)) found.push(path);
  const scans = found.length === 1 ? [named(folder, found[0]!)] : found.map((path) => named(path, path));
  return { scans, leftOut: [] };
}

async function hdf5Scans(folder: string, options: FindScansOptions, leftOut: LeftOut[]): Promise<ScanFiles[]> {
  const except = options.except === undefined ? undefined : resolve(options.except);
  if ((await hdf5Names(folder)).names.length === 0) return [];
  const found = await readHdf5Folder(folder, options.keys, true);
  leftOut.push(...(found.leftOut ?? []));
  const spacing = spacingOf(describedBy(folder));
  return found.cases
    .filter(({ image }) => dirname(image) !== except)
    .map(({ id, image }) => ({ id, image, ...spacing }));
}

function spacingOf(description: Description | undefined): Pick<ScanFiles, 'spacingMm'> {
  return description?.spacingMm === undefined ? {} : { spacingMm: description.spacingMm };
}

/** The dataset.json of a folder of scans: in it, or in the folder around it (imagesTs, data/ID.h5). */
function describedBy(folder: string): Description | undefined {
  const candidates = [join(folder, 'dataset.json'), join(dirname(resolve(folder)), 'dataset.json')];
  const file = candidates.find((candidate) => existsSync(candidate));
  return file === undefined ? undefined : readDescription(file);
}

/** Scans of the image files of a folder, but HDF5. */
async function volumeScans(folder: string, options: FindScansOptions): Promise<ScanFiles[]> {
  const files = (await volumeNames(folder)).map((name) => join(folder, name));
  return grouped(files, await modalityRule(folder, options));
}

/**
 * Folders in a folder of scans. Where there are scans beside them, only those count that are named like an image
 * (volume-1.nii/volume-1.nii, as some archives are unpacked); else each that holds one image, or one scan's modalities.
 */
async function nestedScans(
  folders: readonly string[],
  hasScans: boolean,
  options: FindScansOptions,
): Promise<{ scans: ScanFiles[]; leftOut: LeftOut[] }> {
  const scans: ScanFiles[] = [];
  const leftOut: LeftOut[] = [];
  const candidates = hasScans ? folders.filter((folder) => isImage(folder)) : folders;
  const found = await Promise.all(
    candidates.map(async (folder) => ({ folder, inside: imageAmong(await volumeScans(folder, options)) })),
  );
  const filled = found.filter(({ inside }) => inside.length > 0);
  // A folder around the folder of scans, as archives have it.
  if (!hasScans && filled.length === 1) return { scans: filled[0]!.inside, leftOut };
  const ids = filled.map(({ inside }) => inside[0]!.id);
  for (const { folder, inside } of filled) {
    const [scan] = inside;
    if (inside.length > 1)
      leftOut.push({ file: folder, reason: `a folder of ${inside.length} images; name it to take them all` });
    // image.nii.gz in each folder: the folders are the names.
    else scans.push(ids.filter((id) => id === scan!.id).length > 1 ? { ...scan!, id: caseId(folder) } : scan!);
  }
  return { scans, leftOut };
}

/** The image of image.nii.gz and label.nii.gz, where the files of one case are named by what they are; else all. */
function imageAmong(scans: ScanFiles[]): ScanFiles[] {
  const names = scans.map(({ id }) => id);
  const [images, labels] = [keysOf(names, 'image'), keysOf(names, 'label')];
  if (images.length !== 1 || images.length + labels.length !== scans.length) return scans;
  return scans.filter(({ id }) => id === images[0]);
}

/** Files that were named one by one, in the order in which they were named. */
async function namedScans(files: readonly string[], options: FindScansOptions): Promise<ScanFiles[]> {
  const scans: ScanFiles[] = [];
  const byFolder = new Map<string, string[]>();
  for (const file of files) byFolder.set(dirname(file), [...(byFolder.get(dirname(file)) ?? []), pairOf(file)]);
  for (const [folder, inside] of byFolder) {
    const nifti = inside.filter((file) => !isHdf5(file));
    scans.push(...grouped([...new Set(nifti)], await modalityRule(folder, options)));
    const hdf5 = inside.filter((file) => isHdf5(file));
    const spacing = hdf5.length === 0 ? {} : spacingOf(describedBy(folder));
    scans.push(...hdf5.map((image) => ({ id: caseId(image), image, ...spacing })));
  }
  return scans;
}

/** Both files of a pair stand for one scan: the header does, where it is there. */
function pairOf(file: string): string {
  const header = file.replace(/\.img(\.gz)?$/i, (ending) => ending.replace(/img/i, ending[1] === 'I' ? 'HDR' : 'hdr'));
  return header !== file && existsSync(header) ? header : file;
}

/** How the names in a folder are read. */
interface ModalityRule {
  /** True: ID_0000, ID_0001 ... are modalities of ID. */
  readonly numbered: boolean;
  readonly modalities?: readonly string[];
}

const modalityName = /^(.+)_(\d{4})$/;
/** nnU-Net's names: a folder in which numbers go on beyond this counts cases. */
const mostModalities = 10;

async function modalityRule(folder: string, { eachFile = false }: FindScansOptions): Promise<ModalityRule> {
  const numbers = (await volumeNames(folder)).flatMap((name) => {
    const number = modalityName.exec(caseId(name))?.[2];
    return number === undefined ? [] : [Number(number)];
  });
  if (eachFile || !numbers.includes(0)) return { numbered: false };
  const modalities = describedBy(folder)?.modalities;
  if (modalities === undefined) return { numbered: Math.max(...numbers) < mostModalities };
  return { numbered: true, ...(modalities.length > 1 ? { modalities } : {}) };
}

function grouped(files: readonly string[], { numbered, modalities }: ModalityRule): ScanFiles[] {
  const named = modalities === undefined ? {} : { modalities };
  const scans = new Map<string, ScanFiles & { readonly modalityFiles?: Map<number, string> }>();
  for (const file of files) {
    const id = caseId(file);
    const parts = numbered ? modalityName.exec(id) : null;
    const key = parts === null ? file : parts[1]!;
    const known = scans.get(key);
    if (parts === null) scans.set(key, { id, image: file, ...named });
    else if (known === undefined)
      scans.set(key, { id: key, image: file, modalityFiles: new Map([[Number(parts[2]), file]]), ...named });
    else if (known.modalityFiles?.has(Number(parts[2]))) scans.set(file, { id, image: file, ...named });
    else known.modalityFiles?.set(Number(parts[2]), file);
  }
  return [...scans.values()];
}

/** Which modality a model takes. */
export interface ChannelChoice {
  /** Index or name. */
  readonly channel: number | string;
  /** True: it was asked for; false: it comes from the plan, and a scan that is one volume without a number is taken as it is. */
  readonly asked: boolean;
}

/**
 * The file of a scan that holds a modality, and how to read it.
 * @throws VERSEMI_MODALITY_MISSING when the scan has files of its modalities, but not of this one
 */
export function scanSource(
  { image, modalityFiles, modalities, spacingMm, series }: ScanFiles,
  { channel, asked }: ChannelChoice,
): { readonly file: string; readonly options: ReadVolumeOptions } {
  const index =
    typeof channel === 'number'
      ? channel
      : (modalities ?? []).findIndex((name) => name.toLowerCase() === channel.toLowerCase());
  const options = {
    ...(spacingMm === undefined ? {} : { spacingMm }),
    ...(series === undefined ? {} : { seriesFiles: series }),
  };
  const missing = (found: string) =>
    new VersemiError('MODALITY_MISSING', {
      file: image,
      field: 'channel',
      expected: `modality ${channel}${asked ? '' : ", as the model's plan has it"}`,
      found,
      remedy:
        'Add the file of this modality, or say which one to take (--channel); if the number belongs to the name of the scan, add --each-file.',
    });
  if (modalityFiles !== undefined) {
    const file = modalityFiles.get(index);
    if (file !== undefined && existsSync(file)) return { file, options };
    const there = [...modalityFiles].filter(([, path]) => existsSync(path));
    throw missing(`${there.map(([number, path]) => `${number} (${basename(path)})`).join(', ') || 'no file'}`);
  }
  if (asked && index < 0) throw missing(modalities === undefined ? 'no names of modalities' : modalities.join(', '));
  if (asked) return { file: image, options: { ...options, channel: index } };
  return { file: image, options: index < 0 ? options : { ...options, channelOfSeveral: index } };
}
