import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { VersemiError } from '../errors.js';
import { fileNameOf } from '../file-name.js';
import { someOf } from '../list-text.js';
import { turnedVolume } from '../scans/canonical.js';
import type { Scan } from '../scans/scan.js';
import { turnOnto } from '../volume/geometry.js';
import type { Volume } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { caseId, entriesOf, isHdf5, isImage } from './case-files.js';
import type { DicomFile } from './dicom/elements.js';
import { readObject } from './dicom/instance.js';
import { drawnStructures, readLabelObject, seriesMeant, structureKey } from './dicom/label-objects.js';
import { type PlacedSeries, placedFacts } from './dicom/placed.js';
import { filesNamed } from './dicom/sources.js';
import { labelBytes } from './label-values.js';
import { imageOf, loadLabel } from './load-case.js';
import { readUnscaled, seriesOf } from './read-volume.js';
import type { CaseFiles, Dataset } from './types.js';

/** What a mask is looked for of: the values that it has in a label map, and the names under which a file or a structure may have it. */
export interface WantedMask {
  readonly name: string;
  readonly labels: readonly number[];
  /** Other names, such as those of a plan that `versemi plan` makes of the dataset. */
  readonly aliases?: readonly string[];
}

/** Where the masks of a case are. */
export type MaskFiles =
  /** A label map with the values of the dataset, or a DICOM segmentation or structure set. */
  | { readonly form: 'labels' | 'structures'; readonly file: string }
  /** One file per mask, in the order in which the masks were asked for. */
  | { readonly form: 'tasks'; readonly files: readonly string[] };

/** The files of {@link MaskFiles}. */
export function filesOfMasks(masks: MaskFiles): readonly string[] {
  return masks.form === 'tasks' ? masks.files : [masks.file];
}

const objectEnding = /(\.seg|\.rtstruct|\.rtss)?\.dcm$/i;

/** Name of a file without what its format adds. */
function stemOf(name: string): string {
  return objectEnding.test(name) ? name.replace(objectEnding, '') : caseId(name);
}

/** The stem of a name as `versemi predict` writes it, where characters that some system refuses are %XX. */
function writtenStem(name: string): string {
  return caseId(fileNameOf(`${name}.nii.gz`));
}

/** Names that a sentence lists. */
const mostNamed = 5;

function some(names: readonly string[]): string {
  return someOf(names, mostNamed);
}

/** The masks of a folder, of whatever program, by the names of their files. */
export class MaskFolder {
  private constructor(
    readonly folder: string,
    /** Names of files by stem. */
    private readonly stems: ReadonlyMap<string, readonly string[]>,
    /** Names of folders. */
    private readonly folders: ReadonlySet<string>,
  ) {}

  /** @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED */
  static async open(folder: string): Promise<MaskFolder> {
    const stems = new Map<string, string[]>();
    const folders = new Set<string>();
    for (const { name, isFolder } of await entriesOf(folder)) {
      // Of a pair the header stands for both files.
      const isMask = (isImage(name) && !/\.img(\.gz)?$/i.test(name)) || objectEnding.test(name);
      if (isFolder) folders.add(name);
      else if (isMask) stems.set(stemOf(name), [...(stems.get(stemOf(name)) ?? []), name]);
    }
    return new MaskFolder(folder, stems, folders);
  }

  /**
   * The masks of a case, the first of these that is there:
   * - a file per mask: ID_NAME.nii.gz, as `versemi predict` writes them (.nrrd and every other format that is read too), or
   *   ID/NAME.nii.gz, in a folder per case;
   * - a label map that `versemi predict --label-map` has written, ID_DATASET-labels.nii.gz;
   * - a label map or a DICOM object of the name of the case: ID.nii.gz, ID.dcm, ID.seg.dcm, ID.rtstruct.dcm.
   * @throws VERSEMI_FILE_NOT_FOUND naming the masks that are missing; VERSEMI_DATASET_INVALID where two files are one mask
   */
  async find(id: string, dataset: string, wanted: readonly WantedMask[]): Promise<MaskFiles> {
    const inside = this.folders.has(id) ? await MaskFolder.open(join(this.folder, id)) : undefined;
    const files = wanted.map((mask) => this.fileOf(id, mask, inside));
    const there = files.filter((file) => file !== undefined);
    if (there.length === wanted.length) return { form: 'tasks', files: there };
    const painted = this.only([`${id}_${dataset}-labels`], `the label map of ${id}`);
    if (painted !== undefined) return { form: 'labels', file: painted };
    const whole = there.length > 0 ? undefined : this.only([id], `the mask of ${id}`);
    if (whole !== undefined) return { form: objectEnding.test(whole) ? 'structures' : 'labels', file: whole };
    const missing = wanted.filter((_, i) => files[i] === undefined).map(({ name }) => name);
    const example = `${writtenStem(`${id}_${missing[0]}`)}.nii.gz`;
    throw new VersemiError('FILE_NOT_FOUND', {
      file: this.folder,
      field: `mask of case ${id}`,
      expected:
        there.length > 0
          ? `a file for each task, such as ${example}`
          : `a label map ${writtenStem(id)}.nii.gz, or a file for each task, such as ${example}`,
      found: there.length > 0 ? `those of other tasks alone, none of ${some(missing)}` : 'none',
      remedy:
        there.length > 0
          ? 'Add the masks, or name the tasks that are to be compared (--task).'
          : 'Add the masks, or name the cases that are to be compared (--cases).',
    });
  }

