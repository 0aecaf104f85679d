// The network, every loss and ten training steps against PyTorch in double precision (test/golden/model.py).
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import t, { type Test } from 'tap';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { stepTerms } from '../../src/config/steps.js';
import { bufferSpecs, elementCount, type NetworkConfig, parameterSpecs } from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import type { FieldName, StepBatch } from '../../src/sampling/fields.js';
import { madeBatch } from '../../src/sampling/made-batch.js';
import { lossGroups } from '../../src/training/groups.js';
import { StepInputs, stepValues } from '../../src/training/inputs.js';
import { createState, disposeState, runStep } from '../../src/training/step.js';
import { hostStep } from '../../src/training/step-data.js';
import { availableBackends, fromPyTorchConvolution, fromPyTorchMatrix, wave } from './model-support.js';

interface Sampled {
  norm: number;
  at: number[];
  values: number[];
}
interface StageCase {
  losses: Record<string, number>;
  gradientNorm: number;
  logits: Record<string, Sampled>;
  gradients: Record<string, Sampled>;
  buffers: Record<string, number[]>;
}
const golden = JSON.parse(readFileSync(new URL('../../../test/golden/model.json', import.meta.url), 'utf8')) as {
  network: NetworkConfig;
  patch: [number, number, number];
  stage1: StageCase;
  stage2: StageCase;
  options: Record<string, Pick<StageCase, 'losses' | 'gradientNorm'>>;
  training: { totals: number[]; parametersNorm: number; averageNorm: number; evaluation: Sampled };
};
const config = golden.network;
const [depth, height, width] = golden.patch;
const voxels = depth * height * width;
const controllerScale = 0.25;

/** PyTorch's shape of a parameter, and our values from PyTorch's. */
function layoutOf(shape: readonly number[]) {
  if (shape.length === 5) return { fan: elementCount(shape) / shape[4]!, convert: fromPyTorchConvolution };
  if (shape.length === 2) return { fan: shape[0]!, convert: fromPyTorchMatrix };
  return { fan: 1, convert: (values: Float32Array) => values };
}

function startValues(): Map<string, Float32Array> {
  const result = new Map<string, Float32Array>();
  for (const [index, { name, shape }] of parameterSpecs(config).entries()) {
    const kind = name.split('.').at(-1)!;
    const { fan, convert } = layoutOf(shape);
    const scale = name.startsWith('controller')
      ? controllerScale
      : ({ gamma: 0.5, beta: 0.3 }[kind] ?? 1 / Math.sqrt(fan));
    const values = wave(elementCount(shape), index).map((value) => value * scale + (kind === 'gamma' ? 1 : 0));
    result.set(name, convert(Float32Array.from(values), shape));
  }
  for (const { name, shape, initialization } of bufferSpecs(config))
    result.set(name, new Float32Array(elementCount(shape)).fill(initialization === 'ones' ? 1 : 0));
  return result;
}

function batch(plan: Plan, step: number): StepBatch {
  const volumes = (count: number, offset: number) => Float32Array.from(wave(count * voxels, offset));
  const blobs = (count: number, offset: number, threshold: number) =>
    volumes(count, offset).map((value) => (value > threshold ? 1 : 0));
  const cubes = (count: number) => {
    const inside = new Float32Array(count * voxels);
    for (let n = 0; n < count; n++)
      for (let z = 1 + n; z < 5 + n; z++)
        for (let y = 2; y < 9 + n; y++)
          for (let x = 0; x < 4 + n; x++) inside[((n * depth + z) * height + y) * width + x] = 1;
    return inside;
  };
  const y = blobs(4, 21, 0.3);
  const cube = cubes(2);
  const [first, second] = [y.subarray(0, 2 * voxels), y.subarray(2 * voxels)];
  const anyForeground = cube.map((inside, i) => (inside === 1 ? second[i]! : first[i]!));
  // the second pair has the same task twice, so that both targets are y_mix
  const targetA = cube.map((inside, i) => (i < voxels ? first[i]! * (1 - inside) : anyForeground[i]!));
  const targetB = cube.map((inside, i) => (i < voxels ? second[i]! * inside : anyForeground[i]!));
  const inside = cubes(4);
  const values: Readonly<Partial<Record<FieldName, Float32Array>>> = {
    'labeled.image': volumes(4, 11),
    'labeled.target': y,
    'mixed.image': volumes(2, 12),
    'mixed.anyForeground': anyForeground,
    'mixed.targetA': targetA,
    'mixed.targetB': targetB,
    'unlabeled.image': volumes(4, 13),
    'unlabeled.partner': inside,
    'unlabeled.cubeLabel': blobs(4, 22, -0.2).map((value, i) => value * inside[i]!),
  };
  const prompts = {
    labeled: [[0], [1], [1], [1]],
    mixed: [
      [0, 1],
      [1, 1],
    ],
    unlabeled: [[0], [0], [0], [0]],
  } as const;
  return madeBatch(plan, step, (name) => values[name]!, prompts);
}

