// Masks that are there already: where they are found, what they are compared with, and what is refused.
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { writeNrrd } from '../../src/datasets/nrrd-file.js';
import { writeNifti } from '../../src/datasets/read-volume.js';
import { type ErrorCode, isVersemiError } from '../../src/errors.js';
import { selectionNotes } from '../../src/inference/case-selection.js';
import type { EvaluatedCase } from '../../src/inference/evaluate.js';
import { type EvaluateMasksOptions, evaluateMasks, selectMasks } from '../../src/inference/evaluate-masks.js';
import { segmentationMetrics } from '../../src/metrics/segmentation-metrics.js';
import type { Affine, Triple, Volume } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';
import { makePlan } from './sampling-support.js';

const size: Triple = [12, 10, 8];
const spacingMm: Triple = [1, 1.5, 2];
const affine = [1, 0, 0, -5, 0, 1.5, 0, 3, 0, 0, 2, 9, 0, 0, 0, 1] as unknown as Affine;
const count = size[0] * size[1] * size[2];
type Box = readonly [
  value: number,
  x: readonly [number, number],
  y: readonly [number, number],
  z: readonly [number, number],
];

/** Boxes, ends not included, one over the other. */
function drawn(...boxes: readonly Box[]): Uint8Array {
  const data = new Uint8Array(count);
  for (const [value, [x0, x1], [y0, y1], [z0, z1]] of boxes)
    for (let z = z0; z < z1; z++)
      for (let y = y0; y < y1; y++)
        data.fill(value, x0 + size[0] * (y + size[1] * z), x1 + size[0] * (y + size[1] * z));
  return data;
}

const volume = (data: Uint8Array | Float32Array): Volume => ({ data, sizeVoxels: size, spacingMm, affine });
const only = (data: Uint8Array, ...values: number[]) => data.map((value) => (values.includes(value) ? 1 : 0));

const label = drawn([1, [2, 9], [2, 8], [1, 7]], [2, [4, 7], [3, 6], [2, 5]]);
const mask = drawn([1, [3, 10], [2, 8], [1, 7]], [2, [4, 6], [3, 7], [2, 5]]);

interface Made {
  readonly at: (...parts: string[]) => string;
  readonly put: (name: string, data: Uint8Array | Float32Array) => Promise<void>;
  readonly rows: (options?: EvaluateMasksOptions) => Promise<EvaluatedCase[]>;
  readonly refused: (code: ErrorCode, words: RegExp, options?: EvaluateMasksOptions) => Promise<void>;
}

/** A dataset of two cases with the same label, and an empty folder of masks. */
async function make(t: Test, description: object = {}): Promise<Made> {
  const folder = t.testdir({ data: { imagesTr: {}, labelsTr: {} }, masks: {} });
  const at = (...parts: string[]) => join(folder, ...parts);
  const image = Float32Array.from({ length: count }, (_, i) => i % 97);
  for (const id of ['a', 'b']) {
    await writeNifti(at('data', 'imagesTr', `${id}.nii.gz`), volume(image));
    await writeNifti(at('data', 'labelsTr', `${id}.nii.gz`), volume(label));
  }
  writeFileSync(
    at('data', 'dataset.json'),
    JSON.stringify({
      ...{ name: 'ct', modality: { 0: 'CT' }, labels: { 0: 'background', 1: 'liver', 2: 'tumour' }, test: [] },
      training: ['a', 'b'].map((id) => ({ image: `imagesTr/${id}.nii.gz`, label: `labelsTr/${id}.nii.gz` })),
      ...description,
    }),
  );
  const rows = async (options?: EvaluateMasksOptions) => {
    const found: EvaluatedCase[] = [];
    for await (const { outcomes } of evaluateMasks(at('data'), at('masks'), options))
      found.push(...outcomes.map(({ result }) => result));
    return found;
  };
  return {
    at,
    put: async (name, data) => {
      mkdirSync(join(at('masks', name), '..'), { recursive: true });
      await (name.endsWith('.nrrd') ? writeNrrd : writeNifti)(at('masks', name), volume(data));
    },
    rows,
    async refused(code, words, options) {
      try {
        await rows(options);
        t.fail(`not refused: ${words}`);
      } catch (error) {
        t.ok(isVersemiError(error, code), String(error));
        t.match(String(error), words);
      }
    },
  };
}

