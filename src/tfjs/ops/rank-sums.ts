import { engine, type Tensor } from '#tfjs';
import { VersemiBackend } from '../backend/backend.js';

/**
 * Begins to replace the values of a tensor, and of every tensor that shares its data, by their sums over the ranks that its device has
 * joined (`Device.sums`). Kernels that are called afterwards and do not use it run meanwhile; those that use it see the sum.
 */
export function startSumOverRanks(x: Tensor): void {
  const { backend } = engine();
  if (!(backend instanceof VersemiBackend)) throw new Error('the current backend has no sums over ranks');
  backend.startSumOverRanks(x);
}
