/** The module worker of the page: every scan, model and mask is read, computed and written here, beside the page's own thread. */
import { isVersemiError } from '../src/errors.js';
import type { Calls, Reply, Request } from './protocol.js';
import { Session } from './session.js';

const session = new Session();

/** A dedicated worker's own scope; the types of the project are those of pages. */
const scope = self as unknown as {
  onmessage: (event: MessageEvent<Request>) => void;
  postMessage(reply: Reply, transfer?: Transferable[]): void;
};

let busy: Promise<unknown> = Promise.resolve();

scope.onmessage = ({ data: { id, call, argument } }) => {
  const answer = async () => {
    try {
      const { result, transfer = [] } = await session.answer(
        call,
        argument as Parameters<Calls[typeof call]>[0],
        (progress) =>
          scope.postMessage({ id, progress }, progress.preview?.masks.map((mask) => mask.buffer as ArrayBuffer) ?? []),
      );
      scope.postMessage({ id, result }, transfer);
    } catch (error) {
      scope.postMessage({ id, error: described(error) });
    }
  };
  // Everything happens in the order in which it was asked for; only a cancellation overtakes.
  if (call === 'cancel') void answer();
  else busy = busy.then(answer);
};

function described(error: unknown): { readonly message: string; readonly code?: string } {
  if (isVersemiError(error)) return { message: error.message, code: error.code };
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof RangeError || /memory/i.test(text))
    return {
      message: `The browser gave no more memory (${text}). Close other tabs, choose fewer tasks, or lower the memory limit.`,
    };
  return { message: `Something went wrong that should not (${text}). Load the page again; your files are unchanged.` };
}
