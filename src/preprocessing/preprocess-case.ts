import type { PreprocessingSettings } from '../config/plan.js';
import type { LoadedCase } from '../datasets/types.js';
import { VersemiError } from '../errors.js';
import { asScan, type Scan } from '../scans/scan.js';
import type { Triple, Volume } from '../volume/volume.js';
import { type Box, host, type SliceStream, type VoxelSource } from '../wasm/host.js';
import { boxSize, isIdentity, planGrid, type ResampledGrid, wholeBox } from './grid.js';
import { nonzeroMoments } from './nonzero-moments.js';
import type { PreprocessedCase } from './preprocessed-case.js';
import { makeTargets } from './targets.js';

/** Hounsfield units halfway between air and water: what is above is body, table or garment. */
const airThresholdHu = -500;
/** Share of the way from the 1st to the 99th percentile above which a voxel of another modality is not air. */
const bodyFraction = 0.1;
/** Smoothing before the threshold, so that single bright voxels of noise do not count as body. */
const bodySigmaMm = 3;
/** Margin that is kept round the body. */
const bodyMarginMm = 5;

/** What becomes of an image, whatever its label becomes. */
type ImageSettings = Omit<PreprocessingSettings, 'targets'>;

/** A scan on its way to what the network sees. */
export interface PreparedScan {
  readonly grid: ResampledGrid;
  /** Slices of `grid.sizeVoxels`, made when they are read. Dispose it. */
  readonly slices: SliceStream;
}

/**
 * Crops, clips, resamples and normalises, in this order and slice by slice: no more slices are held than resampling and smoothing
 * need. The statistics of the normalisation take a pass of their own.
 * @throws VERSEMI_VOLUME_INVALID when the resampled grid would be too large
 */
export function prepareScan(scan: Scan, settings: ImageSettings): PreparedScan {
  const { grid, slices } = resampledScan(scan, settings);
  try {
    return { grid, slices: normalized(slices, settings) };
  } catch (error) {
    slices.dispose();
    throw error;
  }
}

/**
 * Does the same as `prepareScan` for a whole case in memory, with its label. The label has no say in the crop, as a scan
 * that is to be segmented has none.
 * @param dataset name of the dataset in the plan
 * @throws VERSEMI_VOLUME_INVALID when the resampled grid would be too large, VERSEMI_LABEL_INVALID when the crop would cut off
 *   labelled voxels
 */
export function preprocessCase(
  { id, image, label, ignoredLabel }: LoadedCase,
  settings: PreprocessingSettings,
  dataset: string,
): PreprocessedCase {
  const { grid, slices } = resampledScan(asScan(image), settings);
  const data = collected(slices);
  if (label !== undefined) requireLabelInside(label, grid.crop, `${id} of ${dataset}`, ignoredLabel);
  // The resampled voxels are kept, so that they need not be resampled again after the pass for the statistics.
  const again = host().slices(sourceOf(data, grid.sizeVoxels));
  try {
    normalized(again, settings).read(data, 0, grid.sizeVoxels[2]);
  } finally {
    again.dispose();
  }
  return {
    id,
    dataset,
    image: data,
    ...(label && makeTargets(cropped(label, grid.crop), grid, settings.targets, ignoredLabel)),
    sizeVoxels: grid.sizeVoxels,
    spacingMm: grid.spacingMm,
    grid,
  };
}

/** The scan cropped, clipped and resampled, not yet normalised. */
function resampledScan(scan: Scan, settings: ImageSettings): PreparedScan {
  const crop = settings.crop === 'body' ? bodyBox(scan) : wholeBox(scan.sizeVoxels);
  const grid = planGrid(scan, crop, settings.spacingMm);
  const { window } = settings;
  const slices = host().slices(scan);
  try {
    const part = slices.crop(crop.begin, boxSize(crop));
    // Clipped before resampling, so that metal and air do not bleed into what lies in the window.
    const clipped = window === null ? part : part.normalize({ low: window[0], high: window[1] });
    return { grid, slices: toGrid(clipped, grid) };
  } catch (error) {
    slices.dispose();
    throw error;
  }
}

function collected(slices: SliceStream): Float32Array {
  try {
    return slices.collect();
  } finally {
    slices.dispose();
  }
}

function sourceOf(data: Float32Array, sizeVoxels: Triple): VoxelSource {
  const plane = sizeVoxels[0] * sizeVoxels[1];
  return { sizeVoxels, slices: (begin, end) => data.subarray(begin * plane, end * plane) };
}

function cropped(label: Volume<Uint8Array>, crop: Box): Uint8Array {
  const sizeVoxels = boxSize(crop);
  const whole = sizeVoxels.every((size, axis) => size === label.sizeVoxels[axis]);
  return whole ? label.data : host().crop(label.data, label.sizeVoxels, crop.begin, sizeVoxels);
}

