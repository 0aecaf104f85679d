import { lookupLength } from '../table/kernel-table.js';
import { explicit, normal, type OpCase } from './op-case.js';

type Numbers = readonly number[];

/** A row of the table of cut_patches. */
interface Row {
  readonly offset?: number;
  readonly size: Numbers;
  readonly begin: Numbers;
  readonly swapped?: 0 | 1;
  readonly flip?: Numbers;
  readonly lookup?: number;
}

function row({ offset = 0, size, begin, swapped = 0, flip = [0, 0, 0], lookup = -1 }: Row): number[] {
  return [Math.floor(offset / 2 ** 20), offset % 2 ** 20, ...size, ...begin, swapped, ...flip, lookup];
}

function cut(name: string, patch: Numbers, total: number, rows: readonly Row[]): OpCase {
  const [d, h, w] = patch as [number, number, number];
  return {
    row: 'cut_patches',
    name,
    attributes: { n: rows.length, d, h, w, total, lookups: 0 },
    inputs: [normal(total), explicit(...rows.flatMap(row)), null],
    outputs: [rows.length * d * h * w],
    terms: 1,
  };
}

const size = [7, 6, 5];
const voxels = 210;

/** Labels, and two tables that know some of them. */
function labelled(rows: readonly Row[]): OpCase {
  const labels = Array.from({ length: voxels }, (_, i) => (i * 7) % 5);
  const lookup = Array.from({ length: 2 * lookupLength }, (_, i) =>
    Number(i === 1 || i === lookupLength + 3 || i === 4),
  );
  return {
    row: 'cut_patches',
    name: 'labels through tables',
    attributes: { n: rows.length, d: 4, h: 3, w: 5, total: voxels, lookups: 2 },
    inputs: [explicit(...labels), explicit(...rows.flatMap(row)), explicit(...lookup)],
    outputs: [rows.length * 60],
    terms: 1,
  };
}

/** Label pairs, plain labels among them, and what is neither. */
function paired(rows: readonly Row[]): OpCase {
  const pair = (i: number) => (i % 4 === 0 ? i % 5 : (i % 5) + 256 * ((i * 3) % 7) + 65536 * ((i * 37) % 256));
  const pairs = Array.from({ length: voxels }, (_, i) => (i === 40 ? 2 ** 24 : i === 41 ? -3 : pair(i)));
  const lookup = Array.from({ length: 2 * lookupLength }, (_, i) => (i < lookupLength ? Number(i % 3 === 1) : i / 200));
  return {
    row: 'cut_patches',
    name: 'label pairs through tables',
    attributes: { n: rows.length, d: 5, h: 6, w: 7, total: voxels, lookups: 2 },
    inputs: [explicit(...pairs), explicit(...rows.flatMap(row)), explicit(...lookup)],
    outputs: [rows.length * voxels],
    terms: 2,
  };
}

function mix(name: string, patch: Numbers, sources: number, rows: readonly Numbers[]): OpCase {
  const [d, h, w] = patch as [number, number, number];
  return {
    row: 'cut_mix',
    name,
    attributes: { n: rows.length, d, h, w, sources },
    inputs: [normal(sources * d * h * w), explicit(...rows.flat())],
    outputs: [rows.length * d * h * w],
    terms: 1,
  };
}

export const patchCases: readonly OpCase[] = [
  cut('inside, at the ends, and beyond on every side', [3, 4, 5], voxels, [
    { size, begin: [1, 1, 1] },
    { size, begin: [0, 0, 0] },
    { size, begin: [2, 2, 2] },
    { size, begin: [-2, -1, -1] },
    { size, begin: [5, 4, 4] },
    { size, begin: [7, 0, 0] },
    { size, begin: [0, -4, 0] },
  ]),
  cut('larger than the volume', [9, 8, 11], voxels, [{ size, begin: [-2, -1, -2] }]),
  cut('mirrored', [3, 4, 5], voxels, [
    { size, begin: [1, 1, 1], flip: [1, 0, 0] },
    { size, begin: [-1, 3, 3], flip: [0, 1, 0] },
    { size, begin: [4, -2, -1], flip: [0, 0, 1] },
    { size, begin: [-3, 4, 3], flip: [1, 1, 1] },
  ]),
  cut('x and y swapped', [3, 4, 5], voxels, [
    { size, begin: [1, 1, 1], swapped: 1 },
    { size, begin: [-1, 3, -1], swapped: 1, flip: [1, 0, 0] },
    { size, begin: [5, -2, 3], swapped: 1, flip: [1, 1, 1] },
  ]),
  cut('several volumes', [2, 3, 40], 4000, [
    { offset: 0, size: [20, 10, 5], begin: [3, 4, 2] },
    { offset: 1000, size: [50, 10, 6], begin: [10, 5, 4] },
    { offset: 1000, size: [50, 10, 6], begin: [30, 9, 5], flip: [1, 0, 0] },
  ]),
  cut('an offset that float32 does not hold', [1, 2, 3], 2 ** 24 + 60, [
    { offset: 2 ** 24 + 1, size: [5, 4, 2], begin: [1, 1, 1] },
  ]),
  cut('rows that are no volume', [2, 2, 2], voxels, [
    { offset: 1, size, begin: [0, 0, 0] },
    { size: [0, 6, 5], begin: [0, 0, 0] },
    { size: [-7, -6, 5], begin: [0, 0, 0] },
    { offset: -1, size: [2, 2, 2], begin: [0, 0, 0] },
    { size: [1e9, 1e9, 1e9], begin: [0, 0, 0] },
  ]),
  labelled([
    { size, begin: [0, 0, 0], lookup: 0 },
    { size, begin: [1, 2, 3], lookup: 1 },
    { size, begin: [1, 2, 3], lookup: -1 },
    { size, begin: [1, 2, 3], lookup: 2 },
  ]),
  paired([
    { size, begin: [0, 0, 0], lookup: 0 },
    { size, begin: [0, 0, 0], lookup: 1 },
    { size, begin: [1, -1, 1], lookup: 0, flip: [1, 0, 1] },
    { size, begin: [0, 0, 0], lookup: -1 },
  ]),
  mix('boxes', [3, 4, 37], 3, [
    [0, 1, 1, 1, 1, 20, 2, 1],
    [2, 0, 0, 0, 0, 37, 4, 3],
    [1, 2, 36, 3, 2, 1, 1, 1],
    [1, 1, 5, 0, 0, 3, 4, 3],
  ]),
  mix('constants', [2, 3, 5], 2, [
    [-1, 1, 1, 1, 0, 3, 2, 2],
    [0, -1, 0, 0, 0, 2, 3, 1],
    [-1, -2, 2, 0, 1, 3, 3, 1],
    [2, 7, 2, 0, 1, 3, 3, 1],
  ]),
  mix('large', [40, 40, 40], 2, [[0, 1, 7, 9, 11, 20, 21, 22]]),
];
