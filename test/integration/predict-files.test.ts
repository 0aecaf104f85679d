// `versemi predict` and `versemi evaluate` on files as people have them: one set of rules, and batches that go on.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import h5wasm from 'h5wasm/node';
import t from 'tap';
import { saveModel } from '../../src/checkpoints/files.js';
import { modelMetadata } from '../../src/checkpoints/metadata.js';
import { parsePlan } from '../../src/config/plan.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { registerVersemiBackends } from '../../src/tfjs/index.js';
import { scalingAffine } from '../../src/volume/affine.js';
import { runVersemi } from './cli-support.js';

const folder = t.testdir();
const at = (...path: string[]) => join(folder, ...path);
await registerVersemiBackends();
await h5wasm.ready;

const preprocessing = { spacingMm: [1, 1, 1], normalization: 'zscore' };
const datasets = [
  { name: 'organs', path: 'organs', preprocessing },
  { name: 'second', path: 'second', channel: 1, preprocessing },
];
const plan = parsePlan({
  ...{ version: 1, name: 'small', seed: 1, datasets, patchSizeVoxels: [16, 16, 16] },
  tasks: [
    { name: 'core', dataset: 'organs', labels: [2] },
    { name: 'whole', dataset: 'organs', labels: [1, 2] },
    { name: 'rim', dataset: 'second', labels: [3] },
  ],
  network: { baseWidth: 4, levels: 2, convolutions: [1, 1] },
});
const network = new VersemiNetwork({ ...plan.network, tasks: 3 }, 1);
const history = { steps: 0, losses: [], validation: [], best: null };
const provenance = { created: new Date(0).toISOString(), versions: {}, data: [] };
await saveModel(at('model.safetensors'), network, modelMetadata(plan, history, provenance));
network.dispose();

const sizeVoxels = [16, 14, 12] as const;
const [spacingMm, affine] = [[1, 1, 1], scalingAffine([1, 1, 1])] as const;
const voxels = (seed: number) => Uint8Array.from({ length: 16 * 14 * 12 }, (_, i) => (i * (37 + seed)) % 251);
const write = (file: string, seed = 0) => writeNifti(at(file), { data: voxels(seed), sizeVoxels, spacingMm, affine });

/** Runs predict; what it prints as JSON. */
async function predict(inputs: string | string[], ...options: string[]) {
  const args = ['predict', 'model.safetensors', ...[inputs].flat(), '--device', 'wasm', '--json', ...options];
  const { code, stdout, stderr } = await runVersemi(folder, args);
  return { code, stderr, json: stdout === '' ? undefined : JSON.parse(stdout) };
}
const filesIn = (path: string) => (existsSync(at(path)) ? readdirSync(at(path)).sort() : []);
const same = async (a: string, b: string) =>
  Buffer.from((await readVolume(at(a))).data as Uint8Array).equals(
    Buffer.from((await readVolume(at(b))).data as Uint8Array),
  );

t.test('hidden files, folders named like images; a bad scan does not end the others', async (t) => {
  await write('in/a.nii.gz');
  await write('in/b.nii');
  await write('in/c.nii/c.nii', 2);
  truncateSync(at('in/b.nii'), statSync(at('in/b.nii')).size - 1000);
  writeFileSync(at('in', '._a.nii.gz'), 'resource fork');
  const { code, json, stderr } = await predict('in', '--task', 'core', '--out', 'masks');
  t.equal(code, 3);
  t.same(filesIn('masks'), ['a_core.nii.gz', 'c_core.nii.gz']);
  t.same(
    json.predictions.map(({ output }: { output: string }) => output),
    ['masks/a_core.nii.gz', 'masks/c_core.nii.gz'],
  );
  t.match(json.failures, [{ input: 'in/b.nii', code: 'VERSEMI_FILE_TRUNCATED', message: /in\/b\.nii/ }]);
  t.match(stderr, /1 of 3 scans failed:\nVERSEMI_FILE_TRUNCATED: .*in\/b\.nii/);
  const quiet = await predict('in', '--task', 'core', '--out', 'masks', '-q');
  t.match(quiet.stderr, /^1 of 3 scans failed:\nVERSEMI_FILE_TRUNCATED.*\n$/, 'failures are told with -q too');
  const skipped = await predict('in', '--task', 'core', '--out', 'masks', '--skip-existing');
  t.same([skipped.code, skipped.json.predictions.length, skipped.json.failures.length], [3, 0, 1]);
  const only = await predict('in/b.nii', '--task', 'core', '--out', 'none', '-q');
  t.same([only.code, only.json.failures.length, filesIn('none')], [3, 1, []]);
});

