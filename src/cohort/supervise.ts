import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { rmdir } from 'node:fs/promises';
import { AppendedFile } from '../appended-file.js';
import { VersemiError } from '../errors.js';
import { type FolderLock, lockFolder } from '../folder-lock.js';
import { type CaseFacts, type CaseLine, type ManifestLine, readManifest } from './manifest.js';
import { type RunMessage, startAnewCode, type WorkerMessage } from './worker-link.js';

/**
 * A command that works on a cohort is two processes: one that works, and this one, which starts it, watches it, and writes the
 * manifest. A scan that blocks is ended with the process that reads it; where that process dies, of memory or of a defect, the scan
 * is noted, and another process goes on with the next one.
 */

export interface SuperviseOptions {
  /** Of this part. */
  readonly manifest: string;
  /** Program of the process that works, and its arguments. */
  readonly program: string;
  readonly args: readonly string[];
  /** Seconds that a case may take; undefined: any time. */
  readonly timeoutSeconds: number | undefined;
  /** Aborts: the process that works is asked to end. */
  readonly signal: AbortSignal;
  /** Remarks for a person. */
  readonly note: (text: string) => void;
}

/** Processes in a row that ended by a defect, each in its first case, before the device is taken to be what is wrong. */
const mostDefects = 10;

const syncedEveryMs = 1000;

/** Whoever was suspended for longer may have lost the manifest to another process meanwhile. A lock outlasts a minute without renewal. */
const heldForMs = 5000;

/**
 * Runs the command in a process of its own until it has ended by itself.
 * @returns its exit code
 * @throws VERSEMI_FOLDER_IN_USE where another process works on the same manifest; VERSEMI_CASE_DIED where no process gets as far as a
 *   case; VERSEMI_DISK_FULL, VERSEMI_IO_FAILED, VERSEMI_FILE_CORRUPT
 */
export async function supervise(options: SuperviseOptions): Promise<number> {
  const { manifest, note } = options;
  const onWatch = (owner: string, seconds: number) =>
    note(`${manifest} is held by ${owner}: watching for ${seconds} s whether that one still lives.`);
  const lockedFolder = `${manifest}.lock`;
  const lock = await lockFolder(lockedFolder, 'a cohort', { onWatch });
  try {
    const file = new AppendedFile(manifest, { keptBytes: readManifest(manifest).wholeBytes });
    const supervisor = new Supervisor(options, file, lock);
    try {
      return await supervisor.run();
    } finally {
      supervisor.stop();
      file.close();
    }
  } finally {
    await lock.release();
    // A process that died has left it.
    await rmdir(lockedFolder).catch(() => {});
  }
}

/** How a process ended. */
interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The case that it was working on. */
  readonly inHand: CaseFacts | undefined;
  readonly startedMs: number;
  readonly timedOut: boolean;
  /** Whether it has finished a case, well or badly, and whether it has done one. */
  readonly finishedOne: boolean;
  readonly doneOne: boolean;
}

class Supervisor {
  private readonly id = randomUUID();
  private mine: readonly string[] | null = null;
  private syncing: NodeJS.Timeout | undefined;
  /** Why lines of the manifest could not be made to last. */
  private lost: unknown;
  private endProcess: () => void = () => {};
  /** When the manifest was last known to be held, by a clock that goes on while this process is suspended. */
  private heldAtMs = Date.now();

  constructor(
    private readonly options: SuperviseOptions,
    private readonly file: AppendedFile,
    private readonly lock: FolderLock,
  ) {}

  async run(): Promise<number> {
    for (let defects = 0; ; ) {
      const ended = await this.oneProcess();
      await this.requireHeld();
      this.sync();
      if (this.lost !== undefined) throw this.lost;
      if (this.options.signal.aborted) return ended.code ?? 1;
      const { code, signal, inHand } = ended;
      if (inHand !== undefined) this.noteDeath(inHand, ended);
      else if (code === startAnewCode) {
        defects = ended.doneOne ? 1 : defects + 1;
        if (defects >= mostDefects) throw this.died(`${defects} processes in a row ended by a defect`);
        this.options.note('A new process goes on with the next case.');
        continue;
      } else if (signal === null) return code ?? 1;
      else if (!ended.finishedOne) throw this.died(`a process ended by ${signal} before its first case`);
      defects = 0;
    }
  }

  /** Nothing is written any more. */
  stop(): void {
    clearTimeout(this.syncing);
  }

  private died(found: string): VersemiError {
    return new VersemiError('CASE_DIED', {
      file: this.options.manifest,
      expected: 'a process that works on cases',
      found,
      remedy: 'Run versemi selftest on this machine, and give the process more memory.',
    });
  }

