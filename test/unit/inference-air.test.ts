// Windows of one value are told to the network once, and the result has the bits of computing each window.
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { finish } from '../../src/inference/predict.js';
import { segmentVolume } from '../../src/inference/segment.js';
import { planWindows, type WindowProtocol, windowWeights } from '../../src/inference/windows.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { RandomStream, streams } from '../../src/random.js';
import { registerVersemiBackends, selectDevice } from '../../src/tfjs/index.js';
import type { Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';

const protocol: WindowProtocol = { protocol: 'default', overlap: 0.5, weighting: 'gaussian' };
const patch: Triple = [16, 16, 8];
const size: Triple = [48, 40, 24];
const voxels = size[0] * size[1] * size[2];
const tasks = [1, 0, 2];

/** Noise in a corner, air of one value round it, and a layer of another value at the end. */
function scan(): Float32Array {
  const random = new RandomStream(1, streams.test, 5);
  return Float32Array.from({ length: voxels }, (_, i) => {
    const [x, y, z] = [i % size[0], Math.floor(i / size[0]) % size[1], Math.floor(i / (size[0] * size[1]))];
    if (x < 20 && y < 18 && z < 10) return random.normal();
    return z >= 16 ? 0.5 : -1.25;
  });
}

/** Every window computed by itself. */
async function everyWindow(network: VersemiNetwork, image: Float32Array): Promise<Uint8Array[]> {
  const [beginsX, beginsY, beginsZ] = planWindows(size, patch, protocol);
  const weights = windowWeights(patch, protocol);
  const ring = host().slabAccumulator(tasks.length, size, patch);
  const results = tasks.map(() => new Uint8Array(voxels));
  const plane = size[0] * size[1];
  let slices = 0;
  for (const [i, z] of beginsZ!.entries()) {
    for (const y of beginsY!)
      for (const x of beginsX!) {
        const cut = host().cropInto(new Float32Array(patch[0] * patch[1] * patch[2]), image, size, [x, y, z], patch);
        const logits = tf.tidy(() => {
          const trunk = network.trunk(tf.tensor5d(cut, [1, patch[2], patch[1], patch[0], 1]));
          return network.logits(trunk, [tasks], 'moving');
        });
        ring.add((await logits.data()) as Float32Array, weights, [x, y, z], [false, false, false]);
        logits.dispose();
      }
    for (; slices < (beginsZ![i + 1] ?? size[2]); slices++) {
      const finished = ring.takeQuantized(slices);
      for (const [task, result] of results.entries())
        result.set(finished.subarray(task * plane, (task + 1) * plane), slices * plane);
    }
  }
  ring.dispose();
  return results;
}

for (const { backend, device, available, why } of await registerVersemiBackends())
  t.test(backend, { skip: available ? false : why }, async (t) => {
    await selectDevice(device);
    const network = new VersemiNetwork(
      { baseWidth: 4, levels: 3, convolutions: [1, 2, 1], headWidth: 4, tasks: 2 },
      11,
    );
    const image = scan();
    const expected = await everyWindow(network, image);
    t.ok(new Set(expected[0]).size > 20, 'probabilities vary');
    let passes = 0;
    const original = network.trunk.bind(network);
    network.trunk = (...args) => {
      passes++;
      return original(...args);
    };
    const run = async (mirror: boolean) => {
      passes = 0;
      const steps = segmentVolume(network, image, size, { ...protocol, patchSizeVoxels: patch, tasks, mirror });
      return { found: await finish(steps), passes, all: 5 * 4 * 5 };
    };
    const plain = await run(false);
    for (const [i, found] of plain.found.entries()) t.same(found, expected[i], `task ${tasks[i]}: the same bits`);
    t.ok(plain.passes < plain.all / 2, `${plain.passes} passes for ${plain.all} windows`);
    const mirrored = await run(true);
    t.ok(mirrored.passes < 4 * plain.all, `${mirrored.passes} passes for ${8 * plain.all} mirrored windows`);
    network.dispose();
    t.equal(host().memory().blocks, 0);
  });
