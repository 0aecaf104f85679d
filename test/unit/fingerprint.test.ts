import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { forwardPasses, runPasses, totalSteps, trunkPasses } from '../../src/config/steps.js';
import type { Region } from '../../src/datasets/label-meanings.js';
import { makePhantomDataset, type PhantomKindName, phantomKinds } from '../../src/datasets/phantom.js';
import { multiplyAddsPerVoxel, passSeconds, trainingBytesPerVoxel } from '../../src/preprocessing/cost-model.js';
import {
  type CaseFingerprint,
  type DatasetFingerprint,
  fingerprintDatasets,
} from '../../src/preprocessing/fingerprint.js';
import { defaultMethod, methodNames, usesUnlabeled } from '../../src/preprocessing/methods.js';
import { largestShare, meanPieces, piecesOfCase } from '../../src/preprocessing/pieces.js';
import { makePlan } from '../../src/preprocessing/planning.js';
import { scanRanges } from '../../src/preprocessing/scan-facts.js';
import { hostOnlyDatasets } from '../../src/sampling/volume-tables.js';
import type { Triple } from '../../src/volume/volume.js';

const paper = { baseWidth: 16, levels: 5, convolutions: [1, 2, 3, 3, 3], headWidth: 8 };
const intensity = {
  min: 0,
  max: 900,
  mean: 300,
  standardDeviation: 90,
  percentile005: 3,
  median: 310,
  percentile995: 800,
};

function oneCase(sizeVoxels: Triple, spacingMm: Triple, changes: Partial<CaseFingerprint> = {}): CaseFingerprint {
  return { id: 'a', labeled: true, sizeVoxels, spacingMm, intensity, zeroFraction: 0, ...changes };
}

function oneDataset(
  name: string,
  cases: readonly CaseFingerprint[],
  changes: Partial<DatasetFingerprint> = {},
): DatasetFingerprint {
  return {
    name,
    path: `/data/${name}`,
    format: 'auto',
    channel: 0,
    split: { file: null, labeled: 'all', validation: 0, unlabeled: 'rest' },
    modality: 'MR',
    modalityReason: 'a test',
    scans: scanRanges(cases, 'MR'),
    labeledCases: cases.length,
    unlabeledCases: 5,
    totalCases: cases.length + 5,
    validationCases: 0,
    leftOut: [],
    cases,
    classes: [{ value: 1, name: 'organ', cases: 1, medianVolumeMm3: 1000 }],
    foreground: intensity,
    ...changes,
  };
}

t.test('the cost model agrees with the paper', async (t) => {
  const macs = multiplyAddsPerVoxel(paper) * 96 ** 3;
  t.ok(Math.abs(macs / 29.47e9 - 1) < 0.02, `${macs / 1e9} GMAC, the paper's network has 29.47`);
  t.ok(Math.abs(passSeconds(paper, 96 ** 3, 3 * 20, 1000) - 3.5) < 0.1, '3.5 TFLOP in a step of the second stage');
  t.equal(multiplyAddsPerVoxel({ ...paper, baseWidth: 8 }) < multiplyAddsPerVoxel(paper) / 3.9, true);
  const block = { ...paper, fullResolutionBlock: true };
  t.equal(multiplyAddsPerVoxel(block) - multiplyAddsPerVoxel(paper), 27 * 16 * 16, 'one convolution more');
  t.equal(trainingBytesPerVoxel(block, 5) - trainingBytesPerVoxel(paper, 5), 4 * 2 * 16, 'two maps more');
  // At full resolution alone 2 x 2 maps of 16 channels are kept.
  t.ok(trainingBytesPerVoxel(paper, 5) > 4 * 64 && trainingBytesPerVoxel(paper, 5) < 2000);
});

