import { VersemiError } from '../errors.js';
import type { Volume } from '../volume/volume.js';
import { checkWritable, type SlabbedVolume } from './nifti-encode.js';
import { volumeBytes, writeParts } from './nifti-file.js';
import { datatypeName } from './voxel-arrays.js';

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
  checkWritable(volume);
  const { pairs = {}, compressionLevel = 1 } = options;
  const { header, tail } = encodeNrrd(volume, pairs, compressionLevel === 0 ? 'raw' : 'gzip');
  await writeParts(file, tail, compressionLevel === 0 ? undefined : compressionLevel, header);
}

function encodeNrrd(
  volume: Volume | SlabbedVolume,
  pairs: Readonly<Record<string, string>>,
  encoding: 'gzip' | 'raw',
): { readonly header: Uint8Array; readonly tail: Iterable<Uint8Array> } {
  const voxels = 'slabs' in volume ? volume.type : volume.data;
  const type = nrrdType(datatypeName(voxels));
  const vector = (column: number) => {
    const [x, y, z] = [0, 1, 2].map((row) => volume.affine[4 * row + column]!) as [number, number, number];
    // The sum with zero turns -0 into 0.
    return `(${-x + 0},${-y + 0},${z + 0})`;
  };
  const lines = [
    'NRRD0004',
    `type: ${type}`,
    'dimension: 3',
    'space: left-posterior-superior',
    `sizes: ${volume.sizeVoxels.join(' ')}`,
    `space directions: ${[0, 1, 2].map(vector).join(' ')}`,
    'kinds: domain domain domain',
    'endian: little',
    `encoding: ${encoding}`,
    `space origin: ${vector(3)}`,
    ...Object.entries(pairs).map(([key, value]) => `${escaped(key)}:=${escaped(value)}`),
  ];
  return { header: Buffer.from(`${lines.join('\n')}\n\n`), tail: volumeBytes(volume) };
}

/** NRRD calls integers as we do, and floats as C does. */
function nrrdType(name: string): string {
  return name === 'float32' ? 'float' : name === 'float64' ? 'double' : name;
}

/** Keys and values fill one line each. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
