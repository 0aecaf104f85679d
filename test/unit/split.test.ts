// What each case is for: lists by name, drawn validation cases, and labels that must stay unread.
import { join } from 'node:path';
import t from 'tap';
import type { PlanDataset } from '../../src/config/plan.js';
import { resolveSplit } from '../../src/datasets/splits.js';
import type { CaseFiles, Dataset } from '../../src/datasets/types.js';
import { failure, writeTree } from './datasets-support.js';

const ids = Array.from({ length: 12 }, (_, i) => `case_${String(i + 1).padStart(2, '0')}`);
const unlabeledIds = ['case_11', 'case_12'];

function dataset(folder: string, order = ids): Dataset {
  const cases = order.map(
    (id): CaseFiles => ({ id, image: `${id}.nii`, ...(unlabeledIds.includes(id) ? {} : { label: `label_${id}.nii` }) }),
  );
  return {
    name: 'd',
    folder,
    format: 'images',
    labels: { 0: 'background', 1: 'a' },
    labelsDeclared: true,
    modalities: ['CT'],
    cases,
    test: [],
  };
}

const splits = {
  few: ['case_02', 'case_01'],
  check: ['case_03'],
  rest: ['case_04', 'case_11'],
  typo: ['case_01', 'case_1', 'kase_02'],
  twice: ['case_01', 'case_01'],
  bare: ['case_11'],
  numbers: [1],
  test: ['case_09', 'case_10'],
  note: 'text beside the lists is fine',
};

type Split = PlanDataset['split'];
const plan = (split: Partial<Split>): { split: Split } => ({
  split: { file: null, labeled: 'all', validation: 0, unlabeled: 'rest', ...split },
});
const names = (cases: readonly CaseFiles[]) => cases.map(({ id }) => Number(id.slice(5)));

t.test('without a split file', async (t) => {
  const data = dataset(t.testdir());
  const all = resolveSplit(data, plan({}), 1);
  t.same(
    [names(all.labeled), names(all.validation), names(all.unlabeled)],
    [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [], [11, 12]],
  );
  const some = resolveSplit(data, plan({ validation: 3 }), 1);
  t.equal(some.validation.length, 3);
  t.equal(some.labeled.length, 7, "with labeled 'all', validation cases are taken out of it");
  t.same(names(some.unlabeled), [11, 12]);
  const listed = resolveSplit(data, plan({ labeled: ['case_01'], validation: ['case_02'], unlabeled: ['case_03'] }), 1);
  t.same([names(listed.labeled), names(listed.validation), names(listed.unlabeled)], [[1], [2], [3]]);
  t.same(names(resolveSplit(data, plan({ unlabeled: 'none' }), 1).unlabeled), []);
  const error = await failure(() => resolveSplit(data, plan({ labeled: 'few' }), 1), 'SPLIT_INVALID');
  t.match(error.message, /no splits\.json/);
});

t.test('lists of the split file', async (t) => {
  const folder = await writeTree(t.testdir(), { 'splits.json': splits, 'other.json': { few: ['case_05'] } });
  const data = dataset(folder);
  const named = resolveSplit(data, plan({ labeled: 'few', validation: 'check', unlabeled: 'rest' }), 1);
  t.same([names(named.labeled), names(named.validation)], [[1, 2], [3]]);
  t.same(names(named.unlabeled), [4, 5, 6, 7, 8, 11, 12], "'rest' is every other case, less the test list");
  t.notOk(
    named.unlabeled.some((files) => 'label' in files),
    'label files of unlabelled cases are out of reach',
  );
  t.same(names(resolveSplit(data, plan({ labeled: 'few', file: 'other.json' }), 1).labeled), [5], 'another file');
  t.same(names(resolveSplit(data, plan({ labeled: 'few', file: join(folder, 'other.json') }), 1).labeled), [5]);
  t.same(names(resolveSplit(data, plan({}), 1).labeled), [1, 2, 3, 4, 5, 6, 7, 8], "'all' leaves test cases out");
});

