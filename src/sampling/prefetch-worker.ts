import { parentPort, workerData } from 'node:worker_threads';
import { toPlain } from '../plain-error.js';
import { batchArrays } from './buffers.js';
import { BatchCutter } from './cutter.js';
import type { Answer, Job, WorkerStart } from './prefetch-messages.js';

// A worker thread of the prefetcher: carries out recipes in the order in which they come, into shared memory.
const { plan, data, blocks } = workerData as WorkerStart;
const port = parentPort!;
const arrays = blocks.map((block) => batchArrays(plan, block));
const cutter = new BatchCutter(plan, data);

port.on('message', ({ id, recipe, slot }: Job) => {
  let answer: Answer = { id };
  try {
    cutter.fill(recipe, arrays[slot]!);
  } catch (error) {
    answer = { id, error: toPlain(error, 'prefetch worker') };
  }
  port.postMessage(answer);
});
