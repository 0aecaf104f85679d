// Killed at random moments and resumed each time, a training ends as if nothing had happened: the same weights bit for bit, and
// metrics.jsonl whole, with each step once. VERSEMI_CRASH_KILLS: more kills than the usual 30.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parseSafetensors } from '../../src/checkpoints/safetensors.js';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { environment } from '../../src/environment.js';
import { lockFileName } from '../../src/folder-lock.js';
import { RandomStream, streams } from '../../src/random.js';
import { runFiles } from '../../src/training/run-folder.js';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const kills = Number(environment('VERSEMI_CRASH_KILLS') ?? 30);
/** Of these a process does 12 at most before it is killed, so that the kills do not run out of steps. */
const steps = 12 * kills;
const folder = t.testdir();
t.setTimeout(60_000 + 20_000 * kills); // On a busy machine.

await makePhantomDataset(join(folder, 'mr-atrium'), 'mr-atrium', {
  cases: 4,
  labeledCases: 2,
  validationCases: 1,
  testCases: 0,
  seed: 5,
});

/** Starts `versemi train`; `onStep` is called with the number of steps that it has told of. */
function train(out: string, onStep: (told: number) => void = () => {}) {
  const args = ['train', 'plan.json', '--out', out, '--resume', '--device', 'wasm', '--json'];
  const child = spawn(process.execPath, [main, ...args], {
    cwd: folder,
    env: { ...process.env, VERSEMI_THREADS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    onStep(stdout.split('"type":"step"').length - 1);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return { child, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr })) };
}

async function finish(out: string): Promise<void> {
  const { code, stderr } = await train(out).ended;
  if (code !== 0) throw new Error(`${out}: exit code ${code}\n${stderr}`);
}

const plan = spawn(
  process.execPath,
  [
    ...[main, 'plan', 'mr-atrium', '--labeled', 'labeled', '--validation', '1'],
    ...['--patch', '8', '--width', '2', '--gflops', '100', '-q'],
  ],
  { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] },
);
t.same(await once(plan, 'close'), [0, null]);
const tiny = JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8'));
Object.assign(tiny.network, { levels: 2, convolutions: [1, 1] });
tiny.datasets[0].preprocessing.spacingMm = [16, 16, 16];
Object.assign(tiny.training, { labeledBatchSize: 2, unlabeledBatchSize: 2, workers: 0 });
Object.assign(tiny.training, { stage1Steps: steps / 2, stage2Steps: steps / 2 });
Object.assign(tiny.training, { checkpointEverySteps: 2, validateEverySteps: 60 });
writeFileSync(join(folder, 'plan.json'), JSON.stringify(tiny));

/** What a run leaves, without times. */
function left(out: string) {
  const files = runFiles(join(folder, out));
  const tensorsOf = (file: string) =>
    Object.fromEntries(
      [...parseSafetensors(readFileSync(file)).tensors].map(([name, { bytes }]) => [
        name,
        Buffer.from(bytes).toString('base64'),
      ]),
    );
  const text = readFileSync(files.metrics, 'utf8');
  const events = text
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line));
  return {
    last: tensorsOf(files.last),
    model: tensorsOf(files.model),
    best: tensorsOf(files.best),
    whole: text.endsWith('\n'),
    steps: events
      .filter(({ type }) => type === 'step')
      .map(({ step, stage, losses, learningRate, gradientNorm }) => ({
        step,
        stage,
        losses,
        learningRate,
        gradientNorm,
      })),
    validations: events
      .filter(({ type }) => type === 'validation')
      .map(({ step, mean, best }) => ({ step, mean, best })),
  };
}

t.test(`${kills} kills`, async (t) => {
  await finish('whole');
  const expected = left('whole');
  t.same(
    expected.steps.map(({ step }) => step),
    Array.from({ length: steps }, (_, i) => i + 1),
  );
  const random = new RandomStream(7, streams.test, 99);
  let startMs = 1000;
  let duringStart = 0;
  for (let kill = 0; kill < kills; kill++) {
    const began = performance.now();
    // One in four while the process starts, the others after some steps and at any moment of the next.
    const starting = random.uniform() < 0.25;
    const after = Math.floor(random.uniformBetween(0, 10));
    const share = random.uniform();
    let timer: NodeJS.Timeout | undefined;
    const { child, ended } = train('killed', (told) => {
      if (told === 1) startMs = performance.now() - began;
      if (!starting && told > after) timer ??= setTimeout(() => child.kill('SIGKILL'), share * 30);
    });
    if (starting) timer = setTimeout(() => child.kill('SIGKILL'), share * 1.2 * startMs);
    const { code, stderr } = await ended;
    clearTimeout(timer);
    if (code !== null) t.fail(`kill ${kill}: ended by itself with ${code}: ${stderr}`);
    if (starting) duringStart++;
  }
  t.ok(kills < 30 || (duringStart > 0 && duringStart < kills / 2), `${duringStart} while starting`);
  await finish('killed');
  const found = left('killed');
  t.ok(found.whole);
  for (const name of ['steps', 'validations', 'last', 'best', 'model'] as const)
    t.same(found[name], expected[name], name);
  const files = readdirSync(join(folder, 'killed'), { recursive: true, encoding: 'utf8' });
  t.notOk(existsSync(join(folder, 'killed', lockFileName)));
  const temporary = files.filter((file) => file.endsWith('.tmp'));
  t.same(
    temporary.filter((file) => file.startsWith('checkpoints')),
    [],
    'none of the checkpoints that a kill cut short',
  );
});
