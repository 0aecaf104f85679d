// The command line as its users see it: child processes, their output and exit codes, from phantoms to a report.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { environmentTable } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';
import { registerVersemiBackends } from '../../src/tfjs/index.js';
import { type Outcome, type RunOptions, runVersemi } from './cli-support.js';

const folder = t.testdir();
const commands = [
  'plan',
  'preprocess',
  'train',
  'evaluate',
  'predict',
  'serve',
  'compare',
  'report',
  'export',
  'import',
  'info',
  'selftest',
  'bench',
];

const versemi = (args: readonly string[], options?: RunOptions) => runVersemi(folder, args, options);

/** Runs what must succeed. */
async function done(...args: string[]): Promise<Outcome> {
  const outcome = await versemi(args);
  if (outcome.code !== 0) t.fail(`versemi ${args.join(' ')}: exit code ${outcome.code}\n${outcome.stderr}`);
  return outcome;
}

/** Runs what must fail with an exit code and words in its message, and nothing on stdout. */
async function fails(code: number, words: RegExp, ...args: string[]): Promise<void> {
  const outcome = await versemi(args);
  const name = `versemi ${args.join(' ')}`;
  t.equal(outcome.code, code, `${name}: exit code; stderr: ${outcome.stderr.slice(0, 300)}`);
  t.match(outcome.stderr, words, `${name}: message`);
  t.notMatch(outcome.stderr, /^ +at /m, `${name}: no stack`);
  t.equal(outcome.stdout, '', `${name}: nothing on stdout`);
}

const json = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'));

await Promise.all(
  (['mr-atrium', 'mr-ventricle'] as const).map((kind) =>
    makePhantomDataset(join(folder, kind), kind, {
      cases: 4,
      labeledCases: 2,
      validationCases: 1,
      testCases: 1,
      seed: 3,
    }),
  ),
);
const native = (await registerVersemiBackends()).some(
  ({ backend, available }) => backend === 'versemi-cpu' && available,
);

