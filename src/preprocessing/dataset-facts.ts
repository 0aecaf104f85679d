import type { ScanRanges } from '../config/facts-schema.js';
import type { Plan, PlanDataset } from '../config/plan.js';
import { openPlanDataset } from '../datasets/dataset.js';
import { channelIndex, openCase } from '../datasets/load-case.js';
import { resolveSplit } from '../datasets/splits.js';
import { throwIfAborted } from '../errors.js';
import { evenly } from './fingerprint.js';
import type { PreprocessedCase } from './preprocessed-case.js';
import { intensityOf, modalityOf, type ScanFacts, scanRanges } from './scan-facts.js';

/** Intensities of scans whose voxels have been read, by dataset folder, channel and case: what is in it is not read again. */
export type KnownIntensities = Map<string, NonNullable<ScanFacts['intensity']>>;

/** Scans of a dataset whose voxels are read to know their intensities. */
const readScans = 16;

/**
 * Facts of the scans of a dataset of a plan that records none, as a plan written by hand does: sizes of all cases that train, and
 * intensities of a few.
 * @param cases the labelled and unlabelled cases of this dataset, preprocessed
 * @param known grows by what is read
 * @returns undefined where there is no case
 * @throws what opening the dataset and its cases throws; VERSEMI_ABORTED by `signal`
 */
export async function rangesOfDataset(
  { seed }: Pick<Plan, 'seed'>,
  entry: PlanDataset,
  cases: readonly PreprocessedCase[],
  signal?: AbortSignal,
  known: KnownIntensities = new Map(),
): Promise<ScanRanges | undefined> {
  if (cases.length === 0) return undefined;
  const dataset = await openPlanDataset(entry);
  const split = resolveSplit(dataset, entry, seed);
  const ids = new Set(cases.map(({ id }) => id));
  const files = [...split.labeled, ...split.unlabeled].filter(({ id }) => ids.has(id));
  const intensities = new Map<string, NonNullable<ScanFacts['intensity']>>();
  for (const { label: _, ...image } of evenly(files, readScans)) {
    throwIfAborted(signal, 'training');
    const key = JSON.stringify([entry.path, entry.channel, image.id]);
    const intensity = known.get(key) ?? intensityOf((await openCase(dataset, image, { channel: entry.channel })).image);
    known.set(key, intensity);
    intensities.set(image.id, intensity);
  }
  const facts = cases.map(({ id, grid: { canonical } }) => {
    const intensity = intensities.get(id);
    return { ...canonical, ...(intensity === undefined ? {} : { intensity }) };
  });
  return scanRanges(facts, modalityOf(dataset.modalities[channelIndex(dataset, entry.channel)]!));
}