  /** Files that belong to none of the cases. */
  leftOver(ids: ReadonlySet<string>): string[] {
    const known = new Set([...ids].flatMap((id) => [id, writtenStem(id)]));
    const ofCase = (stem: string) => {
      for (let end = stem.length; end > 0; end = stem.lastIndexOf('_', end - 1))
        if (known.has(stem.slice(0, end))) return true;
      return false;
    };
    return [...this.stems].filter(([stem]) => !ofCase(stem)).flatMap(([, names]) => names);
  }

  private fileOf(id: string, { name, aliases = [] }: WantedMask, inside?: MaskFolder): string | undefined {
    const names = [name, ...aliases];
    const what = `the mask ${name} of ${id}`;
    return (
      this.only(
        names.map((one) => `${id}_${one}`),
        what,
      ) ?? inside?.only(names, what)
    );
  }

  /** The one file of one of these stems. @throws VERSEMI_DATASET_INVALID where there are two */
  private only(stems: readonly string[], what: string): string | undefined {
    const all = new Set(stems.flatMap((stem) => [stem, writtenStem(stem)]));
    const found = [...all].flatMap((stem) => this.stems.get(stem) ?? []);
    if (found.length > 1)
      throw new VersemiError('DATASET_INVALID', {
        file: this.folder,
        field: what,
        expected: 'one file',
        found: some(found),
        remedy: 'Put the masks that are not to be compared into another folder.',
      });
    return found[0] === undefined ? undefined : join(this.folder, found[0]);
  }
}

/** A case that masks are compared with. */
export interface MaskedCase {
  readonly dataset: Dataset;
  readonly files: CaseFiles;
  /** Index of the modality that `image` is. */
  readonly channel: number;
  readonly image: Scan;
  /** Told what a person should know of how the masks were read. */
  readonly onNotice?: ((text: string) => void) | undefined;
}

/**
 * Reads the masks of a case.
 * @param wanted in the order in which the files were asked for
 * @returns bytes 0 and 1, [z, y, x], on the canonical grid of the image, one array per mask
 * @throws VERSEMI_GEOMETRY_MISMATCH naming both files where a mask lies on other voxels than the image; VERSEMI_LABEL_INVALID, and what
 *   reading throws
 */
export async function readMasks(
  where: MaskFiles,
  one: MaskedCase,
  wanted: readonly WantedMask[],
): Promise<Uint8Array[]> {
  if (where.form !== 'tasks') {
    if (where.form === 'structures') return structureMasks(where.file, one, wanted);
    const values = onImage(await loadLabel(one.dataset, where.file), one.image);
    return wanted.map(({ labels }) => insideOf(values, (value) => labels.includes(value)));
  }
  const masks: Uint8Array[] = [];
  for (const file of where.files) {
    const { volume, slope, intercept } = await readUnscaled(file, {
      role: 'label',
      ...(one.dataset.keys === undefined || !isHdf5(file) ? {} : { key: one.dataset.keys.label }),
      ...(one.dataset.spacingMm === undefined ? {} : { spacingMm: one.dataset.spacingMm }),
    });
    const data = labelBytes(volume.data, { slope, intercept }, file);
    requireBinary(data, file);
    masks.push(insideOf(onImage({ ...volume, data }, one.image), (value) => value !== 0));
  }
  return masks;
}

function insideOf(values: Uint8Array, isInside: (value: number) => boolean): Uint8Array {
  return host().translate(
    values,
    Uint8Array.from({ length: 256 }, (_, value) => (isInside(value) ? 1 : 0)),
  );
}

