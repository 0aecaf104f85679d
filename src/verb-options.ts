import { throwIfAborted } from './errors.js';

/**
 * The one convention of everything that takes longer than a moment: `signal` ends it early, `onProgress` shows how far it is, and
 * `onNotice` is told what a person should know. A verb with many results is an async iterator of them besides; a verb that has
 * nothing to tell takes no `onNotice`.
 */
export interface VerbOptions<Progress> {
  /**
   * Once it is aborted, the work ends at the next place where nothing is lost: a training whose cases are read writes a checkpoint and
   * ends with an event, everything else frees its memory and fails with VERSEMI_ABORTED.
   */
  readonly signal?: AbortSignal;
  /** Called for each piece of the work; the type of what it is given says which pieces these are. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called with one sentence. Nothing is printed anywhere: a caller who leaves this out hears nothing. */
  readonly onNotice?: (text: string) => void;
}

/** Lets whatever waits in the event loop have its turn: a timer, Ctrl-C, a click. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else setTimeout(resolve);
  });
}

/**
 * Between two pieces of work that leave the event loop no turn of their own.
 * @param where what is being done, for the error
 * @throws VERSEMI_ABORTED by `signal`
 */
export async function turnUnlessAborted(signal: AbortSignal | undefined, where: string): Promise<void> {
  throwIfAborted(signal, where);
  await eventLoopTurn();
  throwIfAborted(signal, where);
}
