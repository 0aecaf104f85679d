import { type Triple, type VoxelArray, voxelCount } from '../volume/volume.js';
import { checkLength, sameType } from './host-core.js';

/**
 * The box of `outSizeVoxels` that begins at voxel `begin` (may be negative) of a volume [z, y, x]; `fill` where it lies
 * outside: crop and pad in one. Copies rows, so it needs no linear memory.
 */
export function crop<T extends VoxelArray>(
  data: T,
  sizeVoxels: Triple,
  begin: Triple,
  outSizeVoxels: Triple,
  fill = 0,
): T {
  const output = sameType(data, voxelCount(outSizeVoxels));
  return cropInto(output, data, sizeVoxels, begin, outSizeVoxels, fill);
}

/** As crop, into an array of the right length. */
export function cropInto<T extends VoxelArray>(
  output: T,
  data: T,
  sizeVoxels: Triple,
  begin: Triple,
  outSizeVoxels: Triple,
  fill = 0,
): T {
  checkLength(data, sizeVoxels, 'crop data');
  checkLength(output, outSizeVoxels, 'crop output');
  const [sizeX, sizeY] = sizeVoxels;
  const [outX, outY] = outSizeVoxels;
  const low = begin.map((b) => Math.max(0, -b)) as unknown as Triple;
  const high = begin.map((b, i) => Math.min(outSizeVoxels[i]!, sizeVoxels[i]! - b)) as unknown as Triple;
  if (low.some((l, i) => l > 0 || high[i]! < outSizeVoxels[i]!)) output.fill(fill);
  const count = high[0] - low[0];
  if (count <= 0) return output;
  for (let z = low[2]; z < high[2]; z++) {
    for (let y = low[1]; y < high[1]; y++) {
      const from = ((z + begin[2]) * sizeY + y + begin[1]) * sizeX + begin[0] + low[0];
      output.set(data.subarray(from, from + count), (z * outY + y) * outX + low[0]);
    }
  }
  return output;
}
