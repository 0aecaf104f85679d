import { VersemiError } from '../errors.js';
import { host } from '../wasm/host.js';
import { closestAxes, columnNorms, invertAffine } from './affine.js';
import type { StoredGeometry, Triple, Volume, VoxelArray } from './volume.js';

export type Flips = readonly [boolean, boolean, boolean];

/** Where a volume lies, without its voxels. */
export type Geometry = Omit<Volume, 'data'>;

/**
 * The geometry that a volume has once its voxel axes run along the world axes that they are closest to, in the order and
 * direction RAS+: x to the right, y to the front, z to the head. An oblique volume stays oblique.
 * @returns with `stored` set
 * @throws VERSEMI_VOLUME_INVALID when the affine is singular
 */
export function canonicalGeometry(geometry: Geometry): Geometry & { readonly stored: StoredGeometry } {
  const { sizeVoxels, spacingMm, affine, file } = geometry;
  if (invertAffine(affine) === undefined) {
    throw new VersemiError('VOLUME_INVALID', {
      ...(file === undefined ? {} : { file }),
      field: 'affine',
      expected: 'an invertible matrix from voxels to millimetres',
      found: `[${affine.join(', ')}]`,
    });
  }
  const { world, sign } = closestAxes(affine);
  const axes = [0, 1, 2].map((axis) => world.indexOf(axis)) as unknown as Triple;
  const flipped = axes.map((axis) => sign[axis]! < 0) as unknown as Flips;
  const stored: StoredGeometry = { sizeVoxels, spacingMm, affine, axes, flipped };
  return { ...turnedGeometry(geometry, axes, flipped), stored };
}

/**
 * The same volume in canonical orientation ({@link canonicalGeometry}). Nothing is resampled. The voxels are shared with
 * `volume` when it is canonical already.
 * @returns a volume with `stored` set, for {@link toStored}
 * @throws VERSEMI_VOLUME_INVALID when the affine is singular
 */
export function toCanonical<T extends VoxelArray>(volume: Volume<T>): Volume<T> {
  const geometry = canonicalGeometry(volume);
  return { ...geometry, data: turned(volume, geometry.stored.axes, geometry.stored.flipped) };
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
  const { axes, flipped } = wayBack(stored);
  const { sizeVoxels, spacingMm, affine } = stored;
  return { ...rest, data: turned(volume, axes, flipped), sizeVoxels, spacingMm, affine };
}

/** Axes and directions that take a canonical volume back to how it was stored. */
export function wayBack({ axes, flipped }: StoredGeometry): { readonly axes: Triple; readonly flipped: Flips } {
  const inverse = [0, 1, 2].map((axis) => axes.indexOf(axis)) as unknown as Triple;
  return { axes: inverse, flipped: inverse.map((axis) => flipped[axis]!) as unknown as Flips };
}

/** Result axis i runs along axis `axes[i]` of the volume, reversed where `flipped[i]`. */
function turnedGeometry({ sizeVoxels, affine, file }: Geometry, axes: Triple, flipped: Flips): Geometry {
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
  return {
    sizeVoxels: axes.map((axis) => sizeVoxels[axis]!) as unknown as Triple,
    spacingMm: columnNorms(result),
    affine: result,
    ...(file === undefined ? {} : { file }),
  };
}

function turned<T extends VoxelArray>({ data, sizeVoxels }: Volume<T>, axes: Triple, flipped: Flips): T {
  const unchanged = axes.every((axis, i) => axis === i && !flipped[i]);
  return unchanged ? data : host().reorient(data, sizeVoxels, axes, flipped);
}
