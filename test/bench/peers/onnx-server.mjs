// Serves a network to another program through pipes: `node onnx-server.mjs MODEL.onnx X,Y,Z THREADS`. After the line `ready` on
// stdout each patch that comes on stdin, x * y * z float32 as they lie in memory, is answered by as many probabilities. Ends with stdin.
import ort from 'onnxruntime-node';

const [file, patchText, threads] = process.argv.slice(2);
const patch = patchText.split(',').map(Number);
const session = await ort.InferenceSession.create(file, { intraOpNumThreads: Number(threads), interOpNumThreads: 1 });
const shape = [1, 1, patch[2], patch[1], patch[0]];
const input = new Float32Array(patch[0] * patch[1] * patch[2]);
const bytes = new Uint8Array(input.buffer);
process.stdout.write('ready\n');
let filled = 0;
for await (let chunk of process.stdin) {
  while (chunk.length > 0) {
    const part = chunk.subarray(0, bytes.length - filled);
    bytes.set(part, filled);
    filled += part.length;
    chunk = chunk.subarray(part.length);
    if (filled < bytes.length) continue;
    filled = 0;
    const { probabilities: y } = await session.run({ image: new ort.Tensor('float32', input, shape) });
    const answer = Buffer.from(y.data.buffer, y.data.byteOffset, y.data.byteLength);
    await new Promise((resolve) => process.stdout.write(answer, resolve));
  }
}
