import { readFileSync, writeFileSync } from 'node:fs';

/** Forgets the largest resident memory of this process so far, where the system can (Linux). */
export function forgetPeakMemory(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // The peak is then that since the start of the process.
  }
}

/** Largest resident memory of this process since `forgetPeakMemory`, bytes; where the system keeps no such figure, since its start. */
export function peakMemoryBytes(): number {
  try {
    const kibibytes = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (kibibytes !== undefined) return Number(kibibytes) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}