t.test('spacing: the median; the 10th percentile along a coarse axis', async (t) => {
  const fine = [0.6, 0.7, 0.8].map((s) => oneCase([100, 100, 100], [s, s, s]));
  const coarse = [3, 5, 5, 5, 9].map((s) => oneCase([200, 200, 30], [1, 1, s]));
  const { plan, explanations } = makePlan({ datasets: [oneDataset('fine', fine), oneDataset('coarse', coarse)] });
  t.same(plan.datasets[0]!.preprocessing.spacingMm, [0.7, 0.7, 0.7]);
  t.same(plan.datasets[1]!.preprocessing.spacingMm, [1, 1, 3.8]);
  t.match(
    explanations.find(({ field }) => field.startsWith('datasets[1]') && field.endsWith('spacingMm'))!.reason,
    /10th percentile/,
  );
  const asked = makePlan({ datasets: [oneDataset('fine', fine)] }, { spacingMm: [2, 2, 2] });
  t.same(asked.plan.datasets[0]!.preprocessing.spacingMm, [2, 2, 2]);
});

t.test('patch: divisible, at most the cases and the memory, near to a cube in millimetres', async (t) => {
  const small = makePlan({ datasets: [oneDataset('small', [oneCase([35, 51, 34], [1, 1, 1])])] }).plan;
  t.same(small.patchSizeVoxels, [48, 64, 48], 'cases rounded up to the divisor');
  const large = oneDataset('large', [oneCase([512, 512, 120], [0.8, 0.8, 2.5])]);
  for (const deviceMemoryBytes of [2 * 2 ** 30, 8 * 2 ** 30, 80 * 2 ** 30]) {
    const { plan } = makePlan({ datasets: [large] }, { deviceMemoryBytes });
    const patch = plan.patchSizeVoxels;
    const { network, training } = plan;
    const voxels = patch[0] * patch[1] * patch[2];
    t.ok(
      patch.every((size) => size % 2 ** (network.levels - 1) === 0),
      `${patch}`,
    );
    t.ok(voxels * training.labeledBatchSize * trainingBytesPerVoxel(network, 2) <= 0.71 * deviceMemoryBytes);
    t.ok(voxels <= 96 ** 3);
    const mm = patch.map((size, axis) => size * [0.8, 0.8, 2.5][axis]!);
    const step = 2 ** (network.levels - 1) * 2.5;
    t.ok(Math.max(...mm) - Math.min(...mm) <= step, `${mm} mm`);
    t.equal(plan.augmentation.foregroundFraction, 0.33, 'a patch sees little of such a case');
  }
  const given = makePlan({ datasets: [large] }, { patchSizeVoxels: [40, 40, 24], baseWidth: 4 }).plan;
  t.same([given.patchSizeVoxels, given.network.levels, given.network.baseWidth], [[40, 40, 24], 4, 4]);
});

t.test('time: steps, width and spacing are made to fit', async (t) => {
  const large = oneDataset('large', [oneCase([280, 280, 90], [0.625, 0.625, 0.625])]);
  const { plan } = makePlan({ datasets: [large] }, { minutes: 20, gflopsPerSecond: 100, method: 'versemi-views' });
  const { training, network, patchSizeVoxels: patch } = plan;
  t.ok(training.stage1Steps >= 1000, `${training.stage1Steps} steps`);
  const voxels = patch[0] * patch[1] * patch[2];
  const batch = training.labeledBatchSize;
  const seconds =
    training.stage1Steps * passSeconds(network, voxels, 3 * 1.5 * batch, 100) +
    training.stage2Steps * passSeconds(network, voxels, 3 * 2.5 * batch, 100);
  t.ok(seconds <= 20 * 60 * 1.01 && seconds > 15 * 60, `${seconds} s`);
  const [spacing] = plan.datasets[0]!.preprocessing.spacingMm;
  t.ok(spacing > 0.7, `coarser spacing: ${spacing}`);
  const short = makePlan({ datasets: [large] }, { minutes: 0.01 }).plan;
  t.ok(short.training.stage1Steps > 0, 'even an absurd limit gives a plan');
  const labeledOnly = makePlan({
    datasets: [oneDataset('a', [oneCase([64, 64, 64], [1, 1, 1])], { unlabeledCases: 0 })],
  }).plan;
  t.equal(labeledOnly.training.stage2Steps, 0, 'no second stage without unlabelled cases');
});

