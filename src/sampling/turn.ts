import type { Triple } from '../volume/volume.js';
import type { Matrix3 } from '../wasm/host.js';
import type { PatchAugmentation } from './recipe.js';

/** Rotation about one axis by an angle in radians, counted from the next axis to the one after it; row by row. */
function rotation(axis: 0 | 1 | 2, angle: number): Matrix3 {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  if (axis === 0) return [1, 0, 0, 0, c, -s, 0, s, c];
  return axis === 1 ? [c, 0, s, 0, 1, 0, -s, 0, c] : [c, -s, 0, s, c, 0, 0, 0, 1];
}

function product(a: Matrix3, b: Matrix3): Matrix3 {
  const entry = (_: unknown, i: number) => {
    const [row, column] = [Math.floor(i / 3) * 3, i % 3];
    return a[row]! * b[column]! + a[row + 1]! * b[3 + column]! + a[row + 2]! * b[6 + column]!;
  };
  return Array.from({ length: 9 }, entry) as unknown as Matrix3;
}

/**
 * Where a voxel of a rotated and magnified patch is read: voxels from the middle of the patch -> voxels from the same place
 * in the volume. The rotation is one of millimetres, so that an organ keeps its shape whatever the voxels' shape:
 * spacing^-1 (Rz Ry Rx) spacing / magnification. Undefined when nothing is to be done.
 */
export function warpMatrix(
  { rotationDegrees, magnification }: Pick<PatchAugmentation, 'rotationDegrees' | 'magnification'>,
  spacingMm: Triple,
): Matrix3 | undefined {
  if (magnification === 1 && rotationDegrees.every((angle) => angle === 0)) return undefined;
  const about = (axis: 0 | 1 | 2) => rotation(axis, (rotationDegrees[axis] * Math.PI) / 180);
  const turned = product(about(2), product(about(1), about(0)));
  const scaled = turned.map((r, i) => (r * spacingMm[i % 3]!) / (spacingMm[Math.floor(i / 3)]! * magnification));
  return scaled as unknown as Matrix3;
}

/** How quarter turns in the x-y plane and flips permute and mirror the axes of a patch. */
export function turned({ quarterTurns, flip }: Pick<PatchAugmentation, 'quarterTurns' | 'flip'>): {
  readonly axes: readonly [0 | 1 | 2, 0 | 1 | 2, 0 | 1 | 2];
  readonly flipped: readonly [boolean, boolean, boolean];
} {
  const rotated = [quarterTurns === 1 || quarterTurns === 2, quarterTurns === 2 || quarterTurns === 3, false] as const;
  return {
    axes: quarterTurns % 2 === 0 ? [0, 1, 2] : [1, 0, 2],
    flipped: [rotated[0] !== flip[0], rotated[1] !== flip[1], flip[2]],
  };
}
