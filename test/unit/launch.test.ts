// Which rank a process is, by what mpirun, srun and torchrun tell it.
import t from 'tap';
import { solo } from '../../src/ranks/communicator.js';
import { gpuOfRank } from '../../src/ranks/gpu.js';
import { launchedRank, openRanks } from '../../src/ranks/launch.js';

/** The variables of a launcher alone; what the shell of the test has of them is put back afterwards. */
function launchedBy<T>(variables: Readonly<Record<string, string>>, look: () => T): T {
  const before = { ...process.env };
  for (const name of Object.keys(process.env))
    if (/^(OMPI_|PMI|SLURM_|RANK$|WORLD_SIZE$|LOCAL_RANK$)/.test(name)) delete process.env[name];
  Object.assign(process.env, variables);
  try {
    return look();
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  }
}

const slurm = { SLURM_PROCID: '2', SLURM_STEP_NUM_TASKS: '4' };

t.test('the rank that a launcher gives', async (t) => {
  const ranks = [
    [{}, undefined],
    [{ OMPI_COMM_WORLD_RANK: '3', OMPI_COMM_WORLD_SIZE: '4' }, [3, 4, 'OMPI_COMM_WORLD_RANK']],
    [{ PMI_RANK: '0', PMI_SIZE: '2' }, [0, 2, 'PMI_RANK']],
    [slurm, [2, 4, 'SLURM_PROCID']],
    // mpirun inside of a job of Slurm: one process of srun per machine has started this one.
    [
      { ...slurm, SLURM_STEP_NUM_TASKS: '3', OMPI_COMM_WORLD_RANK: '5', OMPI_COMM_WORLD_SIZE: '6' },
      [5, 6, 'OMPI_COMM_WORLD_RANK'],
    ],
    // The script of a job is one process, whatever the job may start.
    [{ SLURM_PROCID: '0', SLURM_NTASKS: '4' }, undefined],
    [{ OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' }, undefined],
    [{ ...slurm, OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' }, undefined],
  ] as const;
  for (const [variables, expected] of ranks) {
    const found = launchedBy(variables, () => launchedRank('Do so.'));
    t.same(found && [found.rank, found.size, found.from], expected, JSON.stringify(variables));
  }
});

t.test('what contradicts itself, or has no MPI, is refused', async (t) => {
  const refused = [
    [{ OMPI_COMM_WORLD_RANK: '4', OMPI_COMM_WORLD_SIZE: '4' }, 'OMPI_COMM_WORLD_RANK', /VERSEMI_USAGE/],
    [{ OMPI_COMM_WORLD_RANK: 'first', OMPI_COMM_WORLD_SIZE: '4' }, 'OMPI_COMM_WORLD_RANK', /VERSEMI_USAGE/],
    [slurm, 'SLURM_MPI_TYPE', /VERSEMI_RANKS_UNAVAILABLE/],
    [{ RANK: '1', WORLD_SIZE: '2', LOCAL_RANK: '1' }, 'WORLD_SIZE', /VERSEMI_USAGE/],
    [{ RANK: '1', WORLD_SIZE: 'two' }, 'WORLD_SIZE', /VERSEMI_USAGE/],
  ] as const;
  for (const [variables, field, code] of refused)
    t.throws(
      () => launchedBy(variables, openRanks),
      { code, details: { field, remedy: /./ } },
      JSON.stringify(variables),
    );
  const torchrun = { RANK: '0', WORLD_SIZE: '4' };
  t.throws(() => launchedBy(torchrun, openRanks), { code: 'VERSEMI_USAGE', details: { remedy: /mpirun -np 4/ } });
});

t.test('a process that was started alone trains alone', async (t) => {
  for (const variables of [
    {},
    { RANK: '0', WORLD_SIZE: '1' },
    { WORLD_SIZE: '4' },
    { SLURM_PROCID: '0', SLURM_NTASKS: '2' },
  ])
    t.equal(launchedBy(variables, openRanks), solo, JSON.stringify(variables));
});

t.test('each rank takes the GPU with its number on the machine', async (t) => {
  t.equal(gpuOfRank(1, undefined, 4), '1');
  t.equal(gpuOfRank(1, '4,6', 8), '6', 'of those that the process may use');
  t.equal(gpuOfRank(0, 'GPU-8932,GPU-1f3a', 2), 'GPU-8932');
  t.equal(gpuOfRank(3, '0', 4), undefined, 'the launcher has chosen');
  t.equal(gpuOfRank(1, undefined, 0), undefined, 'no GPU: the device says so, where it is asked for');
  for (const [visible, installed] of [
    ['4,6', 8],
    [undefined, 1],
  ] as const)
    t.throws(() => gpuOfRank(2, visible, installed), {
      code: 'VERSEMI_DEVICE_UNAVAILABLE',
      details: { remedy: /--device cpu/ },
    });
});