t.test('tasks and intensities', async (t) => {
  const classes = [1, 2].map((value) => ({ value, name: `part ${value}`, cases: 1, medianVolumeMm3: 10 }));
  const ct = { modality: 'CT', foreground: { ...intensity, percentile005: -57, percentile995: 163 } } as const;
  const cases = [oneCase([64, 64, 64], [1, 1, 1], { zeroFraction: 0.4 })];
  const datasets = [
    oneDataset('two parts', cases, { classes }),
    oneDataset('ct', cases, ct),
    oneDataset('only-images', cases, { classes: [], labeledCases: 0, foreground: null }),
  ];
  const { plan, explanations } = makePlan({ datasets });
  t.same(plan.tasks, [
    { name: 'two-parts-part-1', dataset: 'two parts', labels: [1] },
    { name: 'two-parts-part-2', dataset: 'two parts', labels: [2] },
    { name: 'ct', dataset: 'ct', labels: [1] },
  ]);
  t.same(plan.datasets[2]!.split.labeled, [], 'a dataset without labels gives unlabelled images');
  t.same(plan.datasets[0]!.preprocessing, {
    spacingMm: [1, 1, 1],
    window: null,
    normalization: 'zscore-nonzero',
    crop: 'none',
    targets: 'fractions',
  });
  t.same(plan.datasets[1]!.preprocessing, {
    spacingMm: [1, 1, 1],
    window: [-60, 170],
    normalization: 'zscore',
    crop: 'body',
    targets: 'fractions',
  });
  t.equal(plan.training.promptsPerImage, 'each', 'a dataset has two tasks');
  t.equal(plan.training.schedule, 'constant', 'as in the paper');
  t.equal(makePlan({ datasets }, { minutes: 30 }).plan.training.schedule, 'polynomial');
  t.match(plan.losses, { teacher: 0.5, cubeTasks: 1, agreement: 0.1, cube: 0.1, synthetic: 0, unsupervised: 0 });
  t.equal(plan.cutmix.unlabeledMix, 'both-sides');
  const views = makePlan({ datasets }, { method: 'versemi-views' }).plan;
  t.match(views.losses, { teacher: 1, agreement: 1, unsupervisedRampSteps: views.training.stage2Steps / 5 });
  for (const { field, value, reason } of explanations)
    t.ok(field && value !== undefined && reason, `${field} = ${value}: ${reason}`);
  const merged = makePlan({ datasets }, { mergeLabels: ['two parts'] }).plan;
  t.equal(merged.training.promptsPerImage, 'one');
  t.equal(makePlan({ datasets }, { method: 'supervised' }).plan.losses.teacher, 0);
  t.same(merged.tasks[0], { name: 'two-parts', dataset: 'two parts', labels: [1, 2] });
  t.throws(() => makePlan({ datasets: [datasets[2]!] }), { code: 'VERSEMI_DATASET_INVALID' });
});

