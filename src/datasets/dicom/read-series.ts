import { dirname } from 'node:path';
import { columnNorms } from '../../volume/affine.js';
import type { Geometry } from '../../volume/orientation.js';
import type { UnscaledVolume } from '../nifti-read.js';
import { type Grid, gridOf } from './grid.js';
import { readVoxels } from './pixels.js';
import { chooseSeries, type DicomContents, instancesOf, readContents, type Series } from './series.js';
import { dicomFiles, filesNamed } from './sources.js';

/** A series that was chosen, with its place. */
export interface PlacedSeries {
  readonly series: Series;
  readonly grid: Grid;
  readonly contents: DicomContents;
  /** What a user should know of how it was read. */
  readonly notices: readonly string[];
}

/** A series of a dataset: files in a folder or in a zip file, found before. Plain data: it crosses threads. */
export interface SeriesFiles {
  /** Paths; in a zip file the path of the zip file before the name within. */
  readonly files: readonly string[];
  readonly uid: string;
  /** Which stack of the series, from 0, in the order of {@link readContents}. */
  readonly stack: number;
}

/**
 * Finds the series that a path stands for. A file with one slice stands for its series in its folder, as nobody means a single slice.
 * @param path a folder, a zip file, or a DICOM file
 * @param wanted see {@link chooseSeries}; or the files of a series that was found before
 * @throws VERSEMI_DATASET_INVALID when no or more than one series fits, VERSEMI_VOLUME_INVALID when its slices make no volume, and errors
 *   of reading
 */
export async function placeSeries(path: string, wanted?: string | SeriesFiles): Promise<PlacedSeries> {
  if (typeof wanted === 'object') {
    const contents = await readContents(await filesNamed(path, wanted.files));
    const series = contents.series.filter(({ uid }) => uid === wanted.uid)[wanted.stack];
    return placed(series ?? chooseSeries(contents, wanted.uid, path), contents, []);
  }
  const files = await dicomFiles(path);
  let contents = await readContents(files);
  let chosen = wanted;
  const [alone] = contents.series;
  const notices: string[] = [];
  if (files.length === 1 && files[0]!.name === path && alone?.frames.length === 1) {
    contents = await readContents(await dicomFiles(dirname(path)));
    chosen ??= alone.uid;
    if (contents.series.some(({ uid, frames }) => uid === alone.uid && frames.length > 1))
      notices.push(`${path} is one slice: its series in ${dirname(path)} is read`);
  }
  return placed(chooseSeries(contents, chosen, path), contents, notices);
}

function placed(series: Series, contents: DicomContents, first: readonly string[]): PlacedSeries {
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

/** The voxels of a series in stored orientation. @throws as {@link placeSeries}, and errors of the pixels */
export async function readDicom(
  path: string,
  wanted?: string | SeriesFiles,
): Promise<UnscaledVolume & { readonly placed: PlacedSeries }> {
  return readPlaced(await placeSeries(path, wanted), path);
}

/** As {@link readDicom}, of a series whose place is known: no header is read again. @throws errors of the pixels */
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
