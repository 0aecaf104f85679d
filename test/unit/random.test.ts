// Counter-based random numbers: published vectors, and the same words in TypeScript, WebAssembly and (by the constants
// below, which native/test/test_philox.cpp shares) C++.
import t from 'tap';
import { philox4x32, RandomStream, streams } from '../../src/random.js';
import { createHost } from '../../src/wasm/host.js';

const host = createHost();
const hex = (words: Iterable<number>) => [...words].map((word) => word.toString(16).padStart(8, '0')).join(' ');

t.test('philox4x32-10 gives the known answers of Random123', async (t) => {
  const ones = 0xffffffff;
  t.equal(hex(philox4x32([0, 0], [0, 0, 0, 0])), '6627e8d5 e169c58d bc57ac4c 9b00dbd8');
  t.equal(hex(philox4x32([ones, ones], [ones, ones, ones, ones])), '408f276d 41c83b0e a20bc7c6 6d5451fd');
  t.equal(
    hex(philox4x32([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344])),
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  );
});

t.test('all words of a stream are those of C++', async (t) => {
  // FNV-1a; the same seed, stream, step, sample and result as in test_philox.cpp.
  const hash = (next: () => number) => {
    let value = 0x811c9dc5;
    for (let i = 0; i < 4001; i++) value = Math.imul(value ^ next(), 0x01000193) >>> 0;
    return value;
  };
  const stream = new RandomStream(123456789012345, 4, 5, 6);
  t.equal(
    hash(() => stream.uint32()),
    0xea581e73,
    'TypeScript',
  );
  const integers = new RandomStream(7, 7);
  let sum = 0;
  for (let k = 0; k < 1000; k++) sum = (Math.imul(sum, 31) + integers.integer(1000003)) >>> 0;
  t.equal(sum, 0x2e5a6a0, 'integers');
});

t.test('streams, steps and samples are different sequences; the same ones repeat', async (t) => {
  const first = (...where: ConstructorParameters<typeof RandomStream>) => {
    const stream = new RandomStream(...where);
    return hex(Array.from({ length: 5 }, () => stream.uint32()));
  };
  const all = [first(1, 0), first(2, 0), first(1 + 2 ** 32, 0), first(1, 1), first(1, 0, 1), first(1, 0, 0, 1)];
  t.equal(new Set(all).size, all.length);
  t.equal(first(1, 0), all[0]);
  t.equal(new Set(Object.values(streams)).size, Object.keys(streams).length, 'stream numbers are unique');
});

t.test('distributions', async (t) => {
  const stream = new RandomStream(3, streams.test);
  const count = 20000;
  const uniform = Array.from({ length: count }, () => stream.uniform());
  t.ok(
    uniform.every((u) => u >= 0 && u < 1 && Math.fround(u) === u),
    'uniform in [0, 1), exact in float32',
  );
  t.ok(Math.abs(mean(uniform) - 0.5) < 4 * Math.sqrt(1 / 12 / count), 'mean of uniform');
  const normal = Array.from({ length: count }, () => stream.normal());
  t.ok(Math.abs(mean(normal)) < 4 / Math.sqrt(count), 'mean of normal');
  t.ok(Math.abs(mean(normal.map((n) => n * n)) - 1) < 4 * Math.sqrt(2 / count), 'variance of normal');
  const dice = Array.from({ length: 6 }, () => 0);
  for (let i = 0; i < count; i++) dice[stream.integer(6)]!++;
  const chiSquare = dice.reduce((sum, n) => sum + (n - count / 6) ** 2 / (count / 6), 0);
  t.ok(chiSquare < 25, `integers are even: chi-square ${chiSquare} with 5 degrees of freedom`);
  t.ok(Array.from({ length: 100 }, () => stream.integer(1)).every((n) => n === 0));
  t.ok(Array.from({ length: 100 }, () => stream.uniformBetween(-2, 3)).every((n) => n >= -2 && n < 3));
  const items = Array.from({ length: 50 }, (_, i) => i);
  const shuffled = stream.shuffled(items);
  t.notSame(shuffled, items);
  t.same(
    shuffled.slice().sort((a, b) => a - b),
    items,
    'a shuffle keeps all items',
  );
});

t.test('noise in WebAssembly is what RandomStream.normal gives', async (t) => {
  const where = { seed: 2 ** 40 + 11, stream: 4, step: 9, sample: 3 };
  for (const length of [1, 2, 7, 8, 9, 4099]) {
    const data = Float32Array.from({ length }, (_, i) => Math.sin(i));
    const found = host.augmentIntensity(data.slice(), { noiseStandardDeviation: 0.75, ...where });
    const stream = new RandomStream(where.seed, where.stream, where.step, where.sample);
    let worst = 0;
    let different = 0;
    for (let i = 0; i < length; i++) {
      const expected = Math.fround(data[i]! + 0.75 * stream.normal());
      worst = Math.max(worst, Math.abs(found[i]! - expected));
      if (found[i] !== expected) different++;
    }
    // Equal to 1e-13 before rounding to float32: hardly ever is the rounded number another one.
    t.ok(worst < 1e-6 && different <= 1, `${length} numbers: ${different} differ, by ${worst} at most`);
  }
});

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

t.test('a bound that no number lies below is refused', async (t) => {
  for (const bound of [0, -1, Number.NaN, 2 ** 32 + 1])
    t.throws(() => new RandomStream(1, 1).integer(bound), RangeError);
  t.ok(new RandomStream(1, 1).integer(2 ** 32) >= 0);
});
