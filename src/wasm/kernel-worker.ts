/**
 * A thread of the device wasm: instantiates the module over the shared memory, says so, and then serves commands inside
 * WebAssembly until the command to stop (assembly/kernels.ts, `work`). Runs in Node (worker_threads) and in browsers, from
 * the text that bundle-worker.mjs makes of this file: a classic script, so nothing here may wait at the top level.
 */

import { isNode, nodeModule } from '../node-module.js';
import { type KernelExports, type WorkerStart, waitWords } from './kernel-protocol.js';

async function serve(start: WorkerStart, post: (message: string) => void): Promise<void> {
  const { module, memory, control, part, exact } = start;
  const words = new Int32Array(memory.buffer, control, waitWords.length * 16);
  try {
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    const kernels = instance.exports as unknown as KernelExports;
    kernels.bind(control, 1, exact ? 1 : 0);
    post('ready');
    kernels.work(part, 0);
  } catch (error) {
    // Nobody must go on waiting for this thread.
    Atomics.store(words, waitWords.indexOf('failed') * 16, 1);
    for (let i = 0; i < waitWords.length; i++) Atomics.notify(words, i * 16);
    post(`a thread failed: ${(error as Error).message}`);
  }
}

if (isNode()) {
  const { parentPort, workerData } = nodeModule('node:worker_threads');
  void serve(workerData as WorkerStart, (message) => parentPort!.postMessage(message));
} else {
  self.onmessage = ({ data }: MessageEvent<WorkerStart>) => void serve(data, (message) => self.postMessage(message));
}
