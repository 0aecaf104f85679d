import { VersemiError } from '../errors.js';
import { applyAffine, orientationCode } from './affine.js';
import { canonicalGeometry, type Flips, type Geometry, turnedGeometry } from './orientation.js';
import type { Triple } from './volume.js';

/** Distance between the same corner of two volumes that still counts as equal, as a share of the shortest voxel edge. */
const positionTolerance = 0.05;
/** Relative difference of voxel edge lengths that is named as the reason of a mismatch. */
const spacingTolerance = 1e-3;

/** Axes and directions in which the voxels of a volume lie on those of another. */
export interface Turn {
  readonly axes: Triple;
  readonly flipped: Flips;
}

/**
 * How the voxels of a label map are put into the order of those of its image. Only positions decide: of the 48 orders of
 * axes and directions, the one in which the outer corners of both volumes are nearest, within a twentieth of the shortest
 * voxel edge. Names of directions do not, as they change at 45 degrees.
 * @param image in any orientation
 * @param label as stored
 * @param names what the volumes are called where they have no file
 * @throws VERSEMI_GEOMETRY_MISMATCH naming both files, the field and both values
 */
export function turnOnto(
  image: Geometry,
  label: Geometry,
  names: { readonly image?: string; readonly label?: string } = {},
): Turn {
  const limitMm = positionTolerance * Math.min(...image.spacingMm);
  let nearest: Turn | undefined;
  let nearestMm = limitMm;
  for (const turn of turns) {
    const distanceMm = furthestCornerMm(image, turnedGeometry(label, turn.axes, turn.flipped));
    if (distanceMm <= nearestMm) [nearest, nearestMm] = [turn, distanceMm];
  }
  if (nearest !== undefined) return nearest;
  throw new VersemiError('GEOMETRY_MISMATCH', {
    file: `${image.file ?? names.image ?? 'image'} and ${label.file ?? names.label ?? 'label'}`,
    ...difference(image, label, limitMm),
  });
}

/** All orders of three axes, in all directions. */
const turns: readonly Turn[] = (
  [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ] as const
).flatMap((axes) =>
  [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => ({
    axes,
    flipped: [(bits & 1) !== 0, (bits & 2) !== 0, (bits & 4) !== 0] as const,
  })),
);

/** Outer corners, so that the thickness of a single slice counts too; infinite when the sizes differ. */
function furthestCornerMm(a: Geometry, b: Geometry): number {
  if (a.sizeVoxels.some((size, axis) => size !== b.sizeVoxels[axis])) return Number.POSITIVE_INFINITY;
  return Math.max(...corners(a).map((voxel) => distanceMm(applyAffine(a.affine, voxel), applyAffine(b.affine, voxel))));
}

function corners({ sizeVoxels }: Geometry): Triple[] {
  return [0, 1, 2, 3, 4, 5, 6, 7].map(
    (corner) => sizeVoxels.map((size, axis) => ((corner >> axis) & 1) * size - 0.5) as unknown as Triple,
  );
}

function distanceMm(a: Triple, b: Triple): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

/** What differs once both are in canonical orientation, and what can be done about it. */
function difference(image: Geometry, label: Geometry, limitMm: number) {
  const [a, b] = [canonicalGeometry(image), canonicalGeometry(label)];
  const [imageStored, labelStored] = [image.stored ?? image, label];
  const sameOrder = storedAlike(imageStored, labelStored);
  const size = ({ sizeVoxels }: Pick<Geometry, 'sizeVoxels'>) => sizeVoxels.join(' x ');
  const spacing = ({ spacingMm }: Pick<Geometry, 'spacingMm'>) =>
    `${spacingMm.map((length) => Number(length.toPrecision(6))).join(' x ')} mm`;
  if (size(a) !== size(b)) {
    return {
      field: 'sizeVoxels',
      expected: `${size(imageStored)} (image)`,
      found: `${size(labelStored)} (label)`,
      remedy: 'Resample the label to the grid of the image, or pair the image with its own label.',
    };
  }
  const remedy = sameOrder
    ? 'If both were drawn on the same voxels, copy the header of the image to the label; else resample the label.'
    : 'Resample the label to the grid of the image with nearest neighbours. Its voxels are stored in another order than those of the image, so that copying the header of the image to it would mirror or turn it.';
  if (a.spacingMm.some((length, i) => Math.abs(length - b.spacingMm[i]!) > spacingTolerance * length))
    return { field: 'spacingMm', expected: `${spacing(a)} (image)`, found: `${spacing(b)} (label)`, remedy };
  const centres = corners(a).map((corner) => corner.map((x) => Math.max(0, Math.floor(x))) as unknown as Triple);
  const apart = (voxel: Triple) => distanceMm(applyAffine(a.affine, voxel), applyAffine(b.affine, voxel));
  const voxel = centres.find((one) => apart(one) > limitMm) ?? centres.at(-1)!;
  const at = (position: Triple) => `(${position.map((x) => x.toFixed(2)).join(', ')}) mm`;
  const code = ({ affine }: Pick<Geometry, 'affine'>) => orientationCode(affine);
  return {
    field: `affine, position of voxel [${voxel.join(', ')}]`,
    expected: `${at(applyAffine(a.affine, voxel))} (image, stored as ${code(imageStored)}), to within ${Number(limitMm.toPrecision(2))} mm`,
    found: `${at(applyAffine(b.affine, voxel))} (label, stored as ${code(labelStored)})`,
    remedy,
  };
}

/** True when the stored voxel axes have equal lengths and run in the same directions, give or take a tilt. */
function storedAlike(a: Pick<Geometry, 'sizeVoxels' | 'affine'>, b: Pick<Geometry, 'sizeVoxels' | 'affine'>): boolean {
  return [0, 1, 2].every((axis) => {
    const column = ({ affine }: Pick<Geometry, 'affine'>) => [affine[axis]!, affine[4 + axis]!, affine[8 + axis]!];
    const [u, v] = [column(a), column(b)];
    const cosine = u.reduce((sum, x, i) => sum + x * v[i]!, 0) / (Math.hypot(...u) * Math.hypot(...v));
    return a.sizeVoxels[axis] === b.sizeVoxels[axis] && cosine > 0.9;
  });
}
