// The scripts of docs/cluster.md as they stand there: a Slurm of one node, GNU parallel, and what Kubernetes would start.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { environmentWithout } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';
import { main } from './cli-support.js';
import { scanName, writeScans, writeSmallModel } from './cohort-support.js';

const folder = t.testdir();
const at = (...path: string[]) => join(folder, ...path);
const count = 12;
await writeSmallModel(at('model.safetensors'));
await writeScans(at('scans'), count);

// The command of this build, under its name.
mkdirSync(at('bin'));
writeFileSync(at('bin', 'versemi'), `#!/bin/sh\nexec "${process.execPath}" "${main}" "$@"\n`);
chmodSync(at('bin', 'versemi'), 0o755);
const inherited = environmentWithout('VERSEMI_THREADS');
const env = { ...inherited, PATH: `${at('bin')}${delimiter}${inherited.PATH}` };

const text = readFileSync(join(packageRoot, 'docs', 'cluster.md'), 'utf8');
const blockAfter = (heading: string) => /```\w+\n([\s\S]*?)```/.exec(text.split(`\n## ${heading}\n`)[1]!)![1]!;
const missing = (...commands: string[]) =>
  commands.find((command) => spawnSync('sh', ['-c', `command -v ${command}`]).status !== 0);

/** All scans are done, by two parts. */
function checkDone(t: Test): void {
  const merged = spawnSync(at('bin', 'versemi'), ['merge', 'out', '--out', 'out', '--json'], {
    ...{ cwd: folder, env, encoding: 'utf8' },
  });
  t.equal(merged.status, 0, merged.stderr);
  t.match(JSON.parse(merged.stdout), { states: { done: count, failed: 0, unfinished: 0, missing: 0 } });
  const masks = readdirSync(at('out')).filter((name) => name.endsWith('_core.nii.gz'));
  t.same(
    masks.sort(),
    Array.from({ length: count }, (_, index) => `${scanName(index)}_core.nii.gz`),
  );
  t.same(readdirSync(at('out')).filter((name) => name.endsWith('.jsonl')).length, 2);
}

t.beforeEach(() => rmSync(at('out'), { recursive: true, force: true }));

t.test('GNU parallel', { skip: missing('parallel') === undefined ? false : 'no GNU parallel' }, (t) => {
  const { status, stderr } = spawnSync('bash', ['-ec', blockAfter('GNU parallel')], {
    cwd: folder,
    env,
    encoding: 'utf8',
  });
  t.equal(status, 0, stderr);
  checkDone(t);
  t.end();
});

t.test('the containers of an Indexed Job of Kubernetes', (t) => {
  const job = blockAfter('Kubernetes');
  const [program, ...args] = JSON.parse(/command: (\[.*\])/.exec(job)![1]!) as string[];
  const parts = /name: VERSEMI_PARTS\s+value: "(\d+)"/.exec(job)![1]!;
  t.equal(parts, /completions: (\d+)/.exec(job)![1], 'as many parts as completions');
  for (let index = 0; index < Number(parts); index++) {
    const pod = { ...env, VERSEMI_PARTS: parts, JOB_COMPLETION_INDEX: String(index) };
    const { status, stderr } = spawnSync(program!, args, { cwd: folder, env: pod, encoding: 'utf8' });
    t.equal(status, 0, stderr);
    t.match(stderr, `Part ${index + 1} of ${parts} (by JOB_COMPLETION_INDEX`);
  }
  checkDone(t);
  t.end();
});

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

const lacks = missing('slurmctld', 'slurmd', 'sbatch', 'sinfo');
const why = lacks !== undefined ? `no ${lacks}` : process.getuid?.() !== 0 ? 'slurmd needs root' : false;
t.test('an array of Slurm', { skip: why }, async (t) => {
  const [conf, node] = [at('slurm', 'slurm.conf'), hostname().split('.')[0]];
  for (const name of ['state', 'spool']) mkdirSync(at('slurm', name), { recursive: true });
  writeFileSync(
    conf,
    `ClusterName=test
SlurmctldHost=${node}(127.0.0.1)
SlurmctldPort=${await freePort()}
SlurmdPort=${await freePort()}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
StateSaveLocation=${at('slurm', 'state')}
SlurmdSpoolDir=${at('slurm', 'spool')}
SlurmctldPidFile=${at('slurm', 'slurmctld.pid')}
SlurmdPidFile=${at('slurm', 'slurmd.pid')}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName=${node} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=${node} Default=YES State=UP
`,
  );
  const slurm = { ...env, SLURM_CONF: conf };
  const daemons: ChildProcess[] = [];
  const logs: string[] = [];
  const start = (program: string, ...args: string[]) => {
    const child = spawn(program, ['-D', '-f', conf, ...args], { env: slurm, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (piece) => logs.push(String(piece)));
    daemons.push(child);
  };
  try {
    start('slurmctld');
    start('slurmd', '-N', node!);
    const state = () => spawnSync('sinfo', ['-h', '-o', '%t'], { env: slurm, encoding: 'utf8' }).stdout.trim();
    for (let i = 0; state() !== 'idle'; i++) {
      if (i === 100) {
        t.pass('', { skip: `Slurm does not start here: ${logs.join('').slice(-500)}` });
        return;
      }
      await setTimeout(200);
    }
    writeFileSync(at('script.sh'), blockAfter('Slurm'));
    const started = performance.now();
    execFileSync('sbatch', ['--wait', 'script.sh'], { cwd: folder, env: slurm, timeout: 120_000, stdio: 'pipe' });
    t.comment(`${Math.round((performance.now() - started) / 1000)} s`);
    for (const task of [0, 1]) {
      const log = readFileSync(at(`slurm-${task}.log`), 'utf8');
      t.match(log, `Part ${task + 1} of 2 (by SLURM_ARRAY_TASK_ID`);
      t.match(log, /1 thread\b/, 'by --cpus-per-task, of 2 CPUs');
    }
    checkDone(t);
  } finally {
    for (const daemon of daemons.reverse()) {
      const gone = new Promise((resolve) => daemon.on('close', resolve));
      daemon.kill('SIGTERM');
      await gone;
    }
  }
});
