/**
 * Every environment variable that versemi reads, in one table, and the one function that reads them. The table prints in
 * `versemi --help` and as docs/environment.md; `test/unit/environment.test.ts` finds whatever is read past it. No `node:`
 * module is imported here: in a browser every variable is absent.
 */

export interface EnvironmentVariable {
  readonly name: string;
  /** What it does, as `versemi --help` prints it. */
  readonly effect: string;
  readonly values: string;
  /** What holds where the variable is absent or empty. */
  readonly default: string;
  /** `native` is the addon itself; `install` is the build of the addon, a script that runs before there is anything else. */
  readonly readers: readonly ('versemi' | 'native' | 'bench' | 'install' | 'tests')[];
}

export const environmentTable = [
  {
    name: 'VERSEMI_THREADS',
    effect: 'threads of the device, where --threads is not given',
    values: 'a whole number from 1 to 1024',
    default: 'the cores that the process may use: affinity, quota of its control group, Slurm (wasm: at most 16)',
    readers: ['versemi'],
  },
  ...(
    [
      ['SLURM_CPUS_PER_TASK', 'Slurm: CPUs of the task; no more threads than these by default'],
      ['SLURM_CPUS_ON_NODE', 'Slurm: CPUs of the job on this machine, where the task has none of its own'],
      ['SLURM_ARRAY_TASK_ID', 'Slurm array: the part that --part takes by default'],
      ['SLURM_ARRAY_TASK_MIN', 'Slurm array: the lowest number of a task'],
      ['SLURM_ARRAY_TASK_MAX', 'Slurm array: the highest number of a task'],
      ['SLURM_ARRAY_TASK_STEP', 'Slurm array: the step between numbers'],
      ['SLURM_ARRAY_TASK_COUNT', 'Slurm array: the number of tasks'],
      ['SLURM_PROCID', 'srun: the number of this task'],
      ['SLURM_STEP_NUM_TASKS', 'srun: the number of tasks of the step'],
      ['SLURM_MPI_TYPE', 'srun: the interface by which MPI finds its ranks (--mpi)'],
      ['SLURM_STEP_NUM_NODES', 'srun: the number of machines of the step, which share its tasks'],
      ['OMPI_COMM_WORLD_RANK', 'Open MPI: the number of this process'],
      ['OMPI_COMM_WORLD_SIZE', 'Open MPI: the number of processes'],
      ['PMI_RANK', 'MPICH and other MPI: the number of this process'],
      ['PMI_SIZE', 'MPICH and other MPI: the number of processes'],
      ['RANK', 'torchrun: the number of this process; a training is not started so, see docs/cluster.md'],
      ['WORLD_SIZE', 'torchrun: the number of processes'],
      ['JOB_COMPLETION_INDEX', 'Kubernetes Indexed Job: the number of this pod'],
    ] as const
  ).map(
    ([name, effect]) =>
      ({ name, effect, values: 'set by the scheduler', default: 'no such scheduler', readers: ['versemi'] }) as const,
  ),
  {
    name: 'VERSEMI_PARTS',
    effect: 'the number of parts, where the scheduler tells none (Kubernetes: the completions of the job)',
    values: 'a whole number of at least 1',
    default: 'what the scheduler says',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_LOG',
    effect: 'dispatch: print who computes an operation and why, to the standard error stream',
    values: '`dispatch`',
    default: 'nothing is printed',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_ROWS',
    effect: 'rows of the kernel tables that may not be taken, to look for a defect',
    values: 'names of rows, each with a minus sign, comma-separated: `-name,-name`',
    default: 'every row may be taken',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_ISA',
    effect: 'the instruction set that the device cpu takes at most',
    values: '`avx512`, `avx2`, `baseline`',
    default: 'the best that the processor has',
    readers: ['native'],
  },
  {
    name: 'VERSEMI_POISON',
    effect: '1: fill memory with NaN before a kernel writes it, to find what is read and was never written',
    values: '`1`',
    default: 'off',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_ADDON',
    effect: 'file of another build of the native addon',
    values: 'a path',
    default: 'the addon of the package',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_MPI_ADDON',
    effect: 'file of the addon for MPI, where it is built and looked for',
    values: 'a path',
    default: '`build/mpi/versemi_mpi.node` of the package',
    readers: ['versemi', 'install'],
  },
  {
    name: 'VERSEMI_CUDA_MEMORY_MIB',
    effect: 'memory of the GPU that the device cuda takes at most, where others share it',
    values: 'a number of at least 1, MiB',
    default: 'what is free',
    readers: ['versemi'],
  },
  {
    name: 'CUDA_VISIBLE_DEVICES',
    effect:
      'GPUs that CUDA shows to the process; of several, each rank of a training takes the one with its number on the machine',
    values: 'numbers or names, comma-separated',
    default: 'all',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_CUDA_BLOCKING',
    effect: '1: the device cuda waits after each kernel, so that a fault names the operation that caused it',
    values: '`1`',
    default: 'off',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_RANK_LOST_SECONDS',
    effect: 'seconds without an answer after which a rank of a training over MPI counts as lost',
    values: 'a number above 0',
    default: '60',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_NCCL',
    effect: 'the library NCCL, through which the sums of a training over several GPUs go from GPU to GPU',
    values: 'a file, which must then be there; `none`: sums go through host memory and MPI, in a fixed order',
    default: '`libnccl.so.2` where the system has it, else as `none`; the log says which',
    readers: ['versemi'],
  },
  {
    name: 'NCCL_NVLS_ENABLE',
    effect: 'of NCCL: sums in NVSwitch, which are not the same in every run',
    values: 'see NCCL',
    default: '0, set by versemi',
    readers: ['versemi'],
  },
  {
    name: 'TERM',
    effect: 'dumb: no status line that is written over and over',
    values: '`dumb`, or anything else',
    default: 'a status line where the standard error stream is a terminal',
    readers: ['versemi'],
  },
  {
    name: 'NODE_OPTIONS',
    effect: 'options of Node; what opens the debugger by them (--inspect, an editor) keeps it open',
    values: 'see Node',
    default: 'none',
    readers: ['versemi'],
  },
  {
    name: 'VERSEMI_DATA',
    effect: 'folder of the real datasets that the bench and the tests take',
    values: 'a path',
    default: '`../shared/data`',
    readers: ['bench', 'tests'],
  },
  {
    name: 'VERSEMI_CRASH_KILLS',
    effect: 'how often the crash test kills a training',
    values: 'an even whole number',
    default: '30',
    readers: ['tests'],
  },
  {
    name: 'OPENBLAS_CORETYPE',
    effect: 'kept from the peers of the bench: set for another processor, it would slow numpy down',
    values: 'any',
    default: 'chosen by OpenBLAS',
    readers: ['bench'],
  },
  {
    name: 'OPENBLAS_L2_SIZE',
    effect: 'kept from the peers of the bench, likewise',
    values: 'any',
    default: 'chosen by OpenBLAS',
    readers: ['bench'],
  },
  {
    name: 'VERSEMI_BUILD_ADDON',
    effect:
      '1: npm install builds the native addon even where the package brings one for this system, as versemi build-addon does',
    values: '`1`',
    default: 'the one of the package is used where it loads',
    readers: ['install'],
  },
  {
    name: 'VERSEMI_SKIP_ADDON',
    effect: '1: npm install does not build the native addon',
    values: '`1`',
    default: 'it is built where there is a compiler',
    readers: ['install'],
  },
  {
    name: 'VERSEMI_REQUIRE_ADDON',
    effect: '1: npm install fails where the native addon cannot be built',
    values: '`1`',
    default: 'it says why and succeeds: WebAssembly serves',
    readers: ['install'],
  },
  {
    name: 'VERSEMI_CUDA',
    effect: '0: a build of the native addon leaves the device cuda out where nvcc is found',
    values: '`0`',
    default: 'built where nvcc is found',
    readers: ['install'],
  },
  {
    name: 'VERSEMI_CUDA_ARCHITECTURES',
    effect: 'architectures that a build of the native addon compiles the device cuda for',
    values: '`all`, or a list such as `80-real;90a-real`',
    default: 'that of the GPU found, else 80 with PTX',
    readers: ['install', 'tests'],
  },
  {
    name: 'VERSEMI_TEST_CASES',
    effect: 'few: the native tests take short lists of cases',
    values: '`few`',
    default: 'every case',
    readers: ['tests'],
  },
  {
    name: 'CXX',
    effect: 'the C++ compiler of npm install and of the native tests',
    values: 'a command',
    default: 'the one that CMake finds',
    readers: ['install', 'tests'],
  },
  {
    name: 'MPICXX',
    effect: 'the C++ compiler of the MPI for which npm install and versemi build-addon --mpi build the addon for MPI',
    values: 'a command',
    default: 'mpicxx',
    readers: ['install', 'tests'],
  },
  {
    name: 'CUDACXX',
    effect: 'the CUDA compiler of npm install (CMake reads it) and of the tests',
    values: 'a path',
    default: 'nvcc',
    readers: ['install', 'tests'],
  },
] as const satisfies readonly EnvironmentVariable[];

export type EnvironmentName = (typeof environmentTable)[number]['name'];

/** An environment variable; undefined where it is absent or empty, and in a browser. */
export function environment(name: EnvironmentName): string | undefined {
  return typeof process === 'object' ? process.env?.[name] || undefined : undefined;
}

/** Sets a variable for what this process loads and starts from now on. */
export function setEnvironment(name: EnvironmentName, value: string): void {
  process.env[name] = value;
}

/** The whole environment without some variables, for a program that is started. */
export function environmentWithout(...names: EnvironmentName[]): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !(names as string[]).includes(name)));
}

/** The table for `versemi --help`: one line per variable. */
export function environmentHelp(): string {
  const width = Math.max(...environmentTable.map(({ name }) => name.length));
  return environmentTable.map(({ name, effect }) => `  ${name.padEnd(width)}  ${effect}`).join('\n');
}

/** The table as docs/environment.md has it. */
export function environmentMarkdown(): string {
  const rows = environmentTable.map(
    (row) => `| \`${row.name}\` | ${row.effect} | ${row.values} | ${row.default} | ${row.readers.join(', ')} |`,
  );
  return `| variable | effect | values | where it is absent or empty | read by |\n|---|---|---|---|---|\n${rows.join('\n')}\n`;
}
