import t from 'tap';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import type { PreprocessedCase } from '../../src/preprocessing/preprocessed-case.js';
import { batchBytes, fieldShape, fieldsOf, type StepBatch } from '../../src/sampling/fields.js';
import { besidePartners, pairsOfOneDataset } from '../../src/sampling/partners.js';
import { partnerOf } from '../../src/sampling/recipe.js';
import { createSampler } from '../../src/sampling/sampler.js';
import type { Triple } from '../../src/volume/volume.js';
import { chiSquare, chiSquareLimit, makeCase, makePlan } from './sampling-support.js';

const code = (x: number, y: number, z: number) => 1 + x + 100 * y + 10000 * z;

/** Voxel x, y, z of patch n of an array [N, V]. */
function at(array: Float32Array, n: number, [sizeX, sizeY, sizeZ]: Triple, x: number, y: number, z: number): number {
  return array[((n * sizeZ + z) * sizeY + y) * sizeX + x]!;
}

function* voxels([sizeX, sizeY, sizeZ]: Triple): Generator<Triple> {
  for (let z = 0; z < sizeZ; z++) for (let y = 0; y < sizeY; y++) for (let x = 0; x < sizeX; x++) yield [x, y, z];
}

/** Two datasets, one with two tasks, and unlabelled cases; images that tell where each voxel comes from. */
function example(settings: Readonly<Record<string, unknown>> = {}, patch: Triple = [8, 6, 4]) {
  const plan = makePlan({ heart: [[1], [2]], liver: [[3, 4]] }, patch, {
    training: { labeledBatchSize: 6, unlabeledBatchSize: 4, stage1Steps: 0, stage2Steps: 20 },
    losses: { auxiliaryInStage2: true },
    ...settings,
  });
  const heart = (i: number, size: Triple) =>
    makeCase(
      'heart',
      `h${i}`,
      size,
      (x, y, z) => code(x, y, z) + i * 1e6,
      (x, y) => ((x + i) % 3 === 0 ? 1 : y % 3 === 0 ? 2 : 0),
    );
  const liver = (i: number, size: Triple) =>
    makeCase(
      'liver',
      `l${i}`,
      size,
      (x, y, z) => code(x, y, z) + i * 2e6,
      (x, y, z) => [0, 3, 4, 9][(x + y + z + i) % 4]!,
    );
  const labeled = [
    heart(1, [12, 9, 7]),
    heart(2, [8, 6, 4]),
    liver(1, [10, 11, 12]),
    liver(2, [9, 6, 5]),
    liver(3, [20, 8, 6]),
  ];
  const unlabeled = [1, 2, 3].map((i) =>
    makeCase(i === 1 ? 'heart' : 'liver', `u${i}`, [14, 9, 6], (x, y, z) => -code(x, y, z) - i * 1e6),
  );
  return { plan, patch, data: { labeled, unlabeled } };
}

t.test('every valid position of a patch is reached, equally often', async (t) => {
  const size: Triple = [11, 8, 6];
  const patch: Triple = [8, 6, 6];
  const plan = makePlan({ a: [[1]] }, patch, { training: { labeledBatchSize: 8 } });
  const one = makeCase('a', '1', size, code, () => 1);
  const sampler = createSampler(plan, { labeled: [one], unlabeled: [one] });
  const counts = new Array<number>(4 * 3).fill(0);
  for (let step = 0; step < 300; step++) {
    for (const { begin } of sampler.recipe(step).labeled) {
      t.equal(begin[2], 0);
      counts[begin[0] + 4 * begin[1]]!++;
    }
  }
  t.ok(
    counts.every((count) => count > 0),
    'also the last one, which holds the last voxel',
  );
  t.ok(chiSquare(counts) < chiSquareLimit(counts.length - 1), `chi-square ${chiSquare(counts)}`);
});

t.test('every position of the cube is reached, equally often, and its side is floor(patch * ratio)', async (t) => {
  const patch: Triple = [6, 4, 8];
  const plan = makePlan({ a: [[1]], b: [[1]] }, patch, {
    training: { labeledBatchSize: 8, unlabeledBatchSize: 8 },
    cutmix: { stage1Ratio: 0.6, stage2Ratio: [0.3, 0.9] },
  });
  const cases = ['a', 'b'].map((name) => makeCase(name, '1', patch, code, () => 1));
  const data = { labeled: cases, unlabeled: cases };
  const sampler = createSampler(plan, data);
  const counts = new Array<number>(4 * 3 * 5).fill(0);
  for (let step = 0; step < 400; step++) {
    for (const { cube } of sampler.recipe(step).mixed) {
      t.same(cube.sizeVoxels, [3, 2, 4], 'floor(6 * 0.6), floor(4 * 0.6), floor(8 * 0.6)');
      counts[cube.begin[0] + 4 * (cube.begin[1] + 3 * cube.begin[2])]!++;
    }
  }
  t.ok(counts.every((count) => count > 0));
  t.ok(chiSquare(counts) < chiSquareLimit(counts.length - 1), `chi-square ${chiSquare(counts)}`);
  const sides = new Set<number>();
  const second = createSampler({ ...plan, training: { ...plan.training, stage1Steps: 0 } }, data);
  for (let step = 0; step < 100; step++) {
    const { mixed, unlabeledMixes } = second.recipe(step);
    for (const { cube } of [...mixed, ...unlabeledMixes]) {
      sides.add(cube.sizeVoxels[2]);
      t.ok(cube.begin.every((begin, axis) => begin >= 0 && begin + cube.sizeVoxels[axis]! <= patch[axis]!));
    }
  }
  t.same([...sides].sort(), [2, 3, 4, 5, 6, 7], 'all sides from floor(8 * 0.3) to floor(8 * 0.9)');
});

