import { readFileSync } from 'node:fs';
import t from 'tap';
import { writeFileAtomic } from '../../src/atomic-file.js';
import { encodeSafetensors, parseSafetensors, tensorValues } from '../../src/checkpoints/safetensors.js';
import { bfloat16Bits, bfloat16Value, float16Bits, float16Value } from '../../src/half.js';

const values = Float32Array.from([1, -2.5, 0, -0, 3.4e38, 1e-45, Number.POSITIVE_INFINITY, Number.NaN]);

function file(header: unknown, data = new Uint8Array(0), claimed?: number): Uint8Array {
  const json = typeof header === 'string' ? header : JSON.stringify(header);
  const text = new TextEncoder().encode(json);
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(claimed ?? text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

function concatenated(parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

t.test('every dtype is read back, at any alignment', async (t) => {
  const bytes = concatenated(
    encodeSafetensors(
      [
        { name: 'odd', shape: [3], data: Float32Array.from([1, 2, 3]), dtype: 'F16' },
        { name: 'full', shape: [2, 4], data: values, dtype: 'F32' },
        { name: 'brain', shape: [], data: Float32Array.from([-7.25]), dtype: 'BF16' },
        { name: 'empty', shape: [0, 5], data: new Float32Array(0), dtype: 'F32' },
      ],
      { versemi: '{"ü":1}' },
    ),
  );
  t.equal((8 + Number(new DataView(bytes.buffer).getBigUint64(0, true))) % 8, 0, 'data are aligned');
  const shifted = Buffer.alloc(bytes.length + 1).subarray(1);
  shifted.set(bytes);
  const { tensors, metadata } = parseSafetensors(shifted);
  t.same(metadata, { versemi: '{"ü":1}' });
  t.same([...tensors.keys()], ['odd', 'full', 'brain', 'empty']);
  t.same(tensors.get('full')!.shape, [2, 4]);
  t.same(
    new Uint8Array(tensorValues(tensors.get('full')!).buffer),
    new Uint8Array(values.buffer),
    'float32 is bitwise equal',
  );
  t.same([...tensorValues(tensors.get('odd')!)], [1, 2, 3]);
  t.same([...tensorValues(tensors.get('brain')!)], [-7.25]);
  t.equal(tensorValues(tensors.get('empty')!).length, 0);
});

t.test('damaged files are refused by naming the entry', async (t) => {
  const good = {
    a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
    b: { dtype: 'F16', shape: [2], data_offsets: [8, 12] },
  };
  const data = new Uint8Array(12);
  t.equal(parseSafetensors(file(good, data)).tensors.size, 2);
  const cases: [string, Uint8Array, string][] = [
    ['an empty file', new Uint8Array(0), 'header length'],
    ['seven bytes', new Uint8Array(7), 'header length'],
    ['a header longer than the file', file(good, data, 1e6), 'header length'],
    ['a header of 2^60 bytes', file(good, data, 2 ** 60), 'header length'],
    ['a header cut short', file(good, data, 20), 'header'],
    ['no JSON', file('{"a": '), 'header'],
    ['a list', file([1, 2]), 'header'],
    ['text that is no UTF-8', file('{}', data).fill(0xff, 8, 10), 'header'],
    ['a truncated file', file(good, data.subarray(1)), 'b.data_offsets'],
    ['bytes after the end', file(good, new Uint8Array(13)), 'data'],
    ['overlapping tensors', file({ ...good, b: { ...good.b, data_offsets: [4, 8] } }, data), 'b.data_offsets'],
    ['a hole', file({ ...good, b: { ...good.b, data_offsets: [9, 13] } }, new Uint8Array(13)), 'b.data_offsets'],
    ['a shape too large', file({ ...good, a: { ...good.a, shape: [3] } }, data), 'a.data_offsets'],
    ['an overflowing shape', file({ ...good, a: { ...good.a, shape: [2 ** 40, 2 ** 40] } }, data), 'a.data_offsets'],
    ['a negative size', file({ ...good, a: { ...good.a, shape: [-2] } }, data), 'a.shape'],
    ['a fractional size', file({ ...good, a: { ...good.a, shape: [0.5] } }, data), 'a.shape'],
    ['offsets in reverse', file({ ...good, a: { ...good.a, data_offsets: [8, 0] } }, data), 'a.data_offsets'],
    ['a negative offset', file({ ...good, a: { ...good.a, data_offsets: [-8, 0] } }, data), 'a.data_offsets'],
    ['an unknown dtype', file({ ...good, a: { ...good.a, dtype: 'Q4' } }, data), 'a.dtype'],
    ['no dtype', file({ ...good, a: { shape: [2], data_offsets: [0, 8] } }, data), 'a.dtype'],
    ['an entry that is no object', file({ ...good, a: 7 }, data), 'a'],
    ['metadata that are no strings', file({ ...good, __metadata__: { x: 1 } }, data), '__metadata__.x'],
    ['metadata that are no object', file({ ...good, __metadata__: [] }, data), '__metadata__'],
  ];
  for (const [what, bytes, field] of cases) {
    t.throws(
      () => parseSafetensors(bytes, 'm.safetensors'),
      { code: 'VERSEMI_MODEL_INVALID', exitCode: 5, details: { field, file: 'm.safetensors', remedy: /another file/ } },
      what,
    );
  }
});

t.test('no truncation of a file is taken for a whole one', async (t) => {
  const whole = concatenated(
    encodeSafetensors([{ name: 'x', shape: [5], data: new Float32Array(5), dtype: 'F32' }], {}),
  );
  for (let length = 0; length < whole.length; length++)
    t.throws(() => parseSafetensors(whole.subarray(0, length)), { code: 'VERSEMI_MODEL_INVALID' }, `${length} bytes`);
});

t.test('float16 rounds to nearest even', async (t) => {
  const cases: [number, number][] = [
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519.996, 0x7bff],
    [65520, 0x7c00],
    [1e30, 0x7c00],
    [-1e30, 0xfc00],
    [Number.POSITIVE_INFINITY, 0x7c00],
    [Number.NEGATIVE_INFINITY, 0xfc00],
    [1 + 2 ** -11, 0x3c00], // tie to even, down
    [1 + 3 * 2 ** -11, 0x3c02], // tie to even, up
    [1 + 2 ** -11 + 2 ** -20, 0x3c01],
    [2 - 2 ** -12, 0x4000], // carry into the exponent
    [2 ** -14, 0x0400], // smallest normal
    [2 ** -14 - 2 ** -26, 0x0400], // rounds up into the normals
    [2 ** -24, 0x0001], // smallest subnormal
    [2 ** -25, 0x0000], // tie to even
    [2 ** -25 + 2 ** -40, 0x0001],
    [3 * 2 ** -25, 0x0002], // tie to even, up
    [5 * 2 ** -25, 0x0002], // tie to even, down
    [-(2 ** -24) * 1023, 0x83ff],
    [1e-30, 0x0000],
    [1e-45, 0x0000],
  ];
  for (const [value, bits] of cases) t.equal(float16Bits(value).toString(16), bits.toString(16), `${value}`);
  t.ok(Number.isNaN(float16Value(float16Bits(Number.NaN))));
});

t.test('every 16-bit number survives a round trip', async (t) => {
  let wrong16 = 0;
  let wrongBrain = 0;
  for (let bits = 0; bits < 65536; bits++) {
    const half = float16Value(bits);
    if (Number.isNaN(half) ? !Number.isNaN(float16Value(float16Bits(half))) : float16Bits(half) !== bits) wrong16++;
    const brain = bfloat16Value(bits);
    if (Number.isNaN(brain) ? !Number.isNaN(bfloat16Value(bfloat16Bits(brain))) : bfloat16Bits(brain) !== bits)
      wrongBrain++;
  }
  t.equal(wrong16, 0);
  t.equal(wrongBrain, 0);
});

t.test('float16 is the nearest one, between all neighbours', async (t) => {
  let wrong = 0;
  for (let bits = 0; bits < 0x7bff; bits++) {
    const low = float16Value(bits);
    const high = float16Value(bits + 1);
    const middle = (low + high) / 2;
    const even = (bits & 1) === 0 ? bits : bits + 1;
    const below = Math.fround(middle - (high - low) / 64);
    const above = Math.fround(middle + (high - low) / 64);
    if (float16Bits(middle) !== even || float16Bits(below) !== bits || float16Bits(above) !== bits + 1) wrong++;
  }
  t.equal(wrong, 0);
});

t.test('bfloat16 rounds to nearest even', async (t) => {
  const cases: [number, number][] = [
    [1, 0x3f80],
    [1 + 2 ** -8, 0x3f80],
    [1 + 3 * 2 ** -8, 0x3f82],
    [1 + 2 ** -8 + 2 ** -20, 0x3f81],
    [3.4e38, 0x7f80],
    [Number.NEGATIVE_INFINITY, 0xff80],
    [-0, 0x8000],
  ];
  for (const [value, bits] of cases) t.equal(bfloat16Bits(value).toString(16), bits.toString(16), `${value}`);
});

t.test('a file is replaced whole or not at all', async (t) => {
  const folder = t.testdir({ 'a.bin': 'old', blocked: 'a file' });
  await writeFileAtomic(`${folder}/deep/er/b.bin`, [Uint8Array.of(1, 2), Uint8Array.of(3)]);
  t.same([...readFileSync(`${folder}/deep/er/b.bin`)], [1, 2, 3]);
  await writeFileAtomic(`${folder}/a.bin`, 'new');
  t.equal(readFileSync(`${folder}/a.bin`, 'utf8'), 'new');
  await t.rejects(writeFileAtomic(`${folder}/blocked/c.bin`, 'x'), { code: 'VERSEMI_IO_FAILED' });
  const broken = [Uint8Array.of(9), null as unknown as Uint8Array];
  await t.rejects(writeFileAtomic(`${folder}/a.bin`, broken), { code: 'VERSEMI_IO_FAILED' });
  t.equal(readFileSync(`${folder}/a.bin`, 'utf8'), 'new', 'the old file stays when writing fails half way');
  const { readdirSync } = await import('node:fs');
  t.same(readdirSync(folder).sort(), ['a.bin', 'blocked', 'deep'], 'no temporary file is left');
});
