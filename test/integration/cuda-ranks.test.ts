// A training over ranks on the device cuda: sums through NCCL (a stub of it, on the emulated device) give what sums through MPI give.
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import { buildStub, noStub } from './nccl-support.js';
import type { RankJob } from './ranks-child.js';
import {
  failRanks,
  gradientDifference,
  job,
  lossDifference,
  lossTolerance,
  noRanks,
  runJobs,
} from './ranks-support.js';

const skip = noRanks || noStub;
const folder = t.testdir({ new: {}, old: {} });
const library = skip ? '' : buildStub(`${folder}/new`);

/** Stages of two steps each. */
const steps = { stage1Steps: 2, stage2Steps: 2, checkpointEverySteps: 0, validateEverySteps: 4 };

type Plan = Pick<RankJob, 'precision' | 'training' | 'rest' | 'gradientsOf'>;

/** Of 4 ranks two have no mixes, and one has more unlabelled patches than the others. */
const unequal: Plan = {
  precision: 'float32',
  training: { ...steps, labeledBatchSize: 4, unlabeledBatchSize: 5 },
  gradientsOf: [0, 2],
};

/** Every loss term that sums over the batch, and activations that are computed again. */
const terms: Plan = {
  precision: 'bfloat16',
  training: { ...steps, labeledBatchSize: 4, unlabeledBatchSize: 4, recomputedLevels: 1 },
  rest: { losses: { teacher: 1, agreement: 1, cubeTasks: 1, diceOver: 'task' } },
  gradientsOf: [0, 2],
};

/** The results of the plans, one after the other in one start of the ranks. */
function run(size: number, name: string, plans: readonly Plan[], environment: object) {
  const jobs = plans.map((plan, i) => job(folder, `${name}-${i}`, { device: 'cuda', ...plan }));
  return runJobs(size, jobs, environment);
}

/** Compares each plan over MPI with the same through NCCL. */
function compare(t: Test, host: Awaited<ReturnType<typeof run>>, nccl: Awaited<ReturnType<typeof run>>, why: RegExp) {
  for (const [i, mpi] of host.entries()) {
    t.match(mpi.logs.join('\n'), why);
    t.match(nccl[i]!.logs.join('\n'), /^Sums over the ranks go from GPU to GPU through NCCL 2\.21\.5\.$/m);
    t.equal(nccl[i]!.losses.length, 4);
    const losses = lossDifference(mpi, nccl[i]!);
    t.ok(losses.worst < lossTolerance, `plan ${i}: losses differ by ${losses.worst} (${losses.at})`);
    const gradients = gradientDifference(mpi, nccl[i]!);
    t.ok(gradients.worst < 1e-5, `plan ${i}: gradients differ by ${gradients.worst} (${gradients.at})`);
  }
}

t.test('2 ranks, a library that is named', { skip }, async (t) => {
  const nccl = await run(2, 'two', [unequal, terms, terms], { VERSEMI_NCCL: library });
  const host = await run(2, 'two-mpi', [unequal, terms], { VERSEMI_NCCL: 'none' });
  compare(t, host, nccl, /^Sums over the ranks go through host memory and MPI \(VERSEMI_NCCL=none\)\.$/m);
  const [, first, second] = nccl;
  t.same([second!.losses, second!.norms], [first!.losses, first!.norms], 'the same again, bit for bit');
  t.same(second!.gradients, first!.gradients);
});

t.test('4 ranks, a library that the system has, and one that is too old', { skip }, async (t) => {
  const old = dirname(buildStub(`${folder}/old`, 'STUB_VERSION=2804'));
  const nccl = await run(4, 'four', [unequal], { LD_LIBRARY_PATH: dirname(library) });
  const host = await run(4, 'four-mpi', [unequal], { LD_LIBRARY_PATH: old });
  compare(t, host, nccl, /through host memory and MPI \(NCCL 2\.9 or newer .* found on rank 0: NCCL 2\.8\.4\)\.$/m);
});

t.test(
  'a rank that is silent while others wait for it on their GPUs ends the run, with its number and the step',
  {
    skip,
  },
  async (t) => {
    const { code, stderr } = await failRanks(
      2,
      job(folder, 'silent', {
        ...{ device: 'cuda', precision: 'float32', stopInSum: { rank: 1, sums: 4 } },
        training: { ...steps, labeledBatchSize: 2, unlabeledBatchSize: 2 },
      }),
      { VERSEMI_NCCL: library, VERSEMI_RANK_LOST_SECONDS: '2', OMPI_MCA_odls_base_sigkill_timeout: '1' },
    );
    t.not(code, 0);
    // Two groups in each step of the first stage: what is missing is the last sum of the second step.
    t.match(stderr, /rank 0: A rank of the training is lost \(step 2, rank 1 of 2\): .* no answer for \d.*--resume/);
  },
);
