import { VersemiError } from '../errors.js';
import type { Volume } from '../volume/volume.js';
import type { SlabbedVolume } from './nifti-encode.js';
import { volumeBytes, writeParts } from './nifti-file.js';
import { encodeNrrdHeader } from './nrrd-encode.js';

/** How an NRRD file is written. */
export interface WriteNrrdOptions {
  /** Pairs of key and value that other programs look for, e.g. those of 3D Slicer's segmentations. */
  readonly pairs?: Readonly<Record<string, string>>;
  /** 1 (fast, the default) to 9 (small); 0: the voxels as they are, `encoding: raw`. */
  readonly compressionLevel?: number;
}

/**
 * Writes a volume as one NRRD file (.nrrd), positions in LPS as 3D Slicer and ITK write them. The file appears whole or
 * not at all; its folder is made when it is missing.
 * @throws VERSEMI_VOLUME_INVALID, VERSEMI_FORMAT_UNSUPPORTED (the name's ending), VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function writeNrrd(
  file: string,
  volume: Volume | SlabbedVolume,
  options: WriteNrrdOptions = {},
): Promise<void> {
  if (!/\.nrrd$/i.test(file))
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file,
      expected: 'a name that ends with .nrrd',
      remedy: 'Rename the output.',
    });
  const { pairs = {}, compressionLevel = 1 } = options;
  const header = encodeNrrdHeader(volume, pairs, compressionLevel === 0 ? 'raw' : 'gzip');
  await writeParts(file, volumeBytes(volume), compressionLevel === 0 ? undefined : compressionLevel, header);
}
