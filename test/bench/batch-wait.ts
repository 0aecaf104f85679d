// The share of a training step that waits for its batch, in a real training: `secondsPerStep` and `waitSeconds` of its events, medians
// and sums per stage. The first steps of each stage, which fill the queue of the workers, are told apart.
//   node dist/test/bench/batch-wait.js [--plan test/examples/real-data.plan.json] [--data ../shared/data] [--datasets left-atrium,...]
//     [--width 16] [--patch 96,96,96] [--batch 8] [--steps 10] [--workers 1] [--device cpu] [--threads 2]
// Without --width, --patch and --batch as the plan has them. Without the data it says so and ends.
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { environment } from '../../src/environment.js';
import { type Plan, parsePlan, readPlan, type StepEvent, train } from '../../src/index.js';
import { medianOf } from '../../src/preprocessing/fingerprint.js';
import { packageRoot } from '../../src/root.js';

const { values: options } = parseArgs({
  options: {
    plan: { type: 'string', default: join(packageRoot, 'test', 'examples', 'real-data.plan.json') },
    data: { type: 'string', default: environment('VERSEMI_DATA') ?? '../shared/data' },
    datasets: { type: 'string' },
    width: { type: 'string' },
    patch: { type: 'string' },
    batch: { type: 'string' },
    steps: { type: 'string', default: '10' },
    workers: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string' },
  },
});
/** Steps of a stage during which the workers still make their first batches. */
const warmup = 2;

/** The plan with the datasets that are here, as long as asked for, without validation. */
async function shortPlan(): Promise<Plan> {
  const plan = await readPlan(options.plan);
  plan.datasets = plan.datasets
    .map((dataset) => ({ ...dataset, path: resolve(options.data, dataset.name) }))
    .filter(({ name, path }) => existsSync(path) && (options.datasets?.split(',').includes(name) ?? true));
  plan.tasks = plan.tasks.filter(({ dataset }) => plan.datasets.some(({ name }) => name === dataset));
  const steps = Number(options.steps);
  Object.assign(plan.training, { stage1Steps: steps, stage2Steps: steps, validateEverySteps: 0 });
  if (options.workers !== undefined) plan.training.workers = Number(options.workers);
  if (options.width !== undefined) plan.network.baseWidth = Number(options.width);
  if (options.patch !== undefined) plan.patchSizeVoxels = options.patch.split(',').map(Number) as never;
  if (options.batch !== undefined)
    Object.assign(plan.training, {
      labeledBatchSize: Number(options.batch),
      unlabeledBatchSize: Number(options.batch),
    });
  return plan.datasets.length === 0 ? plan : parsePlan(plan);
}

const plan = await shortPlan();
if (plan.datasets.length === 0) {
  console.log(`left out: ${resolve(options.data)} holds none of the datasets of ${options.plan}`);
} else {
  const runFolder = await mkdtemp(join(tmpdir(), 'versemi-wait-'));
  const steps: StepEvent[] = [];
  const threads = options.threads === undefined ? {} : { threads: Number(options.threads) };
  for await (const event of train(plan, { runFolder, device: options.device as 'cpu', ...threads }))
    if (event.type === 'step') steps.push(event);
  const rows = ([1, 2] as const).map((stage) => {
    const all = steps.filter((step) => step.stage === stage);
    const steady = all.slice(warmup);
    const sum = (name: 'waitSeconds' | 'secondsPerStep') => steady.reduce((total, step) => total + step[name], 0);
    return {
      stage,
      steps: steady.length,
      firstWaitsSeconds: all.slice(0, warmup).map(({ waitSeconds }) => waitSeconds),
      medianStepSeconds: medianOf(steady.map(({ secondsPerStep }) => secondsPerStep)),
      medianWaitSeconds: medianOf(steady.map(({ waitSeconds }) => waitSeconds)),
      waitingShare: sum('waitSeconds') / sum('secondsPerStep'),
    };
  });
  console.log(JSON.stringify({ workers: plan.training.workers, stages: rows }, null, 1));
  await rm(runFolder, { recursive: true });
}
