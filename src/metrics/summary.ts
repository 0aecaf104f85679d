import type { OwnMetrics } from './own-metrics.js';
import type { CaseMetrics } from './segmentation-metrics.js';

/** Metrics of one task in one case: the rows of `cases` in a result file. */
export interface CaseResult extends CaseMetrics, OwnMetrics {
  readonly id: string;
  readonly task: string;
}

/** One metric over the cases in which it is defined; all null when there is none. */
export interface MetricSummary {
  readonly mean: number | null;
  /** Of the population (divided by count). */
  readonly std: number | null;
  readonly median: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** Cases in which the metric is defined. */
  readonly count: number;
  /** Cases in which it is not (an empty mask): they are in no mean. */
  readonly undefinedCount: number;
}

/** Summary per task (in order of first appearance), then per metric. */
export type Summary = Record<string, Record<string, MetricSummary>>;

/** Not metrics, though numbers. */
const settings = new Set(['surfaceDiceToleranceMm']);

/** Mean, spread and range of every metric, per task. */
export function summarize(cases: readonly CaseResult[]): Summary {
  return Object.fromEntries(byTask(cases).map(([task, group]) => [task, summarizeTask(group)]));
}

/** Cases of each task, in order of first appearance. */
export function byTask<Case extends { readonly task: string }>(
  cases: readonly Case[],
): [task: string, cases: Case[]][] {
  const groups = new Map<string, Case[]>();
  for (const one of cases) {
    const group = groups.get(one.task);
    if (group === undefined) groups.set(one.task, [one]);
    else group.push(one);
  }
  return [...groups];
}

function summarizeTask(cases: readonly CaseResult[]): Record<string, MetricSummary> {
  const values = new Map<string, (number | null)[]>();
  for (const result of cases)
    for (const [name, value] of Object.entries(result)) {
      if ((typeof value !== 'number' && value !== null) || settings.has(name)) continue;
      const column = values.get(name);
      if (column === undefined) values.set(name, [value]);
      else column.push(value);
    }
  return Object.fromEntries([...values].map(([name, column]) => [name, summarizeValues(column)]));
}

/** null entries are undefined values. */
export function summarizeValues(values: readonly (number | null)[]): MetricSummary {
  const defined = values.filter((value) => value !== null).sort((a, b) => a - b);
  const count = defined.length;
  const undefinedCount = values.length - count;
  if (count === 0) return { mean: null, std: null, median: null, min: null, max: null, count, undefinedCount };
  const mean = defined.reduce((sum, value) => sum + value, 0) / count;
  const variance = defined.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count;
  return {
    mean,
    std: Math.sqrt(variance),
    median: (defined[(count - 1) >> 1]! + defined[count >> 1]!) / 2,
    min: defined[0]!,
    max: defined[count - 1]!,
    count,
    undefinedCount,
  };
}
