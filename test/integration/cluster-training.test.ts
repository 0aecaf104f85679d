// Training over ranks as docs/cluster.md has it: mpirun, and a Slurm of one node that warns a job, which then goes on where it was.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { environmentWithout } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';
import { main } from './cli-support.js';
import { missingCommand, noSlurm, startSlurm } from './slurm-support.js';

const folder = t.testdir();
const at = (...path: string[]) => join(folder, ...path);
await makePhantomDataset(at('organs'), 'ct-organ', {
  ...{ cases: 4, labeledCases: 4, validationCases: 0, testCases: 0, seed: 3 },
});

/** A plan of so many steps that nobody waits for their end, or of few. */
function writePlan(steps: number): void {
  const training = { mode: 'supervised', stage1Steps: steps, stage2Steps: 0, labeledBatchSize: 2 };
  const plan = {
    ...{ version: 1, name: 'small', seed: 1, patchSizeVoxels: [16, 16, 16] },
    datasets: [
      {
        ...{ name: 'organs', path: 'organs', split: { labeled: 'labeled' } },
        preprocessing: { spacingMm: [4, 4, 6], normalization: 'zscore' },
      },
    ],
    tasks: [{ name: 'core', dataset: 'organs', labels: [1] }],
    network: { baseWidth: 4, levels: 2, convolutions: [1, 1] },
    training: { ...training, checkpointEverySteps: 0 },
  };
  writeFileSync(at('plan.json'), JSON.stringify(plan));
}

