// Times ONNX Runtime on the V-Net forward pass. `node onnxruntime.mjs node|web THREADS RUNS [PATCH]` prints
// {"milliseconds": [...]}: one warm-up run, then RUNS timed ones.
import { vnetOnnx } from './vnet-onnx.mjs';

const [kind, threadsText, runsText, patchText] = process.argv.slice(2);
const threads = Number(threadsText);
const patch = Number(patchText ?? 96);
const model = vnetOnnx(patch);
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
const feeds = { x: new ort.Tensor('float32', input, [1, 1, patch, patch, patch]) };
const milliseconds = [];
let checksum = 0;
for (let run = -1; run < Number(runsText); run++) {
  const start = performance.now();
  const { y } = await session.run(feeds);
  if (run >= 0) milliseconds.push(performance.now() - start);
  checksum = y.data[0];
}
console.log(JSON.stringify({ milliseconds, checksum }));
process.exit(0);
