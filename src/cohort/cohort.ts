import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { isVersemiError, VersemiError } from '../errors.js';
import { packageVersion } from '../root.js';
import { inputHash, inputState, voxelsExpected } from './inputs.js';
import {
  type CaseError,
  type CaseFacts,
  type CaseHistory,
  type CaseLine,
  type CohortLine,
  readManifest,
} from './manifest.js';
import { casesOfPart, type Part } from './parts.js';
import { forgetPeakMemory, peakMemoryBytes } from './peak-memory.js';
import { failedLine } from './supervise.js';
import { startAnewCode, type WorkerLink, workerLink } from './worker-link.js';

/** A case of a cohort. */
export interface CohortCase {
  /** Its name, unlike that of every other. */
  readonly key: string;
  /** What a person knows it by, the image first: files, and folders or zip files of DICOM images. */
  readonly inputs: readonly string[];
  /** The files that are read, where they are not all that `inputs` hold: one series of a folder of several. */
  readonly files?: readonly string[];
  /** What decides, of this case alone, what is computed: plain data. */
  readonly settings?: unknown;
}

export interface CohortOptions {
  readonly command: CohortLine['command'];
  /** A part that a scheduler has given must have a case: its tasks may each have been given scans of their own. */
  readonly part: (Part & { readonly from?: string }) | undefined;
  /** Of this part; undefined: nothing is written down. */
  readonly manifest: string | undefined;
  /** False: what the manifest says of earlier runs does not count. */
  readonly resume: boolean;
  /** How often a case is tried again that failed. */
  readonly retries: number;
  /** Everything that decides what is computed, but for the inputs: plain data. */
  readonly settings: unknown;
  /** Description of the device. */
  readonly device: string;
}

/** What the work on a case made. */
export interface Made<T> {
  readonly result: T;
  readonly outputs: readonly string[];
}

/** Times that processes may die over a case before it counts as failed: others are killed for reasons of their own. */
const mostLost = 3;

/** After these errors the process is of no more use. */
const ofTheProcess = ['INTERNAL', 'KERNEL_FAILED'] as const;
/** These are no case's. */
const ofTheWhole = ['ABORTED', 'DISK_FULL', 'DEVICE_UNAVAILABLE'] as const;

/** Pause before a case is tried again for the n-th time, ms: a file server that is restarted takes a while. */
const pauseMs = (attempt: number) => Math.min(30_000, 500 * 2 ** (attempt - 1));

/** Cases whose headers are read at the same time. */
const readAtOnce = 16;

/** The cases of a part: which are to be done, and the work on each. `T` is what the command prints of a case; plain data. */
export class Cohort<T, C extends CohortCase> {
  private readonly versions = { versemi: packageVersion(), node: process.versions.node };

  private constructor(
    private readonly options: CohortOptions,
    private readonly link: WorkerLink | undefined,
    /** Cases of the part, in the order of the cohort. */
    readonly mine: readonly C[],
    /** Cases that are to be done now, in the same order. */
    readonly todo: readonly C[],
    /** What the manifest has of cases that are done. */
    readonly done: ReadonlyMap<string, T>,
    /** Cases that failed in this run in processes that are gone. */
    readonly failed: readonly { readonly key: string; readonly error: CaseError }[],
    private readonly attempts: Map<string, number>,
  ) {}

  /**
   * Finds out what there is to do. Inputs are compared by number, size and time of their files, and by content where these differ.
   * @param cases of the whole cohort
   * @throws VERSEMI_USAGE where a scheduler has given more parts than there are cases; VERSEMI_FILE_CORRUPT
   */
  static async open<T, C extends CohortCase>(cases: readonly C[], options: CohortOptions): Promise<Cohort<T, C>> {
    const { part, manifest, resume, retries, command } = options;
    const link = manifest === undefined ? undefined : await workerLink();
    const mine = await casesOf(cases, part, link?.mine ?? null);
    const done = new Map<string, T>();
    const failed: { key: string; error: CaseError }[] = [];
    const attempts = new Map<string, number>();
    if (manifest === undefined || link === undefined)
      return new Cohort(options, link, mine, mine, done, failed, attempts);
    const names = createHash('sha256')
      .update(JSON.stringify(cases.map(({ key }) => key).sort()))
      .digest('hex');
    const keys = mine.map(({ key }) => key);
    await link.send({
      type: 'cohort',
      line: {
        command,
        part: part === undefined ? null : { index: part.index, count: part.count },
        cases: cases.length,
        names,
        settings: settingsHash(options),
        mine: keys,
      },
    });
    const { cases: histories } = readManifest(manifest);
    const todo: C[] = [];
    const lost: C[] = [];
    for (const one of mine) {
      const history = histories.get(one.key);
      const { last } = history ?? {};
      const now = last?.run === link.run;
      if (
        last?.state === 'done' &&
        (now || (resume && (await isUnchanged(last, settingsHash(options, one), filesOf(one)))))
      ) {
        done.set(one.key, last.result as T);
        continue;
      }
      const count = history?.failures.get(link.run) ?? 0;
      attempts.set(one.key, count);
      if (now && last?.state === 'failed' && count > retries) failed.push({ key: one.key, error: last.error! });
      else if ((history?.lost ?? 0) >= mostLost) lost.push(one);
      else todo.push(one);
    }
    // What has failed or was begun before comes last: whatever is the matter with it, the others are done then.
    const late = ({ key }: C) => (troubled(histories.get(key)) ? 1 : 0);
    todo.sort((a, b) => late(a) - late(b));
    const cohort = new Cohort<T, C>(options, link, mine, todo, done, failed, attempts);
    for (const one of lost) failed.push({ key: one.key, error: await cohort.giveUp(one) });
    return cohort;
  }