t.test('datasets, cases and tasks are balanced; pairs come from different datasets', async (t) => {
  for (const names of [
    ['a', 'b'],
    ['a', 'b', 'c'],
  ]) {
    const tasks = Object.fromEntries(names.map((name, i) => [name, i === 0 ? [[1], [2], [3]] : [[1]]]));
    const plan = makePlan(tasks, [4, 4, 4], {
      training: { labeledBatchSize: 6, unlabeledBatchSize: 4, stage1Steps: 0 },
    });
    const labeled = names.flatMap((name, i) =>
      Array.from({ length: 2 + 3 * i }, (_, j) => makeCase(name, `${j}`, [5, 5, 5], code, () => 1)),
    );
    const sampler = createSampler(plan, { labeled, unlabeled: labeled });
    const perCase = new Map<number, number>();
    const perTask = new Array<number>(plan.tasks.length).fill(0);
    const steps = 210;
    for (let step = 0; step < steps; step++) {
      const { labeled: patches, mixed } = sampler.recipe(step);
      for (const { caseIndex, task } of patches) {
        perCase.set(caseIndex, (perCase.get(caseIndex) ?? 0) + 1);
        perTask[task]!++;
        t.equal(plan.tasks[task]!.dataset, labeled[caseIndex]!.dataset);
      }
      for (const { outside, inside } of mixed) {
        t.equal(inside, outside + 3);
        t.not(labeled[patches[outside]!.caseIndex]!.dataset, labeled[patches[inside]!.caseIndex]!.dataset);
      }
    }
    const perDataset = (6 * steps) / names.length;
    for (const [index, one] of labeled.entries()) {
      const share = perDataset / labeled.filter((other) => other.dataset === one.dataset).length;
      t.ok(
        Math.abs(perCase.get(index)! - share) <= 1,
        `case ${one.dataset}/${one.id}: ${perCase.get(index)} of ${share}`,
      );
    }
    t.ok(
      perTask.slice(0, 3).every((count) => Math.abs(count - perDataset / 3) <= 1),
      'tasks of one dataset',
    );
  }
});

t.test('partners of one dataset, each case as often as without', async (t) => {
  const names = ['a', 'b', 'c'];
  const cases = names.flatMap((name) => [0, 1].map((j) => makeCase(name, `${j}`, [5, 5, 5], code, () => 1)));
  const without = cases.filter(({ dataset }) => dataset !== 'c');
  const recipes = (unlabeled: PreprocessedCase[], cutmix: object) => {
    const plan = makePlan(Object.fromEntries(names.map((name) => [name, [[1]]])), [4, 4, 4], {
      training: { labeledBatchSize: 6, unlabeledBatchSize: 6, stage1Steps: 0, stage2Steps: 60 },
      cutmix,
    });
    const sampler = createSampler(plan, { labeled: cases, unlabeled });
    return Array.from({ length: 60 }, (_, step) => sampler.recipe(step));
  };
  const together = recipes(cases, { partners: 'same-dataset' });
  for (const { labeled, mixed, unlabeled, unlabeledMixes } of together) {
    const of = ({ caseIndex }: { caseIndex: number }) => cases[caseIndex]!.dataset;
    for (const { outside, inside } of mixed) t.equal(of(labeled[outside]!), of(labeled[inside]!));
    for (const { outside, inside } of unlabeledMixes) t.equal(of(unlabeled[outside]!), of(labeled[inside]!));
  }
  const drawn = (all: typeof together) =>
    all.map(({ labeled, unlabeled }) => [labeled, unlabeled].map((some) => some.map((one) => one.caseIndex).sort()));
  t.same(drawn(together), drawn(recipes(cases, { partners: 'any' })), 'the same cases in each step');
  const pairs = recipes(cases, { partners: 'same-dataset', unlabeledMix: 'unlabeled-pairs' });
  for (const { unlabeled } of pairs)
    for (let i = 0; i < 3; i++)
      t.equal(cases[unlabeled[i]!.caseIndex]!.dataset, cases[unlabeled[i + 3]!.caseIndex]!.dataset);
  // c has no unlabelled case: its labelled patches get what is left.
  for (const { labeled, unlabeled } of recipes(without, { partners: 'same-dataset' })) {
    const wanted = labeled.map(({ caseIndex }) => cases[caseIndex]!.dataset);
    const found = unlabeled.map(({ caseIndex }) => without[caseIndex]!.dataset);
    for (const name of ['a', 'b'])
      t.equal(wanted.filter((one, i) => one === name && found[i] === name).length, 2, 'both of each');
  }
});

