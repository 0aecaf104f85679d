// Times the convolution of TF.js's own wasm backend: `node tfjs-wasm.mjs EDGE CIN COUT RUNS` prints {"milliseconds": [...]}.
import { createRequire } from 'node:module';
import { dirname } from 'node:path';

const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs-core');
const wasm = require('@tensorflow/tfjs-backend-wasm');
wasm.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
await tf.setBackend('wasm');

const [edge, inputChannels, outputChannels, runs] = process.argv.slice(2).map(Number);
const x = tf.ones([1, edge, edge, edge, inputChannels]);
const w = tf.ones([3, 3, 3, inputChannels, outputChannels]);
const milliseconds = [];
for (let run = 0; run < runs; run++) {
  const start = performance.now();
  const y = tf.conv3d(x, w, 1, 'same');
  y.dataSync();
  milliseconds.push(performance.now() - start);
  y.dispose();
}
console.log(JSON.stringify({ milliseconds }));
process.exit(0);
