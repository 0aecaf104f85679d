import { canonicalGeometry, type Flips, type Geometry } from '../volume/orientation.js';
import type { StoredGeometry, Triple, Volume, VoxelArray } from '../volume/volume.js';
import { type Box, host, type VoxelSource } from '../wasm/host.js';

/**
 * A canonical (RAS+) image whose voxels stay as they are in its file (axes, type, scaling) until slices are asked for: a CT
 * of 16-bit integers takes half of what its float32 volume would.
 */
export interface Scan extends Geometry, VoxelSource {
  readonly stored: StoredGeometry;
}

/** Slices that are turned at a time where the file's axes are not the canonical ones. */
const slabSlices = 16;

/**
 * @param volume in stored orientation; its voxels are kept, not copied
 * @throws VERSEMI_VOLUME_INVALID when the affine is singular
 */
export function scanOf(volume: Volume, scaling: { readonly slope?: number; readonly intercept?: number } = {}): Scan {
  const geometry = canonicalGeometry(volume);
  const { axes, flipped } = geometry.stored;
  return { ...geometry, ...scaling, slices: turnedSlices(volume, geometry.sizeVoxels, axes, flipped) };
}

/** A canonical volume as a scan; a scan comes back unchanged. */
export function asScan(image: Volume | Scan): Scan {
  return 'slices' in image ? image : scanOfCanonical(image);
}

function scanOfCanonical(volume: Volume): Scan {
  const { data, ...geometry } = volume;
  const { sizeVoxels, spacingMm, affine, forms } = geometry;
  const identity = { axes: [0, 1, 2], flipped: [false, false, false] } as const;
  return {
    ...geometry,
    stored: geometry.stored ?? {
      ...{ sizeVoxels, spacingMm, affine, ...identity },
      ...(forms === undefined ? {} : { forms }),
    },
    slices: turnedSlices(volume, sizeVoxels, identity.axes, identity.flipped),
  };
}

/** The whole scan as float32, [z, y, x]. */
export function volumeOf(scan: Scan): Volume<Float32Array> {
  const { slices: _, slope: __, intercept: ___, ...geometry } = scan;
  const stream = host().slices(scan);
  try {
    return { ...geometry, data: stream.collect() };
  } finally {
    stream.dispose();
  }
}

/**
 * Reads slices of a volume whose axes are exchanged and reversed. A few slices are turned together, and the slices turned last
 * are kept for the next reads.
 */
function turnedSlices(
  { data, sizeVoxels }: Volume,
  outSizeVoxels: Triple,
  axes: Triple,
  flipped: Flips,
): VoxelSource['slices'] {
  const plane = outSizeVoxels[0] * outSizeVoxels[1];
  const cut = ({ begin, end }: Box): VoxelArray => {
    const [sizeX, sizeY] = sizeVoxels;
    if (axes[2] === 2) return data.subarray(begin[2] * sizeX * sizeY, end[2] * sizeX * sizeY);
    const size = end.map((last, axis) => last - begin[axis]!) as unknown as Triple;
    return host().crop(data, sizeVoxels, begin, size);
  };
  if (axes.every((axis, i) => axis === i && !flipped[i]))
    return (begin, end) => data.subarray(begin * plane, end * plane);
  let held: { begin: number; end: number; voxels: VoxelArray } = { begin: 0, end: 0, voxels: data.subarray(0, 0) };
  return (begin, end) => {
    if (begin < held.begin || end > held.end) {
      const last = Math.max(end, Math.min(outSizeVoxels[2], begin + slabSlices));
      held = { begin, end: last, voxels: turnedSlab(sizeVoxels, { axes, flipped }, begin, last, cut) };
    }
    return held.voxels.subarray((begin - held.begin) * plane, (end - held.begin) * plane);
  };
}

/**
 * Slices begin <= z < end of a volume whose axes are exchanged and reversed.
 * @param sizeVoxels of the volume
 * @param cut gives the voxels of a box of the volume
 */
export function turnedSlab<T extends VoxelArray>(
  sizeVoxels: Triple,
  { axes, flipped }: { readonly axes: Triple; readonly flipped: Flips },
  begin: number,
  end: number,
  cut: (box: Box) => T,
): T {
  const along = axes[2];
  const [first, last] = [[0, 0, 0], [...sizeVoxels]];
  first[along] = flipped[2] ? sizeVoxels[along]! - end : begin;
  last[along] = first[along]! + end - begin;
  const size = last.map((length, axis) => length - first[axis]!) as unknown as Triple;
  const slab = cut({ begin: first as unknown as Triple, end: last as unknown as Triple });
  if (axes.every((axis, i) => axis === i && !flipped[i])) return slab;
  return host().reorient(slab, size, axes, flipped);
}
