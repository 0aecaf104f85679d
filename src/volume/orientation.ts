import { VersemiError } from '../errors.js';
import { host } from '../wasm/host.js';
import { closestAxes, columnNorms, invertAffine } from './affine.js';
import type { Affine, StoredGeometry, Triple, Volume, VoxelArray } from './volume.js';

type Flips = readonly [boolean, boolean, boolean];

/**
 * The same volume with its voxel axes along the world axes that they are closest to, in the order and direction RAS+:
 * x to the right, y to the front, z to the head. Nothing is resampled; an oblique volume stays oblique. The voxels are
 * shared with `volume` when it is canonical already.
 * @returns a volume with `stored` set, for {@link toStored}
 * @throws VERSEMI_VOLUME_INVALID when the affine is singular
 */
export function toCanonical<T extends VoxelArray>(volume: Volume<T>): Volume<T> {
  if (invertAffine(volume.affine) === undefined) {
    throw new VersemiError('VOLUME_INVALID', {
      ...(volume.file === undefined ? {} : { file: volume.file }),
      field: 'affine',
      expected: 'an invertible matrix from voxels to millimetres',
      found: `[${volume.affine.join(', ')}]`,
    });
  }
  const { world, sign } = closestAxes(volume.affine);
  const axes = [0, 1, 2].map((axis) => world.indexOf(axis)) as unknown as Triple;
  const flipped = axes.map((axis) => sign[axis]! < 0) as unknown as Flips;
  const { sizeVoxels, spacingMm, affine } = volume;
  const stored: StoredGeometry = { sizeVoxels, spacingMm, affine, axes, flipped };
  return { ...reoriented(volume, axes, flipped), stored };
}

/**
 * Takes a volume on a canonical grid (for example a label map made from a volume that {@link toCanonical} gave) back to
 * the axes, directions and affine of the file: the exact inverse.
 * @param volume has `stored`, and the size that canonical volumes of that file have
 * @throws VERSEMI_VOLUME_INVALID when it does not
 */
export function toStored<T extends VoxelArray>(volume: Volume<T>): Volume<T> {
  const { stored, ...rest } = volume;
  const expected = stored?.axes.map((axis) => stored.sizeVoxels[axis]!);
  if (stored === undefined || expected!.join() !== volume.sizeVoxels.join()) {
    throw new VersemiError('VOLUME_INVALID', {
      ...(volume.file === undefined ? {} : { file: volume.file }),
      field: stored === undefined ? 'stored' : 'sizeVoxels',
      expected: stored === undefined ? 'the geometry of the file' : expected!.join(' x '),
      found: stored === undefined ? 'nothing' : volume.sizeVoxels.join(' x '),
      remedy: 'Give a volume on the grid that toCanonical made.',
    });
  }
  const axes = [0, 1, 2].map((axis) => stored.axes.indexOf(axis)) as unknown as Triple;
  const flipped = axes.map((axis) => stored.flipped[axis]!) as unknown as Flips;
  const { sizeVoxels, spacingMm, affine } = stored;
  return { ...rest, ...reoriented(volume, axes, flipped), sizeVoxels, spacingMm, affine };
}

/** Result axis i runs along axis `axes[i]` of the volume, reversed where `flipped[i]`. */
function reoriented<T extends VoxelArray>(volume: Volume<T>, axes: Triple, flipped: Flips): Volume<T> {
  const { data, sizeVoxels, affine } = volume;
  const unchanged = axes.every((axis, i) => axis === i && !flipped[i]);
  const result = affine.slice() as number[];
  for (let row = 0; row < 3; row++) {
    let origin = affine[4 * row + 3]!;
    for (const [i, axis] of axes.entries()) {
      const step = affine[4 * row + axis]!;
      if (flipped[i]) origin += step * (sizeVoxels[axis]! - 1);
      result[4 * row + i] = flipped[i] && step !== 0 ? -step : step;
    }
    result[4 * row + 3] = origin;
  }
  const turned: Affine = result;
  return {
    data: unchanged ? data : host().reorient(data, sizeVoxels, axes, flipped),
    sizeVoxels: axes.map((axis) => sizeVoxels[axis]!) as unknown as Triple,
    spacingMm: columnNorms(turned),
    affine: turned,
    ...(volume.file === undefined ? {} : { file: volume.file }),
  };
}
