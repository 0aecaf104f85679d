// Everything that only a GPU can show, in one command that builds nothing, for a bare GPU machine (Node, python3 with PyTorch):
// the selftest in every precision, the bench with its peers, the loss curves of two precisions beside each other, and a training
// on real data. Writes one JSON file, anew after each part, so that a run that is cut off leaves what it had.
//   node dist/test/bench/gpu.js --out gpu.json [--only selftest,bench,curves,training] [--data ../shared/data] [--minutes 8]
// It needs package.json, dist, build/Release, node_modules (without the development ones), test/bench/peers and test/examples.
// `--device cpu --patch 32 --batch 2 --steps 4 --minutes 0.2` checks the program itself where there is no GPU.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { isVersemiError, type Plan, readPlan, type TrainingEvent, writePlan } from '../../src/index.js';
import { packageRoot } from '../../src/root.js';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string', default: 'gpu.json' },
    only: { type: 'string', default: 'selftest,bench,curves,training' },
    device: { type: 'string', default: 'cuda' },
    data: { type: 'string', default: '../shared/data' },
    minutes: { type: 'string', default: '8' },
    patch: { type: 'string', default: '96' },
    batch: { type: 'string', default: '8' },
    steps: { type: 'string', default: '300' },
  },
});
const onGpu = options.device === 'cuda';
const folder = join(dirname(resolve(options.out)), 'gpu-runs');
const result: Record<string, unknown> = { started: new Date().toISOString(), options };

/** Runs the command line in a process of its own, so that a fault in one part leaves the others. */
async function versemi(...args: string[]): Promise<string> {
  const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...args], { maxBuffer: 1 << 28 });
  return stdout;
}

async function part(name: string, work: () => Promise<unknown>): Promise<void> {
  if (!options.only.split(',').includes(name)) return;
  const start = performance.now();
  let outcome: unknown;
  try {
    outcome = await work();
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    const what = isVersemiError(error) ? error.message : String((error as Error).stack ?? error);
    outcome = { failed: what.slice(0, 4000), stderr: stderr?.slice(-4000), stdout: stdout?.slice(-4000) };
    process.exitCode = 1;
  }
  result[name] = { seconds: (performance.now() - start) / 1000, outcome };
  await writeFile(options.out, `${JSON.stringify(result, null, 1)}\n`);
  console.log(
    `${name}: ${JSON.stringify(outcome).slice(0, 300)} (${((performance.now() - start) / 1000).toFixed(0)} s)`,
  );
}

/** The plan of the real data with the data sets that are here. */
async function realPlan(): Promise<Plan> {
  const plan = await readPlan(join(packageRoot, 'test', 'examples', 'gpu.plan.json'));
  plan.datasets = plan.datasets
    .map((dataset) => ({ ...dataset, path: resolve(options.data, dataset.name) }))
    .filter(({ path }) => existsSync(path));
  plan.tasks = plan.tasks.filter(({ dataset }) => plan.datasets.some(({ name }) => name === dataset));
  return plan;
}

interface Run {
  readonly folder: string;
  /** Total loss of every step. */
  readonly losses: number[];
  readonly secondsPerStep: number;
  /** Dice per task at the last validation. */
  readonly validation: Record<string, number>;
}

async function train(name: string, plan: Plan, precision: string): Promise<Run> {
  const run = join(folder, name);
  await mkdir(folder, { recursive: true });
  const planFile = join(folder, `${name}.plan.json`);
  await writePlan(planFile, plan);
  await versemi('train', planFile, '--out', run, '--device', options.device, '--precision', precision, '-q');
  const lines = (await readFile(join(run, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n');
  const events = lines.map((line) => JSON.parse(line) as TrainingEvent);
  const steps = events.filter((event) => event.type === 'step');
  const validations = events.filter((event) => event.type === 'validation');
  const times = steps.map((step) => step.secondsPerStep).sort((a, b) => a - b);
  return {
    folder: run,
    losses: steps.map((step) => step.losses.total),
    secondsPerStep: times[Math.floor(times.length / 2)]!,
    validation: { ...validations.at(-1)?.perTask },
  };
}

/** Largest distance of two smoothed curves, as a share of the range of the first. */
function distance(a: readonly number[], b: readonly number[], window = 25): number {
  const smooth = (values: readonly number[]) =>
    values.map((_, i) => mean(values.slice(Math.max(0, i - window + 1), i + 1))).slice(window);
  const [first, second] = [smooth(a), smooth(b)];
  const range = Math.max(...first) - Math.min(...first);
  return Math.max(...first.map((value, i) => Math.abs(value - second[i]!))) / range;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

const precisions = onGpu ? ['bfloat16', 'tf32', 'float32'] : ['float32'];

await part('selftest', async () => {
  const outcomes: unknown[] = [];
  for (const precision of precisions) {
    const text = await versemi('selftest', '--device', options.device, '--precision', precision, '--json').catch(
      (error: { stdout?: string }) => {
        if (!error.stdout) throw error;
        return error.stdout;
      },
    );
    const { device, passed, failed, results } = JSON.parse(text);
    const failures = (results as { ok: boolean }[]).filter(({ ok }) => !ok);
    if (failed > 0) process.exitCode = 1;
    outcomes.push({ precision, device, passed, failed, failures });
  }
  return outcomes;
});

await part('bench', async () =>
  JSON.parse(
    await versemi(
      ...['bench', '--training', '--device', options.device, '--patch', options.patch, '--batch', options.batch],
      ...['--runs', onGpu ? '20' : '1', '--json'],
    ),
  ),
);

/** Both stages on the same seed in the lowest precision and in exact float32: the curves should lie on each other. */
await part('curves', async () => {
  const plan = await realPlan();
  const half = Math.round(Number(options.steps) / 2);
  Object.assign(plan.training, { stage1Steps: half, stage2Steps: half, validateEverySteps: 0 });
  if (!onGpu) shrink(plan);
  const low = await train('curves-low', plan, precisions[0]!);
  const exact = await train('curves-float32', plan, 'float32');
  await versemi('report', low.folder, '--compare', exact.folder, '--out', join(folder, 'curves.html'));
  return { low, exact, largestDistance: distance(exact.losses, low.losses) };
});

/** As many steps as the time allows, by the pace of a short run. */
await part('training', async () => {
  const plan = await realPlan();
  if (!onGpu) shrink(plan);
  const probe = structuredClone(plan);
  Object.assign(probe.training, { stage1Steps: 30, stage2Steps: 30, validateEverySteps: 0 });
  const { secondsPerStep } = await train('pace', probe, precisions[0]!);
  const steps = Math.max(10, Math.floor((Number(options.minutes) * 60) / secondsPerStep / 2));
  Object.assign(plan.training, { stage1Steps: steps, stage2Steps: steps, validateEverySteps: Math.ceil(steps / 4) });
  const { losses, ...run } = await train('training', plan, precisions[0]!);
  const evaluations: Record<string, unknown> = {};
  for (const { name, path } of plan.datasets) {
    const args = [
      'evaluate',
      run.folder,
      '--data',
      path,
      '--cases',
      'validation',
      '--device',
      options.device,
      '--json',
    ];
    evaluations[name] = JSON.parse(await versemi(...args)).summary;
  }
  return { ...run, stageSteps: steps, lastLoss: mean(losses.slice(-50)), evaluations };
});

/** For the check without a GPU. */
function shrink(plan: Plan): void {
  plan.network.baseWidth = 4;
  plan.patchSizeVoxels = [32, 32, 16];
  Object.assign(plan.training, { labeledBatchSize: 2, unlabeledBatchSize: 2, validationCases: 1 });
}
