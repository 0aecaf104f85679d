import type { Tensor } from '#tfjs';
import { currentBackend } from '../backend/backend.js';

/**
 * The values of a float32 tensor in an array that is there already. (`dataSync` makes a new one, which in every step is work for the garbage
 * collector beside that of the kernels.)
 * @param target of as many elements
 */
export function readInto(x: Tensor, target: Float32Array): void {
  currentBackend().readInto(x, target);
}

/** Gives a float32 tensor, and every tensor that shares its data, other values; `values` may change afterwards. */
export function writeInto(x: Tensor, values: Float32Array): void {
  currentBackend().writeInto(x, values);
}
