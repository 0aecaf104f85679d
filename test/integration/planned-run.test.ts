// From a plan to a run that stops half way, as users see it: what there is, what training takes, what a run folder tells, and which
// weights can be taken from it.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { type RunOptions, runVersemi } from './cli-support.js';

const folder = t.testdir();
const kinds = ['mr-atrium', 'mr-ventricle'] as const;
for (const kind of kinds)
  await makePhantomDataset(join(folder, kind), kind, {
    cases: 4,
    labeledCases: 2,
    validationCases: 1,
    testCases: 1,
    seed: 3,
  });
writeFileSync(join(folder, 'mr-atrium', 'imagesTr', 'copy of a.nii.gz'), 'no case of the dataset');

const versemi = (args: readonly string[], options?: RunOptions) => runVersemi(folder, args, options);

async function done(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await versemi(args);
  if (code !== 0) throw new Error(`versemi ${args.join(' ')}: exit code ${code}\n${stderr}`);
  return stdout;
}

async function fails(code: number, words: RegExp, ...args: string[]): Promise<void> {
  const outcome = await versemi(args);
  const name = `versemi ${args.join(' ')}`;
  t.equal(outcome.code, code, `${name}: ${outcome.stderr.slice(0, 300)}`);
  t.match(outcome.stderr, words, name);
  t.equal(outcome.stdout, '', `${name}: nothing on stdout`);
}

const json = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'));
const lines = (text: string) => text.trimEnd().split('\n');