  /** To be called before lines are written. @throws VERSEMI_FOLDER_IN_USE where another process has taken the manifest */
  private async requireHeld(): Promise<void> {
    if (Math.abs(Date.now() - this.heldAtMs) < heldForMs) return;
    await this.lock.assertHeld();
    this.heldAtMs = Date.now();
  }

  /** A line is there at once, also where this process is killed; a loss of power costs the lines of a second at most. */
  private write(line: ManifestLine): void {
    this.file.append(`${JSON.stringify(line)}\n`);
    this.syncing ??= setTimeout(() => this.sync(), syncedEveryMs);
  }

  private sync(): void {
    clearTimeout(this.syncing);
    this.syncing = undefined;
    try {
      this.file.sync();
    } catch (error) {
      this.lost ??= error;
      this.endProcess();
    }
  }

  private noteDeath(facts: CaseFacts, { code, signal, startedMs, timedOut }: Ended): void {
    const seconds = (performance.now() - startedMs) / 1000;
    const error = timedOut
      ? new VersemiError('CASE_TIMEOUT', {
          file: facts.input.files[0] ?? facts.key,
          expected: `at most ${this.options.timeoutSeconds} s`,
          found: 'more',
          remedy: 'Look at the scan, or allow more time (--timeout of versemi predict, evaluate or preprocess).',
        })
      : new VersemiError('CASE_DIED', {
          file: facts.input.files[0] ?? facts.key,
          found:
            signal === null
              ? `exit code ${code}`
              : `${signal}${signal === 'SIGKILL' ? ', as the system ends a process that takes too much memory' : ''}`,
          remedy: 'Give the process more memory, or limit what it takes (--max-memory of versemi predict or evaluate).',
        });
    this.write(failedLine(facts, seconds, error));
    this.options.note(`${error.message} A new process goes on.`);
  }

  private oneProcess(): Promise<Ended> {
    const { program, args, timeoutSeconds, signal: abort } = this.options;
    const child = fork(program, args, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
    const onExit = () => child.kill('SIGKILL');
    const onAbort = () => child.kill('SIGTERM');
    this.endProcess = onExit;
    process.on('exit', onExit);
    abort.addEventListener('abort', onAbort);
    if (abort.aborted) onAbort();
    let inHand: CaseFacts | undefined;
    let timer: NodeJS.Timeout | undefined;
    let [startedMs, timedOut, finishedOne, doneOne] = [0, false, false, false];
    const settle = () => {
      clearTimeout(timer);
      inHand = undefined;
    };
    return new Promise<Ended>((resolve, reject) => {
      const failed = (error: unknown) => {
        child.kill('SIGKILL');
        reject(error);
      };
      child.on('error', failed);
      const onMessage = async (message: WorkerMessage) => {
        await this.requireHeld();
        if (message.type === 'begun') {
          inHand = message.facts;
          startedMs = performance.now();
          this.write({ type: 'begun', run: this.id, key: message.facts.key });
          if (timeoutSeconds !== undefined)
            timer = setTimeout(() => {
              timedOut = true;
              child.kill('SIGKILL');
            }, timeoutSeconds * 1000);
        } else if (message.type === 'case') {
          settle();
          finishedOne = true;
          doneOne ||= message.line.state === 'done';
          this.write(message.line);
        } else if (message.type === 'left') {
          settle();
          this.write({ type: 'left', run: this.id, key: message.key });
        } else if (message.type === 'cohort') this.chosen(message.line);
        else this.answer(child);
      };
      // One after the other, in the order in which they were sent.
      let handled: Promise<void> = Promise.resolve();
      child.on('message', (message: WorkerMessage) => {
        handled = handled.then(() => onMessage(message));
        handled.catch(failed);
      });
      // After 'exit' and when every message has been read.
      child.on('close', (code, signal) => {
        handled.then(() => resolve({ code, signal, inHand, startedMs, timedOut, finishedOne, doneOne }), failed);
      });
    }).finally(() => {
      clearTimeout(timer);
      process.off('exit', onExit);
      abort.removeEventListener('abort', onAbort);
    });
  }

  private answer(child: ChildProcess): void {
    const message: RunMessage = { type: 'run', run: this.id, mine: this.mine };
    child.send(message);
  }

  private chosen(line: Extract<WorkerMessage, { type: 'cohort' }>['line']): void {
    if (this.mine !== null) return;
    this.mine = line.mine;
    this.write({ type: 'cohort', format: 1, run: this.id, created: new Date().toISOString(), ...line });
  }
}

/** The line of a case that failed. */
export function failedLine(facts: CaseFacts, seconds: number, error: VersemiError): CaseLine {
  const { code, message } = error;
  return {
    ...facts,
    ...{ type: 'case', state: 'failed', seconds, peakMemoryBytes: null, outputs: [], error: { code, message } },
    result: null,
  };
}
