import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { allowedThreads } from '../allowed-threads.js';
import type { Plan } from '../config/plan.js';
import { openPlanDataset } from '../datasets/dataset.js';
import { resolveSplit } from '../datasets/splits.js';
import type { Dataset } from '../datasets/types.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import { fromPlain } from '../plain-error.js';
import type { VerbOptions } from '../verb-options.js';
import { threadsThatFit } from '../wasm/address-space.js';
import { readCacheFile } from './cache-file.js';
import { type CaseJob, cacheFileOf, makeCacheFile, makeCase } from './case-job.js';
import { type ContentKeys, contentKeys } from './content-key.js';
import type { PreprocessAnswer, PreprocessRequest } from './preprocess-worker.js';
import type { PreprocessedCase } from './preprocessed-case.js';
import { fillCache, makeOnce } from './shared-cache.js';

/** What a case is for. */
export type CaseRole = 'labeled' | 'unlabeled' | 'validation';

export const caseRoles: readonly CaseRole[] = ['labeled', 'unlabeled', 'validation'];

/** A case of a plan before it is preprocessed. */
export interface PlannedCase {
  readonly role: CaseRole;
  readonly job: CaseJob;
}

/** A case that is preprocessed, and where it lies in the cache. */
export interface MadeEntry extends Pick<PreprocessEvent, 'case' | 'content' | 'cached'> {
  /** Absent without a cache. */
  readonly file?: string;
}

/** One preprocessed case, as it becomes ready. */
export interface PreprocessEvent {
  readonly role: CaseRole;
  readonly case: PreprocessedCase;
  /** What its files hold; no label for an unlabelled case. */
  readonly content: ContentKeys;
  /** True when it came from the cache. */
  readonly cached: boolean;
  /** Counts from 1 to total over all datasets and roles. */
  readonly index: number;
  readonly total: number;
}

/** How cases are preprocessed, and which. */
export interface PreprocessOptions extends VerbOptions<PreprocessEvent> {
  /** Folder of the cache; null: none. Default: `.versemi-cache` in the current folder. */
  readonly cacheFolder?: string | null;
  /** Roles to preprocess. Default: all. */
  readonly roles?: readonly CaseRole[];
  /** Worker threads for cases that are not in the cache. Default: one per core but one, at most 8; 0: this thread. */
  readonly workers?: number;
  /**
   * The ranks that preprocess these cases into the same cache together, and which of them this process is. Default: alone; the
   * cache is shared with whoever else writes it also then, but this process waits for each case in its turn. Each rank reads its own
   * files through: it may have a copy of the data of its own, and the ranks of a training compare what their cases hold.
   */
  readonly ranks?: { readonly rank: number; readonly size: number };
  /** Cases to preprocess, of all that the plan has. Default: all. */
  readonly choose?: (cases: readonly PlannedCase[]) => Promise<readonly PlannedCase[]>;
  /**
   * Does the work on one case, and may give undefined where that fails: the next case then follows. Default: a failure ends all.
   * Cases are worked on at the same time where there are workers.
   */
  readonly attempt?: (one: PlannedCase, work: () => Promise<MadeEntry>) => Promise<MadeEntry | undefined>;
}

/** The cases of a run, in the order of the plan and of its splits. */
export type PreprocessedData = Readonly<Record<CaseRole, readonly PreprocessedCase[]>>;

/** Folder of the cache when none is given. */
export const defaultCacheFolder = '.versemi-cache';

/** Worker threads that preprocess where no number is given: one per core but one, at most 8. */
export function preprocessingWorkers(): number {
  return Math.min(8, Math.max(1, allowedThreads() - 1));
}

/**
 * Opens the datasets of a plan, resolves their splits and gives their cases preprocessed, one after the other, in the
 * order of the plan; a few are made ahead. A cache entry that is damaged is made anew; a cache that cannot be written is
 * an error, and leaves nothing half-written.
 * @throws what `openDataset`, `resolveSplit`, `loadCase` throw; VERSEMI_DISK_FULL; VERSEMI_ABORTED by `signal`
 */
export async function* preprocessCases(plan: Plan, options: PreprocessOptions = {}): AsyncGenerator<PreprocessEvent> {
  const { roles = caseRoles, signal, attempt = (_, work) => work() } = options;
  const listed = await listJobs(plan, roles, options.onNotice);
  const jobs = options.choose === undefined ? listed : await options.choose(listed);
  const workers = threadsThatFit(options.workers ?? preprocessingWorkers());
  const { cacheFolder = defaultCacheFolder } = options;
  const folder = cacheFolder === null ? null : resolve(cacheFolder);
  // Cases come from worker threads as cache files: without a cache this thread makes them itself.
  const pool = folder === null || workers === 0 ? undefined : new Pool(Math.min(workers, jobs.length));
  const maker = pool ?? inThisThread;
  /** Keys that ranks have looked at before the turn of their case. */
  const known = new Map<CaseJob, ContentKeys>();
  const contentOf = async (job: CaseJob) => known.get(job) ?? contentKeys(job.dataset, job.files, job.channel);
  let madeBefore: ReadonlySet<string> = new Set();
  const ahead: Promise<MadeEntry | undefined>[] = [];
  let begun = 0;
  try {
    if (options.ranks !== undefined && folder !== null) {
      const entries = jobs.map(({ job }) => ({
        file: async () => {
          const content = await contentOf(job);
          known.set(job, content);
          return cacheFileOf(job, content, folder);
        },
        make: (file: string) => maker.make({ job, file }),
      }));
      madeBefore = await fillCache(entries, options.ranks, Math.max(1, workers), signal);
    }
    for (const [index, { role }] of jobs.entries()) {
      while (begun < jobs.length && ahead.length <= workers) {
        const one = jobs[begun++]!;
        const work = async () => prepare(one.job, await contentOf(one.job), folder, maker, signal);
        const started = attempt(one, work);
        started.catch(() => {}); // the error is thrown when the turn of this case comes
        ahead.push(started);
      }
      throwIfAborted(signal, 'preprocessing');
      const made = await ahead.shift()!;
      if (made === undefined) continue;
      const { file, ...entry } = made;
      const cached = entry.cached && !madeBefore.has(file ?? '');
      const event: PreprocessEvent = { role, ...entry, cached, index: index + 1, total: jobs.length };
      options.onProgress?.(event);
      yield event;
    }
  } finally {
    await pool?.close();
  }
}

