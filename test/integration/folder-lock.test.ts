// One writer per folder: living owners keep it, dead ones do not; where no process number tells, the renewals of the lock do.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { temporaryNamedAfter } from '../../src/atomic-file.js';
import { lockFileName, lockFolder } from '../../src/folder-lock.js';

/** Renewals come this often in these tests; six may be missed. */
const renewedEveryMs = 50;

const inUse = (found: RegExp, remedy = /./) => ({
  code: 'VERSEMI_FOLDER_IN_USE',
  exitCode: 8,
  details: { found, remedy },
});
const module = JSON.stringify(new URL('../../src/folder-lock.js', import.meta.url).href);

/** A process that holds a folder, or says why it could not, and then does what it is told. */
function holder(folder: string, then = 'setInterval(() => {}, 1000)') {
  const code = `const { lockFolder } = await import(${module});
    try { await lockFolder(${JSON.stringify(folder)}, 'a test'); console.log('held'); ${then} }
    catch ({ code }) { console.log(code); }`;
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
}

const said = async (child: ReturnType<typeof holder>) => String((await once(child.stdout, 'data'))[0]).trim();

/** What a lock of this process holds. */
async function ownLock(folder: string): Promise<Record<string, unknown>> {
  const lock = await lockFolder(folder, 'a test', { renewedEveryMs });
  const owner = JSON.parse(readFileSync(join(folder, lockFileName), 'utf8'));
  await lock.release();
  return owner;
}

t.test('one at a time; the folder goes when nothing was put into it', async (t) => {
  const parent = t.testdir();
  const folder = join(parent, 'new', 'run');
  const lock = await lockFolder(folder, 'a training');
  t.same(readdirSync(folder), [lockFileName]);
  await t.rejects(
    lockFolder(folder, 'a training'),
    inUse(new RegExp(`a training on ${hostname()}, process ${process.pid}, since 20`)),
  );
  await lock.release();
  t.notOk(existsSync(join(parent, 'new')));
  const again = await lockFolder(folder, 'a training');
  writeFileSync(join(folder, 'result'), '');
  await again.release();
  t.same(readdirSync(folder), ['result']);
});

t.test('another process holds it while it lives, and no longer: killed, or ended', async (t) => {
  const folder = t.testdir();
  const first = holder(folder);
  t.equal(await said(first), 'held');
  await t.rejects(lockFolder(folder, 'a test'), inUse(new RegExp(`process ${first.pid}`), /Wait/));
  first.kill('SIGKILL');
  await once(first, 'exit');
  t.ok(existsSync(join(folder, lockFileName)), 'it left its lock');
  await (await lockFolder(folder, 'a test')).release();
  const second = holder(folder, 'process.exit(0)');
  await once(second, 'exit');
  t.same(readdirSync(folder), [], 'it took its lock with it');
});

t.test('owners that are written down', async (t) => {
  const folder = t.testdir();
  const own = await ownLock(folder);
  const file = join(folder, lockFileName);
  const write = (change: object) => writeFileSync(file, JSON.stringify({ ...own, ...change }));
  const watched: [string, number][] = [];
  const onWatch = (...told: [string, number]) => watched.push(told);
  const taken = async (name: string) => {
    await (await lockFolder(folder, 'a test', { onWatch })).release();
    t.notOk(existsSync(file), name);
  };
  /** Nobody can ask for this owner: the folder is its own while it renews its lock. */
  const takenWhenSilent = async (change: object, name: string) => {
    write(change);
    const renewing = setInterval(() => utimesSync(file, new Date(), new Date()), renewedEveryMs);
    await t.rejects(lockFolder(folder, 'a test', { onWatch }), inUse(/process/, /Wait/), `${name}, alive`);
    clearInterval(renewing);
    await taken(`${name}, silent`);
    t.match(
      watched.splice(0),
      [
        [/a test on/, 0.3],
        [/a test on/, 0.3],
      ],
      name,
    );
  };
  write({});
  await t.rejects(lockFolder(folder, 'a test'), inUse(/process/), 'a living one');
  await takenWhenSilent({ host: 'elsewhere' }, 'another host');
  write({ pid: 2 ** 30 });
  await taken('no such process');
  if (own.processStart !== null) {
    write({ processStart: '1' });
    await taken('a number that another process has now');
  }
  if (process.platform === 'linux') {
    await takenWhenSilent({ processSpace: 'pid:[1]' }, 'another container');
    if (own.machine === null) await takenWhenSilent({ boot: 'before' }, 'another boot, or another machine');
    else {
      write({ boot: 'before' });
      await taken('before the machine was started anew');
    }
    await takenWhenSilent({ machine: 'a twin' }, 'another machine of the same name');
  }
  t.same(watched, [], 'the others need no watching');
  for (const text of ['', '{"pid":', '[]', '{"pid":1}']) {
    writeFileSync(file, text);
    await t.rejects(lockFolder(folder, 'a test'), inUse(/not written its name/), 'without a name yet');
    const before = new Date(Date.now() - 120_000);
    utimesSync(file, before, before);
    await taken('a process that died before it wrote its name');
  }
  t.same(readdirSync(folder), []);
});

