import { dirname } from 'node:path';
import type { Geometry } from '../../volume/orientation.js';
import type { UnscaledVolume } from '../nifti-read.js';
import { geometryOf, type PlacedSeries, placeChosen, readPlaced } from './placed.js';
import { chooseSeries, readContents } from './series.js';
import { dicomFiles } from './sources.js';

/**
 * Finds the series that a path stands for. A file with one slice stands for its series in its folder, as nobody means a single slice.
 * @param path a folder, a zip file, or a DICOM file
 * @param wanted see {@link chooseSeries}
 * @throws VERSEMI_DATASET_INVALID when no or more than one series fits, VERSEMI_VOLUME_INVALID when its slices make no volume, and errors
 *   of reading
 */
export async function placeSeries(path: string, wanted?: string): Promise<PlacedSeries> {
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
  const placed = placeChosen(contents, chooseSeries(contents, chosen, path));
  return { ...placed, notices: [...notices, ...placed.notices] };
}

/** The voxels of a series in stored orientation. @throws as {@link placeSeries}, and errors of the pixels */
export async function readDicom(
  path: string,
  wanted?: string,
): Promise<UnscaledVolume & { readonly placed: PlacedSeries }> {
  return readPlaced(await placeSeries(path, wanted), path);
}

/** Geometry, and bytes of memory per voxel. @throws as {@link placeSeries} */
export async function dicomFacts(
  path: string,
  wanted?: string,
): Promise<{ readonly geometry: Geometry; readonly bytesPerVoxel: number }> {
  const { grid } = await placeSeries(path, wanted);
  const bits = Math.max(...grid.frames.map(({ instance }) => instance.pixels.bitsAllocated));
  // Slices with scales of their own become float32.
  return { geometry: geometryOf(grid, path), bytesPerVoxel: Math.max(4, bits / 8) };
}