function test(name: string, body: (t: Test) => Promise<void>): void {
  t.test(name, async (t) => {
    await body(t);
    t.equal(host().memory().blocks, 0, 'no memory of the host is left');
  });
}

/** What the metrics say of two masks. */
const metricsOf = (a: Uint8Array, b: Uint8Array) => segmentationMetrics(a, b, size, spacingMm, { voxelMm3: 3 });
const expected = [
  { id: 'a', dataset: 'ct', task: 'liver', ...metricsOf(only(mask, 1), only(label, 1)) },
  { id: 'a', dataset: 'ct', task: 'tumour', ...metricsOf(only(mask, 2), only(label, 2)) },
];
const both = [...expected, ...expected.map((row) => ({ ...row, id: 'b' }))];

test('label maps, files per task, folders per case: the same metrics', async (t) => {
  t.ok(expected.every(({ dice }) => dice! > 0.3 && dice! < 0.95));
  const { at, put, rows } = await make(t);
  const empty = () => {
    rmSync(at('masks'), { recursive: true });
    mkdirSync(at('masks'));
  };
  const same = async (name: string) => {
    t.same(await rows(), both, name);
    empty();
  };
  await put('a.nii.gz', mask);
  await put('b.nrrd', mask);
  await same('label maps');
  await put('a.seg.nrrd', Float32Array.from(mask));
  await put('ct/b.nii', mask);
  renameSync(at('masks', 'a.seg.nrrd'), at('masks', 'ct', 'a.seg.nrrd'));
  await same('in a folder of the name of the dataset, as floats');
  const perTask = async (id: string, nameOf: (task: string) => string, inside = 1) => {
    await put(
      `${nameOf('liver')}`,
      only(mask, 1).map((value) => value * inside),
    );
    await put(
      `${nameOf('tumour')}`,
      only(mask, 2).map((value) => value * inside),
    );
    return id;
  };
  await perTask('a', (task) => `a_${task}.nii.gz`);
  await perTask('b', (task) => `b_ct-${task}.nrrd`, 255);
  await put('a.nii.gz', drawn());
  await same('files per task, by the names of labels and of plans, before a file of the name of the case');
  await perTask('a', (task) => `a/${task}.nii.gz`);
  await perTask('b', (task) => `b/b_${task}.nii.gz`);
  renameSync(at('masks', 'b', 'b_liver.nii.gz'), at('masks', 'b_liver.nii.gz'));
  renameSync(at('masks', 'b', 'b_tumour.nii.gz'), at('masks', 'b', 'tumour.nii.gz'));
  await same('a folder per case');
  await put('a_ct-labels.nii.gz', mask);
  await put('b_ct-labels.nii.gz', mask);
  await put('a_liver.nii.gz', only(mask, 1));
  await same('the label map of predict, beside masks of some of the tasks');
});

test('a mask may be stored in another order of its axes, but not on other voxels', async (t) => {
  const { at, put, rows, refused } = await make(t);
  await put('b.nii.gz', mask);
  // The same voxels from the other end of x, as [y, x, z].
  const [sizeX, sizeY, sizeZ] = size;
  const turned = new Uint8Array(count);
  for (let z = 0; z < sizeZ; z++)
    for (let y = 0; y < sizeY; y++)
      for (let x = 0; x < sizeX; x++)
        turned[y + sizeY * (sizeX - 1 - x + sizeX * z)] = mask[x + sizeX * (y + sizeY * z)]!;
  const affineTurned = [0, -1, 0, -5 + 11, 1.5, 0, 0, 3, 0, 0, 2, 9, 0, 0, 0, 1] as unknown as Affine;
  const write = (change: Partial<Volume>) =>
    writeNifti(at('masks', 'a.nii.gz'), { ...volume(mask), ...change } as Volume);
  await write({ data: turned, sizeVoxels: [sizeY, sizeX, sizeZ], spacingMm: [1.5, 1, 2], affine: affineTurned });
  t.same(await rows(), both);
  const shifted = [...affine] as unknown as number[];
  shifted[3] = -4;
  await write({ affine: shifted as unknown as Affine });
  const names = /imagesTr.a\.nii\.gz and .*masks.a\.nii\.gz, affine/;
  await refused('GEOMETRY_MISMATCH', names);
  await write({ data: mask.subarray(0, 12 * 10 * 4), sizeVoxels: [12, 10, 4] });
  await refused(
    'GEOMETRY_MISMATCH',
    /masks.a\.nii\.gz, sizeVoxels\): expected 12 x 10 x 8 \(image\), found 12 x 10 x 4/,
  );
});

