import { controlGroups, type ReadText, readText } from './control-group.js';
import { environment } from './environment.js';
import { isNode, nodeModule } from './node-module.js';

/** What limits the threads of a process; each part can be given, so that a test can stand for another machine. */
export interface ThreadLimits {
  /** Cores that the process may run on, by its affinity. */
  readonly cores: number;
  /** What a scheduler has allocated to the process; undefined where there is none. */
  readonly allocated: number | undefined;
  readonly read: ReadText;
}

/**
 * Threads that this process should compute with where nobody says how many: the cores that it may run on (affinity), no more than
 * the quota of its control group (a container's limit of CPUs, cgroup v1 and v2), no more than Slurm has allocated. In a browser
 * what the browser says.
 */
export function allowedThreads(limits?: ThreadLimits): number {
  if (!isNode() || process.getBuiltinModule === undefined) return globalThis.navigator?.hardwareConcurrency ?? 1;
  const { cores, allocated, read } = limits ?? limitsHere();
  // A quota of 2.5 cores: a third thread would make the others wait for it until the next period.
  return Math.max(1, Math.floor(Math.min(cores, allocated ?? cores, quotaOf(read))));
}

function limitsHere(): ThreadLimits {
  return {
    cores: nodeModule('node:os').availableParallelism(),
    allocated: allocatedBySlurm(),
    read: readText,
  };
}

/** CPUs of this task of Slurm; where nobody asked for CPUs per task, an equal share of what the step or the job has on this machine. */
function allocatedBySlurm(): number | undefined {
  const whole = (text: string | undefined) => (/^[1-9]\d*$/.test(text ?? '') ? Number(text) : undefined);
  const onNode = whole(environment('SLURM_CPUS_ON_NODE'));
  // Below srun each task of the step is a process; the script of a job is one, whatever number of tasks the job may start.
  const tasks = whole(environment('SLURM_STEP_NUM_TASKS')) ?? 1;
  const nodes = whole(environment('SLURM_STEP_NUM_NODES')) ?? 1;
  return (
    whole(environment('SLURM_CPUS_PER_TASK')) ?? (onNode === undefined ? undefined : onNode / Math.ceil(tasks / nodes))
  );
}

/** Cores by the quotas of the control groups round this process; infinite where there is none. */
function quotaOf(read: ReadText): number {
  const quotas = controlGroups('cpu', read).map(({ folder, version }) =>
    (version === 2 ? quota2 : quota1)(read, folder),
  );
  return Math.min(Number.POSITIVE_INFINITY, ...quotas);
}

/** "150000 100000": microseconds of computing per period, and the period; "max 100000": no limit. */
function quota2(read: ReadText, folder: string): number {
  const [quota, period] = (read(`${folder}/cpu.max`) ?? '').trim().split(/\s+/).map(Number);
  return share(quota, period);
}

/** A quota of -1 is none. */
function quota1(read: ReadText, folder: string): number {
  return share(Number(read(`${folder}/cpu.cfs_quota_us`)), Number(read(`${folder}/cpu.cfs_period_us`)));
}

function share(quota: number | undefined, period: number | undefined): number {
  return quota !== undefined && period !== undefined && quota > 0 && period > 0
    ? quota / period
    : Number.POSITIVE_INFINITY;
}
