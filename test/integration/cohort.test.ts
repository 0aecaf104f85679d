// Cohorts: parts that are killed at random and go on, bad and blocking scans, what a manifest passes over, joined evaluations.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { readManifest } from '../../src/cohort/manifest.js';
import { writeNifti } from '../../src/datasets/read-volume.js';
import { lockFileName } from '../../src/folder-lock.js';
import { scalingAffine } from '../../src/volume/affine.js';
import { main, runVersemi } from './cli-support.js';
import { cohortPlan, scanName, writeScan, writeScans, writeSmallModel } from './cohort-support.js';

const folder = t.testdir();
const at = (...path: string[]) => join(folder, ...path);
await writeSmallModel(at('model.safetensors'));

const predictArgs = (scans: string, out: string, ...more: string[]) => [
  ...['predict', 'model.safetensors', scans, '--out', out, '--device', 'wasm', ...more],
];
const predict = (scans: string, out: string, ...more: string[]) => runVersemi(folder, predictArgs(scans, out, ...more));

/** Starts versemi as a group of its own, so that it can be killed with the process that works for it. */
function start(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [main, ...args], {
    ...{ cwd: folder, detached: true, stdio: 'ignore', env: { ...process.env, VERSEMI_THREADS: '1', ...env } },
  });
}
const ended = (child: ChildProcess) =>
  new Promise<number | null>((resolve) =>
    child.exitCode === null && child.signalCode === null ? child.on('close', resolve) : resolve(child.exitCode),
  );

