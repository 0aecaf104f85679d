import type { Plan } from '../config/plan.js';
import { batchOfRanks, forwardPasses, stageOf, trunkPasses } from '../config/steps.js';
import { VersemiError } from '../errors.js';
import { passSeconds } from '../preprocessing/cost-model.js';
import type { RankedStep } from '../training/scaling.js';
import type { Terminal } from './terminal.js';
import { formatTable } from './terminal.js';

/** TCP over Ethernet of 10 Gbit/s. */
export const defaultLink = { latencyUs: 50, gigabitsPerSecond: 10 };

export interface RanksOptions {
  readonly ranks: number;
  /** Folder of a run in one process. */
  readonly run?: string;
  /** Microseconds. */
  readonly latency?: number;
  /** Gbit/s. */
  readonly bandwidth?: number;
  /** Speed of the device, where no run was measured, GFLOP/s. */
  readonly gflops?: number;
}

/**
 * Prints what a step of the last stage takes on 1, 2, 4 ... machines, and the batch with which all of them are used well.
 * @param rest what is printed beside it as JSON
 * @param timedSeconds a step of the last stage, where it was timed here
 * @throws VERSEMI_USAGE where nothing says what a step takes, and as `measured`
 */
export async function tellRanks(
  plan: Plan,
  options: RanksOptions,
  terminal: Terminal,
  rest: object = {},
  timedSeconds?: number,
): Promise<void> {
  // Loaded for it alone: it knows the network, and with it TF.js.
  const { batchForRanks, lastStageStep, rankedStep, wantedEfficiency } = await import('../training/scaling.js');
  const step = lastStageStep(plan);
  const { seconds, source } = await stepSeconds(plan, step, options, timedSeconds);
  const { latency = defaultLink.latencyUs, bandwidth = defaultLink.gigabitsPerSecond } = options;
  const link = { latencySeconds: latency * 1e-6, bytesPerSecond: (bandwidth * 1e9) / 8 };
  const rows = counts(options.ranks).flatMap((ranks) => {
    const batch = batchOfRanks(plan, ranks);
    return batch[0] < ranks ? [] : [rankedStep(plan, step, seconds, ranks, link, batch)];
  });
  const stage = stageOf(step, plan.training);
  terminal.print(`A step of stage ${stage} takes ${time(seconds)} in one process (${source}).`);
  terminal.print(`Network: ${latency} us, ${bandwidth} Gbit/s.\n`);
  terminal.print(
    formatTable(
      [
        'ranks',
        'patches per step',
        'time per step',
        'communication',
        'sent per rank',
        'sums',
        'speed-up',
        'efficiency',
      ],
      rows.map((row) => [
        String(row.ranks),
        batchText(plan, row.batch),
        time(row.secondsPerStep),
        ...(row.ranks === 1
          ? ['–', '–', '–']
          : [time(row.communicationSeconds), `${(row.bytesSent / 1e6).toFixed(1)} MB`, String(row.sums)]),
        (row.efficiency * row.ranks).toFixed(2),
        `${(100 * row.efficiency).toFixed(0)} %`,
      ]),
    ),
  );
  const wanted = batchForRanks(plan, step, seconds, options.ranks, link);
  terminal.print(`\n${advice(plan, options.ranks, wanted, 100 * wantedEfficiency)}`);
  terminal.printJson({ ...rest, ranks: rows, batch: wanted ?? null });
}

/** 1, 2, 4 ... and the number itself. */
function counts(ranks: number): number[] {
  const powers = Array.from({ length: Math.ceil(Math.log2(ranks)) }, (_, i) => 2 ** i);
  return [...powers, ranks];
}

function batchText({ training }: Plan, [labeled, unlabeled]: RankedStep['batch']): string {
  return training.mode === 'supervised' ? String(labeled) : `${labeled} + ${unlabeled}`;
}

