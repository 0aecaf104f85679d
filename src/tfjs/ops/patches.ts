import type { Tensor1D, Tensor2D, Tensor4D } from '#tfjs';
import { checkShape } from '../backend/kernel-host.js';
import { lookupLength, mixRowLength, patchRowLength } from '../table/kernel-table.js';
import { runCustom } from './run.js';

/**
 * Patches cut out of volumes that lie one after the other in one tensor. Not differentiable.
 * @param volumes [total]: every volume [sizeZ, sizeY, sizeX]
 * @param table [n, 13]: where each patch lies and how it is turned; see `cut_patches` in kernel-table.ts
 * @param patch depth, height, width of a patch
 * @param lookup [tables, 256]: what becomes of labels, for rows that name a table
 * @returns [n, depth, height, width]; 0 outside of a volume
 */
export function cutPatches(
  volumes: Tensor1D,
  table: Tensor2D,
  patch: readonly [number, number, number],
  lookup?: Tensor2D,
): Tensor4D {
  checkShape('cutPatches', 'table', [table.shape[0], patchRowLength], table.shape);
  if (lookup !== undefined) checkShape('cutPatches', 'lookup', [lookup.shape[0], lookupLength], lookup.shape);
  return runCustom<Tensor4D>('VersemiCutPatches', { volumes, table, lookup }, { patch: [...patch] });
}

/**
 * CutMix (Yun et al., ICCV 2019, arXiv 1905.04899): one patch inside a box, another one around it. Not differentiable.
 * @param patches [sources, depth, height, width]
 * @param table [n, 8]: which patches, which box; see `cut_mix` in kernel-table.ts
 * @returns [n, depth, height, width]
 */
export function cutMix(patches: Tensor4D, table: Tensor2D): Tensor4D {
  checkShape('cutMix', 'table', [table.shape[0], mixRowLength], table.shape);
  return runCustom<Tensor4D>('VersemiCutMix', { patches, table });
}
