import { dirname } from 'node:path';
import type { UnscaledVolume } from '../nifti-read.js';
import { type PlacedSeries, placeChosen, readPlaced } from './placed.js';
import { chooseSeries, readContents } from './series.js';
import { dicomFiles, filesNamed } from './sources.js';

/** A series of a dataset: files in a folder or in a zip file, found before. Plain data: it crosses threads. */
export interface SeriesFiles {
  /** Paths; in a zip file the path of the zip file before the name within. */
  readonly files: readonly string[];
  readonly uid: string;
  /** Which stack of the series, from 0, in the order of `readContents`. */
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
    return placeChosen(series ?? chooseSeries(contents, wanted.uid, path), contents);
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
  return placeChosen(chooseSeries(contents, chosen, path), contents, notices);
}

/** The voxels of a series in stored orientation. @throws as {@link placeSeries}, and errors of the pixels */
export async function readDicom(
  path: string,
  wanted?: string | SeriesFiles,
): Promise<UnscaledVolume & { readonly placed: PlacedSeries }> {
  return readPlaced(await placeSeries(path, wanted), path);
}