t.test('augmentation: on, but for what would blur a task or fade at the rim of slices', async (t) => {
  const volume = [oneCase([64, 64, 64], [1, 1, 1])];
  const slices = [oneCase([200, 200, 20], [1, 1, 6])];
  const single = [oneCase([200, 200, 1], [1, 1, 1])];
  const named = (...names: string[]) => ({
    classes: names.map((name, i) => ({ value: i + 1, name, cases: 1, medianVolumeMm3: 10 })),
  });
  const augmentationOf = (cases: CaseFingerprint[], changes = {}, options = {}) => {
    const { plan } = makePlan({ datasets: [oneDataset('set', cases, changes)] }, options);
    return { all: plan.augmentation, own: plan.datasets[0]!.augmentation };
  };
  const plain = augmentationOf(volume);
  t.match(plain.all, { flip: [true, true, true], rotationDegrees: [10, 10, 15], magnification: [0.8, 1.25] });
  t.match(plain.all, { gamma: [0.7, 1.5], intensityScale: 0.2, intensityShift: 0.1, noise: 0.05 });
  t.equal(plain.own, undefined);
  t.same(augmentationOf(slices).own, { rotationDegrees: [0, 0, 30] }, 'thick slices turn in their plane');
  t.same(augmentationOf(single).own, { rotationDegrees: [0, 0, 30], magnification: [1, 1] }, 'a slice alone stays');
  for (const [names, flip] of [
    [
      ['kidney left', 'kidney right'],
      [false, true, true],
    ],
    [
      ['kidney_l', 'kidney_r', 'liver'],
      [false, true, true],
    ],
    [
      ['Anterior', 'Posterior'],
      [true, false, true],
    ],
    [
      ['upper lobe', 'lower lobe'],
      [true, true, false],
    ],
    [['left atrium', 'right kidney'], undefined],
    [['liver', 'spleen'], undefined],
  ] as const)
    t.same(augmentationOf(volume, named(...names)).own?.flip, flip, names.join(' and '));
  const brightest = (...values: number[]) =>
    values.map((value) => ({
      ...volume[0]!,
      intensity: { ...intensity, mean: 0, standardDeviation: 2, percentile995: 2 * value },
    }));
  const wide = { gamma: [0.4, 1.8], intensityScale: 0.3, intensityShift: 0.5 };
  const differing = brightest(2, 2.5, 3, 3.5, 4);
  t.same(augmentationOf(differing).own, wide, 'scans without a unit that differ');
  t.equal(augmentationOf(brightest(2, 2.2, 2.4, 2.6, 2.8)).own, undefined, 'scans that are alike');
  t.equal(augmentationOf(differing.slice(1)).own, undefined, 'too few scans to tell');
  t.equal(augmentationOf(differing, { modality: 'CT' }).own, undefined, 'Hounsfield units');
  t.equal(augmentationOf(differing, {}, { augmentation: 'mirrors' }).own, undefined, 'intensities as they are');
  // Moments of heads whose brain has mean 1000 and standard deviation 100, and of the zeros round it.
  const heads = [0.3, 0.4, 0.5, 0.7, 0.85].map((zeroFraction) => {
    const mean = (1 - zeroFraction) * 1000;
    const standardDeviation = Math.sqrt((1 - zeroFraction) * (1000 ** 2 + 100 ** 2) - mean ** 2);
    return { ...volume[0]!, zeroFraction, intensity: { ...intensity, mean, standardDeviation, percentile995: 1300 } };
  });
  t.equal(augmentationOf(heads).own, undefined, 'zeros round the head are not what differs');
  const mirrors = augmentationOf(slices, {}, { augmentation: 'mirrors' });
  t.match(mirrors.all, { flip: [true, true, true], rotationDegrees: [0, 0, 0], gamma: [1, 1], noise: 0 });
  t.equal(mirrors.own, undefined);
  const { plan, explanations } = makePlan({ datasets: [oneDataset('set', volume)] }, { augmentation: 'none' });
  t.match(plan.augmentation, { flip: [false, false, false], rotationDegrees: [0, 0, 0], foregroundFraction: 0 });
  t.match(explanations.find(({ field }) => field === 'augmentation')?.reason, /as asked/);
  for (const device of ['mirrors', 'all'] as const) {
    const made = makePlan({ datasets: [oneDataset('set', slices)] }, { augmentation: device }).plan;
    t.equal(hostOnlyDatasets(made).length, device === 'mirrors' ? 0 : 1, `${device}: whether a device can do it`);
  }
});

t.test('time: longer runs have more steps before they have larger patches; validations are paid for', async (t) => {
  const large = oneDataset('large', [oneCase([280, 280, 90], [0.625, 0.625, 0.625])]);
  const steps = (options: object) =>
    makePlan({ datasets: [large] }, { gflopsPerSecond: 100, method: 'versemi-views', ...options }).plan.training;
  t.ok(steps({ minutes: 600 }).stage1Steps >= 3100, `${steps({ minutes: 600 }).stage1Steps} steps`);
  const shared = steps({ minutes: 600, validationShare: 0.5 });
  t.ok(Math.abs(shared.stage1Steps / steps({ minutes: 600 }).stage1Steps - 0.5) < 0.01);
  const faster = steps({ minutes: 600, gflopsPerSecond: 200, sizingGflopsPerSecond: 100 });
  t.ok(
    Math.abs(faster.stage1Steps / steps({ minutes: 600 }).stage1Steps - 2) < 0.01,
    'sizes of one speed, steps of another',
  );
});

