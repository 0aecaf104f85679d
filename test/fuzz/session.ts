// Gives inputs to children that can be thrown away, and sees to the limits of time and memory.
import { type ChildProcess, fork } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Answer, Question } from './child.js';
import type { ReaderName } from './readers.js';

/** What reading one input may take. */
export interface Limits {
  /** Processor time. */
  readonly seconds: number;
  /** Wall time without an answer after which a child hangs: other programs may have the processor meanwhile. */
  readonly waitSeconds: number;
  readonly bytes: number;
}

const usualLimits: Limits = { seconds: 5, waitSeconds: 30, bytes: 2e9 };
/** A child is replaced after this number of inputs, so that what is seen is of few of them. */
const inputsPerChild = 5000;

/** An input that was neither read nor refused by a coded error. */
export interface Failure {
  readonly reader: ReaderName;
  readonly seed: number;
  readonly fault: string;
  /** Where its files are kept. */
  readonly folder: string;
}

export interface SessionOptions {
  /** Folder in which the files of failures are kept. */
  readonly keep: string;
  readonly onFailure: (failure: Failure) => void;
  readonly limits?: Limits;
  /** Module of the child process; default: the one that reads. */
  readonly child?: URL;
}

/** Reads inputs in a child process, one at a time. */
export class Session {
  private child: ChildProcess | undefined;
  private inputs = 0;
  private readonly folder = mkdtempSync(join(tmpdir(), 'versemi-fuzz-'));
  readonly counts = { result: 0, refused: 0, fault: 0 };

  constructor(private readonly options: SessionOptions) {}

  async input(reader: ReaderName, seed: number): Promise<void> {
    if (this.inputs++ % inputsPerChild === 0) this.throwAway();
    const { limits = usualLimits, child: module = new URL('./child.js', import.meta.url) } = this.options;
    this.child ??= await started(module);
    const folder = join(this.folder, 'input');
    const answer = await ask(this.child, { reader, seed, folder }, limits);
    const outcome = typeof answer === 'string' ? 'fault' : answer.outcome;
    const fault = typeof answer === 'string' ? answer : (answer.fault ?? exceeded(answer, limits));
    this.counts[fault === undefined ? outcome : 'fault']++;
    if (fault === undefined) return;
    const kept = join(this.options.keep, `${reader}-${seed}`);
    if (existsSync(folder)) cpSync(folder, kept, { recursive: true });
    this.options.onFailure({ reader, seed, fault, folder: kept });
    this.throwAway();
  }

  close(): void {
    this.throwAway();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private throwAway(): void {
    this.child?.kill('SIGKILL');
    this.child = undefined;
  }
}

function exceeded({ seconds, peakBytes }: Answer, limits: Limits): string | undefined {
  if (seconds > limits.seconds) return `${seconds.toFixed(1)} s of processor time`;
  return peakBytes > limits.bytes ? `${(peakBytes / 1e9).toFixed(1)} GB of memory` : undefined;
}

async function started(module: URL): Promise<ChildProcess> {
  const child = fork(fileURLToPath(module), [], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve());
    child.once('exit', (code) => reject(new Error(`the child ended with code ${code} before its first input`)));
  });
  child.removeAllListeners('exit');
  return child;
}

/** The answer of a child, or why there is none. */
function ask(child: ChildProcess, question: Question, limits: Limits): Promise<Answer | string> {
  return new Promise((resolve) => {
    let errors = '';
    let timer: NodeJS.Timeout | undefined;
    const memory = setInterval(() => {
      const bytes = residentBytes(child);
      if (bytes > limits.bytes) end(`${(bytes / 1e9).toFixed(1)} GB of memory while reading`);
    }, 100);
    const end = (answer: Answer | string) => {
      clearTimeout(timer);
      clearInterval(memory);
      child.removeAllListeners('message');
      child.removeAllListeners('exit');
      child.stderr!.removeAllListeners('data');
      resolve(answer);
    };
    child.stderr!.on('data', (chunk) => {
      errors = (errors + String(chunk)).slice(-4000);
    });
    child.on('exit', (code, signal) => end(`the process ended (${signal ?? `code ${code}`})\n${errors}`));
    timer = setTimeout(() => end(`no input was made in ${limits.waitSeconds} s`), 1000 * limits.waitSeconds);
    child.on('message', (message: Answer | string) => {
      if (typeof message !== 'string') return end(message);
      clearTimeout(timer);
      timer = setTimeout(() => end(`no answer after ${limits.waitSeconds} s`), 1000 * limits.waitSeconds);
    });
    child.send(question);
  });
}

/** Memory of a process now, where the system says so (Linux); elsewhere the child's own figure has to do. */
function residentBytes({ pid }: ChildProcess): number {
  try {
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
