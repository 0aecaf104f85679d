import { existsSync } from 'node:fs';
import { z } from '#zod';
import { VersemiError } from '../errors.js';
import type { Evaluation } from '../inference/evaluate.js';
import { parseJson, shown } from '../json-text.js';
import { isOwnMetric, type OwnMetrics } from '../metrics/own-metrics.js';
import { readJsonFile, readWholeFile } from '../regular-file.js';
import type { CaseSlices } from './slices.js';

/**
 * What a report reads of a run, checked: numbers are numbers, names are short. Run folders come from other people too. Fields
 * that no report shows are not looked at, and do not reach the page.
 */

/** Tasks and rows of an evaluation; the largest that are known have some hundred and some thousand. */
const [mostTasks, mostRows] = [1000, 50_000];

/** Names of tasks, cases, loss terms, files. */
const name = z.string().max(1000);
const metric = z.number().nullable().exactOptional();

const namedCase = z.object({
  id: name,
  dataset: name.exactOptional(),
  task: name,
  dice: metric,
  jaccard: metric,
  hd95PooledMm: metric,
  hd95MaxMm: metric,
  asdMm: metric,
  assdMm: metric,
  volumePredictionMl: metric,
  volumeReferenceMl: metric,
  surfaceDiceToleranceMm: metric,
  surfaceDice: metric,
  hd95PooledVoxels: metric,
  hd95MaxVoxels: metric,
  asdVoxels: metric,
});

/** Metrics of one's own in an evaluation at most: each is a column. */
const mostOwnMetrics = 100;
/** The fields of a case that are metrics of one's own. */
const ownMetrics = z.preprocess(
  (row) => Object.fromEntries(Object.entries(row ?? {}).filter(([field]) => isOwnMetric(field))),
  z.record(z.string(), z.number().nullable()),
) as z.ZodType<OwnMetrics>;
const evaluatedCase = namedCase.and(ownMetrics);

const count = z.int().gte(0);
const seconds = z.number().gte(0);
const program = z.object({ version: name, commit: name.exactOptional() });
const metricSummary = z.object({
  mean: z.number().nullable(),
  std: z.number().nullable(),
  count,
  undefinedCount: count,
});

const ids = z.array(name).max(mostRows);
const selection = z.object({
  dataset: name,
  asked: z.string(),
  masks: z.literal(true).exactOptional(),
  recorded: z.boolean(),
  unknownInitial: z.string().exactOptional(),
  count,
  labeled: ids,
  unlabeled: ids,
  validation: ids,
  changed: ids,
  missing: ids,
  content: name,
});

const weights = z.object({ step: count, network: z.enum(['student', 'ema']) });

const evaluation = z.object({
  format: z.literal(1),
  model: name.exactOptional(),
  models: z
    .array(z.object({ model: name, weights }))
    .max(mostTasks)
    .exactOptional(),
  masks: name.exactOptional(),
  device: name.exactOptional(),
  created: name,
  program: program.exactOptional(),
  seconds: seconds.exactOptional(),
  weights: weights.exactOptional(),
  selections: z.array(selection).max(mostTasks).exactOptional(),
  cases: z
    .array(evaluatedCase)
    .max(mostRows)
    .refine(
      (rows) => new Set(rows.flatMap((row) => Object.keys(row).filter(isOwnMetric))).size <= mostOwnMetrics,
      `more than ${mostOwnMetrics} metrics of one's own`,
    ),
  failures: z
    .array(z.object({ id: name, dataset: name, message: z.string().max(20_000) }))
    .max(mostRows)
    .exactOptional(),
  summary: z
    .record(name, z.record(name, metricSummary))
    .refine((tasks) => Object.keys(tasks).length <= mostTasks, `more than ${mostTasks} tasks`),
});

export type ReportedCase = z.output<typeof evaluatedCase>;

/** As much of an evaluation as reports show. */
export type ReportedEvaluation = Pick<
  Evaluation,
  'model' | 'models' | 'masks' | 'device' | 'created' | 'program' | 'seconds' | 'weights' | 'selections' | 'failures'
> & {
  readonly cases: readonly ReportedCase[];
  readonly summary: z.output<typeof evaluation>['summary'];
};

