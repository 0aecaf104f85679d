import type { Scan } from '../src/scans/scan.js';
import type { GrowWanted } from './protocol.js';

/**
 * Voxels that are joined to a seed through faces, whose values differ from the seed's by at most a tolerance, within a ball
 * around the seed.
 * @returns 1 for these voxels, on the canonical grid
 */
export function grown({ scan }: { readonly scan: Scan }, { seed, tolerance, radiusMm }: GrowWanted): Uint8Array {
  const { sizeVoxels, spacingMm, slope = 1, intercept = 0 } = scan;
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const plane = sizeX * sizeY;
  const reach = Math.ceil(radiusMm / spacingMm[2]);
  const first = Math.max(0, seed[2] - reach);
  const last = Math.min(sizeZ, seed[2] + reach + 1);
  // Slices are read once each: a scan whose axes are turned makes them anew for every question.
  const slices = Array.from({ length: last - first }, (_, i) => scan.slices(first + i, first + i + 1).slice());
  const value = (x: number, y: number, z: number) => slices[z - first]![x + sizeX * y]! * slope + intercept;
  const centre = value(...seed);
  const inside = (x: number, y: number, z: number) =>
    Math.hypot(...[x, y, z].map((at, axis) => (at - seed[axis]!) * spacingMm[axis]!)) <= radiusMm &&
    Math.abs(value(x, y, z) - centre) <= tolerance;
  const mask = new Uint8Array(plane * sizeZ);
  const queue: [number, number, number][] = [[...seed]];
  mask[seed[0] + sizeX * (seed[1] + sizeY * seed[2])] = 1;
  for (let next = queue.pop(); next !== undefined; next = queue.pop())
    for (const axis of [0, 1, 2])
      for (const step of [-1, 1]) {
        const [x, y, z] = next.map((at, i) => (i === axis ? at + step : at)) as [number, number, number];
        if (x < 0 || y < 0 || z < first || x >= sizeX || y >= sizeY || z >= last) continue;
        const index = x + sizeX * (y + sizeY * z);
        if (mask[index] !== 0 || !inside(x, y, z)) continue;
        mask[index] = 1;
        queue.push([x, y, z]);
      }
  return mask;
}