t.test('the draws of a step in pairs, and beside their partners', async (t) => {
  t.same(pairsOfOneDataset(['a', 'b', 'a', 'c', 'b', 'd']), [0, 1, 3, 2, 4, 5]);
  t.same(pairsOfOneDataset(['a', 'b', 'a', 'a', 'a']), [0, 3, 2, 4, 1], 'an odd batch');
  t.same(pairsOfOneDataset([]), []);
  t.same(besidePartners(['a', 'b', 'c', 'a'], ['c', 'd', 'a', 'e']), [2, 1, 0, 3]);
});

t.test('a batch is a pure function of seed and step', async (t) => {
  const settings = (stage1Steps: number) => ({
    training: { labeledBatchSize: 6, unlabeledBatchSize: 4, stage1Steps, stage2Steps: 4 },
    augmentation: { flip: [true, true, true], intensityScale: 0.2, noise: 0.1 },
  });
  const { plan, data } = example(settings(3));
  const copy = (batch: StepBatch) => structuredClone(batch);
  const first = createSampler(plan, data);
  const inOrder = [0, 1, 2, 3, 4].map((step) => copy(first.batch(step)));
  const second = createSampler(plan, data);
  for (const step of [3, 1, 0, 2, 4, 1]) t.same(copy(second.batch(step)), inOrder[step], `step ${step}`);
  t.notSame(inOrder[0]!.fields['labeled.image'], inOrder[1]!.fields['labeled.image']);
  const early = createSampler(example(settings(2)).plan, data).batch(2);
  for (const name of ['labeled.image', 'labeled.target'] as const)
    t.same(early.fields[name], inOrder[2]!.fields[name], `${name} does not depend on the stage`);
  const otherSeed = createSampler({ ...plan, seed: 8 }, data);
  t.notSame(copy(otherSeed.batch(0)).fields['labeled.image'], inOrder[0]!.fields['labeled.image']);
  t.equal(inOrder[0]!.fields['unlabeled.image'], undefined);
  t.same(inOrder[0]!.caseIds.map((id) => id.split('/')[0]).sort(), [
    'heart',
    'heart',
    'heart',
    'liver',
    'liver',
    'liver',
  ]);
  t.throws(() => first.batch(7), { code: 'VERSEMI_INTERNAL' }, 'a step after the last');
});

t.test('a step has the fields that its terms read, and the block of a plan holds those of all its steps', async (t) => {
  const names = (plan: Plan, step: number) => fieldsOf(plan, step).map((name) => name.replace(/.*[.]/, ''));
  const settings = { training: { labeledBatchSize: 6, unlabeledBatchSize: 4, stage1Steps: 2, stage2Steps: 2 } };
  const voxels = 8 * 6 * 4;
  const { plan, data } = example({ ...settings, losses: { teacher: 1, auxiliaryInStage2: false } });
  t.same(names(plan, 1), ['image', 'target', 'image', 'anyForeground', 'targetA', 'targetB']);
  const second = ['image', 'target', 'image', 'anyForeground', 'image', 'partner', 'cubeLabel', 'clean'];
  t.same(names(plan, 2), second);
  t.equal(batchBytes(plan), 4 * voxels * (6 + 6 + 4 * 3 + 4 * 4));
  const { fields } = createSampler(plan, data).batch(2);
  t.same(Object.keys(fields), fieldsOf(plan, 2));
  for (const name of fieldsOf(plan, 2))
    t.equal(
      fields[name]!.length,
      fieldShape(plan, name).reduce((a, b) => a * b),
      name,
    );
  const alone = example({ ...settings, losses: { cube: 0, unsupervised: 0, synthetic: 0 } }).plan;
  t.same(
    [names(alone, 1), names(alone, 2)],
    [
      ['image', 'target', 'image', 'targetA', 'targetB'],
      ['image', 'target'],
    ],
  );
  const supervised = example({ training: { ...settings.training, mode: 'supervised' } }).plan;
  t.equal(batchBytes(supervised), 4 * voxels * 12);
});

t.test('arrays hold for as many further batches as there are buffers', async (t) => {
  const { plan, data } = example();
  const sampler = createSampler(plan, data, { buffers: 2 });
  const first = sampler.batch(0).fields['labeled.image']!;
  const kept = first.slice();
  sampler.batch(1);
  t.same(first, kept);
  t.equal(sampler.batch(2).fields['labeled.image']!.buffer, first.buffer, 'then the memory is used again');
});

/** What the labels of a dataset's tasks say about a voxel of a labelled case. */
function foreground(plan: Plan, one: PreprocessedCase, voxel: number, task?: number): number {
  const value = one.label![voxel]!;
  const tasks = plan.tasks.filter((other, i) => other.dataset === one.dataset && (task === undefined || task === i));
  return tasks.some(({ labels }) => labels.includes(value)) ? 1 : 0;
}