function planWith(losses: object = {}, cutmix: object = {}) {
  return parsePlan({
    version: 1,
    name: 'golden',
    datasets: [{ name: 'd', path: 'd', preprocessing: { spacingMm: [1, 1, 1] } }],
    tasks: [
      { name: 'a', dataset: 'd', labels: [1] },
      { name: 'b', dataset: 'd', labels: [2] },
    ],
    network: { baseWidth: 4, levels: 3, convolutions: [1, 2, 2], headWidth: 8 },
    patchSizeVoxels: [width, height, depth],
    training: { stage1Steps: 5, stage2Steps: 5, labeledBatchSize: 4, unlabeledBatchSize: 4, learningRate: 2e-4 },
    losses,
    cutmix,
  });
}

const close = (a: number, b: number, relative: number, absolute = 0) =>
  Math.abs(a - b) <= absolute + relative * Math.abs(b);

/** Compares the norm and the sampled entries; `values` in PyTorch's layout. */
function compare(t: Test, what: string, values: ArrayLike<number>, expected: Sampled, relative: number) {
  const norm = Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0));
  // biases before an instance normalisation: PyTorch's gradient is rounding noise, ours is zero
  if (expected.norm < 1e-9) {
    t.equal(norm, 0, `${what}: zero`);
    return;
  }
  const spread = expected.norm / Math.sqrt(values.length);
  const worst = expected.at.filter(
    (at, i) => !close(values[at]!, expected.values[i]!, relative, 5 * relative * spread),
  );
  t.ok(
    close(norm, expected.norm, relative) && worst.length === 0,
    `${what}: norm ${norm}, PyTorch ${expected.norm}${worst.length > 0 ? `; entries ${worst} differ` : ''}`,
  );
}

/** Our layout -> PyTorch's, to look up sampled entries. */
function toPyTorch(values: ArrayLike<number>, shape: readonly number[]): number[] {
  const indices = Float32Array.from({ length: values.length }, (_, i) => i);
  const result: number[] = [];
  layoutOf(shape)
    .convert(indices, shape)
    .forEach((from, ours) => {
      result[from] = values[ours]!;
    });
  return result;
}