  /**
   * Works on a case, as often as it is allowed, and writes down what came of it.
   * @param work must have written its outputs when it resolves
   * @throws what the last attempt threw
   */
  async attempt(one: C, work: () => Promise<Made<T>>): Promise<T> {
    for (;;) {
      const attempt = (this.attempts.get(one.key) ?? 0) + 1;
      this.attempts.set(one.key, attempt);
      try {
        return await this.once(one, attempt, work);
      } catch (error) {
        const whole = !isVersemiError(error) || isVersemiError(error, ...ofTheProcess, ...ofTheWhole);
        if (whole || attempt > this.options.retries) throw error;
      }
      await setTimeout(pauseMs(attempt));
    }
  }

  private async once(one: C, attempt: number, work: () => Promise<Made<T>>): Promise<T> {
    const { link } = this;
    if (link === undefined) return (await work()).result;
    const started = performance.now();
    let facts = this.factsOf(one, attempt, link.run);
    await link.send({ type: 'begun', facts });
    try {
      forgetPeakMemory();
      // Looked at before it is read: what changes later is then seen by the next run.
      const state = await inputState(filesOf(one));
      const sha256 = await inputHash(filesOf(one));
      facts = { ...facts, input: { ...facts.input, state, sha256 } };
      const { result, outputs } = await work();
      const line: CaseLine = {
        ...facts,
        ...{ type: 'case', state: 'done', seconds: (performance.now() - started) / 1000, error: null, result },
        peakMemoryBytes: peakMemoryBytes(),
        outputs: outputs.map((file) => ({ file, bytes: statSync(file).size })),
      };
      await link.send({ type: 'case', line });
      return result;
    } catch (error) {
      if (isVersemiError(error, ...ofTheWhole)) {
        await link.send({ type: 'left', key: one.key });
        throw error;
      }
      const coded = isVersemiError(error) ? error : internal(one, error);
      const line = failedLine(facts, (performance.now() - started) / 1000, coded);
      await link.send({ type: 'case', line: { ...line, peakMemoryBytes: peakMemoryBytes() } });
      // The next case gets a process of its own; this one's memory, or its device, may be damaged.
      if (isVersemiError(coded, ...ofTheProcess)) process.exit(startAnewCode);
      throw coded;
    }
  }

  private factsOf(one: C, attempt: number, run: string): CaseFacts {
    const { options, versions } = this;
    const input = { files: [...one.inputs], state: null, sha256: null };
    return {
      ...{ run, key: one.key, attempt, settings: settingsHash(options, one) },
      device: options.device,
      versions,
      input,
    };
  }

  /** Writes down a case over which processes have died. */
  private async giveUp(one: C): Promise<VersemiError> {
    const error = new VersemiError('CASE_DIED', {
      file: one.inputs[0] ?? one.key,
      found: `${mostLost} times that the whole command was killed while it worked on this case`,
      remedy: 'Give the command more memory or time; the next run tries the case again.',
    });
    const { link } = this;
    if (link !== undefined)
      await link.send({ type: 'case', line: failedLine(this.factsOf(one, 1, link.run), 0, error) });
    return error;
  }
}

async function casesOf<C extends CohortCase>(
  cases: readonly C[],
  part: CohortOptions['part'],
  chosen: readonly string[] | null,
): Promise<readonly C[]> {
  if (chosen !== null) {
    const keys = new Set(chosen);
    return cases.filter(({ key }) => keys.has(key));
  }
  if (part === undefined) return cases;
  if (part.from !== undefined && cases.length < part.count)
    throw new VersemiError('USAGE', {
      field: `part ${part.index} of ${part.count}, by ${part.from}`,
      expected: 'at least as many cases as parts',
      found: `${cases.length} cases`,
      remedy: `Say --part none where this process is to do everything that it was given, or --part ${part.index}/${part.count} where parts may be empty.`,
    });
  const costed: (C & { readonly cost: number })[] = [];
  for (let i = 0; i < cases.length; i += readAtOnce) {
    const some = cases.slice(i, i + readAtOnce);
    const costs = await Promise.all(some.map(({ inputs, files }) => voxelsExpected(files ?? [inputs[0]!])));
    costed.push(...some.map((one, at) => ({ ...one, cost: costs[at]! })));
  }
  const keys = new Set(casesOfPart(costed, part).map(({ key }) => key));
  return cases.filter(({ key }) => keys.has(key));
}

function filesOf({ inputs, files }: CohortCase): readonly string[] {
  return files ?? inputs;
}

function settingsHash({ command, settings }: CohortOptions, one?: CohortCase): string {
  const text = JSON.stringify([command, settings, one?.settings ?? null]);
  return createHash('sha256').update(text).digest('hex');
}

async function isUnchanged(line: CaseLine, settings: string, inputs: readonly string[]): Promise<boolean> {
  if (line.settings !== settings) return false;
  if (!line.outputs.every(({ file, bytes }) => existsSync(file) && statSync(file).size === bytes)) return false;
  try {
    const { files, bytes, changedMs } = await inputState(inputs);
    const { state } = line.input;
    if (state !== null && files === state.files && bytes === state.bytes && changedMs === state.changedMs) return true;
    return line.input.sha256 === (await inputHash(inputs));
  } catch {
    // Trying it tells what is wrong with it.
    return false;
  }
}

function troubled(history: CaseHistory | undefined): boolean {
  return history !== undefined && (history.lost > 0 || history.last?.state === 'failed');
}

function internal({ key }: CohortCase, error: unknown): VersemiError {
  const found = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new VersemiError('INTERNAL', { field: key, found }, error);
}