t.test('help: every command has examples; the program lists the exit codes', async (t) => {
  const outcomes = await Promise.all([done('--help'), ...commands.map((command) => done(command, '--help'))]);
  for (const command of commands) t.match(outcomes[0]!.stdout, new RegExp(`^  ${command} `, 'm'));
  t.match(outcomes[0]!.stdout, 'Exit codes: 0 done');
  for (const { name, effect } of environmentTable) {
    const line = outcomes[0]!.stdout.split('\n').find((text) => text.trimStart().startsWith(`${name} `));
    t.match(line, effect);
  }
  for (const [i, command] of commands.entries()) t.match(outcomes[i + 1]!.stdout, `Examples:\n  $ versemi ${command}`);
  t.match((await done('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
});

t.test('info of an image', async (t) => {
  const affine = [0, -2, 0, 10, 1.5, 0, 0, -20, 0, 0, 3, 5, 0, 0, 0, 1];
  const data = Int16Array.from({ length: 24 }, (_, i) => i - 4);
  await writeNifti(join(folder, 'scan.nii.gz'), { data, sizeVoxels: [4, 3, 2], spacingMm: [1.5, 2, 3], affine });
  const { stdout, stderr } = await done('info', 'scan.nii.gz', '--json');
  t.equal(stderr, '');
  t.match(JSON.parse(stdout), {
    sizeVoxels: [4, 3, 2],
    spacingMm: [1.5, 2, 3],
    affine,
    orientation: 'ALS',
    datatype: 'int16',
    min: -4,
    max: 19,
    mean: 7.5,
  });
  t.match((await done('info', 'scan.nii.gz')).stdout, /4 x 3 x 2 voxels/);
});

/** The plan that `versemi plan` made, with as few and small steps as can be. */
function writeTinyPlan(
  name: string,
  stage1Steps: number,
  change: (plan: Record<string, unknown>) => unknown = () => {},
): void {
  const plan = json('plan.json');
  Object.assign(plan.network, { levels: 2, convolutions: [1, 1] });
  const sizes = { labeledBatchSize: 2, unlabeledBatchSize: 2, workers: 0 };
  Object.assign(plan.training, { ...sizes, stage1Steps, stage2Steps: stage1Steps, checkpointEverySteps: 0 });
  plan.training.validateEverySteps = 0;
  for (const dataset of plan.datasets) dataset.preprocessing.spacingMm = [6, 6, 8];
  change(plan);
  writeFileSync(join(folder, name), JSON.stringify(plan));
}

t.test('plan, preprocess, train', async (t) => {
  const args = [
    'mr-atrium',
    'mr-ventricle',
    '--labeled',
    'labeled',
    '--validation',
    '1',
    '--patch',
    '16',
    '--width',
    '4',
  ];
  const speed = ['--gflops', '100'];
  const planned = await done('plan', ...args, ...speed, '--merge-labels', 'all', '--out', 'plan.json', '--json', '-q');
  t.equal(planned.stderr, '');
  t.match(JSON.parse(planned.stdout), { file: 'plan.json', plan: { version: 1, patchSizeVoxels: [16, 16, 16] } });
  t.same(
    json('plan.json').tasks.map(({ name }: { name: string }) => name),
    ['mr-atrium', 'mr-ventricle'],
  );
  const inFolds = ['mr-atrium', '--labeled', 'labeled', '--folds', '2', '--gflops', '100'];
  await done('plan', ...inFolds, '--out', 'folds.json', '-q');
  t.same(json('folds.json').datasets[0].split.fold, [0, 2]);
  await fails(2, /--folds.*without --validation/s, 'plan', ...inFolds, '--validation', '1', '--out', 'no.json');
  await fails(2, /--fold\b.*expected 0 to 1, found 2/s, 'train', 'folds.json', '--fold', '2', '--out', 'no');
  await fails(2, /--fold\b.*a plan with folds/s, 'train', 'plan.json', '--fold', '0', '--out', 'no');
  await fails(2, /--force/, 'plan', ...args, '--out', 'plan.json');
  await fails(2, /--hours.*--paper/, 'plan', 'mr-atrium', '--hours', '1', '--paper', '--out', 'no.json');
  t.notOk(existsSync(join(folder, 'no.json')));

  writeTinyPlan('tiny.json', 3);
  const first = JSON.parse((await done('preprocess', 'tiny.json', '--json', '-q')).stdout);
  t.match(first.datasets, [{ dataset: 'mr-atrium', cases: 4, labeled: 3, cached: 0 }, { dataset: 'mr-ventricle' }]);
  const again = JSON.parse((await done('preprocess', 'tiny.json', '--json', '-q')).stdout);
  t.match(again.datasets, [{ cached: 4 }, { cached: 4 }]);

  const { stdout, stderr } = await done(
    'train',
    'tiny.json',
    '--out',
    'run',
    '-q',
    '--device',
    native ? 'cpu' : 'wasm',
  );
  t.equal(stderr, '', '-q is silent');
  t.match(stdout, 'run/model.safetensors', 'and prints the result');
  t.match(readdirSync(join(folder, 'run')).sort(), [
    'checkpoints',
    'metrics.jsonl',
    'model.safetensors',
    'plan.json',
    'tensorboard',
  ]);
  await fails(2, /run folder/, 'train', 'tiny.json', '--out', 'run', '-q');
  const info = JSON.parse((await done('info', 'run/model.safetensors', '--json')).stdout);
  t.match(info, {
    tasks: [{ name: 'mr-atrium' }, { name: 'mr-ventricle' }],
    plan: { version: 1 },
    history: { steps: 6 },
  });
});

t.test('Ctrl-C writes a checkpoint and exits with 130; --resume goes on', async (t) => {
  writeTinyPlan('longer.json', 30);
  const args = ['train', 'longer.json', '--out', 'interrupted', '--device', 'wasm', '--json', '-q'];
  const stopped = await versemi(args, { interruptAt: '"type":"step"' });
  t.equal(stopped.code, 130, stopped.stderr);
  t.match(stopped.stderr, '--resume');
  const events = stopped.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const step = events.at(-1).step;
  t.match(events.at(-1), { type: 'end', reason: 'aborted' });
  t.ok(step >= 1 && step < 60, `stopped after step ${step}`);
  t.ok(existsSync(join(folder, 'interrupted', 'checkpoints', 'last.safetensors')));
  t.notOk(existsSync(join(folder, 'interrupted', 'model.safetensors')));
  const resumed = (await done(...args, '--resume')).stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.match(
    resumed.find(({ type }) => type === 'start'),
    { step, steps: 60 },
  );
  t.match(resumed.at(-1), { type: 'end', reason: 'finished', step: 60 });
  const steps = readFileSync(join(folder, 'interrupted', 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter(({ type }) => type === 'step');
  t.same(
    steps.map((event) => event.step),
    Array.from({ length: 60 }, (_, i) => i + 1),
    'each step once',
  );
});

t.test('evaluate, predict, report', async (t) => {
  const model = 'run/model.safetensors';
  const evaluate = ['evaluate', 'run', '--data', 'mr-atrium', '--cases', 'test', '--device', 'wasm', '-q'];
  const printed = await done(...evaluate, '--out', 'run/evaluation', '--csv', 'cases.csv', '--json', 'out.json');
  t.equal(printed.stderr, '');
  t.match(printed.stdout, /^task +cases +Dice/);
  const { cases, summary } = json('out.json');
  t.equal(cases.length, 1);
  t.match(cases[0], { id: 'mr-atrium_005', dataset: 'mr-atrium', task: 'mr-atrium', dice: Number, jaccard: Number });
  for (const metric of ['hd95PooledMm', 'hd95MaxMm', 'asdMm', 'surfaceDice']) t.ok(metric in cases[0], metric);
  t.match(summary, { 'mr-atrium': { dice: { mean: cases[0].dice, std: 0, count: 1 }, jaccard: { count: 1 } } });
  t.match(readFileSync(join(folder, 'cases.csv'), 'utf8'), /^id,.*\r\nmr-atrium_005,/);
  t.same(JSON.parse((await done(...evaluate, '--json')).stdout).cases, cases, '--json prints the same');

  const scan = 'mr-ventricle/imagesTs/mr-ventricle_005.nii.gz';
  const predict = ['predict', model, scan, '--json', '-q'];
  const predicted = JSON.parse((await done(...predict, '--out', 'masks', '--device', 'wasm')).stdout);
  t.same(
    predicted.predictions.map(({ task }: { task: string }) => task),
    ['mr-atrium', 'mr-ventricle'],
  );
  const image = await readVolume(join(folder, scan));
  for (const { output, foregroundVoxels } of predicted.predictions) {
    const mask = await readVolume(join(folder, output));
    t.same(mask.sizeVoxels, image.sizeVoxels);
    t.same(mask.affine, image.affine);
    t.equal(
      Array.from(mask.data).reduce((sum, value) => sum + value, 0),
      foregroundVoxels,
    );
  }
  if (native) {
    const onCpu = JSON.parse(
      (await done(...predict, '--out', 'masks-cpu', '--device', 'cpu', '--task', 'mr-ventricle')).stdout,
    );
    const [a, b] = [predicted.predictions[1], onCpu.predictions[0]];
    const masks = await Promise.all([a, b].map(({ output }) => readVolume(join(folder, output))));
    const different = masks[0]!.data.filter((value: number, i: number) => value !== masks[1]!.data[i]).length;
    t.ok(different <= 0.001 * masks[0]!.data.length, `cpu and wasm differ in ${different} voxels`);
  }
  const reported = await done('report', 'run', '--title', 'Small', '--out', 'page.html', '-q');
  t.same([reported.stdout, reported.stderr], ['page.html\n', '']);
  const page = readFileSync(join(folder, 'page.html'), 'utf8');
  t.match(page, '<title>Small</title>');
  t.match(page, 'mr-atrium_005');
  t.notMatch(page, /https?:|<script/);
});

t.test('Ctrl-C stops predict and evaluate: exit code 130, no mask, no result', async (t) => {
  // Thousands of windows, so that the signal comes long before the last.
  const sizeVoxels = [150, 150, 60] as const;
  const data = Int16Array.from({ length: 150 * 150 * 60 }, (_, i) => (i * 7919) % 1000);
  const volume = {
    data,
    sizeVoxels,
    spacingMm: [6, 6, 8],
    affine: [6, 0, 0, 0, 0, 6, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1],
  } as const;
  const label = { ...volume, data: Uint8Array.from(data, (value) => (value > 900 ? 1 : 0)) };
  await writeNifti(join(folder, 'large', 'images', 'a.nii'), volume);
  await writeNifti(join(folder, 'large', 'labels', 'a.nii'), label);
  const how = ['--task', 'mr-atrium', '--tta', '--device', 'wasm', '--max-memory', '8GB'];
  const interruptAt = 'in one part';
  const [predicted, evaluated] = await Promise.all([
    versemi(['predict', 'run', 'large/images/a.nii', '--out', 'stopped-masks', ...how], { interruptAt }),
    versemi(['evaluate', 'run', '--data', 'large', '--json', 'stopped.json', ...how], { interruptAt }),
  ]);
  for (const { code, stdout, stderr } of [predicted, evaluated]) {
    t.equal(code, 130, stderr);
    t.match(stderr, /Stopping after this window; Ctrl-C again ends at once\.\n(.*\n)?The call was aborted/);
    t.equal(stdout, '');
  }
  t.notOk(existsSync(join(folder, 'stopped-masks')));
  t.notOk(existsSync(join(folder, 'stopped.json')));
});

t.test('exit codes and what the message names', async (t) => {
  writeFileSync(join(folder, 'broken.nii'), 'no image at all');
  const whole = readFileSync(join(folder, 'scan.nii.gz'));
  writeFileSync(join(folder, 'short.nii.gz'), whole.subarray(0, whole.length - 20));
  writeFileSync(join(folder, 'no-model.safetensors'), 'no model at all');
  mkdirSync(join(folder, 'other'));
  copyFileSync(join(folder, 'scan.nii.gz'), join(folder, 'other', 'scan.nii.gz'));
  writeTinyPlan('unknown.json', 3, (plan) => Object.assign(plan.training as object, { learningrate: 1 }));
  writeTinyPlan('contradiction.json', 3, (plan) => Object.assign(plan, { patchSizeVoxels: [15, 16, 16] }));
  const model = 'run/model.safetensors';
  await Promise.all([
    fails(2, /unknown option/, 'info', 'scan.nii.gz', '--nonsense'),
    fails(2, /unknown command/, 'nonsense'),
    fails(2, /whole number/, 'train', 'tiny.json', '--out', 'x', '--seed', 'abc'),
    fails(2, /scan\.nii\.gz and .*scan\.nii\.gz/, 'predict', model, 'scan.nii.gz', 'other/scan.nii.gz', '--out', 'x'),
    fails(3, /nowhere\.nii/, 'info', 'nowhere.nii', '--json'),
    fails(3, /nowhere/, 'report', 'nowhere', '--json'),
    fails(3, /broken\.nii/, 'info', 'broken.nii'),
    fails(3, /short\.nii\.gz/, 'info', 'short.nii.gz'),
    fails(4, /unknown\.json.*training\.learningrate.*learningRate/, 'train', 'unknown.json', '--out', 'x'),
  ]);
  await Promise.all([
    fails(4, /contradiction\.json.*patchSizeVoxels/, 'train', 'contradiction.json', '--out', 'x'),
    fails(5, /no-model\.safetensors/, 'info', 'no-model.safetensors', '--json'),
    fails(
      5,
      /no-model\.safetensors/,
      'predict',
      'no-model.safetensors',
      'scan.nii.gz',
      '--out',
      'x',
      '--device',
      'wasm',
    ),
    fails(
      5,
      /mr-atrium, mr-ventricle.*spleen/s,
      'predict',
      model,
      'scan.nii.gz',
      '--out',
      'x',
      '--task',
      'spleen',
      '-q',
    ),
    fails(3, /no-model\.nii/, 'predict', model, 'no-model.nii', '--out', 'x'),
  ]);
  t.notOk(existsSync(join(folder, 'x')), 'nothing was written');
});

t.test(
  'without the addon: --device cpu says how to get it, auto takes wasm',
  { skip: process.platform === 'win32' },
  async (t) => {
    const bare = join(folder, 'bare');
    mkdirSync(join(bare, 'dist'), { recursive: true });
    copyFileSync(join(packageRoot, 'package.json'), join(bare, 'package.json'));
    symlinkSync(join(packageRoot, 'dist', 'src'), join(bare, 'dist', 'src'));
    symlinkSync(join(packageRoot, 'node_modules'), join(bare, 'node_modules'));
    const options = {
      node: ['--preserve-symlinks', '--preserve-symlinks-main'],
      program: join(bare, 'dist', 'src', 'cli', 'main.js'),
    };
    const predict = ['predict', 'run/model.safetensors', 'scan.nii.gz', '--out', 'bare-masks', '--task', 'mr-atrium'];
    const refused = await versemi([...predict, '--device', 'cpu'], options);
    t.equal(refused.code, 6, refused.stderr);
    t.match(refused.stderr, /VERSEMI_DEVICE_UNAVAILABLE.*install\.mjs/s);
    const automatic = await versemi(predict, options);
    t.equal(automatic.code, 0, automatic.stderr);
    t.match(automatic.stderr, /wasm|WebAssembly/);
  },
);

t.test('compare: a queue that is done once, goes on where it was interrupted, and a report', async (t) => {
  writeTinyPlan('compared.json', 4, (plan) => {
    (plan.training as Record<string, unknown>).validateEverySteps = 2;
  });
  const args = ['compare', 'compared.json', '--device', 'wasm', '--out', 'comparison'];
  const methods = ['--methods', 'plan,bcp,ua-mt'];
  await fails(2, /best/, ...args, '--methods', 'bcp,best');
  const stopped = await versemi([...args, ...methods, '--seeds', '1,2'], { interruptAt: 'Run 2 of 6' });
  t.equal(stopped.code, 130);
  t.match(stopped.stderr, /the same command/);
  const first = await done(...args, ...methods, '--seeds', '1,2');
  t.match(first.stderr, /Run 1 of 6, compared, seed 1: is finished\./);
  t.match(first.stderr, /Run 6 of 6, ua-mt, seed 2: begins\./);
  t.match(first.stdout, /less compared/);
  const evaluations = ['compared', 'bcp', 'ua-mt'].flatMap((name) =>
    [1, 2].map((seed) => json(`comparison/${name}/seed-${seed}/evaluation/evaluation.json`)),
  );
  const cases = evaluations.map((one) => one.cases.map((row: { id: string; task: string }) => `${row.id} ${row.task}`));
  t.equal(cases[0].length, 2, 'one validation case of each dataset');
  for (const [i, list] of cases.entries()) t.same(list, cases[0], `run ${i}: the same cases`);
  const again = JSON.parse((await done(...args, ...methods, '--seeds', '1,2,3', '--json', '-q')).stdout);
  t.same(
    again.methods.map(({ name, seeds }: { name: string; seeds: number[] }) => [name, seeds]),
    [
      ['compared', [1, 2, 3]],
      ['bcp', [1, 2, 3]],
      ['ua-mt', [1, 2, 3]],
    ],
  );
  for (const [i, before] of evaluations.entries()) {
    const name = ['compared', 'bcp', 'ua-mt'][Math.floor(i / 2)];
    const now = json(`comparison/${name}/seed-${1 + (i % 2)}/evaluation/evaluation.json`);
    t.equal(now.created, before.created, 'finished runs are not done again');
  }
  const plans = [1, 2].map((seed) => json(`comparison/bcp/seed-${seed}/plan.json`));
  t.same(
    plans.map(({ seed }) => seed),
    [1, 2],
  );
  t.same(plans[0].datasets, plans[1].datasets);
  const { stdout } = await done('report', 'comparison', '--reference', 'bcp');
  t.match(stdout, /less bcp/);
  const page = readFileSync(join(folder, 'comparison/report.html'), 'utf8');
  t.match(page, 'Learning curves');
  t.match(page, 'Differences from bcp');
  await fails(2, /one of compared, bcp, ua-mt/, 'report', 'comparison', '--reference', 'none');
  writeTinyPlan('compared.json', 4, (plan) => {
    (plan.training as Record<string, unknown>).learningRate = 0.5;
  });
  await fails(5, /training\.learningRate/, ...args, '--seeds', '1');
  writeTinyPlan('unvalidated.json', 4, (plan) => {
    for (const dataset of plan.datasets as { split: { validation: number } }[]) dataset.split.validation = 0;
  });
  await fails(3, /--validation/, 'compare', 'unvalidated.json', '--device', 'wasm', '--out', 'other');
});
