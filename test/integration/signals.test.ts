// What ends a command from outside: signals, closed pipes, full disks, another writer. Real processes, every command.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { lockFileName } from '../../src/folder-lock.js';
import { runFiles } from '../../src/training/run-folder.js';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = t.testdir();
t.setTimeout(900_000); // Some hundred processes, on a busy machine.
const windows = process.platform === 'win32' && 'Windows has no such signals';

interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

type Act = (child: ChildProcess, text: string) => void;

type Rest = Parameters<typeof run> extends [unknown, ...infer Others] ? Others : never;

/** Runs a program in the test's folder; `act` is called with all that it has written so far, each time that there is more. */
async function run(
  args: readonly string[],
  act: Act = () => {},
  stdout: 'pipe' | number = 'pipe',
  nodeOptions = '',
): Promise<Outcome> {
  const child = spawn(process.execPath, args, {
    cwd: folder,
    env: { ...process.env, VERSEMI_THREADS: '1', NODE_OPTIONS: nodeOptions },
    stdio: ['ignore', stdout, 'pipe'],
  });
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      written[name] += text;
      act(child, written.stdout + written.stderr);
    });
  }
  act(child, '');
  const [code, signal] = await once(child, 'close');
  return { code, signal, ...written };
}

const versemi = (args: readonly string[], ...rest: Rest) => run([main, ...args], ...rest);

/** Does something once, when a text has been written. */
function whenWritten(text: string, act: (child: ChildProcess) => void): Act {
  let done = false;
  return (child, written) => {
    if (done || !written.includes(text)) return;
    done = true;
    act(child);
  };
}

const sending = (signal: NodeJS.Signals, at: string) => whenWritten(at, (child) => child.kill(signal));
const codeOf = (signal: NodeJS.Signals) => 128 + constants.signals[signal];
const told = ({ code, signal, stderr }: Outcome) => `${code} ${signal} ${stderr.slice(0, 300)}`;

/**
 * Whether a command did its work whole. Node takes its handlers of signals away while it ends, some milliseconds before the process is
 * gone: a signal that comes then ends the process by the system's own rule, after the whole result has been written.
 */
function hasDoneAll({ code, signal, stdout }: Outcome, sent: NodeJS.Signals): boolean {
  return (code === 0 || signal === sent) && stdout.trim().startsWith('{') && stdout.endsWith('\n');
}

const crash = /^ +at |VERSEMI_INTERNAL|Unhandled|EPIPE|Debugger/m;

