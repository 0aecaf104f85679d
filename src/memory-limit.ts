import { controlGroups, type ReadText, readText } from './control-group.js';
import { nodeModule } from './node-module.js';

/**
 * The memory that a process may take: beyond it the system would kill the process instead of refusing. No `node:` module is imported
 * here, since devices are part of what a page loads.
 */

/** The lowest limit of memory of the control groups round a process, bytes; Infinity where nothing limits it. */
export function groupLimitBytes(read: ReadText): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (const { folder, version } of controlGroups('memory', read)) {
    const text = read(`${folder}/${version === 2 ? 'memory.max' : 'memory.limit_in_bytes'}`)?.trim();
    // "max" is no limit.
    if (text !== undefined && /^\d+$/.test(text) && Number(text) > 0) lowest = Math.min(lowest, Number(text));
  }
  return lowest;
}

/** Physical memory, or what a container or a job allows, in bytes. Node alone. */
export function allowedMemoryBytes(): number {
  const { totalmem } = nodeModule('node:os');
  // Node says 0, or a number beyond all memory, where nothing is constrained.
  const constrained = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return Math.min(totalmem(), constrained, groupLimitBytes(readText));
}
