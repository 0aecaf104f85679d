import { VersemiError } from '../../errors.js';
import { shown } from '../../json-text.js';
import { someOf } from '../../list-text.js';
import type { Description } from '../description.js';
import type { DatasetCases } from '../types.js';
import { type LabelObject, structureKey } from './label-objects.js';

interface LabelledCase {
  readonly id: string;
  readonly labels: readonly LabelObject[];
}

/** There is one byte per voxel. */
const mostLabels = 255;
/** Named one by one in a remark. */
const mostNamed = 5;

/**
 * Values of the structures of a dataset: as dataset.json has them, else numbered in the order of their names over all cases.
 * @param lenient true: names of dataset.json that occur nowhere are let through
 * @throws VERSEMI_DATASET_INVALID when dataset.json names a structure that no case has, or when there are more than 255
 */
export function labelTable(
  cases: readonly LabelledCase[],
  description: Description | undefined,
  lenient: boolean,
  folder: string,
): Required<Pick<DatasetCases, 'remarks' | 'labels' | 'labelsDeclared' | 'labelsOrdered'>> {
  const found = structuresOf(cases);
  const labelled = cases.filter(({ labels }) => labels.length > 0);
  if (description?.labels !== undefined) {
    const { labels, ignoredLabel } = description;
    const known = Object.entries(labels).filter(([value]) => value !== '0');
    const missing = known.filter(([, name]) => !found.has(structureKey(name)));
    if (missing.length > 0 && labelled.length > 0 && !lenient) {
      throw new VersemiError('DATASET_INVALID', {
        file: description.file,
        field: 'labels',
        expected: `names of structures: ${listed([...found.values()].map(({ name }) => shown(name, 60)))}`,
        found: missing.map(([, name]) => shown(name)).join(', '),
        remedy: 'Write each name as the structure sets and segmentations have it.',
      });
    }
    const names = new Set(known.map(([, name]) => structureKey(name)));
    const unused = [...found].filter(([key]) => !names.has(key) && !(ignoredLabel !== undefined && key === 'ignore'));
    return {
      labels,
      ...{ labelsDeclared: true, labelsOrdered: true },
      remarks: [
        ...(unused.length > 0
          ? [`structures that dataset.json does not name are left out: ${listed(unused.map(([, { name }]) => name))}`]
          : []),
        ...absent(
          known.map(([, name]) => [structureKey(name), name]),
          labelled,
        ),
      ],
    };
  }
  if (found.size > mostLabels) {
    throw new VersemiError('DATASET_INVALID', {
      file: folder,
      field: 'labels',
      expected: `at most ${mostLabels} different structures`,
      found: `${found.size}, e.g. ${listed([...found.values()].map(({ name }) => shown(name, 60)))}`,
      remedy: 'Write a dataset.json with "labels" that names those that are wanted.',
    });
  }
  const keys = [...found.keys()];
  return {
    labels: Object.fromEntries([
      [0, 'background'],
      ...(keys.length === 0 ? [[1, 'foreground']] : keys.map((key, i) => [i + 1, found.get(key)!.name])),
    ]),
    ...{ labelsDeclared: keys.length > 0, labelsOrdered: false },
    remarks: absent(
      keys.map((key) => [key, found.get(key)!.name]),
      labelled,
    ),
  };
}

/** Structures by their keys, in order of these, each in the spelling that most cases have. */
function structuresOf(cases: readonly LabelledCase[]): Map<string, { readonly name: string }> {
  const spellings = new Map<string, Map<string, number>>();
  for (const name of cases.flatMap(({ labels }) => labels.flatMap(({ names }) => names))) {
    const counts = spellings.get(structureKey(name)) ?? new Map<string, number>();
    spellings.set(structureKey(name), counts.set(name.trim(), (counts.get(name.trim()) ?? 0) + 1));
  }
  return new Map(
    [...spellings]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, counts]) => {
        const [[name]] = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)) as [[string, number]];
        return [key, { name }];
      }),
  );
}

/** Structures that some labelled cases lack: nobody can tell from the file whether they are absent or were not drawn. */
function absent(structures: readonly (readonly string[])[], cases: readonly LabelledCase[]): string[] {
  return structures.flatMap(([key, name]) => {
    const without = cases.filter(
      ({ labels }) => !labels.some(({ names }) => names.some((other) => structureKey(other) === key)),
    );
    if (without.length === 0) return [];
    return [
      `${shown(name)} is not drawn in ${without.length} of ${cases.length} labelled cases, where it counts as absent: ${listed(without.map(({ id }) => id))}`,
    ];
  });
}

/** Some names of a list, and how many more there are. */
export function listed(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  return someOf(names, mostNamed);
}
