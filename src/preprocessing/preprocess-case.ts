import type { PreprocessingSettings } from '../config/plan.js';
import type { Triple, Volume } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { isIdentity, planGrid, type Region, type ResampledGrid, wholeRegion } from './grid.js';
import { maximumForegroundSamples, type PreprocessedCase } from './types.js';

/** A case as `loadCase` gives it: canonical, finite, image and label in the same space. */
export interface LoadedImage {
  readonly id: string;
  readonly image: Volume<Float32Array>;
  readonly label?: Volume<Uint8Array>;
}

/** Hounsfield units halfway between air and water: what is above is body, table or garment. */
const airThresholdHu = -500;
/** Share of the way from the 1st to the 99th percentile above which a voxel of another modality is not air. */
const bodyFraction = 0.1;
/** Smoothing before the threshold, so that single bright voxels of noise do not count as body. */
const bodySigmaMm = 3;
/** Kept round the body. */
const bodyMarginMm = 5;

/**
 * Crop, clip, resample, normalise, in this order.
 * @param dataset name of the dataset in the plan
 * @throws VERSEMI_VOLUME_INVALID when the resampled grid would be too large
 */
export function preprocessCase(
  { id, image, label }: LoadedImage,
  settings: PreprocessingSettings,
  dataset: string,
): PreprocessedCase {
  const crop = settings.crop === 'body' ? bodyRegion(image, label) : wholeRegion(image.sizeVoxels);
  const grid = planGrid(image, crop, settings.spacingMm);
  const part = cropped(image, crop);
  const { window } = settings;
  // Clipped before resampling, so that metal and air do not bleed into what lies in the window.
  const clipped = window === null ? part : host().normalize(part, { low: window[0], high: window[1] });
  const resampled = toGrid(clipped, grid);
  // The input may be the caller's own array: it is never normalised in place.
  const own = resampled === image.data ? resampled.slice() : resampled;
  const labels = label && labelsToGrid(cropped(label, crop), grid);
  return {
    id,
    dataset,
    image: normalized(own, settings),
    ...(labels === undefined ? {} : { label: labels, foreground: foregroundSamples(labels) }),
    sizeVoxels: grid.sizeVoxels,
    spacingMm: grid.spacingMm,
    grid,
  };
}

function cropped<T extends Float32Array | Uint8Array>(volume: Volume<T>, crop: Region): T {
  const whole = crop.sizeVoxels.every((size, axis) => size === volume.sizeVoxels[axis]);
  return whole ? volume.data : host().crop(volume.data, volume.sizeVoxels, crop.begin, crop.sizeVoxels);
}

/**
 * Standard deviation, in source voxels, of the Gaussian that takes the resolution of the source to that of the grid:
 * sqrt(scale^2 - 1) / (2 sqrt(2 ln 2)), which matches the full widths at half maximum of the two point spread functions
 * (Cardoso et al., "Scale factor point spread function matching", MICCAI 2015). Zero where the grid is finer.
 */
function antiAliasSigma(scale: number): number {
  return scale > 1 ? Math.sqrt((scale * scale - 1) / (8 * Math.LN2)) : 0;
}

/** @param data the crop of a source, [z, y, x]; comes back as it is when the grid is the same */
function toGrid(data: Float32Array, grid: ResampledGrid): Float32Array {
  if (isIdentity(grid)) return data;
  const sigma = grid.scale.map(antiAliasSigma) as unknown as Triple;
  const { sizeVoxels } = grid.crop;
  const source = sigma.some((s) => s > 0) ? host().smooth(data, sizeVoxels, sigma) : data;
  return host().resampleLinear(source, sizeVoxels, grid.sizeVoxels, grid);
}

function labelsToGrid(data: Uint8Array, grid: ResampledGrid): Uint8Array {
  return isIdentity(grid) ? data : host().resampleLabels(data, grid.crop.sizeVoxels, grid.sizeVoxels, grid);
}

/** In place. A constant image becomes 0. */
function normalized(data: Float32Array, { normalization, window }: PreprocessingSettings): Float32Array {
  if (normalization === 'none') return data;
  const { mean, standardDeviation, min, max } = host().statistics(data);
  const inverse = (spread: number) => (spread > 1e-12 ? 1 / spread : 0);
  if (normalization === 'range') {
    const [low, high] = window ?? [min, max];
    return host().normalize(data, { mean: low, scale: inverse(high - low) }, data);
  }
  if (normalization === 'zscore') {
    return host().normalize(data, { mean, scale: inverse(standardDeviation) }, data);
  }
  const zeros = host().labelCounts(host().threshold(data, 0, 0))[1]!;
  const inside = data.length - zeros;
  if (inside === 0) return data;
  // Zeros add nothing to the sums: mean and variance of the others follow from those of all.
  const insideMean = (mean * data.length) / inside;
  const insideSquares = ((standardDeviation ** 2 + mean ** 2) * data.length) / inside;
  const deviation = Math.sqrt(Math.max(0, insideSquares - insideMean ** 2));
  host().normalizeNonzero(data, insideMean, inverse(deviation));
  return data;
}

/** Bounding box of what is not air, with a margin; a label is never cut off. The whole volume when nothing stands out. */
export function bodyRegion(image: Volume<Float32Array>, label?: Volume<Uint8Array>): Region {
  const { sizeVoxels, spacingMm } = image;
  const { min } = host().statistics(image.data);
  const [low, high] = host().percentiles(image.data, [0.01, 0.99]) as [number, number];
  const threshold = min <= airThresholdHu ? airThresholdHu : low + bodyFraction * (high - low);
  const sigma = spacingMm.map((spacing) => bodySigmaMm / spacing) as unknown as Triple;
  const smooth = host().smooth(image.data, sizeVoxels, sigma);
  const body = host().boundingBox(host().threshold(smooth, threshold), sizeVoxels);
  if (body === null || !(high > low)) return wholeRegion(sizeVoxels);
  const inLabel = label && host().boundingBox(label.data, sizeVoxels);
  const begin = [0, 1, 2].map((axis) => {
    const edge = body.begin[axis]! - Math.ceil(bodyMarginMm / spacingMm[axis]!);
    return Math.max(0, Math.min(edge, inLabel?.begin[axis] ?? edge));
  });
  const end = [0, 1, 2].map((axis) => {
    const edge = body.end[axis]! + Math.ceil(bodyMarginMm / spacingMm[axis]!);
    return Math.min(sizeVoxels[axis]!, Math.max(edge, inLabel?.end[axis] ?? edge));
  });
  return {
    begin: begin as unknown as Triple,
    sizeVoxels: end.map((e, axis) => e - begin[axis]!) as unknown as Triple,
  };
}

/** For each label value that occurs: voxel indices evenly spread over its voxels. */
export function foregroundSamples(label: Uint8Array): Record<number, Int32Array> {
  const samples: Record<number, Int32Array> = {};
  const counts = host().labelCounts(label);
  for (let value = 1; value < counts.length; value++) {
    const count = counts[value]!;
    if (count === 0) continue;
    const wanted = Math.min(count, maximumForegroundSamples);
    const ranks = Int32Array.from({ length: wanted }, (_, i) => Math.floor(((i + 0.5) * count) / wanted));
    samples[value] = host().positionsOf(label, value, ranks);
  }
  return samples;
}
