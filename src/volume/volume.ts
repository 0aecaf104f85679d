/** Three numbers along the voxel axes x, y, z (x fastest in memory). */
export type Triple = readonly [number, number, number];

/** Voxel storage. 64-bit integers are converted to Float64Array by the readers (exact up to 2^53, else an error). */
export type VoxelArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** 4 x 4 matrix, row-major, from voxel index (x, y, z, 1) to millimetres in RAS+ world space. */
export type Affine = readonly number[];

/** How a volume was stored, so that a result can be written back to the source's own geometry. */
export interface StoredGeometry {
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  readonly affine: Affine;
  /**
   * Canonical axis i runs along stored axis `axes[i]`, reversed where `flipped[i]`.
   * Identity: axes [0, 1, 2], flipped [false, false, false].
   */
  readonly axes: Triple;
  readonly flipped: readonly [boolean, boolean, boolean];
}

/**
 * A 3-D image or label map on the host. `data[x + sizeX * (y + sizeY * z)]`, so that a tensor over the same memory has
 * the shape [z, y, x].
 */
export interface Volume<T extends VoxelArray = VoxelArray> {
  readonly data: T;
  readonly sizeVoxels: Triple;
  /** Voxel edge lengths in millimetres: the column norms of `affine`. */
  readonly spacingMm: Triple;
  readonly affine: Affine;
  /** File the volume was read from, for error sentences and reports. */
  readonly file?: string;
  /** Set by `toCanonical` (scans/canonical.ts). */
  readonly stored?: StoredGeometry;
}

/** Number of voxels of a size. */
export function voxelCount(sizeVoxels: Triple): number {
  return sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2];
}