for (const backend of await availableBackends()) {
  t.test(backend, async (t) => {
    await tf.setBackend(backend);
    for (const stage of [1, 2] as const) {
      t.test(`stage ${stage}: logits, losses, every gradient, moving statistics`, async (t) => {
        const expected = golden[`stage${stage}`];
        const plan = planWith();
        const network = new VersemiNetwork(config, startValues());
        const sums = new Map<string, Float64Array>();
        const step = stage === 1 ? 0 : 5;
        const terms = stepTerms(plan, step);
        const inputs = new StepInputs();
        await inputs.load(stepValues(plan, hostStep(plan, batch(plan, step))));
        for (const group of lossGroups(network, undefined, plan, inputs, terms)) {
          const logits: tf.Tensor[] = [];
          const original = network.logits.bind(network);
          network.logits = (...args) => {
            const result = original(...args);
            logits.push(tf.keep(result.clone()));
            return result;
          };
          const { grads } = tf.variableGrads(() => {
            const terms = group.terms();
            for (const { name, value } of terms)
              t.ok(
                close(value.dataSync()[0]!, expected.losses[name]!, 2e-5),
                `${name} ${value.dataSync()[0]} = ${expected.losses[name]}`,
              );
            return terms.map(({ value }) => value).reduce((sum, value) => tf.add(sum, value));
          }, [...network.parameters.values()]);
          network.logits = original;
          t.equal(logits.length, 1, 'one pass for all prompts');
          const flat = group.name === 'labeled' ? logits[0]!.squeeze([1]) : logits[0]!;
          compare(t, `logits ${group.name}`, flat.dataSync(), expected.logits[group.name]!, 2e-5);
          for (const [name, variable] of network.parameters) {
            const sum = sums.get(name) ?? new Float64Array(variable.size);
            (grads[variable.name] as tf.Tensor | null)?.dataSync().forEach((value, i) => {
              sum[i]! += value;
            });
            sums.set(name, sum);
          }
        }
        t.same([...sums.keys()].sort(), Object.keys(expected.gradients).sort(), 'every parameter is compared');
        for (const [name, variable] of network.parameters)
          compare(t, name, toPyTorch(sums.get(name)!, variable.shape), expected.gradients[name]!, 1e-4);
        for (const [name, buffer] of network.buffers)
          buffer.dataSync().forEach((value, i) => {
            t.ok(close(value, expected.buffers[name]![i]!, 1e-4, 1e-6), `${name}[${i}]`);
          });
        inputs.dispose();
        network.dispose();
      });
    }

    t.test('options of the losses', async (t) => {
      const cases: [string, 1 | 2, object, object][] = [
        ['auxiliaryCrossEntropy', 1, { auxiliaryCrossEntropy: true }, {}],
        ['aggregateGradient stop', 2, { aggregateGradient: 'stop' }, {}],
        ['auxiliaryInStage2', 2, { auxiliaryInStage2: true }, {}],
        ['unlabeled-pairs', 2, {}, { unlabeledMix: 'unlabeled-pairs' }],
      ];
      for (const [name, stage, losses, cutmix] of cases) {
        const expected = golden.options[name]!;
        const plan = planWith(losses, cutmix);
        const state = createState(new VersemiNetwork(config, startValues()), plan);
        const step = stage === 1 ? 0 : 5;
        const { losses: found, gradientNorm } = await runStep(state, plan, hostStep(plan, batch(plan, step)));
        const { total, ...terms } = found;
        t.same(Object.keys(terms).sort(), Object.keys(expected.losses).sort(), `${name}: terms`);
        t.ok(close(gradientNorm, expected.gradientNorm, 1e-4), `${name}: ${gradientNorm} = ${expected.gradientNorm}`);
        const sum = Object.values(expected.losses).reduce((a, b) => a + b);
        t.ok(close(total, sum, 2e-5), `${name}: total ${total} = ${sum}`);
        disposeState(state);
      }
    });

    t.test('ten steps of Adam, the moving average, evaluation', async (t) => {
      const { totals, parametersNorm, averageNorm, evaluation } = golden.training;
      const plan = planWith();
      const state = createState(new VersemiNetwork(config, startValues()), plan);
      for (const [step, expected] of totals.entries()) {
        const { losses } = await runStep(state, plan, hostStep(plan, batch(plan, step)));
        t.ok(close(losses.total, expected, 2e-5), `step ${step}: ${losses.total} = ${expected}`);
      }
      const norm = (values: Iterable<Float32Array>) => Math.hypot(...[...values].map((part) => Math.hypot(...part)));
      const parameters = [...state.network.parameters.values()].map((variable) => variable.dataSync() as Float32Array);
      t.ok(close(norm(parameters), parametersNorm, 1e-4), 'parameters');
      const average = await state.average.values();
      const averaged = [...state.network.parameters.keys()].map((name) => average.get(name)!);
      t.ok(close(norm(averaged), averageNorm, 1e-4), 'moving average');
      const logits = tf.tidy(() => {
        const image = tf.tensor(batch(plan, 0).fields['labeled.image']!.subarray(0, voxels), [
          1,
          depth,
          height,
          width,
          1,
        ]);
        return state.network.logits(state.network.trunk(image as tf.Tensor5D), [[0, 1, 2]], 'moving');
      });
      compare(t, 'evaluation', logits.dataSync(), evaluation, 1e-2);
      logits.dispose();
      disposeState(state);
    });
  });
}
