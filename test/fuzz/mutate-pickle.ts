// Checkpoints of PyTorch that are almost right: the opcodes of a pickle taken apart, some of them exchanged, and put together again.
import { unzipSync, zipSync } from 'fflate';
import type { RandomStream } from '../../src/random.js';
import { few, mutatedBytes, once, pick } from './mutate.js';

/** Bytes behind an opcode that say how long its argument is, or the length itself; 0: no argument. */
const fixed: Readonly<Record<string, number>> = {
  ...{ '\x80': 1, '\x95': 8, K: 1, M: 2, J: 4, G: 8, q: 1, r: 4, h: 1, j: 4 },
};
const counted: Readonly<Record<string, number>> = { '\x8a': 1, X: 4, '\x8c': 1, T: 4, U: 1, B: 4, C: 1 };

/** The opcodes of a pickle, each with its argument, up to the one that ends it. */
function opcodesOf(bytes: Uint8Array, start: number): { readonly opcodes: Buffer[]; readonly end: number } {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const opcodes: Buffer[] = [];
  let at = start;
  for (let name = ''; name !== '.'; ) {
    name = view.toString('latin1', at, at + 1);
    const countBytes = counted[name] ?? 0;
    let length = 1 + (fixed[name] ?? 0) + countBytes;
    if (countBytes > 0) length += view.readUIntLE(at + 1, countBytes);
    if (name === 'c') length = view.indexOf('\n', view.indexOf('\n', at) + 1) + 1 - at;
    opcodes.push(view.subarray(at, at + length));
    at += length;
  }
  return { opcodes, end: at };
}

const text = (word: string) => {
  const head = Buffer.from('X\0\0\0\0');
  head.writeUInt32LE(Buffer.byteLength(word), 1);
  return Buffer.concat([head, Buffer.from(word)]);
};
const latin1 = (codes: string) => Buffer.from(codes, 'latin1');

/** Numbers, texts, names, and whole values that a key, a size or a storage could be. */
const oddValues: readonly Buffer[] = [
  ...['K\0', 'K\x01', 'K\xff', 'M\xff\xff', 'J\xff\xff\xff\xff', 'J\xff\xff\xff\x7f', '\x8a\0', 'N', '\x88'].map(
    latin1,
  ),
  ...['\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f', '\x8a\x07\0\0\0\0\0\0\x20', 'G\x7f\xf8\0\0\0\0\0\0'].map(latin1),
  ...['', '0', '__proto__', 'constructor', 'block_one.conv.0.weight', '\u001b[2J', 'x'.repeat(1 << 20)].map(text),
  ...[']', ')', '}', '(', '(t', '\x85', '\x86', '}q\0h\0h\0s', ']q\0h\0a', 'C\x03abc'].map(latin1),
  ...['cnumpy\ndtype\n', 'cnumpy\ndtype\n)R', 'ctorch\nFloatStorage\n', 'ctorch\nBoolStorage\n'].map(latin1),
  ...['ccollections\nOrderedDict\n)R', 'ctorch\nSize\n)R', 'cos\nsystem\n', 'h\0', 'h\x01', 'h\x05'].map(latin1),
  latin1(`)${'\x85'.repeat(5000)}`),
];
const oddOpcodes = '.(tseuaqrhRbQ\x93\x94\x81\x85\x86\x87iP0\x90';

function mutated(source: readonly Buffer[], random: RandomStream): Buffer[] {
  const opcodes = [...source];
  for (let faults = few(random); faults > 0; faults--) {
    const at = random.integer(opcodes.length);
    const kind = random.integer(8);
    const odd = [pick(random, oddValues)];
    if (kind === 0) opcodes.splice(at, 1);
    else if (kind === 1) opcodes.splice(at, 0, opcodes[at]!);
    else if (kind === 2) opcodes.splice(at, 0, opcodes[random.integer(opcodes.length)]!);
    else if (kind === 3) opcodes.splice(at, 1, opcodes[random.integer(opcodes.length)]!);
    else if (kind === 4) opcodes.splice(at, 0, ...odd);
    else if (kind === 5) opcodes.splice(at, 1, latin1(oddOpcodes[random.integer(oddOpcodes.length)]!));
    else {
      // A value in the place of another one.
      const values = [...opcodes.keys()].filter((i) =>
        'KMJGXU\x8a\x8cNc})]'.includes(opcodes[i]!.toString('latin1', 0, 1)),
      );
      if (values.length > 0) opcodes.splice(pick(random, values), 1, ...odd);
    }
  }
  return opcodes;
}

/** A file of `torch.save` with faults: in its opcodes, in its storages, or in the bytes of the file as a whole. */
export function mutatedCheckpoint(seed: Uint8Array, random: RandomStream): Uint8Array {
  if (once(random, 4)) return mutatedBytes(seed, random);
  if (seed[0] !== 0x50) {
    const pickles: Buffer[][] = [];
    let at = 0;
    for (let i = 0; i < 5; i++) {
      const { opcodes, end } = opcodesOf(seed, at);
      pickles.push(opcodes);
      at = end;
    }
    const wrong = once(random, 3) ? random.integer(5) : 3;
    pickles[wrong] = mutated(pickles[wrong]!, random);
    return Buffer.concat([...pickles.flat(), seed.subarray(at)]);
  }
  // A time of its own would make other bytes at each start.
  const options = { mtime: new Date(2020, 1, 2), level: once(random, 8) ? 6 : 0 } as const;
  const entries = Object.entries(unzipSync(seed));
  const chosen = random.integer(entries.length);
  const files = entries.map(([name, bytes], i): [string, Uint8Array] => {
    if (name.endsWith('data.pkl')) return [name, Buffer.concat(mutated(opcodesOf(bytes, 0).opcodes, random))];
    return i === chosen && once(random, 3) ? [name, mutatedBytes(bytes, random)] : [name, bytes];
  });
  return zipSync(Object.fromEntries(files), options);
}
