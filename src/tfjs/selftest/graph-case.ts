import * as tf from '#tfjs';
import { RandomStream, streams } from '../../random.js';

/** A function of tensors, run through TF.js on a versemi backend and on TF.js's own, forward and gradient. */
export interface GraphCase {
  readonly name: string;
  readonly shapes: readonly (readonly number[])[];
  /** Range of the random inputs; default normal numbers. */
  readonly positive?: boolean;
  readonly f: (...inputs: never[]) => tf.Tensor | tf.Tensor[];
  /** False where the function has no gradient; default true, with respect to all inputs. */
  readonly differentiable?: boolean;
  /** True where a kernel is expected to be delegated; otherwise delegation is a failure. */
  readonly delegates?: boolean;
  /** Length of the longest sum behind one element; default 64. */
  readonly terms?: number;
}

export interface GraphResult {
  readonly outputs: Float32Array[];
  readonly gradients: Float32Array[];
}

function randomTensor(shape: readonly number[], positive: boolean, index: number): tf.Tensor {
  const random = new RandomStream(shape.length + 1, streams.test, index);
  const size = shape.reduce((product, length) => product * length, 1);
  const values = Float32Array.from({ length: size }, () =>
    positive ? random.uniformBetween(0.25, 2) : random.normal(),
  );
  return tf.tensor(values, shape.slice(), 'float32');
}

/**
 * Runs a case on the current backend: outputs, and gradients of the sum of all outputs weighted by random numbers.
 * Leaves no tensor behind.
 */
export function runGraph({ shapes, positive = false, f, differentiable = true }: GraphCase): GraphResult {
  return tf.tidy(() => {
    const inputs = shapes.map((shape, i) => randomTensor(shape, positive, i));
    const call = f as (...inputs: tf.Tensor[]) => tf.Tensor | tf.Tensor[];
    const outputs = [call(...inputs)].flat();
    const gradients = differentiable
      ? tf.grads((...xs: tf.Tensor[]) =>
          [call(...xs)]
            .flat()
            .map((y, i) => tf.sum(tf.mul(y, randomTensor(y.shape, false, 100 + i))))
            .reduce((sum, each) => tf.add(sum, each)),
        )(inputs)
      : [];
    const read = (tensors: tf.Tensor[]) => tensors.map((tensor) => Float32Array.from(tensor.dataSync()));
    return { outputs: read(outputs), gradients: read(gradients) };
  });
}
