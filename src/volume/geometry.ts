import { VersemiError } from '../errors.js';
import { applyAffine, orientationCode } from './affine.js';
import type { Geometry } from './orientation.js';
import type { Triple } from './volume.js';

/** Relative difference of voxel edge lengths that still counts as equal: headers round them differently. */
const spacingTolerance = 1e-3;
/** Distance between the same corner of two volumes, in voxel edges, that still counts as equal. */
const positionTolerance = 0.05;

/**
 * Checks that two volumes lie voxel by voxel in the same place: equal size, equal spacing, and all eight corners within
 * a twentieth of a voxel.
 * @param names what the volumes are called where they have no file
 * @throws VERSEMI_GEOMETRY_MISMATCH naming both files, the field and both values
 */
export function assertSameGeometry(
  image: Geometry,
  label: Geometry,
  names: { readonly image?: string; readonly label?: string } = {},
): void {
  const difference = geometryDifference(image, label);
  if (difference === undefined) return;
  throw new VersemiError('GEOMETRY_MISMATCH', {
    file: `${image.file ?? names.image ?? 'image'} and ${label.file ?? names.label ?? 'label'}`,
    ...difference,
    remedy:
      difference.field === 'sizeVoxels'
        ? 'Resample the label to the grid of the image, or pair the image with its own label.'
        : 'If both were drawn on the same voxels, copy the header of the image to the label; else resample the label.',
  });
}

function geometryDifference(
  image: Geometry,
  label: Geometry,
): { field: string; expected: string; found: string } | undefined {
  const differs = (field: string, expected: string, found: string) => ({
    field,
    expected: `${expected} (image)`,
    found: `${found} (label)`,
  });
  const size = (volume: Geometry) => volume.sizeVoxels.join(' x ');
  if (size(image) !== size(label)) return differs('sizeVoxels', size(image), size(label));
  const spacing = (volume: Geometry) =>
    `${volume.spacingMm.map((length) => Number(length.toPrecision(6))).join(' x ')} mm`;
  const sameSpacing = image.spacingMm.every(
    (length, i) => Math.abs(length - label.spacingMm[i]!) <= spacingTolerance * length,
  );
  if (!sameSpacing) return differs('spacingMm', spacing(image), spacing(label));
  const [imageCode, labelCode] = [orientationCode(image.affine), orientationCode(label.affine)];
  if (imageCode !== labelCode) return differs('orientation', imageCode, labelCode);
  const limit = positionTolerance * Math.min(...image.spacingMm);
  for (let corner = 0; corner < 8; corner++) {
    const voxel = image.sizeVoxels.map((length, axis) => ((corner >> axis) & 1) * (length - 1)) as unknown as Triple;
    const a = applyAffine(image.affine, voxel);
    const b = applyAffine(label.affine, voxel);
    if (Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) > limit) {
      const at = (position: Triple) => `(${position.map((x) => x.toFixed(2)).join(', ')}) mm`;
      return differs(`affine, position of voxel [${voxel.join(', ')}]`, at(a), at(b));
    }
  }
  return undefined;
}
