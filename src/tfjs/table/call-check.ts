/**
 * Checks a call against the kernel table: attributes by their rules, then how many elements each buffer needs. WebAssembly would
 * write wherever a wrong size leads, so nothing runs unchecked. Native devices do the same by the generated kernel_checks.h.
 */
import { compileExpression, parseExpression, type Values } from './expression.js';
import { attributeRules, constants, familyOf, type KernelName, kernelTable } from './kernel-table.js';
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
    rules: rules.map(([each, rule]) => [each, rule, rule.is === 'list' ? placeOf(rule.length) : -1]),
    sizes: sizes.map(([, text]) => compile(text)),
    conditions: [...(family?.requires ?? []), ...(row.requires ?? [])].map((text) => ({ text, holds: compile(text) })),
    buffers,
  };
}

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
export function packAttributes(
  kernel: KernelName,
  values: Readonly<Record<string, number | readonly number[]>>,
): number[] {
  const packed: number[] = [];
  for (const [name] of compiledRow(kernel).rules) {
    const value = values[name]!;
    if (typeof value === 'number') packed.push(value);
    else packed.push(...value);
  }
  return packed;
}

function readAttributes({ rules }: CompiledRow, attributes: ArrayLike<number>): (number | readonly number[])[] {
  const values: (number | readonly number[])[] = [];
  let next = 0;
  const take = (name: string): number => {
    if (next === attributes.length)
      throw new CallError(`attribute ${name}`, 'a number', `only ${attributes.length} attributes`);
    return attributes[next++]!;
  };
  const takeWhole = (name: string, low: number, high: number): number => {
    const value = take(name);
    if (!Number.isInteger(value) || value < low || value > high)
      throw new CallError(`attribute ${name}`, `a whole number from ${low} to ${high}`, String(value));
    return value;
  };
  for (const [name, rule, lengthPlace] of rules) {
    if (rule.is === 'whole') values.push(takeWhole(name, rule.low, rule.high));
    else if (rule.is === 'flag') values.push(takeWhole(name, 0, 1));
    else if (rule.is === 'list') {
      const length = values[lengthPlace] as number;
      if (attributes.length - next < length)
        throw new CallError(`attribute ${name}`, `${length} numbers`, `only ${attributes.length} attributes`);
      values.push(Array.from({ length }, () => takeWhole(name, 0, largestCount)));
    } else {
      const value = take(name);
      if (rule.low !== undefined && !(value >= rule.low))
        throw new CallError(`attribute ${name}`, `a number >= ${rule.low}`, String(value));
      values.push(value);
    }
  }
  if (next !== attributes.length) throw new CallError('attributes', `${next} numbers`, String(attributes.length));
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
  for (const constant of Object.values(constants)) values.push(constant);
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
