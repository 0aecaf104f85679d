// Weights of PyTorch: every form of the file, hostile ones, and networks that compute what PyTorch computed (test/golden/pytorch.py).
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { unzipSync, zipSync } from 'fflate';
import t, { type Test } from 'tap';
import { encodeSafetensors } from '../../src/checkpoints/safetensors.js';
import { VersemiError } from '../../src/errors.js';
import { type ImportOptions, importWeights } from '../../src/exchange/import-weights.js';
import { pytorchSafetensors } from '../../src/exchange/pytorch-export.js';
import { stateDicts } from '../../src/exchange/weights-file.js';
import {
  bufferSpecs,
  initialValues,
  type NetworkConfig,
  parameterCount,
  parameterSpecs,
} from '../../src/model/layers.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { availableBackends } from './model-support.js';

interface Golden {
  readonly values: Record<string, number[]>;
  readonly shapes: Record<string, number[]>;
  readonly containers: Record<string, string>;
  readonly versemi: { readonly checkpoint: string; readonly logits: number[][] };
  readonly vnet: { readonly checkpoint: string; readonly features: number[] };
  readonly batchNorm: string;
  readonly noNorm: string;
}
const golden = JSON.parse(
  readFileSync(new URL('../../../test/golden/pytorch.json', import.meta.url), 'utf8'),
) as Golden;
const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, 'base64'));

const tiny: NetworkConfig = { baseWidth: 1, levels: 2, convolutions: [1, 2], headWidth: 2, tasks: 2 };
const options: ImportOptions = { file: 'weights.pth', axes: 'xyz', trunkOnly: false, seed: 1 };
const imported = (base64: string, config = tiny, changes: Partial<ImportOptions> = {}) =>
  importWeights(stateDicts(bytesOf(base64), 'weights.pth'), config, { ...options, ...changes });

async function refused(
  t: Test,
  bytes: Uint8Array,
  details: object,
  name: string,
  read: () => unknown = () => stateDicts(bytes, 'weights.pth'),
) {
  try {
    await read();
    t.fail(`${name}: was read`);
  } catch (error) {
    if (!(error instanceof VersemiError)) t.fail(`${name}: ${error}`);
    t.match(error, { code: 'VERSEMI_MODEL_INVALID', details }, name);
    t.ok((error as VersemiError).details.remedy, `${name}: a remedy`);
  }
}

t.test('every form in which PyTorch writes the same numbers', async (t) => {
  const expected = new Map(Object.entries(golden.values));
  for (const [name, base64] of Object.entries(golden.containers)) {
    const dicts = stateDicts(bytesOf(base64), name);
    const whole = dicts.filter(({ tensors }) => tensors.size >= expected.size - 2);
    t.ok(whole.length > 0, `${name}: ${dicts.map(({ path, tensors }) => `${path} ${tensors.size}`)}`);
    for (const { tensors } of whole) {
      for (const [key, tensor] of tensors) {
        const plain = key.replace(/^module\./, '');
        t.same(tensor.shape, golden.shapes[plain], `${name}: shape of ${plain}`);
        if (tensor.dtype === 'long') t.throws(() => tensor.values(), { code: 'VERSEMI_MODEL_INVALID' });
        else t.same([...tensor.values()], expected.get(plain), `${name}: ${plain}`);
      }
    }
    const { values, left, used } = await imported(base64, tiny, name === 'two networks' ? { key: 'ema' } : {});
    t.same(
      [...values.keys()],
      [...parameterSpecs(tiny), ...bufferSpecs(tiny)].map((spec) => spec.name),
    );
    t.same(left, [], `${name}: nothing is left`);
    t.equal(used, [...expected.keys()].filter((key) => !key.endsWith('num_batches_tracked')).length);
    t.same([...values.get('gap.movingVariance')!], expected.get('GAP.0.running_var'), name);
  }
});

t.test('which of several networks', async (t) => {
  const two = golden.containers['two networks']!;
  await refused(
    t,
    new Uint8Array(),
    { field: 'weights', found: /student.*ema|ema.*student/, remedy: /--key/ },
    'two',
    () => imported(two),
  );
  await refused(t, new Uint8Array(), { field: '--key', expected: /student/, found: 'teacher' }, 'no such one', () =>
    imported(two, tiny, { key: 'teacher' }),
  );
  t.equal((await imported(two, tiny, { key: 'student' })).path, 'student');
});

