import { byTask } from '../metrics/summary.js';
import { caseMeans, differenceOf } from './comparison.js';
import type { PageAgreement, PageData, PagePairs } from './page-data.js';
import type { ReportedCase, ReportedEvaluation } from './report-inputs.js';

/** Of prediction and reference, ml; null where an evaluation does not say. */
export function volumesOf(row: ReportedCase): readonly [prediction: number, reference: number] | null {
  const { volumePredictionMl: prediction = null, volumeReferenceMl: reference = null } = row;
  return prediction === null || reference === null ? null : [prediction, reference];
}

/** Agreement of volumes per task; tasks of which fewer than two cases have volumes are left out. */
export function agreementOf(cases: readonly ReportedCase[], run: number): PageAgreement[] {
  return byTask(cases).flatMap(([task, rows]) => {
    const volumes = rows.flatMap((row) => {
      const both = volumesOf(row);
      return both === null ? [] : [both];
    });
    const count = volumes.length;
    if (count < 2) return [];
    const differences = volumes.map(([prediction, reference]) => prediction - reference);
    const biasMl = sum(differences) / count;
    const deviation = Math.sqrt(sum(differences.map((value) => (value - biasMl) ** 2)) / (count - 1));
    return [
      {
        ...{ run, task, cases: count, biasMl },
        meanReferenceMl: sum(volumes.map(([, reference]) => reference)) / count,
        lowMl: biasMl - 1.96 * deviation,
        highMl: biasMl + 1.96 * deviation,
      },
    ];
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Evaluations of one method under its name: one, or those of its seeds, of which each case has its mean. */
export interface NamedEvaluations {
  readonly name: string;
  readonly evaluations: readonly ReportedEvaluation[];
}

/**
 * Dice of the same cases, the first less the second: each case, the mean, and its bootstrap interval over cases.
 * @param tasks names
 */
export function pairsOf(
  run: NamedEvaluations,
  reference: NamedEvaluations,
  tasks: readonly string[],
): PageData['pairs'] {
  const [own, base] = [caseMeans(run.evaluations), caseMeans(reference.evaluations)];
  const difference = differenceOf(own, base, tasks);
  if (difference === undefined) return [];
  const compared = Object.entries(difference.perTask).map(([task, { mean, low, high }]): PagePairs => {
    const cases = [...own].flatMap(([key, { dataset, id, byTask }]) => {
      const [value, before] = [byTask.get(task), base.get(key)?.byTask.get(task)];
      return value === undefined || before === undefined ? [] : [{ dataset, id, difference: value - before }];
    });
    return { task, mean, low, high, cases };
  });
  return compared.length === 0 ? [] : [{ run: run.name, reference: reference.name, tasks: compared }];
}
