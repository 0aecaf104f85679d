import { Worker } from 'node:worker_threads';
import { augmentationOf, type Plan } from '../config/plan.js';
import { totalSteps, workersKnowTerms } from '../config/steps.js';
import { VersemiError } from '../errors.js';
import { fromPlain, toPlain } from '../plain-error.js';
import { shareCase } from '../preprocessing/preprocessed-case.js';
import { threadsThatFit } from '../wasm/address-space.js';
import { batchArrays, batchBytes, type FieldArrays, type StepBatch, withUnknownVoxels } from './fields.js';
import { workersAugment } from './own-augmentations.js';
import type { Answer, Job, WorkerStart } from './prefetch-worker.js';
import { RecipeMaker, type StepRecipe } from './recipe.js';
import type { SamplingData } from './rows.js';
import { createSampler, stepBatch } from './sampler.js';

/** How many threads make batches ahead, and how many. */
export interface PrefetcherOptions {
  /** Worker threads; 0: batches are made when they are asked for, in this thread. Default: training.workers of the plan. */
  readonly workers?: number;
  /** Batches made ahead at most. Default: workers + 1. */
  readonly depth?: number;
  /** A batch holds until `batch` has been called `buffers` more times. Default 2. */
  readonly buffers?: number;
}

/** Batches that are made ahead. */
export interface Prefetcher {
  /** As `Sampler.batch`, the same numbers; the steps after it are made ahead. */
  batch(step: number): Promise<StepBatch>;
  /** Ends the workers. A batch that is still being made is refused; batches already given stay valid. */
  close(): Promise<void>;
}

/** A batch in the making, or made and not yet asked for. */
interface Pending {
  readonly recipe: StepRecipe;
  readonly slot: number;
  readonly done: Promise<void>;
}

interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, { resolve: () => void; reject: (error: unknown) => void }>;
}

/**
 * Batches made by worker threads ahead of the device. Bitwise the numbers of `createSampler`, whatever the number of
 * workers. Volumes are read from shared memory: cases that are not in it yet are copied there once.
 * @throws VERSEMI_SPLIT_INVALID as `createSampler`; `batch` rejects with the coded error of a worker
 */
export function createPrefetcher(plan: Plan, data: SamplingData, options: PrefetcherOptions = {}): Prefetcher {
  // Parts that came from no module are in this thread alone.
  const augmentations = plan.datasets.flatMap(({ name }) => augmentationOf(plan, name).own ?? []);
  const fit = workersAugment(augmentations) && workersKnowTerms(plan);
  const workers = fit ? threadsThatFit(options.workers ?? plan.training.workers) : 0;
  if (workers > 0) return new ThreadedPrefetcher(plan, data, workers, options);
  const sampler = createSampler(plan, data, options.buffers === undefined ? {} : { buffers: options.buffers });
  return { batch: async (step) => sampler.batch(step), close: async () => {} };
}

class ThreadedPrefetcher implements Prefetcher {
  private readonly maker: RecipeMaker;
  private readonly threads: Thread[];
  private readonly slots: readonly FieldArrays[];
  private readonly depth: number;
  private readonly buffers: number;
  private readonly free: number[];
  private readonly waiting: ((slot: number) => void)[] = [];
  private readonly pending = new Map<number, Pending>();
  /** Slots of the batches given out last, oldest first. */
  private readonly held: number[] = [];
  private nextJob = 0;
  private failure: unknown;

  constructor(
    private readonly plan: Plan,
    private readonly data: SamplingData,
    workers: number,
    options: PrefetcherOptions,
  ) {
    this.maker = new RecipeMaker(plan, data);
    this.depth = Math.max(1, options.depth ?? workers + 1);
    this.buffers = Math.max(1, options.buffers ?? 2);
    const count = this.depth + this.buffers;
    const all = withUnknownVoxels(plan, data);
    const blocks = Array.from({ length: count }, () => new SharedArrayBuffer(batchBytes(all)));
    this.slots = blocks.map((block) => batchArrays(all, block));
    this.free = blocks.map((_, slot) => slot);
    const start: WorkerStart = {
      plan,
      // Labels and foreground samples of unlabelled cases never leave this thread.
      data: {
        labeled: data.labeled.map(shareCase),
        unlabeled: data.unlabeled.map(({ id, dataset, image, sizeVoxels, spacingMm, grid }) =>
          shareCase({ id, dataset, image, sizeVoxels, spacingMm, grid }),
        ),
      },
      blocks,
    };
    this.threads = Array.from({ length: workers }, () => this.startThread(start));
  }