/** Stands a command still with the process that works for it, so that no test is a race with it. */
async function standStill({ pid }: ChildProcess): Promise<void> {
  process.kill(-pid!, 'SIGSTOP');
  // The letter behind the name of the program: T once it stands.
  while (process.platform === 'linux' && !/\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await setTimeout(5);
}

const goOn = ({ pid }: ChildProcess) => process.kill(-pid!, 'SIGCONT');

/** Lines of a manifest of cases, by name. */
function casesIn(file: string) {
  const lines = readFileSync(at(file), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return lines.filter(({ type }) => type === 'case');
}

/** Waits until a condition holds. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i > 3000) throw new Error('waited for too long');
    await setTimeout(20);
  }
}
const linesOf = (file: string) => {
  try {
    return readFileSync(at(file), 'utf8').split('\n').length - 1;
  } catch {
    return 0;
  }
};

t.test(
  'two parts, killed at random and resumed: nothing lost, nothing done twice, the masks of one process',
  async (t) => {
    const count = 120;
    await writeScans(at('many'), count);
    const single = await predict('many', 'single', '-q', '--volumes', 'single.csv');
    t.equal(single.code, 0, single.stderr);
    const args = predictArgs('many', 'parts', '--manifest', 'many.jsonl', '-q');
    const parts = [1, 2].map((index) => ({
      index,
      manifest: `many-${index}-of-2.jsonl`,
      // As two tasks of an array.
      env: {
        ...{ SLURM_ARRAY_TASK_ID: String(index + 4), SLURM_ARRAY_TASK_COUNT: '2' },
        ...{ SLURM_ARRAY_TASK_MIN: '5', SLURM_ARRAY_TASK_MAX: '6', SLURM_ARRAY_TASK_STEP: '1' },
      },
    }));
    let kills = 0;
    for (const { index, manifest, env } of parts) {
      for (let round = 0; ; round++) {
        const child = start(args, env);
        const before = linesOf(manifest);
        if (round < 3) {
          // In the middle of its work, at another moment each time.
          await until(() => linesOf(manifest) > before + 5 * (round + 1) + 3 * index || child.exitCode !== null);
          await setTimeout(Math.random() * 30);
          // The watching process alone, the group, or the process that works.
          if (child.exitCode === null) {
            kills++;
            if (round === 2) child.kill('SIGKILL');
            else process.kill(-child.pid!, 'SIGKILL');
          }
          await ended(child);
          continue;
        }
        t.equal(await ended(child), 0);
        break;
      }
    }
    t.equal(kills, 6);
    const keys = parts.map(({ manifest }) => casesIn(manifest).map(({ key }) => key));
    t.same(
      keys.flat().sort(),
      Array.from({ length: count }, (_, index) => scanName(index)),
      'each case has one line',
    );
    t.ok(Math.abs(keys[0]!.length - keys[1]!.length) < 20, `${keys.map(({ length }) => length)}`);
    t.same(
      readdirSync(at('parts'))
        .filter((name) => !name.startsWith('.'))
        .sort(),
      readdirSync(at('single')).sort(),
    );
    for (const name of readdirSync(at('single')))
      if (!readFileSync(at('single', name)).equals(readFileSync(at('parts', name)))) t.fail(`${name} differs`);
    const merged = await runVersemi(folder, [
      'merge',
      ...parts.map(({ manifest }) => manifest),
      '--out',
      'table',
      '--volumes',
      'table/volumes.csv',
      '--json',
    ]);
    t.equal(merged.code, 0, merged.stderr);
    t.match(JSON.parse(merged.stdout), { states: { done: count, failed: 0, unfinished: 0, missing: 0 } });
    t.equal(readFileSync(at('table', 'cohort.csv'), 'utf8').trim().split('\n').length, count + 1);
    t.equal(readFileSync(at('table', 'volumes.csv'), 'utf8'), readFileSync(at('single.csv'), 'utf8'));
  },
);

t.test('a damaged scan, one that takes too long and one that its process dies over end no cohort', async (t) => {
  await writeScans(at('bad'), 5);
  truncateSync(at('bad', `${scanName(1)}.nii.gz`), 100);
  const sizeVoxels = [12, 12, 60_000] as const;
  await writeNifti(at('bad', `${scanName(2)}.nii`), {
    ...{ data: new Uint8Array(144 * 60_000).map((_, i) => i % 251), sizeVoxels },
    ...{ spacingMm: [1, 1, 1], affine: scalingAffine([1, 1, 1]) },
  });
  rmSync(at('bad', `${scanName(2)}.nii.gz`));
  const args = ['--manifest', 'bad.jsonl', '--timeout', '4', '--retry', '1'];
  const { code, stdout, stderr } = await predict('bad', 'bad-masks', ...args, '--json');
  t.equal(code, 3, stderr);
  t.equal(JSON.parse(stdout).predictions.length, 3);
  t.same(
    JSON.parse(stdout)
      .failures.map((one: { code: string }) => one.code)
      .sort(),
    ['VERSEMI_CASE_TIMEOUT', 'VERSEMI_FILE_TRUNCATED'],
  );
  const lines = casesIn('bad.jsonl');
  t.match(
    lines.filter(({ key }) => key === scanName(2)),
    [
      { state: 'failed', attempt: 1 },
      { state: 'failed', attempt: 2, error: { code: 'VERSEMI_CASE_TIMEOUT', message: /4 s/ } },
    ],
  );
  t.equal(lines.filter(({ key }) => key === scanName(1)).length, 2, 'tried again once');
  const done = lines.find(({ key }) => key === scanName(4));
  t.match(done, {
    state: 'done',
    input: { sha256: /^[0-9a-f]{64}$/ },
    device: /WebAssembly/,
    versions: { node: process.versions.node },
  });
  t.ok(done.seconds > 0 && done.peakMemoryBytes > 1e7 && done.outputs[0].bytes > 0);

  // As the system ends a process that takes too much memory.
  await writeScan(at('bad', `${scanName(1)}.nii.gz`), 1);
  const child = start(predictArgs('bad', 'bad-masks', '--manifest', 'died.jsonl', '--timeout', '30', '-q'));
  await until(
    () =>
      linesOf('died.jsonl') > 0 &&
      readFileSync(at('died.jsonl'), 'utf8').includes(
        `"begun","run":"${JSON.parse(readFileSync(at('died.jsonl'), 'utf8').split('\n')[0]!).run}","key":"${scanName(2)}"`,
      ),
  );
  const worker = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')[0]!;
  process.kill(Number(worker), 'SIGKILL');
  t.equal(await ended(child), 3);
  t.match(
    casesIn('died.jsonl').filter(({ state }) => state === 'failed'),
    [{ key: scanName(2), error: { code: 'VERSEMI_CASE_DIED', message: /SIGKILL.*memory/ } }],
  );
  t.equal(casesIn('died.jsonl').filter(({ state }) => state === 'done').length, 4);
  const merged = await runVersemi(folder, ['merge', 'died.jsonl', '--out', 'died']);
  t.equal(merged.code, 3);
  t.match(merged.stderr, new RegExp(`1 of 5 cases are not done: ${scanName(2)} \\(failed\\)`));
});

t.test('a manifest passes over what is there and unchanged, and nothing else', async (t) => {
  await writeScans(at('few'), 3);
  const args = ['--manifest', 'few.jsonl', '--json'];
  const doneNow = async (...more: string[]) => {
    const before = linesOf('few.jsonl');
    const { code, stdout, stderr } = await predict('few', 'few-masks', ...args, ...more);
    t.equal(code, 0, stderr);
    t.equal(JSON.parse(stdout).predictions.length, 3, 'all are told');
    const lines = readFileSync(at('few.jsonl'), 'utf8').trim().split('\n').slice(before);
    return lines
      .map((line) => JSON.parse(line))
      .filter(({ type }) => type === 'case')
      .map(({ key }) => key);
  };
  const [a, b, c] = [0, 1, 2].map(scanName) as [string, string, string];
  t.same(await doneNow(), [a, b, c]);
  utimesSync(at('few', `${a}.nii.gz`), 1e9, 1e9);
  t.same(await doneNow(), [], 'another time, the same content');
  await writeScan(at('few', `${b}.nii.gz`), 99, 7);
  rmSync(at('few-masks', `${c}_core.nii.gz`));
  t.same(await doneNow(), [b, c], 'another content; a mask that is gone');
  t.same(await doneNow('--largest-component'), [a, b, c], 'other options');
  await writeSmallModel(at('model.safetensors'), 2);
  t.same(await doneNow('--largest-component'), [a, b, c], 'another model');
  t.same(await doneNow('--largest-component', '--resume'), []);
  t.same(await doneNow('--largest-component', '--no-resume'), [a, b, c]);
  writeFileSync(at('few.jsonl'), `${readFileSync(at('few.jsonl'), 'utf8')}{"type":"case","ru`);
  t.same(await doneNow('--largest-component'), [], 'half a line at the end');
  t.equal(readManifest(at('few.jsonl')).cases.size, 3);

  const first = start(predictArgs('many', 'again', '--manifest', 'held.jsonl', '-q'));
  await until(() => linesOf('held.jsonl') > 3);
  await standStill(first);
  const second = await predict('many', 'again', '--manifest', 'held.jsonl');
  t.equal(second.code, 8);
  t.match(second.stderr, /VERSEMI_FOLDER_IN_USE.*held\.jsonl\.lock/);
  first.kill('SIGTERM');
  goOn(first);
  t.equal(await ended(first), 143, 'asked to end, it ends as any command');
  t.ok(linesOf('held.jsonl') < 480);
});

t.test('what cannot be meant is refused', async (t) => {
  const refused = async (more: string[], message: RegExp) => {
    const { code, stderr } = await predict('few', 'none', ...more);
    t.equal(code, 2, more.join(' '));
    t.match(stderr, message);
  };
  await refused(['--part', '4/3'], /Expected I\/N/);
  await refused(['--timeout', '5'], /--timeout.*--manifest FILE/);
  await refused(['--resume'], /--manifest FILE/);

  // The tasks of an array may each have been given scans of their own; an explicit part may be empty.
  const env = { OMPI_COMM_WORLD_RANK: '3', OMPI_COMM_WORLD_SIZE: '4' };
  const scheduled = (...more: string[]) =>
    runVersemi(folder, predictArgs('few', 'parted', '-q', '--json', ...more), { env });
  const { code, stderr } = await scheduled();
  t.equal(code, 2);
  t.match(stderr, /part 4 of 4, by OMPI_COMM_WORLD_RANK.*at least as many cases as parts.*3 cases.*--part none/);
  const third = { env: { OMPI_COMM_WORLD_RANK: '2', OMPI_COMM_WORLD_SIZE: '3' } };
  const one = await runVersemi(folder, predictArgs('few', 'parted', '-q', '--json'), third);
  t.match(
    one.stderr,
    /^Part 3 of 3 \(by OMPI_COMM_WORLD_RANK; --part none does everything\): 1 of 3 scans\.$/m,
    'with -q',
  );
  t.match(JSON.parse(one.stdout), { part: { index: 3, count: 3 }, predictions: { length: 1 } });
  const all = await scheduled('--part', 'none');
  t.equal(JSON.parse(all.stdout).predictions.length, 3);
  t.notOk('part' in JSON.parse(all.stdout));
  const empty = await scheduled('--part', '4/4', '--manifest', 'empty.jsonl');
  t.equal(empty.code, 0, empty.stderr);
  t.match(JSON.parse(empty.stdout), { part: { index: 4, count: 4 }, predictions: [] });
  t.equal(readManifest(at('empty-4-of-4.jsonl')).cohort?.mine.length, 0);
});

t.test("below mpirun a bad scan does not end the other ranks' work", async (t) => {
  await writeScans(at('damaged'), 2);
  for (const index of [0, 1]) truncateSync(at('damaged', `${scanName(index)}.nii.gz`), 90);
  const env = { OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2' };
  const rank = (...more: string[]) => runVersemi(folder, predictArgs('damaged', 'ranks', '-q', ...more), { env });
  const { code, stderr } = await rank('--manifest', 'ranks.jsonl');
  t.equal(code, 0, stderr);
  t.match(stderr, /VERSEMI_FILE_TRUNCATED.*\nThe exit code is 0, since mpirun/);
  t.equal((await rank()).code, 3, 'nothing else would tell of it');
});

t.test('a process that stood still while another took its manifest writes nothing more', async (t) => {
  const manifest = 'stood.jsonl';
  const child = start(predictArgs('many', 'stood', '--manifest', manifest, '-q'));
  await until(() => linesOf(manifest) > 3);
  await standStill(child);
  const lock = at(`${manifest}.lock`, lockFileName);
  const before = linesOf(manifest);
  // As another host does it after a minute without renewal.
  writeFileSync(lock, JSON.stringify({ ...JSON.parse(readFileSync(lock, 'utf8')), host: 'other', token: 'other' }));
  // Longer than a process trusts what it knows of its lock.
  await setTimeout(6000);
  goOn(child);
  t.equal(await ended(child), 8);
  t.equal(linesOf(manifest), before);
  t.ok(existsSync(lock), 'the lock of the other one stays');
});

t.test('an evaluation in parts, joined, is that of one process; preprocessing goes on after a bad case', async (t) => {
  const sizeVoxels = [12, 12, 8] as const;
  for (let i = 0; i < 6; i++) {
    const id = `case${i}`;
    await writeScan(at('organs', 'images', `${id}.nii.gz`), i);
    const data = new Uint8Array(1152).map((_, at) => (at % 12 < 4 + i ? 1 : 0));
    const geometry = { sizeVoxels, spacingMm: [1, 1, 1] as const, affine: scalingAffine([1, 1, 1]) };
    await writeNifti(at('organs', 'labels', `${id}.nii.gz`), { data, ...geometry });
  }
  const evaluate = (...more: string[]) =>
    runVersemi(folder, ['evaluate', 'model.safetensors', '--data', 'organs', '--device', 'wasm', ...more]);
  t.equal((await evaluate('--out', 'whole')).code, 0);
  for (const part of ['1/2', '2/2']) {
    const { code, stderr } = await evaluate('--out', 'scores', '--part', part, '--manifest', 'scores/manifest.jsonl');
    t.equal(code, 0, stderr);
    t.match(stderr, new RegExp(`Part ${part[0]} of 2: 3 of 6 cases`));
  }
  const again = await evaluate('--out', 'scores', '--part', '1/2', '--manifest', 'scores/manifest.jsonl');
  t.match(again.stderr, /3 of 3 cases are done, 0 are left/);
  const wrong = await runVersemi(folder, ['merge', 'scores', '--out', 'scores', '--volumes', 'wrong.csv']);
  t.equal(wrong.code, 3);
  t.match(wrong.stderr, /case0, volumes.*versemi predict/);
  const merged = await runVersemi(folder, ['merge', 'scores', '--out', 'scores']);
  t.equal(merged.code, 0, merged.stderr);
  const read = (name: string) => {
    const { created: _, seconds: __, ...rest } = JSON.parse(readFileSync(at(name, 'evaluation.json'), 'utf8'));
    return rest;
  };
  t.same(read('scores'), read('whole'));
  t.same(readdirSync(at('scores', 'overlays')), readdirSync(at('whole', 'overlays')));
  t.equal((await runVersemi(folder, ['report', 'scores'])).code, 0);

  truncateSync(at('organs', 'images', 'case3.nii.gz'), 60);
  writeFileSync(at('plan.json'), JSON.stringify(cohortPlan));
  const preprocess = (...more: string[]) => runVersemi(folder, ['preprocess', 'plan.json', '--json', ...more]);
  const both = [];
  for (const part of ['1/2', '2/2']) both.push(await preprocess('--part', part, '--manifest', 'cache.jsonl'));
  t.same(both.map(({ code }) => code).sort(), [0, 3]);
  const cases = both.map(({ stdout }) => JSON.parse(stdout).datasets[0].cases);
  t.equal(cases[0] + cases[1], 5);
  const plain = await preprocess();
  t.equal(plain.code, 3, plain.stderr);
  t.match(JSON.parse(plain.stdout), { datasets: [{ cases: 5, cached: 5 }], failures: [{ code: /VERSEMI_FILE/ }] });
});
