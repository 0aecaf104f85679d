// `versemi predict` on scans that are unlike what a model was trained on, and the tables of volumes.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import h5wasm from 'h5wasm/node';
import t from 'tap';
import { saveModel } from '../../src/checkpoints/files.js';
import { modelMetadata } from '../../src/checkpoints/metadata.js';
import { parsePlan } from '../../src/config/plan.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { csvRows } from '../../src/reports/csv.js';
import { registerVersemiBackends } from '../../src/tfjs/index.js';
import { scalingAffine } from '../../src/volume/affine.js';
import { runVersemi } from './cli-support.js';

const folder = t.testdir();
const at = (...path: string[]) => join(folder, ...path);
await registerVersemiBackends();
await h5wasm.ready;

/** Scans of 16 mm, and of ten times that; CT of 16 mm. */
const triples = (length: number) => [
  [length, length, length],
  [length, length, length],
];
const facts = (length: number, modality: string) => ({
  ...{ cases: 50, modality, spacingMm: triples(1), extentMm: triples(length) },
  ...(modality === 'CT' ? { percentile005: [-1000, -950], percentile995: [300, 900] } : {}),
});
const dataset = (name: string, scans: object | undefined, window: readonly number[] | null = null) => ({
  ...{ name, path: name, preprocessing: { spacingMm: [1, 1, 1], normalization: 'zscore', window } },
  ...(scans === undefined ? {} : { scans }),
});
const task = (name: string, labels = [1]) => ({ name, dataset: name.replace(/-part$/, ''), labels });
async function model(file: string, recorded: boolean) {
  const known = (length: number, modality: string) => (recorded ? facts(length, modality) : undefined);
  const plan = parsePlan({
    ...{ version: 1, name: 'small', seed: 1, patchSizeVoxels: [16, 16, 16] },
    datasets: [
      dataset('small', known(16, 'MR')),
      dataset('large', known(160, 'MR')),
      dataset('body', known(16, 'CT'), [-200, 300]),
    ],
    tasks: [task('small', [1, 2]), task('small-part', [2]), task('large'), task('body')],
    network: { baseWidth: 4, levels: 2, convolutions: [1, 1] },
  });
  const network = new VersemiNetwork({ ...plan.network, tasks: 4 }, 1);
  const history = { steps: 0, losses: [], validation: [], best: null };
  const provenance = { created: new Date(0).toISOString(), versions: {}, data: [] };
  await saveModel(at(file), network, modelMetadata(plan, history, provenance));
  network.dispose();
}
await model('model.safetensors', true);
await model('old.safetensors', false);

async function write(file: string, low: number, high: number, spacing = 1) {
  const sizeVoxels = [16, 14, 12] as const;
  const data = Int16Array.from({ length: 16 * 14 * 12 }, (_, i) => low + ((i * 37) % 251) * ((high - low) / 250));
  const spacingMm = [spacing, spacing, spacing] as const;
  await writeNifti(at(file), { data, sizeVoxels, spacingMm, affine: scalingAffine(spacingMm) });
}
await write('in/mr.nii.gz', 0, 900);
await write('in/ct.nii.gz', -1000, 1000);
await write('strange/tiny.nii.gz', 0, 900, 0.1);

async function predict(input: string, ...options: string[]) {
  return predictWith('model', input, ...options);
}

async function predictWith(model: string, input: string, ...options: string[]) {
  const args = ['predict', `${model}.safetensors`, input, '--device', 'wasm', '--json', ...options];
  const { code, stdout, stderr } = await runVersemi(folder, args);
  return { code, stderr, json: stdout === '' ? undefined : JSON.parse(stdout) };
}
const files = (path: string) => (existsSync(at(path)) ? readdirSync(at(path)).sort() : []);

