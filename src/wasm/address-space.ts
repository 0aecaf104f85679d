import { isNode, nodeModule } from '../node-module.js';

/** What a thread of Node takes of the address space: its heap, its code, its stack; measured at up to 720 MB. */
const threadBytes = 800e6;

/**
 * Bytes of address space that this process may still take under the limit of its user (`ulimit -v`, the memory that a scheduler
 * grants a job): infinite where there is none, or where it is not known. The engine ends the process, without an error that
 * could be caught, where a thread finds too little.
 */
export function freeAddressSpace(): number {
  if (!isNode() || process.platform !== 'linux') return Number.POSITIVE_INFINITY;
  try {
    const { readFileSync } = nodeModule('node:fs');
    const limit = /^Max address space\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    if (limit === null) return Number.POSITIVE_INFINITY;
    const used = /^VmSize:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))!;
    return Math.max(0, Number(limit[1]) - 1024 * Number(used[1]));
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** How many of `wanted` worker threads the address space has room for. */
export function threadsThatFit(wanted: number): number {
  return Math.min(wanted, Math.floor(freeAddressSpace() / threadBytes));
}
