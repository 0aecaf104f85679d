import { VersemiError } from '../errors.js';
import { type Part, PartTable, partNamePattern } from '../parts.js';
import type { Triple } from '../volume/volume.js';

/** Two masks of one task in one case. They lie in memory that is used again: a metric keeps copies, or nothing. */
export interface MaskPair {
  /** [z, y, x], 1 = foreground; background where the label is unknown. */
  readonly prediction: Uint8Array;
  /** [z, y, x], likewise. */
  readonly reference: Uint8Array;
  readonly sizeVoxels: Triple;
  /** Edges of a voxel in millimetres. */
  readonly spacingMm: Triple;
  readonly task: string;
  readonly dataset: string;
  readonly id: string;
}

/**
 * A metric of one's own. Once it is added, every evaluation measures it, beside versemi's own metrics, as `own.NAME`: in tables,
 * in results as JSON and CSV, in summaries, and in reports.
 */
export interface Metric extends Part {
  /**
   * Compares two masks.
   * @returns a finite number, or null where the metric is undefined: such cases are counted, and are in no mean
   */
  measure(masks: MaskPair): number | null;
}

/** Values of the metrics of one's own, by `own.` and the name of the part; null = undefined. */
export interface OwnMetrics {
  readonly [name: `own.${string}`]: number | null;
}

/** Whether a field of a result is a metric of one's own: `own.` and the name of a part. */
export function isOwnMetric(field: string): field is `own.${string}` {
  return field.startsWith('own.') && partNamePattern.test(field.slice('own.'.length));
}

const metrics = new PartTable<Metric>('metrics');

/** Measures all metrics of one's own. @throws VERSEMI_PART_INVALID where one gives no finite number and not null */
export function ownMetrics(masks: MaskPair): OwnMetrics {
  return Object.fromEntries(
    metrics.own().map((metric): [`own.${string}`, number | null] => {
      const value = metric.measure(masks);
      if (value === null || Number.isFinite(value)) return [`own.${metric.name}`, value];
      throw new VersemiError('PART_INVALID', {
        field: `metric ${metric.name}, task ${masks.task}, case ${masks.id}`,
        ...{ expected: 'a finite number, or null where it is undefined', found: String(value) },
        remedy: 'Mend the metric.',
      });
    }),
  );
}