t.test('patches, targets and mixes are what the recipe says, voxel by voxel', async (t) => {
  const { plan, patch, data } = example();
  const sampler = createSampler(plan, data);
  const sameDataset = example({ training: { labeledBatchSize: 4, unlabeledBatchSize: 2, stage1Steps: 0 } });
  const onlyHeart = { labeled: data.labeled.slice(0, 2), unlabeled: data.unlabeled };
  const withTeacher = example({
    training: { labeledBatchSize: 6, unlabeledBatchSize: 4, promptsPerImage: 'all', stage1Steps: 0 },
    losses: { teacher: 1, auxiliaryInStage2: true },
  });
  const bothSides = example({
    training: { labeledBatchSize: 4, unlabeledBatchSize: 3, stage1Steps: 0 },
    cutmix: { unlabeledMix: 'both-sides' },
    losses: { auxiliaryInStage2: true },
  });
  const samplers = [
    { plan, sampler, data },
    { plan: bothSides.plan, sampler: createSampler(bothSides.plan, data), data },
    { plan: withTeacher.plan, sampler: createSampler(withTeacher.plan, data), data },
    { plan: sameDataset.plan, sampler: createSampler(sameDataset.plan, onlyHeart), data: onlyHeart },
  ];
  let both = 0;
  for (const { plan, sampler, data } of samplers) {
    for (let step = 0; step < 6; step++) {
      const recipe = sampler.recipe(step);
      const { fields, prompts } = sampler.batch(step);
      const source = (n: number, [x, y, z]: Triple) => {
        const { caseIndex, begin } = recipe.labeled[n]!;
        const one = data.labeled[caseIndex]!;
        const [sx, sy, sz] = [x + begin[0], y + begin[1], z + begin[2]];
        const inside =
          sx >= 0 && sy >= 0 && sz >= 0 && sx < one.sizeVoxels[0] && sy < one.sizeVoxels[1] && sz < one.sizeVoxels[2];
        return { one, voxel: inside ? sx + one.sizeVoxels[0] * (sy + one.sizeVoxels[1] * sz) : -1 };
      };
      const truth = (n: number, voxel: Triple, task?: number) => {
        const { one, voxel: index } = source(n, voxel);
        return index < 0 ? 0 : foreground(plan, one, index, task);
      };
      let wrong = 0;
      const check = (found: number, expected: number) => {
        if (found !== Math.fround(expected)) wrong++;
      };
      for (const v of voxels(patch)) {
        for (let n = 0; n < recipe.labeled.length; n++) {
          const { one, voxel } = source(n, v);
          check(at(fields['labeled.image']!, n, patch, ...v), voxel < 0 ? 0 : one.image[voxel]!);
          const { tasks } = recipe.labeled[n]!;
          for (const [p, task] of tasks.entries())
            check(at(fields['labeled.target']!, n * tasks.length + p, patch, ...v), truth(n, v, task));
        }
        const within = ({ begin, sizeVoxels }: { begin: Triple; sizeVoxels: Triple }) =>
          v.every((c, axis) => c >= begin[axis]! && c < begin[axis]! + sizeVoxels[axis]!);
        for (const [i, { outside, inside, cube }] of recipe.mixed.entries()) {
          const from = within(cube) ? inside : outside;
          const [taskA, taskB] = [recipe.labeled[outside]!.task, recipe.labeled[inside]!.task];
          check(at(fields['mixed.image']!, i, patch, ...v), at(fields['labeled.image']!, from, patch, ...v));
          check(at(fields['mixed.anyForeground']!, i, patch, ...v), truth(from, v));
          const known = plan.tasks[taskA]!.dataset === plan.tasks[taskB]!.dataset;
          check(at(fields['mixed.targetA']!, i, patch, ...v), known || !within(cube) ? truth(from, v, taskA) : 0);
          check(at(fields['mixed.targetB']!, i, patch, ...v), known || within(cube) ? truth(from, v, taskB) : 0);
          if (known) both++;
        }
        for (const [i, { outside, inside, cube, swapped = false }] of recipe.unlabeledMixes.entries()) {
          const isPartner = within(cube) !== swapped;
          const patchRecipe = recipe.unlabeled[outside]!;
          const one = data.unlabeled[patchRecipe.caseIndex]!;
          const [x, y, z] = v.map((c, axis) => c + patchRecipe.begin[axis]!) as unknown as Triple;
          const own = one.image[x + one.sizeVoxels[0] * (y + one.sizeVoxels[1] * z)]!;
          check(
            at(fields['unlabeled.image']!, i, patch, ...v),
            isPartner ? at(fields['labeled.image']!, inside, patch, ...v) : own,
          );
          check(at(fields['unlabeled.partner']!, i, patch, ...v), isPartner ? 1 : 0);
          if (fields['unlabeled.clean'] !== undefined) check(at(fields['unlabeled.clean'], i, patch, ...v), own);
          check(at(fields['unlabeled.cubeLabel']!, i, patch, ...v), isPartner ? truth(inside, v) : 0);
        }
      }
      t.equal(wrong, 0, `step ${step}`);
      t.equal(fields['unlabeled.clean'] !== undefined, plan.losses.teacher > 0);
      t.same(
        prompts.mixed,
        recipe.mixed.map(({ outside, inside }) => [recipe.labeled[outside]!.task, recipe.labeled[inside]!.task]),
      );
    }
  }
  t.ok(both > 0, 'pairs of one dataset were among them');
});

