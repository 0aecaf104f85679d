/** Which cases a page shows in pictures: static ones of the worst, and slices of as many as it has room for, the worst first. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readWholeFile } from '../regular-file.js';
import { overlayFileName, overlayFolderName, slicesFileName, slicesFolderName } from './evaluation-folder.js';
import { jsonElement, type Markup } from './markup.js';
import type { PageData } from './page-data.js';
import { type ReportedCase, type ReportedEvaluation, readSlices } from './report-inputs.js';

/** An evaluation, and the folder that it was read from. */
export interface FoundEvaluation {
  readonly name: string;
  readonly folder: string;
  readonly evaluation: ReportedEvaluation;
}

/** A case that is shown among the worst; `pngBase64` is absent where the page has no room for it, or there is no picture. */
export interface WorstCase {
  readonly row: ReportedCase;
  readonly pngBase64?: string;
}

/** Pictures of evaluations have a few hundred kilobytes. */
const mostPictureBytes = 16 << 20;
/** Bytes of a page that pictures of the worst cases, and slices of cases, may take: less than 15 MB with all the rest. */
const [mostStaticBytes, mostSlicesBytes] = [3e6, 10e6];
/** Cases shown per task, and in all. */
const [worstPerTask, worstInAll] = [3, 12];

/** Of a page without pictures. */
export const noSlices: PageSlices = { index: [], elements: [], leftOut: 0 };

/**
 * The worst cases by Dice, of each task some, worst first; each case is named once, with the task in which it is worst.
 * @param folder of the evaluation
 */
export function worstCases({ folder, evaluation: { cases } }: FoundEvaluation): WorstCase[] {
  const sorted = cases
    .filter(({ dice }) => typeof dice === 'number')
    .map((row) => ({ row, key: keyOf(row), dice: row.dice! }))
    .sort((a, b) => a.dice - b.dice);
  const worstOf = new Map<string, string>();
  for (const { row, key } of sorted) if (!worstOf.has(key)) worstOf.set(key, row.task);
  const taken = new Map<string, number>();
  const chosen: ReportedCase[] = [];
  for (const { row, key } of sorted) {
    const count = taken.get(row.task) ?? 0;
    if (worstOf.get(key) !== row.task || count === worstPerTask || chosen.length === worstInAll) continue;
    taken.set(row.task, count + 1);
    chosen.push(row);
  }
  let left = mostStaticBytes;
  return chosen.map((row) => {
    const file = join(folder, overlayFolderName, overlayFileName(row.id, row.task));
    if (!existsSync(file)) return { row };
    const pngBase64 = Buffer.from(readWholeFile(file, mostPictureBytes)).toString('base64');
    if (pngBase64.length > left) return { row };
    left -= pngBase64.length;
    return { row, pngBase64 };
  });
}

export interface PageSlices {
  readonly index: PageData['slices'];
  readonly elements: readonly Markup[];
  /** Cases that have slices, for which the page had no room. */
  readonly leftOut: number;
}

/**
 * Slices of the cases of all evaluations, the worst first.
 * @param done called after each case, and waited for
 * @throws VERSEMI_FILE_CORRUPT, and what `done` throws
 */
export async function pageSlices(
  found: readonly FoundEvaluation[],
  done: (one: { readonly id: string; readonly index: number; readonly total: number }) => Promise<void>,
): Promise<PageSlices> {
  const cases = found.flatMap(({ folder, evaluation }, run) => {
    const worst = new Map<string, { readonly row: ReportedCase; readonly dice: number }>();
    for (const row of evaluation.cases) {
      const dice = row.dice ?? Number.POSITIVE_INFINITY;
      if (dice <= (worst.get(keyOf(row))?.dice ?? Number.POSITIVE_INFINITY)) worst.set(keyOf(row), { row, dice });
    }
    return [...worst.values()].map(({ row: { id, dataset = '' }, dice }) => ({ run, folder, id, dataset, dice }));
  });
  const index: PageData['slices'][number][] = [];
  const elements: Markup[] = [];
  let [left, leftOut] = [mostSlicesBytes, 0];
  const sorted = cases.sort((a, b) => a.dice - b.dice);
  for (const [i, { run, folder, id, dataset }] of sorted.entries()) {
    const slices = readSlices(join(folder, slicesFolderName, slicesFileName(dataset, id)));
    const element = `slices-${index.length}`;
    const markup = slices && jsonElement(element, slices);
    if (markup !== undefined && markup.length > left) leftOut++;
    else if (markup !== undefined) {
      left -= markup.length;
      index.push({ run, dataset, id, element });
      elements.push(markup);
    }
    await done({ id, index: i + 1, total: sorted.length });
  }
  return { index, elements, leftOut };
}

function keyOf({ dataset = '', id }: ReportedCase): string {
  return JSON.stringify([dataset, id]);
}
