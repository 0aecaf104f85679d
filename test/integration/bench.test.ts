// `versemi bench`: what it does with peers, and that the peers that are installed here do the same work as we do.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { batchCase } from '../../src/bench/batch.js';
import { evaluationCase, widened } from '../../src/bench/evaluation.js';
import { type BenchCase, type BenchOptions, differences, type Peer, pythons, timeCases } from '../../src/bench/run.js';
import { writeNifti } from '../../src/datasets/read-volume.js';
import { windowBegins, windowWeights } from '../../src/inference/windows.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { packageRoot } from '../../src/root.js';
import { selectDevice } from '../../src/tfjs/index.js';

const peers = join(packageRoot, 'test', 'bench', 'peers');
const options: BenchOptions = { device: 'auto', threads: 2, runs: 1, patch: 16, peers, data: t.testdir() };
const { device } = await selectDevice('auto', { threads: 2 });

async function timed(cases: readonly BenchCase[], changes: Partial<BenchOptions> = {}) {
  const notes: string[] = [];
  const rows = [];
  for await (const row of timeCases(cases, { ...options, ...changes, onNotice: (text) => notes.push(text) }))
    rows.push(row);
  return { rows, notes };
}

/** Why a Python with these packages cannot be had; false where it can. */
function withoutPython(...packages: string[]): string | false {
  const found = pythons.some((command) => {
    try {
      execFileSync(command, ['-c', `import ${packages.join(', ')}`], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
  return found ? false : `no Python with ${packages.join(', ')}`;
}

const scripted = (name: string, script: string): Peer => ({ name, commands: [process.execPath], args: ['-e', script] });

t.test('rows, peers and notes', async (t) => {
  let disposed = 0;
  let runs = 0;
  const made = (...list: Peer[]): BenchCase => ({
    name: 'made up',
    flops: () => 2e6,
    tolerance: { volume: 0.01 },
    prepare: () => ({
      run: () => runs++,
      dispose: () => disposed++,
      results: () => ({ dice: 0.5, volume: 100 }),
      peers: list,
    }),
  });
  const agreeing = scripted(
    'agreeing',
    `console.log(JSON.stringify({ milliseconds: [3, 1, 2], results: { dice: 0.5, volume: 100.9 }}))`,
  );
  const broken = scripted('broken', `console.error('first'); console.error('no such module'); process.exit(1)`);
  process.env.OPENBLAS_CORETYPE = 'Haswell';
  const environment = scripted(
    'environment',
    `if ('OPENBLAS_CORETYPE' in process.env) process.exit(1);
    console.log('{ "milliseconds": [4] }')`,
  );
  const { rows, notes } = await timed([made(agreeing, broken, environment)]);
  t.match(rows, [
    { name: 'made up', device: device.name, threads: 2, peer: 'agreeing', peerMilliseconds: 2 },
    { name: 'made up', peer: 'environment', peerMilliseconds: 4 },
  ]);
  t.equal(rows[0]!.gflops, 2e6 / rows[0]!.milliseconds / 1e6);
  t.match(notes, [/agreeing found the same: dice 0.5, volume 100.9/, /broken did not run \(.*: no such module\)/]);
  t.equal(runs, 2, 'one run that does not count');
  t.equal(disposed, 1);

  t.match((await timed([made(broken)])).rows, [{ peer: null, peerMilliseconds: null }], 'a row without a peer');
  t.match(
    await timed([{ name: 'absent', prepare: () => 'there is no data' }]),
    { rows: [], notes: ['absent: left out, there is no data'] },
    'what cannot run',
  );
  t.same((await timed([made(agreeing)], { only: ['another'] })).rows, []);

  const differing = scripted(
    'differing',
    `console.log('{ "milliseconds": [1], "results": { "dice": 0.6, "volume": 100 } }')`,
  );
  disposed = 0;
  await t.rejects(timed([made(differing)]), {
    code: 'VERSEMI_INTERNAL',
    message: /differing.*dice 0.5 here, 0.6 there/,
  });
  t.equal(disposed, 1, 'disposed of all the same');
});

t.test('numbers that differ', async (t) => {
  t.same(differences({ a: 1, b: 2 }, { a: 1 + 1e-7, b: 2 }), []);
  t.same(differences({ a: 1 }, { a: 1.1 }, { a: 0.2 }), []);
  t.equal(differences({ a: 1 }, { a: 1.1 }, { b: 0.2 }).length, 1);
  t.equal(differences({ a: Number.NaN }, { a: Number.NaN }).length, 1);
  t.equal(differences({ a: 1 }, { b: 1 }).length, 2, 'a name that only one side has');
});

t.test('a network of twice the width computes the same', async (t) => {
  const config = { baseWidth: 4, levels: 3, convolutions: [1, 2, 2], headWidth: 8, tasks: 2 };
  const narrow = new VersemiNetwork(config, 3);
  const values = await narrow.values();
  // Statistics and affine parts that are not those of a fresh network.
  for (const [name, array] of values)
    if (/gap|prehead/.test(name))
      values.set(
        name,
        array.map((value, i) => value + 0.1 * (i % 3)),
      );
  narrow.assign(values);
  const wide = new VersemiNetwork({ ...config, baseWidth: 8 }, widened(values, config));
  t.equal(wide.parameterCount > 3 * narrow.parameterCount, true);
  const image = tf.randomNormal<tf.Rank.R5>([1, 8, 12, 16, 1], 0, 1, 'float32', 5);
  const logits = (network: VersemiNetwork) =>
    tf.tidy(() => network.logits(network.trunk(image), [[0, 1, 2]], 'moving').dataSync());
  const [a, b] = [logits(narrow), logits(wide)];
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  t.ok(worst < 1e-4, `largest difference ${worst}`);
  narrow.dispose();
  wide.dispose();
  image.dispose();
});

t.test('batches are those of numpy', { skip: withoutPython('numpy') }, async (t) => {
  const { rows, notes } = await timed([batchCase]);
  t.match(rows, [
    { name: 'batch-8-8', device: 'wasm', threads: 1, gflops: null, peer: 'numpy, slices' },
    { peer: 'numpy, masks' },
  ]);
  t.match(notes, [/found the same: labeled\.image \d/, /found the same/]);
});

const withoutNibabel = withoutPython('nibabel', 'scipy');

t.test('windows and weights of the peer are ours', { skip: withoutNibabel }, async (t) => {
  const sizes = [5, 16, 17, 31, 40, 96, 141, 199];
  const program = `
import json, sys
sys.path.insert(0, sys.argv[1])
from evaluation import begins, gaussian
print(json.dumps([[begins(n, 16, 0.5) for n in ${JSON.stringify(sizes)}], gaussian((4, 8, 16)).ravel().tolist()]))`;
  const outputs = pythons.flatMap((command) => {
    try {
      return [execFileSync(command, ['-c', program, peers], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })];
    } catch {
      return [];
    }
  });
  const [begins, weights] = JSON.parse(outputs[0]!) as [number[][], number[]];
  t.same(
    begins,
    sizes.map((size) => (size < 16 ? [-Math.floor((16 - size) / 2)] : windowBegins(size, 16, 8, true))),
  );
  const ours = windowWeights([16, 8, 4], { protocol: 'default', overlap: 0.5, weighting: 'gaussian' });
  t.ok(weights.every((weight, i) => Math.abs(weight - ours[i]!) < 1e-6));
});

const withoutServer = existsSync(join(peers, 'node_modules', 'onnxruntime-node'))
  ? false
  : 'the peers are not installed';

t.test(
  'a whole evaluation agrees with Python and ONNX Runtime',
  { skip: withoutNibabel || withoutServer },
  async (t) => {
    const folder = join(options.data, 'left-atrium');
    for (const name of ['images', 'labels']) mkdirSync(join(folder, name), { recursive: true });
    const sizeVoxels = [41, 37, 13] as const;
    const geometry = {
      sizeVoxels,
      spacingMm: [1, 1.5, 2],
      affine: [1, 0, 0, -7, 0, 1.5, 0, 3, 0, 0, 2, 11, 0, 0, 0, 1],
    } as const;
    const label = new Uint8Array(41 * 37 * 13);
    for (let i = 0; i < label.length; i++) {
      const [x, y, z] = [i % 41, Math.floor(i / 41) % 37, Math.floor(i / 1517)];
      label[i] = Number((x - 20) ** 2 + (y - 18) ** 2 + 4 * (z - 6) ** 2 < 130);
    }
    const image = Int16Array.from(label, (inside, i) => 90 * inside + 40 * Math.sin(i * 0.37) + 20 * Math.sin(i / 300));
    await writeNifti(join(folder, 'images', 'one.nii.gz'), { ...geometry, data: image });
    await writeNifti(join(folder, 'labels', 'one.nii.gz'), { ...geometry, data: label });
    const description = {
      name: 'left-atrium',
      channel_names: { 0: 'MRI' },
      labels: { background: 0, 'left atrium': 1 },
      training: [{ image: './images/one.nii.gz', label: './labels/one.nii.gz' }],
    };
    writeFileSync(join(folder, 'dataset.json'), JSON.stringify(description));
    const { rows, notes } = await timed([evaluationCase], { patch: 32 });
    t.match(rows, [
      { name: 'evaluate-left-atrium', device: device.name, threads: 2, peer: 'Python, onnxruntime-node' },
    ]);
    t.match(notes, [/found the same: dice 0\.\d+.*voxels [1-9]/]);
  },
);
