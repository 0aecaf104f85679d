/** What `versemi evaluate` writes and reports read. Distances are null where they are undefined (an empty mask). */
export interface CaseResult {
  readonly id: string;
  readonly dataset: string;
  readonly task: string;
  /** Metric name (with its unit, e.g. `hd95PooledMm`) -> value. */
  readonly [metric: string]: number | string | null;
}

/** Statistics of one metric over the cases of one task; std is the sample standard deviation (n - 1). */
export interface MetricSummary {
  readonly mean: number | null;
  readonly std: number | null;
  readonly median: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** Cases in which the metric is defined. */
  readonly count: number;
  /** Cases in which it is not (an empty mask). */
  readonly undefinedCount: number;
}

export interface Evaluation {
  readonly format: 1;
  readonly model: string;
  readonly device: string;
  readonly protocol: string;
  readonly created: string;
  readonly cases: readonly CaseResult[];
  readonly summary: Readonly<Record<string, Readonly<Record<string, MetricSummary>>>>;
}
