/**
 * Worker threads that run parts of kernels over one shared memory: worker_threads in Node, Web Workers in browsers. They
 * sleep inside WebAssembly; the calling thread wakes them by a command and takes part itself (assembly/kernels.ts, `run`).
 * Their program is a text in this package, not a file beside it, so that any bundler takes it along. A page whose
 * Content-Security-Policy does not allow `worker-src blob:` gets one thread.
 */
import { isNode, nodeModule } from '../node-module.js';
import { workerSource } from './generated/kernel-worker.js';
import { commandOffset, type WorkerStart, waitWords } from './kernel-protocol.js';

/** What the workers of Node and of browsers have in common here. */
interface PoolWorker {
  /** Calls back once with the worker's first message; rejects when it fails or ends before. */
  readonly ready: Promise<string>;
  /** Later messages: a worker says why it failed. */
  onFailure(listener: (reason: string) => void): void;
  terminate(): void;
}

const startTimeoutMs = 20_000;

export class ThreadPool {
  /** Why a worker has ended before its time; the pool is then of no use any more. */
  failure: string | null = null;

  private constructor(
    private readonly workers: readonly PoolWorker[],
    private readonly memory: WebAssembly.Memory,
    private readonly control: number,
  ) {
    for (const worker of workers) {
      worker.onFailure((reason) => {
        this.failure ??= reason;
      });
    }
  }

  /**
   * Starts `count` workers on parts 1 to `count` and waits until all serve commands.
   * @param start what every worker is started with; `control`: address of the control block (zeros) in `memory`
   * @throws Error with the reason where workers cannot start
   */
  static async start(start: Omit<WorkerStart, 'part'>, count: number): Promise<ThreadPool> {
    const open = isNode() ? nodeWorkers() : webWorker;
    const workers: PoolWorker[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      for (let part = 1; part <= count; part++) workers.push(open({ ...start, part }));
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error('worker threads did not start in time')), startTimeoutMs);
      });
      const answers = await Promise.race([Promise.all(workers.map(({ ready }) => ready)), late]);
      const failed = answers.find((answer) => answer !== 'ready');
      if (failed !== undefined) throw new Error(failed);
    } catch (error) {
      for (const worker of workers) {
        worker.ready.catch(() => undefined);
        worker.terminate();
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return new ThreadPool(workers, start.memory, start.control);
  }

  /** Lets the workers end. Call it between commands only. */
  dispose(): void {
    const words = new Int32Array(this.memory.buffer, this.control, waitWords.length * 16);
    Atomics.store(new Int32Array(this.memory.buffer, this.control + commandOffset, 1), 0, 0);
    // After a failure the word stays set, so that threads which wait for the failed one stop by a trap.
    Atomics.store(words, waitWords.indexOf('failed') * 16, this.failure === null ? 0 : 1);
    Atomics.add(words, waitWords.indexOf('sequence') * 16, 1);
    for (let i = 0; i < waitWords.length; i++) Atomics.notify(words, i * 16);
    for (const worker of this.workers) worker.terminate();
  }
}

function nodeWorkers(): (start: WorkerStart) => PoolWorker {
  const { Worker } = nodeModule('node:worker_threads');
  return (start) => {
    const worker = new Worker(workerSource, {
      eval: true,
      workerData: start,
      // Not the options of this process: with some of them (--input-type) a worker would not start.
      execArgv: [],
    });
    const ready = new Promise<string>((resolve, reject) => {
      worker.once('message', (message: string) => {
        // From here on the worker must not keep the process alive.
        worker.unref();
        resolve(message);
      });
      worker.once('error', reject);
      worker.once('exit', (code) => reject(new Error(`a worker thread ended with code ${code}`)));
    });
    return {
      ready,
      onFailure(listener) {
        worker.on('message', listener);
        worker.on('error', (error) => listener(error.message));
        worker.unref();
      },
      terminate: () => void worker.terminate(),
    };
  };
}

function webWorker(start: WorkerStart): PoolWorker {
  const url = URL.createObjectURL(new Blob([workerSource], { type: 'text/javascript' }));
  const worker = new Worker(url);
  const ready = new Promise<string>((resolve, reject) => {
    worker.addEventListener('message', ({ data }: MessageEvent<string>) => resolve(data), { once: true });
    worker.addEventListener('error', ({ message }) => reject(new Error(message || 'a worker thread did not start')), {
      once: true,
    });
  }).finally(() => URL.revokeObjectURL(url));
  worker.postMessage(start);
  return {
    ready,
    onFailure(listener) {
      worker.addEventListener('message', ({ data }: MessageEvent<string>) => listener(data));
      worker.addEventListener('error', ({ message }) => listener(message));
    },
    terminate: () => worker.terminate(),
  };
}

/** Whether this thread may sleep in Atomics.wait (a browser's main thread may not). */
export function mayWait(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    return true;
  } catch {
    return false;
  }
}
