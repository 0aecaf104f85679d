// Starts the ranks of a training as a launcher of MPI does.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../src/root.js';
import type { RankJob, RankResult } from './ranks-child.js';

const child = fileURLToPath(new URL('./ranks-child.js', import.meta.url));

function versionOf(program: string): string | null {
  const { error, status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return error === undefined && status === 0 ? stdout : null;
}

const version = versionOf('mpirun');

/** Why no test can start ranks, or false. */
export const noRanks: string | false =
  version === null
    ? 'mpirun was not found'
    : existsSync(join(packageRoot, 'build', 'mpi', 'versemi_mpi.node'))
      ? false
      : 'the addon for MPI is not built (node native/install-mpi.mjs)';

/** More ranks than processors, also as root, where the launcher must be asked for that. */
const launcherOptions = version?.includes('Open MPI') ? ['--allow-run-as-root', '--oversubscribe'] : [];

export interface RanksOutcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts a program of Node as `count` ranks, each on one thread. */
export function launch(count: number, args: readonly string[], environment: object = {}): Promise<RanksOutcome> {
  return new Promise((resolve, reject) => {
    const ranks = spawn('mpirun', [...launcherOptions, '-np', String(count), process.execPath, ...args], {
      env: { ...process.env, VERSEMI_THREADS: '1', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    ranks.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    ranks.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    ranks.on('error', reject);
    ranks.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** Runs jobs over ranks, one after the other; 1 rank is a process without a launcher. */
export async function runJobs(
  count: number,
  jobs: readonly RankJob[],
  environment: object = {},
): Promise<RankResult[]> {
  const args = [child, JSON.stringify(jobs)];
  const { code, stdout, stderr } = await (count === 1 ? alone(args) : launch(count, args, environment));
  return jobs.map(({ out }) => {
    if (!existsSync(out)) throw new Error(`no result; status ${code}\n${stdout}\n${stderr}`);
    return JSON.parse(readFileSync(out, 'utf8')) as RankResult;
  });
}

export async function runRanks(count: number, job: RankJob): Promise<RankResult> {
  return (await runJobs(count, [job]))[0]!;
}

/** Runs a job that is to fail; on a busy machine the other ranks need more time than mpirun leaves them, 1 s, to say what they see. */
export function failRanks(count: number, job: RankJob, environment: object = {}): Promise<RanksOutcome> {
  return launch(count, [child, JSON.stringify([job])], { OMPI_MCA_odls_base_sigkill_timeout: '5', ...environment });
}

function alone(args: readonly string[]): Promise<RanksOutcome> {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return Promise.resolve({ code: status, stdout, stderr });
}

/** Largest difference of two losses, relative. */
export const lossTolerance = 1e-4;

/** A job with files of its own in a folder. */
export function job(folder: string, name: string, rest: Partial<RankJob> = {}): RankJob {
  return { device: 'cpu', out: `${folder}/${name}.json`, runFolder: `${folder}/${name}`, ...rest };
}

/** Largest relative difference of the losses of two runs, and where. */
export function lossDifference(a: RankResult, b: RankResult): { readonly worst: number; readonly at: string } {
  let [worst, at] = [a.losses.length === b.losses.length ? 0 : Number.POSITIVE_INFINITY, 'number of steps'];
  for (const [step, losses] of a.losses.entries())
    for (const [term, value] of Object.entries(losses)) {
      const found = b.losses[step]![term]!;
      const difference = Math.abs(found - value) / Math.max(Math.abs(value), 1e-6);
      if (!(difference <= worst)) [worst, at] = [difference, `step ${step + 1} ${term}`];
    }
  return { worst, at };
}

/** Largest difference of the gradients of two runs, relative to the largest element of the parameter's, and where. */
export function gradientDifference(a: RankResult, b: RankResult): { readonly worst: number; readonly at: string } {
  let [worst, at] = [a.gradients.length === b.gradients.length ? 0 : Number.POSITIVE_INFINITY, 'number of steps'];
  for (const [i, gradients] of a.gradients.entries())
    for (const [name, values] of Object.entries(gradients)) {
      const found = b.gradients[i]![name]!;
      const largest = Math.max(...values.map(Math.abs));
      const away = Math.max(...values.map((value, j) => Math.abs(value - found[j]!)));
      const difference = away === 0 ? 0 : away / largest;
      if (!(difference <= worst)) [worst, at] = [difference, name];
    }
  return { worst, at };
}
