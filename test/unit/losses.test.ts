// Every formula against plain sums in double precision, and every gradient against finite differences.
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { agreementLoss } from '../../src/losses/agreement.js';
import { auxiliaryLoss } from '../../src/losses/auxiliary.js';
import { type ConsistencyForm, consistencyForms } from '../../src/losses/consistency.js';
import { crossEntropy } from '../../src/losses/cross-entropy.js';
import { cubeLoss } from '../../src/losses/cube.js';
import { cubeTasksLoss } from '../../src/losses/cube-tasks.js';
import { dice } from '../../src/losses/dice.js';
import { ofPrompt, overlap, type RowGroups } from '../../src/losses/overlap.js';
import { pseudoLabel } from '../../src/losses/pseudo-label.js';
import { supervisedLoss } from '../../src/losses/supervised.js';
import { syntheticLoss } from '../../src/losses/synthetic.js';
import { teacherLoss } from '../../src/losses/teacher.js';
import { certain } from '../../src/losses/uncertainty.js';
import { unsupervisedLoss } from '../../src/losses/unsupervised.js';
import { availableBackends, wave } from './model-support.js';

const shape = [2, 3, 4, 5] as [number, number, number, number];
const count = 120;
const sigmoid = (value: number) => 1 / (1 + Math.exp(-value));

const logitsOf = (offset: number) => [...wave(count, offset)].map((value) => Math.fround(3 * value));
const binary = (offset: number) => [...wave(count, offset)].map((value) => (value > 0.2 ? 1 : 0));
const a = logitsOf(1);
const b = logitsOf(2);
const y = binary(3);
const z = binary(4);
const inside = binary(5);

function plainDice(p: number[], t: number[]): number {
  const sum = (f: (i: number) => number) => p.reduce((total, _, i) => total + f(i), 0);
  return 1 - (2 * sum((i) => p[i]! * t[i]!) + 1e-5) / (sum((i) => p[i]! ** 2) + sum((i) => t[i]! ** 2) + 1e-5);
}

function plainCrossEntropy(p: number[], t: number[]): number {
  return p.reduce((sum, value, i) => sum - t[i]! * Math.log(value) - (1 - t[i]!) * Math.log(1 - value), 0) / p.length;
}

const tensor = (values: number[]) => tf.tensor(values, shape);

/** Rows of six patches: of task 0 the first and the fourth, of task 2 the second; the others do not count. No row is of task 1. */
const rowShape = [6, 4, 5, 1] as [number, number, number, number];
const rowTasks = [0, 2, null, 0, null, null];
const rowTensor = (values: number[]) => tf.tensor(values, rowShape);
const byTask = (): RowGroups => ({
  members: tf.tensor2d([0, 1, 2].map((task) => rowTasks.map((own) => Number(own === task)))),
  weights: tf.tensor1d([1 / 2, 0, 1 / 2]),
});
const ofTask = (values: number[], task: number) => values.filter((_, i) => rowTasks[Math.floor(i / 20)] === task);
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