t.test('folds: each labelled case is for validation once, whatever the seed and the order', async (t) => {
  const folder = await writeTree(t.testdir(), { 'splits.json': { ...splits, many: ids.slice(0, 7) } });
  const fold = (index: number, labeled = 'many', seed = 1, order = ids) => {
    const split = resolveSplit(dataset(folder, order), plan({ labeled, fold: [index, 3] }), seed);
    const sorted = (cases: readonly CaseFiles[]) => names(cases).sort((a, b) => a - b);
    return { labeled: sorted(split.labeled), validation: sorted(split.validation), unlabeled: sorted(split.unlabeled) };
  };
  const folds = [0, 1, 2].map((index) => fold(index));
  t.same(folds.flatMap(({ validation }) => validation).sort(), [1, 2, 3, 4, 5, 6, 7]);
  for (const [index, { labeled, validation, unlabeled }] of folds.entries()) {
    t.same([...labeled, ...validation].sort(), [1, 2, 3, 4, 5, 6, 7]);
    t.same(unlabeled, [8, 11, 12], 'no case of another fold is taken for an unlabelled one');
    t.same(fold(index, 'many', 7, ids.slice().reverse()), folds[index]);
  }
  t.same(folds.map(({ validation }) => validation.length).sort(), [2, 2, 3]);
  t.same([0, 1, 2].flatMap((index) => fold(index, 'all').validation).sort(), [1, 2, 3, 4, 5, 6, 7, 8]);
  const error = await failure(() => fold(0, 'few'), 'SPLIT_INVALID');
  t.match(error.message, /at least 3 labelled cases for 3 folds, found 2/);
});

t.test('drawn validation cases', async (t) => {
  const folder = await writeTree(t.testdir(), { 'splits.json': splits });
  const draw = (seed: number, order = ids) =>
    names(resolveSplit(dataset(folder, order), plan({ labeled: 'few', validation: 3 }), seed).validation).sort(
      (a, b) => a - b,
    );
  t.same(draw(1), draw(1), 'the seed decides');
  t.same(draw(1), draw(1, ids.slice().reverse()), 'not the order of the cases');
  const drawn = Array.from({ length: 40 }, (_, seed) => draw(seed));
  t.ok(new Set(drawn.map(String)).size > 10, 'other seeds, other cases');
  t.same(
    [...new Set(drawn.flat())].sort(),
    [3, 4, 5, 6, 7, 8],
    'all candidates, none labelled, none for testing, each with a label',
  );
  const error = await failure(
    () => resolveSplit(dataset(folder), plan({ labeled: 'few', validation: 7 }), 1),
    'SPLIT_INVALID',
  );
  t.match(error.message, /expected 7 cases with label files.*found 6/);
});

t.test('splits that are wrong', async (t) => {
  const folder = await writeTree(t.testdir(), { 'splits.json': splits, 'list.json': '[]', 'bad.json': '{' });
  const wrong = async (
    split: Partial<Split>,
    message: RegExp,
    code: Parameters<typeof failure>[1] = 'SPLIT_INVALID',
  ) => {
    const error = await failure(() => resolveSplit(dataset(folder), plan(split), 1), code);
    t.match(error.message, message);
  };
  await wrong({ labeled: 'fewer' }, /lists named few, check.*Did you mean "few"/);
  await wrong({ labeled: 'note' }, /expected a list named "note"/);
  await wrong(
    { labeled: 'typo' },
    /splits\.json, typo.*2 unknown: case_1 \(did you mean case_01\?\), kase_02 \(did you mean case_02\?\)/,
  );
  await wrong({ labeled: 'twice' }, /case_01 twice/);
  await wrong({ labeled: 'numbers' }, /found 1/);
  await wrong({ labeled: 'bare' }, /labeled.*1 without: case_11/);
  await wrong({ labeled: 'few', validation: 'bare' }, /validation.*1 without/);
  await wrong({ labeled: 'few', validation: ['case_02'] }, /labeled and validation.*case_02 in both/);
  await wrong({ labeled: 'few', unlabeled: ['case_01'] }, /labeled and unlabeled/);
  await wrong({ labeled: ['nobody'] }, /1 unknown: nobody/);
  await wrong({ file: 'list.json' }, /expected a JSON object/);
  await wrong({ file: 'bad.json' }, /valid JSON/);
  await wrong({ file: 'absent.json' }, /absent\.json/, 'FILE_NOT_FOUND');
});
