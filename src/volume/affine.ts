import type { Affine, Triple } from './volume.js';

/**
 * 4 x 4 affines, row-major, from voxel index (x, y, z, 1) to millimetres in RAS+ world space (x to the right, y to the
 * front, z to the head, as in NIfTI and nibabel).
 */

/** Affine with the given voxel edge lengths, no rotation, and the centre of the first voxel at `originMm`. */
export function scalingAffine(spacingMm: Triple, originMm: Triple = [0, 0, 0]): Affine {
  const [sx, sy, sz] = spacingMm;
  return [sx, 0, 0, originMm[0], 0, sy, 0, originMm[1], 0, 0, sz, originMm[2], 0, 0, 0, 1];
}

/** Matrix product a b: apply b first. */
export function multiplyAffines(a: Affine, b: Affine): Affine {
  const product = new Array<number>(16).fill(0);
  for (let row = 0; row < 4; row++)
    for (let column = 0; column < 4; column++)
      for (let k = 0; k < 4; k++) product[4 * row + column]! += a[4 * row + k]! * b[4 * k + column]!;
  return product;
}

/** Determinant of the 3 x 3 part: the voxel volume in mm^3, negative for a left-handed system. */
export function determinant(affine: Affine): number {
  const m = (row: number, column: number) => affine[4 * row + column]!;
  return (
    m(0, 0) * (m(1, 1) * m(2, 2) - m(1, 2) * m(2, 1)) -
    m(0, 1) * (m(1, 0) * m(2, 2) - m(1, 2) * m(2, 0)) +
    m(0, 2) * (m(1, 0) * m(2, 1) - m(1, 1) * m(2, 0))
  );
}

/** Beyond this, edges of voxels are no longer at right angles by rounding. */
const shearTolerance = 1e-6;

/** Volume of a voxel: the product of its edges, less where they are not at right angles (a tilted gantry). */
export function voxelVolumeMm3({ affine, spacingMm }: { readonly affine: Affine; readonly spacingMm: Triple }): number {
  const box = spacingMm[0] * spacingMm[1] * spacingMm[2];
  const volume = Math.abs(determinant(affine));
  return Math.abs(volume - box) > shearTolerance * box ? volume : box;
}

/** Inverse affine, from millimetres to voxel index; undefined when the 3 x 3 part is singular or not finite. */
export function invertAffine(affine: Affine): Affine | undefined {
  const at = (row: number, column: number) => affine[4 * row + column]!;
  const cofactor = (row: number, column: number) => {
    const r1 = (row + 1) % 3;
    const r2 = (row + 2) % 3;
    const c1 = (column + 1) % 3;
    const c2 = (column + 2) % 3;
    return at(r1, c1) * at(r2, c2) - at(r1, c2) * at(r2, c1);
  };
  // Relative to the column lengths, so that micrometre spacings are not mistaken for a singular matrix.
  const [lx, ly, lz] = columnNorms(affine);
  const det = determinant(affine);
  if (!affine.every(Number.isFinite) || !(Math.abs(det) > 1e-6 * lx * ly * lz)) return undefined;
  const inverse = new Array<number>(16).fill(0);
  for (let row = 0; row < 3; row++) {
    for (let column = 0; column < 3; column++) inverse[4 * row + column] = cofactor(column, row) / det;
    inverse[4 * row + 3] = -(
      inverse[4 * row]! * at(0, 3) +
      inverse[4 * row + 1]! * at(1, 3) +
      inverse[4 * row + 2]! * at(2, 3)
    );
  }
  inverse[15] = 1;
  return inverse;
}

/** Voxel edge lengths in millimetres: lengths of the first three columns. */
export function columnNorms(affine: Affine): Triple {
  const norm = (column: number) => Math.hypot(affine[column]!, affine[4 + column]!, affine[8 + column]!);
  return [norm(0), norm(1), norm(2)];
}

/** World position in millimetres of a voxel index (may be fractional). */
export function applyAffine(affine: Affine, voxel: Triple): Triple {
  const row = (r: number) =>
    affine[4 * r]! * voxel[0] + affine[4 * r + 1]! * voxel[1] + affine[4 * r + 2]! * voxel[2] + affine[4 * r + 3]!;
  return [row(0), row(1), row(2)];
}

/**
 * Rotation (or rotoreflection) nearest to the 3 x 3 part: the orthogonal factor of its polar decomposition after the
 * columns have been scaled to length 1. Higham's Newton iteration X <- (X + X^-T) / 2 (Higham, "Computing the polar
 * decomposition - with applications", SIAM J. Sci. Stat. Comput. 7, 1986). Row-major 3 x 3.
 * @param affine must be invertible
 */
export function nearestRotation(affine: Affine): readonly number[] {
  const norms = columnNorms(affine);
  let x = [0, 1, 2].flatMap((row) => norms.map((norm, column) => affine[4 * row + column]! / norm));
  for (let iteration = 0; iteration < 60; iteration++) {
    const inverse = invertAffine([x[0]!, x[1]!, x[2]!, 0, x[3]!, x[4]!, x[5]!, 0, x[6]!, x[7]!, x[8]!, 0, 0, 0, 0, 1]);
    if (inverse === undefined) break;
    const next = x.map((value, i) => (value + inverse[4 * (i % 3) + Math.floor(i / 3)]!) / 2);
    const change = Math.max(...next.map((value, i) => Math.abs(value - x[i]!)));
    x = next;
    if (change < 1e-14) break;
  }
  return x;
}

/** For each voxel axis: the world axis (0 x, 1 y, 2 z) that it runs along most closely, and its sign. */
export interface AxisDirections {
  readonly world: Triple;
  readonly sign: readonly [1 | -1, 1 | -1, 1 | -1];
}

/**
 * Closest world axes of the voxel axes: of the components of the nearest rotation, the largest pairs its voxel axis with
 * its world axis, then the largest among the axes that are left, and so on. The pairing does not depend on the order in
 * which the voxel axes are stored, so that canonical volumes stay as they are. It is that of nibabel's `io_orientation`
 * wherever no two voxel axes lie closest to the same world axis.
 * @param affine must be invertible
 */
export function closestAxes(affine: Affine): AxisDirections {
  const rotation = nearestRotation(affine);
  const world: [number, number, number] = [-1, -1, -1];
  const sign: [1 | -1, 1 | -1, 1 | -1] = [1, 1, 1];
  const order = [0, 1, 2, 3, 4, 5, 6, 7, 8].sort((a, b) => Math.abs(rotation[b]!) - Math.abs(rotation[a]!) || a - b);
  for (const i of order) {
    const [row, column] = [Math.floor(i / 3), i % 3];
    if (world[column]! >= 0 || world.includes(row)) continue;
    world[column] = row;
    sign[column] = rotation[i]! < 0 ? -1 : 1;
  }
  return { world, sign };
}

/** Letters of the directions in which the voxel indices grow, e.g. 'RAS' or 'LPS' (nibabel's `aff2axcodes`). */
export function orientationCode(affine: Affine): string {
  const { world, sign } = closestAxes(affine);
  return world.map((axis, i) => (sign[i]! > 0 ? 'RAS' : 'LPI')[axis]!).join('');
}
