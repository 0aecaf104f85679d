import { createHash } from 'node:crypto';
import { type DatasetRecord, type RecordedCase, type RecordedRole, recordedKey } from '../checkpoints/case-record.js';
import type { ModelProvenance } from '../checkpoints/metadata.js';
import type { Plan } from '../config/plan.js';
import { resolveSplit, splitList } from '../datasets/splits.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { isVersemiError, throwIfAborted, VersemiError } from '../errors.js';
import { type ContentKeys, contentKeys } from '../preprocessing/content-key.js';
import type { VerbOptions } from '../verb-options.js';
import { type CaseSelection, caseSets, namedCases } from './case-selection.js';
import { membersOf } from './segmenter.js';

/** What a model says of its training; a model file has both. */
export interface TrainedBy {
  readonly plan: Pick<Plan, 'datasets' | 'seed'>;
  readonly cases?: readonly DatasetRecord[];
  /** Names the model that this one began with, which saw cases too. */
  readonly provenance?: Pick<ModelProvenance, 'initial'>;
  /** Models that are averaged with this one: what one of them has seen, all of them together have seen. */
  readonly others?: readonly TrainedBy[];
}

/** How cases are selected. */
export type SelectOptions = Omit<VerbOptions<SelectProgress>, 'onNotice'>;

/** The files of a case have been read, to tell it from others by what it holds. */
export interface SelectProgress {
  readonly dataset: string;
  readonly id: string;
  /** Counts from 1. */
  readonly index: number;
  /** Cases of the dataset, of which not all need be read. */
  readonly total: number;
}

/** Roles whose cases a set holds. */
const setRoles: Readonly<Record<string, readonly RecordedRole[]>> = {
  validation: ['validation'],
  labeled: ['labeled'],
  unlabeled: ['unlabeled'],
  training: ['labeled', 'unlabeled'],
};

/**
 * Cases with labels by what they are called:
 * - `all`; `test` (those that the dataset sets apart);
 * - `validation`, `labeled`, `unlabeled` (trained without the labels that they have), `training` (both) as the model recorded them, or,
 *   for a model without a record, as its plan splits the dataset; `unseen`: those of which the model knew nothing;
 * - the name of a list in splits.json, or ids.
 *
 * A case whose files cannot be read is among them: reading it says why.
 * @param dataset under its name in the plan
 * @throws VERSEMI_SPLIT_INVALID; VERSEMI_ABORTED by `signal`, between two cases
 */
export async function evaluationCases(
  dataset: Dataset,
  model: TrainedBy,
  which: readonly string[],
  options: SelectOptions = {},
): Promise<{ readonly cases: readonly CaseFiles[]; readonly selection: CaseSelection }> {
  const everything = [...dataset.cases, ...dataset.test];
  const planDataset = model.plan.datasets.find(({ name }) => name === dataset.name);
  const known = new KnownCases(dataset, model, options);
  const asked = [...new Set(which.map((word) => (/^(un)?labelled$/.test(word) ? word.replace('ll', 'l') : word)))];
  const name = asked.length === 1 ? asked[0]! : undefined;
  const missing: string[] = [];
  const chosen = await choose();
  // Where single cases are meant, one that cannot be compared is missing; else unlabelled cases are left out as a matter of course.
  const single = name === undefined || !['all', 'test', 'unlabeled', 'training', 'unseen'].includes(name);
  if (single) missing.push(...chosen.filter(({ label }) => label === undefined).map(({ id }) => id));
  const cases = chosen.filter(({ label }) => label !== undefined);
  if (cases.length === 0) throw nothingToCompare();
  const about = await known.about(cases);
  return { cases, selection: { ...about, dataset: dataset.name, asked: asked.join(','), missing } };

  async function choose(): Promise<readonly CaseFiles[]> {
    if (name === 'all') return everything;
    if (name === 'test') return dataset.test.length > 0 ? dataset.test : listed('test');
    if (name === 'unseen') return known.unseen(everything.filter(({ label }) => label !== undefined));
    const roles = name === undefined ? undefined : setRoles[name];
    if (roles !== undefined && planDataset !== undefined) {
      const found = await known.inRoles(everything, roles);
      missing.push(...found.missing);
      return found.cases;
    }
    if (name !== undefined && !everything.some(({ id }) => id === name)) return listed(name);
    return asked.map((id) => everything.find((files) => files.id === id) ?? unknownCase(id));
  }

  function listed(list: string): readonly CaseFiles[] {
    const ids = splitList(dataset, planDataset?.split.file ?? null, list);
    return everything.filter(({ id }) => ids.has(id));
  }

  function unknownCase(id: string): never {
    throw new VersemiError('SPLIT_INVALID', {
      file: dataset.folder,
      field: 'cases',
      expected: 'ids of cases of the dataset',
      found: id,
      remedy: `Its cases are called like ${everything[0]?.id ?? 'nothing: it is empty'}.`,
    });
  }

  function nothingToCompare(): VersemiError {
    const of = missing.length > 0 ? `; not there, or without a label file: ${namedCases(missing)}` : '';
    return new VersemiError('SPLIT_INVALID', {
      file: dataset.folder,
      field: `cases ${which.join(',')}`,
      expected: 'at least one case with a label file',
      found: `${chosen.length === 0 ? `none, by ${known.source}` : `${chosen.length} cases, none with a label file`}${of}`,
      remedy: `Choose other cases (--cases ${caseSets.join(', ')}, or ids), or add label files.`,
    });
  }
}

