/** The whole TF.js side (data, kernels, delegation, gradients) over the plain kernels: needs no device. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { VersemiBackend } from '../../src/tfjs/backend/backend.js';
import { registerKernels } from '../../src/tfjs/backend/register.js';
import { checkGraph } from '../../src/tfjs/selftest/check-graph.js';
import { graphCases } from '../../src/tfjs/selftest/graph-cases.js';
import { PlainDevice } from '../../src/tfjs/selftest/plain-device.js';

const name = 'versemi-plain';
const device = new PlainDevice();
tf.registerBackend(name, () => new VersemiBackend(name, device));
registerKernels(name);

for (const graph of graphCases) {
  const { name: title, ok, detail } = await checkGraph(name, device, graph);
  t.ok(ok, `${title}: ${detail}`);
}
