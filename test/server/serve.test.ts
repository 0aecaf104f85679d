// `versemi serve` as a person starts it: the address, what cannot be, Ctrl-C.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/root.js';
import { main, runVersemi } from '../integration/cli-support.js';
import { ask, exampleModel } from './server-support.js';

const scratchFolders = (pid: number) =>
  readdirSync(tmpdir()).filter((name) => name.startsWith('versemi-') && name.includes(`-${pid}-`));

// Where the page was not built, one file stands for it while this test runs.
const app = join(packageRoot, 'dist', 'app');
if (!existsSync(app)) {
  mkdirSync(app, { recursive: true });
  writeFileSync(join(app, 'index.html'), '<!doctype html><title>versemi</title>');
  t.teardown(() => rmSync(app, { recursive: true, force: true }));
}

/** Starts the server and waits for its address. */
async function start(folder: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child: ChildProcess = spawn(process.execPath, [main, 'serve', '--port', '0', '--json', ...args], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (stdout.trimEnd().endsWith('}')) resolve();
    });
    child.once('exit', () => reject(new Error(stderr)));
  });
  const told = JSON.parse(stdout) as { url: string; origin: string; dataset: string | null; models: string[] };
  const end = async (signal: NodeJS.Signals) => {
    const exit = once(child, 'exit');
    child.kill(signal);
    const [code, by] = await exit;
    return { code, by, stderr };
  };
  return { ...told, end, stderr: () => stderr, pid: child.pid! };
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  t.test(`starts, serves, and ends at ${signal}`, async (t) => {
    const server = await start(t.testdir(), [exampleModel, exampleModel]);
    t.match(server.url, /^http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{43}$/);
    t.strictSame(server.models, ['real-data', 'real-data-2'], 'two files of one name');
    t.equal((await ask(server, server.url.slice(server.origin.length))).status, 200);
    t.equal((await ask(server, '/info/')).status, 404);
    t.equal(scratchFolders(server.pid).length, 1);
    const { code, by, stderr } = await server.end(signal);
    t.strictSame({ code, by }, { code: 0, by: null });
    t.notMatch(stderr, /Error|VERSEMI_/);
    t.notMatch(stderr, /Warning/);
    t.strictSame(scratchFolders(server.pid), [], 'nothing stays');
  });

t.test('a server that others can reach says so; --monai-label says who may ask', async (t) => {
  const server = await start(t.testdir(), [
    exampleModel,
    '--host',
    '0.0.0.0',
    '--monai-label',
    '--device',
    'wasm',
    '--threads',
    '1',
  ]);
  t.match(server.stderr(), /Warning: 0\.0\.0\.0 can be reached by other machines, and nothing is encrypted/);
  t.match(server.stderr(), /MONAI Label at http:\/\/127\.0\.0\.1:\d+, without a token: everybody/);
  t.match(server.stderr(), /Device/);
  t.equal((await ask(server, '/info/')).status, 200);
  const { host } = new URL(server.origin);
  t.equal(
    (await ask(server, '/info/', { headers: { host: host.replace('127.0.0.1', '192.0.2.7') } })).status,
    200,
    'by number',
  );
  t.equal((await ask(server, '/info/', { headers: { host: 'evil.example' } })).status, 403, 'by no foreign name');
  t.equal((await server.end('SIGINT')).code, 0);
});

t.test(
  '--open starts a browser with a file, not with the token',
  { skip: process.platform !== 'linux' && 'xdg-open' },
  async (t) => {
    const folder = t.testdir({ bin: {} });
    const seen = join(folder, 'seen');
    writeFileSync(
      join(folder, 'bin', 'xdg-open'),
      `#!/bin/sh\necho "$1" > ${seen}.part\ncat "\${1#file://}" >> ${seen}.part\nmv ${seen}.part ${seen}\n`,
      { mode: 0o755 },
    );
    const server = await start(folder, ['--open'], { PATH: `${join(folder, 'bin')}:/usr/bin:/bin` });
    for (let i = 0; i < 100 && !existsSync(seen); i++) await new Promise((resolve) => setTimeout(resolve, 50));
    const [argument, ...content] = readFileSync(seen, 'utf8').split('\n');
    t.match(argument, /^file:\/\/.*versemi\.html$/);
    t.match(content.join('\n'), `url=${server.url}`);
    await server.end('SIGINT');
    t.strictSame(scratchFolders(server.pid), [], 'the file goes');
  },
);

t.test('what cannot be started', async (t) => {
  const folder = t.testdir({ 'a.nii': 'x' });
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as { port: number };
  const cases = [
    [['--port', String(port)], 8, /VERSEMI_ADDRESS_IN_USE.*--port/],
    [['none.safetensors'], 3, /VERSEMI_FILE_NOT_FOUND.*none\.safetensors/],
    [['a.nii'], 5, /VERSEMI_MODEL_INVALID/],
    [['--data', 'nowhere'], 3, /VERSEMI_FILE_NOT_FOUND.*nowhere/],
    [['--port', '70000'], 2, /65535/],
    [['--threads', '2'], 2, /--monai-label/],
    [['--allow-origin', 'http://localhost:3000'], 2, /--monai-label/],
    [['--monai-label', '--allow-origin', 'localhost:3000/viewer'], 2, /http:\/\/localhost:3000/],
    [['--keys', 'a,b'], 2, /--data/],
  ] as const;
  for (const [args, code, words] of cases) {
    const free = (args as readonly string[]).includes('--port') ? [] : ['--port', '0'];
    const outcome = await runVersemi(folder, ['serve', ...args, ...free]);
    t.equal(outcome.code, code, args.join(' '));
    t.match(outcome.stderr, words);
    t.equal(outcome.stdout, '');
  }
});

t.test('versemi alone says what to do first', async (t) => {
  const { code, stdout, stderr } = await runVersemi(t.testdir(), []);
  t.equal(code, 2);
  t.equal(stdout, '');
  for (const command of ['serve', 'predict', 'plan', 'train', 'info', '--help']) t.match(stderr, `versemi ${command}`);
  t.ok(stderr.split('\n').length < 20, 'few lines');
});
