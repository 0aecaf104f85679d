// Models as ONNX: the file itself, by Debian's python3-onnx; what it computes, by ONNX Runtime; what it says of itself.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { pythons } from '../../src/bench/run.js';
import { modelMetadata } from '../../src/checkpoints/metadata.js';
import { encodeModel, parseModel } from '../../src/checkpoints/model-file.js';
import { parsePlan } from '../../src/config/plan.js';
import { type OnnxExportOptions, onnxOf } from '../../src/exchange/export-onnx.js';
import { OnnxGraph } from '../../src/exchange/onnx-graph.js';
import { networkConfig } from '../../src/model/layers.js';
import { promptCodes, VersemiNetwork } from '../../src/model/network.js';
import { packageRoot } from '../../src/root.js';

const peers = join(packageRoot, 'test', 'bench', 'peers');
const withoutRuntime = existsSync(join(peers, 'node_modules', 'onnxruntime-node'))
  ? false
  : 'onnxruntime-node is not installed';

const plan = (network: object = {}) =>
  parsePlan({
    version: 1,
    name: 'onnx',
    datasets: [
      { name: 'ct', path: '/data/ct', preprocessing: { spacingMm: [1, 1, 3], window: [-100, 200] } },
      { name: 'mr', path: '/data/mr', preprocessing: { spacingMm: [2, 2, 2] } },
    ],
    tasks: [
      { name: 'spleen', dataset: 'ct', labels: [1] },
      { name: 'atrium', dataset: 'mr', labels: [2, 3] },
    ],
    network: { baseWidth: 3, levels: 3, convolutions: [1, 2, 1], headWidth: 5, ...network },
    patchSizeVoxels: [8, 16, 8],
    inference: { overlap: 0.5 },
  });

/** A model whose statistics and affine parameters are not those of a fresh network. */
async function modelOf(network: object = {}) {
  const made = plan(network);
  const fresh = new VersemiNetwork(networkConfig(made), 7);
  const values = await fresh.values();
  for (const [name, array] of values)
    if (/gap|prehead/.test(name))
      values.set(
        name,
        array.map((value, i) => value + 0.1 * (i % 3) + 0.01 * i),
      );
  fresh.dispose();
  const provenance = {
    created: 'now',
    versions: {},
    data: [{ dataset: 'ct', licence: 'CC BY 4.0' }, { dataset: 'mr' }],
  };
  const history = { steps: 1, losses: [], validation: [], best: null };
  return parseModel(Buffer.concat(encodeModel(values, modelMetadata(made, history, provenance))), 'model');
}

const variants: Readonly<Record<string, OnnxExportOptions>> = {
  plain: {},
  'two tasks, in another order': { tasks: ['any-foreground', 'spleen'] },
  'prompts as input': { promptsAsInput: true },
  half: { dtype: 'float16' },
  webgpu: { webgpu: true },
  'half for webgpu, prompts as input': { dtype: 'float16', webgpu: true, promptsAsInput: true },
};

/**
 * Operators of `variants` that onnxruntime-web 1.30 computes on WebGPU (its docs/webgpu-operators.md); it passes identities and shapes on.
 * A transposed convolution is among those of its list, but in 2-D only.
 */
const onWebGpu = [
  ...[
    'Add',
    'Cast',
    'Concat',
    'Conv',
    'Identity',
    'InstanceNormalization',
    'MatMul',
    'Mul',
    'ReduceMean',
    'ReduceProd',
    'Relu',
  ],
  ...['Reshape', 'Shape', 'Sigmoid', 'Split', 'Sub', 'Transpose', 'Unsqueeze'],
];
/** Buffers that a shader may have. */
const mostTensorsOnWebGpu = 8;

