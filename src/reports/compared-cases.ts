import { type CaseSelection, caseSets, selectionNotes } from '../inference/case-selection.js';
import type { ReportedCase, ReportedEvaluation } from './report-inputs.js';

/** Which cases an evaluation is of, per dataset: "heart: 12 cases (validation)". */
export function casesOf({ cases, selections }: ReportedEvaluation): string {
  if (selections !== undefined) return selections.map(casesOfSelection).join('; ');
  const ids = new Map<string, Set<string>>();
  for (const { dataset = 'cases', id } of cases) ids.set(dataset, (ids.get(dataset) ?? new Set()).add(id));
  return [...ids].map(([dataset, { size }]) => `${dataset}: ${counted(size)}`).join('; ');
}

function casesOfSelection({ dataset, asked, count }: CaseSelection): string {
  const known: readonly string[] = caseSets;
  const chosen = known.includes(asked) ? asked : asked.includes(',') ? 'chosen by id' : `"${asked}"`;
  return `${dataset}: ${counted(count)} (${chosen})`;
}

function counted(cases: number): string {
  return cases === 1 ? '1 case' : `${cases} cases`;
}

/** Which weights an evaluation is of. */
export function weightsOf({ weights }: ReportedEvaluation): string {
  if (weights === undefined) return 'not known';
  return `step ${weights.step}, ${weights.network === 'ema' ? 'moving average' : 'as trained'}`;
}

/** What must be known before the scores of an evaluation are believed. */
export function warningsOf({ selections, failures = [] }: ReportedEvaluation): string[] {
  const unscored = failures.map(({ dataset, id, message }) => `${dataset}: ${id} is not scored. ${message}`);
  return [...(selections ?? []).flatMap(selectionNotes), ...unscored];
}

/** Whether evaluations are of the same cases of a task: only then can one of them be the best. */
export function sameCases(evaluations: readonly ReportedEvaluation[], task: string): boolean {
  const [first, ...others] = evaluations.map((one) => ({ one, rows: one.cases.filter((row) => row.task === task) }));
  if (first === undefined) return true;
  return others.every(({ one, rows }) => {
    const before = contentOf(first.one, first.rows);
    const now = contentOf(one, rows);
    return before !== undefined && now !== undefined ? before === now : namesOf(first.rows) === namesOf(rows);
  });
}

/** What the cases of a task hold, where all evaluated cases of its dataset have the task. */
function contentOf({ selections }: ReportedEvaluation, rows: readonly ReportedCase[]): string | undefined {
  const selection = selections?.find(({ dataset }) => dataset === rows[0]?.dataset);
  return selection?.count === rows.length ? selection.content : undefined;
}

function namesOf(rows: readonly ReportedCase[]): string {
  return JSON.stringify(rows.map(({ dataset = null, id }) => [dataset, id]).sort());
}
