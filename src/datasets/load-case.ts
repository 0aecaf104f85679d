import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { VersemiError } from '../errors.js';
import { turnedVolume } from '../scans/canonical.js';
import { type Scan, scanOf, volumeOf } from '../scans/scan.js';
import { turnOnto } from '../volume/geometry.js';
import { canonicalGeometry } from '../volume/orientation.js';
import type { Volume } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import type { DicomFile } from './dicom/elements.js';
import { drawLabels, structureKey } from './dicom/label-objects.js';
import { type PlacedSeries, placedFacts } from './dicom/placed.js';
import { filesNamed } from './dicom/sources.js';
import { checkFinite } from './finite.js';
import { labelBytes } from './label-values.js';
import {
  type ImageFacts,
  imageFacts,
  isDicomPath,
  type ReadVolumeOptions,
  readUnscaled,
  seriesOf,
} from './read-volume.js';
import type { CaseFiles, Dataset, LoadedCase } from './types.js';

/** How a case is read. */
export interface LoadCaseOptions {
  /** Modality by index or name; default 0. */
  readonly channel?: number | string;
  /** Told what a person should know of how the voxels were read, see `readVolume`. */
  readonly onNotice?: (text: string) => void;
}

/**
 * Reads a case and checks everything that can be wrong with it: voxels finite, label on the same grid, label values whole
 * and known to the dataset.
 * @throws VERSEMI_MODALITY_MISSING, VERSEMI_VOXELS_NOT_FINITE, VERSEMI_GEOMETRY_MISMATCH, VERSEMI_LABEL_INVALID, and what
 *   `readVolume` throws
 */
export async function loadCase(dataset: Dataset, files: CaseFiles, options: LoadCaseOptions = {}): Promise<LoadedCase> {
  const { image, ...rest } = await openCase(dataset, files, options);
  return { ...rest, image: volumeOf(image) };
}

/** As {@link loadCase}, but the image is not turned into float32 as a whole. @throws as {@link loadCase} */
export async function openCase(
  dataset: Dataset,
  files: CaseFiles,
  options: LoadCaseOptions = {},
): Promise<LoadedCase<Scan>> {
  const channel = channelIndex(dataset, options.channel ?? 0);
  const { file, ...place } = imageOf(dataset, files, channel);
  const how = options.onNotice === undefined ? place : { ...place, onNotice: options.onNotice };
  const placed = await seriesOf(file, how);
  const [image, label] = await Promise.all([
    openScan(file, {
      ...how,
      ...(placed === undefined ? {} : { placed }),
    }),
    files.label === undefined ? undefined : loadLabel(dataset, files.label, placed && { file, placed }),
  ]);
  if (label === undefined) return { id: files.id, image };
  const { axes, flipped } = turnOnto(image, label);
  const { ignoredLabel } = dataset;
  return {
    ...{ id: files.id, image, label: turnedVolume(label, axes, flipped) },
    ...(ignoredLabel === undefined ? {} : { ignoredLabel }),
  };
}

/** Index of a modality given by index or name. @throws VERSEMI_MODALITY_MISSING */
export function channelIndex(dataset: Dataset, channel: number | string): number {
  const { modalities } = dataset;
  const index =
    typeof channel === 'number'
      ? channel
      : modalities.findIndex((name) => name.toLowerCase() === channel.toLowerCase());
  if (modalities[index] !== undefined) return index;
  throw new VersemiError('MODALITY_MISSING', {
    file: dataset.folder,
    field: 'channel',
    expected: modalities.map((name, i) => `${i} (${name})`).join(' or '),
    found: String(channel),
    remedy: 'Correct `channel` of the dataset in the plan, or the names of the modalities in dataset.json.',
  });
}

/** Header of a case's image, in canonical orientation. @throws as {@link loadCase} */
export async function caseFacts(
  dataset: Dataset,
  files: CaseFiles,
  options: LoadCaseOptions = {},
): Promise<ImageFacts> {
  const { file, ...how } = imageOf(dataset, files, channelIndex(dataset, options.channel ?? 0));
  return scanFacts(file, how);
}

/** Header of a scan, in canonical orientation: what `estimateMemory` asks for. @throws as `readVolume` */
export async function scanFacts(file: string, options: ReadVolumeOptions = {}): Promise<ImageFacts> {
  const { geometry, ...facts } = await imageFacts(file, options);
  return { geometry: canonicalGeometry(geometry), ...facts };
}