for (const backend of await availableBackends()) {
  t.test(backend, async (t) => {
    await tf.setBackend(backend);
    const is = (loss: () => tf.Scalar, expected: number, what: string) => {
      const found = tf.tidy(() => loss().dataSync()[0]!);
      t.ok(Math.abs(found - expected) < 1e-5, `${what}: ${found} = ${expected}`);
    };

    t.test('values', async () => {
      const [p, q] = [a.map(sigmoid), b.map(sigmoid)];
      is(() => supervisedLoss(tensor(a), tensor(y)).dice, plainDice(p, y), 'Dice of L_sup');
      is(() => supervisedLoss(tensor(a), tensor(y)).crossEntropy, plainCrossEntropy(p, y), 'cross-entropy of L_sup');
      is(() => syntheticLoss(tensor(a), tensor(y)), plainDice(p, y), 'L_syn');
      const parts = () =>
        [
          { logits: tensor(a), target: tensor(y) },
          { logits: tensor(b), target: tensor(z) },
        ] as const;
      const halves = (plainDice(p, y) + plainDice(q, z)) / 2;
      is(() => auxiliaryLoss(...parts(), false), halves, 'L_aux');
      is(
        () => auxiliaryLoss(...parts(), true),
        halves + (plainCrossEntropy(p, y) + plainCrossEntropy(q, z)) / 2,
        'L_aux with cross-entropy',
      );
      is(
        () => cubeLoss(tensor(a), tensor(y), tensor(inside)),
        plainDice(
          p.map((value, i) => value * inside[i]!),
          y.map((value, i) => value * inside[i]!),
        ),
        'L_cube',
      );
      // outside the cube only, against what the average finds: foreground where its probability is above one half
      const outside = inside.map((value) => 1 - value);
      const found = b.map((value) => (sigmoid(value) > 0.5 ? 1 : 0));
      const there = p.flatMap((value, i) => (outside[i] === 1 ? [value] : []));
      const foundThere = found.filter((_, i) => outside[i] === 1);
      is(
        () => teacherLoss(tensor(a), pseudoLabel(tensor(b), 'hard', 0), tensor(outside), 'dice-cross-entropy'),
        plainDice(there, foundThere) + plainCrossEntropy(there, foundThere),
        'L_teacher',
      );
    });

    t.test('Dice per task: the mean over the tasks that occur, each over its own rows', async () => {
      const [p, q] = [a.map(sigmoid), b.map(sigmoid)];
      const perTask = (p: number[], y: number[]) => mean([0, 2].map((k) => plainDice(ofTask(p, k), ofTask(y, k))));
      const counted = (values: number[]) => [...ofTask(values, 0), ...ofTask(values, 2)];
      const supervised = () => supervisedLoss(rowTensor(a), rowTensor(y), undefined, byTask());
      is(() => supervised().dice, perTask(p, y), 'Dice of L_sup');
      is(
        () => supervised().crossEntropy,
        plainCrossEntropy(counted(p), counted(y)),
        'cross-entropy over rows that count',
      );
      // The rows of a are 0, 1, 2, those of b are 3, 4, 5.
      const halves = (values: number[]) =>
        [values.slice(0, 60), values.slice(60)].map((half) => tf.tensor(half, [3, 4, 5, 1])) as [tf.Tensor, tf.Tensor];
      const auxiliary = (withCrossEntropy: boolean) => {
        const [logits, target] = [halves(a), halves(y)];
        const parts = [0, 1].map((i) => ({ logits: logits[i]!, target: target[i]! }));
        return auxiliaryLoss(parts[0]!, parts[1]!, withCrossEntropy, undefined, byTask());
      };
      is(() => auxiliary(false), perTask(p, y), 'L_aux');
      is(() => auxiliary(true), perTask(p, y) + plainCrossEntropy(counted(p), counted(y)), 'L_aux with cross-entropy');
      const within = (values: number[]) => values.map((value, i) => value * inside[i]!);
      const there = (values: number[]) => counted(values).filter((_, i) => counted(inside)[i] === 1);
      is(
        () => cubeTasksLoss(rowTensor(a), rowTensor(y), rowTensor(inside), byTask()),
        perTask(within(p), within(y)) + plainCrossEntropy(there(p), there(y)),
        'L_cubeTasks',
      );
      is(
        () => teacherLoss(rowTensor(a), { target: rowTensor(q) }, undefined, 'squares', byTask()),
        mean(counted(p).map((value, i) => (value - counted(q)[i]!) ** 2)),
        'mean squares over rows that count',
      );
      const scaled = () =>
        teacherLoss(rowTensor(a), { target: rowTensor(q) }, undefined, 'scaled-squares-cross-entropy', byTask());
      is(scaled, perTask(p, q) + plainCrossEntropy(counted(p), counted(q)), 'the value of Dice, and cross-entropy');
      is(
        () => cubeTasksLoss(tensor(a), tensor(y), tensor(inside)),
        plainDice(within(p), within(y)) +
          plainCrossEntropy(
            p.filter((_, i) => inside[i] === 1),
            y.filter((_, i) => inside[i] === 1),
          ),
        'over the batch',
      );
    });

    t.test('L_agree: the synthetic task of the mix against what was found before', async () => {
      const [p, q] = [a.map(sigmoid), b.map(sigmoid)];
      const within = (values: number[]) => values.map((value, i) => value * inside[i]!);
      const soft = () => pseudoLabel(tensor(b), 'soft', 0);
      is(() => agreementLoss(tensor(a), soft(), tensor(inside), 'dice'), plainDice(within(p), within(q)), 'soft');
      const hard = q.map((value) => Number(value > 0.5));
      const agreement = () => agreementLoss(tensor(a), pseudoLabel(tensor(b), 'hard', 0), undefined, 'dice');
      is(agreement, plainDice(p, hard), 'hard, everywhere');
      is(() => agreementLoss(tensor(b), soft(), tensor(inside), 'dice'), 0, 'the same prediction');
      const sure = q.map((value, i) => Number(Math.max(value, 1 - value) >= 0.8) * inside[i]!);
      const squares = p.map((value, i) => sure[i]! * (value - q[i]!) ** 2).reduce((sum, value) => sum + value, 0);
      is(
        () => agreementLoss(tensor(a), pseudoLabel(tensor(b), 'soft', 0.8), tensor(inside), 'squares'),
        squares / sure.reduce((sum, value) => sum + value, 0),
        'where it is sure',
      );
      const nowhere = () => ({ target: tensor(hard), counted: tf.zeros(shape) });
      for (const form of Object.keys(consistencyForms) as ConsistencyForm[])
        is(() => agreementLoss(tensor(a), nowhere(), tensor(inside), form), 0, `${form} where no voxel counts`);
    });

    t.test('voxels count by confidence and by entropy', async (t) => {
      const logits = [-3, -1.4, -1.3, 0, 1.3, 1.4, 3];
      const label = (kind: 'hard' | 'soft', confidence: number) => pseudoLabel(tf.tensor1d(logits), kind, confidence);
      const read = (f: () => tf.Tensor | undefined) => tf.tidy(() => [...(f()?.dataSync() ?? [])]);
      t.same(
        read(() => label('hard', 0).target),
        [0, 0, 0, 0, 1, 1, 1],
      );
      t.equal(label('hard', 0.5).counted, undefined, 'up to one half all voxels count');
      t.same(
        read(() => label('hard', 0.8).counted),
        [1, 1, 0, 0, 0, 1, 1],
        '0.8 is a logit of 1.386',
      );
      read(() => label('soft', 0).target).forEach((value, i) => {
        t.ok(Math.abs(value - sigmoid(logits[i]!)) < 1e-6);
      });
      const entropy = (q: number) => -q * Math.log(q) - (1 - q) * Math.log(1 - q);
      for (const share of [0.2, 0.75, 0.95]) {
        const probabilities = [0.001, 0.02, 0.2, 0.45, 0.6, 0.9, 0.999];
        const expected = probabilities.map((q) => Number(entropy(q) < share * Math.LN2));
        t.same(
          read(() => certain(tf.tensor1d(probabilities), tf.scalar(share))),
          expected,
          `below ${share} ln 2`,
        );
      }
    });

    t.test('L_unsup compares with the largest of the real tasks', async () => {
      const c = logitsOf(6);
      const all = () => tf.stack([tensor(a), tensor(b), tensor(c)], 1) as tf.Tensor5D;
      const largest = a.map((value, i) => sigmoid(Math.max(value, b[i]!)));
      const expected = plainDice(c.map(sigmoid), largest);
      for (const mode of ['both', 'stop'] as const)
        is(() => unsupervisedLoss(all(), 2, ofPrompt(all(), 2), mode), expected, `L_unsup, ${mode}`);
    });

    t.test('the limits: perfect, empty, opposite', async () => {
      const sure = y.map((value) => (value === 1 ? 40 : -40));
      is(() => dice(overlap(tensor(sure), tensor(y))), 0, 'perfect');
      is(() => dice(overlap(tensor(y.map(() => -40)), tensor(y.map(() => 0)))), 0, 'both empty');
      is(() => dice(overlap(tensor(y.map(() => 40)), tensor(y.map(() => 0)))), 1, 'nothing there');
      is(() => crossEntropy(overlap(tensor(y.map(() => 40)), tensor(y.map(() => 0)))), 40, 'wrong and sure');
    });

    t.test('the gradient stops at the aggregate only where asked', async (t) => {
      const c = logitsOf(6);
      const gradient = (mode: 'both' | 'stop') =>
        tf.tidy(() => {
          const all = tf.stack([tensor(a), tensor(b), tensor(c)], 1) as tf.Tensor5D;
          const of = (x: tf.Tensor) => unsupervisedLoss(x as tf.Tensor5D, 2, ofPrompt(x as tf.Tensor5D, 2), mode);
          return tf.unstack(tf.grad(of)(all), 1).map((part) => [...part.dataSync()]);
        });
      const [both, stopped] = [gradient('both'), gradient('stop')];
      t.ok(both[0]!.some((value) => value !== 0));
      t.ok([...stopped[0]!, ...stopped[1]!].every((value) => value === 0));
      t.same(stopped[2], both[2]);
      t.ok(
        both[0]!.every((value, i) => value === 0 || a[i]! >= b[i]!),
        'only to the task that attains the maximum',
      );
    });

    t.test('voxels whose label is unknown count in no loss', async (t) => {
      const known = tensor(inside);
      const counting = (values: number[]) => values.filter((_, i) => inside[i] === 1);
      const [pa, pb] = [counting(a.map(sigmoid)), counting(b.map(sigmoid))];
      const [ya, za] = [counting(y), counting(z)];
      const value = (loss: tf.Scalar) => loss.dataSync()[0]!;
      const near = (found: number, expected: number, name: string) =>
        t.ok(Math.abs(found - expected) < 1e-5, `${name}: ${found} = ${expected}`);
      tf.tidy(() => {
        const supervised = supervisedLoss(tensor(a), tensor(y), known);
        near(value(supervised.dice), plainDice(pa, ya), 'Dice');
        near(value(supervised.crossEntropy), plainCrossEntropy(pa, ya), 'cross-entropy');
        near(value(syntheticLoss(tensor(a), tensor(y), known)), plainDice(pa, ya), 'L_syn');
        const parts = [
          { logits: tensor(a), target: tensor(y) },
          { logits: tensor(b), target: tensor(z) },
        ] as const;
        near(value(auxiliaryLoss(...parts, false, known)), (plainDice(pa, ya) + plainDice(pb, za)) / 2, 'L_aux');
        const losses = (x: tf.Tensor) => {
          const { dice, crossEntropy } = supervisedLoss(x, tensor(y), known);
          return tf.add(dice, crossEntropy) as tf.Scalar;
        };
        const gradient = tf.grad(losses)(tensor(a)).dataSync();
        t.ok(
          inside.every((one, i) => (one === 0 ? gradient[i] === 0 : gradient[i] !== 0)),
          'the gradient is 0 at unknown voxels alone',
        );
        const nothing = (x: tf.Tensor) => {
          const { dice, crossEntropy } = supervisedLoss(x, tensor(y), tf.zerosLike(known));
          return tf.add(dice, crossEntropy) as tf.Scalar;
        };
        t.equal(value(nothing(tensor(a))), 0, 'nothing known, nothing lost');
        t.ok(
          tf
            .grad(nothing)(tensor(a))
            .dataSync()
            .every((one) => one === 0),
        );
      });
    });

    t.test('gradients by finite differences', async (t) => {
      const c = logitsOf(6);
      const losses: Record<string, (x: tf.Tensor) => tf.Scalar> = {
        dice: (x) => supervisedLoss(x, tensor(y)).dice,
        crossEntropy: (x) => supervisedLoss(x, tensor(y)).crossEntropy,
        known: (x) => {
          const { dice, crossEntropy } = supervisedLoss(x, tensor(y.map((value) => value * 0.7 + 0.1)), tensor(inside));
          return tf.add(dice, crossEntropy);
        },
        cube: (x) => cubeLoss(x, tensor(y), tensor(inside)),
        teacher: (x) => teacherLoss(x, pseudoLabel(tensor(b), 'hard', 0), tensor(inside), 'dice-cross-entropy'),
        'supervised, per task': (x) => {
          const loss = supervisedLoss(tf.reshape(x, rowShape), rowTensor(y), undefined, byTask());
          return tf.add(loss.dice, loss.crossEntropy);
        },
        cubeTasks: (x) => cubeTasksLoss(tf.reshape(x, rowShape), rowTensor(y), rowTensor(inside), byTask()),
        'agreement, dice': (x) => agreementLoss(x, pseudoLabel(tensor(b), 'soft', 0), tensor(inside), 'dice'),
        'agreement, squares': (x) => agreementLoss(x, pseudoLabel(tensor(b), 'soft', 0.7), undefined, 'squares'),
        'agreement, both': (x) =>
          agreementLoss(x, pseudoLabel(tensor(b), 'hard', 0.7), tensor(inside), 'dice-cross-entropy'),
        auxiliary: (x) =>
          auxiliaryLoss({ logits: x, target: tensor(y) }, { logits: tf.mul(x, 0.5), target: tensor(z) }, true),
        unsupervised: (x) => {
          const all = tf.stack([x, tensor(b), tensor(c)], 1) as tf.Tensor5D;
          return unsupervisedLoss(all, 2, ofPrompt(all, 2), 'both');
        },
      };
      const direction = [...wave(count, 9)];
      for (const [name, loss] of Object.entries(losses)) {
        const at = (shift: number) =>
          tf.tidy(() => loss(tensor(a.map((value, i) => value + shift * direction[i]!))).dataSync()[0]!);
        const step = 2e-3;
        const slope = (at(step) - at(-step)) / (2 * step);
        const gradient = tf.tidy(() => tf.grad(loss)(tensor(a)).dataSync()) as Float32Array;
        const along = gradient.reduce((sum, value, i) => sum + value * direction[i]!, 0);
        t.ok(Math.abs(along - slope) < 2e-4 + 0.02 * Math.abs(slope), `${name}: ${along} = ${slope}`);
      }
    });

    t.test(
      'squares over the size of both sides: the size is a constant, so that nothing is gained by more foreground',
      async (t) => {
        const [p, q] = [a.map(sigmoid), b.map(sigmoid)];
        const size = p.reduce((sum, value, i) => sum + value ** 2 + q[i]! ** 2, 0);
        const loss = (target: number[], form: ConsistencyForm) => (x: tf.Tensor) =>
          agreementLoss(x, { target: tensor(target) }, undefined, form);
        const slopes = (of: (x: tf.Tensor) => tf.Scalar, at: number[]) =>
          tf.tidy(() => tf.grad(of)(tensor(at)).dataSync()) as Float32Array;
        const found = slopes(loss(q, 'scaled-squares'), a);
        const expected = p.map((value, i) => (2 * (value - q[i]!) * value * (1 - value)) / size);
        const error = Math.max(...expected.map((value, i) => Math.abs(value - found[i]!)));
        t.ok(error < 1e-6, `largest difference ${error}`);
        // Half of the voxels are foreground and nothing tells which: 1/2 everywhere is right.
        const half = a.map(() => 0);
        const pull = (form: ConsistencyForm) => {
          const even = a.map((_, i) => i % 2);
          return slopes(loss(even, form), half).reduce((sum, slope) => sum + slope, 0);
        };
        t.ok(Math.abs(pull('scaled-squares')) < 1e-6, `scaled-squares stays: ${pull('scaled-squares')}`);
        t.ok(pull('dice') < -0.1, `Dice wants more foreground: ${pull('dice')}`);
      },
    );
  });
}
