import { throwIfAborted, VersemiError } from '../errors.js';

/** Requests that wait for their turn at most. */
const mostWaiting = 16;

/** Work that is done one piece at a time, in the order in which it was asked for. */
export class WorkQueue {
  private last: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  /**
   * @param signal work that waits is not begun once this is aborted; work that runs sees to it itself
   * @throws VERSEMI_SERVER_BUSY, VERSEMI_ABORTED, and what the work throws
   */
  run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.waiting >= mostWaiting) {
      throw new VersemiError('SERVER_BUSY', {
        expected: `at most ${mostWaiting} requests that wait`,
        found: 'one more',
        remedy: 'Ask again when the others are done.',
      });
    }
    this.waiting++;
    const turn = this.last.then(async () => {
      try {
        throwIfAborted(signal, 'request');
        return await work();
      } finally {
        this.waiting--;
      }
    });
    this.last = turn.catch(() => {});
    return turn;
  }

  /** Resolves when nothing is left. */
  async idle(): Promise<void> {
    await this.last;
  }
}