/** What a model knows of the cases of a folder. */
class KnownCases {
  /** Per role, the cases of this dataset. */
  private readonly own: DatasetRecord;
  /** Keys of images -> roles, over all datasets: a leak is one wherever it comes from. */
  private readonly byImage = new Map<string, Set<RecordedRole>>();
  private readonly contents = new Map<CaseFiles, Promise<ContentKeys | undefined>>();
  private readonly channel: number | string;
  private readonly recorded: boolean;
  /** Name of the model that this one began with, where nobody knows what that one saw. */
  private readonly unknownInitial: string | undefined;
  /** Why a model without a record says nothing of this folder: it is another edition than the one that its plan splits. */
  private unsplit: unknown;

  constructor(
    private readonly dataset: Dataset,
    model: TrainedBy,
    private readonly options: SelectOptions,
  ) {
    const models = membersOf<TrainedBy>(model);
    this.channel = model.plan.datasets.find(({ name }) => name === dataset.name)?.channel ?? 0;
    this.recorded = models.every(({ cases }) => cases !== undefined);
    const unknown = models.flatMap(({ provenance: { initial } = {} }) =>
      initial === undefined || initial.cases !== undefined ? [] : [initial.model],
    );
    if (unknown.length > 0) this.unknownInitial = [...new Set(unknown)].join(', ');
    const own: DatasetRecord[] = [];
    for (const { plan, cases, provenance } of models) {
      const split = () => {
        try {
          return splitNow(dataset, plan);
        } catch (error) {
          this.unsplit = error;
          return undefined;
        }
      };
      const found = cases === undefined ? split() : cases.find((one) => one.dataset === dataset.name);
      if (found !== undefined) own.push(found);
      for (const record of [...(cases ?? []), ...(provenance?.initial?.cases ?? [])])
        for (const role of ['labeled', 'unlabeled', 'validation'] as const)
          for (const [, image] of record[role]) if (image !== undefined) this.rolesOf(image).add(role);
    }
    const joined = (role: RecordedRole): RecordedCase[] => {
      const cases = own.flatMap((record) => record[role]);
      return [...new Map(cases.map((one) => [JSON.stringify(one), one])).values()];
    };
    const [labeled, unlabeled, validation] = [joined('labeled'), joined('unlabeled'), joined('validation')];
    this.own = { dataset: dataset.name, labeled, unlabeled, validation, watched: [] };
  }

  /** What the roles follow from, in words. */
  get source(): string {
    return this.recorded ? 'what the model recorded of its training' : "the plan's split of the folder";
  }

  /** Cases of a run: those of the same name and image, else of the same image, else of the same name. */
  async inRoles(cases: readonly CaseFiles[], roles: readonly RecordedRole[]) {
    if (this.unsplit !== undefined) throw this.unsplit;
    const found = new Set<CaseFiles>();
    const missing: string[] = [];
    for (const [id, image] of roles.flatMap((role) => this.own[role])) {
      const named = cases.find((files) => files.id === id);
      const match =
        image === undefined || (named !== undefined && (await this.imageKey(named)) === image)
          ? named
          : ((await this.withImage(cases, image)) ?? named);
      if (match === undefined) missing.push(id);
      else found.add(match);
    }
    return { cases: cases.filter((files) => found.has(files)), missing };
  }