t.test('networks compute what PyTorch computed', async (t) => {
  const size = [8, 12, 16] as const; // x, y, z
  const at = (x: number, y: number, z: number) => (x * size[1] + y) * size[2] + z;
  const image = new Float32Array(size[0] * size[1] * size[2]);
  /** Index [x, y, z] of PyTorch for each of ours, [z, y, x]. */
  const order: number[] = [];
  for (let z = 0; z < size[2]; z++)
    for (let y = 0; y < size[1]; y++) for (let x = 0; x < size[0]; x++) order.push(at(x, y, z));
  for (const [ours, theirs] of order.entries()) image[ours] = Math.sin(theirs * 0.37);
  const config = { baseWidth: 2, levels: 3, convolutions: [1, 2, 2], headWidth: 4, tasks: 3 };
  const worst = (found: ArrayLike<number>, expected: readonly number[]) => {
    let difference = 0;
    for (const [ours, theirs] of order.entries())
      if (theirs % 5 === 0) difference = Math.max(difference, Math.abs(found[ours]! - expected[theirs / 5]!));
    return difference;
  };
  for (const backend of await availableBackends()) {
    await tf.setBackend(backend);
    const x = tf.tensor5d(image, [1, size[2], size[1], size[0], 1]);
    const { values, parts, layout } = await imported(golden.versemi.checkpoint, config);
    t.same([layout, parts], ['versemi', 'whole']);
    const network = new VersemiNetwork(config, values);
    const logits = tf.tidy(() => network.logits(network.trunk(x), [[0, 1, 2, 3]], 'moving'));
    const found = logits.dataSync();
    for (const [task, expected] of golden.versemi.logits.entries()) {
      const difference = worst(found.subarray(task * order.length, (task + 1) * order.length), expected);
      t.ok(difference < 5e-5, `${backend}, task ${task}: ${difference}`);
    }
    const wrong = new VersemiNetwork(
      config,
      (await imported(golden.versemi.checkpoint, config, { axes: 'zyx' })).values,
    );
    const other = tf.tidy(() => wrong.logits(wrong.trunk(x), [[0, 1, 2, 3]], 'moving'));
    t.ok(worst(other.dataSync(), golden.versemi.logits[0]!) > 0.01, 'the order of the axes matters');

    const full = { ...config, fullResolutionSkip: true, fullResolutionBlock: true };
    const fromVnet = await imported(golden.vnet.checkpoint, full);
    t.same([fromVnet.layout, fromVnet.parts], ['vnet', 'trunk']);
    t.same(
      fromVnet.left.map(({ name, shape }) => `${name} ${shape}`),
      ['out_conv.weight 2,2,1,1,1', 'out_conv.bias 2'],
      'what has no counterpart, by name and shape',
    );
    const vnet = new VersemiNetwork(full, fromVnet.values);
    const features = tf.tidy(() => tf.transpose(vnet.trunk(x).features, [0, 4, 1, 2, 3]));
    const channels = features.dataSync();
    const count = order.length / 5;
    // PyTorch's list runs over channels too, and every fifth number is kept: the first channel begins with it.
    t.ok(worst(channels.subarray(0, order.length), golden.vnet.features.slice(0, Math.ceil(count))) < 5e-5, backend);
    for (const one of [network, wrong, vnet]) one.dispose();
    tf.dispose([x, logits, other, features]);
  }
});

t.test('a V-Net with batch normalisation, and one without any', async (t) => {
  const config = { ...tiny, fullResolutionSkip: true, fullResolutionBlock: true };
  const batch = await imported(golden.batchNorm, config);
  t.ok(
    batch.left.some(({ name, shape }) => name === 'block_two.conv.1.running_var' && shape.join() === '2'),
    'its statistics have no counterpart',
  );
  const plain = await imported(golden.noNorm, config);
  t.same(
    plain.left.map(({ name }) => name),
    ['out_conv.weight', 'out_conv.bias'],
  );
  t.notSame(plain.values.get('encoder.1.1.weight'), plain.values.get('encoder.1.0.weight'));
  const random = new VersemiNetwork(config, 1);
  t.same(
    plain.values.get('controller.weight'),
    random.parameters.get('controller.weight')!.dataSync(),
    'as in a new network',
  );
  random.dispose();
});