t.test('a lock is renewed while its owner is busy, and says when it is lost', async (t) => {
  const folder = t.testdir();
  const file = join(folder, lockFileName);
  const lock = await lockFolder(folder, 'a test', { renewedEveryMs });
  const before = statSync(file).mtimeMs;
  const end = performance.now() + 20_000;
  while (statSync(file).mtimeMs === before && performance.now() < end);
  t.ok(statSync(file).mtimeMs > before, 'by a thread of its own');
  await lock.assertHeld();
  const other = { ...JSON.parse(readFileSync(file, 'utf8')), host: 'elsewhere', token: 'another' };
  writeFileSync(file, JSON.stringify(other));
  await t.rejects(lock.assertHeld(), inUse(/a test on elsewhere/, /stood still/));
  const { mtimeMs } = statSync(file);
  await setTimeout(4 * renewedEveryMs);
  t.equal(statSync(file).mtimeMs, mtimeMs, "it does not renew another's lock");
  await lock.release();
  t.same(JSON.parse(readFileSync(file, 'utf8')), other, 'nor removes it');
  rmSync(file);
  await t.rejects(lock.assertHeld(), inUse(/has been removed/));
});

t.test('many at once take the place of a dead owner: one gets it', async (t) => {
  const folder = t.testdir();
  const own = await ownLock(folder);
  for (let round = 0; round < 3; round++) {
    writeFileSync(join(folder, lockFileName), JSON.stringify({ ...own, pid: 2 ** 30 }));
    const children = Array.from({ length: 5 }, () => holder(folder));
    const words = await Promise.all(children.map(said));
    t.same(words.sort(), [...Array(4).fill('VERSEMI_FOLDER_IN_USE'), 'held']);
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(
      children.map((child) => child.exitCode === null && child.signalCode === null && once(child, 'exit')),
    );
  }
});

/** Lets operations on files wait a random while before they are done, so that those of several contenders mix in every order. */
function shuffleFileOperations(t: Test): void {
  const real = { ...fsPromises };
  for (const name of ['link', 'open', 'readFile', 'rename', 'rm'] as const) {
    const operation = real[name] as (...values: unknown[]) => Promise<unknown>;
    Object.assign(fsPromises, {
      [name]: async (...values: unknown[]) => {
        await setTimeout(Math.random() * 8);
        return operation(...values);
      },
    });
  }
  syncBuiltinESMExports();
  t.teardown(() => {
    Object.assign(fsPromises, real);
    syncBuiltinESMExports();
  });
}

t.test('many at once, their operations on files in any order: one gets it, and nothing is left', async (t) => {
  const folder = t.testdir();
  const own = await ownLock(folder);
  shuffleFileOperations(t);
  for (let round = 0; round < 20; round++) {
    writeFileSync(join(folder, lockFileName), JSON.stringify({ ...own, pid: 2 ** 30 }));
    const tries = await Promise.allSettled(Array.from({ length: 10 }, () => lockFolder(folder, 'a test')));
    const got = tries.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    t.equal(got.length, 1, 'one got it');
    for (const one of tries) if (one.status === 'rejected') t.match(one.reason, inUse(/process/));
    await got[0]?.assertHeld();
    for (const lock of got) await lock.release();
    t.same(readdirSync(folder), []);
  }
});

t.test('who died while it took the place of a dead owner keeps nobody out', async (t) => {
  const folder = t.testdir();
  const own = await ownLock(folder);
  const file = join(folder, lockFileName);
  const dead = { ...own, pid: 2 ** 30 };
  const claim = temporaryNamedAfter(file, String(own.token));
  for (const left of [{ ...dead, token: 'claimant' }, undefined]) {
    writeFileSync(file, JSON.stringify(dead));
    writeFileSync(claim, left === undefined ? '' : JSON.stringify(left));
    if (left === undefined) utimesSync(claim, new Date(0), new Date(0));
    await (await lockFolder(folder, 'a test')).release();
    t.same(readdirSync(folder), []);
  }
  writeFileSync(file, JSON.stringify(dead));
  writeFileSync(claim, JSON.stringify({ ...own, token: 'claimant' }));
  await t.rejects(
    lockFolder(folder, 'a test'),
    { ...inUse(/process/), details: { field: lockFileName } },
    'a living one does',
  );
});

t.test('where there are no links, and where nothing can be written', async (t) => {
  const folder = t.testdir();
  const { link } = fsPromises;
  fsPromises.link = () => Promise.reject(Object.assign(new Error('no links'), { code: 'ENOTSUP' }));
  syncBuiltinESMExports();
  t.teardown(() => {
    fsPromises.link = link;
    syncBuiltinESMExports();
  });
  const lock = await lockFolder(folder, 'a test');
  t.same(readdirSync(folder), [lockFileName]);
  await t.rejects(lockFolder(folder, 'a test'), inUse(/process/));
  await lock.release();
  t.same(readdirSync(folder), []);
  writeFileSync(join(folder, 'file'), '');
  await t.rejects(lockFolder(join(folder, 'file'), 'a test'), { code: 'VERSEMI_IO_FAILED' });
  mkdirSync(join(folder, lockFileName));
  await t.rejects(lockFolder(folder, 'a test'), { code: 'VERSEMI_IO_FAILED' });
});
