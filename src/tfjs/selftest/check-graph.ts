import * as tf from '#tfjs';
import { dispatchCounts, resetDispatchCounts } from '../backend/dispatch-log.js';
import type { Device } from '../devices/device.js';
import { type CaseResult, throwIfOutOfMemory } from './check-case.js';
import { type GraphCase, type GraphResult, runGraph } from './graph-case.js';
import { runLoweredGraph } from './lowered-device.js';
import { roundings } from './precision.js';

const float32Epsilon = 2 ** -23;
/** Ways to round in which a case is run to see what a lowered precision may do to it. */
const loweredRuns = 5;

/** Runs a case on TF.js's own cpu backend and on `backend`, and compares outputs, gradients, tensors and buffers. */
export async function checkGraph(backend: string, device: Device, graph: GraphCase): Promise<CaseResult> {
  const name = `graph: ${graph.name}`;
  try {
    await tf.setBackend('cpu');
    const expected = runGraph(graph);
    const lowered = await loweredErrors(device, graph, expected);
    await tf.setBackend(backend);
    const tensorsBefore = tf.memory().numTensors;
    const buffersBefore = device.memory().buffers;
    resetDispatchCounts();
    const actual = runGraph(graph);
    const delegated = Object.keys(dispatchCounts().delegated);
    const problem =
      differences(graph, actual, expected, lowered) ??
      delegation(graph, delegated) ??
      leaks(tf.memory().numTensors - tensorsBefore, device.memory().buffers - buffersBefore);
    const detail = delegated.length === 0 ? 'equal to TF.js' : `equal to TF.js; delegated: ${delegated.join(', ')}`;
    return { name, ok: problem === null, detail: problem ?? detail };
  } catch (error) {
    throwIfOutOfMemory(error);
    return { name, ok: false, detail: (error as Error).message };
  }
}

/** Root mean square error of each output and gradient. */
interface GraphErrors {
  readonly outputs: number[];
  readonly gradients: number[];
}

/**
 * Error that the precision of the device may add to each output and gradient, as root mean square: twice the largest one of
 * the plain kernels in that precision, over several ways to round; null in float32. It is measured and not derived from the
 * unit roundoff u, because a gradient does not follow u: a rounded value that lands on the other side of a ReLU's kink takes
 * its whole term along. Of a channel whose mean is as large as its deviation about 0.4 u of the normalised values do, so the
 * root mean square error is about sqrt(0.4 u), 4 % in bfloat16, for every ReLU on the way, whatever the size of the volume.
 * Of a single element it says nothing: that one may be wrong altogether.
 */
async function loweredErrors(device: Device, graph: GraphCase, expected: GraphResult): Promise<GraphErrors | null> {
  const { precision = 'float32' } = device;
  if (precision === 'float32') return null;
  const most: GraphErrors = { outputs: [], gradients: [] };
  for (const [run, round] of roundings(precision, loweredRuns).entries()) {
    // Rounding at random errs by up to 2 u, to nearest by u.
    const factor = run === 0 ? 2 : 1;
    const result = await runLoweredGraph(graph, round, device);
    for (const what of ['outputs', 'gradients'] as const)
      for (const [i, reference] of expected[what].entries())
        most[what][i] = Math.max(most[what][i] ?? 0, factor * rootMeanSquare(result[what][i]!, reference));
  }
  return most;
}

/** Of the values, or of their differences from others. */
function rootMeanSquare(values: Float32Array, from?: Float32Array): number {
  const squares = values.reduce((sum, value, i) => sum + (value - (from?.[i] ?? 0)) ** 2, 0);
  return Math.sqrt(squares / (values.length || 1));
}

function differences(
  { terms = 64 }: GraphCase,
  actual: GraphResult,
  expected: GraphResult,
  lowered: GraphErrors | null,
): string | null {
  // Both sides compute in float32, and gradients pass through several ops.
  const relative = float32Epsilon * (32 + 16 * Math.sqrt(terms));
  for (const what of ['outputs', 'gradients'] as const)
    for (const [i, reference] of expected[what].entries()) {
      const values = actual[what][i]!;
      if (values.length !== reference.length) return `${what} ${i}: ${values.length} elements, not ${reference.length}`;
      const absolute = relative * Math.max(1e-3, rootMeanSquare(reference));
      if (lowered === null) {
        const at = reference.findIndex((b, j) => !(Math.abs(values[j]! - b) <= absolute + relative * Math.abs(b)));
        if (at >= 0) return `${what} ${i}, element ${at}: expected ${reference[at]}, found ${values[at]}`;
      } else {
        const error = rootMeanSquare(values, reference);
        const allowed = absolute + lowered[what][i]!;
        if (!(error <= allowed))
          return `${what} ${i}: root mean square error ${error.toExponential(2)}, allowed ${allowed.toExponential(2)}`;
      }
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
