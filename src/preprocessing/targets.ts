import type { PreprocessingSettings } from '../config/plan.js';
import { host } from '../wasm/host.js';
import { boxSize, isIdentity, type ResampledGrid } from './grid.js';
import { type LabelMap, maximumForegroundSamples, type PreprocessedCase } from './preprocessed-case.js';

/** What a labelled case teaches: its labels on the preprocessed grid, and where they are known. */
export type CaseTargets = Required<Pick<PreprocessedCase, 'label' | 'foreground'>> & Pick<PreprocessedCase, 'known'>;

/**
 * @param label the crop of the source's label map, [z, y, x]
 * @param kind labels: one label per voxel; fractions: label pairs
 * @param ignored voxels of this label are unknown
 */
export function makeTargets(
  label: Uint8Array,
  grid: ResampledGrid,
  kind: PreprocessingSettings['targets'],
  ignored?: number,
): CaseTargets {
  return kind === 'labels' ? wholeLabels(label, grid, ignored) : fractions(label, grid, ignored);
}

function wholeLabels(source: Uint8Array, grid: ResampledGrid, ignored: number | undefined): CaseTargets {
  const voted = isIdentity(grid) ? source : host().resampleLabels(source, boxSize(grid.crop), grid.sizeVoxels, grid);
  const label = ignored === undefined ? voted : host().translate(voted, without(ignored));
  const foreground = foregroundSamples(label);
  if (ignored === undefined) return { label, foreground };
  return { label, foreground, known: host().translate(voted, knownLabels(ignored)) };
}

function fractions(source: Uint8Array, grid: ResampledGrid, ignored: number | undefined): CaseTargets {
  const pairsOf = (labels: Uint8Array, except?: number) =>
    host().resamplePairs(labels, boxSize(grid.crop), grid.sizeVoxels, grid, except);
  const label = pairsOf(source, ignored);
  const samples = foregroundSamples(host().pairLabels(label, 'first'));
  // A structure so thin that it fills half of no voxel is found where it comes second.
  const foreground = { ...foregroundSamples(host().pairLabels(label, 'second')), ...samples };
  if (ignored === undefined) return { label, foreground };
  return { label, foreground, known: pairsOf(host().translate(source, knownLabels(ignored))) };
}

/** Between a half and the next share of a label pair, half a voxel and 1/510. */
const aboveHalf = 0.501;

/** 1 where more than half of a voxel has one of the labels, as a prediction above 1/2 is foreground. */
export function targetMask(map: LabelMap, labels: readonly number[]): Uint8Array {
  const lookup = Uint8Array.from({ length: 256 }, (_, label) => (labels.includes(label) ? 1 : 0));
  if (map instanceof Uint8Array) return host().translate(map, lookup);
  return host().threshold(host().pairTarget(map, lookup), aboveHalf);
}

/** Table of labels: every label is itself but the ignored one, which is background. */
function without(ignored: number): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, label) => (label === ignored ? 0 : label));
}

/** Table of labels: 0 for the ignored one, 1 for every other. */
function knownLabels(ignored: number): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, label) => (label === ignored ? 0 : 1));
}

/** For each label value that occurs: voxel indices evenly spread over its voxels. */
export function foregroundSamples(label: Uint8Array): Record<number, Int32Array> {
  const samples: Record<number, Int32Array> = {};
  const counts = host().labelCounts(label);
  for (let value = 1; value < counts.length; value++) {
    const count = counts[value]!;
    if (count === 0) continue;
    const wanted = Math.min(count, maximumForegroundSamples);
    const ranks = Int32Array.from({ length: wanted }, (_, i) => Math.floor(((i + 0.5) * count) / wanted));
    samples[value] = host().positionsOf(label, value, ranks);
  }
  return samples;
}

/** 1 for each of these labels, else 0, by label. */
export function lookupOf(labels: readonly number[]): Uint8Array {
  const lookup = new Uint8Array(256);
  for (const label of labels) lookup[label] = 1;
  return lookup;
}
