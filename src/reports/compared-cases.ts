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
export function weightsOf({ weights }: Pick<ReportedEvaluation, 'weights'>): string {
  if (weights === undefined) return 'not known';
  return `step ${weights.step}, ${weights.network === 'ema' ? 'moving average' : 'as trained'}`;
}

/** What must be known before the scores of an evaluation are believed. */
export function warningsOf({ selections, failures = [] }: ReportedEvaluation): string[] {
  const unscored = failures.map(({ dataset, id, message }) => `${dataset}: ${id} is not scored. ${message}`);
  return [...(selections ?? []).flatMap(selectionNotes), ...unscored];
}

/** An evaluation and those of its rows that are of one task. */
export interface TaskRows {
  readonly evaluation: ReportedEvaluation;
  readonly rows: readonly ReportedCase[];
}

/** Whether evaluations are of the same cases of a task: only then can one of them be the best. */
export function sameCases([first, ...others]: readonly TaskRows[]): boolean {
  if (first === undefined) return true;
  const before = contentOf(first);
  const names = namesOf(first);
  return others.every((other) => {
    const now = contentOf(other);
    return before !== undefined && now !== undefined ? before === now : names === namesOf(other);
  });
}

/** What the cases of a task hold, where all evaluated cases of its dataset have the task. */
function contentOf({ evaluation, rows }: TaskRows): string | undefined {
  const selection = evaluation.selections?.find(({ dataset }) => dataset === rows[0]?.dataset);
  return selection?.count === rows.length ? selection.content : undefined;
}

function namesOf({ rows }: TaskRows): string {
  return JSON.stringify(rows.map(({ dataset = null, id }) => [dataset, id]).sort());
}
