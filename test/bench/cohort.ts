// Throughput of cohorts, from many small scans: node dist/test/bench/cohort.js [scans, default 10000]
// One process, one process with a manifest, two parts with manifests, and two parts that are killed at random and started again; the
// masks must be the same, each scan done once, and the memory of a process must not grow with the number of scans. Time is also told as
// that of processors (Linux), which other work on the machine changes little: what parts cost more than one process is lost.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { readManifest } from '../../src/cohort/manifest.js';
import { main } from '../integration/cli-support.js';
import { scanName, writeScans, writeSmallModel } from '../integration/cohort-support.js';

const count = Number(process.argv[2] ?? 10_000);
const kills = 10;
const folder = mkdtempSync(join(tmpdir(), 'versemi-cohort-'));

function start(out: string, ...more: string[]): ChildProcess {
  const args = ['predict', 'model.safetensors', 'scans', '--out', out, '--task', 'core', '--device', 'wasm', '-q'];
  return spawn(process.execPath, [main, ...args, ...more], {
    ...{ cwd: folder, detached: true, stdio: 'ignore', env: { ...process.env, VERSEMI_THREADS: '1' } },
  });
}

const ended = (child: ChildProcess) =>
  new Promise<number | null>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
    else child.on('close', resolve);
  });

interface Took {
  readonly seconds: number;
  /** Of all processes together. */
  readonly processorSeconds: number;
}

/** Processor time of all children that have ended, and of theirs: proc(5), in hundredths of a second. */
function childrenSeconds(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1)!.split(' ');
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/** What processes take that run at the same time. */
async function timed(work: () => Promise<(number | null)[]>): Promise<Took> {
  const [started, before] = [performance.now(), childrenSeconds()];
  const codes = await work();
  if (codes.some((code) => code !== 0)) throw new Error(`exit codes ${codes}`);
  return { seconds: (performance.now() - started) / 1000, processorSeconds: childrenSeconds() - before };
}

const part = (index: number, out: string) => ['--part', `${index}/2`, '--manifest', `${out}.jsonl`];
/** Seconds that each part took. */
const ofParts: number[] = [];
const both = (out: string) =>
  [1, 2].map(async (index) => {
    const started = performance.now();
    const code = await ended(start(out, ...part(index, out)));
    ofParts[index - 1] = (performance.now() - started) / 1000;
    return code;
  });

/** Runs a part to its end, and kills it on the way, the process that watches and the one that works. */
async function killedOften(index: number): Promise<number | null> {
  for (let kill = 0; kill < kills; kill++) {
    const child = start('killed', ...part(index, 'killed'));
    // Some seconds are spent on starting.
    await setTimeout(4000 + Math.random() * ((count / 10_000) * 8000));
    if (child.exitCode === null) process.kill(-child.pid!, 'SIGKILL');
    await ended(child);
  }
  return ended(start('killed', ...part(index, 'killed')));
}

/** Lines of scans that are done. */
function doneIn(manifest: string) {
  const lines = readFileSync(join(folder, manifest), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line)).filter(({ type }) => type === 'case');
}

/** Seconds of a process in which it was at no scan: starting, listing, ending. */
function outside(what: string, manifest: string, seconds: number): number {
  const result = seconds - doneIn(manifest).reduce((sum, one) => sum + one.seconds, 0);
  console.log(
    `${what}: ${seconds.toFixed(1)} s, of which ${result.toFixed(1)} s (${((100 * result) / seconds).toFixed(1)} %) outside of scans: starting, listing, ending`,
  );
  return result;
}

function requireSameMasks(out: string): void {
  for (let index = 0; index < count; index++) {
    const name = `${scanName(index)}_core.nii.gz`;
    const [a, b] = ['plain', out].map((one) => readFileSync(join(folder, one, name))) as [Buffer, Buffer];
    if (!a.equals(b)) throw new Error(`${out}/${name} differs`);
  }
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;

try {
  await writeSmallModel(join(folder, 'model.safetensors'));
  await writeScans(join(folder, 'scans'), count);
  const row = (what: string, { seconds, processorSeconds }: Took, rest = '') =>
    console.log(
      `${what}: ${seconds.toFixed(1)} s, ${(count / seconds).toFixed(0)} scans per second, ${processorSeconds.toFixed(1)} s of processors${rest}`,
    );
  const above = (a: number, b: number) => `${((100 * a) / b - 100).toFixed(1)} %`;
  const plain = await timed(async () => [await ended(start('plain'))]);
  row('one process, no manifest', plain);
  const written = await timed(async () => [await ended(start('written', '--manifest', 'written.jsonl'))]);
  row('one process, manifest', written, ` (${above(written.processorSeconds, plain.processorSeconds)} more)`);
  const parts = await timed(() => Promise.all(both('parts')));
  row('two parts, manifests', parts, ` (${above(parts.processorSeconds, written.processorSeconds)} more)`);
  console.log(`two parts took ${above(parts.seconds, written.seconds / 2)} more than half of the time of one process`);
  const ofOne = outside('one process', 'written.jsonl', written.seconds);
  const each = [1, 2].map((index) => outside(`part ${index}`, `parts-${index}-of-2.jsonl`, ofParts[index - 1]!));
  const [lost, whole] = [each[0]! + each[1]! - ofOne, ofParts[0]! + ofParts[1]!];
  console.log(`lost by dividing: ${lost.toFixed(1)} of ${whole.toFixed(1)} s (${((100 * lost) / whole).toFixed(1)} %)`);
  const killed = await timed(() => Promise.all([killedOften(1), killedOften(2)]));
  row(`two parts, each killed ${kills} times`, killed);

  for (const out of ['written', 'parts', 'killed']) requireSameMasks(out);
  const keys = ['killed-1-of-2.jsonl', 'killed-2-of-2.jsonl'].flatMap((file) => doneIn(file).map(({ key }) => key));
  if (keys.length !== count || new Set(keys).size !== count)
    throw new Error(`${keys.length} lines of ${new Set(keys).size} scans, ${count} expected`);
  const left = readdirSync(join(folder, 'killed')).filter((name) => name.startsWith('.')).length;
  console.log(`nothing lost, nothing done twice; ${left} temporary files of killed processes`);
  if (readManifest(join(folder, 'written.jsonl')).cases.size !== count) throw new Error('the manifest lacks scans');
  const peaks = doneIn('written.jsonl').map(({ peakMemoryBytes }) => peakMemoryBytes as number);
  const tenth = Math.ceil(count / 10);
  const megabytes = Array.from({ length: 10 }, (_, i) => median(peaks.slice(i * tenth, (i + 1) * tenth)) / 1e6);
  console.log(`memory, median per tenth of the scans, MB: ${megabytes.map(Math.round).join(' ')}`);
  if (megabytes[9]! > megabytes[1]! * 1.15) throw new Error('memory grows with the number of scans');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