const temporaryFiles = (below: string) =>
  readdirSync(below, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.tmp'));

async function done(...args: string[]): Promise<Outcome> {
  const outcome = await versemi(args);
  if (outcome.code !== 0) throw new Error(`versemi ${args.join(' ')}: ${outcome.code}\n${outcome.stderr}`);
  return outcome;
}

await makePhantomDataset(join(folder, 'mr-atrium'), 'mr-atrium', {
  cases: 3,
  labeledCases: 2,
  validationCases: 0,
  testCases: 1,
  seed: 3,
});
await done(
  'plan',
  'mr-atrium',
  '--labeled',
  'labeled',
  '--gflops',
  '100',
  '--patch',
  '16',
  '--width',
  '4',
  '--out',
  'plan.json',
  '-q',
);
const plan = JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8'));
Object.assign(plan.network, { levels: 2, convolutions: [1, 1] });
plan.datasets[0].preprocessing.spacingMm = [6, 6, 8];
Object.assign(plan.training, { labeledBatchSize: 2, unlabeledBatchSize: 2, workers: 0, validateEverySteps: 0 });
Object.assign(plan.training, { stage1Steps: 2, stage2Steps: 2, checkpointEverySteps: 0 });
writeFileSync(join(folder, 'short.json'), JSON.stringify(plan));
Object.assign(plan.training, { stage1Steps: 2000, stage2Steps: 2000 });
writeFileSync(join(folder, 'long.json'), JSON.stringify(plan));
const device = ['--device', 'wasm'];
await done('train', 'short.json', '--out', 'run', '-q', ...device);

/** Every command, as it prints a result within a second or two; a number for what may not be there yet. */
const commands: Readonly<Record<string, (n: number) => string[]>> = {
  plan: (n) => ['plan', 'mr-atrium', '--gflops', '100', '--out', `plan-${n}.json`, '--json'],
  preprocess: (n) => ['preprocess', 'short.json', '--cache', `cache-${n}`, '--json'],
  train: (n) => ['train', 'short.json', '--out', `run-${n}`, '--json', ...device],
  evaluate: (n) => ['evaluate', 'run', '--data', 'mr-atrium', '--out', `evaluation-${n}`, '--json', ...device],
  predict: (n) => ['predict', 'run', 'mr-atrium/imagesTs', '--out', `masks-${n}`, '--json', ...device],
  report: (n) => ['report', 'run', '--out', `report-${n}.html`, '--json'],
  info: () => ['info', 'run/model.safetensors', '--json'],
  selftest: () => ['selftest', '--json', ...device],
  bench: () => ['bench', '--only', 'metrics-256', '--runs', '1', '--json', ...device],
};
const quick = Object.keys(commands).filter((name) => !['selftest', 'bench'].includes(name));

t.test(
  'train: every signal ends it with a checkpoint and 128 + its number; it goes on from there',
  { skip: windows },
  async (t) => {
    const signals = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT'] as const;
    for (const signal of signals) {
      const args = ['train', 'long.json', '--out', signal, '--json', ...device];
      const { code, stdout, stderr } = await versemi(args, sending(signal, '"type":"step"'));
      t.equal(code, codeOf(signal), `${signal}: ${stderr}`);
      t.notMatch(stderr, crash);
      t.match(stderr, signal === 'SIGINT' ? /Ctrl-C again/ : new RegExp(`${signal}: Finishing the step`));
      t.match(stderr, /Training was interrupted.*--resume/);
      const last = JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
      t.match(last, { type: 'end', reason: 'aborted' });
      t.ok(existsSync(runFiles(join(folder, signal)).last));
      t.notOk(existsSync(join(folder, signal, lockFileName)));
      t.same(temporaryFiles(join(folder, signal)), []);
      if (signal !== 'SIGUSR1') continue;
      const again = await versemi([...args, '--resume'], sending('SIGTERM', '"type":"step"'));
      t.match(JSON.parse(again.stdout.split('\n').find((line) => line.includes('"start"'))!), { step: last.step });
    }
  },
);

t.test('SIGUSR1 opens no debugger in any command', { skip: windows }, async (t) => {
  const preload = join(folder, 'preload.cjs');
  writeFileSync(
    preload,
    `const { on } = process;
    process.on = function (name, ...rest) {
      const result = on.call(this, name, ...rest);
      if (name === 'SIGUSR1') process.stderr.write('listening');
      return result;
    };`,
  );
  for (const [name, args] of Object.entries(commands)) {
    for (const delay of [0, 300]) {
      const send = (child: ChildProcess) => setTimeout(() => child.kill('SIGUSR1'), delay);
      const outcome = await run(['-r', preload, main, ...args(1000 + delay)], whenWritten('listening', send));
      const isAsked = outcome.code === codeOf('SIGUSR1');
      t.ok(isAsked || (delay > 0 && hasDoneAll(outcome, 'SIGUSR1')), `${name}, ${delay} ms: ${told(outcome)}`);
      t.notMatch(outcome.stderr, crash, name);
    }
  }
});

t.test(
  'SIGUSR1 while Node itself starts: what it opens is shut, and the command ends',
  { skip: windows },
  async (t) => {
    const sent = (command: string, delay: number, port: number) =>
      versemi(
        commands[command]!(0),
        whenWritten('', (child) => setTimeout(() => child.kill('SIGUSR1'), delay)),
        'pipe',
        `--inspect-port=${port}`,
      );
    // Port 0 is one that is free, whatever else runs here. Before Node does anything, the system ends it.
    for (const delay of [5, 20, 40, 60, 80]) {
      const { code, signal, stdout, stderr } = await sent('selftest', delay, 0);
      t.equal(code ?? signal, signal === null ? codeOf('SIGUSR1') : 'SIGUSR1', `${delay} ms: ${stderr.slice(0, 300)}`);
      t.equal(stdout, '', `${delay} ms: nothing was done`);
    }
    // Where another program has the port, Node says so and drops the signal before the program can know: the work is then done whole.
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    for (const delay of [20, 60]) {
      const { code, signal, stdout, stderr } = await sent('info', delay, (holder.address() as AddressInfo).port);
      const isDropped = /Starting inspector on .* failed: address already in use/.test(stderr);
      const expected = isDropped ? 0 : signal === null ? codeOf('SIGUSR1') : 'SIGUSR1';
      t.equal(code ?? signal, expected, `${delay} ms, port taken: ${stderr.slice(0, 300)}`);
      t.notMatch(stderr, 'Debugger listening');
      if (isDropped) t.ok(JSON.parse(stdout), 'the whole result');
    }
    holder.close();
  },
);

t.test('other signals end every command, and leave no half file', { skip: windows }, async (t) => {
  for (const [index, name] of Object.keys(commands).entries()) {
    const signal = (['SIGTERM', 'SIGHUP', 'SIGINT'] as const)[index % 3]!;
    const at = whenWritten('', (child) => setTimeout(() => child.kill(signal), 500));
    const outcome = await versemi(commands[name]!(2000), at);
    t.ok(
      outcome.signal === signal || outcome.code === codeOf(signal) || outcome.code === 0,
      `${name}, ${signal}: ${told(outcome)}`,
    );
    t.notMatch(outcome.stderr, crash, name);
  }
});

t.test('a second signal ends at once, the same request told twice does not', { skip: windows }, async (t) => {
  const code = `import { interruptible } from ${JSON.stringify(new URL('../../src/cli/interrupt.js', import.meta.url).href)};
    await interruptible({ note: (text) => console.log(text) }, 'Ending', () => new Promise((resolve) => {
      console.log('ready');
      setTimeout(resolve, 60_000);
    }));`;
  const node = ['--input-type=module', '-e', code];
  const began = performance.now();
  const second = await run(node, (child, text) => {
    if (text === 'ready\n') child.kill('SIGTERM');
    if (text.endsWith('Ending.\n')) setTimeout(() => child.kill('SIGINT'), 400);
  });
  t.equal(second.code, codeOf('SIGINT'));
  t.equal(second.stdout, 'ready\nSIGTERM: Ending.\n');
  t.ok(performance.now() - began < 20_000);
  let alive = false;
  const twice = await run(node, (child, text) => {
    if (text === 'ready\n') {
      child.kill('SIGTERM');
      child.kill('SIGHUP');
    }
    if (!text.endsWith('Ending.\n')) return;
    setTimeout(() => {
      alive = child.exitCode === null;
      child.kill('SIGTERM');
    }, 400);
  });
  t.ok(alive);
  t.equal(twice.code, codeOf('SIGTERM'));
});

t.test('a pipe that nobody reads ends every command quietly', async (t) => {
  for (const name of quick) {
    const { code, stderr } = await versemi(
      commands[name]!(3000),
      whenWritten('', (child) => child.stdout!.destroy()),
    );
    t.equal(code, codeOf('SIGPIPE'), `${name}: ${stderr}`);
    t.notMatch(stderr, crash, name);
  }
  for (const args of [['--help'], ['train', '--help']])
    t.match(
      await versemi(
        args,
        whenWritten('', (child) => child.stdout!.destroy()),
      ),
      { code: codeOf('SIGPIPE'), stderr: '' },
    );
  const both = await versemi(
    commands.predict!(3001),
    whenWritten('', (child) => {
      child.stdout!.destroy();
      child.stderr!.destroy();
    }),
  );
  t.equal(both.code, codeOf('SIGPIPE'));
});

t.test('train | head loses nothing', async (t) => {
  const args = ['train', 'long.json', '--out', 'piped', '--json', ...device];
  const { code, stderr } = await versemi(
    args,
    whenWritten('"type":"step"', (child) => child.stdout!.destroy()),
  );
  t.equal(code, codeOf('SIGPIPE'), stderr);
  t.match(stderr, /^Training was interrupted.*--resume/m);
  const lines = readFileSync(runFiles(join(folder, 'piped')).metrics, 'utf8')
    .trimEnd()
    .split('\n');
  t.match(JSON.parse(lines.at(-1)!), { type: 'end', reason: 'aborted' });
  t.ok(existsSync(runFiles(join(folder, 'piped')).last));
});

t.test('a full disk behind stdout: files are written, the lost result is told', { skip: windows }, async (t) => {
  for (const name of quick) {
    const { code, stderr } = await versemi(commands[name]!(4000), undefined, openSync('/dev/full', 'w'));
    t.equal(code, 8, `${name}: ${stderr}`);
    t.match(stderr, /VERSEMI_DISK_FULL: The disk is full \(standard output\)/, name);
    t.notMatch(stderr, crash, name);
  }
  t.ok(existsSync(runFiles(join(folder, 'run-4000')).model), 'the training went to its end');
  t.ok(existsSync(join(folder, 'evaluation-4000', 'evaluation.json')));
  t.ok(existsSync(join(folder, 'report-4000.html')));
});

t.test(
  'disks that are full, and limits on the size of files: coded errors, nothing half-written',
  { skip: windows },
  async (t) => {
    const evaluate = ['evaluate', 'run', '--data', 'mr-atrium', '-q', ...device];
    // A signal above may have ended a command in the middle of writing; what it left goes after a while.
    const before = new Set(temporaryFiles(folder));
    symlinkSync('/dev/full', join(folder, 'full'));
    for (const option of ['--csv', '--json']) {
      const { code, stderr } = await versemi([...evaluate, option, 'full']);
      t.equal(code, 8, option);
      t.match(stderr, /VERSEMI_DISK_FULL.*\(full\)/);
    }
    const limited = (args: readonly string[]) =>
      execFileSync(
        'sh',
        ['-c', `ulimit -f 8; "${process.execPath}" "${main}" ${args.join(' ')} 2>&1 || echo "code $?"`],
        {
          cwd: folder,
          encoding: 'utf8',
        },
      );
    for (const [args, made] of [
      [['train', 'short.json', '--out', 'limited', '-q', ...device], 'limited'],
      [['preprocess', 'short.json', '--cache', 'limited-cache', '-q'], 'limited-cache'],
      [['report', 'run', '--out', 'limited.html', '-q'], 'limited.html'],
      [[...evaluate, '--out', 'limited-evaluation'], 'limited-evaluation'],
    ] as const) {
      const text = limited(args);
      t.match(text, /VERSEMI_IO_FAILED.*ulimit -f[\s\S]*code 8/, args[0]);
      if (existsSync(join(folder, made))) t.same(temporaryFiles(join(folder, made)), []);
    }
    t.notOk(existsSync(join(folder, 'limited.html')));
    t.same(
      temporaryFiles(folder).filter((name) => !before.has(name)),
      [],
    );
  },
);

t.test('two trainings in one folder: one is refused, by name', async (t) => {
  const first = versemi(
    ['train', 'long.json', '--out', 'shared', '--json', ...device],
    whenWritten('"type":"step"', async (child) => {
      const second = await versemi(['train', 'long.json', '--out', 'shared', '--resume', '-q', ...device]);
      t.equal(second.code, 8);
      t.match(second.stderr, new RegExp(`VERSEMI_FOLDER_IN_USE.*shared.*a training on .*process ${child.pid}`));
      child.kill('SIGINT');
    }),
  );
  t.equal((await first).code, 130);
  const steps = readFileSync(runFiles(join(folder, 'shared')).metrics, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter(({ type }) => type === 'step')
    .map(({ step }) => step);
  t.same(
    steps,
    Array.from(steps, (_, i) => i + 1),
    'each step once',
  );
});

t.test('processes that fill one cache at the same time do not disturb each other', async (t) => {
  const preprocess = () => versemi(['preprocess', 'short.json', '--cache', 'filled', '--json', '-q']);
  for (const { code, stdout, stderr } of await Promise.all([preprocess(), preprocess(), preprocess()])) {
    t.equal(code, 0, stderr);
    t.match(JSON.parse(stdout).datasets, [{ cases: 3 }]);
  }
  t.match(JSON.parse((await preprocess()).stdout).datasets, [{ cached: 3 }], 'every entry is whole');
  t.same(temporaryFiles(join(folder, 'filled')), []);
});