t.test('another network than the plan describes', async (t) => {
  const zip = golden.containers.zip!;
  for (const [change, pattern] of [
    [{ baseWidth: 2 }, /network\.baseWidth 1/],
    [{ levels: 3, convolutions: [1, 2, 3] }, /network\.levels 2; network\.convolutions 1, 2/],
    [{ headWidth: 8 }, /network\.headWidth 2/],
    [{ tasks: 4 }, /number of tasks 2/],
    [{ fullResolutionBlock: true }, /fullResolutionBlock false/],
    [{ fullResolutionSkip: true }, /fullResolutionSkip false/],
  ] as const)
    await t.rejects(imported(zip, { ...tiny, ...change }), {
      code: 'VERSEMI_PLAN_INVALID',
      details: { expected: pattern },
    });
  const trunk = await imported(zip, { ...tiny, tasks: 4 }, { trunkOnly: true });
  t.equal(trunk.parts, 'trunk', 'the trunk alone fits any tasks');
  t.ok(trunk.left.some(({ name }) => name === 'controller.weight'));
});

t.test('the released sizes: 9,484,144 parameters; what is exported comes back', async (t) => {
  const config = { baseWidth: 16, levels: 5, convolutions: [1, 2, 3, 3, 3], headWidth: 8, tasks: 4 };
  const specs = [...parameterSpecs(config), ...bufferSpecs(config)];
  const values = new Map(
    specs.map((spec, i) => [spec.name, initialValues({ ...spec, initialization: { fanIn: 4 } }, 3, i)]),
  );
  const bytes = Buffer.concat(pytorchSafetensors(config, values, 'xyz', {}));
  const [dict] = stateDicts(bytes, 'weights.safetensors');
  const trained = [...dict!.tensors].filter(([name]) => !name.includes('running_'));
  const released = trained.reduce((sum, [, { shape }]) => sum + shape.reduce((a, b) => a * b, 1), 0);
  t.equal(released, 9_484_144);
  t.equal(released - parameterCount(config), 18 * 262, 'ours has no rows that nothing reads');
  const back = await importWeights([dict!], config, options);
  t.same(
    [...back.values].filter(([name, list]) => list.some((value, i) => value !== values.get(name)![i])),
    [],
  );
});

/** Builds a pickle of protocol 2 from texts and numbers. */
const pickle = (...parts: (string | number)[]) =>
  Buffer.concat([
    Buffer.from([0x80, 2]),
    ...parts.map((part) => (typeof part === 'number' ? Buffer.from([part]) : Buffer.from(part, 'latin1'))),
  ]);
const inZip = (data: Uint8Array, more: Record<string, Uint8Array> = {}) =>
  zipSync({ 'archive/data.pkl': data, ...more }, { level: 0 });
const legacyHead = Buffer.concat([
  pickle('\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.'),
  pickle('M\xe9\x03.'),
  pickle('}X\x0d\x00\x00\x00little_endian\x88s.'),
]);

t.test('hostile pickles: nothing is called, everything is a coded error', async (t) => {
  const names = [
    'os\nsystem',
    'posix\nsystem',
    'builtins\neval',
    'builtins\nexec',
    '__builtin__\ngetattr',
    'subprocess\nPopen',
  ];
  for (const name of [
    ...names,
    'torch.hub\nload',
    'collections\n__dict__',
    '__proto__\nconstructor',
    'constructor\nprototype',
  ]) {
    const call = pickle(`c${name}\n(X\x05\x00\x00\x00touchtR.`);
    const found = new RegExp(name.split('\n')[0]!.replace('.', '\\.'));
    await refused(t, inZip(call), { found, remedy: /state_dict/ }, `zip ${name}`);
    await refused(t, Buffer.concat([legacyHead, call]), { found }, `legacy ${name}`);
    const [module, attribute] = name.split('\n') as [string, string];
    const stack = pickle(0x8c, module.length, module, 0x8c, attribute.length, attribute, 0x93, ')R.');
    await refused(t, inZip(stack), { found }, `stack ${name}`);
  }
  await refused(t, inZip(pickle('ccollections\nOrderedDict\n)R)R.')), { found: /call/ }, 'a call of a dictionary');
  await refused(t, inZip(pickle('(ios\nsystem\n.')), { found: /opcode 0x69/ }, 'INST');
  await refused(t, inZip(pickle('P1\n.')), { found: /opcode 0x50/ }, 'PERSID');
  await refused(t, inZip(pickle('}X\x01\x00\x00\x00aQ.')), { field: 'storage' }, 'a reference to something else');
  for (const text of [
    '.',
    'R.',
    'u.',
    's.',
    't.',
    'h\x07.',
    'q\x01.',
    '(e.',
    'K\x01(e.',
    'K\x01(K\x02u.',
    '}(K\x01u.',
    'b.',
    '(b.',
    'Q.',
    '\x93.',
    '\x86.',
  ])
    await refused(t, inZip(pickle(text)), {}, JSON.stringify(text));
});