t.test('modalities: the plan decides, --channel overrules, names lose the number', async (t) => {
  await write('raw/imagesTs/p_0000.nii.gz', 1);
  await write('raw/imagesTs/p_0001.nii.gz', 2);
  await write('plain/first.nii.gz', 1);
  await write('plain/second.nii.gz', 2);
  t.equal((await predict('plain', '--out', 'plain-masks', '-q')).code, 0);
  const { code, json, stderr } = await predict('raw/imagesTs', '--out', 'raw-masks');
  t.equal(code, 0);
  t.match(stderr, /modalities of one scan: p\..*--each-file/);
  t.same(filesIn('raw-masks'), ['p_core.nii.gz', 'p_rim.nii.gz', 'p_whole.nii.gz']);
  t.match(json.predictions, [{ input: /p_0000/ }, { input: /p_0000/ }, { input: /p_0001/, task: 'rim' }]);
  t.ok(await same('raw-masks/p_core.nii.gz', 'plain-masks/first_core.nii.gz'));
  t.ok(await same('raw-masks/p_rim.nii.gz', 'plain-masks/second_rim.nii.gz'));
  t.notOk(await same('plain-masks/first_rim.nii.gz', 'plain-masks/second_rim.nii.gz'), 'the scans differ');
  await predict('raw/imagesTs', '--out', 'one', '--channel', '1', '--task', 'core', '-q');
  t.same(filesIn('one'), ['p_core.nii.gz']);
  t.ok(await same('one/p_core.nii.gz', 'plain-masks/second_core.nii.gz'));
  await predict('raw/imagesTs', '--out', 'each', '--each-file', '--task', 'core', '-q');
  t.same(filesIn('each'), ['p_0000_core.nii.gz', 'p_0001_core.nii.gz']);
  const wrong = await predict('raw/imagesTs/p_0001.nii.gz', '--out', 'wrong', '--task', 'core');
  t.equal(wrong.code, 3);
  t.match(wrong.stderr, /VERSEMI_MODALITY_MISSING.*modality 0.*--channel/);
});

t.test('files of several volumes', async (t) => {
  const data = new Uint8Array(2 * voxels(0).length);
  data.set(voxels(1));
  data.set(voxels(2), voxels(1).length);
  await write('four/one.nii', 1);
  const bytes = readFileSync(at('four/one.nii'));
  const header = Buffer.from(bytes.subarray(0, 352));
  header.writeInt16LE(4, 40);
  header.writeInt16LE(2, 48);
  mkdirSync(at('four-d'));
  writeFileSync(at('four-d/x.nii'), Buffer.concat([header, data]));
  const { code, stderr } = await predict('four-d/x.nii', '--out', 'four-masks');
  t.equal(code, 0);
  t.match(stderr, /x\.nii holds 2 volumes, of which 0 and 1 is taken.*--channel/);
  t.ok(await same('four-masks/x_core.nii.gz', 'plain-masks/first_core.nii.gz'));
  t.ok(await same('four-masks/x_rim.nii.gz', 'plain-masks/second_rim.nii.gz'));
  await predict('four-d/x.nii', '--out', 'four-second', '--channel', '1', '--task', 'core', '-q');
  t.ok(await same('four-second/x_core.nii.gz', 'plain-masks/second_core.nii.gz'));
  t.equal((await predict('four-d/x.nii', '--out', 'four-none', '--channel', '2', '-q')).code, 3);
});

