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
 * Takes probabilities on the preprocessed grid back to the canonical grid of the source, slice by slice, as masks.
 * @param masks of the canonical size, one per task; the crop's rows `cropRows` are written
 * @param threshold a probability of exactly so much is background
 */
export function restorer(
  grid: ResampledGrid,
  masks: readonly PackedMask[],
  threshold: number,
  cropRows: Rows = [0, boxSize(grid.crop)[1]],
): MaskRestorer {
  const { sizeVoxels } = grid;
  const crop = { begin: grid.crop.begin, sizeVoxels: boxSize(grid.crop) };
  const map = mapBack(grid);
  const rows = neededRows(map, sizeVoxels[1], cropRows);
  return host().maskRestorer({ sizeVoxels, rows, crop, cropRows, map, least: nextAbove(threshold), masks });
}

/** Rows of the preprocessed grid that some rows of the crop are interpolated from. */
export function rowsToRestore(grid: ResampledGrid, cropRows: Rows): Rows {
  return neededRows(mapBack(grid), grid.sizeVoxels[1], cropRows);
}

function mapBack(grid: ResampledGrid): GridMap | null {
  return isIdentity(grid) ? null : inverseMapping(grid);
}
