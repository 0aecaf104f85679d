// What the terms of unlabelled images compare, and terms of one's own on mixes: prompts, regions and targets, on a network whose answers
// are known.
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { type StepGroup, stepTerms } from '../../src/config/steps.js';
import type { TermInputs } from '../../src/losses/own-term.js';
import type { VersemiNetwork } from '../../src/model/network.js';
import { RandomStream, streams } from '../../src/random.js';
import { fields } from '../../src/sampling/fields.js';
import { madeBatch } from '../../src/sampling/made-batch.js';
import { partnerOf, type StepPrompts } from '../../src/sampling/recipe.js';
import { largestComponents } from '../../src/training/findings.js';
import { lossGroups } from '../../src/training/groups.js';
import { StepInputs, stepValues } from '../../src/training/inputs.js';
import { addParts } from '../../src/training/parts.js';
import { hostStep } from '../../src/training/step-data.js';

await tf.setBackend('cpu');

const side = 4;
const voxels = side ** 3;
/** Of tasks 0, 1, 2 and of the synthetic one: the logit of a voxel is slope * intensity + offset. */
const slopes = [3, -2, 1.5, 2.5];
const offsets = [0.2, -0.4, 0.1, -0.3];
/** A step of the second stage. */
const step = 1;

/** Answers a prompt with its line; the averaged network is half as steep. */
function known(steepness: number): VersemiNetwork {
  return {
    trunk: (images: tf.Tensor5D) => images,
    logits: (images: tf.Tensor5D, codes: tf.Tensor3D) => {
      const line = (numbers: number[]) =>
        tf.reshape(tf.sum(tf.mul(codes, tf.tensor1d(numbers)), 2), [...codes.shape.slice(0, 2), 1, 1, 1]);
      const intensity = tf.reshape(images, [images.shape[0], 1, side, side, side]);
      return tf.add(tf.mul(intensity, tf.mul(line(slopes), steepness)), line(offsets));
    },
  } as unknown as VersemiNetwork;
}
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const student = (task: number, x: number) => sigmoid(slopes[task]! * x + offsets[task]!);
const average = (task: number, x: number) => sigmoid((slopes[task]! / 2) * x + offsets[task]!);

function planOf(unlabeledMix: string, losses: object, unlabeledBatchSize: number): Plan {
  return parsePlan({
    version: 1,
    name: 'terms',
    datasets: ['a', 'b'].map((name) => ({ name, path: name, preprocessing: { spacingMm: [1, 1, 1] } })),
    tasks: [
      { name: 'one', dataset: 'a', labels: [1] },
      { name: 'two', dataset: 'a', labels: [2] },
      { name: 'three', dataset: 'b', labels: [1] },
    ],
    network: { baseWidth: 1, levels: 2 },
    patchSizeVoxels: [side, side, side],
    training: { stage1Steps: 1, stage2Steps: 1, labeledBatchSize: 2, unlabeledBatchSize, promptsPerImage: 'each' },
    cutmix: { unlabeledMix },
    losses: { synthetic: 0, auxiliary: 0, unsupervised: 0, cube: 0, ...losses },
  });
}

/** Images of dataset a have tasks 0 and 1, those of b task 2, which fills both prompts. */
const promptsOf = (unlabeledBatchSize: number): StepPrompts => ({
  labeled: [
    [2, 2],
    [1, 0],
  ],
  mixed: [[2, 1]],
  unlabeled: [
    [0, 1],
    [2, 2],
    [1, 0],
    [2, 2],
  ].slice(0, unlabeledBatchSize),
});

/** Values of the terms of a group, and the fields that they were made of. */
async function termsOf(plan: Plan, group: StepGroup = 'unlabeled') {
  const random = new RandomStream(3, streams.test);
  const batch = madeBatch(
    plan,
    step,
    (name, count) =>
      Float32Array.from({ length: count }, () =>
        fields[name].kind === 'image' ? random.normal() : Number(random.uniform() < 0.4),
      ),
    promptsOf(plan.training.unlabeledBatchSize),
  );
  const inputs = new StepInputs();
  await inputs.load(stepValues(plan, hostStep(plan, batch)));
  const terms = stepTerms(plan, step);
  const found = lossGroups(known(1), known(1 / 2), plan, inputs, terms).find(({ name }) => name === group)!;
  const values = tf.tidy(() =>
    Object.fromEntries(found.terms(found.given?.()).map(({ name, value }) => [name, value.dataSync()[0]!])),
  );
  inputs.dispose();
  const read = (name: keyof typeof batch.fields, patch: number) => [
    ...batch.fields[name]!.subarray(patch * voxels, (patch + 1) * voxels),
  ];
  return { values, read, prompts: batch.prompts };
}

