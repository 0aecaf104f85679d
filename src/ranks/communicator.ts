import type { VersemiError } from '../errors.js';

/**
 * The processes of a run that computes its steps together: each is a rank, counted from 0, with a part of every batch. What
 * they send each other goes through a communicator; which transport is behind it (none, MPI) is decided once, where it is opened. Sums
 * that go from GPU to GPU meet through it (`training/rank-sums.ts`).
 *
 * Every rank calls the same methods in the same order (collectives, as MPI calls them). A sum is the same number, bit for
 * bit, on every rank and in every run with as many ranks: the parts are added in the order of the ranks, in double precision,
 * and the result is rounded once.
 */
export interface Communicator {
  /** Of this process: 0 to size - 1. Rank 0 writes files. */
  readonly rank: number;
  /** Number of ranks. */
  readonly size: number;
  /** Place among the ranks on the same host: 0 for the first of them. */
  readonly localRank: number;
  /** One line for people: the transport and its version. */
  readonly description: string;

  /**
   * values = sum of the values of all ranks, in place; every rank gives as many. Waits for the other ranks.
   * @throws VERSEMI_RANK_LOST
   */
  allReduceSum(values: Float32Array): void;

  /** The same while this process goes on computing; the values belong to the communicator until `wait` has returned. */
  startAllReduceSum(values: Float32Array): PendingSum;

  /**
   * The values of all ranks one after the other, in the order of the ranks; every rank gives as many.
   * @returns [size * values.length]
   * @throws VERSEMI_RANK_LOST
   */
  allGather(values: Float64Array): Float64Array;

  /** values = those of rank `root`, in place. @throws VERSEMI_RANK_LOST */
  broadcast(values: Float32Array, root: number): void;

  /** Of every rank a small value that JSON can hold, in the order of the ranks. The event loop goes on meanwhile. */
  gather<T>(value: T): Promise<T[]>;

  /** Resolves when every rank has come here. The event loop goes on meanwhile. */
  barrier(): Promise<void>;

  /**
   * From now on the number of a rank that does not answer any more, plus 1, is written to alarm[0], whatever this process does meanwhile.
   * @returns ends it
   */
  watch(alarm: Int32Array): () => void;

  /** VERSEMI_RANK_LOST about the rank that `watch` has found; undefined where there is none. */
  foundLost(): VersemiError | undefined;

  /** What the run does now, for the message about a rank that is lost: for example `step 37`. */
  at(place: string): void;

  /** What this rank has sent and how long it has waited since the communicator was opened. */
  traffic(): Traffic;

  /** Ends all ranks, this one with the given status. Does not return. */
  abort(status: number): never;

  /** Says to the transport that this rank is done; every rank calls it. Nothing else may be called afterwards. */
  close(): Promise<void>;
}

/** A sum over the ranks that is under way. */
export interface PendingSum {
  /** Waits until the values are the sum. @throws VERSEMI_RANK_LOST */
  wait(): void;
}

/** What a step sent to the other ranks, and how long that took. */
export interface Traffic {
  /** Bytes that this rank has sent to others. */
  readonly bytesSent: number;
  /** Collectives that this rank has taken part in. */
  readonly calls: number;
  /** Seconds in which this process could do nothing but wait for a collective. */
  readonly secondsWaited: number;
}

/** The communicator of a run of one process: sums are what they are, and nothing is sent. */
export const solo: Communicator = {
  rank: 0,
  size: 1,
  localRank: 0,
  description: 'one process',
  allReduceSum: () => {},
  startAllReduceSum: () => ({ wait: () => {} }),
  allGather: (values) => values.slice(),
  broadcast: () => {},
  gather: async (value) => [value],
  barrier: async () => {},
  watch: () => () => {},
  foundLost: () => undefined,
  at: () => {},
  traffic: () => ({ bytesSent: 0, calls: 0, secondsWaited: 0 }),
  abort: (status) => process.exit(status),
  close: async () => {},
};
