// DICOM folders and zip files as datasets: which series are cases, what their labels are, what is left out, what is refused.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { parsePlan } from '../../src/config/plan.js';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase } from '../../src/datasets/load-case.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { findScans } from '../../src/datasets/scan-files.js';
import { resolveSplit } from '../../src/datasets/splits.js';
import type { Dataset } from '../../src/datasets/types.js';
import type { ErrorCode } from '../../src/errors.js';
import { evaluateMasks } from '../../src/inference/evaluate-masks.js';
import { contentKeys } from '../../src/preprocessing/content-key.js';
import { fingerprintDatasets } from '../../src/preprocessing/fingerprint.js';
import { makePlan } from '../../src/preprocessing/planning.js';
import { preprocessCases } from '../../src/preprocessing/preprocess-datasets.js';
import { targetMask } from '../../src/preprocessing/targets.js';
import { toCanonical, toStored } from '../../src/scans/canonical.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { applyAffine, invertAffine, multiplyAffines, voxelVolumeMm3 } from '../../src/volume/affine.js';
import { host } from '../../src/wasm/host.js';
import { failure, noData, realData } from '../unit/datasets-support.js';
import { systemPython } from './python.js';

const script = fileURLToPath(new URL('../../../test/dicom/make_datasets.py', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'versemi-dicom-sets-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const python = systemPython('pydicom', 'numpy');
const made =
  python === undefined ? undefined : spawnSync(python, ['-W', 'ignore', script, folder], { encoding: 'utf8' });
if (made !== undefined && made.status !== 0) throw new Error(made.stderr);
const skip = made === undefined ? 'python3-pydicom is not here' : false;
const at = (...parts: readonly string[]) => join(folder, ...parts);
const expected: Readonly<Record<string, { image: number[]; label?: number[] }>> = skip
  ? {}
  : JSON.parse(readFileSync(at('expected.json'), 'utf8'));

/** Reads every case, and compares voxels and labels in the order in which the slices lie. */
async function compare(
  t: Pick<Test, 'same'>,
  dataset: Dataset,
  name: (id: string) => string = (id) => id,
): Promise<void> {
  for (const files of dataset.cases) {
    const { image, label } = await loadCase(dataset, files);
    const wanted = expected[name(files.id)]!;
    t.same(Array.from(toStored(image).data), wanted.image, `${files.id}: voxels`);
    t.same(label && Array.from(toStored({ ...label, stored: image.stored! }).data), wanted.label, `${files.id}: label`);
  }
}

t.test('a folder or a zip file per patient', { skip }, async (t) => {
  const dataset = await openDataset(at('patients'));
  t.equal(dataset.format, 'dicom');
  t.same(
    dataset.cases.map(({ id }) => id).sort(),
    ['P1', 'P2', 'P3', 'P4', 'P5'],
    'the names of folders, and nothing of the header',
  );
  t.same(dataset.labels, { 0: 'background', 1: 'liver', 2: 'tumour' });
  t.same(dataset.modalities, ['CT']);
  await compare(t, dataset);
  const reasons = (dataset.leftOut ?? []).map(({ reason }) => reason).join('\n');
  t.match(reasons, /^PT, 12 images: the labelled series are CT$/m);
  t.match(reasons, /^CT, 1 image: a localizer$/m);
  t.match(reasons, /^outlines of a series that is not here$/m);
  t.equal(dataset.leftOut?.length, 3);
  const remarks = (dataset.remarks ?? []).join('\n');
  t.match(remarks, /^"tumour" is not drawn in 1 of 4 labelled cases, where it counts as absent: P2$/m);
  t.match(remarks, /^gantry tilt, .*: P5 by 14\.0 degrees$/m);
  t.notMatch(JSON.stringify([dataset.cases.map(({ id }) => id), reasons, remarks]), /secret\^?name/i);
  const split = { file: null, labeled: 'all', validation: 1, unlabeled: 'rest' } as const;
  const { labeled, unlabeled, validation } = resolveSplit(dataset, { split }, 1);
  t.same([labeled.length, unlabeled.map(({ id }) => id), validation.length], [3, ['P3'], 1]);
});

t.test('patients that are links to folders elsewhere', { skip }, async (t) => {
  mkdirSync(at('links'));
  for (const id of ['P1', 'P2']) symlinkSync(at('patients', id), at('links', id));
  const dataset = await openDataset(at('links'));
  t.same(
    dataset.cases.map(({ id }) => id),
    ['P1', 'P2'],
  );
  await compare(t, dataset);
});

t.test('a folder of many series', { skip }, async (t) => {
  const dataset = await openDataset(at('flat'));
  const ids = dataset.cases.map(({ id }) => id);
  t.ok(
    ids.every((id) => /^CT_[234]_[0-9a-f]{6}$/.test(id)),
    ids.join(),
  );
  await compare(t, dataset, (id) => id.slice(0, 4));
  rmSync(at('flat2'), { recursive: true, force: true });
  cpSync(at('flat'), at('flat2'), { recursive: true });
  for (const [i, name] of readdirSync(at('flat2')).entries()) renameSync(at('flat2', name), at('flat2', `x${97 - i}`));
  const renamed = await openDataset(at('flat2'));
  t.same(renamed.cases.map(({ id }) => id).sort(), ids.slice().sort(), 'names of files do not count');
  for (const files of dataset.cases) {
    const other = renamed.cases.find(({ id }) => id === files.id)!;
    t.same(await contentKeys(renamed, other, 0), await contentKeys(dataset, files, 0), 'nor do they for the cache');
  }
});

t.test('dataset.json names labels, their order, and the modality', { skip }, async (t) => {
  const described = (name: string, json: object) => writeFileSync(at(name, 'dataset.json'), JSON.stringify(json));
  t.teardown(() => rmSync(at('patients', 'dataset.json')));
  described('patients', { labels: { background: 0, tumour: 1 } });
  const dataset = await openDataset(at('patients'));
  t.same(dataset.labels, { 0: 'background', 1: 'tumour' });
  t.match(dataset.remarks?.join(), /does not name are left out: liver/i);
  const { label } = await loadCase(dataset, dataset.cases.find(({ id }) => id === 'P1')!);
  const count = (data: ArrayLike<number>, value: number) => Array.from(data).filter((v) => v === value).length;
  t.equal(count(label!.data, 1), count(expected.P1!.label!, 2));
  described('patients', { labels: { background: 0, tumor: 1 } });
  const typo = await failure(() => openDataset(at('patients')), 'DATASET_INVALID');
  t.match(typo.message, /labels.*"liver", "tumour".*tumor/is);

  const overlapping = await openDataset(at('overlap'));
  const error = await failure(() => loadCase(overlapping, overlapping.cases[0]!), 'LABEL_INVALID');
  t.match(error.message, /share no voxel.*dataset\.json/s);
  described('overlap', { labels: { background: 0, body: 1, organ: 2 } });
  const ordered = await openDataset(at('overlap'));
  const organ = await loadCase(ordered, ordered.cases[0]!);
  t.equal(count(organ.label!.data, 2), 6 * 6 * 5, 'the larger value is seen');
  t.equal(count(organ.label!.data, 1), 14 * 11 * 8 - 6 * 6 * 5);

  const mixed = await openDataset(at('mixed'));
  t.match(mixed.remarks?.join(), /are of CT and MR/);
  described('mixed', { modality: { 0: 'MR' } });
  const one = await openDataset(at('mixed'));
  t.same([one.cases.map(({ id }) => id), one.modalities], [['mixed'], ['MR']]);
  t.match(one.leftOut?.[0]?.reason, /CT, 12 images: dataset\.json names MR/);
});

t.test('what is not clear is refused', { skip }, async (t) => {
  const cases: readonly [string, ErrorCode, RegExp][] = [
    ['ambiguous', 'DATASET_INVALID', /one series.*2 that they may mean/s],
    ['twice', 'DATASET_INVALID', /one structure set or segmentation.*rs1.*rs2/s],
    ['time', 'VOLUME_INVALID', /one slice at each place/],
  ];
  for (const [name, code, message] of cases) {
    const error = await failure(() => openDataset(at(name)), code);
    t.match(error.message, message, error.message);
  }
  for (const [name, said] of [
    ['ambiguous', /2 that they may mean/],
    ['twice', /one structure set or segmentation/],
  ] as const) {
    const { cases, remarks } = await openDataset(at(name), { lenient: true });
    t.ok(cases.every(({ label }) => label === undefined));
    t.match(remarks?.join(), said, 'it counts as unlabelled, and that is said');
  }
  const lenient = await openDataset(at('time'), { lenient: true });
  t.same(
    lenient.cases.map(({ id }) => id),
    ['a', 'b'],
    'where each case is read by itself, the others are there',
  );
  const dataset = await openDataset(at('time-unlabelled'));
  t.same(
    dataset.cases.map(({ id }) => id),
    ['time-unlabelled'],
  );
  t.match(dataset.leftOut?.[0]?.reason, /one slice at each place/);
  mkdirSync(at('nothing'));
  writeFileSync(at('nothing', 'a.txt'), 'x');
  await failure(() => openDataset(at('nothing')), 'DATASET_INVALID');
  await failure(() => openDataset(at('nothing'), { format: 'dicom' }), 'DATASET_INVALID');
  mkdirSync(at('damaged'));
  cpSync(at('twice', 'a'), at('damaged', 'a'), { recursive: true });
  cpSync(at('patients', 'P1'), at('damaged', 'b'), { recursive: true });
  const cut = at('damaged', 'a', readdirSync(at('damaged', 'a'))[0]!);
  writeFileSync(cut, readFileSync(cut).subarray(0, 700));
  await failure(() => openDataset(at('damaged')), 'FILE_TRUNCATED');
  const kept = await openDataset(at('damaged'), { lenient: true });
  t.same(
    kept.cases.map(({ id }) => id),
    ['damaged', 'a'],
  );
  await failure(() => loadCase(kept, kept.cases[1]!), 'FILE_TRUNCATED');
});

t.test('plan, preprocess and cache; a tilted series', { skip }, async (t) => {
  const fingerprint = await fingerprintDatasets([{ path: at('patients') }]);
  const [{ classes }] = fingerprint.datasets as [(typeof fingerprint.datasets)[0]];
  const voxelMm3 = 0.8 * 1.1 * 2;
  t.same(
    classes.map(({ name, cases }) => [name, cases]),
    [
      ['liver', 4],
      ['tumour', 3],
    ],
  );
  t.ok(Math.abs(classes[0]!.medianVolumeMm3 / (6 * 6 * 5 * voxelMm3) - 1) < 1e-6, 'volumes, the tilted one too');
  const { plan, explanations } = makePlan(fingerprint, { minutes: 10 });
  const said = explanations.map(({ reason }) => reason).join('\n');
  t.match(said, /5 cases: 4 labelled, 1 unlabelled.*3 left out.*a localizer.*not drawn in 1 of 4.*tilt/s);
  const cacheFolder = at('cache');
  const small = parsePlan(plan, 'plan');
  const remarks: string[] = [];
  const onNotice = (text: string) => remarks.push(text);
  const read = async () => {
    const events = [];
    for await (const event of preprocessCases(small, { cacheFolder, workers: 1, onNotice })) events.push(event);
    return events;
  };
  const first = await read();
  t.same(
    first.map(({ cached }) => cached),
    [false, false, false, false, false],
  );
  t.same(
    (await read()).map(({ cached }) => cached),
    [true, true, true, true, true],
  );
  t.match(remarks.join(), /^patients: .*gantry tilt/);
  // The label of the tilted case lies where it was drawn, by the place of each resampled voxel, and is as large.
  const { case: tilted } = first.find(({ case: { id } }) => id === 'P5')!;
  const { grid, sizeVoxels } = tilted;
  const liver = targetMask(tilted.label!, [1]);
  const dataset = await openDataset(at('patients'));
  const { label } = await loadCase(dataset, dataset.cases.find(({ id }) => id === 'P5')!);
  const toSource = multiplyAffines(invertAffine(label!.stored!.affine)!, grid.affine);
  const [low, high] = [
    [3, 2, 1],
    [9, 8, 6],
  ] as const;
  let inside = 0;
  let outside = 0;
  for (let z = 0, i = 0; z < sizeVoxels[2]; z++)
    for (let y = 0; y < sizeVoxels[1]; y++)
      for (let x = 0; x < sizeVoxels[0]; x++, i++) {
        if (liver[i] === 0) continue;
        const place = applyAffine(toSource, [x, y, z]);
        if (place.every((v, axis) => v > low[axis]! - 1 && v < high[axis]!)) inside++;
        else outside++;
      }
  t.equal(outside, 0);
  const volume = inside * voxelVolumeMm3(grid);
  t.ok(Math.abs(volume / (6 * 6 * 5 * voxelMm3) - 1) < 0.1, `${volume} mm3`);
  const mask = new MaskVolume(
    { ...label!, sizeVoxels: label!.sizeVoxels },
    host().packMask(label!.data, label!.sizeVoxels),
  );
  t.ok(Math.abs(mask.voxelMl * 1000 - voxelMm3) < 1e-9, 'the volume of a tilted voxel is no product of its edges');
  // A label that has another meaning is another cache entry.
  const described = (labels: object) => writeFileSync(at('patients', 'dataset.json'), JSON.stringify({ labels }));
  described({ background: 0, liver: 1, tumour: 2 });
  await read();
  described({ background: 0, tumour: 1, liver: 2 });
  t.teardown(() => rmSync(at('patients', 'dataset.json')));
  t.ok(
    (await read()).filter(({ cached }) => !cached).length >= 4,
    'labelled cases are made again where names have other values',
  );
});

t.test('scans for prediction', { skip }, async (t) => {
  const ids = async (path: string, series?: string) =>
    (await findScans([path], { series })).scans.map(({ id }) => id).sort();
  t.same(await ids(at('patients')), ['P1', 'P2', 'P3', 'P4', 'P5']);
  t.same(await ids(at('flat')), ['flat'], 'a folder of images is one scan, of which --series chooses');
  t.same(await ids(at('mixed')), ['mixed'], 'where dataset.json names the modality');
  t.same(await ids(at('patients'), '1'), ['P1', 'P2', 'P3', 'P5'], 'with --series each folder is one');
});

const real = realData('dicom');
t.test('public series with outlines equal their NIfTI', { skip: real === undefined && noData }, async (t) => {
  const dataset = await openDataset(real!);
  t.same(
    dataset.cases.map(({ id }) => id),
    ['STS_008_CT', 'STS_008_MR_T1', 'STS_019', 'STS_025'],
  );
  t.same(dataset.labels, { 0: 'background', 1: 'GTV_Mass_CT', 2: 'GTV_Mass_MR_T1' });
  for (const files of dataset.cases) {
    const { image, label } = await loadCase(dataset, files);
    const base = join(real!, files.id.slice(0, 7), files.id.slice(8) || 'CT');
    const twin = toCanonical(await readVolume(`${base}_image.nii.gz`));
    const mask = toCanonical(await readVolume(`${base}_mask.nii.gz`));
    t.ok(
      image.data.every((v, i) => v === twin.data[i]),
      `${files.id}: voxels`,
    );
    const value = files.id.endsWith('MR_T1') ? 2 : 1;
    t.ok(
      label!.data.every((v, i) => v === value * mask.data[i]!),
      `${files.id}: label`,
    );
  }
});

t.test('masks that are DICOM objects of the series, or NIfTI files on its voxels', { skip }, async (t) => {
  const masks = at('masks');
  mkdirSync(masks);
  cpSync(at('patients', 'P1', '2019', 'mask', 'rs.dcm'), join(masks, 'P1.dcm'));
  cpSync(at('patients', 'P2', 'seg', 'a'), join(masks, 'P2.seg.dcm'));
  cpSync(at('patients', 'P5', 'rs'), join(masks, 'P5.rtstruct.dcm'));
  const dataset = await openDataset(at('patients'));
  const { image, label } = await loadCase(dataset, dataset.cases.find(({ id }) => id === 'P4')!);
  await writeNifti(join(masks, 'P4.nii.gz'), toStored({ ...label!, stored: image.stored! }));
  const found: Record<string, (number | null)[]> = {};
  const notices: string[] = [];
  const options = { onNotice: (text: string) => notices.push(text) };
  for await (const { id, outcomes } of evaluateMasks(at('patients'), masks, options))
    found[id] = outcomes.map(({ result }) => result.dice);
  t.same(
    found,
    { P1: [1, 1], P2: [1, 1], P4: [1, 1], P5: [1, 1] },
    'both masks of a structure that is not there are empty',
  );
  t.match(notices.join('\n'), /P2\.seg\.dcm: no structure tumour, whose mask is taken to be empty\./);
  const named = { cases: ['P1'], tasks: [{ name: 'Liver', labels: [1] }] };
  for await (const { outcomes } of evaluateMasks(at('patients'), masks, named)) t.equal(outcomes[0]!.result.dice, 1);
  const refused = async (tasks: { name: string; labels: number[] }[], code: ErrorCode, words: RegExp) => {
    const error = await failure(async () => {
      for await (const _ of evaluateMasks(at('patients'), masks, { cases: ['P1'], tasks }));
    }, code);
    t.match(error.message, words);
  };
  await refused([{ name: 'spleen', labels: [] }], 'LABEL_INVALID', /names: spleen, found tumour, Liver/);
  cpSync(at('patients', 'P3', 'strange.dcm'), join(masks, 'P1.dcm'));
  await refused(named.tasks, 'GEOMETRY_MISMATCH', /P1.* and .*masks.P1\.dcm.*outlines of the series/);
});
