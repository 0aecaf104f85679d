// Training over MPI: sums over the ranks, and N ranks compute what one process computes. (Whole runs: ranks-runs.test.ts.)
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { packageRoot } from '../../src/root.js';
import type { RankJob } from './ranks-child.js';
import { gradientDifference, job, launch, lossDifference, lossTolerance, noRanks, runJobs } from './ranks-support.js';

const skip = noRanks;

const noMpich = spawnSync('mpicxx.mpich', ['-show']).status === 0 ? false : 'MPICH and its compiler were not found';

/** Largest difference of two gradients, relative to the largest element of the parameter's. */
const gradientTolerance = 1e-5;

const fifty = { stage1Steps: 20, stage2Steps: 30, checkpointEverySteps: 0, validateEverySteps: 25 };

const examples = join(packageRoot, 'test', 'examples', 'own-parts');

const all = { teacher: 1, agreement: 1, cubeTasks: 1 };

interface Compared extends Pick<RankJob, 'device' | 'training' | 'rest' | 'parts'> {
  readonly ranks: readonly number[];
  readonly gradientsAlone?: true;
  /** Default {@link gradientTolerance}. */
  readonly gradientTolerance?: number;
}

/** Plans in which every sum over the batch occurs, by what is special in them. */
const plans: Readonly<Record<string, Compared>> = {
  'both stages': { device: 'cpu', ranks: [2, 4], training: { ...fifty, labeledBatchSize: 8, unlabeledBatchSize: 8 } },
  'both stages on wasm': {
    device: 'wasm',
    ranks: [2, 4],
    training: { ...fifty, labeledBatchSize: 8, unlabeledBatchSize: 8 },
  },
  'unequal shares, and ranks without mixes': {
    device: 'cpu',
    ranks: [3],
    training: { ...fifty, labeledBatchSize: 4, unlabeledBatchSize: 5 },
  },
  'the average and tasks': {
    device: 'cpu',
    ranks: [2, 4],
    training: { ...fifty, labeledBatchSize: 4, unlabeledBatchSize: 4, promptsPerImage: 'each' },
    rest: {
      losses: {
        ...all,
        pseudoLabel: 'soft',
        diceOver: 'task',
        auxiliaryCrossEntropy: true,
        auxiliaryInStage2: true,
        teacherStatistics: 'batch',
      },
      cutmix: { unlabeledMix: 'both-sides' },
    },
  },
  // A voxel at a threshold is on the other side of it in one of two runs sooner or later, and both go their ways.
  thresholds: {
    device: 'cpu',
    ranks: [2],
    gradientsAlone: true,
    training: { ...fifty, labeledBatchSize: 4, unlabeledBatchSize: 4 },
    rest: { losses: { ...all, entropy: [0.99, 1], noisyPasses: 2, teacherNoise: 0.1, confidence: 0.55 } },
  },
  'unlabelled pairs, components, levels computed again': {
    device: 'wasm',
    ranks: [2],
    training: { ...fifty, labeledBatchSize: 4, unlabeledBatchSize: 4, recomputedLevels: 1 },
    rest: {
      losses: { agreement: 1, teacher: 1, largestComponent: true, consistency: 'squares' },
      cutmix: { unlabeledMix: 'unlabeled-pairs' },
    },
  },
  "terms and a network of one's own": {
    device: 'wasm',
    ranks: [2],
    // Its bias is one number, whose gradient is a sum over all voxels that nearly cancel.
    gradientTolerance: 1e-4,
    training: { ...fifty, labeledBatchSize: 4, unlabeledBatchSize: 5 },
    parts: ['loss-terms', 'network'].map((name) => join(examples, `${name}.mjs`)),
    rest: {
      network: { architecture: 'small', baseWidth: 2, levels: 2 },
      losses: { own: { tversky: 0.5, tverskyOfMixes: 0.5, entropy: 0.1 } },
    },
  },
  'supervised, an odd batch': {
    device: 'cpu',
    ranks: [2],
    training: { ...fifty, mode: 'supervised', labeledBatchSize: 5, optimizer: 'sgd', learningRate: 0.01 },
  },
};

