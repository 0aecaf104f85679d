import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { nearestName } from '../config/fields.js';
import type { PlanDataset } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { type JsonObject, shown } from '../json-text.js';
import { someOf } from '../list-text.js';
import { RandomStream, streams } from '../random.js';
import { readJsonObject } from './description.js';
import type { CaseFiles, Dataset } from './types.js';

/** The cases of a dataset by what they are for. */
export interface ResolvedSplit {
  /** Cases whose labels train. */
  readonly labeled: readonly CaseFiles[];
  /** Cases that train without labels: `label` is absent, so that no label file of theirs can be opened. */
  readonly unlabeled: readonly CaseFiles[];
  /** Cases, with labels, for choosing a model. */
  readonly validation: readonly CaseFiles[];
}

/**
 * Decides what each case is for. Names refer to lists of case ids in the split file (default: splits.json in the folder
 * of the dataset). A list named `test` there is kept out of everything that is not named outright.
 * - labeled 'all': every case with a label file, less the validation cases.
 * - validation, a number: that many cases with label files, drawn by `seed` from those that are not in `labeled` (with
 *   labeled 'all' from all of them); the draw does not depend on the order in which the dataset lists its cases.
 * - fold: the cases of `labeled`, less one fold of them, which is for validation.
 * - unlabeled 'rest': every other case.
 * @throws VERSEMI_SPLIT_INVALID, VERSEMI_FILE_NOT_FOUND (a split file that the plan names)
 */
export function resolveSplit(
  dataset: Dataset,
  planDataset: { readonly split: PlanDataset['split'] },
  seed: number,
): ResolvedSplit {
  const { labeled, validation, unlabeled, fold } = planDataset.split;
  const lists = new SplitLists(dataset, planDataset.split.file);
  const test = lists.optional('test');
  const has = (files: CaseFiles) => files.label !== undefined;
  const available = dataset.cases.filter((files) => !test.has(files.id));

  const named = labeled === 'all' ? undefined : lists.get('labeled', labeled);
  const drawn = (count: number) => {
    const candidates = available.filter((files) => has(files) && !named?.has(files.id));
    return draw(candidates, count, seed, dataset.folder);
  };
  const chosen =
    fold !== undefined
      ? foldOf(named ?? new Set(available.filter(has).map(({ id }) => id)), fold, dataset.folder)
      : typeof validation === 'number'
        ? drawn(validation)
        : lists.get('validation', validation);
  const trains = (id: string) => fold === undefined || !chosen.has(id);
  const training = new Set(
    named === undefined
      ? available.filter((files) => has(files) && !chosen.has(files.id)).map(({ id }) => id)
      : [...named].filter(trains),
  );
  const rest =
    unlabeled === 'none'
      ? new Set<string>()
      : unlabeled === 'rest'
        ? new Set(available.map(({ id }) => id).filter((id) => !training.has(id) && !chosen.has(id)))
        : lists.get('unlabeled', unlabeled);

  const roles = { labeled: training, validation: chosen, unlabeled: rest };
  requireDisjoint(roles, dataset.folder);
  requireLabels(dataset, { labeled: training, validation: chosen });
  const pick = (ids: ReadonlySet<string>) => dataset.cases.filter((files) => ids.has(files.id));
  return {
    labeled: pick(training),
    validation: pick(chosen),
    unlabeled: pick(rest).map(({ label: _, ...files }) => files),
  };
}

/**
 * Ids in a named list of the split file, test cases of the dataset included.
 * @param file split file; null: splits.json of the dataset
 * @throws VERSEMI_SPLIT_INVALID, VERSEMI_FILE_NOT_FOUND
 */
export function splitList(dataset: Dataset, file: string | null, name: string): ReadonlySet<string> {
  return new SplitLists({ ...dataset, cases: [...dataset.cases, ...dataset.test] }, file).get('cases', name);
}

/** Lists of case ids by name in the split file, or given outright; every id is checked against the dataset. */
class SplitLists {
  private readonly file: string | undefined;
  private readonly json: JsonObject;

  constructor(
    private readonly dataset: Dataset,
    file: string | null,
  ) {
    const usual = join(dataset.folder, 'splits.json');
    this.file = file !== null ? resolve(dataset.folder, file) : existsSync(usual) ? usual : undefined;
    this.json = this.file === undefined ? {} : readJsonObject(this.file, 'SPLIT_INVALID');
  }

