import { isHdf5 } from '../datasets/case-files.js';
import { scanFacts } from '../datasets/load-case.js';
import { type ReadVolumeOptions, seriesOf } from '../datasets/read-volume.js';
import { type ChannelChoice, type ScanFiles, scanSource } from '../datasets/scan-files.js';
import type { LeftOut } from '../datasets/types.js';
import { VersemiError } from '../errors.js';
import { groupTasks, type Segmenter } from '../inference/segmenter.js';
import { someOf } from '../list-text.js';

export interface SourceOptions {
  readonly channel?: number | string;
  readonly spacing?: ReadVolumeOptions['spacingMm'];
  readonly keys?: { readonly image: string };
  readonly series?: string;
}

export interface Source {
  readonly file: string;
  readonly options: ReadVolumeOptions;
  /** Indices of the tasks that are found in it. */
  readonly tasks: readonly number[];
}

/**
 * What is read of a scan: one volume, or several where tasks of different datasets look at different modalities.
 * @param tasks indices
 * @param note tells which volume of several is taken
 * @throws VERSEMI_MODALITY_MISSING, and what reading the header of a scan throws
 */
export async function sourcesOf(
  model: Segmenter,
  scan: ScanFiles,
  tasks: readonly number[],
  { channel, spacing, keys, series }: SourceOptions,
  note: (text: string) => void,
): Promise<Source[]> {
  const { plan } = model;
  const groups = new Map<string, { choice: ChannelChoice; tasks: number[] }>();
  for (const group of groupTasks(model, tasks)) {
    for (const task of group.tasks) {
      const name = plan.tasks[task]?.dataset ?? group.dataset;
      const planned = plan.datasets.find((dataset) => dataset.name === name)!.channel;
      const choice = channel === undefined ? { channel: planned, asked: false } : { channel, asked: true };
      const key = JSON.stringify(choice);
      const known = groups.get(key);
      if (known === undefined) groups.set(key, { choice, tasks: [task] });
      else known.tasks.push(task);
    }
  }
  const key = keys?.image ?? plannedKey(plan);
  const sources: Source[] = [...groups.values()].map(({ choice, tasks: ofGroup }) => {
    const { file, options } = scanSource(scan, choice);
    const hdf5 = isHdf5(file) ? { ...(spacing ? { spacingMm: spacing } : {}), ...(key ? { key } : {}) } : {};
    const dicom = series === undefined ? {} : { series };
    return { file, options: { ...options, ...hdf5, ...dicom }, tasks: ofGroup };
  });
  const { file, options } = sources[0]!;
  // A DICOM series is one volume; its headers are read here, once for everything that asks for them.
  const placed = await seriesOf(file, options);
  if (placed !== undefined) return [{ file, options: { ...options, placed }, tasks }];
  const several = sources.length > 1 && sources.every((source) => source.file === file);
  if (isHdf5(file) || (!several && options.channelOfSeveral === undefined))
    return several ? [{ file, options, tasks }] : sources;
  const { volumes } = await scanFacts(file, options);
  // A file of one volume is that volume for all tasks, which then share the passes over it.
  if (volumes === 1) return several ? [{ file, options, tasks }] : sources;
  const taken = sources.map((source) => source.options.channelOfSeveral).join(' and ');
  note(
    `${file} holds ${volumes} volumes, of which ${taken} is taken, as the model's plan has it; --channel takes another.`,
  );
  return sources;
}

/** Name of the array that the model was trained on, where all of its datasets name the same. */
function plannedKey({ datasets }: Segmenter['plan']): string | undefined {
  const keys = new Set(datasets.map((dataset) => dataset.keys?.image));
  return keys.size === 1 ? [...keys][0] : undefined;
}

/** @throws VERSEMI_USAGE when no scan would use a spacing that was given */
export function requireSpacingUsed(scans: readonly ScanFiles[], spacing: unknown): void {
  if (spacing === undefined || scans.some(({ image }) => isHdf5(image))) return;
  throw new VersemiError('USAGE', {
    field: '--spacing',
    expected: 'files that store no spacing of their own (HDF5)',
    found: scans[0]!.image,
    remedy: 'Leave --spacing out: it is in the header of these files.',
  });
}

/** Names told one by one. */
const mostNamed = 5;

function some(names: readonly string[]): string {
  return someOf(names, mostNamed);
}

export function leftOutLines(leftOut: readonly LeftOut[]): string[] {
  if (leftOut.length === 0) return [];
  return [`Left out: ${some(leftOut.map(({ file, reason }) => `${file} (${reason})`))}.`];
}

/** What a person should know before masks are made of these scans. */
export function remarksOn(scans: readonly ScanFiles[], { spacing }: SourceOptions): string[] {
  const remarks: string[] = [];
  const bare = scans.filter((scan) => isHdf5(scan.image) && scan.spacingMm === undefined);
  if (spacing === undefined && bare.length > 0)
    remarks.push(
      `Taken as 1 mm, since HDF5 stores no spacing: ${some(bare.map(({ image }) => image))}. Say --spacing x,y,z, or "spacingMm" in a dataset.json beside the files.`,
    );
  const numbered = scans.filter(({ modalityFiles }) => (modalityFiles?.size ?? 0) > 1);
  if (numbered.length > 0)
    remarks.push(
      `Files named _0000, _0001 ... are modalities of one scan: ${some(numbered.map(({ id }) => id))}. If each is a scan of its own, add --each-file.`,
    );
  return remarks;
}
