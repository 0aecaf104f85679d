// Files are written whole or not at all: by many at once, on full disks, where links and devices lie, on systems that refuse for a moment.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { AppendedFile } from '../../src/appended-file.js';
import { removeTemporaryFiles, writeFileAtomic } from '../../src/atomic-file.js';
import { fileNameOf } from '../../src/file-name.js';

const posix = { skip: process.platform === 'win32' && 'Windows has neither' };
const module = JSON.stringify(new URL('../../src/atomic-file.js', import.meta.url).href);

/** Puts functions in the place of those of node:fs/promises until the test ends. */
function replaceFs(t: Test, changes: Partial<typeof fsPromises>): void {
  const before = { ...fsPromises };
  Object.assign(fsPromises, changes);
  syncBuiltinESMExports();
  t.teardown(() => {
    Object.assign(fsPromises, before);
    syncBuiltinESMExports();
  });
}

const failure = (code: string) => Object.assign(new Error(`${code}: simulated`), { code });

t.test('writes, replaces, makes folders, and leaves nothing else', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'a', 'b', 'file.txt');
  await writeFileAtomic(file, 'first');
  await writeFileAtomic(file, [new Uint8Array([104, 105]), new Uint8Array(0), new Uint8Array([33])]);
  t.equal(readFileSync(file, 'utf8'), 'hi!');
  t.same(readdirSync(dirname(file)), ['file.txt']);
  await writeFileAtomic(file, 'third', { keep: join(folder, 'a', 'b', 'old.txt') });
  t.same(readFileSync(join(folder, 'a', 'b', 'old.txt'), 'utf8'), 'hi!');
  const long = join(folder, 'n'.repeat(255));
  await writeFileAtomic(long, 'x');
  t.ok(existsSync(long), 'a name as long as names can be');
});

t.test('threads that write one file at the same time: each succeeds, and the file is one of theirs', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'shared');
  const code = `
    import { workerData, parentPort } from 'node:worker_threads';
    const { writeFileAtomic } = await import(${module});
    for (let i = 0; i < 25; i++) await writeFileAtomic(workerData.file, [new Uint8Array(50_000).fill(workerData.letter)]);
    parentPort.postMessage('done');`;
  const start = (letter: number) =>
    new Promise((resolve, reject) => {
      const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
      const worker = new Worker(url, { workerData: { file, letter } });
      worker.on('message', resolve).on('error', reject);
    });
  await Promise.all([1, 2, 3, 4].map(start));
  const bytes = readFileSync(file);
  t.equal(bytes.length, 50_000);
  t.ok(
    bytes.every((byte) => byte === bytes[0]),
    'of one writer alone',
  );
  t.same(readdirSync(folder), ['shared']);
});

t.test('permissions of the old file are kept', posix, async (t) => {
  const file = join(t.testdir(), 'file');
  await writeFileAtomic(file, 'a');
  for (const mode of [0o600, 0o664, 0o444]) {
    chmodSync(file, mode);
    await writeFileAtomic(file, 'b');
    t.equal(statSync(file).mode & 0o777, mode);
  }
});

t.test('links are replaced, never followed; devices and pipes are written into', posix, async (t) => {
  const folder = t.testdir({ target: 'mine' });
  const link = join(folder, 'link');
  symlinkSync(join(folder, 'target'), link);
  await writeFileAtomic(link, 'new');
  t.equal(readFileSync(join(folder, 'target'), 'utf8'), 'mine');
  t.notOk(lstatSync(link).isSymbolicLink());
  const nowhere = join(folder, 'nowhere');
  symlinkSync('/dev/null', nowhere);
  await writeFileAtomic(nowhere, 'new');
  t.equal(readlinkSync(nowhere), '/dev/null');
  const program = join(folder, 'write.mjs');
  writeFileSync(
    program,
    `const { writeFileAtomic } = await import(${module}); await writeFileAtomic(process.argv[2], 'out');`,
  );
  const shell = (redirected: string) => execFileSync('sh', ['-c', `"${process.execPath}" "${program}" ${redirected}`]);
  // A link like /dev/stdout, which a broken version would replace for everybody.
  const stdout = join(folder, 'stdout');
  symlinkSync('/proc/self/fd/1', stdout);
  t.equal(shell(`"${stdout}" | cat`).toString(), 'out', 'a pipe');
  t.equal(shell('/dev/fd/3 3>&1 | cat').toString(), 'out', 'another pipe');
  shell(`"${stdout}" > "${join(folder, 'into')}"`);
  t.equal(readFileSync(join(folder, 'into'), 'utf8'), 'out', 'a file behind it');
  t.equal(readlinkSync(stdout), '/proc/self/fd/1');
  const full = join(folder, 'full');
  symlinkSync('/dev/full', full);
  await t.rejects(writeFileAtomic(full, 'x'), { code: 'VERSEMI_DISK_FULL', details: { file: full } });
});

