// Runs the command line in a process of its own and asks it for its peak of memory; for memory.ts and a test.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const child = fileURLToPath(new URL('./peak-memory.js', import.meta.url));
const units: Readonly<Record<string, number>> = { MB: 1e6, GB: 1e9 };

export interface Peak {
  /** Largest resident set of the whole process. */
  readonly peakBytes: number;
  /** What `--max-memory` made it print: "at most 1.60 GB". */
  readonly estimate: number;
  /** The rest of that line too: parts, and what each takes. */
  readonly line: string;
  readonly seconds: number;
}

/** @param args of the command line, `--max-memory` among them */
export async function peakOf(args: readonly string[]): Promise<Peak> {
  const started = performance.now();
  const { stderr } = await promisify(execFile)(process.execPath, [child, ...args], { maxBuffer: 1 << 28 });
  const peak = /peak (\d+) KiB/.exec(stderr);
  const line = /at most (([\d.]+) (MB|GB),.*)/.exec(stderr);
  if (peak === null || line === null) throw new Error(`neither peak nor estimate in: ${stderr}`);
  return {
    peakBytes: 1024 * Number(peak[1]),
    estimate: Number(line[2]) * units[line[3]!]!,
    line: line[1]!,
    seconds: (performance.now() - started) / 1000,
  };
}
