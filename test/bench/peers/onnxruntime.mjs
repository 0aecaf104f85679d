// Times ONNX Runtime on one forward pass of a network. `node onnxruntime.mjs node|web THREADS RUNS PATCH MODEL.onnx` prints
// {"milliseconds": [...]}: one warm-up run, then RUNS timed ones.
import { readFileSync } from 'node:fs';

const [kind, threadsText, runsText, patchText, file] = process.argv.slice(2);
const threads = Number(threadsText);
const patch = Number(patchText);
const model = readFileSync(file);
const input = new Float32Array(patch ** 3);
for (let i = 0; i < input.length; i++) input[i] = Math.sin(i * 0.37);

let ort;
let session;
if (kind === 'node') {
  ort = await import('onnxruntime-node');
  session = await ort.InferenceSession.create(model, { intraOpNumThreads: threads, interOpNumThreads: 1 });
} else {
  ort = await import('onnxruntime-web');
  ort.env.wasm.numThreads = threads;
  session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'] });
}
const feeds = { image: new ort.Tensor('float32', input, [1, 1, patch, patch, patch]) };
const milliseconds = [];
let checksum = 0;
for (let run = -1; run < Number(runsText); run++) {
  const start = performance.now();
  const { probabilities } = await session.run(feeds);
  if (run >= 0) milliseconds.push(performance.now() - start);
  checksum = probabilities.data[0];
}
console.log(JSON.stringify({ milliseconds, checksum }));
process.exit(0);