type Voxel = readonly [prediction: number, target: number];
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const dice = (all: readonly Voxel[]) =>
  1 - (2 * sum(all.map(([p, y]) => p * y)) + 1e-5) / (sum(all.map(([p, y]) => p * p + y * y)) + 1e-5);
const crossEntropy = (all: readonly Voxel[]) =>
  sum(all.map(([p, y]) => -y * Math.log(p) - (1 - y) * Math.log(1 - p))) / all.length;
const squares = (all: readonly Voxel[]) => sum(all.map(([p, y]) => (p - y) ** 2)) / all.length;
/** The mean of the tasks' Dice, and the cross-entropy over all voxels. */
const perTask = (byTask: readonly Voxel[][]) => {
  const present = byTask.filter((all) => all.length > 0);
  return sum(present.map(dice)) / present.length + crossEntropy(present.flat());
};
const near = (a: number, b: number) => Math.abs(a - b) < 2e-5;

t.test("a term of one's own on mixes is given the synthetic prompt alone, and any foreground", async (t) => {
  const value = ({ logits, prompts, image, target, partner }: TermInputs) => {
    t.same([logits.shape, target!.shape], Array(2).fill([1, 1, side, side, side]));
    t.same(
      [prompts.shape, [...prompts.dataSync()]],
      [
        [1, 1, 4],
        [0, 0, 0, 1],
      ],
      'the code behind those of the tasks',
    );
    t.same([image.shape, partner], [[1, side, side, side, 1], undefined]);
    return tf.mean(tf.mul(logits, target!)) as tf.Scalar;
  };
  addParts({ lossTerms: [{ name: 'of-mixes', group: 'mixed', value }] });
  for (const beside of [{}, { synthetic: 1 }, { auxiliary: 1, auxiliaryInStage2: true }]) {
    const plan = planOf('labeled-inside', { ...beside, own: { 'of-mixes': 1 } }, 2);
    const { values, read } = await termsOf(plan, 'mixed');
    const names = ['synthetic', 'auxiliary'].filter((name) => name in beside);
    t.same(Object.keys(values), [...names, 'own.of-mixes']);
    const foreground = read('mixed.anyForeground', 0);
    const logits = read('mixed.image', 0).map((x) => slopes[3]! * x + offsets[3]!);
    const expected = sum(logits.map((logit, v) => logit * foreground[v]!)) / voxels;
    t.ok(near(values['own.of-mixes']!, expected), `${values['own.of-mixes']} and ${expected}`);
  }
});

t.test('each side of a mix with a labelled image learns what is known of it', async (t) => {
  const losses = {
    agreement: 1,
    teacher: 1,
    cubeTasks: 1,
    cube: 1,
    unsupervised: 1,
    diceOver: 'task',
    pseudoLabel: 'soft',
  };
  // Three unlabelled patches and two labelled ones: the first labelled one is a partner twice.
  const plan = planOf('both-sides', losses, 3);
  const { values, read, prompts } = await termsOf(plan);
  const own: Voxel[][] = [[], [], []];
  const partner: Voxel[][] = [[], [], []];
  const agreement: Voxel[] = [];
  const all: Voxel[] = [];
  for (let i = 0; i < 3; i++) {
    const [mix, clean, region] = [read('unlabeled.image', i), read('unlabeled.clean', i), read('unlabeled.partner', i)];
    const other = partnerOf(i, plan);
    const ofPartner = [0, 1].map((p) => read('labeled.target', 2 * other + p));
    for (const [v, x] of mix.entries()) {
      const largest = Math.max(...[0, 1, 2].map((task) => student(task, x)));
      all.push([student(3, x), largest]);
      if (region[v] === 1) {
        // The second prompt of an image with one task only fills the tensor.
        for (const [p, task] of prompts.labeled[other]!.entries())
          if (p === prompts.labeled[other]!.indexOf(task)) partner[task]!.push([student(task, x), ofPartner[p]![v]!]);
      } else {
        agreement.push([student(3, x), Math.max(...[0, 1, 2].map((task) => average(task, clean[v]!)))]);
        for (const task of new Set(prompts.unlabeled[i]!))
          own[task]!.push([student(task, x), average(task, clean[v]!)]);
      }
    }
  }
  t.same(Object.keys(values), ['unsupervised', 'cube', 'cubeTasks', 'agreement', 'teacher']);
  t.ok(near(values.unsupervised!, dice(all)), 'L_unsup');
  t.ok(near(values.teacher!, perTask(own)), `L_teacher: ${values.teacher} is ${perTask(own)}`);
  t.ok(near(values.cubeTasks!, perTask(partner)), `L_cubeTasks: ${values.cubeTasks} is ${perTask(partner)}`);
  t.ok(near(values.agreement!, dice(agreement) + crossEntropy(agreement)), 'L_agree');
});

