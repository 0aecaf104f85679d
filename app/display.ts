import { encodeNiftiHeader, voxelBytes } from '../src/datasets/nifti-encode.js';
import { toCanonical } from '../src/scans/canonical.js';
import { type Scan, volumeOf } from '../src/scans/scan.js';
import type { Volume } from '../src/volume/volume.js';
import type { ReadScan } from './intake.js';

/** The voxels of the percentiles are a sample: this many are enough for a window of grey values. */
const sampledVoxels = 200_000;

/** Percentiles 1 and 99 of a sample of the voxels above the lowest value, and the lowest value, in units of the scan. */
export function intensitySummary({ volume, slope, intercept }: ReadScan): {
  readonly low: number;
  readonly high: number;
  readonly min: number;
} {
  const step = Math.max(1, Math.floor(volume.data.length / sampledVoxels));
  const values: number[] = [];
  for (let i = 0; i < volume.data.length; i += step) values.push(volume.data[i]! * slope + intercept);
  values.sort((a, b) => a - b);
  const min = values[0]!;
  const above = values.filter((value) => value > min);
  if (above.length === 0) return { low: min, high: min + 1, min };
  const at = (share: number) => above[Math.min(above.length - 1, Math.floor(share * above.length))]!;
  const [low, high] = [at(0.01), at(0.99)];
  return { low, high: high > low ? high : low + 1, min };
}

/** The canonical scan as an uncompressed NIfTI file for the viewer: 8 and 16 bits as they are stored, others as float32. */
export function displayBytes({ volume, slope, intercept }: ReadScan, scan: Scan): ArrayBuffer {
  const { data } = volume;
  const small = data instanceof Uint8Array || data instanceof Int16Array || data instanceof Uint16Array;
  if (!small) return fileOf(volumeOf(scan), 1, 0);
  return fileOf(toCanonical(volume), slope, intercept);
}

/** Bytes 112 to 119 of a NIfTI-1 header: scl_slope and scl_inter. */
const slopeOffset = 112;

function fileOf({ data, sizeVoxels, spacingMm, affine }: Volume, slope: number, intercept: number): ArrayBuffer {
  const header = encodeNiftiHeader({ data, sizeVoxels, spacingMm, affine });
  const voxels = voxelBytes(data);
  const bytes = new Uint8Array(header.length + voxels.length);
  bytes.set(header);
  bytes.set(voxels, header.length);
  const view = new DataView(bytes.buffer);
  view.setFloat32(slopeOffset, slope, true);
  view.setFloat32(slopeOffset + 4, intercept, true);
  return bytes.buffer;
}
