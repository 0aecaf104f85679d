import type { Plan } from '../config/plan.js';
import { lastStageSteps } from '../config/steps.js';

/** Fields that may change between two parts of a run: they do not touch the numbers of training. */
const free = [
  /^name$/,
  /^datasets\[\d+\]\.path$/,
  /^training\.(workers|recomputedLevels|deviceVolumesMiB|validateEverySteps|checkpointEverySteps|checkpointEveryMinutes)$/,
  /^inference\./,
  /^datasets\[\d+\]\.scans$/,
  /^tasks\[\d+\]\.(code|category|color)$/,
];

export interface PlanDifference {
  /** Path of the field, e.g. `datasets[0].preprocessing.spacingMm[2]`. */
  readonly field: string;
  readonly checkpoint: string;
  readonly plan: string;
}

/**
 * The first field in which two plans differ so that a run with one cannot go on with the other.
 * @param extended the length of the last stage may differ
 */
export function planDifference(checkpoint: Plan, plan: Plan, extended = false): PlanDifference | undefined {
  if (!extended) return difference(checkpoint, plan, '');
  const { training } = plan;
  const last = lastStageSteps(training);
  return difference({ ...checkpoint, training: { ...checkpoint.training, [last]: training[last] } }, plan, '');
}

function difference(a: unknown, b: unknown, field: string): PlanDifference | undefined {
  if (free.some((pattern) => pattern.test(field))) return undefined;
  if (isObject(a) && isObject(b) && Array.isArray(a) === Array.isArray(b)) {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const path = Array.isArray(a) ? `${field}[${key}]` : `${field}${field === '' ? '' : '.'}${key}`;
      const found = difference(a[key], b[key], path);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  if (Object.is(a, b)) return undefined;
  return { field, checkpoint: shown(a), plan: shown(b) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
