// From nothing to a report: makes four phantom datasets that look like CT and MR, most of whose cases carry no labels,
// trains both stages, trains the same network on the labelled cases alone, evaluates both on unseen cases, segments one
// scan, and writes runs/quickstart/report.html. `npm run quickstart [-- --device wasm]`, under 4 minutes on 2 cores.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createTerminal, formatDuration, formatTable } from '../../src/cli/terminal.js';
import { progress } from '../../src/cli/train.js';
import {
  type DeviceChoice,
  type EvaluatedCase,
  type Evaluation,
  evaluateDataset,
  loadModel,
  loadScan,
  makeEvaluation,
  makePhantomDataset,
  type PhantomKindName,
  type Plan,
  parsePlan,
  phantomKinds,
  predictVolume,
  selectDevice,
  train,
  writeEvaluation,
  writeNifti,
  writeOverlay,
  writeRunReport,
} from '../../src/index.js';

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'auto' },
    out: { type: 'string', default: join('runs', 'quickstart') },
    steps: { type: 'string', default: '300' },
  },
});
const started = performance.now();
const terminal = createTerminal({});
const folder = options.out;
const dataFolder = join(folder, 'data');
const kinds = Object.keys(phantomKinds) as PhantomKindName[];
const testCases = 4;

/** A spacing near that of each phantom's own, so that a patch of 32 voxels sees an organ whole. */
const spacingMm: Record<PhantomKindName, [number, number, number]> = {
  'ct-organ': [6, 6, 7],
  'ct-lesion': [6, 6, 6],
  'mr-ventricle': [3.5, 3.5, 5],
  'mr-atrium': [3, 3, 3.6],
};

function makeQuickstartPlan(mode: Plan['training']['mode']): Plan {
  const steps = Number(options.steps);
  return parsePlan({
    version: 1,
    name: `quickstart, ${mode}`,
    seed: 1,
    datasets: kinds.map((kind) => ({
      name: kind,
      path: join(dataFolder, kind),
      split: { labeled: 'labeled' },
      preprocessing: {
        spacingMm: spacingMm[kind],
        window: phantomKinds[kind].modality === 'CT' ? [-1000, 400] : null,
      },
    })),
    tasks: [
      { name: 'liver', dataset: 'ct-organ', labels: [1] },
      { name: 'lung tumour', dataset: 'ct-lesion', labels: [1] },
      { name: 'left ventricle', dataset: 'mr-ventricle', labels: [2] },
      { name: 'left atrium', dataset: 'mr-atrium', labels: [1] },
    ],
    network: { baseWidth: 8, levels: 4 },
    patchSizeVoxels: [32, 32, 32],
    training: {
      mode,
      stage1Steps: steps,
      stage2Steps: steps,
      labeledBatchSize: 8,
      unlabeledBatchSize: 8,
      learningRate: 0.003,
      schedule: 'polynomial',
      validateEverySteps: 0,
      checkpointEverySteps: 0,
    },
    // Short as it is, the run learns most from the labelled cases and the teacher: the terms of the paper weigh half.
    losses: {
      synthetic: 0.5,
      auxiliary: 0.5,
      unsupervised: 0.5,
      cube: 0.5,
      auxiliaryCrossEntropy: true,
      unsupervisedRampSteps: Math.floor(steps / 2),
      teacher: 1,
    },
    augmentation: { foregroundFraction: 0.5, intensityScale: 0.1, intensityShift: 0.1, noise: 0.1 },
    inference: { network: 'ema' },
  });
}

/** Trains by the plan into a folder and evaluates on the cases that the phantoms set apart. */
async function trainAndEvaluate(name: string, mode: Plan['training']['mode']): Promise<Evaluation> {
  const runFolder = join(folder, name);
  terminal.note(`\nTraining: ${name}`);
  const show = progress(terminal, 50);
  for await (const event of train(makeQuickstartPlan(mode), { runFolder, device: options.device as DeviceChoice })) {
    if (event.type !== 'end') show(event);
  }
  const model = await loadModel(join(runFolder, 'model.safetensors'));
  const cases: EvaluatedCase[] = [];
  const selections = [];
  for (const kind of kinds) {
    for await (const { index, selection, outcomes } of evaluateDataset(model, join(dataFolder, kind), {
      cases: ['test'],
    })) {
      if (index === 1) selections.push(selection);
      for (const outcome of outcomes) {
        cases.push(outcome.result);
        await writeOverlay(runFolder, outcome);
      }
    }
  }
  model.network.dispose();
  const weights = { step: model.history.steps, network: model.plan.inference.network };
  const facts = { model: join(runFolder, 'model.safetensors'), device: device.description, weights, selections };
  const evaluation = makeEvaluation(model, cases, facts);
  await writeEvaluation(runFolder, evaluation);
  return evaluation;
}

await rm(folder, { recursive: true, force: true });
terminal.note(
  `Four phantom datasets in ${dataFolder}: 16 cases each, 2 of them labelled, ${testCases} more to test on`,
);
for (const kind of kinds) {
  await makePhantomDataset(join(dataFolder, kind), kind, {
    cases: 16,
    labeledCases: 2,
    validationCases: 0,
    testCases,
    seed: 7,
  });
}

const { device, why } = await selectDevice(options.device as DeviceChoice);
terminal.note(`Device ${why}`);
const semi = await trainAndEvaluate('semi-supervised', 'semi-supervised');
const supervised = await trainAndEvaluate('labelled-cases-alone', 'supervised');

const scan = join(dataFolder, 'ct-organ', 'imagesTs', 'ct-organ_017.nii.gz');
const model = await loadModel(join(folder, 'semi-supervised', 'model.safetensors'));
for (const { task, mask, volumeMl } of await predictVolume(model, await loadScan(scan), { tasks: ['liver'] })) {
  const output = join(folder, `ct-organ_017_${task}.nii.gz`);
  await writeNifti(output, mask);
  terminal.note(`${scan}: ${task} ${volumeMl.toFixed(0)} ml, mask in ${output}`);
}
model.network.dispose();

const report = join(folder, 'report.html');
await writeRunReport(join(folder, 'semi-supervised'), report, {
  compare: [join(folder, 'labelled-cases-alone')],
  title: 'versemi quickstart',
});

const rows = Object.keys(semi.summary).map((task) => ({
  task,
  semi: semi.summary[task]!.dice!.mean ?? 0,
  supervised: supervised.summary[task]?.dice?.mean ?? 0,
}));
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
rows.push({
  task: 'mean',
  semi: mean(rows.map((row) => row.semi)),
  supervised: mean(rows.map((row) => row.supervised)),
});
terminal.print('\nDice on unseen cases');
terminal.print(
  formatTable(
    ['task', 'semi-supervised', 'labelled cases alone'],
    rows.map((row) => [row.task, row.semi.toFixed(3), row.supervised.toFixed(3)]),
  ),
);
terminal.print(`\n${report}, after ${formatDuration((performance.now() - started) / 1000)}`);
