import { VersemiError } from '../errors.js';
import type { Scan } from '../scans/scan.js';
import { type Volume, voxelAt } from '../volume/volume.js';
import { host } from '../wasm/host.js';

/**
 * @param volume of which the scan was made, in stored orientation
 * @throws VERSEMI_VOXELS_NOT_FINITE naming the first voxel
 */
export function checkFinite(scan: Scan, { data, sizeVoxels }: Volume, file: string): void {
  const { slope = 1, intercept = 0 } = scan;
  const whole = !(data instanceof Float32Array || data instanceof Float64Array);
  if (whole && slope === 1 && intercept === 0) return;
  const slices = host().slices(scan);
  const { nonFinite } = slices.statistics();
  slices.dispose();
  if (nonFinite === 0) return;
  const real = (voxel: number) => Math.fround(voxel * slope + intercept);
  const first = data.findIndex((voxel: number) => !Number.isFinite(real(voxel)));
  throw new VersemiError('VOXELS_NOT_FINITE', {
    file,
    expected: 'finite numbers',
    found: `${nonFinite} of ${data.length} voxels that are not, the first at [${voxelAt(first, sizeVoxels).join(', ')}] (${real(data[first]!)})`,
    remedy: 'Replace these voxels, for example with the smallest value of the scan, or leave the scan out.',
  });
}
