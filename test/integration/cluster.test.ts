// The scripts of docs/cluster.md as they stand there: a Slurm of one node, GNU parallel, and what Kubernetes would start.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import t, { type Test } from 'tap';
import { environmentWithout } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';
import { main } from './cli-support.js';
import { scanName, writeScans, writeSmallModel } from './cohort-support.js';
import { missingCommand, noSlurm, startSlurm } from './slurm-support.js';

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

t.test('GNU parallel', { skip: missingCommand('parallel') }, (t) => {
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

t.test('an array of Slurm', { skip: noSlurm() }, async (t) => {
  const slurm = await startSlurm(env);
  if (typeof slurm === 'string') {
    t.pass('', { skip: slurm });
    return;
  }
  try {
    writeFileSync(at('script.sh'), blockAfter('Slurm'));
    const started = performance.now();
    execFileSync('sbatch', ['--wait', 'script.sh'], { cwd: folder, env: slurm.env, timeout: 120_000, stdio: 'pipe' });
    t.comment(`${Math.round((performance.now() - started) / 1000)} s`);
    for (const task of [0, 1]) {
      const log = readFileSync(at(`slurm-${task}.log`), 'utf8');
      t.match(log, `Part ${task + 1} of 2 (by SLURM_ARRAY_TASK_ID`);
      t.match(log, /1 thread\b/, 'by --cpus-per-task, of 2 CPUs');
    }
    checkDone(t);
  } finally {
    await slurm.stop();
  }
});
