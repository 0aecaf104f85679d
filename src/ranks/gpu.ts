import { readdirSync } from 'node:fs';
import { environment, setEnvironment } from '../environment.js';
import { VersemiError } from '../errors.js';
import type { Communicator } from './communicator.js';

/**
 * The GPU of a rank: of those that the process may use, the one with the number of the rank on its machine. Where there is one alone, the
 * launcher has chosen it (`srun --gpus-per-task=1`).
 * @param visible CUDA_VISIBLE_DEVICES: numbers or names, comma-separated; undefined: all that are installed
 * @returns what CUDA_VISIBLE_DEVICES becomes; undefined where there is nothing to choose
 * @throws VERSEMI_DEVICE_UNAVAILABLE where there are more ranks than GPUs
 */
export function gpuOfRank(localRank: number, visible: string | undefined, installed: number): string | undefined {
  const gpus = visible?.split(',') ?? Array.from({ length: installed }, (_, i) => String(i));
  if (gpus.length === 0 || (visible !== undefined && gpus.length === 1)) return undefined;
  const own = gpus[localRank];
  if (own !== undefined) return own;
  throw new VersemiError('DEVICE_UNAVAILABLE', {
    field: 'cuda',
    expected: `a GPU for each rank of this machine, of which this is number ${localRank + 1}`,
    found: `${gpus.length}`,
    remedy: `Start at most ${gpus.length} ranks per machine (mpirun --map-by ppr:${gpus.length}:node, srun --ntasks-per-node=${gpus.length}), or say --device cpu.`,
  });
}

/** Gives the process the GPU of its rank. To be called before CUDA is used for the first time: it reads the variable then. */
export function takeGpuOfRank({ size, localRank }: Communicator): void {
  if (size === 1) return;
  const own = gpuOfRank(localRank, environment('CUDA_VISIBLE_DEVICES'), installedGpus());
  if (own !== undefined) setEnvironment('CUDA_VISIBLE_DEVICES', own);
}

/** As the NVIDIA driver of Linux lists them; 0 where there is none. */
function installedGpus(): number {
  try {
    return readdirSync('/proc/driver/nvidia/gpus').length;
  } catch {
    return 0;
  }
}
