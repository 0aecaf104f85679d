import { environment } from '../environment.js';
import { type Communicator, solo } from './communicator.js';
import { openMpi } from './mpi.js';

let opened: Communicator | undefined;

/**
 * The communicator of this process, opened once: over MPI where an MPI launcher (mpirun, mpiexec, srun --mpi) has started more than one rank,
 * else of this process alone.
 * @throws VERSEMI_RANKS_UNAVAILABLE
 */
export function openRanks(): Communicator {
  const size = launchedRanks();
  opened ??= size === undefined || size <= 1 ? solo : openMpi(size);
  return opened;
}

/** Says to the launcher that this rank has ended well; every rank calls it. */
export async function closeRanks(): Promise<void> {
  await opened?.close();
  opened = undefined;
}

/** The communicator that is open: where this process fails, the others must end too. */
export function openedRanks(): Communicator | undefined {
  return opened;
}

/** Ranks that a launcher says it has started; undefined where this process was not started by one. */
function launchedRanks(): number | undefined {
  const text = environment('OMPI_COMM_WORLD_SIZE') ?? environment('PMI_SIZE');
  const size = Number(text);
  return text !== undefined && Number.isSafeInteger(size) && size > 0 ? size : undefined;
}
