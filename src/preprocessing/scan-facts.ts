import type { ScanRanges } from '../config/facts-schema.js';
import type { Scan } from '../scans/scan.js';
import type { Triple } from '../volume/volume.js';
import { host } from '../wasm/host.js';

/** Facts of one scan, on canonical axes. */
export interface ScanFacts {
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  /** Absent where the voxels were not read. */
  readonly intensity?: { readonly percentile005: number; readonly percentile995: number };
}

/** Voxels below it are air in Hounsfield units: no other modality has values as low. */
export const airHu = -300;

/** A modality as DICOM calls it, from the words of a dataset; undefined where they name none that is known. */
export function modalityOf(words: string): 'CT' | 'MR' | 'PT' | 'US' | undefined {
  if (/\bct\b|computed tomography/i.test(words)) return 'CT';
  if (/\bmri?\b|magnetic|\bt1|\bt2|flair|adc|dwi|lge|cine/i.test(words)) return 'MR';
  if (/\bpet\b|\bpt\b|positron/i.test(words)) return 'PT';
  return /\bus\b|ultrasound|sonograph/i.test(words) ? 'US' : undefined;
}

/** Field of view of a scan in millimetres. */
export function extentMm({ sizeVoxels, spacingMm }: Pick<ScanFacts, 'sizeVoxels' | 'spacingMm'>): Triple {
  return sizeVoxels.map((size, axis) => size * spacingMm[axis]!) as unknown as Triple;
}

/** 0.5 and 99.5 percentile of a scan's voxels, which are read slice by slice. */
export function intensityOf(scan: Scan): NonNullable<ScanFacts['intensity']> {
  const slices = host().slices(scan);
  try {
    const [percentile005, percentile995] = slices.percentiles([0.005, 0.995]);
    return { percentile005: percentile005!, percentile995: percentile995! };
  } finally {
    slices.dispose();
  }
}

/** What the scans of a dataset have in common, as a plan records it. @param facts of at least one scan */
export function scanRanges(facts: readonly ScanFacts[], modality: string | undefined): ScanRanges {
  const intensities = facts.flatMap(({ intensity }) => intensity ?? []);
  const known = modality ?? (isCt(intensities.map(({ percentile005 }) => percentile005)) ? 'CT' : undefined);
  return {
    cases: facts.length,
    ...(known === undefined ? {} : { modality: known }),
    spacingMm: triples(facts.map(({ spacingMm }) => spacingMm)),
    extentMm: triples(facts.map(extentMm)),
    ...(intensities.length === 0
      ? {}
      : {
          percentile005: pair(intensities.map(({ percentile005 }) => percentile005)),
          percentile995: pair(intensities.map(({ percentile995 }) => percentile995)),
        }),
  };
}

/** Every scan has air in Hounsfield units. @param lowest 0.5 percentiles */
export function isCt(lowest: readonly number[]): boolean {
  return lowest.length > 0 && lowest.every((value) => value <= airHu);
}

/** Six digits: more would say nothing, and be longer than the rest of a plan. */
function rounded(value: number): number {
  return Number(value.toPrecision(6));
}

function pair(values: readonly number[]): [number, number] {
  return [rounded(Math.min(...values)), rounded(Math.max(...values))];
}

function triples(values: readonly Triple[]): [[number, number, number], [number, number, number]] {
  const along = [0, 1, 2].map((axis) => pair(values.map((value) => value[axis]!)));
  const end = (which: 0 | 1) => along.map((one) => one[which]) as [number, number, number];
  return [end(0), end(1)];
}