t.test('HDF5: spacing from dataset.json, by option, or a remark; names of arrays', async (t) => {
  for (const path of ['h5', 'h5-bare']) {
    mkdirSync(at(path));
    const file = new h5wasm.File(at(path, 'a.h5'), 'w');
    file.create_dataset({ name: 'raw', data: voxels(1), shape: [16, 14, 12] });
    file.close();
  }
  writeFileSync(at('h5/dataset.json'), JSON.stringify({ labels: { 0: 'background', 1: 'x' }, spacingMm: [2, 2, 3] }));
  const spacing = async (mask: string) => (await readVolume(at(mask))).spacingMm;
  const common = ['--task', 'core', '--keys', 'raw'];
  t.notMatch((await predict('h5/a.h5', '--out', 'h5-masks', ...common)).stderr, /1 mm/);
  t.same(await spacing('h5-masks/a_core.nii.gz'), [2, 2, 3]);
  t.equal((await predict('h5', '--out', 'h5-folder', ...common, '-q')).code, 0);
  t.same(await spacing('h5-folder/a_core.nii.gz'), [2, 2, 3]);
  t.equal((await predict('h5', '--out', 'h5-given', '--spacing', '1,2,3', ...common, '-q')).code, 0);
  t.same(await spacing('h5-given/a_core.nii.gz'), [1, 2, 3]);
  const bare = await predict('h5-bare', '--out', 'h5-bare-masks', ...common);
  t.match(bare.stderr, /Taken as 1 mm.*a\.h5.*--spacing/);
  t.match(bare.json.remarks, [/1 mm/]);
  t.match((await predict('h5-bare', '--out', 'x', '--task', 'core')).stderr, /only raw.*--keys/);
  const useless = await predict('in/a.nii.gz', '--out', 'x', '--spacing', '2');
  t.same([useless.code, useless.json], [2, undefined]);
  t.match(useless.stderr, /--spacing/);
});

t.test('outputs: beside the scans, over a scan, two of one name', async (t) => {
  await write('same/a.nii.gz', 1);
  for (const _ of [1, 2]) {
    const { code, json } = await predict('same', '--out', 'same', '--task', 'core', '-q');
    t.same([code, json.predictions.length], [0, 1], 'masks of the first call are no scans of the second');
  }
  t.same(filesIn('same'), ['a.nii.gz', 'a_core.nii.gz']);
  const float = { data: Float32Array.from(voxels(3)), sizeVoxels, spacingMm, affine };
  await writeNifti(at('over/a.nii.gz'), float);
  await writeNifti(at('over/a_core.nii.gz'), float);
  const before = readFileSync(at('over/a_core.nii.gz'));
  const over = await predict('over', '--out', 'over', '--task', 'core');
  t.same([over.code, over.json], [2, undefined]);
  t.match(over.stderr, /over no scan.*a_core\.nii\.gz.*--out/);
  t.ok(readFileSync(at('over/a_core.nii.gz')).equals(before));
  t.equal((await predict('over', '--out', 'elsewhere', '--task', 'core', '-q')).code, 0);
  await write('twice/a.nii', 1);
  await write('twice/a.nii.gz', 2);
  const twice = await predict('twice', '--out', 'twice-masks', '--task', 'core');
  t.equal(twice.code, 2);
  t.match(twice.stderr, /a\.nii and .*a\.nii\.gz, both of which would write twice-masks/);
  t.same(filesIn('twice-masks'), []);
});

t.test('--label-map: one per dataset, a part on its whole, names beside it', async (t) => {
  const { code, json } = await predict('plain/first.nii.gz', '--out', 'maps', '--label-map', '-q');
  t.equal(code, 0);
  t.same(filesIn('maps'), [
    ...['first_core.nii.gz', 'first_organs-labels.json', 'first_organs-labels.nii.gz', 'first_rim.nii.gz'],
    ...['first_second-labels.json', 'first_second-labels.nii.gz', 'first_whole.nii.gz'],
  ]);
  t.match(json.labelMaps, [{ dataset: 'organs' }, { dataset: 'second' }]);
  t.match(JSON.parse(readFileSync(at('maps/first_organs-labels.json'), 'utf8')), {
    dataset: 'organs',
    labels: { 0: 'background', 1: 'whole', 2: 'core' },
    painted: ['whole', 'core'],
  });
  const [map, core, whole] = await Promise.all(
    ['organs-labels', 'core', 'whole'].map((name) => readVolume(at(`maps/first_${name}.nii.gz`))),
  );
  const expected = Array.from(core!.data, (inCore, i) => (inCore ? 2 : whole!.data[i] ? 1 : 0));
  t.ok(expected.includes(1) || expected.includes(2), 'the masks are not empty');
  t.same([...map!.data], expected);
  t.same(map!.affine, core!.affine);
  t.equal((await predict('plain', '--out', 'x', '--label-map', '--task', 'any-foreground')).code, 2);
});

