/**
 * What a training over ranks costs on this machine: time per step of one process and of several ranks, bytes and waiting of each step, beside
 * what the model of src/training/scaling.ts says of them.
 *   node dist/test/bench/ranks.js [--only small,medium,wide,large] [--steps 40] [--rounds 2] [--delays 0,1,5]
 * With --delays (ms, one way) also two ranks in network namespaces of their own, TCP between them over a link with that delay
 * (delayed-link.py; needs root). Where there are fewer cores than ranks, the model's compute is stretched by that.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parsePlan } from '../../src/config/plan.js';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { environmentWithout } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';
import { lastStageStep, rankedStep } from '../../src/training/scaling.js';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'small,medium,wide,large' },
    steps: { type: 'string', default: '40' },
    rounds: { type: 'string', default: '2' },
    delays: { type: 'string', default: '' },
  },
});
const steps = Number(values.steps);
const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
const folder = mkdtempSync(join(tmpdir(), 'versemi-ranks-'));

/** Patch, width, levels; much communication for little work is what `wide` has. */
const sizes = {
  small: { patch: 16, network: { baseWidth: 4, levels: 3, convolutions: [1, 1, 1] } },
  medium: { patch: 32, network: { baseWidth: 8, levels: 4, convolutions: [1, 2, 2, 2] } },
  wide: { patch: 32, network: { baseWidth: 16, levels: 5, convolutions: [1, 2, 3, 3, 3] } },
  large: { patch: 64, network: { baseWidth: 16, levels: 4, convolutions: [1, 2, 3, 3] } },
};

/** Messages inside of this machine, through shared memory. */
const local = { latencySeconds: 1e-6, bytesPerSecond: 5e9 };
/** Of delayed-link.py, in Gbit/s. */
const linkRate = 1;

function planOf(name: keyof typeof sizes) {
  const { patch, network } = sizes[name];
  return {
    ...{ version: 1, name, seed: 1, patchSizeVoxels: [patch, patch, patch], network },
    datasets: [
      {
        ...{ name: 'organs', path: join(folder, 'organs'), split: { labeled: 'labeled', unlabeled: 'unlabeled' } },
        preprocessing: { spacingMm: [3, 3, 3], normalization: 'zscore' },
      },
    ],
    tasks: [{ name: 'core', dataset: 'organs', labels: [1] }],
    training: {
      ...{ mode: 'semi-supervised', stage1Steps: 0, stage2Steps: steps, checkpointEverySteps: 0 },
      ...{ labeledBatchSize: 4, unlabeledBatchSize: 4 },
    },
  };
}

interface Step {
  readonly secondsPerStep: number;
  readonly communication?: { readonly bytesSent: number; readonly calls: number; readonly secondsWaited: number };
}

