import { isVersemiError, VersemiError } from '../../errors.js';
import type { BufferId, Device } from '../devices/device.js';
import { runPlain } from '../reference/plain-kernels.js';
import { storesLowered } from './lowered-device.js';
import { precisionOf, runLowered } from './lowered-kernels.js';
import { makeData, type OpCase, packedAttributes, seedOf, sourceSize, type Target } from './op-case.js';
import { roundings, roundoffOf } from './precision.js';

/** Elements behind each output that a kernel must not touch. */
const guardElements = 32;
/** A NaN with a payload of its own, so that an element that was never written is recognised. */
const poison = new Float32Array(Uint32Array.of(0x7fc0dead).buffer)[0]!;
const float32Epsilon = 2 ** -23;

/** Whether a case of the selftest holds on a device. */
export interface CaseResult {
  readonly name: string;
  readonly ok: boolean;
  /** What was compared, why the device refuses, or the first number that differs. */
  readonly detail: string;
  /** Kernel and row, where a row was asked for. */
  readonly row?: string;
  /** True where the device has no kernel for the call and TF.js would delegate it. */
  readonly refused?: boolean;
}

/** Data of a case before the call, in the order of the kernel table. */
export interface CaseData {
  readonly inputs: (Float64Array | null)[];
  /** Contents before the call where the output is updated in place, else its size. */
  readonly outputs: (Float64Array | number | null)[];
}

export function caseData(opCase: OpCase): CaseData {
  const seed = seedOf(opCase);
  const before: Float64Array[] = [];
  const inputs = opCase.inputs.map((source, i) => {
    if (source === null) return null;
    const data = makeData(source, seed, i, before);
    before.push(data);
    return data;
  });
  const outputs = opCase.outputs.map((target, i) =>
    target === null || typeof target === 'number' ? target : makeData(target, seed, 1000 + i, before),
  );
  return { inputs, outputs };
}

/** What the plain kernels make of a case, in double; null where an output is absent. */
export function expectedOutputs(opCase: OpCase, { inputs, outputs }: CaseData): (Float64Array | null)[] {
  const results = outputs.map((output) => {
    if (output === null) return null;
    return typeof output === 'number' ? new Float64Array(output) : output.slice();
  });
  runPlain(opCase.row, [...inputs, ...results], packedAttributes(opCase));
  return results;
}

/**
 * Error that a device may make beyond that of float32, per output: twice the largest one of the plain kernels in its precision
 * (lowered-kernels.ts), over several ways to round. A kernel of lowered precision may not be worse than that. Few elements
 * say little of how large their error can be, so they are made in more ways.
 */
function loweredErrors(
  device: Device,
  opCase: OpCase,
  data: CaseData,
  expected: readonly (Float64Array | null)[],
): number[] {
  const precision = precisionOf(device, opCase.row);
  if (precision === 'float32') return expected.map(() => 0);
  const fewest = Math.min(...expected.map((output) => output?.length ?? Number.POSITIVE_INFINITY));
  const most = expected.map((output) => (output === null ? 0 : 2 * roundoffOf(precision) * typicalSize(output)));
  const take = (factor: number, results: readonly (Float64Array | null)[]) => {
    for (const [i, reference] of expected.entries())
      for (let at = 0; at < (reference?.length ?? 0); at++) {
        const error = factor * Math.abs(results[i]![at]! - reference![at]!);
        if (error > most[i]!) most[i] = error;
      }
  };
  for (const [run, round] of roundings(precision, fewest < 64 ? 8 : 2).entries()) {
    const results = data.outputs.map((output) => {
      if (output === null) return null;
      return typeof output === 'number' ? new Float64Array(output) : output.slice();
    });
    runLowered(opCase.row, [...data.inputs, ...results], packedAttributes(opCase), round, storesLowered(device));
    // Rounding at random errs by up to twice what rounding to nearest does.
    take(run === 0 ? 2 : 1, results);
  }
  return most;
}

/**
 * Runs a case on a device: outputs start poisoned, with guard elements behind them; the results are compared with the
 * plain kernels in double; inputs and guards must be untouched, a second run bitwise equal, and no buffer left over.
 */
export function checkCase(device: Device, opCase: OpCase): CaseResult {
  const name = `${opCase.row}: ${opCase.name}`;
  const reason = device.refuses(opCase.row, packedAttributes(opCase));
  if (reason !== null) return { name, ok: true, refused: true, detail: `refused: ${reason}` };
  const buffersBefore = device.memory().buffers;
  const data = caseData(opCase);
  let problem: string | null;
  try {
    const first = execute(device, opCase, data);
    const expected = expectedOutputs(opCase, data);
    problem = first.problem ?? compare(opCase, first.outputs, expected, loweredErrors(device, opCase, data, expected));
    if (problem === null) {
      const second = execute(device, opCase, data);
      problem = second.problem ?? compareBits(first.outputs, second.outputs);
    }
  } catch (error) {
    throwIfOutOfMemory(error);
    problem = (error as Error).message;
  }
  const buffersAfter = device.memory().buffers;
  if (problem === null && buffersAfter !== buffersBefore)
    problem = `${buffersAfter - buffersBefore} buffers are left over`;
  return { name, ok: problem === null, detail: problem ?? 'equal to the reference, repeatable' };
}

