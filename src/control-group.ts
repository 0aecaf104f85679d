import { nodeModule } from './node-module.js';

/** The text of a file, undefined where it cannot be read: a test stands for another machine by it. */
export type ReadText = (file: string) => string | undefined;

/** Reads files of this machine. Node alone. */
export function readText(file: string): string | undefined {
  try {
    return nodeModule('node:fs').readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** A folder of the kernel in which the limits of a control group stand. */
export interface ControlGroup {
  readonly folder: string;
  /** Of the interface: files have other names and forms in 1 and 2. */
  readonly version: 1 | 2;
}

/**
 * The control groups of this process, and those round them, which limit it too: containers, and jobs of a cluster, which set limits some
 * levels above the process (cgroups(7)). In a container that sees the name of its group on the machine, but a tree of its own, the names
 * lead nowhere, and the root is the container's.
 */
export function controlGroups(controller: 'cpu' | 'memory', read: ReadText): ControlGroup[] {
  const groups: ControlGroup[] = [];
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    // "0::/path" is version 2, "4:cpu,cpuacct:/path" version 1.
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const version = controllers === '' ? 2 : 1;
    if (version === 1 && !controllers.split(',').includes(controller)) continue;
    const mounts = version === 2 ? ['', '/unified'] : [`/${controllers}`, `/${controller}`];
    const names = path.split('/').filter((name) => name !== '' && name !== '..');
    for (const mount of new Set(mounts))
      for (let level = names.length; level >= 0; level--)
        groups.push({ folder: [`/sys/fs/cgroup${mount}`, ...names.slice(0, level)].join('/'), version });
  }
  return groups;
}