  get(role: string, value: string | readonly string[]): ReadonlySet<string> {
    if (typeof value !== 'string') return this.checked(value, role, this.dataset.folder);
    const list = this.json[value];
    if (!Array.isArray(list)) {
      const known = Object.keys(this.json).filter((key) => Array.isArray(this.json[key]));
      const nearest = nearestName(value, known);
      throw new VersemiError('SPLIT_INVALID', {
        file: this.file ?? this.dataset.folder,
        field: role,
        expected: this.file === undefined ? 'a split file with lists of case ids' : `a list named "${value}"`,
        found: this.file === undefined ? 'no splits.json' : `lists named ${known.join(', ') || '(none)'}`,
        remedy: nearest === undefined ? 'Correct the plan or the split file.' : `Did you mean "${nearest}"?`,
      });
    }
    return this.checked(list, value, this.file!);
  }

  /** A list that may be absent, and may name cases that the dataset lists elsewhere. */
  optional(name: string): ReadonlySet<string> {
    const list = this.json[name];
    return new Set(Array.isArray(list) ? list.filter((id) => typeof id === 'string') : []);
  }

  private checked(list: readonly unknown[], field: string, file: string): ReadonlySet<string> {
    const known = new Set(this.dataset.cases.map(({ id }) => id));
    const seen = new Set<string>();
    const wrong: string[] = [];
    for (const id of list) {
      if (typeof id !== 'string' || seen.has(id)) {
        throw new VersemiError('SPLIT_INVALID', {
          file,
          field,
          expected: 'case ids, each once',
          found: typeof id === 'string' ? `${id} twice` : shown(id),
          remedy: 'Correct the list.',
        });
      }
      seen.add(id);
      if (!known.has(id)) wrong.push(id);
    }
    if (wrong.length === 0) return seen;
    const hints = wrong.slice(0, 3).map((id) => {
      const nearest = nearestName(id, [...known]);
      return nearest === undefined ? id : `${id} (did you mean ${nearest}?)`;
    });
    throw new VersemiError('SPLIT_INVALID', {
      file,
      field,
      expected: `ids of the ${known.size} cases in ${this.dataset.folder}`,
      found: `${wrong.length} unknown: ${hints.join(', ')}${wrong.length > 3 ? ', ...' : ''}`,
      remedy: 'Correct the list, or add the files.',
    });
  }
}

function draw(candidates: readonly CaseFiles[], count: number, seed: number, folder: string): ReadonlySet<string> {
  if (candidates.length < count) {
    throw new VersemiError('SPLIT_INVALID', {
      file: folder,
      field: 'validation',
      expected: `${count} cases with label files that are not used as labelled`,
      found: String(candidates.length),
      remedy: 'Ask for fewer validation cases, or for fewer labelled ones.',
    });
  }
  const ids = candidates.map(({ id }) => id).sort((a, b) => (a < b ? -1 : 1));
  return new Set(new RandomStream(seed, streams.split).shuffled(ids).slice(0, count));
}

/** One of the folds into which cases are dealt; a function of their ids alone, whatever the seed of a run and the order of the cases. */
function foldOf(cases: ReadonlySet<string>, [index, count]: readonly [number, number], folder: string) {
  if (cases.size < count)
    throw new VersemiError('SPLIT_INVALID', {
      file: folder,
      field: 'fold',
      expected: `at least ${count} labelled cases for ${count} folds`,
      found: String(cases.size),
      remedy: 'Ask for fewer folds, or label more cases.',
    });
  const ids = new RandomStream(0, streams.split).shuffled([...cases].sort((a, b) => (a < b ? -1 : 1)));
  return new Set(ids.filter((_, i) => i % count === index));
}

function requireDisjoint(roles: Readonly<Record<string, ReadonlySet<string>>>, folder: string): void {
  const entries = Object.entries(roles);
  for (const [i, [a, first]] of entries.entries()) {
    for (const [b, second] of entries.slice(i + 1)) {
      const both = [...first].filter((id) => second.has(id));
      if (both.length === 0) continue;
      throw new VersemiError('SPLIT_INVALID', {
        file: folder,
        field: `${a} and ${b}`,
        expected: 'each case in one of them',
        found: `${someOf(both, 3)} in both`,
        remedy: 'Take these cases out of one of the lists.',
      });
    }
  }
}

function requireLabels(dataset: Dataset, roles: Readonly<Record<string, ReadonlySet<string>>>): void {
  for (const [role, ids] of Object.entries(roles)) {
    const without = dataset.cases.filter(({ id, label }) => ids.has(id) && label === undefined).map(({ id }) => id);
    if (without.length === 0) continue;
    throw new VersemiError('SPLIT_INVALID', {
      file: dataset.folder,
      field: role,
      expected: 'cases with label files',
      found: `${without.length} without: ${without.slice(0, 3).join(', ')}${without.length > 3 ? ', ...' : ''}`,
      remedy: 'Add the label files, or take the cases out of the list.',
    });
  }
}
