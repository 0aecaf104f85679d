// One cache for several processes: each entry is made once and whole, also where the process that makes it is killed.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { readCacheFile } from '../../src/preprocessing/cache-file.js';

const folder = t.testdir();
const cases = 9;
const windows = process.platform === 'win32' && 'Windows has no such signals';
await makePhantomDataset(join(folder, 'phantom'), 'ct-organ', {
  ...{ cases, labeledCases: cases, validationCases: 0, testCases: 0, seed: 3 },
});
const plan = {
  ...{ version: 1, name: 'cache' },
  datasets: [
    {
      ...{ name: 'set', path: join(folder, 'phantom'), split: { labeled: 'labeled' } },
      preprocessing: { spacingMm: [4, 4, 6], normalization: 'zscore' },
    },
  ],
  tasks: [{ name: 'task', dataset: 'set', labels: [1] }],
};
const preprocessing = new URL('../../src/preprocessing/preprocess-datasets.js', import.meta.url).href;
const config = new URL('../../src/config/plan.js', import.meta.url).href;

const script = join(folder, 'fill.mjs');
writeFileSync(
  script,
  `import { preprocessCases } from '${preprocessing}';
import { parsePlan } from '${config}';
const options = { workers: 1, ...JSON.parse(process.argv[2]) };
for await (const { case: { id }, cached } of preprocessCases(parsePlan(${JSON.stringify(plan)}), options))
  console.log(JSON.stringify({ id, cached }));
`,
);

/** A process that fills a cache, and says a line of JSON per case. */
function filler(cacheFolder: string, ranks?: { rank: number; size: number }): ChildProcess {
  const options = JSON.stringify({ cacheFolder, ...(ranks === undefined ? {} : { ranks }) });
  return spawn(process.execPath, [script, options], { stdio: ['ignore', 'pipe', 'inherit'] });
}

interface Made {
  readonly id: string;
  readonly cached: boolean;
}

async function told(t: Test, child: ChildProcess): Promise<Made[]> {
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  const [code] = await once(child, 'close');
  t.equal(code, 0);
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Made);
}

async function checkWhole(t: Test, cacheFolder: string): Promise<void> {
  const names = readdirSync(cacheFolder);
  t.equal(names.length, cases, `nothing but entries: ${names}`);
  for (const name of names) t.ok(await readCacheFile(join(cacheFolder, name)), name);
}

/** Each case was made by one process. */
function checkOnce(t: Test, told: readonly Made[][]): void {
  const made = told.flat().filter(({ cached }) => !cached);
  t.same(made.map(({ id }) => id).sort(), told[0]!.map(({ id }) => id).sort());
}

t.test('ranks make each entry once', async (t) => {
  const cacheFolder = join(folder, 'ranks');
  const all = await Promise.all([0, 1, 2].map((rank) => told(t, filler(cacheFolder, { rank, size: 3 }))));
  for (const one of all)
    t.same(
      one.map(({ id }) => id),
      all[0]!.map(({ id }) => id),
      'all cases, in one order',
    );
  t.equal(all[0]!.length, cases);
  checkOnce(t, all);
  await checkWhole(t, cacheFolder);
});

t.test('processes that know nothing of each other make each entry once', async (t) => {
  const cacheFolder = join(folder, 'processes');
  checkOnce(t, await Promise.all([0, 1, 2].map(() => told(t, filler(cacheFolder)))));
  await checkWhole(t, cacheFolder);
});

t.test('a process that is killed while it makes an entry keeps nobody waiting', { skip: windows }, async (t) => {
  const cacheFolder = join(folder, 'killed');
  const child = filler(cacheFolder);
  const locked = () => existsSync(cacheFolder) && readdirSync(cacheFolder).some((name) => name.endsWith('.case.lock'));
  // It stands still while it is looked at, so that the lock is still there when it is killed.
  for (let caught = false; !caught && child.exitCode === null; ) {
    await setImmediate();
    if (!locked()) continue;
    child.kill('SIGSTOP');
    caught = locked();
    if (!caught) child.kill('SIGCONT');
  }
  child.kill('SIGKILL');
  await once(child, 'close');
  const all = await Promise.all([0, 1].map((rank) => told(t, filler(cacheFolder, { rank, size: 2 }))));
  t.equal(all[0]!.length, cases);
  const names = readdirSync(cacheFolder).filter((name) => !name.startsWith('.versemi-'));
  t.equal(names.length, cases, 'nor does its lock stay');
});

t.test('a damaged entry is made again by one of the ranks', async (t) => {
  const cacheFolder = join(folder, 'ranks');
  const [name] = readdirSync(cacheFolder);
  const bytes = readFileSync(join(cacheFolder, name!));
  writeFileSync(join(cacheFolder, name!), bytes.subarray(0, 1000));
  const all = await Promise.all([0, 1].map((rank) => told(t, filler(cacheFolder, { rank, size: 2 }))));
  t.equal(all.flat().filter(({ cached }) => !cached).length, 1);
  await checkWhole(t, cacheFolder);
});
