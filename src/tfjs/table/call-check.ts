/**
 * Checks a call against the kernel table: attributes by their rules, then how many elements each buffer needs. WebAssembly would
 * write wherever a wrong size leads, so nothing runs unchecked. Native devices do the same by the generated kernel_checks.h.
 */
import { compileExpression, parseExpression, type Values } from './expression.js';
import {
  type AttributeValues,
  attributeRules,
  constants,
  familyOf,
  type KernelName,
  kernelTable,
} from './kernel-table.js';
import { type AttributeRule, bufferRule, type KernelRow, largestCount } from './rules.js';

/** A buffer that a call needs. */
export interface BufferNeed {
  readonly name: string;
  /** float32 elements, at least. */
  readonly elements: number;
  readonly optional: boolean;
}

/** Why attributes do not describe a call. */
export class CallError extends Error {
  constructor(
    readonly field: string,
    readonly expected: string,
    readonly found: string,
  ) {
    super(`${field}: expected ${expected}, found ${found}`);
  }
}

/** A buffer of a row; one that is repeated stands once. */
export interface BufferDescription {
  readonly name: string;
  readonly output: boolean;
  /** Always, or in some calls. */
  readonly optional: boolean;
  readonly repeated: boolean;
  readonly inPlace: boolean;
  readonly narrow: boolean;
}

type Evaluate = (values: Values, index: number) => number;

interface CompiledBuffer extends BufferDescription {
  readonly count: Evaluate;
  readonly mayBeAbsent: Evaluate;
  /** Place of the attribute that says how often it is repeated; -1: once. */
  readonly times: number;
}

interface CompiledRow {
  readonly rules: readonly (readonly [name: string, rule: AttributeRule, lengthPlace: number])[];
  /** How attributes are packed: a value by its name, or the length of the list of that name. */
  readonly packing: readonly { readonly name: string; readonly isLength: boolean }[];
  readonly sizes: readonly Evaluate[];
  readonly conditions: readonly { readonly text: string; readonly holds: Evaluate }[];
  readonly buffers: readonly CompiledBuffer[];
}

function compileRow(name: KernelName): CompiledRow {
  const row: KernelRow = kernelTable[name];
  const family = row.family === undefined ? undefined : familyOf(row.family);
  const rules = Object.entries(attributeRules(name));
  const sizes = Object.entries({ ...family?.sizes, ...row.sizes });
  // Places of values: attributes, then sizes in their order, then constants.
  const names = [...rules, ...sizes, ...Object.entries(constants)].map(([each]) => each);
  const placeOf = (each: string) => {
    const place = names.indexOf(each);
    if (place < 0) throw new Error(`kernel table, ${name}: ${each} is neither an attribute nor a size`);
    return place;
  };
  const compile = (text: string) => compileExpression(parseExpression(text), placeOf);
  const buffers = [row.inputs, row.outputs].flatMap((entries, side) =>
    Object.entries(entries).map(([each, entry]): CompiledBuffer => {
      const rule = bufferRule(entry);
      return {
        name: each,
        output: side === 1,
        optional: rule.optional !== undefined,
        repeated: rule.repeated !== undefined,
        inPlace: rule.inPlace === true,
        narrow: rule.narrow === true,
        count: compile(rule.count),
        mayBeAbsent: compile(rule.optional ?? '0'),
        times: rule.repeated === undefined ? -1 : placeOf(rule.repeated),
      };
    }),
  );
  return {
    packing: rules.map(([each]) => {
      const measured = rules.find(([, rule]) => rule.is === 'list' && rule.length === each);
      return { name: measured?.[0] ?? each, isLength: measured !== undefined };
    }),
    rules: rules.map(([each, rule]) => [each, rule, rule.is === 'list' ? placeOf(rule.length) : -1]),
    sizes: sizes.map(([, text]) => compile(text)),
    conditions: [...(family?.requires ?? []), ...(row.requires ?? [])].map((text) => ({ text, holds: compile(text) })),
    buffers,
  };
}

const constantValues = Object.values(constants);
const compiled = new Map<KernelName, CompiledRow>();

function compiledRow(name: KernelName): CompiledRow {
  let row = compiled.get(name);
  if (row === undefined) {
    if (!Object.hasOwn(kernelTable, name)) throw new CallError('kernel', 'a row of the kernel table', String(name));
    row = compileRow(name);
    compiled.set(name, row);
  }
  return row;
}

