// One rank of trainings in a process of its own, started by mpirun. Argument: JSON of a list of RankJob, which are done one after the other.
// Rank 0 writes what came out to the file of each.
import { writeFileSync } from 'node:fs';
import type * as tf from '@tensorflow/tfjs-core';
import { loadParts } from '../../src/load-parts.js';
import { networkConfig } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { closeRanks, openRanks } from '../../src/ranks/launch.js';
import { createSampler } from '../../src/sampling/sampler.js';
import { type DeviceSums, type Precision, selectDevice } from '../../src/tfjs/index.js';
import { openRankSums } from '../../src/training/rank-sums.js';
import { rankPlan } from '../../src/training/ranks.js';
import { createState, disposeState } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { train } from '../../src/training/train.js';
import { shapes, tinyPlan } from './training-support.js';

/** What a test asks of a training over ranks. */
export interface RankJob {
  readonly device: 'cpu' | 'wasm' | 'cuda';
  /** Default: the device's own. */
  readonly precision?: Precision;
  readonly out: string;
  readonly runFolder: string;
  readonly training?: Readonly<Record<string, unknown>>;
  readonly rest?: object;
  /** Gradients of these steps by parameter, before any training. */
  readonly gradientsOf?: readonly number[];
  readonly resume?: boolean;
  /** Stops after so many steps, as a signal on one rank would. */
  readonly stopAfter?: number;
  /** A rank that is killed when it has done so many steps. */
  readonly kill?: { readonly rank: number; readonly after: number };
  /** Modules with parts of one's own. */
  readonly parts?: readonly string[];
  /**
   * A rank that falls silent when it is to begin so many sums of gradients on its GPU, as on a machine that hangs: nobody ends the
   * others, which wait for the last of them on theirs.
   */
  readonly stopInSum?: { readonly rank: number; readonly sums: number };
  /** A rank that has another plan. */
  readonly differs?: number;
}

export interface RankResult {
  readonly losses: readonly Readonly<Record<string, number>>[];
  readonly norms: readonly number[];
  readonly validations: readonly object[];
  readonly logs: readonly string[];
  readonly gradients: readonly Readonly<Record<string, readonly number[]>>[];
}

// As the command line, which finishes the step. A launcher sends it to the ranks that are left when one has died.
process.on('SIGTERM', () => {});
const ranks = openRanks();
try {
  for (const job of JSON.parse(process.argv[2]!) as RankJob[]) await run(job);
  await closeRanks();
} catch (error) {
  console.error(`rank ${ranks.rank}: ${(error as Error).message}`);
  if (ranks.size > 1) ranks.abort(7);
  throw error;
}

async function run(job: RankJob): Promise<void> {
  for (const file of job.parts ?? []) await loadParts(file);
  const precision = job.precision === undefined ? {} : { precision: job.precision };
  const { device } = await selectDevice(job.device, { threads: 1, ...precision });
  const plan = tinyPlan(job.training, job.rest);
  if (job.differs === ranks.rank) plan.seed++;
  const data = shapes(6);
  const gradients: Record<string, number[]>[] = [];
  const { sums } = await openRankSums(ranks, device);
  for (const step of job.gradientsOf ?? []) {
    const own = rankPlan(plan, ranks);
    const state = createState(new VersemiNetwork(networkConfig(plan), plan.seed), plan, undefined, ranks, sums);
    const { numbers, free } = await state.program.start(own, hostStep(own, createSampler(own, data).batch(step)));
    await numbers.data();
    const arena = (state.optimizer as unknown as { gradients: tf.Tensor1D }).gradients;
    const values = await arena.data();
    const byName: Record<string, number[]> = {};
    let at = 0;
    for (const [name, { size }] of state.network.parameters) {
      byName[name] = [...values.slice(at, at + size)];
      at += size;
    }
    gradients.push(byName);
    free();
    disposeState(state);
  }
  await sums.close(true);
  if (job.stopInSum?.rank === ranks.rank) stopInSum(device.sums!, job.stopInSum.sums);
  const stop = new AbortController();
  const [losses, norms, validations, logs]: [Record<string, number>[], number[], object[], string[]] = [[], [], [], []];
  const options = { runFolder: job.runFolder, device: 'current', data, ranks, signal: stop.signal } as const;
  for await (const event of train(plan, { ...options, resume: job.resume === true })) {
    if (event.type === 'step') {
      losses.push(event.losses);
      norms.push(event.gradientNorm);
      // One rank alone is told.
      if (event.step === job.stopAfter && ranks.rank === ranks.size - 1) stop.abort();
      if (job.kill?.rank === ranks.rank && job.kill.after === event.step) process.kill(process.pid, 'SIGKILL');
    }
    if (event.type === 'validation') validations.push({ perTask: event.perTask, best: event.best });
    if (event.type === 'log') logs.push(event.message);
  }
  const result: RankResult = { losses, norms, validations, logs, gradients };
  if (ranks.rank === 0) writeFileSync(job.out, JSON.stringify(result));
}

function stopInSum(sums: DeviceSums, last: number): void {
  const start = sums.start.bind(sums);
  let begun = 0;
  sums.start = (buffer, elements) => {
    // Statistics of batches and sums of losses are short.
    if (elements > 500 && ++begun === last) process.kill(process.pid, 'SIGSTOP');
    start(buffer, elements);
  };
}
