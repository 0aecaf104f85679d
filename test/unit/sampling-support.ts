import { createHash } from 'node:crypto';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import type { LabelMap, PreprocessedCase } from '../../src/preprocessing/preprocessed-case.js';
import type { StepBatch } from '../../src/sampling/fields.js';
import type { Triple } from '../../src/volume/volume.js';

/** A case made from functions of the voxel; its grid is its own source. */
export function makeCase(
  dataset: string,
  id: string,
  sizeVoxels: Triple,
  image: (x: number, y: number, z: number) => number,
  label?: (x: number, y: number, z: number) => number,
): PreprocessedCase {
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const count = sizeX * sizeY * sizeZ;
  const fill = <T extends Float32Array | Uint8Array>(array: T, f: (x: number, y: number, z: number) => number): T => {
    let i = 0;
    for (let z = 0; z < sizeZ; z++)
      for (let y = 0; y < sizeY; y++) for (let x = 0; x < sizeX; x++) array[i++] = f(x, y, z);
    return array;
  };
  const labels = label && fill(new Uint8Array(count), label);
  const foreground: Record<number, Int32Array> = {};
  for (const value of new Set(labels)) {
    if (value !== 0) foreground[value] = Int32Array.from(labels!.keys()).filter((i) => labels![i] === value);
  }
  const affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  return {
    id,
    dataset,
    image: fill(new Float32Array(count), image),
    ...(labels === undefined ? {} : { label: labels, foreground }),
    sizeVoxels,
    spacingMm: [1, 1, 1],
    grid: {
      canonical: { sizeVoxels, spacingMm: [1, 1, 1], affine },
      crop: { begin: [0, 0, 0], end: sizeVoxels },
      sizeVoxels,
      spacingMm: [1, 1, 1],
      affine,
      scale: [1, 1, 1],
      offset: [0, 0, 0],
    },
  };
}

/** The case with label pairs in place of its labels: most voxels hold a share of the label after their own. */
export function inFractions(one: PreprocessedCase): PreprocessedCase {
  const pairOf = (label: number, i: number) => {
    const share = (i * 53) % 256;
    return share === 0 ? label : label + 256 * ((label + 1) % 4) + 65536 * share;
  };
  return { ...one, label: Float32Array.from(one.label!, pairOf) };
}

/** The case with some voxels unknown: every third one, or a share of each voxel where its labels are pairs. */
export function withUnknown(one: PreprocessedCase): PreprocessedCase {
  const known =
    one.label instanceof Float32Array
      ? Float32Array.from(one.label, (_, i) => (i % 3 === 0 ? 0 : i % 3 === 1 ? 1 : 1 + 65536 * ((i * 7) % 256)))
      : Uint8Array.from(one.label!, (_, i) => (i % 3 === 0 ? 0 : 1));
  return { ...one, known };
}

/** What a voxel of a map has of some labels, from 0 to 1. */
export function shareOf(map: LabelMap, voxel: number, labels: readonly number[]): number {
  const value = map[voxel]!;
  const share = Math.floor(value / 65536) / 510;
  const has = (label: number) => (labels.includes(label) ? 1 : 0);
  return (1 - share) * has(value % 256) + share * has(Math.floor(value / 256) % 256);
}

/** A plan with datasets of the given tasks (lists of label values), patch and further settings. */
export function makePlan(
  tasks: Readonly<Record<string, readonly number[][]>>,
  patchSizeVoxels: Triple,
  settings: Readonly<Record<string, unknown>> = {},
): Plan {
  return parsePlan({
    version: 1,
    name: 'sampling',
    seed: 7,
    datasets: Object.entries(tasks).map(([name, own]) => ({
      name,
      path: name,
      preprocessing: { spacingMm: [1, 1, 1] },
      split: { labeled: own.length > 0 ? 'all' : [] },
    })),
    tasks: Object.entries(tasks).flatMap(([dataset, own]) =>
      own.map((labels, i) => ({ name: `${dataset}-${i}`, dataset, labels })),
    ),
    network: { levels: 2, baseWidth: 4 },
    patchSizeVoxels: [...patchSizeVoxels],
    ...settings,
  });
}

/** Chi-square statistic of counts against equal frequencies. */
export function chiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((a, b) => a + b, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** 99.9 % quantile of chi-square (Wilson and Hilferty 1931). */
export function chiSquareLimit(degrees: number): number {
  const c = 2 / (9 * degrees);
  return degrees * (1 - c + 3.09 * Math.sqrt(c)) ** 3;
}

/** A batch as a short text: the same for the same numbers, and quick to compare. */
export function batchDigest(batch: StepBatch): string {
  const replace = (_: string, value: unknown) =>
    ArrayBuffer.isView(value)
      ? createHash('sha256')
          .update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
          .digest('hex')
      : value;
  return JSON.stringify(batch, replace);
}