t.test('methods: explicit options of one network, at equal trunk passes', async (t) => {
  const classes = [1, 2].map((value) => ({ value, name: `part ${value}`, cases: 1, medianVolumeMm3: 10 }));
  const cases = [oneCase([64, 64, 64], [1, 1, 1])];
  const datasets = [oneDataset('parts', cases, { classes }), oneDataset('one', cases)];
  for (const options of [{}, { minutes: 30 }]) {
    const { plan: derived } = makePlan({ datasets }, options);
    t.same(derived, makePlan({ datasets }, { ...options, method: defaultMethod }).plan);
    const terms = new Map<string, string>();
    for (const method of methodNames) {
      const { plan, explanations } = makePlan({ datasets }, { ...options, method });
      const { training, losses, cutmix, ...rest } = plan;
      const { training: _, losses: __, cutmix: ___, ...same } = derived;
      t.same(rest, same, `${method}: the same network, patches and augmentation`);
      t.equal(training.labeledBatchSize, derived.training.labeledBatchSize);
      const last = totalSteps(training) - 1;
      const largest = Math.max(...[0, last].map((step) => forwardPasses(trunkPasses(plan, step))));
      const difference = Math.abs(runPasses(plan) - runPasses(derived));
      t.ok(difference <= largest, `${method}: ${runPasses(plan)} passes, derived ${runPasses(derived)}`);
      t.ok(explanations.some(({ field, value, reason }) => field === 'method' && value === method && reason !== ''));
      t.equal(training.stage2Steps > 0, usesUnlabeled(method));
      const { stage1Steps, stage2Steps, ...others } = training;
      const key = JSON.stringify([others.mode, stage1Steps === 0, stage2Steps === 0, losses, cutmix]);
      t.equal(terms.get(key), undefined, `${method} is no other method`);
      terms.set(key, method);
    }
  }
  const [released, views] = (['versemi-released', 'versemi-views'] as const).map(
    (method) => makePlan({ datasets }, { method }).plan,
  );
  t.match(released, { training: { promptsPerImage: 'one' }, losses: { diceOver: 'batch', teacher: 0, agreement: 0 } });
  t.match(views, { training: { promptsPerImage: 'each' }, losses: { diceOver: 'task' } });
  const alone = [oneDataset('one', cases, { unlabeledCases: 0 })];
  t.ok(makePlan({ datasets: alone }, { method: 'supervised-cutmix' }).plan.training.stage1Steps > 0);
  t.throws(() => makePlan({ datasets: alone }, { method: 'bcp' }), {
    code: 'VERSEMI_SPLIT_INVALID',
    message: /bcp.*supervised-cutmix/s,
  });
});

