import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dlopen } from 'node:process';
import { environment } from '../environment.js';
import { VersemiError } from '../errors.js';
import { packageRoot } from '../root.js';
import type { Communicator, Traffic } from './communicator.js';

/** What failed: the rank that is lost (-1: none), for how long it did not answer, whether SIGTERM had come, what MPI said. */
type Failure = readonly [lostRank: number, seconds: number, toldToEnd: boolean, text: string];

/** The addon of native/mpi; see native/mpi/addon.cpp. */
interface MpiAddon {
  /** The implementation that it was compiled for, and what the library that was loaded says of itself. */
  readonly builtFor: string;
  readonly library: string;
  open(lostSeconds: number): readonly [rank: number, size: number, localRank: number] | string;
  startSum(values: Float32Array): number;
  wait(sum: number): Failure | null;
  gather(values: Float64Array, gathered: Float64Array): Failure | null;
  broadcast(values: Float32Array, root: number): Failure | null;
  exchange(message: string, done: (failure: Failure | null, messages: string[]) => void): void;
  watch(alarm: Int32Array | null): void;
  foundLost(): Failure | null;
  traffic(): readonly [bytesSent: number, calls: number];
  abort(status: number): never;
  close(): void;
}

const addonFile = environment('VERSEMI_MPI_ADDON') ?? `${packageRoot}build/mpi/versemi_mpi.node`;

/** What is done about an addon that is not there or was built for another MPI. */
const buildRemedy = 'Build it where the run takes place: npx versemi build-addon --mpi (MPICXX names another mpicxx).';

/** Seconds without an answer after which a rank that is waited for counts as lost. */
const defaultLostSeconds = 60;

/** @throws VERSEMI_RANKS_UNAVAILABLE where it is not built or does not load */
function loadMpiAddon(): MpiAddon {
  const unavailable = (found: string, cause?: unknown) =>
    new VersemiError(
      'RANKS_UNAVAILABLE',
      { file: addonFile, expected: 'the addon for MPI', found, remedy: buildRemedy },
      cause,
    );
  if (!existsSync(addonFile)) throw unavailable('none');
  const module = { exports: {} as MpiAddon };
  try {
    // Global: the parts that Open MPI loads by itself look for its symbols there.
    dlopen(module, addonFile, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL);
  } catch (error) {
    throw unavailable((error as Error).message.split(/\r?\n/)[0]!, error);
  }
  return module.exports;
}

/** What a library of MPI says of itself (`Open MPI v4.1.4, package: ...`, `MPICH Version:  4.0.2 ...`), as a name and a version. */
function shortName(library: string): string {
  return library
    .split(/[\r\n,]/)[0]!
    .replace(/\s+(Version:)?\s*v?/g, ' ')
    .trim();
}

/**
 * Connects the ranks that an MPI launcher has started. Once per process.
 * @param expectedSize ranks that the launcher says it started; undefined where it says nothing
 * @throws VERSEMI_RANKS_UNAVAILABLE where the addon is missing, or where MPI does not see the ranks that were started
 */
export function openMpi(expectedSize?: number): Communicator {
  const addon = loadMpiAddon();
  const opened = addon.open(lostSeconds());
  const unavailable = (expected: string, found: string) =>
    new VersemiError('RANKS_UNAVAILABLE', {
      field: `the addon built for ${addon.builtFor}`,
      expected,
      found,
      remedy: `Start the run with the launcher of the same MPI (srun --mpi=pmix for Open MPI, srun --mpi=pmi2 for MPICH), or build the addon for yours. ${buildRemedy}`,
    });
  if (typeof opened === 'string') throw unavailable('that MPI starts', opened);
  const [rank, size, localRank] = opened;
  if (expectedSize !== undefined && size !== expectedSize)
    throw unavailable(
      `${expectedSize} ranks, as the launcher has started`,
      `${size}, as ${shortName(addon.library)} says`,
    );
  return new MpiCommunicator(addon, rank, size, localRank);
}

/** @throws VERSEMI_USAGE */
function lostSeconds(): number {
  const text = environment('VERSEMI_RANK_LOST_SECONDS');
  if (text === undefined) return defaultLostSeconds;
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds > 0) return seconds;
  throw new VersemiError('USAGE', {
    field: 'VERSEMI_RANK_LOST_SECONDS',
    expected: 'a number above 0',
    found: text,
    remedy: 'Set it to seconds, or unset it.',
  });
}

class MpiCommunicator implements Communicator {
  readonly description: string;
  private place = 'before the first step';
  private secondsWaited = 0;

  constructor(
    private readonly addon: MpiAddon,
    readonly rank: number,
    readonly size: number,
    readonly localRank: number,
  ) {
    this.description = shortName(addon.library);
  }

  allReduceSum(values: Float32Array): void {
    this.startAllReduceSum(values).wait();
  }

  startAllReduceSum(values: Float32Array) {
    const sum = this.addon.startSum(values);
    return { wait: () => this.timed(() => this.addon.wait(sum)) };
  }

  allGather(values: Float64Array): Float64Array {
    const gathered = new Float64Array(this.size * values.length);
    this.timed(() => this.addon.gather(values, gathered));
    return gathered;
  }

  broadcast(values: Float32Array, root: number): void {
    this.timed(() => this.addon.broadcast(values, root));
  }

  gather<T>(value: T): Promise<T[]> {
    return new Promise((resolve, reject) => {
      this.addon.exchange(JSON.stringify(value), (failure, messages) => {
        if (failure !== null) reject(this.lost(failure));
        else resolve(messages.map((message) => JSON.parse(message) as T));
      });
    });
  }

  async barrier(): Promise<void> {
    await this.gather(0);
  }

  watch(alarm: Int32Array): () => void {
    this.addon.watch(alarm);
    return () => this.addon.watch(null);
  }

  foundLost(): VersemiError | undefined {
    const failure = this.addon.foundLost();
    return failure === null ? undefined : this.lost(failure);
  }

  at(place: string): void {
    this.place = place;
  }

  traffic(): Traffic {
    const [bytesSent, calls] = this.addon.traffic();
    return { bytesSent, calls, secondsWaited: this.secondsWaited };
  }

  abort(status: number): never {
    return this.addon.abort(status);
  }

  async close(): Promise<void> {
    await this.barrier();
    this.addon.close();
  }

  /** @throws VERSEMI_RANK_LOST */
  private timed(wait: () => Failure | null): void {
    const start = performance.now();
    const failure = wait();
    this.secondsWaited += (performance.now() - start) / 1000;
    if (failure !== null) throw this.lost(failure);
  }

  private lost([lostRank, seconds, toldToEnd, text]: Failure): VersemiError {
    const signal = toldToEnd ? ', and the launcher has told this one to end' : '';
    return new VersemiError('RANK_LOST', {
      field: `${this.place}, rank ${lostRank < 0 ? this.rank : lostRank} of ${this.size}`,
      expected: 'messages of every rank',
      found: lostRank < 0 ? text : `no answer for ${seconds.toFixed(1)} s${signal}`,
      remedy:
        'Look at what that rank or its host has said last, then go on with --resume, with as many ranks as there are.',
    });
  }
}