t.test('failed writes: coded errors, the old file stays, no temporary file', async (t) => {
  const folder = t.testdir({ file: 'old', folder: { x: '' } });
  const file = join(folder, 'file');
  const entries = readdirSync(folder);
  const { open } = fsPromises;
  for (const [code, expected] of [
    ['ENOSPC', 'VERSEMI_DISK_FULL'],
    ['EDQUOT', 'VERSEMI_DISK_FULL'],
    ['EIO', 'VERSEMI_IO_FAILED'],
  ] as const) {
    await t.test(`${code} while writing`, async (t) => {
      replaceFs(t, {
        open: async (...args) => {
          const handle = await open(...args);
          return Object.assign(handle, { write: () => Promise.reject(failure(code)) });
        },
      });
      await t.rejects(writeFileAtomic(file, 'new'), { code: expected, details: { file, remedy: /./ } });
    });
    t.same(readdirSync(folder), entries);
    t.equal(readFileSync(file, 'utf8'), 'old');
  }
  await t.rejects(
    writeFileAtomic(
      file,
      (function* () {
        yield new Uint8Array(10);
        throw new Error('the source broke');
      })(),
    ),
    { message: /the source broke/ },
  );
  await t.rejects(writeFileAtomic(join(folder, 'folder'), 'x'), {
    code: 'VERSEMI_IO_FAILED',
    details: { remedy: /folder/ },
  });
  await t.rejects(writeFileAtomic(join(file, 'x'), 'x'), { code: 'VERSEMI_IO_FAILED', details: { remedy: /a file/ } });
  await t.rejects(writeFileAtomic(join(folder, 'n'.repeat(256)), 'x'), {
    code: 'VERSEMI_IO_FAILED',
    details: { remedy: /shorter/ },
  });
  t.same(readdirSync(folder), entries);
});

t.test('a limit on the size of files is a coded error', posix, async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'large');
  // The command line listens to SIGXFSZ; without a listener the signal ends the process.
  const code = `process.on('SIGXFSZ', () => {});
    const { writeFileAtomic } = await import(${module});
    await writeFileAtomic('${file}', [new Uint8Array(1 << 20)]).catch(({ code, details }) => console.log(code, details.remedy));`;
  const { stdout, status } = spawnSync('sh', ['-c', `ulimit -f 64; exec "${process.execPath}" --input-type=module`], {
    input: code,
    encoding: 'utf8',
  });
  t.equal(status, 0);
  t.match(stdout, /VERSEMI_IO_FAILED.*ulimit -f/);
  t.same(readdirSync(folder), []);
});

/** A disk of 64 KiB; undefined where it cannot be had. */
function smallDisk(): { folder: string; remove(): void } | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'versemi-small-disk-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]).status === 0;
  const remove = () => {
    if (mounted) spawnSync('umount', [folder]);
    rmdirSync(folder);
  };
  if (mounted) return { folder, remove };
  remove();
  return undefined;
}

const disk = smallDisk();
t.teardown(() => disk?.remove());

