import { VersemiError } from '../errors.js';
import { closestAxes, columnNorms, invertAffine } from './affine.js';
import type { StoredGeometry, Triple, Volume } from './volume.js';

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
  const { affine, file } = geometry;
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
  return turnedGeometry(geometry, axes, flipped);
}

/** Axes and directions that take a canonical volume back to how it was stored. */
export function wayBack({ axes, flipped }: StoredGeometry): { readonly axes: Triple; readonly flipped: Flips } {
  const inverse = [0, 1, 2].map((axis) => axes.indexOf(axis)) as unknown as Triple;
  return { axes: inverse, flipped: inverse.map((axis) => flipped[axis]!) as unknown as Flips };
}

/**
 * The geometry of a volume whose voxels are put into another order: axis i of the result runs along axis `axes[i]` of the
 * volume, reversed where `flipped[i]`.
 * @returns with `stored` set
 */
export function turnedGeometry(
  { sizeVoxels, spacingMm, affine, file, forms }: Geometry,
  axes: Triple,
  flipped: Flips,
): Geometry & { readonly stored: StoredGeometry } {
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
    stored: {
      ...{ sizeVoxels, spacingMm, affine, axes, flipped },
      ...(forms === undefined ? {} : { forms }),
    },
  };
}
