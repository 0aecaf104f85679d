import * as tf from '@tensorflow/tfjs-core';
import type { Device } from '../device.js';
import { dispatchCounts, resetDispatchCounts } from '../dispatch-log.js';
import type { CaseResult } from './check-case.js';
import { type GraphCase, type GraphResult, runGraph } from './graph-case.js';
import { roundoffOf } from './precision.js';

const float32Epsilon = 2 ** -23;
/** Roundings of a lowered precision that one value may collect on its way through the few ops of a case. */
const loweredRoundings = 8;

/** Runs a case on TF.js's own cpu backend and on `backend`, and compares outputs, gradients, tensors and buffers. */
export async function checkGraph(backend: string, device: Device, graph: GraphCase): Promise<CaseResult> {
  const name = `graph: ${graph.name}`;
  try {
    await tf.setBackend('cpu');
    const expected = runGraph(graph);
    await tf.setBackend(backend);
    const tensorsBefore = tf.memory().numTensors;
    const buffersBefore = device.memory().buffers;
    resetDispatchCounts();
    const actual = runGraph(graph);
    const delegated = Object.keys(dispatchCounts().delegated);
    const problem =
      differences(graph, actual, expected, lowered(device)) ??
      delegation(graph, delegated) ??
      leaks(tf.memory().numTensors - tensorsBefore, device.memory().buffers - buffersBefore);
    const detail = delegated.length === 0 ? 'equal to TF.js' : `equal to TF.js; delegated: ${delegated.join(', ')}`;
    return { name, ok: problem === null, detail: problem ?? detail };
  } catch (error) {
    return { name, ok: false, detail: (error as Error).message };
  }
}

/** Relative error that the device's precision adds. */
function lowered({ precision = 'float32' }: Device): number {
  return precision === 'float32' ? 0 : loweredRoundings * roundoffOf(precision);
}

function differences(
  { terms = 64 }: GraphCase,
  actual: GraphResult,
  expected: GraphResult,
  lowered: number,
): string | null {
  // Both sides compute in float32, and gradients pass through several ops.
  const relative = float32Epsilon * (32 + 16 * Math.sqrt(terms)) + lowered;
  for (const what of ['outputs', 'gradients'] as const)
    for (const [i, reference] of expected[what].entries()) {
      const values = actual[what][i]!;
      if (values.length !== reference.length) return `${what} ${i}: ${values.length} elements, not ${reference.length}`;
      const absolute =
        relative * Math.max(1e-3, Math.sqrt(reference.reduce((sum, x) => sum + x * x, 0) / (reference.length || 1)));
      const at = reference.findIndex((b, j) => !(Math.abs(values[j]! - b) <= absolute + relative * Math.abs(b)));
      if (at >= 0) return `${what} ${i}, element ${at}: expected ${reference[at]}, found ${values[at]}`;
    }
  return null;
}

function delegation({ delegates = false }: GraphCase, delegated: readonly string[]): string | null {
  if (delegates && delegated.length === 0) return 'a kernel should have been delegated, none was';
  if (!delegates && delegated.length > 0) return `delegated ${delegated.join(', ')}`;
  return null;
}

function leaks(tensors: number, buffers: number): string | null {
  if (tensors !== 0) return `${tensors} tensors are left over`;
  return buffers === 0 ? null : `${buffers} buffers are left over`;
}