test('an empty mask, an empty label and both are what the metrics say', async (t) => {
  const { put, rows, at } = await make(t);
  await put('a.nii.gz', only(mask, 1));
  await put('b.nii.gz', drawn());
  await writeNifti(at('data', 'labelsTr', 'b.nii.gz'), volume(only(label, 1)));
  const found = await rows();
  t.same(found.map(({ dice }) => dice)[1], 0);
  t.equal(found[1]!.hd95PooledMm, null);
  const nothing = drawn();
  t.same(found[2], { ...metricsOf(nothing, only(label, 1)), id: 'b', dataset: 'ct', task: 'liver' });
  t.same(found[3], { ...metricsOf(nothing, nothing), id: 'b', dataset: 'ct', task: 'tumour' });
});

test('voxels of the ignored label do not count', async (t) => {
  const { put, rows, at } = await make(t, { labels: { background: 0, liver: 1, tumour: 2, ignore: 9 } });
  const unknown = drawn([9, [0, 12], [0, 10], [4, 8]]);
  const partly = label.map((value, i) => (unknown[i] === 9 ? 9 : value));
  for (const id of ['a', 'b']) {
    await writeNifti(at('data', 'labelsTr', `${id}.nii.gz`), volume(partly));
    await put(`${id}.nii.gz`, mask);
  }
  const known = mask.map((value, i) => (unknown[i] === 9 ? 0 : value));
  const [row] = await rows({ only: ['liver'] });
  t.same(row, { ...metricsOf(only(known, 1), only(partly, 1)), id: 'a', dataset: 'ct', task: 'liver' });
});

test('tasks by values, by a plan, by regions; some of them; voxels', async (t) => {
  const { put, rows, refused } = await make(t);
  await put('a.nii.gz', mask);
  await put('b.nii.gz', mask);
  const whole = { ...metricsOf(only(mask, 1, 2), only(label, 1, 2)), id: 'a', dataset: 'ct', task: 'whole' };
  const tasks = [
    { name: 'whole', labels: [1, 2] },
    { name: 'part', labels: [2] },
  ];
  t.same((await rows({ tasks }))[0], whole);
  t.same(
    (await rows({ tasks, only: ['part'] })).map(({ task }) => task),
    ['part', 'part'],
  );
  const [first] = await rows({ voxels: true, toleranceMm: 2, only: ['tumour'] });
  t.equal(typeof first!.hd95PooledVoxels, 'number');
  t.equal(first!.surfaceDiceToleranceMm, 2);
  const plan = makePlan({ ct: [[1, 2]] }, [8, 8, 8]);
  t.same((await rows({ plan }))[0], { ...whole, task: 'ct-0' });
  await refused('MODEL_TASK_UNKNOWN', /expected other/, { plan: makePlan({ other: [[1]] }, [8, 8, 8]) });
  await refused('MODEL_TASK_UNKNOWN', /expected liver, tumour, found spleen/, { only: ['spleen'] });
  await refused('LABEL_INVALID', /task part\): expected values that dataset.json names: 0, 1, 2, found 3/, {
    tasks: [{ name: 'part', labels: [2, 3] }],
  });
  const regions = await make(t, {
    ...{ labels: { background: 0, organ: [1, 2], tumour: 2 }, regions_class_order: [1, 2] },
  });
  await regions.put('a.nii.gz', mask);
  await regions.put('b.nii.gz', mask);
  t.same((await regions.rows())[0], { ...whole, task: 'organ' });
});

test('a dataset that names no labels needs tasks', async (t) => {
  const { at, put, rows, refused } = await make(t);
  rmSync(at('data', 'dataset.json'));
  await put('a.nii.gz', mask);
  await put('b.nii.gz', mask);
  await refused('DATASET_INVALID', /labels\): expected a dataset\.json.*--tasks/);
  const [row] = await rows({ dataset: 'ct', tasks: [{ name: 'tumour', labels: [2] }] });
  t.same(row, expected[1]);
});

