import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { Cohort, type CohortCase, type CohortOptions } from '../cohort/cohort.js';
import { fileOfPart, isOfMpi, type Part, scheduledPart } from '../cohort/parts.js';
import { supervise } from '../cohort/supervise.js';
import { workerLink } from '../cohort/worker-link.js';
import { VersemiError } from '../errors.js';
import { digestOf } from '../preprocessing/content-key.js';
import type { Failures } from './failures.js';
import { interruptedExitCode, interruptible } from './interrupt.js';
import { positiveNumber, wholeNumber } from './options.js';
import type { Terminal } from './terminal.js';

/** Options of commands that work on a cohort, as commander gives them. */
export interface CohortArguments {
  readonly part?: Part | 'none';
  readonly manifest?: string;
  readonly resume?: boolean;
  readonly retry?: number;
  readonly timeout?: number;
}

/** Options by which many processes share a cohort, and by which it goes on after one of them was killed. */
export function addCohort(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--part <i/n>',
        'only the i-th of n parts of equal expected cost (default: as Slurm, Kubernetes or MPI say; none: everything)',
      ).argParser(partOrNone),
    )
    .option('--manifest <file>', 'write down each case in FILE (JSON lines), and do only what FILE does not have yet')
    .option('--resume', 'with --manifest: pass over what it has and what has not changed since (the default)')
    .option('--no-resume', 'with --manifest: do everything again')
    .addOption(new Option('--retry <times>', 'try a case again that failed (default: 0 times)').argParser(wholeNumber))
    .addOption(
      new Option('--timeout <seconds>', 'with --manifest: give a case up that takes longer').argParser(timeoutSeconds),
    );
}

function partOrNone(text: string): Part | 'none' {
  if (text === 'none') return text;
  const [, index, count] = /^(\d{1,9})\/(\d{1,9})$/.exec(text) ?? [];
  const part = { index: Number(index), count: Number(count) };
  if (!(part.index >= 1 && part.index <= part.count))
    throw new InvalidArgumentError('Expected I/N, with I from 1 to N, or none.');
  return part;
}

/** Timers of Node go no further than this, s. */
const longestTimeout = Math.floor((2 ** 31 - 1) / 1000);

function timeoutSeconds(text: string): number {
  const seconds = positiveNumber(text);
  if (seconds > longestTimeout) throw new InvalidArgumentError(`Expected at most ${longestTimeout} seconds.`);
  return seconds;
}

/**
 * The part that this process works on; undefined: everything.
 * @throws VERSEMI_USAGE where a scheduler's variables say nothing certain
 */
export function partOf({ part }: CohortArguments): (Part & { readonly from?: string }) | undefined {
  const chosen = part === undefined ? scheduledPart() : part === 'none' ? undefined : part;
  return chosen?.count === 1 ? undefined : chosen;
}

/** What results as JSON say of the part that they are of. */
export function partIn(options: CohortArguments): { readonly part?: Part } {
  const part = partOf(options);
  return part === undefined ? {} : { part: { index: part.index, count: part.count } };
}

/** The manifest of this process: each part has its own. */
function manifestOf(options: CohortArguments): string | undefined {
  return options.manifest === undefined ? undefined : fileOfPart(options.manifest, partOf(options));
}

/**
 * With a manifest the work is done by another process, and this one watches.
 * @returns true where that was done, and the exit code is set
 * @throws what `supervise` throws; VERSEMI_USAGE where an option needs a manifest
 */
export async function supervised(options: CohortArguments, terminal: Terminal): Promise<boolean> {
  const manifest = manifestOf(options);
  if (manifest === undefined) {
    const field = options.timeout !== undefined ? '--timeout' : options.resume !== undefined ? '--resume' : undefined;
    if (field === undefined) return false;
    throw new VersemiError('USAGE', {
      field,
      expected: 'a manifest, in which cases are written down',
      found: 'none',
      remedy: 'Add --manifest FILE.',
    });
  }
  if ((await workerLink()) !== undefined) return false;
  const program = fileURLToPath(new URL('./cohort-worker.js', import.meta.url));
  // The process that works hears of Ctrl-C as well, and says what it does about it.
  const silent = { note: () => {} };
  const code = await interruptible(silent, '', (signal) =>
    supervise({
      ...{ manifest, program, args: process.argv.slice(2), timeoutSeconds: options.timeout, signal },
      note: (text) => terminal.note(text),
    }),
  );
  process.exitCode = interruptedExitCode() ?? code;
  return true;
}

/** @throws VERSEMI_USAGE where an option is given that does in another way what a manifest does */
export function requireNoManifest({ manifest }: CohortArguments, option: string): void {
  if (manifest === undefined) return;
  throw new VersemiError('USAGE', {
    field: `--manifest and ${option}`,
    expected: 'one of the two',
    found: 'both',
    remedy: `Leave ${option} out: with a manifest, what is there and has not changed is passed over.`,
  });
}

/** What there is to do of a cohort, said to the person, with what has failed already. */
export async function openCohort<T, C extends CohortCase>(
  cases: readonly C[],
  options: CohortArguments,
  terminal: Terminal,
  { what, ...how }: Pick<CohortOptions, 'command' | 'settings' | 'device'> & { readonly what: string },
): Promise<Cohort<T, C>> {
  const part = partOf(options);
  const manifest = manifestOf(options);
  const cohort = await Cohort.open<T, C>(cases, {
    ...{ ...how, part, manifest, resume: options.resume !== false, retries: options.retry ?? 0 },
  });
  const { mine, todo, done } = cohort;
  if (part !== undefined) {
    const from = part.from === undefined ? '' : ` (by ${part.from}; --part none does everything)`;
    const text = `Part ${part.index} of ${part.count}${from}: ${mine.length} of ${cases.length} ${what}.`;
    // Nobody asked for a part that a scheduler's variables give: that must be seen in the log, however quiet it is to be.
    if (part.from === undefined) terminal.note(text);
    else terminal.warn(text);
  }
  if (manifest !== undefined && done.size > 0)
    terminal.note(`${manifest}: ${done.size} of ${mine.length} ${what} are done, ${todo.length} are left.`);
  return cohort;
}

/** Adds what failed in processes that are gone to what this process tells at its end. */
export function tellEarlierFailures({ failed }: Pick<Cohort<unknown, CohortCase>, 'failed'>, failures: Failures): void {
  for (const { key, error } of failed) failures.addPlain(key, error);
}

/**
 * Lists what failed, and sets the exit code. `mpirun` ends all ranks where one has another exit code than 0; one bad scan must not end
 * the others' work, and the manifest tells of it: the exit code is then 0.
 */
export function tellFailures(failures: Failures, what: string, options: CohortArguments, terminal: Terminal): void {
  failures.tell(what);
  const { from } = partOf(options) ?? {};
  if (failures.list.length === 0 || options.manifest === undefined || from === undefined || !isOfMpi(from)) return;
  process.exitCode = 0;
  terminal.warn('The exit code is 0, since mpirun would end the other ranks: versemi merge tells what failed.');
}

/** What a cohort's command prints in place of a list of all cases. */
export function cohortLine(done: number, { list }: Failures, options: CohortArguments): string {
  return `${done} done, ${list.length} failed: ${manifestOf(options)}`;
}

/** SHA-256 of the models (or the plan), where it is written down. */
export async function modelHash({ manifest }: CohortArguments, files: readonly string[]): Promise<string | null> {
  return manifest === undefined ? null : digestOf(files);
}