  /** Cases that are in no role, neither by content nor, where content is not known or cannot be read, by name. */
  async unseen(cases: readonly CaseFiles[]): Promise<CaseFiles[]> {
    if (this.unsplit !== undefined) throw this.unsplit;
    const result: CaseFiles[] = [];
    for (const files of cases) if ((await this.rolesOfCase(files)).size === 0) result.push(files);
    return result;
  }

  async about(cases: readonly CaseFiles[]): Promise<Omit<CaseSelection, 'dataset' | 'asked' | 'missing'>> {
    const ids = { labeled: [] as string[], unlabeled: [] as string[], validation: [] as string[] };
    const changed: string[] = [];
    const contents: string[] = [];
    for (const files of cases) {
      for (const role of await this.rolesOfCase(files)) ids[role].push(files.id);
      const content = await this.content(files);
      contents.push(content === undefined ? 'unreadable' : `${content.image} ${content.label ?? ''}`);
      const before = this.namesake(files.id);
      if (before !== undefined && content !== undefined && this.isOther(before, content)) changed.push(files.id);
    }
    const content = createHash('sha256').update(contents.sort().join('\n')).digest('hex');
    return {
      recorded: this.recorded,
      ...(this.unknownInitial === undefined ? {} : { unknownInitial: this.unknownInitial }),
      count: cases.length,
      ...ids,
      changed,
      content: recordedKey(content),
    };
  }

  private isOther([, image, label]: RecordedCase, now: ContentKeys): boolean {
    const other = (key: string | undefined, keyNow: string) => key !== undefined && key !== recordedKey(keyNow);
    return other(image, now.image) || other(label, now.label ?? '');
  }

  private async rolesOfCase(files: CaseFiles): Promise<ReadonlySet<RecordedRole>> {
    const key = this.byImage.size === 0 ? undefined : await this.imageKey(files);
    const byContent = key === undefined ? undefined : this.byImage.get(key);
    if (byContent !== undefined) return byContent;
    const roles = new Set<RecordedRole>();
    for (const role of ['labeled', 'unlabeled', 'validation'] as const)
      if (this.own[role].some(([id, image]) => id === files.id && (image === undefined || key === undefined)))
        roles.add(role);
    return roles;
  }

  private namesake(id: string): RecordedCase | undefined {
    const { labeled, unlabeled, validation } = this.own;
    return [...labeled, ...unlabeled, ...validation].find(([one]) => one === id);
  }

  private async withImage(cases: readonly CaseFiles[], image: string): Promise<CaseFiles | undefined> {
    for (const files of cases) if ((await this.imageKey(files)) === image) return files;
    return undefined;
  }

  private async imageKey(files: CaseFiles): Promise<string | undefined> {
    const content = await this.content(files);
    return content && recordedKey(content.image);
  }

  /** Undefined where a file is missing or cannot be read: evaluating that case says so, and the others are compared. */
  private content(files: CaseFiles): Promise<ContentKeys | undefined> {
    const known = this.contents.get(files);
    if (known !== undefined) return known;
    const read = this.read(files);
    this.contents.set(files, read);
    return read;
  }

  private async read(files: CaseFiles): Promise<ContentKeys | undefined> {
    const { signal, onProgress } = this.options;
    throwIfAborted(signal, 'evaluation');
    const { name, cases, test } = this.dataset;
    try {
      return await contentKeys(this.dataset, files, this.channel);
    } catch (error) {
      if (isVersemiError(error) && !isVersemiError(error, 'INTERNAL')) return undefined;
      throw error;
    } finally {
      onProgress?.({ dataset: name, id: files.id, index: this.contents.size, total: cases.length + test.length });
    }
  }

  private rolesOf(image: string): Set<RecordedRole> {
    const roles = this.byImage.get(image) ?? new Set();
    this.byImage.set(image, roles);
    return roles;
  }
}

/** The roles as the plan splits the folder now, which need not be what a model without a record was trained on. */
function splitNow(dataset: Dataset, plan: TrainedBy['plan']): DatasetRecord | undefined {
  const planDataset = plan.datasets.find(({ name }) => name === dataset.name);
  if (planDataset === undefined) return undefined;
  const split = resolveSplit(dataset, planDataset, plan.seed);
  const ids = (cases: readonly CaseFiles[]) => cases.map(({ id }): RecordedCase => [id]);
  return {
    dataset: dataset.name,
    labeled: ids(split.labeled),
    unlabeled: ids(split.unlabeled),
    validation: ids(split.validation),
    watched: [],
  };
}