t.test('a small disk that is full', { skip: disk === undefined && 'only root can make a small disk' }, async (t) => {
  const { folder } = disk!;
  await writeFileAtomic(join(folder, 'file'), 'old');
  await t.rejects(writeFileAtomic(join(folder, 'file'), [new Uint8Array(100_000)]), { code: 'VERSEMI_DISK_FULL' });
  t.same(readdirSync(folder), ['file']);
  t.equal(readFileSync(join(folder, 'file'), 'utf8'), 'old');
  const log = new AppendedFile(join(folder, 'log'));
  const piece = new Uint8Array(5000).fill(65);
  let pieces = 0;
  t.throws(
    () => {
      for (; pieces < 100; pieces++) log.append(piece);
    },
    { code: 'VERSEMI_DISK_FULL' },
  );
  log.close();
  t.equal(statSync(join(folder, 'log')).size, 5000 * pieces, 'of the piece that did not fit nothing stays');
  t.ok(pieces > 5);
});

t.test('a file in use is tried again; folders that cannot be synced are no failure (Windows)', async (t) => {
  const folder = t.testdir();
  const { rename, open } = fsPromises;
  let refusals = 0;
  let folders = 0;
  replaceFs(t, {
    rename: async (...args) => {
      if (refusals++ < 2) throw failure(['EPERM', 'EBUSY'][refusals - 1]!);
      return rename(...args);
    },
    open: async (path, ...rest) => {
      if (path !== folder) return open(path, ...rest);
      folders++;
      throw failure(['EPERM', 'EISDIR'][folders - 1]!);
    },
  });
  await writeFileAtomic(join(folder, 'a'), 'x');
  await writeFileAtomic(join(folder, 'b'), 'y');
  t.equal(refusals, 4);
  t.equal(folders, 2);
  t.same(readdirSync(folder).sort(), ['a', 'b']);
});

t.test('temporary files of dead processes go; others stay', async (t) => {
  const name = (digit: string) => `.versemi-${digit.repeat(24)}.tmp`;
  const folder = t.testdir({ [name('a')]: 'old', [name('b')]: 'young', 'my.tmp': 'old', '.versemi-x.tmp': 'old' });
  const before = new Date(Date.now() - 2 * 3_600_000);
  for (const one of [name('a'), 'my.tmp', '.versemi-x.tmp']) utimesSync(join(folder, one), before, before);
  mkdirSync(join(folder, name('c')));
  utimesSync(join(folder, name('c')), before, before);
  await writeFileAtomic(join(folder, 'file'), 'x');
  t.same(readdirSync(folder).sort(), [name('b'), name('c'), '.versemi-x.tmp', 'file', 'my.tmp'].sort());
  await removeTemporaryFiles(folder, 0);
  t.notOk(existsSync(join(folder, name('b'))));
});

t.test('a process that ends in the middle of writing takes its temporary file with it', async (t) => {
  const folder = t.testdir();
  const code = `const { writeFileAtomic } = await import(${module});
    function* parts() { yield new Uint8Array(1000); process.exit(3); }
    await writeFileAtomic('${join(folder, 'file')}', parts());`;
  t.equal(spawnSync(process.execPath, ['--input-type=module', '-e', code]).status, 3);
  t.same(readdirSync(folder), []);
});

t.test('names of files on every system', async (t) => {
  for (const [name, expected] of [
    ['case_001', 'case_001'],
    ['张三 1', '张三 1'],
    ['a:b*?"<>|', 'a%3Ab%2A%3F%22%3C%3E%7C'],
    ['../x\\y', '..%2Fx%5Cy'],
    ['con', '%63on'],
    ['AUX.nii.gz', '%41UX.nii.gz'],
    ['com1', '%63om1'],
    ['console', 'console'],
    ['end.', 'end%2E'],
    ['end ', 'end%20'],
    ['50%', '50%'],
    ['a%3Ab', 'a%253Ab'],
    ['\u0000\u0085', '%00%85'],
  ] as const)
    t.equal(fileNameOf(name), expected);
});

t.test('an appended file begins where the kept part ends', async (t) => {
  const file = join(t.testdir(), 'folder', 'log');
  const log = new AppendedFile(file, { fresh: true });
  log.append('one\n');
  log.append('two\n');
  log.sync();
  log.close();
  log.close();
  t.throws(() => new AppendedFile(file, { fresh: true }), { code: 'VERSEMI_IO_FAILED' });
  const again = new AppendedFile(file, { keptBytes: 4 });
  again.append('deux\n');
  again.close();
  t.equal(readFileSync(file, 'utf8'), 'one\ndeux\n');
});
