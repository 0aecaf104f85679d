import { VersemiError } from '../errors.js';
import { toStored } from '../scans/canonical.js';
import type { Volume } from '../volume/volume.js';
import { voxelCount } from '../volume/volume.js';
import { type GridMap, host, type MaskRestorer, neededRows, type PackedMask, type Rows } from '../wasm/host.js';
import { inverseMapping, isIdentity, type ResampledGrid } from './grid.js';

/** The smallest float32 above a number. */
function nextAbove(value: number): number {
  const number = Float32Array.of(value);
  const bits = new Int32Array(number.buffer);
  if (number[0]! > value) return number[0]!;
  bits[0]! += number[0]! >= 0 ? 1 : -1;
  return number[0]!;
}

function checkCount(found: number, grid: ResampledGrid): void {
  const expected = voxelCount(grid.sizeVoxels);
  if (found === expected) return;
  throw new VersemiError('INTERNAL', {
    field: 'prediction on the preprocessed grid',
    expected: `${expected} voxels (${grid.sizeVoxels.join(' x ')})`,
    found: `${found}`,
  });
}

/** Puts a crop back in its place (background round it) and into the stored orientation. */
function placed(data: Uint8Array, { canonical, crop, stored }: ResampledGrid): Volume<Uint8Array> {
  const begin = [-crop.begin[0], -crop.begin[1], -crop.begin[2]] as const;
  const whole = host().crop(data, crop.sizeVoxels, begin, canonical.sizeVoxels, 0);
  const volume: Volume<Uint8Array> = { data: whole, ...canonical, ...(stored === undefined ? {} : { stored }) };
  return stored === undefined ? volume : (toStored(volume) as Volume<Uint8Array>);
}

/**
 * A label map of the preprocessed grid in the geometry in which the source was stored. Each label is interpolated
 * linearly and the largest wins; on an equal grid the labels come back exactly.
 * @param labelMap [z, y, x] of `grid.sizeVoxels`
 * @throws VERSEMI_INTERNAL when the size differs
 */
export function restoreLabels(labelMap: Uint8Array, grid: ResampledGrid): Volume<Uint8Array> {
  checkCount(labelMap.length, grid);
  const { crop, sizeVoxels } = grid;
  if (isIdentity(grid)) return placed(labelMap, grid);
  return placed(host().resampleLabels(labelMap, sizeVoxels, crop.sizeVoxels, inverseMapping(grid)), grid);
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
  cropRows: Rows = [0, grid.crop.sizeVoxels[1]],
): MaskRestorer {
  const { crop, sizeVoxels } = grid;
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
