/**
 * Random calls, in processes that are ended when a call does not return: ops of TF.js's API against TF.js's cpu backend, and
 * rows of the kernel table with attributes of every size. More than npm test runs, or others:
 * `node dist/test/ops/random-ops.test.js --calls 10000 --seed 7`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import t from 'tap';
import { packageRoot } from '../../src/root.js';
import { nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import type { Report } from './random-ops-child.js';

const { values: options } = parseArgs({
  options: { calls: { type: 'string', default: '300' }, seed: { type: 'string', default: '1' } },
});
const calls = Number(options.calls);

/** For the start of a process or one call; calls take milliseconds. */
const limitMs = 30_000;
/** Calls that do not return, or end the process, are counted up to here. */
const mostLost = 5;

const child = fileURLToPath(new URL('random-ops-child.js', import.meta.url));

/** Runs calls from `first` on in one process until all are done or one is lost. */
async function runFrom(kind: string, device: string, first: number, environment: NodeJS.ProcessEnv) {
  const args = [child, kind, device, options.seed, `${first}`, `${calls - first}`];
  const running = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let last: Report | undefined;
  let complaints = '';
  let isLate = false;
  const problems: string[] = [];
  running.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints += text;
  });
  const closed = once(running, 'close');
  const stop = () => {
    isLate = true;
    running.kill('SIGKILL');
  };
  let timer = setTimeout(stop, limitMs);
  for await (const line of createInterface({ input: running.stdout })) {
    if (!line.startsWith('{')) continue;
    clearTimeout(timer);
    timer = setTimeout(stop, limitMs);
    last = JSON.parse(line) as Report;
    if (last.problem) problems.push(`${last.index}, ${last.description}: ${last.problem}`);
  }
  await closed;
  clearTimeout(timer);
  const next = last === undefined ? calls : last.index + 1;
  const isLost = last === undefined || last.problem === undefined;
  if (isLost)
    problems.push(`${last?.index}, ${last?.description}: ${isLate ? 'does not return' : `ended:\n${complaints}`}`);
  return { problems, next, isLost };
}

// Each call has a limit of its own.
t.setTimeout(0);

const withoutNative = nativeUnavailableReason() ?? false;
const emulated = join(packageRoot, 'build', 'native-tests', 'versemi.node');
const withoutEmulator = existsSync(emulated) ? false : 'no emulated addon: node test/native-build.mjs makes it';

for (const [kind, device, skip, environment] of [
  ['ops', 'cpu', withoutNative, {}],
  ['ops', 'wasm', false, {}],
  ['ops', 'wasm-always-shared', false, {}],
  ['rows', 'cpu', withoutNative, {}],
  ['rows', 'wasm', false, {}],
  ['rows', 'wasm-always-shared', false, {}],
  ['rows', 'cuda', withoutEmulator, { VERSEMI_ADDON: emulated }],
] as const)
  t.test(`random ${kind} on ${device}`, { skip }, async (t) => {
    let lost = 0;
    for (let next = 0; next < calls && lost < mostLost; ) {
      const part = await runFrom(kind, device, next, environment);
      for (const problem of part.problems) t.fail(problem);
      lost += Number(part.isLost);
      next = part.next;
    }
    t.ok(lost < mostLost, `${calls} calls`);
  });