t.test('plan: what there is, and what was given up for a speed that is given', async (t) => {
  const args = ['plan', ...kinds, '--labeled', 'mr-atrium=labeled', '--validation', '0', '--gflops', '100', '-q'];
  const printed = await done(...args, '--out', 'lists.json');
  const [head, , ...rows] = lines(printed);
  t.match(head, /^dataset +modality +cases +labelled +unlabelled +validation +unused +passed over$/);
  t.same(
    rows.slice(0, 2).map((row) => row.split(/ +/)),
    [
      ['mr-atrium', 'MR', '4', '2', '2', '0', '0', '1'],
      ['mr-ventricle', 'MR', '4', '3', '1', '0', '0', '0'],
    ],
    'the list of one dataset alone; all labels of the other',
  );
  t.match(printed, /Passed over in mr-atrium\n {2}.*copy of a\.nii\.gz: an image that dataset\.json does not list/);
  t.match(printed, /Given up to end in 10 h 00 min \(--paper keeps it, which takes about \d+ h/);
  t.match(printed, /nothing: 100 GFLOP\/s, as given/);
  t.same(
    json('lists.json').datasets.map(({ split }: { split: { labeled: string } }) => split.labeled),
    ['labeled', 'all'],
  );
  const { training } = json('lists.json');
  const steps = training.stage1Steps + training.stage2Steps;
  t.ok(steps < 26000 && steps >= 6000, `${steps} steps`);
  t.equal(training.checkpointEveryMinutes, 15);
  const paper = [...args, '--paper', '--method', 'versemi-views', '--out', 'paper.json'];
  t.match(await done(...paper), /As much work as in the paper's schedule, as asked\./);
  t.match(json('paper.json').training, { stage1Steps: 13000, stage2Steps: 13000 });
  await fails(2, /--hours.*--paper/, ...args, '--hours', '1', '--paper', '--out', 'no.json');
  await fails(2, /mr-atrium.*found spleen/s, 'plan', ...kinds, '--labeled', 'spleen=all', '--out', 'no.json');
  await fails(2, /one list of mr-atrium/, ...args, '--labeled', 'mr-atrium=all', '--out', 'no.json');
  t.notOk(existsSync(join(folder, 'no.json')));
});

t.test('plan: times real steps, and says how', async (t) => {
  const sizes = ['--labeled', 'labeled', '--validation', '1', '--patch', '16', '--width', '2', '--device', 'wasm'];
  const args = ['plan', ...kinds, ...sizes, '--hours', '0.01'];
  const printed = await done(...args, '--out', 'timed.json');
  t.match(printed, /medians of \d+ steps of stage 1 and \d+ steps of stage 2 with a few of the cases/);
  t.match(printed, /memory +\d+ MiB of the device at the most, measured/);
  t.match(printed, /16 x 16 x 16 voxels, [\d.]+ x [\d.]+ x [\d.]+ mm of mr-atrium/);
  t.match(printed, /training +about .* for [\d,]+ steps, of which validation about /);
  const { time, plan, device } = JSON.parse(await done(...args, '--out', 'timed.json', '--force', '--json', '-q'));
  t.match(device, /WebAssembly/i);
  t.match(time.measured.stages, [{ stage: 1 }, { stage: 2 }]);
  for (const { steps, secondsPerStep, waitShare } of time.measured.stages)
    t.ok(steps >= 3 && secondsPerStep > 0 && waitShare < 1, `${steps} steps of ${secondsPerStep} s`);
  t.ok(time.measured.bytesPeak > 0 && time.preprocessingSeconds > 0 && time.load >= 0);
  const { stage1Steps, stage2Steps } = plan.training;
  const [first, second] = time.measured.stages;
  const seconds = stage1Steps * first.secondsPerStep + stage2Steps * second.secondsPerStep + time.validationSeconds;
  t.ok(Math.abs(seconds / time.trainingSeconds - 1) < 1e-9, 'steps as they were timed, and validations');
});

t.test('a run that stops half way', async (t) => {
  const plan = json('lists.json');
  Object.assign(plan.network, { baseWidth: 2, levels: 2, convolutions: [1, 1] });
  const sizes = { labeledBatchSize: 2, unlabeledBatchSize: 2, workers: 0, stage1Steps: 20, stage2Steps: 380 };
  Object.assign(plan.training, { ...sizes, validateEverySteps: 2, checkpointEverySteps: 0 });
  plan.patchSizeVoxels = [8, 8, 8];
  for (const dataset of plan.datasets) {
    dataset.preprocessing.spacingMm = [12, 12, 16];
    dataset.split = { file: null, labeled: 'labeled', validation: 1, unlabeled: 'rest' };
  }
  writeFileSync(join(folder, 'small.json'), JSON.stringify(plan));
  const device = ['--device', 'wasm'];
  await done('preprocess', 'small.json', '--cache', 'filled', '-q');
  const train = ['train', 'small.json', '--out', 'run', '--cache', 'filled', '--json', '-q', ...device];
  const stopped = await versemi(train, { interruptAt: '"type":"validation"' });
  t.equal(stopped.code, 130, stopped.stderr);
  const events = lines(stopped.stdout).map((line) => JSON.parse(line));
  const cases = events.filter(({ type }) => type === 'case');
  t.ok(cases.length > 0 && cases.every(({ cached }) => cached), 'the cases come from the cache that preprocess filled');
  t.notOk(existsSync(join(folder, '.versemi-cache')));
  const { step } = events.at(-1);

  await fails(2, /versemi train PLAN --out run --resume/, 'train', 'small.json', '--out', 'run', ...device);

  const info = await done('info', 'run');
  t.match(info, new RegExp(`interrupted after ${step} of 400 steps: versemi train PLAN --out run --resume goes on`));
  t.match(info, /^last +\d+ +[\d.]+ MiB .*run\/checkpoints\/last\.safetensors$/m);
  t.match(info, /^mr-atrium +mr-atrium/m, 'and its model');
  const { run, model } = JSON.parse(await done('info', 'run', '--json'));
  t.match(run, { state: 'interrupted', step, steps: 400, evaluations: [] });
  t.match(model, { history: { steps: step } });

  const evaluate = ['evaluate', 'run', '--data', 'mr-atrium', '--cases', 'test', '-q', ...device];
  await fails(3, /checkpoints alone: best, last.*--weights best.*--resume/s, ...evaluate);
  const { weights: last } = JSON.parse(await done(...evaluate, '--weights', 'last', '--json'));
  t.same(last, { step, network: 'ema' });
  const best = JSON.parse(await done(...evaluate, '--weights', 'student,best', '--out', 'run/evaluation', '--json'));
  t.match(best.weights, { network: 'student' });
  t.ok(best.weights.step % 2 === 0 && best.weights.step <= step, `the best was step ${best.weights.step}`);
  t.match(JSON.parse(await done('info', 'run', '--json')).run.evaluations, ['run/evaluation']);
  await fails(2, /best or last, student or ema/, ...evaluate, '--weights', 'best,last');
  const file = 'run/checkpoints/last.safetensors';
  await fails(2, /no folder/, 'evaluate', file, '--data', 'mr-atrium', '--weights', 'best', ...device);

  const log = () => lines(readFileSync(join(folder, 'run', 'train.log'), 'utf8'));
  const before = log();
  for (const line of before) t.match(line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S/);
  const text = before.join('\n');
  for (const words of [
    /versemi \d.*, plan lists, seed 0/,
    /Device /,
    /\d+ of them already in the cache/,
    /validation Dice/,
  ])
    t.match(text, words);
  t.match(before.at(-1), new RegExp(`Stopped after step ${step}, .*versemi train --resume goes on`));
  await done(...train, '--steps', String(Math.max(22, step + 2)), '--resume');
  const after = log();
  t.same(after.slice(0, before.length), before, 'one log, that goes on');
  t.match(after.at(-1), /Finished after \d+ steps, .*run\/model\.safetensors/);
  t.match(JSON.parse(await done('info', 'run', '--json')).run, { state: 'finished' });
  t.ok(readdirSync(join(folder, 'run')).includes('train.log'));
});
