import { z } from '#zod';
import { VersemiError } from '../errors.js';
import { shown } from '../json-text.js';
import { contradictions } from './contradictions.js';
import { type FieldNotes, fieldNotes, nearestName } from './fields.js';
import { type AugmentationSettings, type Plan, planSchema } from './schema.js';

export type { AugmentationSettings, Plan, PlanDataset, PlanTask, PreprocessingSettings } from './schema.js';

/** One row of the table of plan fields. */
export interface PlanField extends FieldNotes {
  /** Path in the plan; `[]` stands for an index, e.g. `datasets[].split.labeled`. */
  readonly name: string;
}

/** The schema behind defaults and transforms. */
function core(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodPrefault) return core(schema.def.innerType as z.ZodType);
  if (schema instanceof z.ZodOptional) return core(schema.def.innerType as z.ZodType);
  if (schema instanceof z.ZodPipe) return core(schema.def.in as z.ZodType);
  return schema;
}

function collect(schema: z.ZodType, path: string, rows: PlanField[]): void {
  const notes = fieldNotes.get(schema);
  if (notes !== undefined) {
    rows.push({ name: path, ...notes });
    return;
  }
  const inner = core(schema);
  if (inner instanceof z.ZodArray) collect(inner.element as z.ZodType, `${path}[]`, rows);
  else if (inner instanceof z.ZodObject) {
    for (const [key, value] of Object.entries(inner.shape))
      collect(value as z.ZodType, path === '' ? key : `${path}.${key}`, rows);
  }
}

function tableOf(schema: z.ZodType): PlanField[] {
  const rows: PlanField[] = [];
  collect(schema, '', rows);
  return rows;
}

/** Every field of a plan: name, unit, range, default, explanation. Prints the help and the documentation. */
export const planFields: readonly PlanField[] = tableOf(planSchema);

/** `['datasets', 0, 'path']` -> `datasets[0].path`. */
function pathText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path) text += typeof part === 'number' ? `[${part}]` : `${text === '' ? '' : '.'}${String(part)}`;
  return text;
}

/** The row that a path falls under: `tasks[2].labels[0]` -> the row of `tasks[].labels`. */
function rowAt(path: readonly PropertyKey[]): PlanField | undefined {
  for (let length = path.length; length > 0; length--) {
    const name = pathText(path.slice(0, length)).replace(/\[\d+\]/g, '[]');
    const row = planFields.find((candidate) => candidate.name === name);
    if (row !== undefined) return row;
  }
  return undefined;
}

/** Names that are known directly below a path. */
function namesBelow(path: readonly PropertyKey[]): string[] {
  const prefix = path.length === 0 ? '' : `${pathText(path).replace(/\[\d+\]/g, '[]')}.`;
  const names = planFields.filter((row) => row.name.startsWith(prefix)).map((row) => row.name.slice(prefix.length));
  return [...new Set(names.map((name) => name.split(/[.[]/)[0]!))];
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  let value = json;
  for (const part of path) value = (value as Record<PropertyKey, unknown> | null | undefined)?.[part];
  return value;
}

function unknownName(issue: z.core.$ZodIssueUnrecognizedKeys, file: string | undefined): VersemiError {
  const unknown = issue.keys[0]!;
  const known = namesBelow(issue.path);
  const nearest = nearestName(unknown, known);
  return new VersemiError('PLAN_INVALID', {
    ...(file === undefined ? {} : { file }),
    field: pathText([...issue.path, unknown]),
    expected: `one of ${known.join(', ')}`,
    found: `the unknown field "${unknown}"`,
    remedy: nearest === undefined ? 'Remove it.' : `Did you mean "${nearest}"?`,
  });
}

function invalid(error: z.ZodError, json: unknown, file: string | undefined): VersemiError {
  // A misspelt field often makes a required one missing too: the misspelling is the cause, so it is reported first.
  const unknown = error.issues.find((issue) => issue.code === 'unrecognized_keys');
  if (unknown !== undefined) return unknownName(unknown, file);
  const issue = error.issues[0]!;
  const row = rowAt(issue.path);
  const whole = row === undefined ? issue.path : pathOfRow(issue.path, row);
  const others = error.issues.slice(1).map((other) => pathText(other.path));
  return new VersemiError('PLAN_INVALID', {
    ...(file === undefined ? {} : { file }),
    field: pathText(whole) || 'the plan',
    expected: row === undefined ? groupKind(issue) : `${row.range}${row.unit === undefined ? '' : ` (${row.unit})`}`,
    found: shown(valueAt(json, whole)),
    remedy: `${row?.explanation ?? 'See versemi plan --help for every field.'}${
      others.length > 0 ? ` Also not valid: ${[...new Set(others)].join(', ')}.` : ''
    }`,
  });
}

function pathOfRow(path: readonly PropertyKey[], row: PlanField): readonly PropertyKey[] {
  let length = path.length;
  while (pathText(path.slice(0, length)).replace(/\[\d+\]/g, '[]') !== row.name) length--;
  return path.slice(0, length);
}

/** What stands in place of a whole group or list. */
function groupKind(issue: z.core.$ZodIssue): string {
  if (issue.code === 'too_small') return 'at least one entry';
  return issue.code === 'invalid_type' && issue.expected === 'array' ? 'a list' : 'an object of fields';
}

/**
 * Checks a plan and fills in its defaults. Paths stay as they are (see `readPlan` for relative ones).
 * @param file named in error sentences
 * @throws VERSEMI_PLAN_INVALID naming the field, VERSEMI_PLAN_CONTRADICTION naming both fields
 */
export function parsePlan(json: unknown, file?: string): Plan {
  const result = planSchema.safeParse(json);
  if (!result.success) throw invalid(result.error, json, file);
  const first = contradictions(result.data)[0];
  if (first !== undefined) {
    throw new VersemiError('PLAN_CONTRADICTION', {
      ...(file === undefined ? {} : { file }),
      field: first.fields.join(' and '),
      expected: first.expected,
      found: first.found,
      remedy: first.remedy,
    });
  }
  return result.data;
}

/** The augmentation of patches of one dataset: that of the plan, and what the dataset has of its own. */
export function augmentationOf(plan: Pick<Plan, 'augmentation' | 'datasets'>, dataset: string): AugmentationSettings {
  const own = plan.datasets.find(({ name }) => name === dataset)?.augmentation ?? {};
  const given = Object.entries(own).filter(([, value]) => value !== undefined);
  return { ...plan.augmentation, ...Object.fromEntries(given) };
}

/** JSON text of a plan; short lists of numbers and words stay on one line. Ends with a newline. */
export function stringifyPlan(plan: Plan): string {
  const text = JSON.stringify(plan, null, 2).replace(/\[\n\s+([^[\]{}]*?)\n\s*\]/g, (whole, items: string) => {
    const line = `[${items.replace(/,\n\s+/g, ', ')}]`;
    return line.length <= 100 ? line : whole;
  });
  return `${text}\n`;
}

/** The table as Markdown: FIELDS.md in this folder. */
export function planMarkdown(): string {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const rows = planFields.map((row) => {
    const fallback = row.default === undefined ? '' : `\`${shown(row.default)}\``;
    return `| \`${row.name}\` | ${cell(row.range)} | ${row.unit ?? ''} | ${fallback} | ${cell(row.explanation)} |`;
  });
  return `| field | allowed | unit | default | meaning |\n|---|---|---|---|---|\n${rows.join('\n')}\n`;
}