t.test('keys and names that are no texts', async (t) => {
  // A number of numpy, which stands for nothing here, and a list in lists.
  const values = ['cnumpy\ndtype\n)R', `)${'\x85'.repeat(20_000)}`, '}', 'K\x01', 'N', '\x88'];
  for (const value of values) {
    const inner = pickle('}', value, '}', value, 'K\x01ss.');
    t.same(stateDicts(inZip(inner), 'weights.pth'), [], JSON.stringify(value.slice(0, 20)));
    await refused(t, inZip(pickle(value, value, '\x93.')), { expected: 'a pickle of weights' }, 'a name');
    await refused(
      t,
      Buffer.concat([legacyHead, pickle('}.'), pickle(`]${value}a.`)]),
      { field: 'list of storages' },
      'a key',
    );
  }
});

t.test('names of dictionaries mean nothing', async (t) => {
  const key = '__proto__';
  const inner = `X\x08\x00\x00\x00polluted\x88`;
  const bytes = pickle(
    `}X${'\x09\x00\x00\x00'}${key}}${inner}ssX\x0b\x00\x00\x00constructorK\x01`,
    '0'.charCodeAt(0),
    '.',
  );
  await refused(t, inZip(bytes), { found: /opcode/ }, 'leftovers');
  const dicts = stateDicts(inZip(pickle(`}X${'\x09\x00\x00\x00'}${key}}${inner}ss.`)), 'weights.pth');
  t.same(dicts, []);
  t.equal(({} as { polluted?: unknown }).polluted, undefined);
});

t.test('bombs: sizes that are promised take no memory', async (t) => {
  const text = pickle('X\xff\xff\xff\x7fabc.');
  await refused(t, inZip(text), { expected: /2147483647 more bytes/ }, 'a text of 2 GB');
  await refused(t, inZip(pickle('B\xff\xff\xff\xff.')), { expected: /more bytes/ }, 'bytes');
  await refused(t, inZip(pickle(0x8a, 0xff, 'abc.')), { expected: /255 more bytes/ }, 'a long number');
  // Pairs of pairs: 2^5000 leaves, if anybody walked through them.
  t.same(stateDicts(inZip(pickle(']', 'q\x00h\x00\x86'.repeat(5000), '.')), 'weights.pth'), []);
  t.same(stateDicts(inZip(pickle('}q\x00X\x01\x00\x00\x00ah\x00s.')), 'weights.pth'), [], 'a dictionary in itself');
  t.same(
    stateDicts(inZip(pickle('}X\x01\x00\x00\x00a'.repeat(50_000), '}', 's'.repeat(50_000), '.')), 'weights.pth'),
    [],
    'deep',
  );
  // Each opcode of a byte is a dictionary.
  const objects = pickle('}'.repeat(5_000_000), '.');
  await refused(t, inZip(objects), { found: /more than 2000000 opcodes/ }, 'dictionaries without end');
  const deflated = zipSync({ 'archive/data.pkl': new Uint8Array(1 << 26) });
  t.ok(deflated.length < 1 << 20);
  await refused(t, deflated, { found: /unpacks to/ }, 'a zip file of zeros');
  // One element, stretched by strides of 0 to 10^15.
  const id = `(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ`;
  const huge = `(\x8a\x06${'\x00\x00\x00\x00\x64\x00'}K\x01K\x01K\x01K\x01t`;
  const tensor = `ctorch._utils\n_rebuild_tensor_v2\n(${id}K\x00${huge}(K\x00K\x00K\x00K\x00K\x00t\x89}tR`;
  const name = 'block_one.conv.0.weight';
  const stretched = inZip(pickle(`}X${String.fromCharCode(name.length)}\x00\x00\x00${name}${tensor}s.`), {
    'archive/data/0': new Uint8Array(4),
  });
  t.same(stateDicts(stretched, 'weights.pth')[0]!.tensors.get(name)!.shape[0], 0x6400000000);
  await t.rejects(
    importWeights(stateDicts(stretched, 'weights.pth'), tiny, options),
    { code: /^VERSEMI_/ },
    'is not made',
  );
});

