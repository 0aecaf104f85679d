import { exitCodes } from '../errors.js';
import type { Terminal } from './terminal.js';

/**
 * Runs work with a signal that Ctrl-C aborts. A second Ctrl-C ends the program at once: every file is written whole or not
 * at all, so that nothing is left damaged.
 * @param meanwhile what happens after the first Ctrl-C, for the person at the terminal
 */
export async function interruptible<T>(
  terminal: Terminal,
  meanwhile: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const stop = () => {
    if (abort.signal.aborted) process.exit(exitCodes.interrupted);
    terminal.note(`${meanwhile}; Ctrl-C again ends at once.`);
    abort.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    return await work(abort.signal);
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}
