import { openPlanDataset } from '../datasets/dataset.js';
import { VersemiError } from '../errors.js';
import { type DatasetSource, planName } from '../preprocessing/fingerprint.js';

/**
 * What `--labeled` means for each dataset: LIST for all of them, NAME=LIST for the dataset NAME. A list whose own name has an equals
 * sign is not mistaken for that as long as no dataset has the name before the sign.
 * @throws VERSEMI_USAGE for two lists of one dataset, or a name that no dataset has; and what opening a dataset throws
 */
export async function labeledLists(
  sources: readonly DatasetSource[],
  given: readonly string[] | undefined,
): Promise<readonly string[]> {
  const texts = given ?? ['all'];
  if (!texts.some((text) => text.includes('='))) {
    if (texts.length > 1) throw twice('every dataset', texts);
    return sources.map(() => texts[0]!);
  }
  const names: string[] = [];
  for (const source of sources)
    names.push(planName((await openPlanDataset({ ...source, format: source.format ?? 'auto' })).name));
  const own = new Map<string, string[]>();
  const common: string[] = [];
  for (const text of texts) {
    const name = names.find((one) => text.startsWith(`${one}=`));
    if (name !== undefined) own.set(name, [...(own.get(name) ?? []), text.slice(name.length + 1)]);
    else if (text.includes('=')) throw unknownName(text, names);
    else common.push(text);
  }
  if (common.length > 1) throw twice('every other dataset', common);
  return names.map((name) => {
    const lists = own.get(name) ?? common;
    if (lists.length > 1) throw twice(name, lists);
    return lists[0] ?? 'all';
  });
}

function twice(dataset: string, lists: readonly string[]): VersemiError {
  return new VersemiError('USAGE', {
    field: '--labeled',
    expected: `one list of ${dataset}`,
    found: lists.join(', '),
    remedy: 'Say which dataset each list is of: --labeled NAME=LIST.',
  });
}

function unknownName(text: string, names: readonly string[]): VersemiError {
  return new VersemiError('USAGE', {
    field: `--labeled ${text}`,
    expected: `NAME=LIST with the name of a dataset: ${names.join(', ')}`,
    found: text.slice(0, text.indexOf('=')),
    remedy: 'Correct the name; a LIST without a name is that of every other dataset.',
  });
}
