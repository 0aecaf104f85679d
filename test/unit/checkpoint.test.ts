import { readFileSync, statSync, writeFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { loadCheckpoint, saveCheckpoint } from '../../src/checkpoints/checkpoint.js';
import { loadModel, readModel, saveModel } from '../../src/checkpoints/files.js';
import { modelMetadata } from '../../src/checkpoints/metadata.js';
import { parseModel } from '../../src/checkpoints/model-file.js';
import { encodeSafetensors, parseSafetensors, tensorValues } from '../../src/checkpoints/safetensors.js';
import { parsePlan } from '../../src/config/plan.js';
import { networkConfig, parameterCount } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import './model-support.js';

const input = {
  version: 1,
  name: 'checkpoint test',
  datasets: [{ name: 'd', path: '/data/d', preprocessing: { spacingMm: [1, 1, 2] } }],
  tasks: [{ name: 'organ', dataset: 'd', labels: [1, 2] }],
  network: { baseWidth: 2, levels: 3 },
  patchSizeVoxels: [8, 8, 4],
};
const plan = parsePlan(input);
const history = {
  steps: 7,
  losses: [{ step: 7, losses: { dice: 0.5, total: 0.5 } }],
  validation: [{ step: 7, mean: 0.75, perTask: { organ: 0.75 } }],
  best: { step: 7, mean: 0.75 },
};
const provenance = {
  created: '2026-01-02T03:04:05.000Z',
  versions: { versemi: '0.1.0' },
  data: [{ dataset: 'd', licence: 'CC BY 4.0' }],
};
const metadata = modelMetadata(plan, history, provenance);

await tf.setBackend('cpu');
const network = new VersemiNetwork(networkConfig(plan), 5);
const values = await network.values();
const average = new Map([...values].map(([name, numbers]) => [name, numbers.map((value) => value * 0.5)]));
const count = parameterCount(networkConfig(plan));
const moments = new Map([
  ['adam.first', new Float32Array(count).fill(0.25)],
  ['adam.second', new Float32Array(count).fill(1e-30)],
]);
const state = { step: 7, optimizer: moments, pending: { steps: 2, sums: { dice: 1.25 } } };

t.test('a model is read back with everything it says about itself', async (t) => {
  const file = `${t.testdir()}/model.safetensors`;
  await saveModel(file, network, metadata);
  const model = await loadModel(file);
  t.same(await model.network.values(), values);
  const [dataset] = plan.datasets;
  t.same(model.plan, { ...plan, datasets: [{ ...dataset, path: 'd' }] }, 'less the folder that the data lay in');
  t.same(model.tasks, plan.tasks);
  t.same(model.history, history);
  t.same(model.provenance, provenance);
  t.same(model.preprocessing, [{ dataset: 'd', ...plan.datasets[0]!.preprocessing }]);
  t.same(model.networks, ['student']);
  const read = JSON.parse(parseSafetensors(readFileSync(file)).metadata.versemi!);
  t.equal(read.format, 1, 'the metadata is JSON under the key versemi');
  model.network.dispose();
});

t.test('half precision halves the file and rounds matrices only', async (t) => {
  const folder = t.testdir();
  await saveModel(`${folder}/full`, network, metadata);
  await saveModel(`${folder}/half`, network, metadata, { dtype: 'F16' });
  const half = (await readModel(`${folder}/half`)).values('student');
  for (const [name, full] of values) {
    const bound = name.endsWith('weight') || name.endsWith('prompt') ? 2 ** -11 : 0;
    const worst = Math.max(...full.map((value, i) => Math.abs(value - half.get(name)![i]!) - bound * Math.abs(value)));
    t.ok(worst <= 2 ** -25, name);
  }
  const data = (file: string) => statSync(file).size;
  t.ok(data(`${folder}/half`) < 0.65 * data(`${folder}/full`));
});

t.test('the average is stored beside the weights and chosen by the plan or the caller', async (t) => {
  const file = `${t.testdir()}/model.safetensors`;
  await saveModel(file, values, metadata, { average });
  const first = async (options = {}) => {
    const { network } = await loadModel(file, options);
    const value = network.parameters.get('encoder.0.0.weight')!.dataSync()[0]!;
    network.dispose();
    return value;
  };
  const weight = values.get('encoder.0.0.weight')![0]!;
  t.same((await readModel(file)).networks, ['student', 'ema']);
  t.equal(await first(), weight);
  t.equal(await first({ network: 'ema' }), weight * 0.5);
  const averaged = parsePlan({ ...input, inference: { network: 'ema' } });
  await saveModel(file, values, modelMetadata(averaged, history, provenance), { average });
  t.equal(await first(), weight * 0.5, 'by the plan');
  t.equal(await first({ network: 'student' }), weight);
});

t.test('files that are no model of versemi are refused with a remedy', async (t) => {
  const folder = t.testdir();
  const file = `${folder}/x.safetensors`;
  const refused = async (bytes: Uint8Array[], field: string | RegExp, what: string) => {
    writeFileSync(file, Buffer.concat(bytes));
    const before = tf.memory().numTensors;
    await t.rejects(loadModel(file), { code: 'VERSEMI_MODEL_INVALID', details: { file, field, remedy: /./ } }, what);
    t.equal(tf.memory().numTensors, before, 'nothing is left on the device');
  };
  const one = { name: 'layer.weight', shape: [1], data: new Float32Array(1), dtype: 'F32' } as const;
  const text = JSON.stringify(metadata);
  await refused(encodeSafetensors([one], {}), '__metadata__.versemi', 'safetensors of something else');
  await refused(encodeSafetensors([one], { versemi: '{' }), '__metadata__.versemi', 'no JSON');
  const other = (change: object) => ({ versemi: JSON.stringify({ ...metadata, ...change }) });
  await refused(encodeSafetensors([one], other({ format: 2 })), '__metadata__.versemi.format', 'a later format');
  await refused(encodeSafetensors([one], other({ history: {} })), /versemi\.history\.steps/, 'no history');
  await refused(
    encodeSafetensors([one], other({ plan: { ...plan, seed: -1 } })),
    '__metadata__.versemi.plan.seed',
    'a plan that is not valid',
  );
  await refused(encodeSafetensors([one], { versemi: text }), 'encoder.0.0.weight', 'no tensors');

  const all = [...network.parameters, ...network.buffers].map(([name, { shape }]) => ({
    name,
    shape: shape as number[],
    data: values.get(name)!,
    dtype: 'F32' as const,
  }));
  const replaced = (name: string, change: object) =>
    encodeSafetensors(
      all.map((tensor) => (tensor.name === name ? { ...tensor, ...change } : tensor)),
      { versemi: text },
    );
  await refused(replaced('gap.gamma', { name: 'gap.other' }), 'gap.gamma', 'a missing tensor');
  await refused(replaced('down.0.weight', { shape: [2, 2, 2, 4, 2] }), 'down.0.weight', 'another shape of equal size');
  const bad = values.get('prehead.beta')!.slice();
  bad[1] = Number.NaN;
  await refused(replaced('prehead.beta', { data: bad }), 'prehead.beta', 'NaN');
  await refused(replaced('prehead.beta', { data: bad.fill(Number.POSITIVE_INFINITY) }), 'prehead.beta', 'infinity');
  const whole = Buffer.concat(encodeSafetensors(all, { versemi: text }));
  t.equal(parseModel(whole).networks.length, 1, 'whole, it is a model');
  await refused([whole.subarray(0, -3)], /data_offsets/, 'truncated');
  await t.rejects(loadModel(`${folder}/none`), { code: 'VERSEMI_FILE_NOT_FOUND', details: { file: `${folder}/none` } });
});

t.test('a checkpoint is a model, and where training goes on', async (t) => {
  const file = `${t.testdir()}/last.safetensors`;
  await saveCheckpoint(file, values, average, metadata, state);
  const { model, ...rest } = await loadCheckpoint(file, plan);
  t.same(rest, state);
  t.same(model.values('student'), values);
  t.same(model.values('ema'), average);
  t.same((await readModel(file)).history, history, 'it can be evaluated like a model');
});

t.test('a checkpoint of another plan is refused by naming the field', async (t) => {
  const file = `${t.testdir()}/last.safetensors`;
  await saveCheckpoint(file, values, average, metadata, state);
  const changes: [string, object][] = [
    ['seed', { seed: 1 }],
    [
      'datasets[0].preprocessing.spacingMm[2]',
      { datasets: [{ ...input.datasets[0], preprocessing: { spacingMm: [1, 1, 3] } }] },
    ],
    ['tasks[0].labels[1]', { tasks: [{ name: 'organ', dataset: 'd', labels: [1] }] }],
    ['network.baseWidth', { network: { baseWidth: 4, levels: 3 } }],
    ['training.learningRate', { training: { learningRate: 0.5 } }],
    ['training.stage2Steps', { training: { stage2Steps: 5 } }],
    ['training.gradientClipNorm', { training: { gradientClipNorm: 1 } }],
    ['losses.cube', { losses: { cube: 0 } }],
    ['cutmix.stage2Ratio[1]', { cutmix: { stage2Ratio: [0.3, 0.5] } }],
    ['augmentation.flip[0]', { augmentation: { flip: [true, false, false] } }],
    ['training.validationCases', { training: { validationCases: 2 } }],
  ];
  for (const [field, change] of changes)
    await t.rejects(
      loadCheckpoint(file, parsePlan({ ...input, ...change })),
      { code: 'VERSEMI_CHECKPOINT_MISMATCH', details: { file, field, expected: /./, found: /./, remedy: /./ } },
      field,
    );
  const free = {
    name: 'renamed',
    datasets: [{ ...input.datasets[0], path: '/moved' }],
    training: { workers: 0, validateEverySteps: 1, checkpointEverySteps: 3 },
    inference: { mirror: true, network: 'ema' },
  };
  t.equal(
    (await loadCheckpoint(file, parsePlan({ ...input, ...free }))).step,
    7,
    'what does not touch training may change',
  );
});

t.test('a checkpoint that lacks something is refused', async (t) => {
  const folder = t.testdir();
  await saveModel(`${folder}/model`, values, metadata, { average });
  await t.rejects(loadCheckpoint(`${folder}/model`, plan), {
    code: 'VERSEMI_MODEL_INVALID',
    details: { field: 'adam.first', remedy: /last\.safetensors/ },
  });
  await saveCheckpoint(`${folder}/last`, values, average, metadata, state);
  const { tensors, metadata: texts } = parseSafetensors(readFileSync(`${folder}/last`));
  // As older versions wrote them: without a digest.
  const rewritten = (keep: (name: string) => boolean, training: string) => {
    const kept = [...tensors].filter(([name]) => keep(name));
    const list = kept.map(([name, tensor]) => ({
      ...{ name, shape: tensor.shape, data: tensorValues(tensor) },
      dtype: 'F32' as const,
    }));
    const parts = encodeSafetensors(list, { versemi: texts.versemi!, 'versemi.training': training });
    writeFileSync(`${folder}/changed`, Buffer.concat(parts));
    return loadCheckpoint(`${folder}/changed`, plan);
  };
  const good = texts['versemi.training']!;
  t.equal((await rewritten(() => true, good)).step, 7);
  await t.rejects(
    rewritten((name) => name !== 'adam.second', good),
    { code: 'VERSEMI_MODEL_INVALID', details: { field: 'adam.second' } },
  );
  await t.rejects(
    rewritten((name) => !name.startsWith('ema.'), good),
    { code: 'VERSEMI_MODEL_INVALID', details: { field: 'ema.' } },
  );
  for (const training of ['', '{}', '{"step":-1,"pending":{"steps":0,"sums":{}}}', '{"step":1}'])
    await t.rejects(
      rewritten(() => true, training),
      { code: 'VERSEMI_MODEL_INVALID', details: { field: '__metadata__.versemi.training' } },
      training,
    );
});

t.test('one flipped bit, wherever it is, is found', async (t) => {
  const file = `${t.testdir()}/last`;
  await saveCheckpoint(file, values, average, metadata, state);
  const whole = readFileSync(file);
  const step = Math.ceil(whole.length / 200);
  for (let at = 3; at < whole.length; at += step) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 4;
    writeFileSync(file, damaged);
    await t.rejects(loadCheckpoint(file, plan), { code: 'VERSEMI_MODEL_INVALID', details: { file } }, `byte ${at}`);
  }
});

t.test('the checkpoint that is replaced stays under another name', async (t) => {
  const folder = t.testdir();
  const [last, keep] = [`${folder}/last`, `${folder}/previous`];
  for (const step of [1, 2, 3]) await saveCheckpoint(last, values, average, metadata, { ...state, step }, { keep });
  const steps = async () =>
    (await Promise.all([last, keep].map((file) => loadCheckpoint(file, plan)))).map((one) => one.step);
  t.same(await steps(), [3, 2]);
});