t.test('of a pair of unlabelled images both are known in the mix', async (t) => {
  const plan = planOf('unlabeled-pairs', { agreement: 1, consistency: 'dice', confidence: 0.6 }, 4);
  const { values, read } = await termsOf(plan);
  const all: Voxel[] = [];
  for (let i = 0; i < 4; i++) {
    const [mix, region] = [read('unlabeled.image', i), read('unlabeled.partner', i)];
    const clean = [read('unlabeled.clean', i), read('unlabeled.clean', partnerOf(i, plan))];
    for (const [v, x] of mix.entries()) {
      const found = Math.max(...[0, 1, 2].map((task) => average(task, clean[region[v]!]![v]!)));
      if (Math.max(found, 1 - found) >= 0.6) all.push([student(3, x), Number(found > 0.5)]);
    }
  }
  t.ok(all.length > 20 && all.length < 4 * voxels, `${all.length} voxels count`);
  t.ok(near(values.agreement!, dice(all)), `L_agree: ${values.agreement} is ${dice(all)}`);
});

t.test('noise: the target has its own, and the entropy is of the mean over the others', async (t) => {
  const noise = { teacherNoise: 0.5, noisyPasses: 2, entropy: [0.8, 0.9], unsupervisedRampSteps: 4 };
  const plan = planOf('none', { teacher: 1, consistency: 'squares', pseudoLabel: 'soft', ...noise }, 2);
  const { values, read, prompts } = await termsOf(plan);
  const all: Voxel[] = [];
  for (let i = 0; i < 2; i++) {
    const clean = read('unlabeled.clean', i);
    // Twice the standard deviation is where the noise is cut off.
    const noisy = [0, 1, 2].map((pass) =>
      read('unlabeled.noise', 2 * pass + i).map((value, v) => clean[v]! + Math.min(1, Math.max(-1, value))),
    );
    for (const [v, x] of clean.entries())
      for (const task of new Set(prompts.unlabeled[i]!)) {
        const mean = (average(task, noisy[1]![v]!) + average(task, noisy[2]![v]!)) / 2;
        const entropy = -mean * Math.log(mean) - (1 - mean) * Math.log(1 - mean);
        // The ramp has not begun: the first share.
        if (entropy < 0.8 * Math.LN2) all.push([student(task, x), average(task, noisy[0]![v]!)]);
      }
  }
  t.ok(all.length > 20 && all.length < 3 * voxels, `${all.length} voxels count`);
  t.ok(near(values.teacher!, squares(all)), `L_teacher: ${values.teacher} is ${squares(all)}`);
});

t.test('of each patch the largest component stays; what else was foreground is background as surely', async (t) => {
  const shape = [1, 2, 1, 3, 5];
  const first = [2, 2, -1, 1, -1, 2, -1, -1, -1, -1, -3, -1, -1, 3, 3];
  const second = [-1, -1, -1, -1, -1, -1, -1, 0.5, -1, -1, -1, -1, -1, -1, -1];
  const values = largestComponents(Float32Array.from([...first, ...second]), shape).get('unlabeled.averaged')!;
  t.same(values.shape, shape);
  t.same([...values.values.subarray(0, 15)], [2, 2, -1, -1, -1, 2, -1, -1, -1, -1, -3, -1, -1, -3, -3]);
  t.same([...values.values.subarray(15)], second, 'one voxel is a component');
});