t.test('evaluate: a bad case is listed, the others are scored', async (t) => {
  for (const id of ['a', 'b', 'c']) {
    await write(`organs/imagesTr/${id}.nii`, 1);
    const label = Uint8Array.from(voxels(1), (value) => value % 3);
    await writeNifti(at(`organs/labelsTr/${id}.nii`), { data: label, sizeVoxels, spacingMm, affine });
  }
  truncateSync(at('organs/imagesTr/b.nii'), statSync(at('organs/imagesTr/b.nii')).size - 1000);
  const args = ['evaluate', 'model.safetensors', '--data', 'organs', '--task', 'core', '--device', 'wasm'];
  const { code, stdout, stderr } = await runVersemi(folder, [...args, '--json', 'out.json', '-q']);
  t.equal(code, 3);
  t.match(stderr, /^1 of 3 cases failed:\nVERSEMI_FILE_TRUNCATED: .*b\.nii/);
  t.match(stdout, /^task +cases +failed .*\n.*\ncore +2 +1 /);
  const { cases, failures } = JSON.parse(readFileSync(at('out.json'), 'utf8'));
  t.same(
    cases.map(({ id }: { id: string }) => id),
    ['a', 'c'],
  );
  t.match(failures, [{ id: 'b', dataset: 'organs', message: /b\.nii/ }]);
});

t.test('evaluate: listed files that are not there end nothing', async (t) => {
  const entry = (id: string) => ({ image: `images/${id}.nii`, label: `labels/${id}.nii` });
  for (const id of ['kept', 'without-label']) await write(`listed/images/${id}.nii`, 1);
  const label = Uint8Array.from(voxels(1), (value) => value % 3);
  for (const id of ['kept', 'without-image'])
    await writeNifti(at(`listed/labels/${id}.nii`), { data: label, sizeVoxels, spacingMm, affine });
  const training = ['without-image', 'kept', 'without-label'].map(entry);
  writeFileSync(
    at('listed/dataset.json'),
    JSON.stringify({ name: 'organs', labels: { background: 0, a: 1, b: 2 }, training }),
  );
  const args = ['evaluate', 'model.safetensors', '--data', 'listed', '--task', 'core', '--device', 'wasm', '-q'];
  for (const which of ['all', 'kept,without-image,without-label']) {
    const { code, stderr } = await runVersemi(folder, [...args, '--json', 'listed.json', '--cases', which]);
    t.equal(code, 3, which);
    t.match(stderr, /^2 of 3 cases failed:\nVERSEMI_FILE_NOT_FOUND: .*without-.*\nVERSEMI_FILE_NOT_FOUND: .*without-/);
    const { cases, failures } = JSON.parse(readFileSync(at('listed.json'), 'utf8'));
    t.same([cases.map(({ id }: { id: string }) => id), failures.length], [['kept'], 2], which);
  }
});

t.test('without --max-memory the limit is that of the machine', async (t) => {
  await write('limited.nii', 1);
  const run = (bytes: number, command: string[], ...options: string[]) =>
    runVersemi(folder, [...command, '--task', 'core', '--device', 'wasm', ...options], {
      node: [`--import=data:text/javascript,process.constrainedMemory=()=>${bytes}`],
    });
  for (const command of [
    ['predict', 'model.safetensors', 'limited.nii', '--out', 'limited'],
    ['evaluate', 'model.safetensors', '--data', 'organs', '--cases', 'a'],
  ]) {
    const refused = await run(1e8, command);
    t.equal(refused.code, 6, refused.stderr);
    t.match(refused.stderr, /MEMORY_LIMIT.*found 90 MB, 90 % of what this machine allows \(--max-memory sets another/);
    const enough = await run(8e9, command);
    t.equal(enough.code, 0, enough.stderr);
    t.notMatch(enough.stderr, /at most/, 'no line about memory that nobody asked for');
    const asked = await run(1e8, command, '--max-memory', '4GB');
    t.equal(asked.code, 0, asked.stderr);
    t.match(asked.stderr, /at most \d+ MB, in one part/);
  }
});
