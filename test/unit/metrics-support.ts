// Masks and images by the integer formulas of test/golden/metrics.py, and the golden values themselves.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import type { Triple, VoxelArray } from '../../src/volume/volume.js';
import type { Connectivity } from '../../src/wasm/host.js';

export interface Recipe {
  readonly salt: number;
  readonly noise: number;
  readonly ellipsoids: readonly (readonly [number, number, number, number, number, number])[];
}

export interface GoldenDistances {
  readonly hd95Pooled: number;
  readonly hd95Max: number;
  readonly hd: number;
  readonly asd: number;
  readonly assd: number;
  readonly surfaceDice: number;
}

interface GoldenStatistics {
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly standardDeviation: number;
  readonly count: number;
  readonly percentiles: number[];
}

export interface Golden {
  readonly toleranceMm: number;
  readonly metrics: readonly {
    readonly name: string;
    readonly sizeVoxels: Triple;
    readonly spacingMm: Triple;
    readonly prediction: Recipe;
    readonly reference: Recipe;
    readonly sha256: readonly [string, string];
    readonly dice: number;
    readonly jaccard: number;
    readonly precision: number | null;
    readonly recall: number | null;
    readonly volumePredictionMl: number;
    readonly volumeReferenceMl: number;
    readonly mm: GoldenDistances | null;
    readonly voxels: GoldenDistances | null;
  }[];
  readonly components: readonly {
    readonly sizeVoxels: Triple;
    readonly mask: Recipe;
    readonly connectivity: Connectivity;
    readonly largest: number;
    readonly sha256: string;
  }[];
  readonly resampling: readonly {
    readonly sizeVoxels: Triple;
    readonly outSizeVoxels: Triple;
    readonly scale: Triple;
    readonly offset: Triple;
    readonly linear: number[];
    readonly labels: number[];
  }[];
  readonly intensities: {
    readonly sizeVoxels: Triple;
    readonly fractions: number[];
    readonly mask: Recipe;
    readonly all: GoldenStatistics;
    readonly masked: GoldenStatistics;
  };
}

export function readGolden(): Golden {
  return JSON.parse(readFileSync(new URL('../../../test/golden/metrics.json', import.meta.url), 'utf8')) as Golden;
}

/** Calls body(x, y, z, linear index) for every voxel. */
export function forEachVoxel(
  [sizeX, sizeY, sizeZ]: Triple,
  body: (x: number, y: number, z: number, i: number) => void,
): void {
  let i = 0;
  for (let z = 0; z < sizeZ; z++) for (let y = 0; y < sizeY; y++) for (let x = 0; x < sizeX; x++) body(x, y, z, i++);
}

export function makeMask(size: Triple, { salt, noise, ellipsoids }: Recipe): Uint8Array {
  const mask = new Uint8Array(size[0] * size[1] * size[2]);
  forEachVoxel(size, (x, y, z, i) => {
    const inside = ellipsoids.some(
      ([cx, cy, cz, rx, ry, rz]) =>
        (x - cx) ** 2 * (ry * rz) ** 2 + (y - cy) ** 2 * (rx * rz) ** 2 + (z - cz) ** 2 * (rx * ry) ** 2 <=
        (rx * ry * rz) ** 2,
    );
    const mixed = Math.imul(x, 73856093) ^ Math.imul(y, 19349663) ^ Math.imul(z, 83492791) ^ salt;
    const inverted = (Math.imul(mixed, 2654435761) >>> 8) % 1000 < noise;
    mask[i] = inside !== inverted ? 1 : 0;
  });
  return mask;
}

export function makeImage(size: Triple): Float32Array {
  const image = new Float32Array(size[0] * size[1] * size[2]);
  forEachVoxel(size, (x, y, z, i) => {
    image[i] = ((x * 37 + y * 101 + z * 59 + x * y * 3 + y * z * 7) % 211) / 4 - 20;
  });
  return image;
}

export function sha256(array: Uint8Array | Int32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    .digest('hex');
}

/** |a - b| relative to the larger; NaN for NaN, so that a comparison with it fails. */
export function relativeError(a: number, b: number): number {
  return a === b ? 0 : Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b));
}

/** Asserts same type, length and bits: quick where t.same takes seconds. */
export function sameArray(t: Test, found: VoxelArray, expected: VoxelArray, message = 'same array'): void {
  const bytes = ({ buffer, byteOffset, byteLength }: VoxelArray) => Buffer.from(buffer, byteOffset, byteLength);
  t.ok(found.constructor === expected.constructor && bytes(found).equals(bytes(expected)), message);
}
