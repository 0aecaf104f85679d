import type { Triple } from '../volume/volume.js';

/** How windows are laid over a volume and averaged. */
export interface WindowProtocol {
  /** `default`: stride = (1 - overlap) * patch, windows spread evenly; `versemi`: the paper's stride 16/16/4 voxels (x/y/z). */
  readonly protocol: 'default' | 'versemi';
  /** Share of a window that the next one covers again, [0, 1); only for `default`. */
  readonly overlap: number;
  /** Weights of a window's voxels in the average; `versemi` always weighs uniformly. */
  readonly weighting: 'gaussian' | 'uniform';
}

/** Stride of the released evaluation code, voxels along x, y, z (METHOD: inference and metrics). */
const versemiStrideVoxels: Triple = [16, 16, 4];

/** The windows along one axis, unlisted: an axis may be promised to have billions. */
export interface AxisWindows {
  readonly count: number;
  /** First voxel of a window; it never falls from one to the next. */
  begin(index: number): number;
}

function windowsAlong(size: number, patch: number, stride: number, even: boolean): AxisWindows {
  if (size <= patch) return { count: 1, begin: () => 0 };
  const steps = Math.ceil((size - patch) / stride);
  const begin = (i: number) => (even ? Math.round((i * (size - patch)) / steps) : Math.min(i * stride, size - patch));
  return { count: steps + 1, begin };
}

/** First voxels of some windows of an axis; default: all. */
export function beginsOf({ count, begin }: AxisWindows, from = 0, to = count): number[] {
  return Array.from({ length: to - from }, (_, i) => begin(from + i));
}

/**
 * First voxels of the windows along one axis. The first window begins at 0 and the last ends at the last voxel.
 * `default` takes the smallest number of windows whose stride is not above the wanted one and spreads them evenly;
 * `versemi` steps by the stride and moves the last window back to the border.
 */
export function windowBegins(size: number, patch: number, stride: number, even: boolean): number[] {
  return beginsOf(windowsAlong(size, patch, stride, even));
}

/** Largest step from one window to the next along x, y, z, voxels. */
export function strideVoxels(
  patchSizeVoxels: Triple,
  { protocol, overlap }: Pick<WindowProtocol, 'protocol' | 'overlap'>,
): Triple {
  const along = (patch: number, axis: number) =>
    // A patch below the paper's stride is stepped by its own size: there must be no gap between windows.
    protocol === 'versemi'
      ? Math.min(versemiStrideVoxels[axis]!, patch)
      : Math.max(1, Math.floor(patch * (1 - overlap)));
  return patchSizeVoxels.map(along) as unknown as Triple;
}

/** Windows along x, y, z; all windows are their product. The volume is at least as large as the patch. */
export function axisWindows(
  sizeVoxels: Triple,
  patchSizeVoxels: Triple,
  { protocol, overlap }: WindowProtocol,
): readonly [AxisWindows, AxisWindows, AxisWindows] {
  const strides = strideVoxels(patchSizeVoxels, { protocol, overlap });
  const along = (axis: 0 | 1 | 2) =>
    windowsAlong(sizeVoxels[axis], patchSizeVoxels[axis], strides[axis], protocol === 'default');
  return [along(0), along(1), along(2)];
}

/** First voxels of the windows of {@link axisWindows}. */
export function planWindows(
  sizeVoxels: Triple,
  patchSizeVoxels: Triple,
  protocol: WindowProtocol,
): readonly [number[], number[], number[]] {
  const [x, y, z] = axisWindows(sizeVoxels, patchSizeVoxels, protocol);
  return [beginsOf(x), beginsOf(y), beginsOf(z)];
}

/**
 * Weights of a window's voxels, [z, y, x]: a Gaussian with a standard deviation of an eighth of the patch (as nnU-Net has
 * it), largest weight 1, never below 1e-3 so that voxels that only one window covers keep their precision.
 */
export function windowWeights(patchSizeVoxels: Triple, { protocol, weighting }: WindowProtocol): Float32Array {
  const [sizeX, sizeY, sizeZ] = patchSizeVoxels;
  const weights = new Float32Array(sizeX * sizeY * sizeZ).fill(1);
  if (protocol === 'versemi' || weighting === 'uniform') return weights;
  const [alongX, alongY, alongZ] = patchSizeVoxels.map((size) =>
    Float64Array.from({ length: size }, (_, i) => Math.exp(-0.5 * ((i - (size - 1) / 2) / (size / 8)) ** 2)),
  ) as [Float64Array, Float64Array, Float64Array];
  for (let z = 0, i = 0; z < sizeZ; z++) {
    for (let y = 0; y < sizeY; y++) {
      const yz = alongY[y]! * alongZ[z]!;
      for (let x = 0; x < sizeX; x++, i++) weights[i] = Math.max(1e-3, alongX[x]! * yz);
    }
  }
  return weights;
}