function advice(plan: Plan, ranks: number, wanted: RankedStep | undefined, percent: number): string {
  if (wanted === undefined)
    return `With ${ranks} machines of this network no batch keeps the efficiency above ${percent} %.`;
  const { labeledBatchSize, unlabeledBatchSize } = plan.training;
  const own = wanted.batch[0] === labeledBatchSize;
  const batch = batchText(plan, wanted.batch);
  const now = batchText(plan, [labeledBatchSize, unlabeledBatchSize]);
  return own
    ? `The plan's batch, ${now}, keeps the efficiency of ${ranks} ranks above ${percent} %.`
    : `From a batch of ${batch} on (the plan has ${now}) the efficiency of ${ranks} ranks is above ${percent} %: a larger batch is another training, with fewer steps for the same patches.`;
}

function time(seconds: number): string {
  return seconds < 1 ? `${(1000 * seconds).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`;
}

async function stepSeconds(plan: Plan, step: number, { run, gflops }: RanksOptions, timedSeconds: number | undefined) {
  if (run !== undefined) return { seconds: await measured(plan, step, run), source: `measured in ${run}` };
  if (gflops !== undefined) return { seconds: estimated(plan, step, gflops), source: `estimated at ${gflops} GFLOP/s` };
  if (timedSeconds !== undefined) return { seconds: timedSeconds, source: 'timed here' };
  throw new VersemiError('USAGE', {
    field: '--ranks',
    expected: '--run or --gflops beside a plan that is there',
    found: 'neither: what a step takes is not known',
    remedy: 'Give --run FOLDER, a run of the plan in one process, or --gflops N, the speed of such a machine.',
  });
}

function estimated(plan: Plan, step: number, gflops: number): number {
  const voxels = plan.patchSizeVoxels.reduce((product, size) => product * size, 1);
  return passSeconds(plan.network, voxels, forwardPasses(trunkPasses(plan, step)), gflops);
}

/**
 * The median time of the run's steps of this stage.
 * @throws VERSEMI_USAGE where the run is of another plan, of several ranks, or has no such step; what `readEvents` throws
 */
async function measured(plan: Plan, step: number, run: string): Promise<number> {
  const { readPlan } = await import('../config/read-plan.js');
  const { readEvents } = await import('../reports/report-inputs.js');
  const { runFiles } = await import('../training/run-folder.js');
  const refuse = (expected: string, found: string) =>
    new VersemiError('USAGE', {
      file: run,
      field: '--run',
      expected,
      found,
      remedy:
        'Train the plan for some steps in one process (versemi train plan.json --ranks none), and give the folder of that run.',
    });
  const { plan: planFile, metrics } = runFiles(run);
  const other = await readPlan(planFile);
  for (const field of ['patchSizeVoxels', 'network', 'losses', 'cutmix'] as const)
    if (JSON.stringify(other[field]) !== JSON.stringify(plan[field]))
      throw refuse('a run of the same plan', `another ${field}`);
  for (const field of ['mode', 'labeledBatchSize', 'unlabeledBatchSize', 'recomputedLevels'] as const)
    if (other.training[field] !== plan.training[field])
      throw refuse(
        'a run of the same plan',
        `training.${field} ${other.training[field]}, where the plan has ${plan.training[field]}`,
      );
  const stage = stageOf(step, plan.training);
  const steps = readEvents(metrics).flatMap((event) => (event.type === 'step' && event.stage === stage ? [event] : []));
  if (steps.some(({ communication }) => communication !== undefined))
    throw refuse('a run of one process', 'several ranks');
  // The first steps look for fast kernels and fill caches.
  const seconds = steps
    .flatMap(({ secondsPerStep }) => secondsPerStep ?? [])
    .slice(3)
    .sort((a, b) => a - b);
  if (seconds.length === 0) throw refuse(`more than three steps of stage ${stage}`, `${steps.length}`);
  return seconds[seconds.length >> 1]!;
}