/** The buffers of a row, inputs then outputs. */
export function buffersOf(kernel: KernelName): readonly BufferDescription[] {
  return compiledRow(kernel).buffers;
}

/** How many of the `count` buffers of a call are inputs; the outputs follow. */
export function inputCount(kernel: KernelName, count: number): number {
  const { buffers } = compiledRow(kernel);
  const outputs = buffers.filter(({ output }) => output);
  if (outputs.some(({ repeated }) => repeated)) return buffers.length - outputs.length;
  return count - outputs.length;
}

/** Packs the attributes of a row in the order in which they cross the boundary. */
export function packAttributes<Name extends KernelName>(kernel: Name, values: AttributeValues<Name>): Float64Array {
  const { packing } = compiledRow(kernel);
  const named = values as Readonly<Record<string, number | readonly number[]>>;
  const packed: number[] = [];
  for (let i = 0; i < packing.length; i++) {
    const { name, isLength } = packing[i]!;
    const value = named[name]!;
    if (isLength) packed.push((value as readonly number[]).length);
    else if (typeof value === 'number') packed.push(value);
    else for (let j = 0; j < value.length; j++) packed.push(value[j]!);
  }
  return new Float64Array(packed);
}

/**
 * Packed attributes by their names.
 * @throws CallError where they are not such as the row states
 */
export function unpackAttributes<Name extends KernelName>(
  kernel: Name,
  attributes: ArrayLike<number>,
): AttributeValues<Name> {
  const row = compiledRow(kernel);
  const values = readAttributes(row, attributes);
  return Object.fromEntries(row.rules.map(([name], i) => [name, values[i]])) as unknown as AttributeValues<Name>;
}

function missing(name: string, expected: string, count: number): CallError {
  return new CallError(`attribute ${name}`, expected, `only ${count} attributes`);
}

function checkedWhole(name: string, value: number, low: number, high: number): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw new CallError(`attribute ${name}`, `a whole number from ${low} to ${high}`, String(value));
}

function readAttributes({ rules }: CompiledRow, attributes: ArrayLike<number>): (number | readonly number[])[] {
  const values: (number | readonly number[])[] = [];
  const count = attributes.length;
  let next = 0;
  for (let i = 0; i < rules.length; i++) {
    const [name, rule, lengthPlace] = rules[i]!;
    if (rule.is === 'list') {
      const length = values[lengthPlace] as number;
      if (count - next < length) throw missing(name, `${length} numbers`, count);
      const list: number[] = [];
      for (let j = 0; j < length; j++) list.push(checkedWhole(name, attributes[next++]!, 0, largestCount));
      values.push(list);
      continue;
    }
    if (next === count) throw missing(name, 'a number', count);
    const value = attributes[next++]!;
    if (rule.is === 'whole') checkedWhole(name, value, rule.low, rule.high);
    else if (rule.is === 'flag') checkedWhole(name, value, 0, 1);
    else if (rule.low !== undefined && !(value >= rule.low))
      throw new CallError(`attribute ${name}`, `a number >= ${rule.low}`, String(value));
    values.push(value);
  }
  if (next !== count) throw new CallError('attributes', `${next} numbers`, String(count));
  return values;
}

/**
 * The buffers of a call, inputs then outputs.
 * @throws CallError where the attributes do not describe a call
 */
export function bufferNeeds(kernel: KernelName, attributes: ArrayLike<number>): BufferNeed[] {
  const row = compiledRow(kernel);
  const values = readAttributes(row, attributes);
  for (const size of row.sizes) values.push(size(values, 0));
  values.push(...constantValues);
  for (const { text, holds } of row.conditions)
    if (holds(values, 0) === 0) throw new CallError('attributes', text, 'a call for which that does not hold');
  const needs: BufferNeed[] = [];
  for (const { name, count, mayBeAbsent, times } of row.buffers) {
    const end = times < 0 ? 1 : (values[times] as number);
    for (let i = 0; i < end; i++) {
      const elements = count(values, i);
      if (!(elements <= largestCount))
        throw new CallError(`buffer ${name}`, `at most ${largestCount} elements`, String(elements));
      needs.push({ name, elements, optional: mayBeAbsent(values, i) !== 0 });
    }
  }
  return needs;
}
