import { encodeNiftiHeader, voxelBytes } from '../src/datasets/nifti-encode.js';
import { toCanonical } from '../src/scans/canonical.js';
import { type Scan, volumeOf } from '../src/scans/scan.js';
import type { Volume } from '../src/volume/volume.js';
import type { ReadScan } from './intake.js';

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
