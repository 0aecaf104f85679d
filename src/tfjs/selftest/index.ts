import * as tf from '#tfjs';
import { throwIfAborted } from '../../errors.js';
import type { VerbOptions } from '../../verb-options.js';
import type { Device } from '../devices/device.js';
import { type CaseResult, checkCase } from './check-case.js';
import { checkGraph } from './check-graph.js';
import { convolutionCases } from './convolution-cases.js';
import { graphCases } from './graph-cases.js';
import { networkCases } from './network-cases.js';
import { type OpCase, packedAttributes } from './op-case.js';
import { patchCases } from './patch-cases.js';
import { tensorCases } from './tensor-cases.js';

export type { CaseResult } from './check-case.js';

/** One table for every device: each row of the kernel table, at the shapes of the network and at odd ones. */
export const opCases: readonly OpCase[] = [...convolutionCases, ...networkCases, ...tensorCases, ...patchCases];

/** How a device is checked. */
export interface SelftestOptions extends Omit<VerbOptions<CaseResult>, 'onNotice'> {
  /** Each case on every row that takes it, not only on the one that the device chooses. */
  readonly everyRow?: boolean;
}

/**
 * Checks a device on this machine, case by case: kernels against plain TypeScript in double, then ops and gradients
 * through TF.js against TF.js's own cpu backend. The current backend is the given one afterwards.
 * @param selected what {@link selectDevice} returned
 * @throws VERSEMI_ABORTED by `signal`, between two cases
 */
export async function* runSelftest(
  { backend, device }: { readonly backend: string; readonly device: Device },
  { everyRow = false, signal, onProgress }: SelftestOptions = {},
): AsyncGenerator<CaseResult> {
  for (const opCase of opCases) {
    for (const result of everyRow ? onEveryRow(device, opCase) : [checkCase(device, opCase)]) {
      throwIfAborted(signal, 'selftest');
      onProgress?.(result);
      yield result;
      // Lets progress be shown and signals be seen.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }
  for (const graph of graphCases) {
    throwIfAborted(signal, 'selftest');
    const result = await checkGraph(backend, device, graph);
    onProgress?.(result);
    yield result;
  }
  await tf.setBackend(backend);
}

function* onEveryRow(device: Device, opCase: OpCase): Generator<CaseResult> {
  const rows = device.rows?.(opCase.row, packedAttributes(opCase)) ?? [];
  const taking = rows.filter(({ reason }) => reason === null);
  if (taking.length === 0) yield checkCase(device, opCase);
  for (const { name } of taking) {
    device.useRow?.(name);
    try {
      const result = checkCase(device, opCase);
      yield { ...result, name: `${result.name}, ${name}`, row: `${opCase.row} ${name}` };
    } finally {
      device.useRow?.('');
    }
  }
}
