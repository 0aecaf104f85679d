import type { CaseFacts, CaseLine, CohortLine } from './manifest.js';

/**
 * What a process that works on cases and the process that watches it say to each other, over Node's channel between a process and
 * its child. The watching one alone writes the manifest.
 */

/** From the process that works. */
export type WorkerMessage =
  | { readonly type: 'hello' }
  | { readonly type: 'cohort'; readonly line: Omit<CohortLine, 'type' | 'format' | 'run' | 'created'> }
  | { readonly type: 'begun'; readonly facts: CaseFacts }
  | { readonly type: 'left'; readonly key: string }
  | { readonly type: 'case'; readonly line: CaseLine };

/** The answer to `hello`. */
export interface RunMessage {
  readonly type: 'run';
  /** Of this start of the command; the same for each process that follows one that died. */
  readonly run: string;
  /** Names of the cases of the part, where an earlier process of this run has chosen them. */
  readonly mine: readonly string[] | null;
}

/** Exit code of a process that should be started anew, since a kernel or versemi itself failed in it. */
export const startAnewCode = 75;

/** The side of the process that works. */
export interface WorkerLink extends Omit<RunMessage, 'type'> {
  /** Resolves when the message is on its way. @throws Error when the watching process is gone */
  send(message: WorkerMessage): Promise<void>;
}

let opened: Promise<WorkerLink> | undefined;

/** Makes this process one that works for another: to be called at its start. */
export function openWorkerLink(): void {
  // Without the one that watches nobody would write down what is done.
  process.on('disconnect', () => process.exit(1));
  const send = (message: WorkerMessage) =>
    new Promise<void>((resolve, reject) => {
      process.send!(message, undefined, {}, (error) => (error === null ? resolve() : reject(error)));
    });
  opened = (async () => {
    const answer = new Promise<RunMessage>((resolve) =>
      process.once('message', (message) => resolve(message as RunMessage)),
    );
    await send({ type: 'hello' });
    const { run, mine } = await answer;
    // The channel alone must not keep the process alive.
    process.channel?.unref();
    return { run, mine, send };
  })();
}

/** Undefined in a process that works for itself. */
export async function workerLink(): Promise<WorkerLink | undefined> {
  return opened;
}