/** Where the image of a case is, and how it is read. @param channel index of the modality */
export function imageOf(
  dataset: Dataset,
  files: CaseFiles,
  channel: number,
): ReadVolumeOptions & { readonly file: string } {
  return {
    file: files.channels?.[channel] ?? files.image,
    // Modalities in files of their own are one volume each.
    channel: files.channels === undefined ? channel : 0,
    ...(dataset.spacingMm === undefined ? {} : { spacingMm: dataset.spacingMm }),
    ...(dataset.keys === undefined ? {} : { key: dataset.keys.image }),
    ...(files.series === undefined ? {} : { seriesFiles: files.series }),
  };
}

/**
 * Reads a scan that belongs to no dataset, for `predictVolume`. It is checked like the image of a case, and its voxels stay as
 * they are in the file.
 * @throws VERSEMI_VOXELS_NOT_FINITE, and what `readVolume` throws
 */
export async function openScan(file: string, options: ReadVolumeOptions = {}): Promise<Scan> {
  const { volume, slope, intercept } = await readUnscaled(file, options);
  const scan = scanOf(volume, { slope, intercept });
  checkFinite(scan, volume, file);
  return scan;
}

/** As {@link openScan}, but as one float32 volume [z, y, x], canonical (RAS+). @throws as {@link openScan} */
export async function loadScan(file: string, options: ReadVolumeOptions = {}): Promise<Volume<Float32Array>> {
  return volumeOf(await openScan(file, options));
}

/**
 * Reads a label map in stored orientation as bytes; outlines and segments of DICOM are drawn on the voxels of their images.
 * @param images the series that a label is drawn on, where the image is DICOM
 * @throws VERSEMI_LABEL_INVALID naming values that are not whole numbers from 0 to 255, or that the dataset does not name
 */
export async function loadLabel(
  dataset: Dataset,
  file: string,
  images?: { readonly file: string; readonly placed: PlacedSeries },
): Promise<Volume<Uint8Array>> {
  if (images !== undefined) {
    const object = await labelObjectAt(file, images.file);
    if (object !== undefined) {
      const { geometry } = placedFacts(images.placed, images.file);
      const data = await drawLabels(object, geometry, structureValues(dataset), dataset.labelsOrdered ?? true);
      return { ...geometry, file, data };
    }
  }
  const { volume, slope, intercept } = await readUnscaled(file, {
    role: 'label',
    ...(dataset.keys === undefined ? {} : { key: dataset.keys.label }),
    ...(dataset.spacingMm === undefined ? {} : { spacingMm: dataset.spacingMm }),
  });
  const data = labelBytes(volume.data, { slope, intercept }, file);
  requireKnownLabels(dataset, data, file);
  return { ...volume, data };
}

/**
 * @param data values of a label map
 * @throws VERSEMI_LABEL_INVALID naming values that the dataset does not name
 */
export function requireKnownLabels(
  dataset: Pick<Dataset, 'labels' | 'labelsDeclared' | 'ignoredLabel'>,
  data: Uint8Array,
  file: string,
): void {
  const counts = host().labelCounts(data);
  const known = Object.keys(dataset.labels).map(Number);
  const meant = [...known, dataset.ignoredLabel];
  const unknown = Array.from(counts.keys()).filter((value) => counts[value]! > 0 && !meant.includes(value));
  if (dataset.labelsDeclared && unknown.length > 0) {
    const names = known.map((value) => `${value} (${dataset.labels[value]})`).join(', ');
    throw new VersemiError('LABEL_INVALID', {
      file,
      expected: `the values that dataset.json names: ${names}`,
      found: unknown
        .slice(0, 5)
        .map((value) => `${value} in ${counts[value]} voxels`)
        .join(', '),
      remedy: 'Name the values in dataset.json, or mend the label file.',
    });
  }
}

/** The file of a structure set or a segmentation; undefined for a label map of another format. */
async function labelObjectAt(file: string, images: string): Promise<DicomFile | undefined> {
  const inside = file.startsWith(`${images}/`) && !existsSync(file);
  if (!inside && !(await isDicomPath(file))) return undefined;
  const [object] = await filesNamed(inside ? images : dirname(file), [file]);
  return object;
}

/** Label values by the names of structures. */
function structureValues({ labels, ignoredLabel }: Dataset): ReadonlyMap<string, number> {
  const named = Object.entries(labels).filter(([value]) => value !== '0');
  return new Map([
    ...named.map(([value, name]): [string, number] => [structureKey(name), Number(value)]),
    ...(ignoredLabel === undefined ? [] : [['ignore', ignoredLabel] as const]),
  ]);
}