const step = z.int().gte(0);
/** Training stops where a loss is no finite number, which JSON writes as null. */
const loss = z.number().nullable();
const events = z.discriminatedUnion('type', [
  z.object({
    ...{ type: z.literal('step'), step, stage: z.int(), losses: z.record(name, loss) },
    ...{ secondsPerStep: seconds.exactOptional(), communication: z.object({ calls: z.int() }).exactOptional() },
  }),
  z.object({
    ...{ type: z.literal('validation'), step, perTask: z.record(name, loss), mean: loss },
    ...{ best: z.boolean().exactOptional(), seconds: seconds.exactOptional() },
  }),
  z.object({
    ...{ type: z.literal('start'), step, steps: step, why: name },
    cases: z.object({ labeled: count, unlabeled: count, validation: count }),
    ...{ created: name.exactOptional(), program: program.exactOptional() },
  }),
  z.object({ type: z.literal('end'), step, reason: z.enum(['finished', 'aborted']) }),
]);
const otherEvent = z.object({ type: z.string(), step });
const reported: readonly string[] = events.options.map(({ shape }) => shape.type.value);

/** A line of metrics.jsonl that reports are made of. */
export type LoggedEvent = z.output<typeof events>;

const planFacts = z.object({
  name,
  seed: z.number(),
  training: z.object({ mode: name, stage1Steps: z.number(), stage2Steps: z.number() }),
  tasks: z.array(z.object({ name, dataset: name })).max(10_000),
  network: z.object({ baseWidth: z.number(), levels: z.number() }),
  patchSizeVoxels: z.array(z.number()).max(3),
});

/** What a report says of a plan. */
export type PlanFacts = z.output<typeof planFacts>;

const length = z.int().gte(1).lte(512);
/** More than versemi writes; a page makes several arrays of them. */
const mostShownVoxels = 1 << 20;
const base64 = z.base64().max(16 << 20);
const slices = z.object({
  format: z.literal(1),
  id: name,
  dataset: name,
  sizeVoxels: z.tuple([length, length, length]).refine(([x, y, z]) => x * y * z <= mostShownVoxels, 'too many voxels'),
  spacingMm: z.tuple([z.number().gt(0), z.number().gt(0), z.number().gt(0)]),
  columns: length,
  tilePixels: z.tuple([length, length]),
  image: base64,
  tasks: z.array(z.object({ task: name, masks: base64 })).max(mostTasks),
}) satisfies z.ZodType<CaseSlices>;

function checked<T>(schema: z.ZodType<T>, value: unknown, file: string, line?: number): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const { path, message } = issue;
  const place = path.map((part) => shown(String(part)).slice(1, -1)).join('.');
  const field = [...(line === undefined ? [] : [`line ${line}`]), ...(place === '' ? [] : [place])].join(', ');
  let found = value;
  for (const part of path) found = (found as Record<PropertyKey, unknown> | null | undefined)?.[part];
  throw new VersemiError('FILE_CORRUPT', {
    file,
    ...(field === '' ? {} : { field }),
    expected:
      issue.code === 'invalid_type' ? `a value of type ${issue.expected}` : `what versemi writes there (${message})`,
    found: shown(found),
    remedy: 'Evaluate or train again, or mend the file at that place.',
  });
}

/** @throws VERSEMI_FILE_CORRUPT naming the field, and what `readJsonFile` throws */
export function readEvaluation(file: string): ReportedEvaluation {
  return checked(evaluation, readJsonFile(file, 'FILE_CORRUPT'), file);
}

/** @returns undefined where there is no such file @throws VERSEMI_FILE_CORRUPT naming the field, and what `readJsonFile` throws */
export function readPlanFacts(file: string): PlanFacts | undefined {
  return existsSync(file) ? checked(planFacts, readJsonFile(file, 'FILE_CORRUPT'), file) : undefined;
}

/** A case has a few hundred kilobytes. @returns undefined where there is no such file @throws as {@link readEvaluation} */
export function readSlices(file: string): CaseSlices | undefined {
  return existsSync(file) ? checked(slices, readJsonFile(file, 'FILE_CORRUPT'), file) : undefined;
}

/** A run of a million steps writes about half of this. */
const mostLogBytes = 512 << 20;

/**
 * What reports are made of in metrics.jsonl: beginnings, steps, validations, ends. What follows the last line break is a line that a killed run did not finish.
 * @throws VERSEMI_FILE_CORRUPT naming line and field, and what `readWholeFile` throws
 */
export function readEvents(file: string): LoggedEvent[] {
  const bytes = readWholeFile(file, mostLogBytes);
  const result: LoggedEvent[] = [];
  for (let begin = 0, line = 1; ; line++) {
    const end = bytes.indexOf(0x0a, begin);
    if (end < 0) return result;
    const value = parseJson(bytes.subarray(begin, end), { file, field: `line ${line}`, code: 'FILE_CORRUPT' });
    const { type } = checked(otherEvent, value, file, line);
    if (reported.includes(type)) result.push(checked(events, value, file, line));
    begin = end + 1;
  }
}
