import { columnNorms } from '../../volume/affine.js';
import type { Geometry } from '../../volume/orientation.js';
import type { UnscaledVolume } from '../nifti-read.js';
import { type Grid, gridOf } from './grid.js';
import { readVoxels } from './pixels.js';
import { type DicomContents, instancesOf, type Series } from './series.js';

/** A series that was chosen, with its place. */
export interface PlacedSeries {
  readonly series: Series;
  readonly grid: Grid;
  readonly contents: DicomContents;
  /** What a user should know of how it was read. */
  readonly notices: readonly string[];
}

/**
 * Places the slices of a series.
 * @param contents what the series was found among
 * @param first notices that come before those of the series
 * @throws VERSEMI_VOLUME_INVALID when its slices make no volume
 */
export function placeChosen(series: Series, contents: DicomContents, first: readonly string[] = []): PlacedSeries {
  const grid = gridOf(series);
  const notices = [...first];
  if (contents.repeated.length > 0)
    notices.push(`${contents.repeated.length} files repeat an image of another file and are left out`);
  if (contents.refused.length > 0)
    notices.push(
      `${contents.refused.length} images without a place or of another kind are left out, e.g. ${contents.refused[0]!.error.message}`,
    );
  if (grid.tiltDegrees > 0)
    notices.push(
      `the slices are tilted by ${grid.tiltDegrees.toFixed(1)} degrees against their direction (gantry tilt): the volume keeps its shear`,
    );
  if (instancesOf(series).some(({ pixels }) => pixels.photometric === 'MONOCHROME1'))
    notices.push('MONOCHROME1: dark means high; values are kept as they are stored');
  return { series, grid, contents, notices };
}

/** The voxels of a placed series in stored orientation: no header is read again. @throws errors of the pixels */
export async function readPlaced(
  placed: PlacedSeries,
  path: string,
): Promise<UnscaledVolume & { readonly placed: PlacedSeries }> {
  const { data, slope, intercept, paddingVoxels } = await readVoxels(placed.grid);
  const notices =
    paddingVoxels === 0
      ? placed.notices
      : [...placed.notices, `${paddingVoxels} voxels are padding: they get the lowest value of the others`];
  return { volume: { data, ...geometryOf(placed.grid, path) }, slope, intercept, placed: { ...placed, notices } };
}

/** Geometry, modality, and bytes of memory per voxel. */
export function placedFacts(
  { grid, series }: PlacedSeries,
  path: string,
): { readonly geometry: Geometry; readonly bytesPerVoxel: number; readonly modality: string } {
  const bits = Math.max(...grid.frames.map(({ instance }) => instance.pixels.bitsAllocated));
  // Slices with scales of their own become float32.
  return { geometry: geometryOf(grid, path), bytesPerVoxel: Math.max(4, bits / 8), modality: series.modality };
}

function geometryOf({ sizeVoxels, affine }: Grid, file: string): Geometry & { readonly file: string } {
  return { sizeVoxels, affine, spacingMm: columnNorms(affine), file };
}