// The command of this build, under its name.
mkdirSync(at('bin'));
writeFileSync(at('bin', 'versemi'), `#!/bin/sh\nexec "${process.execPath}" "${main}" "$@"\n`);
chmodSync(at('bin', 'versemi'), 0o755);
const inherited = environmentWithout('VERSEMI_THREADS');
const env = {
  ...inherited,
  PATH: `${at('bin')}${delimiter}${inherited.PATH}`,
  // In a container tests run as root, and on fewer cores than ranks.
  ...{ OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1', OMPI_MCA_rmaps_base_oversubscribe: '1' },
};

const text = readFileSync(join(packageRoot, 'docs', 'cluster.md'), 'utf8');
const blockAfter = (heading: string) => /```\w+\n([\s\S]*?)```/.exec(text.split(`\n## ${heading}\n`)[1]!)![1]!;

interface Event {
  readonly type: string;
  readonly step: number;
  readonly reason?: string;
  readonly cached?: boolean;
}

const eventsOf = (run: string) =>
  readFileSync(at(run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Event);

/** Waits for something. @throws Error after two minutes, with what the job has said */
async function until(what: string, isSo: () => boolean): Promise<void> {
  const began = performance.now();
  while (!isSo()) {
    const said = existsSync(at('train.log')) ? readFileSync(at('train.log'), 'utf8') : '';
    if (performance.now() - began > 120_000) throw new Error(`${what} does not come: ${said.slice(-1000)}`);
    await setTimeout(100);
  }
}

/** Waits until a run has done so many steps. */
function stepsDone(run: string, steps: number): Promise<void> {
  const file = at(run, 'metrics.jsonl');
  const step = `"type":"step","step":${steps},`;
  return until(`step ${steps} of ${run}`, () => existsSync(file) && readFileSync(file, 'utf8').includes(step));
}

/** Each step is there once, in order. */
function checkSteps(t: Test, run: string, last: number): void {
  const steps = eventsOf(run).filter(({ type }) => type === 'step');
  t.same(
    steps.map(({ step }) => step),
    Array.from({ length: last }, (_, index) => index + 1),
  );
}

t.test('a process of a launcher that is to train alone does so, and plan --ranks reads its steps', async (t) => {
  writePlan(8);
  const launched = { ...env, OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2' };
  const versemi = (args: readonly string[]) =>
    spawnSync(at('bin', 'versemi'), args, { cwd: folder, env: launched, encoding: 'utf8' });
  const trained = versemi(['train', 'plan.json', '--out', 'runs/alone', '--ranks', 'none', '--threads', '1', '-q']);
  t.equal(trained.status, 0, trained.stderr);
  checkSteps(t, 'runs/alone', 8);

  const plan = versemi(['plan', 'plan.json', '--ranks', '6', '--run', 'runs/alone', '--json']);
  t.equal(plan.status, 0, plan.stderr);
  const { ranks, batch } = JSON.parse(plan.stdout) as { ranks: Record<string, number>[]; batch: object | null };
  // Two labelled patches: no more than two ranks can share them.
  t.same(
    ranks.map((one) => one.ranks),
    [1, 2],
  );
  const seconds = eventsOf('runs/alone').flatMap(
    (event) => (event as { secondsPerStep?: number }).secondsPerStep ?? [],
  );
  const median = seconds.slice(3).sort((x, y) => x - y)[2]!;
  t.ok(Math.abs(ranks[0]!.secondsPerStep! / median - 1) < 1e-9, 'the median of what was measured');
  t.ok(ranks[1]!.efficiency! < 1);
  t.ok(batch === null || (batch as { efficiency: number }).efficiency >= 0.9);
  const table = versemi(['plan', 'plan.json', '--ranks', '6', '--run', 'runs/alone']);
  t.match(table.stdout, /measured in runs\/alone[\s\S]*efficiency[\s\S]*6 /);

  const wide = JSON.parse(readFileSync(at('plan.json'), 'utf8'));
  writeFileSync(at('wide.json'), JSON.stringify({ ...wide, network: { ...wide.network, baseWidth: 8 } }));
  const other = versemi(['plan', 'wide.json', '--ranks', '2', '--run', 'runs/alone']);
  t.equal(other.status, 2);
  t.match(other.stderr, /VERSEMI_USAGE.*a run of the same plan, found another network/);
});

const addon = join(packageRoot, 'build', 'mpi', 'versemi_mpi.node');
const noAddon = existsSync(addon) ? false : 'the addon for MPI is not built';
const noMpirun = missingCommand('mpirun') || noAddon;

t.test(
  'mpirun: every signal ends all ranks with one checkpoint, and --resume auto goes on',
  { skip: noMpirun },
  async (t) => {
    writePlan(1_000_000);
    const command = blockAfter('Training with mpirun').trim();
    const start = () => {
      const child = spawn('bash', ['-c', `exec ${command}`], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (piece: string) => {
          said += piece;
        });
      return { child, ended: once(child, 'close').then(([code]) => ({ code, said })) };
    };
    // USR1 comes to all ranks through mpirun.
    const first = start();
    await stepsDone('runs/first', 3);
    first.child.kill('SIGUSR1');
    const { code, said } = await first.ended;
    t.equal(code, 138, said);
    t.match(said, /2 ranks \(Open MPI/);
    t.match(said, /Training was interrupted.*--resume/);
    const interrupted = eventsOf('runs/first').at(-1)!;
    t.match(interrupted, { type: 'end', reason: 'aborted' });
    const done = interrupted.step;
    checkSteps(t, 'runs/first', done);

    // TERM comes to one rank alone, which is not the one that writes.
    const second = start();
    await stepsDone('runs/first', done + 3);
    const ranks = execFileSync('pgrep', ['-P', String(second.child.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map(Number);
    const rankOf = (pid: number) =>
      /(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1];
    process.kill(ranks.find((pid) => rankOf(pid) === '1')!, 'SIGTERM');
    const end = await second.ended;
    t.equal(end.code, 143, end.said);
    const last = eventsOf('runs/first').at(-1)!;
    t.match(last, { type: 'end', reason: 'aborted' });
    checkSteps(t, 'runs/first', last.step);
    t.same(readdirSync(at('runs', 'first', 'checkpoints')).sort(), ['last.safetensors', 'previous.safetensors']);

    writePlan(last.step + 2);
    const third = await start().ended;
    t.equal(third.code, 5, 'another plan is refused on all ranks');
    t.match(third.said, /VERSEMI_CHECKPOINT_MISMATCH/);
  },
);

const noTraining = noSlurm() || noAddon;
t.test('Slurm: a job that is warned of its end is queued again, and goes on', { skip: noTraining }, async (t) => {
  writePlan(1_000_000);
  const slurm = await startSlurm(env);
  if (typeof slurm === 'string') {
    t.pass('', { skip: slurm });
    return;
  }
  try {
    const say = (program: string, ...args: string[]) =>
      execFileSync(program, args, { cwd: folder, env: slurm.env, encoding: 'utf8', timeout: 60_000 }).trim();
    if (!say('srun', '--mpi=list').includes('pmix')) {
      t.pass('', { skip: 'this Slurm has no PMIx' });
      return;
    }
    // In a folder of its own: the run of the test before stays as it is.
    writeFileSync(at('train.sh'), blockAfter('Training with Slurm').replaceAll('runs/first', 'runs/slurm'));
    const job = say('sbatch', '--parsable', 'train.sh');
    await stepsDone('runs/slurm', 3);
    // What Slurm itself sends at the time that --signal says, and to whom.
    say('scancel', '--signal=USR1', job);
    const state = () => say('squeue', '-h', '-o', '%t', '-j', job);
    await until('the place in the queue', () => state() === 'PD');
    const before = eventsOf('runs/slurm').at(-1)!;
    t.match(before, { type: 'end', reason: 'aborted' }, 'a whole end, with its checkpoint');
    t.match(readFileSync(at('train.log'), 'utf8'), /USR1: Finishing the step and writing a checkpoint/);
    // Slurm lets a job wait for two minutes before it starts again.
    say('scontrol', 'update', `JobId=${job}`, 'StartTime=now');
    await stepsDone('runs/slurm', before.step + 3);
    t.match(readFileSync(at('train.log'), 'utf8'), `steps ${before.step + 1} to 1000000`);
    say('scancel', job);
    const queued = () => spawnSync('squeue', ['-h', '-j', job], { env: slurm.env, encoding: 'utf8' }).stdout.trim();
    await until('the end of the job', () => queued() === '');
    const last = eventsOf('runs/slurm').at(-1)!;
    t.match(last, { type: 'end', reason: 'aborted' }, 'TERM, by which Slurm ends a job, leaves a checkpoint too');
    checkSteps(t, 'runs/slurm', last.step);
  } finally {
    await slurm.stop();
  }
});

t.test('srun without an interface for MPI is told which one to ask for', { skip: noTraining }, async (t) => {
  const slurm = await startSlurm(env);
  if (typeof slurm === 'string') {
    t.pass('', { skip: slurm });
    return;
  }
  try {
    const args = ['-n', '2', '--mpi=none', 'versemi', 'train', 'plan.json', '--out', 'runs/none'];
    const { status, stderr } = spawnSync('srun', args, {
      cwd: folder,
      env: slurm.env,
      encoding: 'utf8',
      timeout: 60_000,
    });
    t.equal(status, 6, stderr);
    t.match(stderr, /VERSEMI_RANKS_UNAVAILABLE.*srun --mpi=pmix/);
    t.notOk(existsSync(at('runs', 'none')));
  } finally {
    await slurm.stop();
  }
});