  async batch(step: number): Promise<StepBatch> {
    if (this.failure !== undefined) throw this.failure;
    while (this.held.length >= this.buffers) this.release(this.held.shift()!);
    const ahead = this.stepsAfter(step);
    // After a jump to another step, batches that were made ahead for other steps give their slots back.
    const wanted = new Set([step, ...ahead]);
    for (const [other, { slot, done }] of this.pending) {
      if (wanted.has(other)) continue;
      this.pending.delete(other);
      const giveBack = () => this.release(slot);
      done.then(giveBack, giveBack);
    }
    const entry = this.pending.get(step) ?? this.order(step, this.free.pop() ?? (await this.nextSlot()));
    this.pending.delete(step);
    this.held.push(entry.slot);
    for (const next of ahead) {
      if (this.pending.has(next)) continue;
      const slot = this.free.pop();
      if (slot === undefined) break;
      this.pending.set(next, this.order(next, slot));
    }
    await entry.done;
    return stepBatch(this.plan, this.data, entry.recipe, this.slots[entry.slot]!);
  }

  async close(): Promise<void> {
    this.failure ??= new VersemiError('TRAINING_INTERRUPTED', {
      field: 'prefetcher',
      found: 'it was closed while a batch was being made',
    });
    const threads = this.threads.splice(0);
    for (const { jobs } of threads) {
      for (const { reject } of jobs.values()) reject(this.failure);
      jobs.clear();
    }
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  /** The steps of the plan after a step, as far as may be made ahead. */
  private stepsAfter(step: number): number[] {
    const last = Math.min(step + this.depth, totalSteps(this.plan.training) - 1);
    return Array.from({ length: Math.max(0, last - step) }, (_, i) => step + 1 + i);
  }

  /** Has a batch made, by the worker with the fewest jobs. */
  private order(step: number, slot: number): Pending {
    const recipe = this.maker.recipe(step);
    const thread = this.threads.reduce((best, other) => (other.jobs.size < best.jobs.size ? other : best));
    const job: Job = { id: this.nextJob++, recipe, slot };
    const done = new Promise<void>((resolve, reject) => thread.jobs.set(job.id, { resolve, reject }));
    // `batch` passes the error on; an error of a batch that is never asked for must not end the process.
    done.catch(() => {});
    thread.worker.postMessage(job);
    return { recipe, slot, done };
  }

  private release(slot: number): void {
    const waiter = this.waiting.shift();
    if (waiter === undefined) this.free.push(slot);
    else waiter(slot);
  }

  private nextSlot(): Promise<number> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private startThread(start: WorkerStart): Thread {
    const worker = new Worker(new URL('./prefetch-worker.js', import.meta.url), { workerData: start });
    const thread: Thread = { worker, jobs: new Map() };
    worker.on('message', ({ id, error }: Answer) => {
      const job = thread.jobs.get(id);
      thread.jobs.delete(id);
      if (error === undefined) job?.resolve();
      else job?.reject(fromPlain(error));
    });
    const fail = (error: unknown) => {
      this.failure ??= error;
      for (const { reject } of thread.jobs.values()) reject(this.failure);
      thread.jobs.clear();
    };
    worker.on('error', (error) => fail(fromPlain(toPlain(error, 'prefetch worker'))));
    worker.on('exit', (status) => {
      if (this.threads.includes(thread))
        fail(fromPlain(toPlain(`the thread ended with status ${status}`, 'prefetch worker')));
    });
    return thread;
  }
}
