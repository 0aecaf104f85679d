// One rank of a test of the communicator: prints what it finds as one line of JSON.
import { RandomStream, streams } from '../../src/random.js';
import { closeRanks, openRanks } from '../../src/ranks/launch.js';

/** Values of different magnitudes, so that another order of summation gives another sum. */
export function valuesOf(rank: number, count: number): Float32Array {
  const random = new RandomStream(5, streams.test, rank, 0);
  return Float32Array.from({ length: count }, () => random.normal() * 10 ** random.integer(8));
}

/** In the order of the ranks, in double precision, rounded once. */
export function summed(ranks: number, count: number): Float32Array {
  const all = Array.from({ length: ranks }, (_, rank) => valuesOf(rank, count));
  return Float32Array.from({ length: count }, (_, i) => all.reduce((sum, values) => sum + values[i]!, 0));
}

const ranks = openRanks();
const { rank, size } = ranks;
const same = (a: Float32Array, b: Float32Array) =>
  a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
// A long sum under way while short ones begin and end, lengths at which parts are unequal or empty, and none at all.
const long = valuesOf(rank, 300_001);
const pending = ranks.startAllReduceSum(long);
const sums = [0, 1, 5, 4096, 4097, 5000].map((count) => {
  const values = valuesOf(rank, count);
  ranks.allReduceSum(values);
  return same(values, summed(size, count));
});
const gathered = [...ranks.allGather(Float64Array.of(rank, rank + 0.5))];
pending.wait();
sums.push(same(long, summed(size, long.length)));
const messages = await ranks.gather({ rank, text: 'é'.repeat(40_000 * rank) });
const sent = Float32Array.of(rank, 7);
ranks.broadcast(sent, size - 1);
await ranks.barrier();
const { bytesSent, calls } = ranks.traffic();
await closeRanks();
console.log(
  JSON.stringify({
    rank,
    size,
    sums,
    gathered,
    messages: messages.map(({ rank, text }) => [rank, text.length]),
    sent: [...sent],
    bytesSent,
    calls,
  }),
);
