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

/**
 * What the header of a NIfTI file says of its place, as stored. Other programs choose among these fields by rules of their
 * own, so that a file written for the volume lies on it everywhere only if all of them go back unchanged.
 */
export interface HeaderForms {
  /** Version of NIfTI, whose width of floats holds the numbers exactly. */
  readonly version: 1 | 2;
  /** xyzt_units. */
  readonly units: number;
  /** pixdim[0] (the handedness of the qform) to pixdim[3]. */
  readonly pixdim: readonly number[];
  readonly qformCode: number;
  readonly sformCode: number;
  /** quatern_b, _c, _d, qoffset_x, _y, _z. */
  readonly quaternion: readonly number[];
  /** srow_x, srow_y, srow_z. */
  readonly srow: readonly number[];
}

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
  readonly forms?: HeaderForms;
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
  /** Fields of the NIfTI header that `affine` was read from; what is written has them as long as it has that affine. */
  readonly forms?: HeaderForms;
  /** Set by `toCanonical` (scans/canonical.ts). */
  readonly stored?: StoredGeometry;
}

/** Number of voxels of a size. */
export function voxelCount(sizeVoxels: Triple): number {
  return sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2];
}

/** The voxel [x, y, z] at a place in memory order, x fastest. */
export function voxelAt(index: number, [sizeX, sizeY]: Triple): Triple {
  return [index % sizeX, Math.floor(index / sizeX) % sizeY, Math.floor(index / (sizeX * sizeY))];
}
