import { lookupLength, mixRowLength, pairShares, patchRowLength } from '../table/kernel-table.js';
import { type PlainKernels, required } from './plain-kernel.js';

/** Calls `body` with every voxel of n patches [d, h, w], in order. */
function eachVoxel(
  { n, d, h, w }: { readonly n: number; readonly d: number; readonly h: number; readonly w: number },
  body: (patch: number, x: number, y: number, z: number, at: number) => void,
): void {
  let at = 0;
  for (let i = 0; i < n; i++)
    for (let z = 0; z < d; z++) for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) body(i, x, y, z, at++);
}

/** The rows of the kernel table that cut and mix patches; a formula as in kernel-table.ts, one voxel at a time. */
export const patchKernels = {
  cut_patches(buffers, attributes) {
    const [volumes, table] = [required(buffers, 0), required(buffers, 1)];
    const patches = required(buffers, 3);
    const { d, h, w, total, lookups } = attributes;
    eachVoxel(attributes, (i, x, y, z, at) => {
      const row = Array.from(table.subarray(i * patchRowLength, (i + 1) * patchRowLength));
      const [high, low, sizeX, sizeY, sizeZ, beginX, beginY, beginZ] = row as Numbers8;
      const [swapped, flipX, flipY, flipZ, lookup] = row.slice(8) as [number, number, number, number, number];
      const offset = high * 2 ** 20 + low;
      const acrossX = flipX ? w - 1 - x : x;
      const acrossY = flipY ? h - 1 - y : y;
      const volumeX = beginX + (swapped ? acrossY : acrossX);
      const volumeY = beginY + (swapped ? acrossX : acrossY);
      const volumeZ = beginZ + (flipZ ? d - 1 - z : z);
      const within = (index: number, size: number) => index >= 0 && index < size;
      const fits = offset >= 0 && sizeX > 0 && sizeY > 0 && sizeZ > 0 && offset + sizeX * sizeY * sizeZ <= total;
      const inside = fits && within(volumeX, sizeX) && within(volumeY, sizeY) && within(volumeZ, sizeZ);
      const value = inside ? volumes[offset + (volumeZ * sizeY + volumeY) * sizeX + volumeX]! : 0;
      const entry = (label: number) => required(buffers, 2)[lookup * lookupLength + label]!;
      const [first, second] = [Math.trunc(value) % lookupLength, Math.floor(value / lookupLength) % lookupLength];
      const share = Math.fround(Math.floor(value / lookupLength ** 2) / pairShares);
      patches[at] = !within(lookup, lookups)
        ? value
        : !within(value, lookupLength ** 3)
          ? 0
          : entry(first) + (entry(second) - entry(first)) * share;
    });
  },

  cut_mix(buffers, attributes) {
    const [patches, table, mixes] = [required(buffers, 0), required(buffers, 1), required(buffers, 2)];
    const { d, h, w, sources } = attributes;
    const voxels = d * h * w;
    eachVoxel(attributes, (i, x, y, z, at) => {
      const row = Array.from(table.subarray(i * mixRowLength, (i + 1) * mixRowLength));
      const [outside, inside, beginX, beginY, beginZ, sizeX, sizeY, sizeZ] = row as Numbers8;
      const within = (index: number, begin: number, size: number) => index >= begin && index < begin + size;
      const inBox = within(x, beginX, sizeX) && within(y, beginY, sizeY) && within(z, beginZ, sizeZ);
      const source = inBox ? inside : outside;
      const known = source >= 0 && source < sources;
      mixes[at] = known ? patches[source * voxels + (at % voxels)]! : source === -2 ? 1 : 0;
    });
  },
} satisfies PlainKernels;

type Numbers8 = [number, number, number, number, number, number, number, number];
