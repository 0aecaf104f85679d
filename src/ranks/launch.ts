import { environment } from '../environment.js';
import { type Communicator, solo } from './communicator.js';
import { openMpi } from './mpi.js';

/**
 * The communicator of this process: over MPI where an MPI launcher (mpirun, mpiexec, srun --mpi) has started more than one rank,
 * else of this process alone.
 * @throws VERSEMI_RANKS_UNAVAILABLE
 */
export function openRanks(): Communicator {
  const size = launchedRanks();
  return size === undefined || size <= 1 ? solo : openMpi(size);
}

/** Ranks that a launcher says it has started; undefined where this process was not started by one. */
function launchedRanks(): number | undefined {
  const text = environment('OMPI_COMM_WORLD_SIZE') ?? environment('PMI_SIZE');
  const size = Number(text);
  return text !== undefined && Number.isSafeInteger(size) && size > 0 ? size : undefined;
}
