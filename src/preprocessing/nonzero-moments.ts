import type { Statistics } from '../wasm/host.js';

type Moments = Pick<Statistics, 'mean' | 'standardDeviation'>;

/** Mean and standard deviation of the voxels that are not 0, of those of all `count` voxels; null where `zeros` are all of them. */
export function nonzeroMoments({ mean, standardDeviation }: Moments, count: number, zeros: number): Moments | null {
  const inside = count - zeros;
  if (inside === 0) return null;
  // Zeros add nothing to the sums: mean and variance of the others follow from those of all.
  const insideMean = (mean * count) / inside;
  const insideSquares = ((standardDeviation ** 2 + mean ** 2) * count) / inside;
  return { mean: insideMean, standardDeviation: Math.sqrt(Math.max(0, insideSquares - insideMean ** 2)) };
}
