import { environment } from './environment.js';
import { isNode, nodeModule } from './node-module.js';

/** What limits the threads of a process; each part can be given, so that a test can stand for another machine. */
export interface ThreadLimits {
  /** Cores that the process may run on, by its affinity. */
  readonly cores: number;
  /** What a scheduler has allocated to the process; undefined where there is none. */
  readonly allocated: number | undefined;
  /** The text of a file, undefined where it cannot be read. */
  readonly read: (file: string) => string | undefined;
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
  const { readFileSync } = nodeModule('node:fs');
  return {
    cores: nodeModule('node:os').availableParallelism(),
    allocated: allocatedBySlurm(),
    read: (file) => {
      try {
        return readFileSync(file, 'utf8');
      } catch {
        return undefined;
      }
    },
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

/**
 * Cores by the quota of the control group of this process and of all groups around it; infinite where there is none. In a container
 * that sees the machine's name of its group, but its own folder of groups, the names lead nowhere, and the root is the container's.
 */
function quotaOf(read: ThreadLimits['read']): number {
  let cores = Number.POSITIVE_INFINITY;
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    // "0::/path" is version 2, "4:cpu,cpuacct:/path" version 1.
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const roots =
      controllers === ''
        ? ['/sys/fs/cgroup', '/sys/fs/cgroup/unified']
        : controllers.split(',').includes('cpu')
          ? [`/sys/fs/cgroup/${controllers}`, '/sys/fs/cgroup/cpu']
          : [];
    for (const root of roots)
      for (const folder of foldersUpTo(root, path))
        cores = Math.min(cores, controllers === '' ? quota2(read, folder) : quota1(read, folder));
  }
  return cores;
}

function foldersUpTo(root: string, path: string): string[] {
  const names = path.split('/').filter((name) => name !== '' && name !== '..');
  return Array.from({ length: names.length + 1 }, (_, up) => [root, ...names.slice(0, names.length - up)].join('/'));
}

/** "150000 100000": microseconds of computing per period, and the period; "max 100000": no limit. */
function quota2(read: ThreadLimits['read'], folder: string): number {
  const [quota, period] = (read(`${folder}/cpu.max`) ?? '').trim().split(/\s+/).map(Number);
  return share(quota, period);
}

/** A quota of -1 is none. */
function quota1(read: ThreadLimits['read'], folder: string): number {
  return share(Number(read(`${folder}/cpu.cfs_quota_us`)), Number(read(`${folder}/cpu.cfs_period_us`)));
}

function share(quota: number | undefined, period: number | undefined): number {
  return quota !== undefined && period !== undefined && quota > 0 && period > 0
    ? quota / period
    : Number.POSITIVE_INFINITY;
}