test('which cases: ids, lists; what only a model knows is refused', async (t) => {
  const { at, put, rows, refused } = await make(t);
  await put('a.nii.gz', mask);
  t.same(await rows({ cases: ['a'] }), expected);
  writeFileSync(at('data', 'splits.json'), JSON.stringify({ mine: ['a'], validation: ['b'] }));
  t.same(await rows({ cases: ['mine'] }), expected);
  await refused('FILE_NOT_FOUND', /mask of case b/, { cases: ['validation'] });
  await refused('USAGE', /unseen.*--plan/, { cases: ['unseen'] });
  await refused('SPLIT_INVALID', /nobody/, { cases: ['nobody', 'a'] });
  const [selected] = await selectMasks(at('masks'), [{ folder: at('data') }], { cases: ['a'] });
  t.equal(selected!.selection.masks, true);
  t.same(selectionNotes(selected!.selection), []);
});

test('masks that are missing, doubled or of nobody', async (t) => {
  const { at, put, rows, refused } = await make(t);
  await refused(
    'FILE_NOT_FOUND',
    /mask of case a\): expected a label map a\.nii\.gz, or .* a_liver\.nii\.gz, found none/,
  );
  await put('a.nii.gz', mask);
  await refused('FILE_NOT_FOUND', /mask of case b/);
  await put('b_liver.nii.gz', only(mask, 1));
  await refused(
    'FILE_NOT_FOUND',
    /mask of case b\): expected a file for each task, such as b_tumour.*none of tumour.*--task/,
  );
  t.same(await rows({ only: ['liver'] }), [both[0], both[2]]);
  await put('b_tumour.nii.gz', only(mask, 2));
  await put('stranger.nii.gz', mask);
  await put('b_spleen.nii.gz', mask);
  const notices: string[] = [];
  t.same(await rows({ onNotice: (text) => notices.push(text) }), both);
  t.same(notices, [`${at('masks')}: of no case of ct: stranger.nii.gz.`]);
  await put('b_tumour.nrrd', only(mask, 2));
  await refused(
    'DATASET_INVALID',
    /the mask tumour of b\): expected one file, found b_tumour\.nii\.gz, b_tumour\.nrrd/,
  );
  rmSync(at('masks', 'b_tumour.nrrd'));
  await put('b_liver.nii.gz', mask);
  await refused(
    'LABEL_INVALID',
    /b_liver\.nii\.gz\): expected the mask of one task: 0, and one other value, found values 1, 2/,
  );
  await put(
    'a.nii.gz',
    mask.map((value) => value * 3),
  );
  await refused('LABEL_INVALID', /masks.a\.nii\.gz.*expected the values that dataset\.json names/);
  await put(
    'a.nii.gz',
    Float32Array.from(mask, (value) => value / 2),
  );
  await refused('LABEL_INVALID', /masks.a\.nii\.gz.*probabilities, threshold/);
});

test('several datasets: folders of their names, names of labels apart, one mask for one case', async (t) => {
  const ct = await make(t);
  const folders = [{ folder: ct.at('data') }, { folder: ct.at('data'), dataset: 'mr' }];
  const masks = ct.at('masks');
  await ct.put('a.nii.gz', mask);
  await ct.put('b.nii.gz', mask);
  await t.rejects(selectMasks(masks, folders), {
    code: 'VERSEMI_DATASET_INVALID',
    message: /that of a of ct and of a of mr/,
  });
  await ct.put('mr/a.nii.gz', mask);
  await ct.put('mr/b.nii.gz', mask);
  const selected = await selectMasks(masks, folders);
  t.same(
    selected.map(({ tasks }) => tasks.map(({ name }) => name)),
    [
      ['ct-liver', 'ct-tumour'],
      ['mr-liver', 'mr-tumour'],
    ],
  );
  await t.rejects(selectMasks(masks, [folders[0]!, folders[0]!]), { code: 'VERSEMI_MODEL_TASK_UNKNOWN' });
  await t.rejects(selectMasks(masks, folders, { tasks: [{ name: 'liver', labels: [1] }] }), { code: 'VERSEMI_USAGE' });
});

test('an aborted comparison ends before the next case', async (t) => {
  const { put, rows } = await make(t);
  await put('a.nii.gz', mask);
  await put('b.nii.gz', mask);
  const stop = new AbortController();
  const begun: string[] = [];
  const ended = rows({
    signal: stop.signal,
    onProgress: ({ id }) => {
      begun.push(id);
      stop.abort();
    },
  });
  await t.rejects(ended, { code: 'VERSEMI_ABORTED' });
  t.same(begun, ['a']);
});