t.test('an image is prompted with one task of its dataset, or with all of them', async (t) => {
  const { plan, data } = example({
    training: { labeledBatchSize: 6, unlabeledBatchSize: 4, promptsPerImage: 'all', stage1Steps: 0 },
    losses: { teacher: 1, auxiliaryInStage2: true },
  });
  const sampler = createSampler(plan, data);
  const one = createSampler(example().plan, data);
  const own = (dataset: string) => plan.tasks.flatMap((task, i) => (task.dataset === dataset ? [i] : []));
  for (let step = 0; step < 4; step++) {
    const [all, single] = [sampler.recipe(step), one.recipe(step)];
    const { prompts } = sampler.batch(step);
    t.same(
      prompts.labeled,
      all.labeled.map(({ tasks }) => tasks),
    );
    t.same(
      prompts.unlabeled,
      all.unlabeled.map(({ tasks }) => tasks),
    );
    for (const [i, { task, tasks, caseIndex }] of all.labeled.entries()) {
      t.equal(tasks.length, 2, 'as many for each image');
      t.equal(tasks[0], task);
      t.equal(task, single.labeled[i]!.task, 'the drawn task is the same in both');
      t.same(single.labeled[i]!.tasks, [task]);
      t.same(new Set(tasks), new Set(own(data.labeled[caseIndex]!.dataset)));
    }
    for (const { tasks, caseIndex } of all.unlabeled)
      t.same(new Set(tasks), new Set(own(data.unlabeled[caseIndex]!.dataset)));
  }
  const strangers = { ...plan, tasks: plan.tasks.filter(({ dataset }) => dataset === 'heart') };
  const foreign = createSampler(strangers, { labeled: data.labeled.slice(0, 2), unlabeled: data.unlabeled.slice(1) });
  for (const { tasks } of foreign.recipe(0).unlabeled)
    t.same(tasks, [2, 2], 'a dataset without tasks has the synthetic one');
});

t.test('unlabelled pairs: each image is mixed with another, and nothing is known in the cube', async (t) => {
  const { plan, patch, data } = example({ cutmix: { unlabeledMix: 'unlabeled-pairs' } });
  const sampler = createSampler(plan, data);
  const recipe = sampler.recipe(4);
  const { fields } = sampler.batch(4);
  const image = fields['unlabeled.image']!;
  t.same(
    recipe.unlabeledMixes.map(({ inside }) => inside),
    [2, 3, 0, 1],
  );
  t.equal(fields['unlabeled.cubeLabel'], undefined);
  t.ok(
    image.every((value) => value < 0),
    'no labelled voxel',
  );
  const taught = example({ cutmix: { unlabeledMix: 'unlabeled-pairs' }, losses: { teacher: 1 } });
  const clean = createSampler(taught.plan, data).batch(4).fields['unlabeled.clean']!;
  const { 'unlabeled.partner': inside } = createSampler(taught.plan, data).batch(4).fields;
  const outside = (n: number) =>
    inside!.findIndex((value, i) => i >= n * patch[0] * patch[1] * patch[2] && value === 0);
  for (const n of [0, 1, 2, 3]) t.equal(clean[outside(n)], image[outside(n)]);
  t.notSame(clean, image);
  const [first] = recipe.unlabeledMixes;
  const value = (n: number, v: Triple) => {
    const { caseIndex, begin } = recipe.unlabeled[n]!;
    const one = data.unlabeled[caseIndex]!;
    const [x, y, z] = v.map((c, axis) => c + begin[axis]!) as unknown as Triple;
    return one.image[x + one.sizeVoxels[0] * (y + one.sizeVoxels[1] * z)];
  };
  t.equal(at(image, 0, patch, ...first!.cube.begin), value(2, first!.cube.begin));
});

t.test('both sides: the labelled image lies inside and outside of the cube in turn', async (t) => {
  const training = { labeledBatchSize: 2, unlabeledBatchSize: 3, stage1Steps: 0 };
  const { plan, data } = example({ training, cutmix: { unlabeledMix: 'both-sides' } });
  const sampler = createSampler(plan, data);
  const swapped = [4, 5].map((step) => sampler.recipe(step).unlabeledMixes.map((mix) => mix.swapped === true));
  t.same(swapped, [
    [false, true, false],
    [true, false, true],
  ]);
  for (const [i, { inside }] of sampler.recipe(4).unlabeledMixes.entries()) t.equal(inside, partnerOf(i, plan));
});

