// Every formula against plain sums in double precision, and every gradient against finite differences.
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { auxiliaryLoss } from '../../src/losses/auxiliary.js';
import { crossEntropy } from '../../src/losses/cross-entropy.js';
import { cubeLoss } from '../../src/losses/cube.js';
import { dice } from '../../src/losses/dice.js';
import { ofPrompt, overlap } from '../../src/losses/overlap.js';
import { supervisedLoss } from '../../src/losses/supervised.js';
import { syntheticLoss } from '../../src/losses/synthetic.js';
import { teacherLoss, teacherTarget } from '../../src/losses/teacher.js';
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
  return p.reduce((sum, value, i) => sum - (t[i] === 1 ? Math.log(value) : Math.log(1 - value)), 0) / p.length;
}

const tensor = (values: number[]) => tf.tensor(values, shape);

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
        () => teacherLoss(tensor(a), teacherTarget(tensor(b)), tensor(outside)),
        plainDice(there, foundThere) + plainCrossEntropy(there, foundThere),
        'L_teacher',
      );
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
        teacher: (x) => teacherLoss(x, teacherTarget(tensor(b)), tensor(inside)),
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
  });
}