t.test(
  'the largest component, of pseudo-labels and predictions: only where every task comes in one piece',
  async (t) => {
    const cases = [oneCase([64, 64, 64], [1, 1, 1])];
    const classes = [1, 2].map((value) => ({ value, name: `part ${value}`, cases: 1, medianVolumeMm3: 10 }));
    let of: string | undefined;
    const planned = (shares: [labels: number[], largestShare: number][], mergeLabels = false) => {
      const pieces = shares.map(([labels, largestShare]) => ({ labels, largestShare }));
      const { plan, explanations } = makePlan(
        { datasets: [oneDataset('parts', cases, { classes, pieces })] },
        { mergeLabels },
      );
      const { value, reason } = explanations.find(({ field }) => field === 'losses.largestComponent')!;
      t.equal(value, String(plan.losses.largestComponent));
      t.equal(plan.inference.largestComponent, plan.losses.largestComponent);
      of = plan.inference.largestComponentOf;
      return [plan.losses.largestComponent, reason];
    };
    const each: [number[], number][] = [
      [[1], 1],
      [[2], 0.96],
    ];
    t.same(planned(each), [true, 'by the method']);
    t.equal(of, 'task', 'of both together nothing is known');
    t.same(planned([...each, [[1, 2], 0.5]]), [true, 'by the method']);
    t.equal(of, 'task', 'they lie apart');
    t.same(planned([...each, [[1, 2], 0.99]]), [true, 'by the method']);
    t.equal(of, 'dataset');
    t.match(planned([[[1], 1]]), [false, /pieces of parts-part-2 were not counted/]);
    t.match(planned([...each.slice(0, 1), [[2], 0.6]]), [false, /largest piece of parts-part-2 holds 60 %/]);
    t.match(planned(each, true), [false, /pieces of parts were not counted/], 'two whole parts may lie apart');
    t.match(planned([...each, [[1, 2], 0.5]], true), [false, /largest piece of parts holds 50 %/]);
    t.same(planned([...each, [[1, 2], 0.99]], true), [true, 'by the method']);
    t.equal(of, 'task', 'one task');

    // 1 in two blocks of 3 x 1 x 1 and 1 x 1 x 1, 2 in one that touches the smaller by a corner, 3 nowhere.
    const label = Uint8Array.from([1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
    const regions = [
      { name: 'both', labels: [2, 1] },
      { name: 'none', labels: [3] },
    ] as unknown as Region[];
    const found = piecesOfCase(label, [8, 2, 1], [1, 2], regions);
    t.same(found, [
      { labels: [1], largestShare: 3 / 4 },
      { labels: [2], largestShare: 1 },
      { labels: [1, 2], largestShare: 1 / 2 },
    ]);
    t.same(meanPieces([found, [{ labels: [1], largestShare: 1 }]])[0], { labels: [1], largestShare: 7 / 8 });
    t.same(piecesOfCase(label, [8, 2, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9]), [], 'too many labels');
  },
);

t.test('fingerprint of datasets on disk; labels of unlabelled cases stay closed', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'versemi-fingerprint-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const kinds = Object.keys(phantomKinds) as PhantomKindName[];
  for (const kind of kinds.slice(0, 2)) {
    await makePhantomDataset(join(folder, kind), kind, {
      cases: 4,
      labeledCases: 4,
      validationCases: 0,
      testCases: 0,
      seed: 1,
    });
    const labels = (await readdir(join(folder, kind, 'labelsTr'))).sort();
    for (const name of labels.slice(2)) await writeFile(join(folder, kind, 'labelsTr', name), 'must not be read');
    const labeled = labels.slice(0, 2).map((name) => name.replace('.nii.gz', ''));
    const seen: string[] = [];
    const { datasets } = await fingerprintDatasets([{ path: join(folder, kind), name: kind, split: { labeled } }], {
      onProgress: ({ id, index, total }) => seen.push(`${id} ${index}/${total}`),
    });
    const [found] = datasets;
    t.equal(seen.length, 4);
    t.same([found!.labeledCases, found!.unlabeledCases, found!.cases.length], [2, 2, 4]);
    t.equal(found!.modality, /ct/i.test(phantomKinds[kind].modality) ? 'CT' : 'MR');
    t.ok(
      found!.classes.length > 0 &&
        found!.classes.every(({ cases, medianVolumeMm3 }) => cases > 0 && medianVolumeMm3 > 0),
    );
    t.ok(found!.foreground!.percentile005 <= found!.foreground!.median);
    for (const { value } of found!.classes) {
      const share = largestShare(found!.pieces!, [value])!;
      t.ok(share > 0 && share <= 1, `${kind} ${value}: ${share}`);
    }
    const { plan } = makePlan({ datasets }, { minutes: 5 });
    t.equal(plan.tasks.length, found!.classes.length);
    if (kind === kinds[0]) {
      const name = phantomKinds[kind].labels[1 as never];
      t.ok(found!.classes.some((one) => one.name === name));
    }
    const source = { path: join(folder, kind), split: { labeled } };
    const twice = await fingerprintDatasets([source, source], { maximumCases: 1 });
    t.equal(twice.datasets[0]!.cases.length, 2, 'one case of each role');
    t.equal(twice.datasets[1]!.name, `${twice.datasets[0]!.name}-2`, 'names are made different');
  }
  const stop = new AbortController();
  stop.abort();
  await t.rejects(fingerprintDatasets([{ path: join(folder, kinds[1]!) }], { signal: stop.signal }), {
    code: 'VERSEMI_ABORTED',
  });
  const nothing = { labeled: [], unlabeled: 'none' };
  await t.rejects(fingerprintDatasets([{ path: join(folder, kinds[0]!), split: nothing }]), {
    code: 'VERSEMI_DATASET_INVALID',
  });
});
