import { VersemiError } from '../errors.js';
import { assertSameGeometry } from '../volume/geometry.js';
import { toCanonical } from '../volume/orientation.js';
import type { Volume } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import type { CaseFiles, Dataset } from './dataset.js';
import { type ReadVolumeOptions, readVolume } from './read-volume.js';

export interface LoadedCase {
  readonly id: string;
  /** Canonical (RAS+), all voxels finite, with `stored`. */
  readonly image: Volume<Float32Array>;
  /** Canonical, on the same voxels; absent for an unlabelled case. */
  readonly label?: Volume<Uint8Array>;
}

export interface LoadCaseOptions {
  /** Modality by index or name; default 0. */
  readonly channel?: number | string;
}

/**
 * Reads a case and checks everything that can be wrong with it: voxels finite, label on the same grid, label values whole
 * and known to the dataset.
 * @throws VERSEMI_MODALITY_MISSING, VERSEMI_VOXELS_NOT_FINITE, VERSEMI_GEOMETRY_MISMATCH, VERSEMI_LABEL_INVALID, and what
 *   `readVolume` throws
 */
export async function loadCase(dataset: Dataset, files: CaseFiles, options: LoadCaseOptions = {}): Promise<LoadedCase> {
  const channel = channelIndex(dataset, options.channel ?? 0);
  const [image, label] = await Promise.all([
    loadImage(dataset, files, channel),
    files.label === undefined ? undefined : loadLabel(dataset, files.label),
  ]);
  if (label !== undefined) assertSameGeometry(image, label);
  return {
    id: files.id,
    image: toCanonical(image),
    ...(label === undefined ? {} : { label: toCanonical(label) }),
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
    remedy: 'Correct the channel in the plan.',
  });
}

async function loadImage(dataset: Dataset, files: CaseFiles, channel: number): Promise<Volume<Float32Array>> {
  return readFinite(files.channels?.[channel] ?? files.image, {
    // Modalities in files of their own are one volume each.
    channel: files.channels === undefined ? channel : 0,
    ...(dataset.spacingMm === undefined ? {} : { spacingMm: dataset.spacingMm }),
  });
}

/**
 * Reads a scan that belongs to no dataset, canonical (RAS+) and checked like the image of a case.
 * @throws VERSEMI_VOXELS_NOT_FINITE, and what `readVolume` throws
 */
export async function loadScan(file: string, options: ReadVolumeOptions = {}): Promise<Volume<Float32Array>> {
  return toCanonical(await readFinite(file, options));
}

/** An image as float32 in stored orientation. @throws VERSEMI_VOXELS_NOT_FINITE */
async function readFinite(file: string, options: ReadVolumeOptions): Promise<Volume<Float32Array>> {
  const volume = await readVolume(file, options);
  const { data } = volume;
  const floats = data instanceof Float32Array ? data : host().toFloat32(data);
  const { nonFinite } = host().statistics(floats);
  if (nonFinite > 0) {
    const first = floats.findIndex((value) => !Number.isFinite(value));
    const [sizeX, sizeY] = volume.sizeVoxels;
    const at = [first % sizeX, Math.floor(first / sizeX) % sizeY, Math.floor(first / (sizeX * sizeY))];
    throw new VersemiError('VOXELS_NOT_FINITE', {
      file,
      expected: 'finite numbers',
      found: `${nonFinite} of ${floats.length} voxels that are not, the first at [${at.join(', ')}] (${floats[first]})`,
      remedy: 'Replace these voxels, for example with the smallest value of the scan, or leave the scan out.',
    });
  }
  return { ...volume, data: floats };
}

/**
 * Reads a label map in stored orientation as bytes.
 * @throws VERSEMI_LABEL_INVALID naming values that are not whole numbers from 0 to 255, or that the dataset does not name
 */
export async function loadLabel(dataset: Dataset, file: string): Promise<Volume<Uint8Array>> {
  const volume = await readVolume(file, {
    key: 'label',
    ...(dataset.spacingMm === undefined ? {} : { spacingMm: dataset.spacingMm }),
  });
  const data = toBytes(volume, file);
  const counts = host().labelCounts(data);
  const known = Object.keys(dataset.labels).map(Number);
  const unknown = Array.from(counts.keys()).filter((value) => counts[value]! > 0 && !known.includes(value));
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
  return { ...volume, data };
}

function toBytes(volume: Volume, file: string): Uint8Array {
  const { data } = volume;
  if (data instanceof Uint8Array) return data;
  // Conversion cuts off what does not fit a byte; where that changed a voxel, it was no label.
  const bytes = new Uint8Array(data);
  const wrong: number[] = [];
  for (let i = 0; i < bytes.length && wrong.length < 5; i++)
    if (bytes[i] !== data[i] && !wrong.includes(data[i]!)) wrong.push(data[i]!);
  if (wrong.length === 0) return bytes;
  throw new VersemiError('LABEL_INVALID', {
    file,
    expected: 'whole numbers from 0 to 255',
    found: `values such as ${wrong.join(', ')}`,
    remedy: 'A label map must not be resampled with interpolation; write it again with whole numbers.',
  });
}
