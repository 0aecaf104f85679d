import { nodeModule } from './node-module.js';

/**
 * The memory that a process may take: beyond it the system would kill the process instead of refusing. No `node:` module is imported
 * here, since devices are part of what a page loads.
 */

/**
 * The lowest limit of the control groups that a process is in, and of those round them: containers, and jobs of a cluster, which set it
 * some levels above the process.
 * @param groups text of /proc/self/cgroup: lines NUMBER:CONTROLLERS:PATH (cgroups(7))
 * @param read text of a file; undefined where there is none
 * @returns bytes; Infinity where nothing limits them
 */
export function groupLimitBytes(groups: string, read: (file: string) => string | undefined): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (const line of groups.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined || !(controllers === '' || controllers!.split(',').includes('memory'))) continue;
    const [root, name] =
      controllers === '' ? ['/sys/fs/cgroup', 'memory.max'] : ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'];
    const parts = path.split('/').filter((part) => part !== '');
    for (let level = parts.length; level >= 0; level--) {
      const text = read([root, ...parts.slice(0, level), name].join('/'))?.trim();
      // "max" is no limit.
      if (text !== undefined && /^\d+$/.test(text) && Number(text) > 0) lowest = Math.min(lowest, Number(text));
    }
  }
  return lowest;
}

/** Physical memory, or what a container or a job allows, in bytes. Node alone. */
export function allowedMemoryBytes(): number {
  const { readFileSync } = nodeModule('node:fs');
  const { totalmem } = nodeModule('node:os');
  const read = (file: string) => {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return undefined;
    }
  };
  // Node says 0, or a number beyond all memory, where nothing is constrained.
  const constrained = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return Math.min(totalmem(), constrained, groupLimitBytes(read('/proc/self/cgroup') ?? '', read));
}
