import { VersemiError } from '../errors.js';
import type { VoxelArray } from '../volume/volume.js';

/**
 * Distance from a whole number that is still rounding, absolute or as a share of the value: nibabel, asked for integers,
 * stores a slope that makes 1 into 1.0000153.
 */
const [tolerance, relativeTolerance] = [1e-3, 3e-5];
/** Largest label value: label maps are kept as bytes. */
const largestLabel = 255;

/** NaN is not whole either. */
function isWhole(value: number): boolean {
  const difference = Math.abs(value - Math.round(value));
  return difference <= tolerance || difference <= relativeTolerance * Math.abs(value);
}

function isLabel(value: number): boolean {
  const label = Math.round(value);
  return isWhole(value) && label >= 0 && label <= largestLabel;
}

/** Ways in which a voxel is no label, those first that explain the others. */
const causes = [
  {
    is: (value: number) => !Number.isFinite(value),
    expected: `finite whole numbers from 0 to ${largestLabel}`,
    remedy: 'Replace these voxels by 0, the background.',
  },
  {
    is: (value: number) => !isWhole(value),
    expected: `whole numbers from 0 to ${largestLabel} (to within ${tolerance})`,
    remedy:
      'A label map must not be resampled with interpolation: resample the original again with nearest neighbours; or, if these are probabilities, threshold them.',
  },
  {
    is: (value: number) => value < 0,
    expected: `whole numbers from 0 to ${largestLabel}, none negative`,
    remedy: 'Give these voxels the value 0 (background) or a positive value of their own.',
  },
  {
    is: () => true,
    expected: `whole numbers of at most ${largestLabel}`,
    remedy: `${largestLabel} is the largest label value: renumber the labels, for example from 1 on, in all label files and in dataset.json.`,
  },
] as const;

/**
 * Label values as bytes; the voxels themselves where they are bytes already.
 * @param voxels as stored; a label is voxel * slope + intercept
 * @throws VERSEMI_LABEL_INVALID naming values that are no labels, and what is wrong with them
 */
export function labelBytes(
  voxels: VoxelArray,
  { slope, intercept }: { readonly slope: number; readonly intercept: number },
  file: string,
): Uint8Array {
  if (voxels instanceof Uint8Array && slope === 1 && intercept === 0) return voxels;
  const bytes = new Uint8Array(voxels.length);
  for (let i = 0; i < bytes.length; i++) {
    const value = voxels[i]! * slope + intercept;
    if (!isLabel(value)) throw notLabels(voxels, { slope, intercept }, file);
    bytes[i] = Math.round(value);
  }
  return bytes;
}

function notLabels(
  voxels: VoxelArray,
  { slope, intercept }: { readonly slope: number; readonly intercept: number },
  file: string,
): VersemiError {
  const found = causes.map(() => ({ voxels: 0, examples: new Set<number>() }));
  for (const voxel of voxels) {
    const value = voxel * slope + intercept;
    if (isLabel(value)) continue;
    const of = found[causes.findIndex(({ is }) => is(value))]!;
    of.voxels++;
    if (of.examples.size < 5) of.examples.add(value);
  }
  const first = found.findIndex((one) => one.voxels > 0);
  const { expected, remedy } = causes[first]!;
  const { voxels: count, examples } = found[first]!;
  const values = [...examples].map((value) => Number(value.toPrecision(8)));
  return new VersemiError('LABEL_INVALID', {
    file,
    expected,
    found: `${count} ${count === 1 ? 'voxel' : 'voxels'} with values such as ${values.join(', ')}`,
    remedy,
  });
}
