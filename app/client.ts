import type { Calls, Progress, Reply, Request } from './protocol.js';

/** An error of the worker: a sentence for people, and the code of the package's errors where it is one. */
export class WorkerError extends Error {
  constructor(
    message: string,
    readonly code?: string,
  ) {
    super(message);
  }
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
  onProgress?(progress: Progress): void;
}

/** The worker as functions that give promises. */
export class WorkerClient {
  private readonly waiting = new Map<number, Waiting>();
  private readonly worker = new Worker('worker.js', { type: 'module' });
  private last = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const waiting = this.waiting.get(data.id);
      if (waiting === undefined) return;
      if ('progress' in data) return waiting.onProgress?.(data.progress);
      this.waiting.delete(data.id);
      if ('error' in data) waiting.reject(new WorkerError(data.error.message, data.error.code));
      else waiting.resolve(data.result);
    };
    this.worker.onerror = (event) => {
      const text = `The worker of this page stopped (${event.message || 'its script could not be loaded'}). Load the page again.`;
      for (const waiting of this.waiting.values()) waiting.reject(new WorkerError(text));
      this.waiting.clear();
    };
  }

  /** @param transfer buffers that are handed over and are gone here afterwards */
  call<Name extends keyof Calls>(
    call: Name,
    argument: Parameters<Calls[Name]>[0],
    options: { readonly transfer?: Transferable[]; readonly onProgress?: (progress: Progress) => void } = {},
  ): Promise<ReturnType<Calls[Name]>> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      const { onProgress } = options;
      this.waiting.set(id, {
        resolve: resolve as (result: unknown) => void,
        reject,
        ...(onProgress === undefined ? {} : { onProgress }),
      });
      const request: Request = { id, call, argument };
      this.worker.postMessage(request, options.transfer ?? []);
    });
  }
}
