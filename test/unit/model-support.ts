// What the tests of network, losses and training share.
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { registerVersemiBackends } from '../../src/tfjs/index.js';

/** Every backend that works here; TF.js's own cpu backend always does. */
export async function availableBackends(): Promise<string[]> {
  const own = await registerVersemiBackends({ precision: 'float32' });
  const names = ['cpu'];
  for (const { backend, available } of own) if (available && (await tf.setBackend(backend))) names.push(backend);
  return names;
}

/** Numbers in [-1, 1) that look random: the weights and data of test/golden/model.py */
export function wave(count: number, offset: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => {
    const value = 43758.5453 * Math.sin(12.9898 * (i + 1) + 78.233 * (offset + 1));
    return 2 * (value - Math.floor(value)) - 1;
  });
}
