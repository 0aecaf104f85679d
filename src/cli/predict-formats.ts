import { join } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { writeFileAtomic } from '../atomic-file.js';
import type { Plan } from '../config/plan.js';
import type { PlacedSeries } from '../datasets/dicom/placed.js';
import { encodeSegmentation } from '../datasets/dicom/write-segmentation.js';
import { encodeStructureSet } from '../datasets/dicom/write-structures.js';
import { writeNrrd } from '../datasets/nrrd-file.js';
import { writeNifti } from '../datasets/read-volume.js';
import { VersemiError } from '../errors.js';
import { fileNameOf } from '../file-name.js';
import type { TaskPrediction } from '../inference/predict.js';
import { rgbOf, taskCodes, taskColor } from '../inference/task-identity.js';
import { palette } from '../reports/palette.js';
import { packageVersion } from '../root.js';
import { shortName } from './models.js';
import type { Source } from './predict-scans.js';

/** What masks are written as: a file per task, or a DICOM object with all tasks of a scan. */
export const maskFormats = ['nifti', 'nrrd', 'seg', 'rtstruct'] as const;
export type MaskFormat = (typeof maskFormats)[number];

const endings: Readonly<Record<MaskFormat, string>> = {
  nifti: '.nii.gz',
  nrrd: '.nrrd',
  seg: '.seg.dcm',
  rtstruct: '.rtstruct.dcm',
};

/** Parser of `--format`. */
export function formatList(text: string): MaskFormat[] {
  const formats = [...new Set(text.split(',').map((part) => part.trim()))];
  const unknown = formats.find((format) => !(maskFormats as readonly string[]).includes(format));
  if (unknown === undefined) return formats as MaskFormat[];
  throw new InvalidArgumentError(`Formats are ${maskFormats.join(', ')}, with commas between them.`);
}

export function isPerTask(format: MaskFormat): boolean {
  return format === 'nifti' || format === 'nrrd';
}

/** Path of a mask of one task. */
export function taskFile(folder: string, id: string, task: string, format: MaskFormat): string {
  return join(folder, fileNameOf(`${id}_${task}${endings[format]}`));
}

/** Path of a DICOM object with all tasks. */
export function objectFile(folder: string, id: string, format: MaskFormat): string {
  return join(folder, fileNameOf(`${id}${endings[format]}`));
}

export async function writeTask(file: string, format: MaskFormat, { mask }: TaskPrediction): Promise<void> {
  await (format === 'nrrd' ? writeNrrd(file, mask) : writeNifti(file, mask));
}

/**
 * The series that DICOM objects are to refer to, found before anything is computed.
 * @returns undefined where no DICOM object is asked for
 * @throws VERSEMI_FORMAT_UNSUPPORTED when the scan is no DICOM series
 */
export function seriesFor(
  formats: readonly MaskFormat[],
  { file, options: { placed } }: Source,
): PlacedSeries | undefined {
  if (formats.every(isPerTask)) return undefined;
  if (placed !== undefined) return placed;
  throw new VersemiError('FORMAT_UNSUPPORTED', {
    file,
    field: '--format',
    expected: 'a DICOM series, to whose images seg and rtstruct refer',
    found: 'a scan of another format',
    remedy: 'Ask for nifti or nrrd, or give the folder of the DICOM images.',
  });
}

/** A DICOM object that was written. */
export interface WrittenObject {
  readonly output: string;
  readonly format: MaskFormat;
}

/** Writes all masks of a scan into one object per DICOM format. @param models their files */
export async function writeObjects(
  formats: readonly MaskFormat[],
  source: PlacedSeries,
  predictions: readonly TaskPrediction[],
  place: { readonly folder: string; readonly id: string },
  {
    plan,
    models,
    deidentify,
    remark,
  }: { plan: Plan; models: readonly string[]; deidentify: boolean; remark: (text: string) => void },
): Promise<WrittenObject[]> {
  const masks = predictions.map(({ task, mask }) => ({
    ...{ name: task, data: mask.data },
    colour: rgbOf(taskColor(plan, task, palette)),
    ...taskCodes(plan, task),
  }));
  const averaged = models.length === 1 ? {} : { models: models.map(shortName) };
  const model = models.length === 1 ? plan.name : `${plan.name.slice(0, 40)}, mean of ${models.length} models`;
  const options = { model, ...averaged, version: packageVersion(), deidentify };
  const written: WrittenObject[] = [];
  for (const format of formats.filter((each) => !isPerTask(each))) {
    const output = objectFile(place.folder, place.id, format);
    if (format === 'seg' && predictions.every(({ foregroundVoxels }) => foregroundVoxels === 0)) {
      remark(`${output} is not written: no mask has a voxel, and a segmentation without one is not valid.`);
      continue;
    }
    const [columns, rows] = source.grid.sizeVoxels;
    if (format === 'seg' && (columns * rows) % 8 !== 0)
      remark(
        `${output}: planes of ${columns} x ${rows} pixels fill no whole bytes. The file is right, but 3D Slicer misreads such; give it --format rtstruct or nrrd.`,
      );
    const encode = format === 'seg' ? encodeSegmentation : encodeStructureSet;
    await writeFileAtomic(output, [await encode(source, masks, options)]);
    written.push({ output, format });
  }
  return written;
}
