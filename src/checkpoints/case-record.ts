import { z } from '#zod';
import type { ContentKeys } from '../preprocessing/content-key.js';

/**
 * A case as a run knew it: its id, and keys of what its image and its label file held. A case that came from no file has an id
 * alone; an unlabelled one has no key of a label. Written as it is into the metadata of a model, which may list thousands.
 */
export type RecordedCase = readonly [id: string, image?: string, label?: string];

/** The cases of one dataset of the plan that a run used. */
export interface DatasetRecord {
  readonly dataset: string;
  /** Trained with their labels. */
  readonly labeled: readonly RecordedCase[];
  /** Trained without labels. */
  readonly unlabeled: readonly RecordedCase[];
  /** Set apart with their labels. */
  readonly validation: readonly RecordedCase[];
  /** Ids of those validation cases on which every validation during training was done. */
  readonly watched: readonly string[];
}

export const recordedRoles = ['labeled', 'unlabeled', 'validation'] as const;

export type RecordedRole = (typeof recordedRoles)[number];

/** How a person calls the roles. */
export const roleNames: Readonly<Record<RecordedRole, string>> = {
  labeled: 'labelled',
  unlabeled: 'unlabelled',
  validation: 'validation',
};

const recordedCases = z
  .array(z.array(z.string().min(1)).min(1).max(3))
  .transform((cases) => cases as unknown as RecordedCase[]);

export const caseRecordSchema = z.array(
  z.object({
    dataset: z.string(),
    labeled: recordedCases,
    unlabeled: recordedCases,
    validation: recordedCases,
    watched: z.array(z.string()),
  }),
);

/** Hexadecimal digits of a SHA-256 that are kept: enough that no two of a hospital's scans have the same by chance. */
const keyDigits = 32;

/** The key of a content as it stands in a record. */
export function recordedKey(sha256: string): string {
  return sha256.slice(0, keyDigits);
}

/** @param content absent for a case that came from no file */
export function recordedCase(id: string, content?: ContentKeys): RecordedCase {
  if (content === undefined) return [id];
  const image = recordedKey(content.image);
  return content.label === undefined ? [id, image] : [id, image, recordedKey(content.label)];
}

/**
 * What differs between the cases of a run when it began and now, one phrase per case: a run that went on with other cases would
 * be neither of two runs.
 */
export function recordDifferences(began: readonly DatasetRecord[], now: readonly DatasetRecord[]): string[] {
  const differences: string[] = [];
  for (const { dataset } of began) {
    const before = rolesOf(began, dataset);
    const after = rolesOf(now, dataset);
    for (const [id, { role, keys }] of before) {
      const found = after.get(id);
      const what = `${dataset}/${id}`;
      if (found === undefined) differences.push(`${what} (${roleNames[role]}) is gone`);
      else if (found.role !== role)
        differences.push(`${what} was ${roleNames[role]} and is ${roleNames[found.role]} now`);
      else if (differ(keys[0], found.keys[0])) differences.push(`${what}: another image`);
      else if (differ(keys[1], found.keys[1])) differences.push(`${what}: another label`);
    }
    for (const [id, { role }] of after)
      if (!before.has(id)) differences.push(`${dataset}/${id} (${roleNames[role]}) is new`);
    if (differences.length === 0 && [...before.keys()].some((id, i) => id !== [...after.keys()][i]))
      differences.push(`${dataset}: the same cases in another order`);
  }
  return differences;
}

function rolesOf(record: readonly DatasetRecord[], name: string) {
  const cases = new Map<string, { readonly role: RecordedRole; readonly keys: readonly (string | undefined)[] }>();
  const one = record.find(({ dataset }) => dataset === name);
  for (const role of recordedRoles) for (const [id, ...keys] of one?.[role] ?? []) cases.set(id, { role, keys });
  return cases;
}

/** A content that is not known is not another one. */
function differ(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && a !== b;
}