/**
 * All cases of a plan in memory (shared memory when they come through the cache, so that prefetch workers need no copy).
 * @throws as {@link preprocessCases}
 */
export async function preprocessDatasets(plan: Plan, options: PreprocessOptions = {}): Promise<PreprocessedData> {
  const data: Record<CaseRole, PreprocessedCase[]> = { labeled: [], unlabeled: [], validation: [] };
  for await (const event of preprocessCases(plan, options)) data[event.role].push(event.case);
  return data;
}

async function listJobs(
  plan: Plan,
  roles: readonly CaseRole[],
  onNotice?: (text: string) => void,
): Promise<PlannedCase[]> {
  const jobs: PlannedCase[] = [];
  for (const entry of plan.datasets) {
    const dataset = await openPlanDataset(entry);
    checkLabels(plan, entry.name, dataset);
    for (const text of dataset.remarks ?? []) onNotice?.(`${entry.name}: ${text}`);
    const split = resolveSplit(dataset, entry, plan.seed);
    for (const role of roles) {
      for (const files of split[role]) {
        const { channel, preprocessing: settings } = entry;
        jobs.push({ role, job: { dataset, name: entry.name, files, channel, settings } });
      }
    }
  }
  return jobs;
}

/** A task whose label the dataset does not have would train on nothing. */
function checkLabels(plan: Plan, name: string, dataset: Dataset): void {
  if (!dataset.labelsDeclared) return;
  for (const [index, task] of plan.tasks.entries()) {
    const unknown = task.dataset === name ? task.labels.filter((label) => dataset.labels[label] === undefined) : [];
    if (unknown.length === 0) continue;
    throw new VersemiError('PLAN_CONTRADICTION', {
      file: dataset.folder,
      field: `tasks[${index}].labels`,
      expected: `labels of the dataset: ${Object.entries(dataset.labels)
        .filter(([value]) => value !== '0')
        .map(([value, label]) => `${value} (${label})`)
        .join(', ')}`,
      found: unknown.join(', '),
      remedy: 'Correct the labels of the task in the plan.',
    });
  }
}

/** @param folder null: no cache */
async function prepare(
  job: CaseJob,
  content: ContentKeys,
  folder: string | null,
  pool: Pick<Pool, 'make'>,
  signal?: AbortSignal,
): Promise<MadeEntry> {
  if (folder === null) return { case: await makeCase(job), content, cached: false };
  const file = cacheFileOf(job, content, folder);
  const named = (one: PreprocessedCase): PreprocessedCase => ({ ...one, id: job.files.id, dataset: job.name });
  const hit = await readCacheFile(file);
  // The same content may be known under another name: names are not part of the key.
  if (hit !== undefined) return { case: named(hit), content, cached: true, file };
  const other = await makeOnce(file, () => pool.make({ job, file }), signal);
  if (other !== undefined) return { case: named(other), content, cached: true, file };
  const made = await readCacheFile(file);
  if (made === undefined) {
    throw new VersemiError('IO_FAILED', {
      file,
      expected: 'the cache entry that was just written',
      found: 'something else',
      remedy: 'Check the disk, or choose another cache folder.',
    });
  }
  return { case: named(made), content, cached: false, file };
}

const inThisThread = { make: ({ job, file }: PreprocessRequest) => makeCacheFile(job, file) };

/** Worker threads that make cache entries, started when there is something to do. */
class Pool {
  private readonly idle: Worker[] = [];
  private readonly all: Worker[] = [];
  private readonly queue: ((worker: Worker) => void)[] = [];

  constructor(private readonly size: number) {}

  async make(request: PreprocessRequest): Promise<void> {
    const worker = await this.take();
    try {
      const { error } = await new Promise<PreprocessAnswer>((resolve, reject) => {
        const end = () => {
          worker.off('message', answered).off('error', reject).off('exit', gone);
        };
        const answered = (answer: PreprocessAnswer) => {
          end();
          resolve(answer);
        };
        const gone = () => reject(new VersemiError('TRAINING_INTERRUPTED', { field: 'preprocessing worker' }));
        worker.on('message', answered).on('error', reject).on('exit', gone);
        worker.postMessage(request);
      });
      if (error !== undefined) throw fromPlain(error);
    } finally {
      this.give(worker);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map((worker) => worker.terminate()));
  }

  private take(): Promise<Worker> {
    const idle = this.idle.pop();
    if (idle !== undefined) return Promise.resolve(idle);
    if (this.all.length < this.size) {
      const worker = new Worker(new URL('./preprocess-worker.js', import.meta.url));
      this.all.push(worker);
      return Promise.resolve(worker);
    }
    return new Promise((resolve) => this.queue.push(resolve));
  }

  private give(worker: Worker): void {
    const next = this.queue.shift();
    if (next === undefined) this.idle.push(worker);
    else next(worker);
  }
}
