// A trained promptable network, from its safetensors file, as an ONNX model for one prompt: trunk, controller and the head that it
// generates; the output is the probability of the foreground.
import { readFileSync } from 'node:fs';
import { attribute, OnnxGraph, trunk } from './onnx-graph.mjs';

/** @returns tensors of a float32 safetensors file by name: {shape, values} */
export function readTensors(file) {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [begin, end],
          },
        ]) => {
          if (dtype !== 'F32') throw new Error(`${name}: expected F32, found ${dtype}`);
          return [
            name,
            {
              shape,
              values: new Float32Array(new Uint8Array(bytes.subarray(8 + length + begin, 8 + length + end)).buffer),
            },
          ];
        },
      ),
  );
}

/** [k, k, k, a, b] as ONNX has it: [b, a, k, k, k]. A transposed one, [k, k, k, to, from], becomes [from, to, k, k, k] by that too. */
function channelsFirst({ shape, values }) {
  const [kernel, , , a, b] = shape;
  const taps = kernel ** 3;
  const result = new Float32Array(values.length);
  for (let tap = 0, i = 0; tap < taps; tap++)
    for (let row = 0; row < a; row++)
      for (let column = 0; column < b; column++) result[(column * a + row) * taps + tap] = values[i++];
  return result;
}

/**
 * @param file weights; @param patch size x, y, z in voxels; @param task number of the prompt
 * @returns {Buffer} an ONNX model: input "x" [1, 1, z, y, x], output "y" the same
 */
export function promptableOnnx(file, patch, task) {
  const tensors = readTensors(file);
  const get = (name) => tensors.get(name);
  const count = (name) => [...tensors.keys()].filter((key) => key.startsWith(name) && key.endsWith('.weight')).length;
  const levels = count('down.') + 1;
  const repeats = Array.from({ length: levels }, (_, level) => count(`encoder.${level}.`));
  const width = get('encoder.0.0.weight').shape[4];
  const deepest = width << (levels - 1);
  const graph = new OnnxGraph();
  const valuesOf = (name) => ({ weight: channelsFirst(get(`${name}.weight`)), bias: get(`${name}.bias`).values });
  const { features, bottleneck } = trunk(graph, 'x', { width, repeats, valuesOf });

  const batchNormRelu = (x, name) => {
    const vectors = ['gamma', 'beta', 'movingMean', 'movingVariance'].map((part) => get(`${name}.${part}`));
    const inputs = [x, ...vectors.map(({ shape, values }) => graph.constant(shape, values))];
    return graph.node('Relu', [graph.node('BatchNormalization', inputs, [attribute.float('epsilon', 1e-5)])]);
  };
  const pooled = graph.node('GlobalAveragePool', [batchNormRelu(bottleneck, 'gap')]);
  const prompt = get('controller.prompt');
  const generated = prompt.shape[1];
  const bias = get('controller.bias').values.map((value, i) => value + prompt.values[task * generated + i]);
  const parameters = graph.node('Gemm', [
    graph.node('Flatten', [pooled], [attribute.integer('axis', 1)]),
    graph.constant([deepest, generated], get('controller.weight').values),
    graph.constant([generated], bias),
  ]);

  const prehead = get('prehead.weight');
  const head = prehead.shape[4];
  let x = graph.convolution(batchNormRelu(features, 'prehead'), valuesOf('prehead'), {
    from: width,
    to: head,
    kernel: 1,
  });
  // Of the last layer only the difference of its two rows matters: the sigmoid of it is the softmax.
  const sizes = [head * head, head * head, head, head, head, head, 1, 1];
  const parts = graph.node('Split', [parameters, graph.integers(sizes)], [attribute.integer('axis', 1)], sizes.length);
  const [w1, w2, background, foreground, b1, b2, biasBackground, biasForeground] = parts;
  const point = (input, weight, offset, to) =>
    graph.node('Conv', [
      input,
      graph.node('Reshape', [weight, graph.integers([to, head, 1, 1, 1])]),
      graph.node('Reshape', [offset, graph.integers([to])]),
    ]);
  x = graph.node('Relu', [point(x, w1, b1, head)]);
  x = graph.node('Relu', [point(x, w2, b2, head)]);
  const difference = (a, b) => graph.node('Sub', [a, b]);
  x = point(x, difference(foreground, background), difference(biasForeground, biasBackground), 1);
  const shape = [1, 1, patch[2], patch[1], patch[0]];
  return graph.model([['x', shape]], [['y', shape, graph.node('Sigmoid', [x])]]);
}
