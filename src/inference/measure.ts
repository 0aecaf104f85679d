import { asScan, type Scan } from '../scans/scan.js';
import type { Volume } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import type { TaskPrediction } from './predict.js';

/** Intensities of the voxels of a mask, in the units of the scan after the scale of its file. */
export interface MaskIntensity {
  readonly mean: number;
  /** Of the population: divided by the number of voxels. */
  readonly standardDeviation: number;
  readonly min: number;
  readonly max: number;
}

/** Sums of one mask, about the first of its values: sums of values far from zero would lose digits. */
interface Sums {
  count: number;
  about: number;
  sum: number;
  squares: number;
  min: number;
  max: number;
}

/**
 * Intensities inside of masks, in double precision and slice by slice.
 * @param image that the masks were predicted from, [z, y, x]
 * @param predictions of that image
 * @returns one per mask, in their order; null for a mask without a voxel
 */
export function maskIntensities(
  image: Volume<Float32Array> | Scan,
  predictions: readonly Pick<TaskPrediction, 'mask'>[],
): (MaskIntensity | null)[] {
  const { sizeVoxels, slices, slope = 1, intercept = 0 } = asScan(image);
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const inside = new Uint8Array(sizeX * sizeY);
  const all = predictions.map((): Sums => ({ count: 0, about: 0, sum: 0, squares: 0, min: Infinity, max: -Infinity }));
  for (let z = 0; z < sizeZ; z++) {
    const voxels = slices(z, z + 1);
    for (const [i, { mask }] of predictions.entries()) {
      host().unpackMask(mask.packed, { begin: [0, 0, z], end: [sizeX, sizeY, z + 1] }, inside);
      const sums = all[i]!;
      for (let at = inside.indexOf(1); at >= 0; at = inside.indexOf(1, at + 1))
        add(sums, Number(voxels[at]!) * slope + intercept);
    }
  }
  return all.map(({ count, about, sum, squares, min, max }) => {
    if (count === 0) return null;
    const offset = sum / count;
    const variance = Math.max(0, squares / count - offset * offset);
    return { mean: about + offset, standardDeviation: Math.sqrt(variance), min, max };
  });
}

function add(sums: Sums, value: number): void {
  if (sums.count === 0) sums.about = value;
  const offset = value - sums.about;
  sums.count++;
  sums.sum += offset;
  sums.squares += offset * offset;
  if (value < sums.min) sums.min = value;
  if (value > sums.max) sums.max = value;
}