t.test('only tasks that fit are predicted, unless they are named', async (t) => {
  const { code, json, stderr } = await predict('in', '--out', 'fit');
  t.equal(code, 0, stderr);
  t.same(files('fit'), ['ct_body.nii.gz', 'mr_small-part.nii.gz', 'mr_small.nii.gz']);
  t.match(stderr, /mr\.nii\.gz.*: not predicted, as .*: large \(field of view\), body \(intensity\)\. --task all/);
  t.match(stderr, /ct\.nii\.gz.*small \(modality\), small-part \(modality\), large \(modality, field of view\)/);
  const passed = json.passedOver.map(({ input, task }: Record<string, string>) => `${input} ${task}`);
  t.same(passed, [
    'in/ct.nii.gz small',
    'in/ct.nii.gz small-part',
    'in/ct.nii.gz large',
    'in/mr.nii.gz large',
    'in/mr.nii.gz body',
  ]);
  t.match(json.passedOver[3].misfits, [
    { field: 'field of view', expected: /160 x 160 x 160 mm/, found: /16 x 14 x 12 mm/ },
  ]);
  t.same(json.predictions[1].unchecked, ['modality']);

  const all = await predict('in', '--task', 'all', '--out', 'all');
  t.equal(files('all').length, 8);
  t.same(all.json.passedOver, []);
  t.match(
    all.stderr,
    /ct\.nii\.gz.*the scan is unlike .* for small, small-part \(modality: expected MR, as small is, found air/,
  );
  t.match(all.json.predictions[0].misfits, [{ field: 'modality' }]);
  const same = async (name: string) =>
    t.strictSame((await readVolume(at('fit', name))).data, (await readVolume(at('all', name))).data, 'the same mask');
  await same('ct_body.nii.gz');

  const one = await predict('in/mr.nii.gz', '--task', 'large,any-foreground', '--out', 'one');
  t.same(files('one'), ['mr_any-foreground.nii.gz', 'mr_large.nii.gz']);
  t.match(one.stderr, /unlike .* for large \(field of view: expected within 1\.58 times of large/);
  const plus = await predict('in/mr.nii.gz', '--task', 'all,any-foreground', '--out', 'plus');
  t.equal(plus.json.predictions.length, 5);
});

t.test('no task fits: an error that says why, and the other scans are done', async (t) => {
  mkdirSync(at('both'));
  for (const file of ['in/mr.nii.gz', 'strange/tiny.nii.gz'])
    writeFileSync(at('both', file.split('/')[1]!), readFileSync(at(file)));
  const { code, json, stderr } = await predict('both', '--out', 'none', '--volumes', 'none/v.csv');
  t.equal(code, 3);
  t.same(files('none'), ['mr_small-part.nii.gz', 'mr_small.nii.gz', 'v.csv']);
  t.match(json.failures, [{ input: 'both/tiny.nii.gz', code: 'VERSEMI_SCAN_UNLIKE_DATASETS' }]);
  t.match(
    stderr,
    /small, small-part \(field of view: .*16 x 16 x 16 mm, found 1\.6 x 1\.4 x 1\.2 mm.*--task NAME.*--task all/,
  );
  t.equal(json.passedOver.length, 2 + 4);
  const before = readFileSync(at('none/v.csv'), 'utf8');
  t.equal((await predict('strange', '--out', 'none', '--volumes', 'none/v.csv')).code, 3);
  t.equal(readFileSync(at('none/v.csv'), 'utf8'), before, 'a table stays where nothing was measured');
});

t.test('a model that records nothing: what can be judged is, and the rest is said', async (t) => {
  const { code, json, stderr } = await predictWith('old', 'in/mr.nii.gz', '--out', 'old');
  t.equal(code, 0, stderr);
  t.same(files('old'), ['mr_large.nii.gz', 'mr_small-part.nii.gz', 'mr_small.nii.gz'], 'the window is one of CT');
  t.match(stderr, /does not record what the scans of small, large, body were like.*not checked/);
  t.same(json.predictions[0].unchecked, ['modality', 'spacing', 'field of view']);
});

t.test('HDF5 of which nobody says the spacing', async (t) => {
  const file = new h5wasm.File(at('scan.h5'), 'w');
  file.create_dataset({ name: 'image', data: Float32Array.from({ length: 216 }, (_, i) => i % 7), shape: [6, 6, 6] });
  file.close();
  const { json } = await predict('scan.h5', '--out', 'h5', '--task', 'small');
  t.same(json.predictions[0].unchecked, ['modality', 'spacing', 'field of view']);
  const said = await predict('scan.h5', '--out', 'h5', '--task', 'small', '--spacing', '1');
  t.match(said.json.predictions[0].misfits, [{ field: 'field of view', found: /6 x 6 x 6 mm/ }]);
});

t.test('volumes and intensities, in JSON and in tables', async (t) => {
  const { json, stderr } = await predict('in', '--out', 'v', '--volumes', 'v/a.csv', '--volumes', 'v/a.json');
  const table = JSON.parse(readFileSync(at('v/a.json'), 'utf8'));
  const [columns, ...rows] = csvRows(readFileSync(at('v/a.csv'), 'utf8'), 'a.csv');
  t.equal(rows.length, 3, stderr);
  for (const [i, row] of rows.entries()) {
    const [cell, found] = [(name: string) => row[columns!.indexOf(name)]!, json.predictions[i]];
    const mask = await readVolume(at(found.output));
    const image = await readVolume(at(found.input));
    const inside = Array.from(image.data as ArrayLike<number>).filter((_, k) => mask.data[k] !== 0);
    t.equal(found.foregroundVoxels, inside.length);
    t.match(table.volumes[i], { id: cell('id'), input: found.input, task: found.task, voxels: inside.length });
    t.strictSame(table.volumes[i].intensity, found.intensity);
    if (inside.length === 0) {
      t.equal(found.intensity, null);
      continue;
    }
    const mean = inside.reduce((sum, v) => sum + v, 0) / inside.length;
    t.ok(Math.abs(found.intensity.mean - mean) < 1e-9 && Math.abs(Number(cell('intensityMean')) - mean) < 1e-9);
    t.same([found.intensity.min, found.intensity.max], [Math.min(...inside), Math.max(...inside)]);
    t.ok(Math.abs(Number(cell('volumeMl')) - inside.length / 1000) < 1e-12);
  }
  const refused = async (message: RegExp, ...options: string[]) => {
    const { code, stderr } = await predict('in', '--out', 'v', ...options);
    t.equal(code, 2, stderr);
    t.match(stderr, message);
  };
  await refused(/--volumes.*not there yet.*--skip-existing/, '--volumes', 'v/a.csv', '--skip-existing');
  await refused(/ends with \.csv or \.json/, '--volumes', 'v/a.txt');
  await refused(/different names/, '--volumes', 'v/b.csv', '--volumes', './v/b.csv');
  await refused(/a file of its own/, '--label-map', '--volumes', 'v/mr_small-labels.json');
});

t.test('--skip-existing passes over scans whose fitting tasks are done', async (t) => {
  await predict('in', '--out', 'again', '--label-map');
  const { json, stderr } = await predict('in', '--out', 'again', '--label-map', '--skip-existing');
  t.same(json.predictions, []);
  t.match(stderr, /mr\.nii\.gz \(2 of 2\): done before/);
  t.same(
    files('again').filter((name) => name.endsWith('.nii.gz')),
    [
      ...[
        'ct_body-labels.nii.gz',
        'ct_body.nii.gz',
        'mr_small-labels.nii.gz',
        'mr_small-part.nii.gz',
        'mr_small.nii.gz',
      ],
    ],
  );
  const { json: forced } = await predict('in', '--out', 'again', '--skip-existing', '--task', 'small,body');
  t.equal(forced.predictions.length, 4, 'with other tasks they are not done');
});
