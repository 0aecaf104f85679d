import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { environmentWithout } from '../environment.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import { medianOf } from '../preprocessing/fingerprint.js';
import { type Device, type DeviceChoice, type DeviceOptions, deviceOptions, selectDevice } from '../tfjs/index.js';
import type { VerbOptions } from '../verb-options.js';

/** One line of `versemi bench`. */
export interface BenchRow {
  readonly name: string;
  readonly device: string;
  readonly threads: number;
  /** Median over the runs. */
  readonly milliseconds: number;
  /** 10^9 floating-point operations per second; a multiply-add counts as two. null where most of the work is none. */
  readonly gflops: number | null;
  /** What else does the same work; null where nothing else is installed. */
  readonly peer: string | null;
  readonly peerMilliseconds: number | null;
}

export interface BenchOptions extends DeviceOptions, VerbOptions<BenchProgress> {
  readonly device: DeviceChoice;
  readonly only?: readonly string[];
  readonly runs: number;
  /** Edge of the network's patch, voxels. */
  readonly patch: number;
  /** Folder with the peers' programs. */
  readonly peers: string;
  /** Folder with the dataset `left-atrium`. */
  readonly data: string;
}

/** A case begins. */
export interface BenchProgress {
  readonly name: string;
  /** Counts from 1 to total. */
  readonly index: number;
  readonly total: number;
}

/** A program that does the same work, in a process of its own, and prints {@link PeerOutput} as JSON. */
export interface Peer {
  readonly name: string;
  /** Programs that may be able to run the peer; the first one that succeeds is taken. */
  readonly commands: readonly string[];
  readonly args: readonly string[];
}

export interface PeerOutput {
  readonly milliseconds: readonly number[];
  /** What it computed, where that is compared: numbers by name. */
  readonly results?: Readonly<Record<string, number>>;
}

/** What is timed, ready to run. */
export interface PreparedCase {
  /** One run, its result waited for. */
  readonly run: () => unknown;
  /** Called once, when the case and its peer have been timed. */
  readonly dispose: () => unknown;
  /** Each gives a row. */
  readonly peers: readonly (Peer | undefined)[];
  /** What the runs computed, under the names that the peer uses. */
  readonly results?: () => Readonly<Record<string, number>>;
}

export interface BenchSettings extends BenchOptions {
  readonly chosen: Pick<Device, 'name' | 'threads'>;
}

export interface BenchCase {
  readonly name: string;
  /** Floating-point operations of a run, where they say what the work is. */
  readonly flops?: (patch: number) => number;
  /** Voxel loops of the host: WebAssembly on one thread, whatever the device. Timed by processor time, as its peer is. */
  readonly host?: true;
  /** @returns a sentence where the case cannot run here */
  readonly prepare: (settings: BenchSettings) => PreparedCase | string | Promise<PreparedCase | string>;
  /** How far numbers of the peer may differ from ours, by name: as a share of ours. */
  readonly tolerance?: Readonly<Record<string, number>>;
}

/**
 * Times every case, and its peer right after it.
 * @throws VERSEMI_ABORTED by `signal`, between two cases; VERSEMI_INTERNAL where a peer that did the same work found something else: times of different work say nothing
 */