t.test('sums are in the order of the ranks, whatever their length', { skip }, async (t) => {
  const program = fileURLToPath(new URL('./ranks-sums.js', import.meta.url));
  for (const size of [2, 4]) {
    const { stdout, stderr, code } = await launch(size, [program]);
    t.equal(code, 0, stderr);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const ranks = Array.from({ length: size }, (_, rank) => rank);
    t.same(lines.map(({ rank }) => rank).sort(), ranks);
    for (const line of lines) {
      t.same(line.sums, Array(7).fill(true), `${size} ranks: sums of rank ${line.rank}`);
      t.same(
        line.gathered,
        ranks.flatMap((rank) => [rank, rank + 0.5]),
      );
      t.same(
        line.messages,
        ranks.map((rank) => [rank, 40_000 * rank]),
      );
      t.same(line.sent, [size - 1, 7], 'the last rank sends to all');
      t.ok(line.bytesSent > (size - 1) * 4 * 300_001 * (2 / size), 'bytes are counted');
      t.ok(line.calls >= 11);
    }
  }
});

t.test('the addon is built for another MPI as well', { skip: noMpich }, async (t) => {
  const addon = `${t.testdir()}/mpich.node`;
  const environment = { ...process.env, MPICXX: 'mpicxx.mpich', VERSEMI_MPI_ADDON: addon, VERSEMI_REQUIRE_ADDON: '1' };
  const script = join(packageRoot, 'native', 'install-mpi.mjs');
  const build = spawnSync(process.execPath, [script], { env: environment, encoding: 'utf8' });
  t.equal(build.status, 0, build.stderr);
  t.match(build.stdout, /built for MPICH/);
  const program = fileURLToPath(new URL('./ranks-sums.js', import.meta.url));
  const { status, stdout, stderr } = spawnSync('mpirun.mpich', ['-np', '2', process.execPath, program], {
    env: environment,
    encoding: 'utf8',
  });
  t.equal(status, 0, stderr);
  for (const line of stdout.trim().split('\n')) t.same(JSON.parse(line).sums, Array(7).fill(true));
  const again = spawnSync(process.execPath, [script], { env: environment, encoding: 'utf8' });
  t.match(again.stdout, /up to date/);
});

t.test('ranks compute what one process computes', { skip }, async (t) => {
  const folder = t.testdir();
  const run = async (size: number) => {
    const own = Object.entries(plans).filter(([, { ranks }]) => size === 1 || ranks.includes(size));
    const jobs = own.map(([name, { ranks: _, gradientsAlone, gradientTolerance: __, ...settings }]) => {
      const supervised = settings.training?.mode === 'supervised';
      return job(folder, `${name}-${size}`, { ...settings, gradientsOf: [0, supervised ? 1 : fifty.stage1Steps] });
    });
    const results = await runJobs(size, jobs);
    return new Map(own.map(([name], i) => [name, results[i]!]));
  };
  const alone = await run(1);
  for (const size of [2, 3, 4])
    for (const [name, together] of await run(size)) {
      const one = alone.get(name)!;
      const gradients = gradientDifference(one, together);
      t.ok(
        gradients.worst < (plans[name]!.gradientTolerance ?? gradientTolerance),
        `${name}, ${size} ranks: gradients differ by ${gradients.worst} (${gradients.at})`,
      );
      t.match(together.logs, [new RegExp(`${size} ranks`)]);
      t.equal(together.validations.length, one.validations.length);
      t.equal(one.losses.length, 50);
      if (plans[name]!.gradientsAlone) continue;
      const losses = lossDifference(one, together);
      t.ok(losses.worst < lossTolerance, `${name}, ${size} ranks: losses differ by ${losses.worst} (${losses.at})`);
    }
});
