import { VersemiError } from '../errors.js';
import { canonicalGeometry, type Flips, turnedGeometry, wayBack } from '../volume/orientation.js';
import type { Triple, Volume, VoxelArray } from '../volume/volume.js';
import { host } from '../wasm/host.js';

/**
 * The same volume in canonical orientation (`canonicalGeometry`). Nothing is resampled. The voxels are shared with
 * `volume` when it is canonical already.
 * @returns a volume with `stored` set, for {@link toStored}
 * @throws VERSEMI_VOLUME_INVALID when the affine is singular
 */
export function toCanonical<T extends VoxelArray>(volume: Volume<T>): Volume<T> {
  const { axes, flipped } = canonicalGeometry(volume).stored;
  return turnedVolume(volume, axes, flipped);
}

/**
 * Takes a volume on a canonical grid (for example a label map made from a volume that {@link toCanonical} gave) back to
 * the axes, directions and affine of the file: the exact inverse.
 * @param volume has `stored`, and the size that canonical volumes of that file have
 * @throws VERSEMI_VOLUME_INVALID when `stored` is absent or the size is another one
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
  const { axes, flipped } = wayBack(stored);
  const { sizeVoxels, spacingMm, affine, forms } = stored;
  const place = { sizeVoxels, spacingMm, affine, ...(forms === undefined ? {} : { forms }) };
  return { ...rest, data: turned(volume, axes, flipped), ...place };
}

/**
 * The same volume with its voxels in another order ({@link turnedGeometry}).
 * @returns a volume with `stored` set, for {@link toStored}
 */
export function turnedVolume<T extends VoxelArray>(volume: Volume<T>, axes: Triple, flipped: Flips): Volume<T> {
  return { ...turnedGeometry(volume, axes, flipped), data: turned(volume, axes, flipped) };
}

function turned<T extends VoxelArray>({ data, sizeVoxels }: Volume<T>, axes: Triple, flipped: Flips): T {
  const unchanged = axes.every((axis, i) => axis === i && !flipped[i]);
  return unchanged ? data : host().reorient(data, sizeVoxels, axes, flipped);
}
