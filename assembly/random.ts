// Philox 4x32-10 (Salmon et al., SC 2011): the same numbers as src/random.ts and native/include/versemi/philox.h.

// One block: the results of the last call of `philox`. Globals, because a function returns one value.
export let word0: u32 = 0;
export let word1: u32 = 0;
export let word2: u32 = 0;
export let word3: u32 = 0;

/** One block from a 64-bit key and a 128-bit counter, into word0 ... word3. */
export function philox(k0: u32, k1: u32, c0: u32, c1: u32, c2: u32, c3: u32): void {
  for (let round = 0; round < 10; round++) {
    const product0 = <u64>0xd2511f53 * <u64>c0;
    const product1 = <u64>0xcd9e8d57 * <u64>c2;
    c0 = <u32>(product1 >> 32) ^ c1 ^ k0;
    c1 = <u32>product1;
    c2 = <u32>(product0 >> 32) ^ c3 ^ k1;
    c3 = <u32>product0;
    k0 += 0x9e3779b9;
    k1 += 0xbb67ae85;
  }
  word0 = c0;
  word1 = c1;
  word2 = c2;
  word3 = c3;
}

/** u32[4 * blocks] at `output`: blocks firstBlock, firstBlock + 1, ... of the stream (stream, step, sample). */
export function philoxFill(
  output: usize,
  blocks: u32,
  k0: u32,
  k1: u32,
  firstBlock: u32,
  stream: u32,
  step: u32,
  sample: u32,
): void {
  for (let i: u32 = 0; i < blocks; i++) {
    philox(k0, k1, firstBlock + i, stream, step, sample);
    store<u32>(output, word0);
    store<u32>(output, word1, 4);
    store<u32>(output, word2, 8);
    store<u32>(output, word3, 12);
    output += 16;
  }
}

/** Standard normal number from two 32-bit numbers, as RandomStream.normal (Box-Muller, 24 bits each). */
// @ts-ignore: decorator
@inline
export function normal(a: u32, b: u32): f64 {
  const radius = Math.sqrt(-2.0 * NativeMath.log(1.0 - <f64>(a >> 8) * (1.0 / 16777216.0)));
  return radius * NativeMath.cos(2.0 * NativeMath.PI * (<f64>(b >> 8) * (1.0 / 16777216.0)));
}