t.test('no mix: unlabelled images stay whole; noise for the averaged network', async (t) => {
  const losses = { teacher: 1, teacherNoise: 0.25, noisyPasses: 2, entropy: [0.75, 1] };
  const { plan, patch, data } = example({ cutmix: { unlabeledMix: 'none' }, losses: { ...losses, unsupervised: 1 } });
  const sampler = createSampler(plan, data);
  const { fields } = sampler.batch(4);
  t.same(sampler.recipe(4).unlabeledMixes, []);
  t.same(
    [fields['unlabeled.image'], fields['unlabeled.partner'], fields['unlabeled.cubeLabel']],
    [undefined, undefined, undefined],
  );
  const voxels = patch[0] * patch[1] * patch[2];
  t.equal(fields['unlabeled.clean']!.length, 4 * voxels);
  const noise = fields['unlabeled.noise']!.slice();
  t.equal(noise.length, 3 * 4 * voxels, 'for the targets and for each noisy pass');
  const deviation = Math.sqrt(noise.reduce((sum, value) => sum + value * value, 0) / noise.length);
  t.ok(Math.abs(deviation - 0.25) < 0.02, `${deviation}`);
  const volumes = Array.from({ length: 12 }, (_, i) => noise.slice(i * voxels, (i + 1) * voxels).join());
  t.equal(new Set(volumes).size, 12, 'each its own');
  t.same(createSampler(plan, data).batch(4).fields['unlabeled.noise'], noise, 'the same in every run');
  t.notSame(sampler.batch(5).fields['unlabeled.noise'], noise, 'another in every step');
  const quiet = example({ cutmix: { unlabeledMix: 'none' }, losses: { teacher: 1 } });
  t.equal(createSampler(quiet.plan, data).batch(4).fields['unlabeled.noise'], undefined);
});

t.test('labels of unlabelled cases are never read', async (t) => {
  const { plan, data } = example();
  const forbidden = data.unlabeled.map((one) =>
    Object.defineProperties(
      { ...one },
      {
        label: { get: () => t.fail('label was read') },
        foreground: { get: () => t.fail('foreground was read') },
      },
    ),
  );
  const sampler = createSampler(plan, { labeled: data.labeled, unlabeled: forbidden });
  for (let step = 0; step < 3; step++) t.ok(sampler.batch(step).fields['unlabeled.image']);
});

t.test('a volume smaller than the patch lies in its middle, zeros round it', async (t) => {
  const patch: Triple = [8, 8, 8];
  const plan = makePlan({ a: [[1]] }, patch, { training: { mode: 'supervised', labeledBatchSize: 1 } });
  const size: Triple = [3, 8, 10];
  const one = makeCase('a', '1', size, code, () => 1);
  const sampler = createSampler(plan, { labeled: [one], unlabeled: [] });
  const { fields } = sampler.batch(0);
  const { begin } = sampler.recipe(0).labeled[0]!;
  t.same(begin.slice(0, 2), [-2, 0]);
  for (const [x, y, z] of voxels(patch)) {
    const expected = x >= 2 && x < 5 ? code(x - 2, y, z + begin[2]) : 0;
    if (at(fields['labeled.image']!, 0, patch, x, y, z) !== expected) t.fail(`voxel ${x} ${y} ${z}`);
    if (at(fields['labeled.target']!, 0, patch, x, y, z) !== (expected === 0 ? 0 : 1)) t.fail(`target ${x} ${y} ${z}`);
  }
});

t.test('foreground sampling', async (t) => {
  const patch: Triple = [4, 4, 4];
  const settings = { training: { labeledBatchSize: 4 }, augmentation: { foregroundFraction: 0.5 } };
  const plan = makePlan({ a: [[1], [2]] }, patch, settings);
  // One voxel of each label, the second in the last corner.
  const label = (x: number, y: number, z: number) =>
    x === 9 && y === 10 && z === 11 ? 1 : x === 19 && y === 19 && z === 19 ? 2 : 0;
  const one = makeCase('a', '1', [20, 20, 20], code, label);
  const sampler = createSampler(plan, { labeled: [one], unlabeled: [one] });
  let centred = 0;
  let patches = 0;
  for (let step = 0; step < 200; step++) {
    for (const { begin, task } of sampler.recipe(step).labeled) {
      const wanted = task === 0 ? [7, 8, 9] : [16, 16, 16];
      if (begin.every((b, axis) => b === wanted[axis])) centred++;
      patches++;
    }
  }
  t.ok(Math.abs(centred / patches - 0.5) < 0.06, `${centred} of ${patches} centred on their own task`);
  const none = makeCase('a', '2', [20, 20, 20], code, () => 0);
  t.ok(createSampler(plan, { labeled: [none], unlabeled: [one] }).batch(0), 'a case without the label');
});

