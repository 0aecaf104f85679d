import type { Volume } from '../volume/volume.js';
import { gzipped } from './inflate-bytes.js';
import { checkWritable, type SlabbedVolume, voxelParts } from './nifti-encode.js';
import { datatypeName } from './voxel-arrays.js';

/** The bytes of a volume as an NRRD file, gzip inside, positions in LPS as 3D Slicer writes them. @throws VERSEMI_VOLUME_INVALID */
export async function encodeNrrd(
  volume: Volume | SlabbedVolume,
  pairs: Readonly<Record<string, string>> = {},
): Promise<Uint8Array> {
  return gzipped(voxelParts(volume), encodeNrrdHeader(volume, pairs, 'gzip'));
}

/** The header of an NRRD file; the voxels follow it. @throws VERSEMI_VOLUME_INVALID */
export function encodeNrrdHeader(
  volume: Volume | SlabbedVolume,
  pairs: Readonly<Record<string, string>>,
  encoding: 'gzip' | 'raw',
): Uint8Array {
  checkWritable(volume);
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
  return new TextEncoder().encode(`${lines.join('\n')}\n\n`);
}

/** NRRD calls integers as we do, and floats as C does. */
function nrrdType(name: string): string {
  return name === 'float32' ? 'float' : name === 'float64' ? 'double' : name;
}

/** Keys and values fill one line each. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