/** Passes on what says nothing about the kernel: that memory did not suffice, of the device or of the process. */
export function throwIfOutOfMemory(error: unknown): void {
  if (isVersemiError(error, 'DEVICE_OUT_OF_MEMORY')) throw error;
  if (error instanceof RangeError && /allocation failed/.test(error.message))
    throw new VersemiError(
      'MEMORY_LIMIT',
      {
        field: 'selftest',
        found: error.message,
        remedy: 'Raise the limit of address space (ulimit -v), or free memory.',
      },
      error,
    );
}

interface Execution {
  readonly outputs: (Float32Array | null)[];
  readonly problem: string | null;
}

function execute(device: Device, opCase: OpCase, data: CaseData): Execution {
  const buffers: BufferId[] = [];
  const upload = (values: Float32Array): void => {
    const buffer = device.allocate(values.byteLength);
    buffers.push(buffer);
    device.write(buffer, values);
  };
  try {
    for (const input of data.inputs) {
      if (input === null) buffers.push(0);
      else upload(Float32Array.from(input));
    }
    for (const [i, target] of opCase.outputs.entries()) {
      if (target === null) buffers.push(0);
      else upload(guarded(data.outputs[i]!, targetSize(target)));
    }
    device.run(opCase.row, buffers, packedAttributes(opCase));
    for (const [i, input] of data.inputs.entries()) {
      if (input === null) continue;
      const after = new Float32Array(input.length);
      device.readSync(buffers[i]!, after);
      if (!sameBits(after, Float32Array.from(input))) return { outputs: [], problem: `input ${i} was overwritten` };
    }
    const outputs: (Float32Array | null)[] = [];
    for (const [i, target] of opCase.outputs.entries()) {
      if (target === null) {
        outputs.push(null);
        continue;
      }
      const size = targetSize(target);
      const after = new Float32Array(size + guardElements);
      device.readSync(buffers[data.inputs.length + i]!, after);
      if (!sameBits(after.subarray(size), guarded(0, 0)))
        return { outputs: [], problem: `output ${i} was written beyond its ${size} elements` };
      outputs.push(after.slice(0, size));
    }
    return { outputs, problem: null };
  } finally {
    for (const buffer of buffers) if (buffer !== 0) device.release(buffer);
  }
}

function targetSize(target: Exclude<Target, null>): number {
  return typeof target === 'number' ? target : sourceSize(target);
}

function guarded(contents: Float64Array | number, size: number): Float32Array {
  const values = new Float32Array(size + guardElements).fill(poison);
  if (typeof contents !== 'number') values.set(contents);
  return values;
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  const x = new Uint32Array(a.buffer, a.byteOffset, a.length);
  const y = new Uint32Array(b.buffer, b.byteOffset, b.length);
  return x.every((bits, i) => bits === y[i]);
}

function compareBits(first: readonly (Float32Array | null)[], second: readonly (Float32Array | null)[]): string | null {
  const at = first.findIndex((output, i) => output !== null && !sameBits(output, second[i]!));
  return at < 0 ? null : `output ${at} differs when the call is repeated`;
}

/**
 * Compares with |a - b| <= abs + rel * |b|, so that NaN fails. The relative error allowed grows with the square root of
 * the longest sum; the absolute one is that of a typical element, since a sum may cancel to nearly nothing.
 */
function compare(
  { terms, conditioning = 1 }: OpCase,
  actual: readonly (Float32Array | null)[],
  expected: readonly (Float64Array | null)[],
  lowered: readonly number[],
): string | null {
  const relative = conditioning * float32Epsilon * (8 + 4 * Math.sqrt(terms));
  for (const [i, reference] of expected.entries()) {
    if (reference === null) continue;
    const output = actual[i]!;
    const absolute = relative * typicalSize(reference) + lowered[i]! + 1e-37;
    for (let at = 0; at < reference.length; at++) {
      const b = reference[at]!;
      const a = output[at]!;
      if (Math.abs(a - b) <= absolute + relative * Math.abs(b)) continue;
      // NaN and infinity where the reference has them too.
      if (!Number.isFinite(Math.fround(b)) && Object.is(a, Math.fround(b))) continue;
      return `output ${i}, element ${at} of ${reference.length}: expected ${b}, found ${a}, allowed error ${(absolute + relative * Math.abs(b)).toExponential(1)}`;
    }
  }
  return null;
}

/** Root mean square of the finite elements. */
function typicalSize(values: Float64Array): number {
  let squares = 0;
  let count = 0;
  for (const value of values) {
    if (!Number.isFinite(Math.fround(value))) continue;
    squares += value * value;
    count++;
  }
  return count === 0 ? 0 : Math.sqrt(squares / count);
}