t.test('unlabelled patches where labelled cases have foreground, as shares of the sides', async (t) => {
  const augmentation = { unlabeledForegroundFraction: 0.5 };
  const training = { unlabeledBatchSize: 4, stage1Steps: 0, stage2Steps: 200 };
  const plan = makePlan({ a: [[1], [2]] }, [4, 4, 4], { training, augmentation });
  const label = (x: number, y: number, z: number) =>
    x === 9 && y === 10 && z === 11 ? 1 : x === 19 && y === 19 && z === 19 ? 2 : 0;
  const labeled = makeCase('a', '1', [20, 20, 20], code, label);
  const unlabeled = makeCase('a', '2', [40, 10, 20], code);
  const begins = (labeled: PreprocessedCase, changed: Plan = plan) => {
    const sampler = createSampler(changed, { labeled: [labeled], unlabeled: [unlabeled] });
    return Array.from({ length: 200 }, (_, step) => sampler.recipe(step).unlabeled).flat();
  };
  const patches = begins(labeled);
  // Voxel (9, 10, 11) of 20^3 lies at 19, 5, 11 here; the last corner is the last corner.
  const wanted = [
    [17, 3, 9],
    [36, 6, 16],
  ];
  const centred = patches.filter(({ begin, tasks }) => begin.join() === wanted[tasks[0]!]!.join()).length;
  t.ok(
    Math.abs(centred / patches.length - 0.5) < 0.06,
    `${centred} of ${patches.length} where their own task is likely`,
  );
  t.ok(new Set(patches.map(({ begin }) => begin.join())).size > 100, 'the others anywhere');
  const empty = begins(makeCase('a', '1', [20, 20, 20], code, () => 0));
  t.ok(new Set(empty.map(({ begin }) => begin.join())).size > 300, 'a labelled case without the label');
  const all = { ...plan, augmentation: { ...plan.augmentation, unlabeledForegroundFraction: 1 } };
  t.same(new Set(begins(labeled, all).map(({ begin }) => begin.join())), new Set(wanted.map((one) => one.join())));
});

t.test('flips and rotations turn image and target together; intensities change the image only', async (t) => {
  const patch: Triple = [4, 4, 4];
  const settings = { training: { labeledBatchSize: 8 }, augmentation: { flip: [true, true, true], rotation90: true } };
  const plan = makePlan({ a: [[1]] }, patch, settings);
  const one = makeCase('a', '1', patch, code, (x, y, z) => (x === 0 && y === 1 && z === 0 ? 1 : 0));
  const sampler = createSampler(plan, { labeled: [one], unlabeled: [one] });
  const seen = new Set<string>();
  for (let step = 0; step < 40; step++) {
    const recipe = sampler.recipe(step);
    const { fields } = sampler.batch(step);
    for (const [n, { augmentation }] of recipe.labeled.entries()) {
      for (const [x, y, z] of voxels(patch)) {
        // Undo the flips, then the rotation: (x, y) -> (y, 3 - x) per quarter turn.
        let [u, v] = [augmentation.flip[0] ? 3 - x : x, augmentation.flip[1] ? 3 - y : y];
        for (let turn = 0; turn < augmentation.quarterTurns; turn++) [u, v] = [v, 3 - u];
        const w = augmentation.flip[2] ? 3 - z : z;
        if (at(fields['labeled.image']!, n, patch, x, y, z) !== code(u, v, w)) t.fail('image');
        if (at(fields['labeled.target']!, n, patch, x, y, z) !== (u === 0 && v === 1 && w === 0 ? 1 : 0))
          t.fail('target');
      }
      seen.add(JSON.stringify([augmentation.flip, augmentation.quarterTurns]));
    }
  }
  t.equal(seen.size, 32, 'every combination of flips and turns occurs');

  const flat = makeCase(
    'a',
    '1',
    [40, 40, 20],
    () => 2,
    () => 1,
  );
  const intensity = { intensityScale: 0.25, intensityShift: 0.5, noise: 0.2 };
  const noisy = makePlan({ a: [[1]] }, [32, 32, 16], { training: { labeledBatchSize: 2 }, augmentation: intensity });
  const noisySampler = createSampler(noisy, { labeled: [flat], unlabeled: [flat] });
  const { fields } = noisySampler.batch(3);
  for (const [n, { augmentation }] of noisySampler.recipe(3).labeled.entries()) {
    const values = fields['labeled.image']!.subarray(n * 16384, (n + 1) * 16384);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
    t.ok(Math.abs(mean - (2 * augmentation.scale + augmentation.shift)) < 0.01, `mean ${mean}`);
    t.ok(Math.abs(deviation - augmentation.noise) < 0.02 * augmentation.noise + 1e-6, `deviation ${deviation}`);
    t.ok(augmentation.scale >= 0.75 && augmentation.scale <= 1.25 && Math.abs(augmentation.shift) <= 0.5);
  }
  t.ok(fields['labeled.target']!.every((value) => value === 1));
});

