import type { Dataset } from '../datasets/types.js';
import { VersemiError } from '../errors.js';
import { isJsonObject, shown } from '../json-text.js';
import type { ServedModel } from './models.js';

/**
 * Values of a label map that a client made, by the names that the client gives them: a viewer numbers its segments from 1, whatever
 * the dataset calls 1. A name is that of a label of the dataset, or of a task that stands for one label. A task of several labels
 * (a hippocampus of which the dataset knows two parts) says nothing of which is which, and is refused.
 * @param names value in the label map -> name; names of values that do not occur do not matter, as viewers keep empty segments
 * @returns for `saveLabel`; throws VERSEMI_LABEL_INVALID
 */
export function valuesByName(
  dataset: Dataset,
  models: readonly ServedModel[],
  names: ReadonlyMap<number, string>,
): (value: number) => number {
  const taken = new Map<number, string>();
  return (value) => {
    const name = names.get(value);
    if (name !== undefined) {
      const found = labelNamed(dataset, models, name);
      const other = taken.get(found) ?? name;
      taken.set(found, other);
      if (other === name) return found;
      throw new VersemiError('LABEL_INVALID', {
        file: dataset.folder,
        field: `segment ${name}`,
        expected: 'a value of its own in the dataset',
        found: `${found}, which is that of ${other}`,
        remedy: 'Delete one of the two, or join them.',
      });
    }
    throw new VersemiError('LABEL_INVALID', {
      file: dataset.folder,
      expected: `the values that have a name: ${[...names.keys()].join(', ')}`,
      found: String(value),
      remedy: 'Give each value of the label map a name.',
    });
  };
}

function labelNamed(dataset: Dataset, models: readonly ServedModel[], name: string): number {
  const known = Object.entries(dataset.labels).filter(([value]) => value !== '0');
  const same = (other: string) => other.toLowerCase() === name.toLowerCase();
  const own = known.find(([, label]) => same(label));
  if (own !== undefined) return Number(own[0]);
  // A dataset that names no labels may be any model's.
  const ofDataset = (task: { readonly dataset: string }) => task.dataset === dataset.name || !dataset.labelsDeclared;
  const tasks = models.flatMap(({ plan }) => plan.tasks).filter((task) => ofDataset(task) && same(task.name));
  const [task] = tasks;
  if (task !== undefined && tasks.every(({ labels }) => labels.length === 1 && labels[0] === task.labels[0]))
    return task.labels[0]!;
  const parts = task?.labels.map((value) => dataset.labels[value] ?? String(value)).join(', ');
  throw new VersemiError('LABEL_INVALID', {
    file: dataset.folder,
    field: `segment ${name}`,
    expected: `a label of the dataset: ${known.map(([, label]) => label).join(', ')}`,
    found: task === undefined ? name : `a task that stands for several of them (${parts})`,
    remedy:
      task === undefined
        ? 'Rename the segment after the label that it is, or delete it.'
        : 'Draw each of these as a segment of its own, named after the label.',
  });
}

/** Names as an object of value and name, `{ "1": "spleen" }`. @throws VERSEMI_REQUEST_INVALID */
export function namesOfObject(json: unknown): Map<number, string> {
  const entries = isJsonObject(json) ? Object.entries(json) : [];
  if (entries.length === 0 || !entries.every(([value, name]) => isValue(Number(value)) && typeof name === 'string'))
    throw invalidNames('names', 'an object of values and names, such as { "1": "spleen" }', json);
  return new Map(entries.map(([value, name]) => [Number(value), name as string]));
}

/**
 * Names as clients of MONAI Label send them (`label_info`), `[{ "name": "spleen", "idx": 1 }]`.
 * @throws VERSEMI_REQUEST_INVALID where the numbers are not those of the label map: 3D Slicer writes 1, 2, ... for the segments that
 *   it saves, and counts a segment called background in `idx` all the same
 */
export function namesOfLabelInfo(json: unknown): Map<number, string> {
  const entries = Array.isArray(json) ? (json as unknown[]) : [];
  const names = new Map<number, string>();
  for (const entry of entries) {
    if (!isJsonObject(entry) || typeof entry.name !== 'string' || !isValue(Number(entry.idx)))
      throw invalidNames('params, label_info', 'a list of { "name", "idx" }', json);
    names.set(Number(entry.idx), entry.name);
  }
  const numbers = [...names.keys()].sort((a, b) => a - b);
  if (names.size === 0 || names.size < entries.length || numbers.some((number, i) => number !== i + 1))
    throw invalidNames('params, label_info', 'idx from 1 on, without gaps', json);
  return names;
}

function isValue(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 255;
}

function invalidNames(field: string, expected: string, found: unknown): VersemiError {
  return new VersemiError('REQUEST_INVALID', {
    field,
    expected,
    found: shown(found),
    remedy: 'Delete segments that are no labels (such as background), and save again.',
  });
}