const python = pythons.find((command) => {
  try {
    execFileSync(command, ['-c', 'import onnx'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
});

t.test(
  "python3-onnx's checker and shape inference accept every form",
  { skip: python ? false : 'no Python with onnx' },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'versemi-onnx-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const program = `
import json, sys, onnx
model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
shapes = lambda values: {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
print(json.dumps({"opset": model.opset_import[0].version, "ir": model.ir_version, "nodes": sorted({n.op_type for n in model.graph.node}),
  "inputs": shapes(model.graph.input), "outputs": shapes(model.graph.output), "metadata": {p.key: p.value for p in model.metadata_props},
  "tensors": max(len(n.input) + len(n.output) for n in model.graph.node),
  "convolutions": sorted({a.name for n in model.graph.node if n.op_type == "Conv" for a in n.attribute}),
  "types": sorted({t.data_type for t in model.graph.initializer}), "doc": model.doc_string}))`;
    const model = await modelOf();
    for (const [name, options] of Object.entries(variants)) {
      const file = join(folder, 'model.onnx');
      writeFileSync(file, Buffer.concat(onnxOf(model, file, options).parts));
      const found = JSON.parse(execFileSync(python!, ['-c', program, file], { encoding: 'utf8' }));
      const answered = options.promptsAsInput ? 'prompts' : (options.tasks?.length ?? 2);
      t.match(found, { opset: 17, ir: 8, doc: /Not a medical device/ }, name);
      t.same(found.outputs, { probabilities: ['batch', answered, 'depth', 'height', 'width'] }, name);
      t.same(found.inputs, {
        image: ['batch', 1, 'depth', 'height', 'width'],
        ...(options.promptsAsInput ? { prompts: ['batch', 'prompts', 3] } : {}),
      });
      t.equal(found.nodes.includes('ConvTranspose'), options.webgpu !== true, `${name}: transposed convolutions`);
      if (options.webgpu) {
        t.same(
          found.nodes.filter((type: string) => !onWebGpu.includes(type)),
          [],
          `${name}: operators`,
        );
        t.ok(found.tensors <= mostTensorsOnWebGpu, `${name}: a node with ${found.tensors} tensors`);
        t.same(found.convolutions, ['dilations', 'kernel_shape', 'pads', 'strides'], `${name}: all is written down`);
      }
      t.equal(found.types.includes(10), options.dtype === 'float16', `${name}: float16`);
      t.equal(found.metadata.licence, 'ct: CC BY 4.0; mr: not stated');
      t.equal(JSON.parse(found.metadata.plan).datasets[0].path, 'ct', 'no path of the machine that trained it');
      t.equal(JSON.parse(found.metadata.versemi).format, 1);
    }
  },
);

interface Runtime {
  readonly Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => unknown;
  readonly InferenceSession: {
    create(bytes: Uint8Array): Promise<{
      run(feeds: object): Promise<{ probabilities: { data: Float32Array; dims: number[] } }>;
    }>;
  };
}

/** Runtimes that are installed; the one for pages without a GPU, as WebAssembly on one thread. */
function runtimes(): Record<string, Runtime> {
  const require = createRequire(join(peers, 'package.json'));
  const web = require('onnxruntime-web') as Runtime & { env: { wasm: { numThreads: number } } };
  web.env.wasm.numThreads = 1;
  return { 'onnxruntime-node': require('onnxruntime-node') as Runtime, 'onnxruntime-web': web };
}

t.test('ONNX Runtime computes what the product computes', { skip: withoutRuntime }, async (t) => {
  for (const network of [
    {},
    { fullResolutionSkip: true, fullResolutionBlock: true, levels: 2, convolutions: [2, 1] },
  ]) {
    const model = await modelOf(network);
    const config = networkConfig(model.plan);
    const own = new VersemiNetwork(config, model.values('student'));
    for (const [name, options] of Object.entries(variants)) {
      const { parts, description } = onnxOf(model, 'model.onnx', options);
      const file = Buffer.concat(parts);
      for (const [batch, size] of [
        [1, [8, 12, 16]],
        [2, [16, 8, 4]],
      ] as const) {
        const shape = [batch, 1, ...size];
        const image = Float32Array.from(
          { length: batch * size[0] * size[1] * size[2] },
          (_, i) => Math.sin(i * 0.37) + Math.sin(i * i),
        );
        const prompts = description.promptsAsInput ? [2, 0, 1, 0] : description.tasks.map(({ prompt }) => prompt);
        const codes = promptCodes(Array(batch).fill(prompts), 2);
        const expected = tf.tidy(() => {
          const x = tf.tensor5d(image, [batch, ...size, 1]);
          return tf.sigmoid(own.logits(own.trunk(x), Array(batch).fill(prompts), 'moving')).dataSync();
        });
        for (const [runtime, { Tensor, InferenceSession }] of Object.entries(runtimes())) {
          const session = await InferenceSession.create(file);
          const { probabilities } = await session.run({
            image: new Tensor('float32', image, shape),
            ...(description.promptsAsInput && { prompts: new Tensor('float32', codes, [batch, prompts.length, 3]) }),
          });
          t.same(probabilities.dims, [batch, prompts.length, ...size]);
          let worst = 0;
          for (let i = 0; i < expected.length; i++)
            worst = Math.max(worst, Math.abs(probabilities.data[i]! - expected[i]!));
          const tolerance = options.dtype === 'float16' ? 2e-2 : 2e-5;
          t.ok(worst < tolerance, `${runtime}, ${name}, ${shape}: ${worst}`);
        }
      }
    }
    own.dispose();
  }
});

t.test('the description says what a program needs', async (t) => {
  const model = await modelOf();
  const { description } = onnxOf(model, 'folder/model.onnx');
  t.match(description, {
    model: 'model.onnx',
    axisMultiple: 4,
    promptCount: 3,
    tasks: [
      {
        name: 'spleen',
        labels: [1],
        prompt: 0,
        output: 0,
        preprocessing: { spacingMm: [1, 1, 3], window: [-100, 200] },
      },
      { name: 'atrium', labels: [2, 3], prompt: 1, output: 1, preprocessing: { spacingMm: [2, 2, 2], window: null } },
    ],
    windows: { sizeVoxels: [8, 16, 8], strideVoxels: [4, 8, 4], even: true, weighting: 'gaussian', mirror: false },
  });
  const all = onnxOf(model, 'model.onnx', { promptsAsInput: true }).description;
  t.same(
    all.tasks.map(({ name, prompt, output }) => [name, prompt, output]),
    [
      ['spleen', 0, 0],
      ['atrium', 1, 0],
      ['any-foreground', 2, 0],
    ],
  );
  t.throws(() => onnxOf(model, 'model.onnx', { tasks: ['liver'] }), { code: 'VERSEMI_MODEL_TASK_UNKNOWN' });
});

t.test('a weight that float16 cannot hold', async (t) => {
  const graph = new OnnxGraph();
  graph.constant('w', [1], Float32Array.of(65504), 'float16');
  t.throws(() => graph.constant('w', [2], Float32Array.of(1, -65505), 'float16'), {
    code: 'VERSEMI_MODEL_INVALID',
    details: { field: 'w', found: '-65505' },
  });
});
