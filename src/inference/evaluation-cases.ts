import type { Plan } from '../config/plan.js';
import { resolveSplit, splitList } from '../datasets/splits.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { VersemiError } from '../errors.js';

/** Cases to evaluate on, and how many of them the model was trained on. */
export interface EvaluationCases {
  readonly cases: readonly CaseFiles[];
  readonly trainedOn: number;
}

/**
 * Cases with labels by what they are called: `all`, `test` (those that the dataset sets apart), `validation` or `labeled`
 * (as the plan of the model splits the dataset), the name of a list in splits.json, or ids.
 * @throws VERSEMI_SPLIT_INVALID
 */
export function evaluationCases(dataset: Dataset, plan: Plan, which: readonly string[]): EvaluationCases {
  const planDataset = plan.datasets.find(({ name }) => name === dataset.name);
  const split = () => (planDataset === undefined ? undefined : resolveSplit(dataset, planDataset, plan.seed));
  const everything = [...dataset.cases, ...dataset.test];
  const name = which.length === 1 ? which[0]! : undefined;
  const chosen = choose();
  const cases = chosen.filter((files) => files.label !== undefined);
  if (cases.length === 0) {
    throw new VersemiError('SPLIT_INVALID', {
      file: dataset.folder,
      field: `cases ${which.join(',')}`,
      expected: 'at least one case with a label file',
      found: `${chosen.length} cases, none with a label file`,
      remedy: 'Choose other cases with --cases, or add label files.',
    });
  }
  const trained = new Set(trainedIds());
  return { cases, trainedOn: cases.filter(({ id }) => trained.has(id)).length };

  function choose(): readonly CaseFiles[] {
    if (name === 'all') return everything;
    if (name === 'test') return dataset.test.length > 0 ? dataset.test : listed('test');
    if (name === 'validation' || name === 'labeled') return split()?.[name] ?? listed(name);
    if (name !== undefined && !everything.some(({ id }) => id === name)) return listed(name);
    return which.map((id) => everything.find((files) => files.id === id) ?? unknownCase(id));
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

  function trainedIds(): string[] {
    try {
      return split()?.labeled.map(({ id }) => id) ?? [];
    } catch {
      // The dataset at hand is another edition than the one trained on: then nothing is known about its cases.
      return [];
    }
  }
}
