import { existsSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { Plan } from '../config/plan.js';
import { type MaskFiles, MaskFolder, readMasks, type WantedMask } from '../datasets/case-masks.js';
import { openDataset } from '../datasets/dataset.js';
import { channelIndex, openCase } from '../datasets/load-case.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import { summarize } from '../metrics/summary.js';
import { planName } from '../preprocessing/fingerprint.js';
import { MaskVolume } from '../scans/mask-volume.js';
import type { VerbOptions } from '../verb-options.js';
import { host } from '../wasm/host.js';
import { type CaseSelection, namedCases } from './case-selection.js';
import { type DatasetFolder, matchDatasets } from './dataset-match.js';
import { compareMasks, type Evaluation, geometryOf } from './evaluate.js';
import type { CasePlace, EvaluateCasesOptions, EvaluationFacts, EvaluationProgress } from './evaluate-dataset.js';
import { evaluationCases, type SelectOptions } from './evaluation-cases.js';

/** A task of masks: its name, and the values of the label maps that are inside of it. */
export type MaskTask = Pick<WantedMask, 'name' | 'labels'>;

/** Which cases and tasks are compared. */
export interface SelectMasksOptions extends SelectOptions {
  /** Default: the regions of dataset.json, else each of its labels. */
  readonly tasks?: readonly MaskTask[];
  /** Instead of `tasks`: those that a plan has of the dataset. Its split then says which cases are for what. */
  readonly plan?: Plan;
  /** Names: only these of the tasks. */
  readonly only?: readonly string[];
  /** all (default), test, the name of a list in splits.json, or ids; with a plan also validation, labeled and training. */
  readonly cases?: readonly string[];
}

/** A dataset, those of its cases that are to be compared, and where their masks are. */
export interface SelectedMasks extends DatasetFolder {
  /** Folder of the masks. */
  readonly masks: string;
  readonly opened: Dataset;
  readonly tasks: readonly WantedMask[];
  /** Index of the modality that pictures are made of. */
  readonly channel: number;
  readonly cases: readonly CaseFiles[];
  readonly selection: CaseSelection;
  /** Where the masks of each case are, or what is wrong with them. */
  readonly found: ReadonlyMap<string, MaskFiles | VersemiError>;
  /** What a person should know of the folder of masks. */
  readonly remarks: readonly string[];
}

/** How the masks of a dataset are compared. */
export interface EvaluateMasksOptions
  extends Omit<SelectMasksOptions, 'onProgress'>,
    Pick<EvaluateCasesOptions, 'toleranceMm' | 'attempt' | 'signal'>,
    Pick<VerbOptions<CasePlace>, 'onProgress' | 'onNotice'> {
  /** Name of the dataset; default: that in dataset.json. With a plan: the name that the plan has for it. */
  readonly dataset?: string;
  /** True: distances in voxels too. */
  readonly voxels?: boolean;
}

/**
 * Compares masks that are there already, of whatever program, with the labels of a dataset, case by case; no model is needed. The masks of
 * a case ID are label maps with the values of the dataset (ID.nii.gz), files per task (ID_TASK.nii.gz, as `versemi predict` writes them, or
 * ID/TASK.nii.gz), or a DICOM segmentation or structure set of the case's series (ID.dcm); where the folder of masks has a folder of the
 * name of the dataset, that one is taken. They lie on the voxels of the image, in whatever order: nothing is resampled. An empty mask is
 * compared as the metrics have it; a mask that is missing is an error of its case.
 * @param folder of the dataset
 * @param masks folder of the masks
 * @throws as {@link selectMasks} and {@link evaluateSelectedMasks}
 */
export async function* evaluateMasks(
  folder: string,
  masks: string,
  { dataset, ...options }: EvaluateMasksOptions = {},
): AsyncGenerator<EvaluationProgress, void> {
  const folders = [{ folder, ...(dataset === undefined ? {} : { dataset }) }];
  const { onProgress: _, ...selection } = options;
  for (const selected of await selectMasks(masks, folders, selection)) {
    for (const text of selected.remarks) options.onNotice?.(text);
    yield* evaluateSelectedMasks(selected, options);
  }
}

/**
 * Finds out which masks there are to compare before one is read.
 * @param masks folder of the masks
 * @throws VERSEMI_FILE_NOT_FOUND where no case has a mask; VERSEMI_DATASET_INVALID where nothing names the labels, and where two cases
 *   would have one mask; VERSEMI_SPLIT_INVALID; VERSEMI_MODEL_TASK_UNKNOWN naming tasks or a dataset that are not there; VERSEMI_ABORTED by `signal`
 */
export async function selectMasks(
  masks: string,
  folders: readonly DatasetFolder[],
  { tasks, plan, only, cases = ['all'], ...options }: SelectMasksOptions = {},
): Promise<SelectedMasks[]> {
  requireMeaning(folders, { tasks, plan, cases });
  const matched =
    plan === undefined
      ? await Promise.all(folders.map((folder) => openFolder(folder)))
      : (await matchDatasets({ plan }, folders)).map(({ tasks: indices, ...one }) => ({
          ...one,
          tasks: indices.map((index) => plan.tasks[index]!),
        }));
  requireApart(matched);
  const shared = sharedNames(matched.map(({ opened }) => opened));
  const selected: SelectedMasks[] = [];
  for (const one of matched) {
    const { opened } = one;
    const wanted = chosenTasks(opened, one.tasks ?? tasks ?? defaultTasks(opened, shared), only);
    const { cases: files, selection } = await evaluationCases(
      opened,
      plan === undefined ? { plan: { datasets: [], seed: 0 }, cases: [] } : { plan },
      cases,
      options,
    );
    const channel = plan?.datasets.find(({ name }) => name === opened.name)?.channel ?? 0;
    const own = join(masks, opened.name);
    const folder = existsSync(own) && statSync(own).isDirectory() ? own : masks;
    selected.push({
      ...{ folder: one.folder, masks: folder, opened, tasks: wanted, channel: channelIndex(opened, channel) },
      ...{ cases: files, selection: { ...selection, masks: true } },
      ...(await findMasks(folder, opened, files, wanted)),
    });
  }
  requireOwnMasks(selected);
  return selected;
}

/**
 * As {@link evaluateMasks}, of cases that were selected before.
 * @throws VERSEMI_FILE_NOT_FOUND where a case has no mask; VERSEMI_GEOMETRY_MISMATCH naming a mask that lies on other voxels than its
 *   image, and the image; VERSEMI_LABEL_INVALID; VERSEMI_ABORTED by `signal`, and what reading a case throws
 */
export async function* evaluateSelectedMasks(
  { opened: dataset, tasks, channel, cases, selection, found }: SelectedMasks,
  {
    toleranceMm,
    voxels = false,
    signal,
    onProgress,
    onNotice,
    attempt = (_, work) => work(),
  }: Omit<EvaluateMasksOptions, Exclude<keyof SelectMasksOptions, keyof SelectOptions> | 'dataset'> = {},
): AsyncGenerator<EvaluationProgress, void> {
  for (const [i, files] of cases.entries()) {
    throwIfAborted(signal, 'evaluation');
    const place: CasePlace = { dataset: dataset.name, id: files.id, index: i + 1, total: cases.length };
    onProgress?.(place);
    const outcomes = await attempt(place, async () => {
      const where = found.get(files.id)!;
      if (where instanceof VersemiError) throw where;
      const opened = await openCase(dataset, files, { channel, ...(onNotice === undefined ? {} : { onNotice }) });
      const { id, image, ignoredLabel } = opened;
      const label = opened.label!;
      const masks = await readMasks(where, { dataset, files, channel, image, onNotice }, tasks);
      const compared = tasks.map(({ name, labels }, task) => ({
        ...{ task: name, labels },
        mask: new MaskVolume(geometryOf(label), host().packMask(masks[task]!, label.sizeVoxels)),
      }));
      const how = { toleranceMm, voxels, signal };
      return compareMasks({ id, dataset: dataset.name, image, label, ignoredLabel }, compared, how);
    });
    yield { ...place, selection, outcomes: outcomes ?? [] };
  }
}

/** Gathers outcomes into what `versemi evaluate` writes. @param masks folder of the masks */
export function makeMaskEvaluation(
  masks: string,
  cases: Evaluation['cases'],
  facts: Omit<EvaluationFacts, 'model' | 'device' | 'deviceSettings' | 'weights'> = {},
): Evaluation {
  return { format: 1, masks, ...facts, created: new Date().toISOString(), cases, summary: summarize(cases) };
}

async function openFolder({ folder, dataset }: DatasetFolder) {
  const opened = await openDataset(folder, { ...(dataset === undefined ? {} : { name: dataset }), lenient: true });
  return { folder, opened, tasks: undefined };
}

/** Regions of the dataset, else its labels. @param shared names that several datasets have */
function defaultTasks(dataset: Dataset, shared: ReadonlySet<string>): WantedMask[] {
  const { name, folder, labels, labelsDeclared, regions } = dataset;
  if (!labelsDeclared)
    throw new VersemiError('DATASET_INVALID', {
      file: folder,
      field: 'labels',
      expected: 'a dataset.json that names the labels',
      found: 'none',
      remedy: 'Say which tasks the values are: --tasks liver=1 tumour=2, or --plan PLAN.',
    });
  const named = Object.entries(labels)
    .filter(([value]) => value !== '0')
    .map(([value, label]) => ({ name: label, labels: [Number(value)] }));
  const tasks = regions ?? named;
  return tasks.map((task) => {
    const planned = [
      planName(`${name}-${task.name}`),
      planName(`${planName(name)}-${task.name}`),
      ...(tasks.length === 1 ? [planName(name)] : []),
    ];
    const own = shared.has(task.name) ? planned[0]! : task.name;
    const aliases = [...new Set([task.name, ...planned])].filter((alias) => alias !== own);
    return { name: own, labels: task.labels, aliases };
  });
}

/** Names of labels and regions that more than one dataset has: their scores are kept apart. */
function sharedNames(datasets: readonly Dataset[]): Set<string> {
  const names = datasets.flatMap(({ labels, regions }) => [
    ...new Set(regions?.map(({ name }) => name) ?? Object.values(labels)),
  ]);
  return new Set(names.filter((name, i) => names.indexOf(name) !== i));
}

/** @throws VERSEMI_MODEL_TASK_UNKNOWN, VERSEMI_LABEL_INVALID */
function chosenTasks(
  { folder, labels, labelsDeclared }: Dataset,
  tasks: readonly WantedMask[],
  only: readonly string[] | undefined,
): readonly WantedMask[] {
  for (const { name, labels: values } of tasks) {
    const unknown = values.filter((value) => labels[value] === undefined);
    if (labelsDeclared && unknown.length > 0)
      throw new VersemiError('LABEL_INVALID', {
        file: folder,
        field: `task ${name}`,
        expected: `values that dataset.json names: ${Object.keys(labels).join(', ')}`,
        found: unknown.join(', '),
        remedy: 'Correct the values of the task, or dataset.json.',
      });
  }
  const names = tasks.map(({ name }) => name);
  const missing = only?.find((name) => !names.includes(name));
  if (missing !== undefined)
    throw new VersemiError('MODEL_TASK_UNKNOWN', {
      file: folder,
      field: 'task',
      expected: names.join(', '),
      found: missing,
      remedy: 'Name one of these tasks.',
    });
  return only === undefined || only.length === 0 ? tasks : tasks.filter(({ name }) => only.includes(name));
}

async function findMasks(
  folder: string,
  { name, cases, test }: Dataset,
  files: readonly CaseFiles[],
  tasks: readonly WantedMask[],
): Promise<Pick<SelectedMasks, 'found' | 'remarks'>> {
  const masks = await MaskFolder.open(folder);
  const found = new Map<string, MaskFiles | VersemiError>();
  for (const { id } of files)
    found.set(
      id,
      await masks.find(id, name, tasks).catch((error: unknown) => {
        if (error instanceof VersemiError) return error;
        throw error;
      }),
    );
  const [first] = found.values();
  if (first instanceof VersemiError && [...found.values()].every((one) => one instanceof VersemiError)) throw first;
  const left = masks.leftOver(new Set([...cases, ...test].map(({ id }) => id)));
  const remarks = left.length === 0 ? [] : [`${folder}: of no case of ${name}: ${namedCases(left)}.`];
  return { found, remarks };
}

/** @throws VERSEMI_MODEL_TASK_UNKNOWN where two folders are one dataset */
function requireApart(matched: readonly { readonly folder: string; readonly opened: Dataset }[]): void {
  for (const [i, { folder, opened }] of matched.entries()) {
    const other = matched.slice(0, i).find((one) => one.opened.name === opened.name);
    if (other === undefined) continue;
    throw new VersemiError('MODEL_TASK_UNKNOWN', {
      file: folder,
      field: 'dataset',
      expected: 'folders of different datasets',
      found: `"${opened.name}", as ${other.folder}`,
      remedy: 'Give each folder a name of its own: --data NAME=FOLDER.',
    });
  }
}

/** Where datasets share a folder of masks, a mask is of one case. @throws VERSEMI_DATASET_INVALID */
function requireOwnMasks(selected: readonly SelectedMasks[]): void {
  const owners = new Map<string, string>();
  for (const { opened, found } of selected)
    for (const [id, where] of found) {
      if (where instanceof VersemiError) continue;
      const owner = `${id} of ${opened.name}`;
      for (const file of where.form === 'tasks' ? where.files : [where.file]) {
        const other = owners.get(resolve(file));
        if (other !== undefined && other !== owner)
          throw new VersemiError('DATASET_INVALID', {
            file,
            expected: 'the mask of one case',
            found: `that of ${other} and of ${owner}`,
            remedy: `Put the masks of each dataset into a folder of its name, such as ${basename(opened.name)}, in the folder of masks.`,
          });
        owners.set(resolve(file), owner);
      }
    }
}

/** @throws VERSEMI_USAGE where what is asked for needs a model or a plan, or one dataset */
function requireMeaning(
  folders: readonly DatasetFolder[],
  { tasks, plan, cases }: { tasks: unknown; plan: unknown; cases: readonly string[] },
): void {
  if (plan === undefined && cases.includes('unseen'))
    throw new VersemiError('USAGE', {
      field: 'cases unseen',
      expected: 'all, test, the name of a list in splits.json, or ids',
      found: 'a set that a model or a plan knows, and neither is there',
      remedy: 'Name the cases, or add --plan PLAN, whose split says which cases are for what.',
    });
  if (tasks !== undefined && folders.length > 1)
    throw new VersemiError('USAGE', {
      field: 'tasks',
      expected: 'one dataset, in which the values of the tasks mean something',
      found: `${folders.length}`,
      remedy: 'Compare the datasets one by one, or leave the tasks to their dataset.json or to a plan.',
    });
}
