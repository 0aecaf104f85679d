import { someOf } from '../list-text.js';

/**
 * Which cases of a dataset an evaluation is of, and what the model knew of them before. Cases are compared by their content, so
 * that a copy under another name counts as what it is a copy of, and another scan under the same name does not.
 */
export interface CaseSelection {
  /** Name of the dataset in the plan. */
  readonly dataset: string;
  /** What was asked for: `all`, `validation`, ... or ids with commas between them. */
  readonly asked: string;
  /** Present where the masks were there already: nobody knows what the program that made them was trained on. */
  readonly masks?: true;
  /** False: the model has no record of its cases; what is said here follows from the plan's split of the folder as it is now. */
  readonly recorded: boolean;
  /** Name of the model that this one began with, where it has no record of its cases: it may have seen any. */
  readonly unknownInitial?: string;
  /** Number of cases. */
  readonly count: number;
  /** Ids of those that trained the model with their labels. */
  readonly labeled: readonly string[];
  /** Ids of those that trained it without labels. */
  readonly unlabeled: readonly string[];
  /** Ids of those that were set apart for validation. */
  readonly validation: readonly string[];
  /** Ids of those that have the name of a case of the run, but another image or another label than it had. */
  readonly changed: readonly string[];
  /** Ids that were asked for, by name or as a recorded role, and that are not in the folder or have no label file there. */
  readonly missing: readonly string[];
  /** Hash of what all these cases hold, whatever they are called: equal where two evaluations are of the same cases. */
  readonly content: string;
}

/** Words that stand for sets of cases. Whatever else is asked for is a list in splits.json, or ids. */
export const caseSets = ['all', 'test', 'validation', 'labeled', 'unlabeled', 'training', 'unseen'] as const;

/** Ids that a sentence names. */
const mostNamed = 10;

export function namedCases(ids: readonly string[]): string {
  return someOf(ids, mostNamed);
}

/** What a person must know of a selection before a score of it is believed: one sentence each. */
export function selectionNotes(selection: CaseSelection): string[] {
  const { dataset, asked, recorded, unknownInitial, count, labeled, unlabeled, validation, changed, missing } =
    selection;
  const some = (ids: readonly string[]) => `${ids.length} of these ${count} cases (${namedCases(ids)})`;
  const notes: string[] = [];
  if (!recorded && selection.masks === undefined)
    notes.push(
      'the model has no record of the cases that it was trained on: roles follow from its plan and the folder as it is now.',
    );
  if (unknownInitial !== undefined)
    notes.push(`the model began with ${unknownInitial}, which has no record of its cases: it may have seen these.`);
  if (labeled.length > 0)
    notes.push(
      `the model was trained on ${some(labeled)} with their labels: their scores say nothing about new scans.`,
    );
  if (unlabeled.length > 0) notes.push(`the model was trained on ${some(unlabeled)} without their labels.`);
  if (validation.length > 0 && asked !== 'validation')
    notes.push(`${some(validation)} were set apart to validate the model, and may have chosen it.`);
  if (changed.length > 0)
    notes.push(`${some(changed)} have another image or label than the model knew under that name.`);
  if (missing.length > 0)
    notes.push(
      `left out, since they are not there or have no label file: ${missing.length} cases (${namedCases(missing)}).`,
    );
  return notes.map((note) => `${dataset}: ${note}`);
}
