/** Below this standard deviation a Gaussian changes a voxel by less than a thousandth of its neighbours. */
const negligibleSigma = 0.25;

/** One half of a normalised Gaussian kernel, the middle first, cut at three standard deviations. */
export function gaussianKernel(sigmaVoxels: number): Float32Array {
  if (!(sigmaVoxels > negligibleSigma)) return Float32Array.of(1);
  const radius = Math.ceil(3 * sigmaVoxels);
  const half = Array.from({ length: radius + 1 }, (_, i) => Math.exp(-0.5 * (i / sigmaVoxels) ** 2));
  const sum = half.reduce((total, weight, i) => total + (i === 0 ? weight : 2 * weight), 0);
  return Float32Array.from(half, (weight) => weight / sum);
}
