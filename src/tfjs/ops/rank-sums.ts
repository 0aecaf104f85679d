import type { Tensor } from '#tfjs';
import { currentBackend } from '../backend/backend.js';

/**
 * Begins to replace the values of a tensor, and of every tensor that shares its data, by their sums over the ranks that its device has
 * joined (`Device.sums`). Kernels that are called afterwards and do not use it run meanwhile; those that use it see the sum.
 * @param x float32, of any shape, the same on every rank
 * @throws VERSEMI_KERNEL_FAILED where the device has joined no ranks, or the sum cannot begin
 */
export function startSumOverRanks(x: Tensor): void {
  currentBackend().startSumOverRanks(x);
}
