import { VersemiError } from '../errors.js';
import { multiplyAffines } from '../volume/affine.js';
import type { Geometry } from '../volume/orientation.js';
import type { Affine, StoredGeometry, Triple } from '../volume/volume.js';
import { voxelCount } from '../volume/volume.js';
import type { Box } from '../wasm/host.js';

/**
 * Where a preprocessed case lies in its source: all that is needed to bring a prediction back. Plain numbers, so that it
 * can be stored as JSON.
 */
export interface ResampledGrid {
  /** The case in canonical (RAS+) orientation, before anything was cut or resampled. */
  readonly canonical: { readonly sizeVoxels: Triple; readonly spacingMm: Triple; readonly affine: Affine };
  /** The part of the canonical grid that was kept. */
  readonly crop: Box;
  /** The preprocessed grid. */
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  readonly affine: Affine;
  /**
   * Index along each axis of the crop = index on the preprocessed grid * scale + offset; the centres of the two grids
   * coincide, so that half of what does not divide evenly is left out (or replicated) at either end.
   */
  readonly scale: Triple;
  readonly offset: Triple;
  /** How the source was stored; absent when its own orientation was canonical and nothing else is known. */
  readonly stored?: StoredGeometry;
}

/** Largest drift over a whole axis, in voxels, for which two spacings count as equal: below what resampling could show. */
const equalDriftVoxels = 0.05;

const triple = (value: (axis: 0 | 1 | 2) => number): Triple => [value(0), value(1), value(2)];

/** Most voxels of a preprocessed volume: voxel indices are 32-bit integers. */
const maximumVoxels = 2 ** 31 - 1;

/**
 * Plans the grid of a case: the crop of the canonical volume, resampled to `spacingMm`.
 * @param volume canonical
 * @throws VERSEMI_VOLUME_INVALID when the grid would be larger than 2^31 - 1 voxels
 */
export function planGrid(volume: Geometry, crop: Box, spacingMm: Triple): ResampledGrid {
  const cropSize = boxSize(crop);
  const scale = triple((axis) => {
    const ratio = spacingMm[axis] / volume.spacingMm[axis];
    return Math.abs(ratio - 1) * cropSize[axis] < equalDriftVoxels ? 1 : ratio;
  });
  const sizeVoxels = triple((axis) => Math.max(1, Math.round(cropSize[axis] / scale[axis])));
  const offset = triple((axis) => (cropSize[axis] - 1 - (sizeVoxels[axis] - 1) * scale[axis]) / 2);
  if (voxelCount(sizeVoxels) > maximumVoxels) {
    throw new VersemiError('VOLUME_INVALID', {
      ...(volume.file === undefined ? {} : { file: volume.file }),
      field: 'size after resampling',
      expected: `at most ${maximumVoxels} voxels`,
      found: `${sizeVoxels.join(' x ')} at ${spacingMm.join(' x ')} mm`,
      remedy: 'Use a larger spacingMm in the plan, or check the spacing of the file.',
    });
  }
  const [x, y, z] = triple((axis) => crop.begin[axis] + offset[axis]);
  const toCanonical: Affine = [scale[0], 0, 0, x, 0, scale[1], 0, y, 0, 0, scale[2], z, 0, 0, 0, 1];
  return {
    canonical: { sizeVoxels: volume.sizeVoxels, spacingMm: volume.spacingMm, affine: volume.affine },
    crop,
    sizeVoxels,
    spacingMm: triple((axis) => volume.spacingMm[axis] * scale[axis]),
    affine: multiplyAffines(volume.affine, toCanonical),
    scale,
    offset,
    ...(volume.stored === undefined ? {} : { stored: volume.stored }),
  };
}

/** True when the preprocessed grid has the voxels of the crop, one to one. */
export function isIdentity({ scale, offset, crop, sizeVoxels }: ResampledGrid): boolean {
  const cropSize = boxSize(crop);
  return [0, 1, 2].every((axis) => scale[axis] === 1 && offset[axis] === 0 && cropSize[axis] === sizeVoxels[axis]);
}

/** Scale and offset of the way back: index on the preprocessed grid = index in the crop * scale + offset. */
export function inverseMapping({ scale, offset }: ResampledGrid): { scale: Triple; offset: Triple } {
  return { scale: triple((axis) => 1 / scale[axis]), offset: triple((axis) => -offset[axis] / scale[axis]) };
}

/** The whole of a volume as a box. */
export function wholeBox(sizeVoxels: Triple): Box {
  return { begin: [0, 0, 0], end: sizeVoxels };
}

export function boxSize({ begin, end }: Box): Triple {
  return triple((axis) => end[axis] - begin[axis]);
}
