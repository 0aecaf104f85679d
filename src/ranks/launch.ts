import { type EnvironmentName, environment } from '../environment.js';
import { VersemiError } from '../errors.js';
import { type Communicator, solo } from './communicator.js';
import { openMpi } from './mpi.js';

/** Which of the processes that a launcher has started together this one is. */
export interface LaunchedRank {
  /** From 0 to `size` - 1. */
  readonly rank: number;
  /** At least 2: a process that was started as the only one is no rank of anything. */
  readonly size: number;
  /** The variable that says so. */
  readonly from: EnvironmentName;
}

/**
 * The whole number that an environment variable holds; undefined where it is absent or empty.
 * @throws VERSEMI_USAGE naming the variable
 */
export function wholeNumberOf(
  name: EnvironmentName,
  text: string | undefined,
  least: number,
  remedy: string,
): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text) && Number(text) >= least) return Number(text);
  throw new VersemiError('USAGE', {
    field: name,
    expected: `a whole number of at least ${least}`,
    found: text,
    remedy,
  });
}

/**
 * The rank that mpirun, mpiexec or srun has given to this process; undefined where it was started alone.
 *
 * MPI's own variables come first: below mpirun those of Slurm are of the processes that mpirun has started on each machine. Of Slurm
 * those of the step count, not SLURM_NTASKS: the script of a job is one process, whatever number of tasks the job may start.
 * @param remedy what to do about variables that contradict each other
 * @throws VERSEMI_USAGE
 */
export function launchedRank(remedy: string): LaunchedRank | undefined {
  const launchers = [
    ['OMPI_COMM_WORLD_RANK', environment('OMPI_COMM_WORLD_RANK'), environment('OMPI_COMM_WORLD_SIZE')],
    ['PMI_RANK', environment('PMI_RANK'), environment('PMI_SIZE')],
    ['SLURM_PROCID', environment('SLURM_PROCID'), environment('SLURM_STEP_NUM_TASKS')],
  ] as const;
  for (const [from, ofRank, ofSize] of launchers) {
    const rank = wholeNumberOf(from, ofRank, 0, remedy);
    const size = wholeNumberOf(from, ofSize, 1, remedy);
    if (rank === undefined || size === undefined) continue;
    if (size === 1) return undefined;
    if (rank < size) return { rank, size, from };
    throw new VersemiError('USAGE', { field: from, expected: `a number below ${size}`, found: `${rank}`, remedy });
  }
  return undefined;
}

let opened: Communicator | undefined;

/**
 * The communicator of this process, opened once: over MPI where mpirun, mpiexec or srun has started more than one rank, else of this
 * process alone.
 * @throws VERSEMI_RANKS_UNAVAILABLE where they are not connected; VERSEMI_USAGE where variables contradict each other, or where
 *   several processes were started by something that has no MPI
 */
export function openRanks(): Communicator {
  opened ??= connect();
  return opened;
}

function connect(): Communicator {
  const launched = launchedRank(
    'Start the processes with mpirun or srun, or say --ranks none for a process that trains alone.',
  );
  if (launched === undefined) {
    refuseTorchrun();
    return solo;
  }
  if (launched.from === 'SLURM_PROCID') requireSlurmMpi(launched);
  return openMpi(launched.size);
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

/** Open MPI ends a process that srun has started without an interface for MPI, with a page about how MPI is compiled. */
function requireSlurmMpi({ size }: LaunchedRank): void {
  if (environment('SLURM_MPI_TYPE') !== undefined) return;
  throw new VersemiError('RANKS_UNAVAILABLE', {
    field: 'SLURM_MPI_TYPE',
    expected: 'an interface for MPI',
    found: `${size} processes of srun without one`,
    remedy:
      'Say srun --mpi=pmix (Open MPI) or srun --mpi=pmi2 (MPICH); srun --mpi=list names those of this Slurm. For processes that train alone say --ranks none.',
  });
}

/** torchrun tells its processes where to meet, and PyTorch connects them: without PyTorch each of them would train alone. */
function refuseTorchrun(): void {
  const remedy = 'Unset RANK and WORLD_SIZE, or set them to what they are.';
  const rank = wholeNumberOf('RANK', environment('RANK'), 0, remedy);
  const size = wholeNumberOf('WORLD_SIZE', environment('WORLD_SIZE'), 1, remedy);
  if (rank === undefined || size === undefined || size === 1) return;
  throw new VersemiError('USAGE', {
    field: 'WORLD_SIZE',
    expected: 'ranks that MPI connects',
    found: `rank ${rank} of ${size} by RANK and WORLD_SIZE, as torchrun sets them, and no launcher of MPI`,
    remedy: `Start the training with mpirun -np ${size} or srun --mpi=pmix in place of torchrun, or say --ranks none for a process that trains alone.`,
  });
}
