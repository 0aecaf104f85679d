// Parts of one's own: every example in test/examples/own-parts runs as its first lines say, through worker threads too, and what is
// wrong with a part is said.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  addParts,
  createPrefetcher,
  createSampler,
  type FieldName,
  loadCase,
  loadModel,
  loadParts,
  makePhantomDataset,
  openDataset,
  type Plan,
  preprocessDatasets,
  readVolume,
  runStep,
  type StepBatch,
  stringifyPlan,
  type Volume,
} from '../../src/index.js';
import { packageRoot } from '../../src/root.js';
import { nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { tf } from '../../src/tfjs/index.js';
import { type Outcome, runVersemi } from './cli-support.js';
import { atriumPlan } from './training-support.js';

const examples = join(packageRoot, 'test', 'examples', 'own-parts');
const example = (name: string) => join(examples, `${name}.mjs`);
const folder = t.testdir();
const phantom = join(folder, 'phantom');

/** An array [z, y, x] as NumPy writes it. */
function npy({ data, sizeVoxels: [x, y, z] }: Pick<Volume, 'data' | 'sizeVoxels'>): Buffer {
  const type = data instanceof Uint8Array ? '|u1' : data instanceof Int16Array ? '<i2' : '<f4';
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${z}, ${y}, ${x}), }`;
  const header = `${text.padEnd(118 - 1)}\n`;
  const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length & 255, header.length >> 8]);
  return Buffer.concat([
    start,
    Buffer.from(header, 'latin1'),
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  ]);
}

/** A copy of a field of a batch. */
function bytes({ fields }: StepBatch, name: string): Buffer {
  const voxels = fields[name as FieldName]!;
  return Buffer.from(Buffer.from(voxels.buffer, voxels.byteOffset, voxels.byteLength));
}

function planFile(name: string, plan: Plan): string {
  const file = join(folder, name);
  writeFileSync(file, stringifyPlan(plan));
  return file;
}

function succeeded(t: Test, { code, stderr, stdout }: Outcome): void {
  t.equal(code, 0, stderr + stdout);
}

t.before(async () => {
  await makePhantomDataset(phantom, 'mr-atrium', {
    cases: 4,
    labeledCases: 2,
    validationCases: 1,
    testCases: 0,
    seed: 3,
  });
  await loadParts(example('dataset-reader'));
});

t.test('a format and a layout: the cases are those of the other format', async (t) => {
  const patients = join(folder, 'patients');
  const dataset = await openDataset(phantom);
  for (const { id, image, label } of dataset.cases) {
    mkdirSync(join(patients, id), { recursive: true });
    writeFileSync(join(patients, id, 'image.npy'), npy(await readVolume(image)));
    if (label !== undefined) {
      const { data, ...volume } = await readVolume(label);
      writeFileSync(join(patients, id, 'label.npy'), npy({ ...volume, data: Uint8Array.from(data) }));
    }
  }
  const { spacingMm } = await readVolume(dataset.cases[0]!.image);
  writeFileSync(join(patients, 'spacing.json'), JSON.stringify(spacingMm));
  const found = await openDataset(patients);
  t.equal(found.format, 'patients');
  t.same(
    found.cases.map(({ id, label }) => [id, label !== undefined]),
    dataset.cases.map(({ id, label }) => [id, label !== undefined]),
  );
  const labeled = found.cases.find(({ label }) => label !== undefined)!;
  const same = dataset.cases.find(({ id }) => id === labeled.id)!;
  const [own, theirs] = [await loadCase(found, labeled), await loadCase(dataset, same)];
  t.same(own.image.spacingMm, spacingMm);
  const sum = (values: ArrayLike<number>) => Array.from(values).reduce((total, value) => total + value, 0);
  t.equal(own.image.data.length, theirs.image.data.length);
  t.ok(sum(own.label!.data) > 0 && sum(own.label!.data) === sum(theirs.label!.data), 'the label has its voxels');

  // Through the worker threads of preprocessing, which load the module too.
  const cache = join(folder, 'cache-patients');
  const data = await preprocessDatasets(atriumPlan(patients), { cacheFolder: cache, workers: 2 });
  t.equal(data.labeled.length, 2);
  t.equal(data.unlabeled.length, 1);

  writeFileSync(join(patients, labeled.id, 'image.npy'), 'no array');
  await t.rejects(loadCase(found, labeled), {
    code: 'VERSEMI_FILE_CORRUPT',
    message: /image\.npy.*npy.*no NumPy file/,
  });
});

t.test('plan, by the command line, with a dataset that only a part can read', async (t) => {
  const patients = join(folder, 'patients-plan');
  const dataset = await openDataset(phantom);
  for (const { id, image } of dataset.cases) {
    mkdirSync(join(patients, id), { recursive: true });
    writeFileSync(join(patients, id, 'image.npy'), npy(await readVolume(image)));
    writeFileSync(join(patients, id, 'label.npy'), npy({ data: new Uint8Array(8).fill(1), sizeVoxels: [2, 2, 2] }));
  }
  writeFileSync(join(patients, 'spacing.json'), '[1, 1, 1]');
  const args = ['plan', patients, '--out', join(folder, 'patients.json')];
  const without = await runVersemi(folder, args);
  t.not(without.code, 0, 'without the part');
  const withPart = await runVersemi(folder, [...args, '--parts', example('dataset-reader')]);
  // Its labels are on other voxels on purpose: what versemi checks of a case, it checks of these too.
  t.match(withPart.stderr, /VERSEMI_GEOMETRY_MISMATCH/);
});

t.test('augmentation, loss terms, network and metric in the usual commands', async (t) => {
  const plan = atriumPlan(phantom, {
    augmentation: { own: ['bias-field'] },
    losses: { own: { tversky: 0.5, tverskyOfMixes: 0.125, entropy: 0.25 } },
    network: { architecture: 'small', baseWidth: 4, levels: 2 },
  });
  const file = planFile('all.json', plan);
  const parts = ['augmentation', 'loss-terms', 'network', 'metric'].flatMap((name) => ['--parts', example(name)]);
  const run = join(folder, 'run');
  const train = ['train', file, '--out', run, '--device', 'wasm'];
  const without = await runVersemi(folder, train);
  t.equal(without.code, 4, without.stderr);
  t.match(without.stderr, /VERSEMI_PART_UNKNOWN: .*--parts FILE/);
  succeeded(t, await runVersemi(folder, [...train, ...parts, '--steps', '3']));
  const extended = [...train, ...parts, '--steps', '4', '--resume'];
  succeeded(t, await runVersemi(folder, extended));

  const events = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n');
  const steps = events.map((line) => JSON.parse(line)).filter(({ type }) => type === 'step');
  t.equal(steps.length, 4);
  for (const { stage, losses } of steps) {
    const own = (stage === 2 ? 0.25 * losses['own.entropy'] : 0) + 0.125 * losses['own.tverskyOfMixes'];
    t.equal('own.entropy' in losses, stage === 2, 'the term on unlabelled scans is one of stage 2');
    t.ok(losses['own.tversky'] > 0 && losses['own.tversky'] < 1);
    const { dice, crossEntropy, synthetic, auxiliary = 0, unsupervised = 0, cube = 0 } = losses;
    const builtIn = dice + crossEntropy + synthetic + auxiliary + unsupervised + cube;
    t.ok(Math.abs(losses.total - builtIn - 0.5 * losses['own.tversky'] - own) < 1e-5, 'the weights count');
  }

  const evaluate = [
    'evaluate',
    run,
    '--data',
    `atrium=${phantom}`,
    '--cases',
    'validation',
    '--out',
    join(folder, 'evaluation'),
  ];
  const evaluated = await runVersemi(folder, [...evaluate, '--device', 'wasm', ...parts]);
  succeeded(t, evaluated);
  t.match(evaluated.stdout, /ASD \(mm\).*ASSD \(mm\).*volumeError/);
  const evaluation = JSON.parse(readFileSync(join(folder, 'evaluation', 'evaluation.json'), 'utf8'));
  t.type(evaluation.cases[0]['own.volumeError'], 'number');
  t.match(readFileSync(join(folder, 'evaluation', 'cases.csv'), 'utf8').split('\n')[0], /own\.volumeError/);

  const scan = join(phantom, 'imagesTr', 'mr-atrium_004.nii.gz');
  const predict = ['predict', run, scan, '--out', join(folder, 'masks'), '--device', 'wasm', '--max-memory', '3GB'];
  const refused = await runVersemi(folder, predict);
  t.equal(refused.code, 4, 'the model needs its network');
  t.match(refused.stderr, /network\.architecture.*found "small"/);
  succeeded(t, await runVersemi(folder, [...predict, '--parts', example('network')]));
  t.ok(existsSync(join(folder, 'masks', 'mr-atrium_004_left-atrium.nii.gz')));
  const onnx = ['export', run, '--onnx', join(folder, 'model.onnx'), '--parts', example('network')];
  const exported = await runVersemi(folder, onnx);
  t.equal(exported.code, 3, 'a graph is made of the network of versemi alone');
  t.match(exported.stderr, /VERSEMI_FORMAT_UNSUPPORTED.*network\.architecture.*small/);
});

t.test('an augmentation gives the same batches with workers and without', async (t) => {
  await loadParts(example('augmentation'));
  const plan = atriumPlan(phantom, { augmentation: { own: ['bias-field'] } });
  const data = await preprocessDatasets(plan, { cacheFolder: null });
  const [sampler, plain] = [createSampler(plan, data), createSampler(atriumPlan(phantom), data)];
  const prefetcher = createPrefetcher(plan, data, { workers: 2 });
  try {
    for (const step of [0, 3]) {
      const [expected, target] = ['labeled.image', 'labeled.target'].map((name) => bytes(sampler.batch(step), name));
      t.ok(bytes(await prefetcher.batch(step), 'labeled.image').equals(expected!), `step ${step}`);
      t.notOk(bytes(plain.batch(step), 'labeled.image').equals(expected!), 'it changes the image');
      t.ok(bytes(plain.batch(step), 'labeled.target').equals(target!), 'and not the label');
    }
  } finally {
    await prefetcher.close();
  }
});

t.test('parts of this thread alone: batches are made in it', async (t) => {
  const seen: string[] = [];
  addParts({
    augmentations: [{ name: 'seen', change: (_, { dataset, id }) => void seen.push(`${dataset}/${id}`) }],
    lossTerms: [{ name: 'vector', group: 'labeled', value: ({ logits }) => logits as never }],
  });
  const plan = atriumPlan(phantom, { augmentation: { own: ['seen'] } });
  const data = await preprocessDatasets(plan, { cacheFolder: null });
  const prefetcher = createPrefetcher(plan, data, { workers: 2 });
  await prefetcher.batch(0);
  await prefetcher.close();
  t.equal(seen.length, 2);

  addParts({ augmentations: [{ name: 'broken', change: (image) => void image.fill(Number.NaN, 7, 8) }] });
  const broken = createSampler(atriumPlan(phantom, { augmentation: { own: ['broken'] } }), data);
  t.throws(() => broken.batch(0), { code: 'VERSEMI_PART_INVALID', message: /augmentation broken.*NaN in voxel 7/ });

  const { createState, disposeState, hostStep, networkConfig, selectDevice, VersemiNetwork } = await import(
    '../../src/index.js'
  );
  await selectDevice('wasm', { threads: 1 });
  const wrong = atriumPlan(phantom, { losses: { own: { vector: 1 } } });
  const state = createState(new VersemiNetwork(networkConfig(wrong), 0), wrong);
  const step = hostStep(wrong, createSampler(wrong, data).batch(0));
  await t.rejects(runStep(state, wrong, step), {
    code: 'VERSEMI_PART_INVALID',
    message: /loss term vector.*one number/,
  });
  disposeState(state);
  t.equal(tf.memory().numTensors, 0, 'nothing is left');
});

t.test('what is no part is refused, and none of its neighbours is added', async (t) => {
  const change = () => {};
  const refused = (parts: unknown, message: RegExp) =>
    t.throws(() => addParts(parts as never), { code: 'VERSEMI_PART_INVALID', message });
  refused(
    {
      augmentations: [
        { name: 'fine', change },
        { name: 'a b', change },
      ],
    },
    /augmentations\[1\]\.name/,
  );
  refused({ augmentations: [{ name: 'fine' }] }, /augmentations\[0\]\.change\): expected a function/);
  refused({ augmentations: { name: 'fine', change } }, /parts\.augmentations\): expected a list/);
  refused({ augmentation: [] }, /parts\.augmentation\): expected formats, layouts/);
  refused({ layouts: [{ name: 'nnunet', cases: () => ({}) }] }, /no other dataset layout has, found nnunet/);
  refused({ networks: [{ name: 'versemi', parameters: change, trunk: change, logits: change }] }, /versemi/);
  refused({ lossTerms: [{ name: 'term', value: change }] }, /group\): expected 'labeled', 'mixed' or 'unlabeled'/);
  refused(
    { lossTerms: [{ name: 'term', group: 'mixed', acrossRanks: 'yes', value: change }] },
    /acrossRanks\): expected true or false/,
  );
  refused({ formats: [{ name: 'raw', endings: ['raw'], read: change }] }, /endings/);
  refused(null, /an object of lists/);
  const plan = atriumPlan(phantom, { augmentation: { own: ['fine'] } });
  t.throws(() => createPrefetcher(plan, { labeled: [], unlabeled: [] }), { code: 'VERSEMI_PART_UNKNOWN' });
  await t.rejects(openDataset(phantom, { format: 'decatlon' }), {
    code: 'VERSEMI_PART_UNKNOWN',
    message: /decathlon, nnunet, hdf5, dicom, images, patients.*"decatlon"/,
  });
  await t.rejects(loadParts(join(folder, 'none.mjs')), { code: 'VERSEMI_FILE_NOT_FOUND' });
  writeFileSync(join(folder, 'empty.mjs'), 'export const other = 1;');
  await t.rejects(loadParts(join(folder, 'empty.mjs')), { code: 'VERSEMI_PART_INVALID', message: /empty\.mjs/ });
});

t.test('a training loop on the public pieces writes a model', async (t) => {
  const file = planFile('loop.json', atriumPlan(phantom, {}, { mode: 'supervised', stage1Steps: 40, stage2Steps: 0 }));
  const model = join(folder, 'loop.safetensors');
  const outcome = await runVersemi(folder, [file, model, '40'], { program: example('training-loop') });
  succeeded(t, outcome);
  const losses = [...outcome.stdout.matchAll(/loss (\d\.\d+)/g)].map(([, loss]) => Number(loss));
  t.equal(losses.length, 4);
  t.ok(losses.at(-1)! < losses[0]!, `it learns: ${losses}`);
  const { plan, network } = await loadModel(model);
  t.equal(plan.tasks[0]!.name, 'left-atrium');
  network.dispose();
});

t.test('a network of tfjs-layers, trained on our kernels and applied to a scan', async (t) => {
  const file = planFile('layers.json', atriumPlan(phantom, {}, { stage1Steps: 8, stage2Steps: 8 }));
  const scan = join(phantom, 'imagesTr', 'mr-atrium_004.nii.gz');
  const mask = join(folder, 'layers.nii.gz');
  const outcome = await runVersemi(folder, [file, scan, mask, '8'], { program: example('layers-network') });
  succeeded(t, outcome);
  t.match(outcome.stdout, nativeUnavailableReason() === null ? /on versemi-cpu/ : /on versemi-wasm/);
  t.same((await readVolume(mask)).sizeVoxels, (await readVolume(scan)).sizeVoxels);
  const losses = [...outcome.stdout.matchAll(/loss (\d\.\d+)/g)].map(([, loss]) => Number(loss));
  t.ok(losses.at(-1)! < losses[0]!, `it learns: ${losses}`);
});