t.test('rotation and magnification keep shapes in millimetres, for image and target alike', async (t) => {
  const spacingMm: Triple = [1, 1, 2];
  const patch: Triple = [64, 64, 32];
  const size: Triple = [70, 70, 32];
  // An ellipsoid in mm, its long axis along x, 3 mm beside the middle of the volume.
  const inside = (x: number, y: number, z: number) =>
    ((x - 37.5) / 18) ** 2 + ((y - 34.5) / 9) ** 2 + (((z - 15.5) * 2) / 9) ** 2 <= 1;
  const one = {
    ...makeCase(
      'a',
      '1',
      size,
      (...at) => (inside(...at) ? 1 : 0),
      (...at) => (inside(...at) ? 1 : 0),
    ),
    spacingMm,
  };
  const settings = {
    training: { labeledBatchSize: 4, mode: 'supervised' },
    augmentation: { rotationDegrees: [0, 90, 0], magnification: [0.8, 1.25] },
  };
  const sampler = createSampler(makePlan({ a: [[1]] }, patch, settings), { labeled: [one], unlabeled: [] });
  const volumeOf = (values: Float32Array) => values.reduce((a, b) => a + b, 0);
  const whole = volumeOf(Float32Array.from(one.label!));
  for (let step = 0; step < 2; step++) {
    const recipe = sampler.recipe(step);
    const { fields } = sampler.batch(step);
    for (const [n, { augmentation }] of recipe.labeled.entries()) {
      const { rotationDegrees, magnification } = augmentation;
      t.equal(Math.abs(rotationDegrees[0]) + Math.abs(rotationDegrees[2]), 0);
      t.ok(Math.abs(rotationDegrees[1]) <= 90 && magnification >= 0.8 && magnification <= 1.25);
      const target = fields['labeled.target']!.slice(n * 131072, (n + 1) * 131072);
      const image = fields['labeled.image']!.slice(n * 131072, (n + 1) * 131072);
      const total = volumeOf(target);
      const grown = total / (whole * magnification ** 3);
      t.ok(Math.abs(grown - 1) < 0.1, `volume ${grown} at ${JSON.stringify(augmentation)}`);
      t.ok(Math.abs(volumeOf(image) / total - 1) < 0.05, 'the image likewise');
      // The moments in mm say in which direction the long axis lies.
      const mean = [0, 0];
      const moments = [0, 0, 0];
      for (const pass of [0, 1]) {
        for (const [x, y, z] of voxels(patch)) {
          const value = at(target, 0, patch, x, y, z) / total;
          if (value === 0) continue;
          const [u, w] = [x - (pass ? mean[0]! : 0), z * 2 - (pass ? mean[1]! : 0)];
          if (pass === 0) [mean[0], mean[1]] = [mean[0]! + u * value, mean[1]! + w * value];
          else
            [u * u, w * w, u * w].forEach((m, i) => {
              moments[i]! += m * value;
            });
        }
      }
      const found = (Math.atan2(2 * moments[2]!, moments[0]! - moments[1]!) / 2 / Math.PI) * 180;
      const difference = Math.abs(((found - rotationDegrees[1] + 270) % 180) - 90);
      t.ok(difference < 6, `turned by ${found} instead of ${rotationDegrees[1]} degrees`);
    }
  }
});

t.test('a dataset may have an augmentation of its own; the numbers of the others stay', async (t) => {
  const patch: Triple = [8, 8, 8];
  const cases = ['a', 'b'].map((name) => makeCase(name, '1', patch, code, (x) => (x < 4 ? 1 : 0)));
  const settings = {
    training: { labeledBatchSize: 8, stage1Steps: 0 },
    augmentation: { intensityScale: 0.5, gamma: [0.5, 2] },
  };
  const plan = makePlan({ a: [[1]], b: [[1]] }, patch, settings);
  const own = { ...plan.datasets[0]!, augmentation: { flip: [true, true, true], intensityScale: 0 } };
  const mixed = parsePlan({ ...plan, datasets: [own, plan.datasets[1]] });
  const data = { labeled: cases, unlabeled: cases };
  const [plain, different] = [createSampler(plan, data), createSampler(mixed, data)];
  let flips = 0;
  for (let step = 0; step < 10; step++) {
    const [before, after] = [plain.recipe(step), different.recipe(step)];
    for (const pool of ['labeled', 'unlabeled'] as const) {
      for (const [i, patchAfter] of after[pool].entries()) {
        const patchBefore = before[pool][i]!;
        if (cases[patchAfter.caseIndex]!.dataset === 'b') t.same(patchAfter, patchBefore);
        else {
          const { flip, scale, gamma } = patchAfter.augmentation;
          t.equal(scale, 1);
          t.equal(gamma, patchBefore.augmentation.gamma, 'what it does not name is that of the plan');
          flips += flip.filter((one) => one).length;
        }
      }
    }
  }
  t.ok(flips > 0);
});

t.test('no cases for what the plan asks', async (t) => {
  const { plan, data } = example();
  const refused = (field: string) => ({ code: 'VERSEMI_SPLIT_INVALID', details: { field } });
  t.throws(() => createSampler(plan, { labeled: [], unlabeled: data.unlabeled }), refused('datasets[].split.labeled'));
  t.throws(() => createSampler(plan, { labeled: data.labeled, unlabeled: [] }), refused('datasets[].split.unlabeled'));
});

t.test('the centre crop of unlabelled images', async (t) => {
  const { plan, data } = example({ augmentation: { unlabeledCrop: 'center' } });
  const sampler = createSampler(plan, data);
  for (let step = 0; step < 5; step++) {
    for (const { begin } of sampler.recipe(step).unlabeled) t.same(begin, [3, 1, 1]);
  }
});
