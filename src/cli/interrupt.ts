import { constants } from 'node:os';
import { environment } from '../environment.js';

/**
 * Signals, and pipes that somebody has closed: both ask a command to end. This file is the first that `main.ts` imports, so that
 * it listens before anything else is loaded.
 */

/** SIGBREAK: Ctrl-Break on Windows. SIGPIPE stands for a closed pipe: Node ignores the signal, and writing fails instead. */
const asking = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGBREAK'] as const;

type Cause = (typeof asking)[number] | 'SIGPIPE';

/** What was asked first; it decides the exit code. */
let cause: Cause | undefined;

/** Ends what is being done; absent while a command has nothing to bring to an end. */
let endWork: ((cause: Cause) => void) | undefined;

/** When the first request came, ms. */
let askedAt = 0;

/**
 * One request often comes as several signals: npx passes Ctrl-C on to a program that the terminal has already told, and a
 * service manager sends HUP behind TERM. What comes within this time is the same request.
 */
const sameRequestMs = 200;

/** 128 + the number of the signal, as a shell tells it of a program that a signal ended. */
function exitCodeOf(signal: Cause): number {
  return 128 + (constants.signals[signal] ?? constants.signals.SIGTERM);
}

/** The exit code that the ranks of a training have agreed on. */
let agreed: number | undefined;

/** Gives this process the exit code of the rank that was asked to end; undefined where none was. */
export function agreeOnExitCode(code: number | undefined): void {
  agreed = code;
}

/** The exit code of a command that was asked to end; undefined where nobody asked. */
export function interruptedExitCode(): number | undefined {
  return agreed ?? (cause === undefined ? undefined : exitCodeOf(cause));
}

function ask(asked: Cause): void {
  if (endWork === undefined) process.exit(exitCodeOf(asked));
  if (cause === undefined) {
    cause = asked;
    askedAt = performance.now();
    endWork(asked);
  } else if (asked !== 'SIGPIPE' && performance.now() - askedAt > sameRequestMs) process.exit(exitCodeOf(asked));
}

/** To be called when a pipe that a command writes into is closed: `| head -1`. */
export function pipeClosed(): void {
  ask('SIGPIPE');
}

// Without a listener Node opens its debugger, to everybody on the machine. (--disable-sigusr1 is unknown to older versions.)
process.on('SIGUSR1', () => ask('SIGUSR1'));
// Before that line, while Node itself starts, nobody can listen: a signal of that time opens the debugger, at once or when a thread
// of Node comes to it, which takes a while on a busy machine. (Where the debugger's port is taken, Node tells standard error that
// it did not open, and this program nothing: that signal is lost. Some builds of Node have no debugger at all.)
const inspector = process.features.inspector ? await import('node:inspector') : undefined;
// Whoever asks Node for the debugger, or for a program that opens it (as editors do), keeps it.
const asked = /--inspect(-brk|-wait)?(=|\s|$)|--require|--import|(^|\s)-r\b/;
if (![...process.execArgv, environment('NODE_OPTIONS') ?? ''].some((option) => asked.test(option))) {
  const shut = () => {
    if (inspector?.url() === undefined) return;
    inspector.close();
    ask('SIGUSR1');
  };
  shut();
  setImmediate(shut);
  setInterval(shut, 100).unref();
}
// A file larger than `ulimit -f` is then a failed write, not the end of the process.
process.on('SIGXFSZ', () => {});

/**
 * Runs work with a signal that Ctrl-C, TERM, HUP, QUIT, USR1, USR2 and a closed pipe abort. A second request ends the program at
 * once: every file is written whole or not at all, so that nothing is left damaged.
 * @param meanwhile what happens after the first one, for the person at the terminal
 */
export async function interruptible<T>(
  terminal: { note(text: string): void },
  meanwhile: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const listeners = asking
    .filter((signal) => signal !== 'SIGUSR1')
    .map((signal) => [signal, () => ask(signal)] as const);
  endWork = (asked) => {
    if (asked === 'SIGINT') terminal.note(`${meanwhile}; Ctrl-C again ends at once.`);
    else if (asked !== 'SIGPIPE') terminal.note(`${asked}: ${meanwhile}.`);
    abort.abort();
  };
  for (const [signal, listener] of listeners) process.on(signal, listener);
  try {
    return await work(abort.signal);
  } finally {
    endWork = undefined;
    for (const [signal, listener] of listeners) process.off(signal, listener);
  }
}
