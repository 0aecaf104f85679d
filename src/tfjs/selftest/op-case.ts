import { RandomStream, streams } from '../../random.js';
import { packAttributes } from '../table/call-check.js';
import type { AttributeValues, KernelName } from '../table/kernel-table.js';

/** What a buffer holds before the call. */
export type Source =
  | { readonly size: number; readonly fill: Fill; readonly scale?: number; readonly offset?: number }
  /** Explicit values, for special numbers and ties. */
  | { readonly values: readonly number[] }
  /** Computed from the inputs before it, e.g. the statistics of a tensor. */
  | { readonly size: number; readonly from: (inputs: readonly Float64Array[]) => ArrayLike<number> };

export type Fill = 'normal' | 'uniform' | 'positive' | 'binary';

/** An output: its number of elements; a source where it is updated in place; null where it is absent. */
export type Target = number | Source | null;

/** One call of one row of the kernel table, with random data and the exactness to expect. */
interface OpCaseOf<Name extends KernelName> {
  readonly row: Name;
  /** Unique within the row. */
  readonly name: string;
  readonly attributes: AttributeValues<Name>;
  readonly inputs: readonly (Source | null)[];
  readonly outputs: readonly Target[];
  /** Length of the longest sum behind one output element: the error allowed grows with its square root. */
  readonly terms: number;
  /** Factor on the error allowed, where the problem itself amplifies rounding. Default 1. */
  readonly conditioning?: number;
}

export type OpCase = { [Name in KernelName]: OpCaseOf<Name> }[KernelName];

/** The attributes of a case as devices take them. */
export function packedAttributes({ row, attributes }: OpCase): Float64Array {
  return packAttributes(row, attributes as never);
}

export const normal = (size: number, scale = 1, offset = 0): Source => ({ size, fill: 'normal', scale, offset });
export const uniform = (size: number): Source => ({ size, fill: 'uniform' });
export const positive = (size: number): Source => ({ size, fill: 'positive' });
export const binary = (size: number): Source => ({ size, fill: 'binary' });
export const explicit = (...values: number[]): Source => ({ values });

export function sourceSize(source: Source): number {
  return 'values' in source ? source.values.length : source.size;
}

/**
 * Data of a source, rounded to float32 so that a device and the reference start from the same numbers. A pure function
 * of (case name, index).
 */
export function makeData(source: Source, seed: number, index: number, before: readonly Float64Array[]): Float64Array {
  if ('values' in source) return Float64Array.from(Float32Array.from(source.values));
  if ('from' in source) return Float64Array.from(Float32Array.from(source.from(before)));
  const random = new RandomStream(seed, streams.test, index);
  const { size, fill, scale = 1, offset = 0 } = source;
  const next: Record<Fill, () => number> = {
    normal: () => random.normal(),
    uniform: () => random.uniform(),
    positive: () => random.uniformBetween(0.25, 4),
    binary: () => Number(random.uniform() < 0.3),
  };
  const draw = next[fill];
  return Float64Array.from({ length: size }, () => Math.fround(offset + scale * draw()));
}

/** A seed that depends on the name alone (FNV-1a), so that a case keeps its data when others are added. */
export function seedOf({ row, name }: OpCase): number {
  let hash = 0x811c9dc5;
  for (const character of `${row} ${name}`) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  return hash >>> 0;
}