export async function* timeCases(cases: readonly BenchCase[], options: BenchOptions): AsyncGenerator<BenchRow> {
  const { signal, onProgress, onNotice, only } = options;
  const { device } = await selectDevice(options.device, deviceOptions(options));
  const chosen = cases.filter(({ name }) => only === undefined || only.includes(name));
  for (const [i, { name, flops, host, prepare, tolerance = {} }] of chosen.entries()) {
    throwIfAborted(signal, 'bench');
    onProgress?.({ name, index: i + 1, total: chosen.length });
    const prepared = await prepare({ ...options, chosen: device });
    if (typeof prepared === 'string') {
      onNotice?.(`${name}: left out, ${prepared}`);
      continue;
    }
    const { run, dispose, peers, results } = prepared;
    try {
      const milliseconds = medianOf(await timesOf(run, options.runs, host === true));
      device.trim();
      const row = {
        name,
        device: host === true ? 'wasm' : device.name,
        threads: host === true ? 1 : device.threads,
        milliseconds,
        gflops: flops === undefined ? null : flops(options.patch) / milliseconds / 1e6,
      };
      let alone = true;
      for (const peer of peers) {
        const output = await peerOutput(peer, (text) => onNotice?.(`${name}: ${text}`));
        if (output === undefined) continue;
        if (output.results !== undefined && results !== undefined) {
          const differing = differences(results(), output.results, tolerance);
          if (differing.length > 0)
            throw new VersemiError('INTERNAL', {
              field: `${name}, ${peer!.name}`,
              expected: 'the same results on both sides',
              found: differing.join('; '),
            });
          const found = Object.entries(output.results).map(shown).join(', ');
          onNotice?.(`${name}: ${peer!.name} found the same: ${found}`);
        }
        alone = false;
        yield { ...row, peer: peer!.name, peerMilliseconds: medianOf(output.milliseconds) };
      }
      if (alone) yield { ...row, peer: null, peerMilliseconds: null };
    } finally {
      await dispose();
    }
  }
}

/** Milliseconds of each run after a first one that does not count. */
async function timesOf(run: () => unknown, runs: number, processorTime: boolean): Promise<number[]> {
  await run();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const [wall, processor] = [performance.now(), process.cpuUsage()];
    await run();
    const { user, system } = process.cpuUsage(processor);
    times.push(processorTime ? (user + system) / 1000 : performance.now() - wall);
  }
  return times;
}

/** Each number of the peer that differs from ours by more than the tolerance. NaN differs from everything. */
export function differences(
  ours: Readonly<Record<string, number>>,
  theirs: Readonly<Record<string, number>>,
  tolerance: Readonly<Record<string, number>> = {},
): string[] {
  const names = [...new Set([...Object.keys(ours), ...Object.keys(theirs)])];
  return names.flatMap((name) => {
    const [a, b] = [ours[name], theirs[name]];
    if (a !== undefined && b !== undefined && Math.abs(a - b) <= (tolerance[name] ?? 1e-6) * Math.abs(a)) return [];
    return [`${name} ${a ?? 'missing'} here, ${b ?? 'missing'} there`];
  });
}

function shown([name, value]: [string, number]): string {
  return `${name} ${Number(value.toPrecision(6))}`;
}

/** The interpreters that a peer in Python is tried with: the first one on the path is not always the one with the packages. */
export const pythons = ['python3', '/usr/bin/python3'] as const;

/** A peer in Node; undefined where its package is not installed beside it. */
export function nodePeer(
  folder: string,
  packageName: string,
  program: string,
  args: readonly (string | number)[],
): Peer | undefined {
  if (!existsSync(join(folder, 'node_modules', packageName))) return undefined;
  return { name: packageName, commands: [process.execPath], args: [join(folder, program), ...args.map(String)] };
}

/** Runs a peer; one that cannot run is left out, and why is said. */
async function peerOutput(peer: Peer | undefined, onNote: (text: string) => void): Promise<PeerOutput | undefined> {
  if (peer === undefined) return undefined;
  // Settings for some other processor, where a machine has them, would slow numpy down.
  const env = environmentWithout('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE');
  const reasons: string[] = [];
  for (const command of peer.commands) {
    try {
      const { stdout } = await promisify(execFile)(command, [...peer.args], { timeout: 900_000, env });
      return JSON.parse(stdout) as PeerOutput;
    } catch (error) {
      const { stderr, message } = error as { stderr?: string; message: string };
      reasons.push(`${command}: ${(stderr || message).trim().split('\n').at(-1)}`);
    }
  }
  onNote(`the peer ${peer.name} did not run (${reasons.join('; ')})`);
  return undefined;
}
