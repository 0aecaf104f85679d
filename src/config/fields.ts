import { z } from '#zod';

/** What the help, the documentation and the error sentences say about one field of a plan. */
export interface FieldNotes {
  /** Unit of the number(s); absent for names, choices and pure numbers. */
  readonly unit?: string;
  /** Allowed values, as words. */
  readonly range: string;
  /** Value when the field is left out; absent for a field that must be given. */
  readonly default?: unknown;
  readonly explanation: string;
}

/** The notes of every field schema made by the functions below. */
export const fieldNotes = z.registry<FieldNotes>();

interface Spec<T> {
  readonly default?: T;
  readonly unit?: string;
  readonly explanation: string;
}

interface NumberSpec<T> extends Spec<T> {
  /** Smallest and largest allowed value. */
  readonly range: readonly [number, number];
  /** Which ends of the range are themselves excluded. */
  readonly open?: 'low' | 'high' | 'both';
}

/** Adds the default and the notes to a schema: the one way in which a field of the plan comes to be. */
export function field<S extends z.ZodType>(schema: S, range: string, spec: Spec<z.output<S>>): z.ZodType<z.output<S>> {
  const { default: fallback, unit, explanation } = spec;
  // A function, so that two parsed plans never share a default array.
  const complete = fallback === undefined ? schema : schema.prefault(() => structuredClone(fallback) as never);
  fieldNotes.add(complete, {
    range,
    explanation,
    ...(unit === undefined ? {} : { unit }),
    ...(fallback === undefined ? {} : { default: fallback }),
  });
  return complete as unknown as z.ZodType<z.output<S>>;
}

function interval({ range: [low, high], open }: NumberSpec<unknown>): string {
  const left = open === 'low' || open === 'both' ? '(' : '[';
  const right = open === 'high' || open === 'both' ? ')' : ']';
  return `${left}${low}, ${high}${right}`;
}

function bounded(base: z.ZodNumber, { range: [low, high], open }: NumberSpec<unknown>): z.ZodNumber {
  const from = open === 'low' || open === 'both' ? base.gt(low) : base.gte(low);
  return open === 'high' || open === 'both' ? from.lt(high) : from.lte(high);
}

export function integer(spec: NumberSpec<number>): z.ZodType<number> {
  return field(bounded(z.int(), spec), `an integer in ${interval(spec)}`, spec);
}

export function real(spec: NumberSpec<number>): z.ZodType<number> {
  return field(bounded(z.number(), spec), `a number in ${interval(spec)}`, spec);
}

export function realOrNull(spec: NumberSpec<number | null>): z.ZodType<number | null> {
  return field(bounded(z.number(), spec).nullable(), `null or a number in ${interval(spec)}`, spec);
}

export function integerOrNull(spec: NumberSpec<number | null>): z.ZodType<number | null> {
  return field(bounded(z.int(), spec).nullable(), `null or an integer in ${interval(spec)}`, spec);
}

type Numbers3 = [number, number, number];

export function realTriple(spec: NumberSpec<Numbers3>): z.ZodType<Numbers3> {
  const one = bounded(z.number(), spec);
  return field(z.tuple([one, one, one]), `three numbers [x, y, z] in ${interval(spec)}`, spec);
}

export function integerTriple(spec: NumberSpec<Numbers3>): z.ZodType<Numbers3> {
  const one = bounded(z.int(), spec);
  return field(z.tuple([one, one, one]), `three integers [x, y, z] in ${interval(spec)}`, spec);
}

/** Two numbers [low, high]; `contradictions` checks that they are in order. */
export function realRange(spec: NumberSpec<[number, number]>): z.ZodType<[number, number]> {
  const one = bounded(z.number(), spec);
  return field(z.tuple([one, one]), `[low, high], both in ${interval(spec)}`, spec);
}

export function flagTriple(spec: Spec<[boolean, boolean, boolean]>): z.ZodType<[boolean, boolean, boolean]> {
  return field(z.tuple([z.boolean(), z.boolean(), z.boolean()]), 'three of true/false [x, y, z]', spec);
}

export function flag(spec: Spec<boolean>): z.ZodType<boolean> {
  return field(z.boolean(), 'true or false', spec);
}

/** A field that may be left out of a plan, and is then left out of what is made of it. */
export function optionalField<S extends z.ZodType>(
  schema: S,
  range: string,
  notes: Omit<FieldNotes, 'range' | 'default'>,
): z.ZodOptional<S> {
  const complete = schema.optional() as unknown as z.ZodOptional<S>;
  fieldNotes.add(complete, { range, ...notes });
  return complete;
}

export function optionalFlag({ explanation }: Spec<boolean>): z.ZodOptional<z.ZodBoolean> {
  return optionalField(z.boolean(), 'true or false', { explanation });
}

export function optionalInteger({ range: [low, high], explanation }: NumberSpec<number>): z.ZodOptional<z.ZodNumber> {
  return optionalField(z.int().gte(low).lte(high), `an integer in [${low}, ${high}]`, { explanation });
}

export function optionalChoice<const T extends readonly [string, ...string[]]>(
  names: T,
  { explanation }: Spec<T[number]>,
) {
  return optionalField(z.enum(names), names.map((name) => `'${name}'`).join(' or '), { explanation });
}

/** One of `count` parts of a whole: [index, count]. */
export function optionalPart({ explanation }: Spec<[number, number]>) {
  return optionalField(z.tuple([z.int().gte(0), z.int().gte(2)]), '[index, count], 0 <= index < count', {
    explanation,
  });
}

export function choice<const T extends readonly [string, ...string[]]>(
  names: T,
  spec: Spec<T[number]>,
): z.ZodType<T[number]> {
  return field(z.enum(names), names.map((name) => `'${name}'`).join(' or '), spec as Spec<never>) as z.ZodType<
    T[number]
  >;
}

/**
 * The fields of a group again, for one part of the plan: where a field is left out, the value of the plan's own group holds. The
 * group may contain fields only, no further groups.
 */
export function overrides<S extends z.ZodRawShape>(group: string, shape: S) {
  const optional = Object.entries(shape).map(([name, schema]) => {
    const own = (schema instanceof z.ZodPrefault ? schema.def.innerType : schema) as z.ZodType;
    const complete = own.optional();
    const { range, unit } = fieldNotes.get(schema as z.ZodType)!;
    const explanation = `As \`${group}.${name}\`, for this dataset; left out: the same.`;
    fieldNotes.add(complete, { range, ...(unit === undefined ? {} : { unit }), explanation });
    return [name, complete] as const;
  });
  return z.strictObject(Object.fromEntries(optional) as { [K in keyof S]: z.ZodOptional<z.ZodType<z.output<S[K]>>> });
}

/** Smallest number of insertions, deletions and replacements that turn `a` into `b` (Levenshtein 1966). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** What is longer was not meant for a name, and would take long to compare. */
const longestName = 200;

/** The known name most like `name`, or undefined when none is near (more than half of it would have to change). */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > longestName) return undefined;
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const [a, b] = [name.toLowerCase(), candidate.toLowerCase()];
    // A shortened or lengthened name is near, however many letters differ.
    const contained = a.length >= 3 && (a.startsWith(b) || b.startsWith(a));
    const distance = contained ? 1 : editDistance(a, b);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return bestDistance <= Math.max(2, Math.floor(name.length / 2)) ? best : undefined;
}