/** @throws VERSEMI_GEOMETRY_MISMATCH */
function onImage(mask: Volume<Uint8Array>, image: Scan): Uint8Array {
  const { axes, flipped } = turnOnto(image, mask, { image: 'the scan', label: 'the mask' });
  return turnedVolume(mask, axes, flipped).data;
}

/** A mask is 0 and one other value. @throws VERSEMI_LABEL_INVALID */
function requireBinary(data: Uint8Array, file: string): void {
  const values = Array.from(host().labelCounts(data).entries()).flatMap(([value, count]) =>
    value > 0 && count > 0 ? value : [],
  );
  if (values.length <= 1) return;
  throw new VersemiError('LABEL_INVALID', {
    file,
    expected: 'the mask of one task: 0, and one other value',
    found: `values ${some(values.map(String))}`,
    remedy: 'A label map has the name of its case, ID.nii.gz, without the name of a task.',
  });
}

/** @throws VERSEMI_FORMAT_UNSUPPORTED where the images are no DICOM series; VERSEMI_GEOMETRY_MISMATCH; VERSEMI_LABEL_INVALID where no structure has a name that is wanted */
async function structureMasks(
  object: string,
  { dataset, files, channel, image, onNotice }: MaskedCase,
  wanted: readonly WantedMask[],
): Promise<Uint8Array[]> {
  const { file, ...place } = imageOf(dataset, files, channel);
  const placed = await seriesOf(file, place);
  if (placed === undefined)
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file: `${file} and ${object}`,
      expected: 'a DICOM series, on whose images a DICOM object is drawn',
      found: 'a scan of another format',
      remedy: 'Write the masks as NIfTI, NRRD or MetaImage.',
    });
  const { geometry } = placedFacts(placed, file);
  const [source] = existsSync(object) ? await filesNamed(object, [object]) : [];
  if (source === undefined) throw new VersemiError('FILE_NOT_FOUND', { file: object, remedy: 'Check the path.' });
  await requireOfSeries(source, placed, file);
  const drawn = await drawnStructures(source, geometry);
  const named = (names: readonly string[]) => {
    const keys = new Set(names.map(structureKey));
    return drawn.filter(({ name }) => keys.has(structureKey(name)));
  };
  const structures = wanted.map(({ name, labels, aliases = [] }) => {
    const whole = named([name, ...aliases]);
    return whole.length > 0 ? whole : labels.flatMap((label) => named([dataset.labels[label] ?? name]));
  });
  if (structures.every((parts) => parts.length === 0))
    throw new VersemiError('LABEL_INVALID', {
      file: object,
      field: 'structures',
      expected: `structures of these names: ${some(wanted.map(({ name }) => name))}`,
      found: some(drawn.map(({ name }) => name)) || 'none',
      remedy: 'Name the tasks as the structures are named: --tasks NAME=VALUE.',
    });
  const masks: Uint8Array[] = [];
  for (const [task, parts] of structures.entries()) {
    // As in labels of a dataset: what an object does not outline is not there.
    if (parts.length === 0)
      onNotice?.(`${object}: no structure ${wanted[task]!.name}, whose mask is taken to be empty.`);
    const data = new Uint8Array(geometry.sizeVoxels[0] * geometry.sizeVoxels[1] * geometry.sizeVoxels[2]);
    for (const part of parts) for (const [i, inside] of (await part.mask()).entries()) data[i]! |= inside;
    masks.push(onImage({ ...geometry, file: object, data }, image));
  }
  return masks;
}

/** @throws VERSEMI_GEOMETRY_MISMATCH where an object was drawn on other images */
async function requireOfSeries(source: DicomFile, { series, grid }: PlacedSeries, images: string): Promise<void> {
  const { other } = await readObject(source);
  if (other === undefined || other.kind === 'other') return;
  const { studyUid, frameOfReferenceUid } = grid.frames[0]!.instance;
  const own = { uid: series.uid, studyUid, ...(frameOfReferenceUid === undefined ? {} : { frameOfReferenceUid }) };
  const object = await readLabelObject(other);
  if (seriesMeant(object, [own]).length > 0) return;
  throw new VersemiError('GEOMETRY_MISMATCH', {
    file: `${images} and ${source.name}`,
    expected: `outlines of the series ${series.uid}, or of its frame of reference`,
    found: `those of ${object.seriesUids.join(', ') || 'another frame of reference'}`,
    remedy: 'Take the object that was drawn on this scan, or write the masks as NIfTI, NRRD or MetaImage.',
  });
}
