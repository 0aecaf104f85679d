import { type GridMap, host, type MaskRestorer, neededRows, type PackedMask, type Rows } from '../wasm/host.js';
import { boxSize, inverseMapping, isIdentity, type ResampledGrid } from './grid.js';

/** The smallest float32 above a number. */
function nextAbove(value: number): number {
  const number = Float32Array.of(value);
  const bits = new Int32Array(number.buffer);
  if (number[0]! > value) return number[0]!;
  bits[0]! += number[0]! >= 0 ? 1 : -1;
  return number[0]!;
}

/**
 * Takes probabilities on preprocessed grids back to the canonical grid of the source, slice by slice, as masks: of several grids, which
 * are of several models, the mean of what they hold at each voxel.
 * @param grids of one source and one crop
 * @param masks of the canonical size, one per task; the crop's rows `cropRows` are written
 * @param threshold a probability of exactly so much is background
 */
export function restorer(
  grids: readonly ResampledGrid[],
  masks: readonly PackedMask[],
  threshold: number,
  cropRows: Rows = [0, boxSize(grids[0]!.crop)[1]],
): MaskRestorer {
  const { crop: box } = grids[0]!;
  const crop = { begin: box.begin, sizeVoxels: boxSize(box) };
  const given = grids.map((grid) => {
    const map = mapBack(grid);
    return { sizeVoxels: grid.sizeVoxels, rows: neededRows(map, grid.sizeVoxels[1], cropRows), map };
  });
  // The sum is compared, so that no mean is rounded: float32 sums of one model twice, three times, ... fall on the side of the model alone.
  return host().maskRestorer({ grids: given, crop, cropRows, least: nextAbove(threshold * grids.length), masks });
}

/** Rows of the preprocessed grid that some rows of the crop are interpolated from. */
export function rowsToRestore(grid: ResampledGrid, cropRows: Rows): Rows {
  return neededRows(mapBack(grid), grid.sizeVoxels[1], cropRows);
}

function mapBack(grid: ResampledGrid): GridMap | null {
  return isIdentity(grid) ? null : inverseMapping(grid);
}