t.test('a damaged entry of a zip file is told by its checksum', async (t) => {
  const entries = unzipSync(bytesOf(golden.containers.zip!));
  for (const level of [0, 6] as const) {
    const bytes = zipSync(entries, { level });
    const names = Object.keys(stateDicts(bytes, 'weights.pth')[0]!.tensors);
    const key = Object.keys(entries).find((name) => name.endsWith('/data/0'))!;
    // The name stands in the entry's own header and in the directory; the voxels of the storage follow the first.
    const at = Buffer.from(bytes).indexOf(key) + key.length;
    const changed = bytes.slice();
    changed[at + 2]! ^= 1;
    await refused(t, changed, { expected: 'a whole zip file' }, `level ${level}`);
    t.same(Object.keys(stateDicts(bytes, 'weights.pth')[0]!.tensors), names);
  }
});

t.test('many layers take no longer than few', async (t) => {
  // All of one storage of one element: places of convolutions, and levels, that no network has.
  const storage = '(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQq\x00';
  const tensor =
    'ctorch._utils\n_rebuild_tensor_v2\n(h\x00K\x00(K\x01K\x01K\x01K\x01K\x01t(K\x00K\x00K\x00K\x00K\x00t\x89}tRq\x01';
  const count = 20_000;
  const letters = (i: number) => [...String(i)].map((digit) => 'abcdefghij'[Number(digit)]).join('');
  const names = Array.from({ length: count }, (_, i) => [
    `block_one.conv.${i}.weight`,
    `block_${letters(i)}_dw.conv.0.weight`,
  ]).flat();
  const named = names.map((name) => `X${String.fromCharCode(name.length)}\x00\x00\x00${name}h\x01s`);
  const bytes = inZip(pickle(storage, tensor, '}', ...named, '.'), { 'archive/data/0': new Uint8Array(4) });
  const before = process.cpuUsage().user;
  await t.rejects(importWeights(stateDicts(bytes, 'weights.pth'), tiny, options), { code: 'VERSEMI_PLAN_INVALID' });
  const seconds = (process.cpuUsage().user - before) / 1e6;
  t.ok(seconds < 10, `${seconds.toFixed(1)} s of processor time`);
});

t.test('cut and damaged files', async (t) => {
  for (const form of ['zip', 'legacy', 'nested']) {
    const bytes = bytesOf(golden.containers[form]!);
    const step = Math.max(1, Math.floor(bytes.length / 120));
    for (let length = 0; length < bytes.length; length += step) {
      try {
        stateDicts(bytes.slice(0, length), 'weights.pth');
        t.fail(`${form} cut after ${length}`);
      } catch (error) {
        if (!(error instanceof VersemiError)) t.fail(`${form} cut after ${length}: ${error}`);
      }
    }
    for (let at = 0; at < bytes.length; at += step) {
      const changed = bytes.slice();
      changed[at]! ^= 0xff;
      try {
        await importWeights(stateDicts(changed, 'weights.pth'), tiny, options);
      } catch (error) {
        if (!(error instanceof VersemiError)) t.fail(`${form} changed at ${at}: ${error}`);
      }
    }
  }
  t.pass('only coded errors');
  const tar = new Uint8Array(1024);
  tar.set(new TextEncoder().encode('ustar'), 257);
  await refused(t, tar, { found: /tar/ }, 'PyTorch 0.1');
  await refused(t, pickle('}.'), { found: /another pickle/ }, 'a pickle of something else');
  await refused(
    t,
    inZip(pickle('}.'), { 'archive/constants.pkl': new Uint8Array(1) }),
    { found: /TorchScript/ },
    'a program',
  );
  await refused(t, inZip(pickle('}.'), { 'archive/byteorder': Buffer.from('big') }), { found: /order/ }, 'big-endian');
  await refused(t, zipSync({ 'a.txt': new Uint8Array(3) }), { expected: /data\.pkl/ }, 'another zip file');
});

t.test('safetensors of other programs: counters are passed over, other weights are named', async (t) => {
  const file = Buffer.concat(
    encodeSafetensors([{ name: 'fc.weight', shape: [1], data: new Float32Array(1), dtype: 'F32' }], {}),
  );
  await refused(t, file, { field: 'weights', found: /1 tensors: fc\.weight \[1\]/ }, 'another network', () =>
    importWeights(stateDicts(file, 'x'), tiny, options),
  );
  const header = JSON.stringify({ n: { dtype: 'I64', shape: [], data_offsets: [0, 8] } }).padEnd(64);
  const counters = Buffer.concat([Buffer.from(BigUint64Array.of(64n).buffer), Buffer.from(header), Buffer.alloc(8)]);
  t.equal(stateDicts(counters, 'x')[0]!.tensors.get('n')!.dtype, 'I64');
});
