// Runs the command line as its users do: as child processes.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Sends SIGINT as soon as stdout or stderr holds this. */
  readonly interruptAt?: string;
  readonly node?: readonly string[];
  readonly program?: string;
  /** More variables of the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs versemi in a folder, on one thread. */
export function runVersemi(
  folder: string,
  args: readonly string[],
  { interruptAt, node = [], program = main, env }: RunOptions = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...node, program, ...args], {
      cwd: folder,
      env: { ...process.env, VERSEMI_THREADS: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr, interrupted] = ['', '', false];
    const interrupt = (text: string) => {
      if (interruptAt === undefined || interrupted || !text.includes(interruptAt)) return;
      interrupted = true;
      child.kill('SIGINT');
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      interrupt(stdout);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      interrupt(stderr);
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