/**
 * Standard deviation, in source voxels, of the Gaussian that takes the resolution of the source to that of the grid:
 * sqrt(scale^2 - 1) / (2 sqrt(2 ln 2)), which matches the full widths at half maximum of the two point spread functions
 * (Cardoso et al., "Scale factor point spread function matching", MICCAI 2015). Zero where the grid is finer.
 */
function antiAliasSigma(scale: number): number {
  return scale > 1 ? Math.sqrt((scale * scale - 1) / (8 * Math.LN2)) : 0;
}

/** @param slices the crop of a source; comes back as it is when the grid is the same */
function toGrid(slices: SliceStream, grid: ResampledGrid): SliceStream {
  if (isIdentity(grid)) return slices;
  return slices.smooth(grid.scale.map(antiAliasSigma) as unknown as Triple).resample(grid.sizeVoxels, grid);
}

/** Relative step from one float32 to the next. */
const float32Epsilon = 2 ** -23;

/**
 * What intensities are multiplied by to have a spread of 1; 0 where they are constant, so that a constant image becomes 0.
 * Constant means: as exactly as float32 can tell, whatever the unit of the intensities.
 */
function inverseSpread(spread: number, magnitude: number): number {
  const inverse = 1 / spread;
  return spread > float32Epsilon * magnitude && Number.isFinite(Math.fround(inverse)) ? inverse : 0;
}

function normalized(slices: SliceStream, { normalization, window }: ImageSettings): SliceStream {
  if (normalization === 'none') return slices;
  if (normalization === 'range' && window !== null) {
    return slices.normalize({ mean: window[0], scale: inverseSpread(window[1] - window[0], Math.abs(window[0])) });
  }
  const { mean, standardDeviation, min, max, count } = slices.statistics();
  if (normalization === 'range') return slices.normalize({ mean: min, scale: inverseSpread(max - min, Math.abs(min)) });
  if (normalization === 'zscore')
    return slices.normalize({ mean, scale: inverseSpread(standardDeviation, Math.abs(mean)) });
  const inside = nonzeroMoments({ mean, standardDeviation }, count, slices.zeros());
  if (inside === null) return slices;
  return slices.normalizeNonzero(inside.mean, inverseSpread(inside.standardDeviation, Math.abs(inside.mean)));
}

/** @throws VERSEMI_LABEL_INVALID */
function requireLabelInside({ data, sizeVoxels }: Volume<Uint8Array>, crop: Box, where: string, ignored = 0): void {
  const known = Uint8Array.from({ length: 256 }, (_, value) => (value === ignored ? 0 : value));
  const labeled = host().boundingBox(ignored === 0 ? data : host().translate(data, known), sizeVoxels);
  const cut = (axis: number) => labeled!.begin[axis]! < crop.begin[axis]! || labeled!.end[axis]! > crop.end[axis]!;
  if (labeled === null || ![0, 1, 2].some(cut)) return;
  const box = ({ begin, end }: Box) => begin.map((from, axis) => `${from} to ${end[axis]! - 1}`).join(', ');
  throw new VersemiError('LABEL_INVALID', {
    field: `label of case ${where}`,
    expected: `labelled voxels inside of the body (preprocessing.crop), which is x, y, z = ${box(crop)} in this scan`,
    found: `labelled voxels in x, y, z = ${box(labeled)}`,
    remedy:
      "See whether the label belongs to the image; if it does, set preprocessing.crop of the dataset to 'none' in the plan.",
  });
}

/** Bounding box of what is not air, with a margin. The whole volume when nothing stands out. */
function bodyBox(scan: Scan): Box {
  const { sizeVoxels, spacingMm } = scan;
  const slices = host().slices(scan);
  try {
    const { min } = slices.statistics();
    const [low, high] = slices.percentiles([0.01, 0.99]) as [number, number];
    const threshold = min <= airThresholdHu ? airThresholdHu : low + bodyFraction * (high - low);
    const sigma = spacingMm.map((spacing) => bodySigmaMm / spacing) as unknown as Triple;
    const body = slices.smooth(sigma).boxAbove(threshold);
    if (body === null || !(high > low)) return wholeBox(sizeVoxels);
    const margin = spacingMm.map((spacing) => Math.ceil(bodyMarginMm / spacing));
    const begin = body.begin.map((from, axis) => Math.max(0, from - margin[axis]!));
    const end = body.end.map((to, axis) => Math.min(sizeVoxels[axis]!, to + margin[axis]!));
    return { begin: begin as unknown as Triple, end: end as unknown as Triple };
  } finally {
    slices.dispose();
  }
}