/** @returns the steps of a run, without the first ones, which look for fast kernels */
function train(name: string, threads: number, launcher: readonly string[]): Step[] {
  const out = join(folder, 'run');
  rmSync(out, { recursive: true, force: true });
  const args = [
    main,
    'train',
    join(folder, `${name}.json`),
    '--out',
    out,
    '--device',
    'cpu',
    '--threads',
    `${threads}`,
    '-q',
  ];
  const [program, ...rest] = [...launcher, process.execPath, ...args];
  const env = {
    ...environmentWithout('VERSEMI_THREADS', 'NODE_OPTIONS'),
    ...{ OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' },
  };
  const { status, stderr } = spawnSync(program!, rest, { cwd: folder, env, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Step & { type: string })
    .filter(({ type }) => type === 'step')
    .slice(5);
}

const ranksHere = (ranks: number) => ['mpirun', '--oversubscribe', '--bind-to', 'none', '-np', String(ranks)];
const quantile = (numbers: readonly number[], share: number) =>
  [...numbers].sort((a, b) => a - b)[Math.floor(share * (numbers.length - 1))]!;

/** Median, and the fastest tenth: other programs on the machine make steps slower, never faster. */
const seconds = (of: readonly Step[]) => {
  const all = of.map(({ secondsPerStep }) => secondsPerStep);
  return { median: quantile(all, 0.5), fast: quantile(all, 0.1) };
};
const ms = (value: number) => (1000 * value).toFixed(1);

function row(name: string, how: string, of: readonly Step[], model?: number): void {
  const { median, fast } = seconds(of);
  const sent = of.flatMap(({ communication }) => communication ?? []);
  const traffic =
    sent.length === 0
      ? ['', '', '']
      : [
          (sent[0]!.bytesSent / 1e6).toFixed(2),
          String(sent[0]!.calls),
          ms(
            quantile(
              sent.map(({ secondsWaited }) => secondsWaited),
              0.5,
            ),
          ),
        ];
  console.log(`| ${[name, how, ms(median), ms(fast), ...traffic, model === undefined ? '' : ms(model)].join(' | ')} |`);
}

/** Two ranks in namespaces of their own. */
async function delayed(name: string, delayMs: number): Promise<Step[]> {
  const link = spawn('python3', [join(packageRoot, 'test', 'bench', 'delayed-link.py'), `${delayMs}`, `${linkRate}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    await once(link.stdout, 'data');
    const agent = join(folder, 'agent.sh');
    writeFileSync(
      agent,
      '#!/bin/sh\nhost=$1; shift\nname=versemi-$host\nexec ip netns exec $name unshare --uts sh -c "hostname $name; $*"\n',
    );
    chmodSync(agent, 0o755);
    const net = ['btl_tcp_if_include', 'oob_tcp_if_include'].flatMap((one) => ['--mca', one, '10.77.0.0/24']);
    const mpirun = [
      'mpirun',
      '--mca',
      'plm_rsh_agent',
      agent,
      '-host',
      '10.77.0.1:1,10.77.0.2:1',
      '--mca',
      'btl',
      'tcp,self',
    ];
    const inside = [
      'ip',
      'netns',
      'exec',
      'versemi-10.77.0.1',
      'unshare',
      '--uts',
      'sh',
      '-c',
      'hostname first; exec "$0" "$@"',
    ];
    return train(name, 1, [...inside, ...mpirun, ...net, '--bind-to', 'none', '-np', '2']);
  } finally {
    link.stdin.end();
    await once(link, 'close');
  }
}

try {
  await makePhantomDataset(join(folder, 'organs'), 'ct-organ', {
    cases: 8,
    labeledCases: 4,
    validationCases: 0,
    testCases: 0,
    seed: 3,
  });
  mkdirSync(join(folder, '.versemi-cache'));
  console.log(
    '| plan | how | ms/step, median | fastest tenth | MB sent/step | sums/step | ms waited/step | model, of the fastest |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
  for (const name of values.only.split(',') as (keyof typeof sizes)[]) {
    const plan = planOf(name);
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(plan));
    const found: Record<string, Step[]> = { one: [], two: [], ranks2: [], ranks4: [] };
    // In turn, so that all of them see the same machine.
    for (let round = 0; round < Number(values.rounds); round++) {
      found.one!.push(...train(name, 1, []));
      found.two!.push(...train(name, 2, []));
      found.ranks2!.push(...train(name, 1, ranksHere(2)));
      found.ranks4!.push(...train(name, 1, ranksHere(4)));
    }
    const parsed = parsePlan(plan);
    const alone = seconds(found.one!).fast;
    const modelOf = (ranks: number, link = local) => {
      const { computeSeconds, communicationSeconds } = rankedStep(parsed, lastStageStep(parsed), alone, ranks, link);
      return computeSeconds * Math.max(1, ranks / availableParallelism()) + communicationSeconds;
    };
    row(name, '1 process, 1 thread', found.one!);
    row(name, '1 process, 2 threads', found.two!);
    row(name, '2 ranks, 1 thread', found.ranks2!, modelOf(2));
    row(name, '4 ranks, 1 thread', found.ranks4!, modelOf(4));
    for (const delay of values.delays
      .split(',')
      .filter((one) => one !== '')
      .map(Number)) {
      const link = { latencySeconds: delay / 1000, bytesPerSecond: (linkRate * 1e9) / 8 };
      row(name, `2 ranks, TCP, ${delay} ms`, await delayed(name, delay), modelOf(2, link));
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
