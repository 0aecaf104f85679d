// Masks of tasks painted into label maps: values, order, what overlaps.
import { join } from 'node:path';
import t from 'tap';
import { type Plan, type PlanTask, parsePlan } from '../../src/config/plan.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { labelMaps, paintedTasks } from '../../src/inference/label-map.js';
import { fingerprintDatasets } from '../../src/preprocessing/fingerprint.js';
import { makePlan } from '../../src/preprocessing/planning.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { scalingAffine } from '../../src/volume/affine.js';
import { host } from '../../src/wasm/host.js';
import { failure, niftiBytes, writeTree } from './datasets-support.js';

const task = (name: string, labels: number[], writtenAs?: number, dataset = 'set'): PlanTask => ({
  ...{ name, dataset, labels },
  ...(writtenAs === undefined ? {} : { writtenAs }),
});
const tasksOf = (...tasks: PlanTask[]): Pick<Plan, 'tasks'> => ({ tasks });

/** A mask of 8 voxels in a row, 1 where the text has an x. */
function prediction(name: string, voxels: string) {
  const data = Uint8Array.from(voxels, (letter) => (letter === 'x' ? 1 : 0));
  const geometry = { sizeVoxels: [8, 1, 1], spacingMm: [1, 2, 3], affine: scalingAffine([1, 2, 3]) } as const;
  const mask = new MaskVolume(geometry, host().packMask(data, geometry.sizeVoxels));
  return { task: name, mask, foregroundVoxels: mask.count(), volumeMl: 0 };
}

const painted = (map: ReturnType<typeof labelMaps>[number] | undefined) =>
  [...map!.slabs()].flatMap((slab) => [...slab]).join('');

t.test('values and order', async (t) => {
  const of = (...tasks: PlanTask[]) =>
    paintedTasks(tasksOf(...tasks), 'set').map(({ task: name, value }) => `${name}=${value}`);
  t.same(of(task('b', [2]), task('a', [1])), ['b=2', 'a=1'], 'the order of the plan');
  t.same(of(task('core', [2, 3]), task('enhancing', [3]), task('whole', [1, 2, 3])), [
    'whole=1',
    'core=2',
    'enhancing=3',
  ]);
  t.same(of(task('merged', [4, 2])), ['merged=2']);
  t.same(of(task('whole', [1, 2]), task('a', [1]), task('b', [2])), ['whole=1', 'a=1', 'b=2']);
  t.same(of(task('core', [2, 3], 2), task('whole', [1, 2, 3], 5)), ['core=2', 'whole=5'], 'as declared');
});

t.test('parts lie on their whole, the later of two tasks is seen', async (t) => {
  const plan = tasksOf(task('core', [2]), task('whole', [1, 2]), task('other', [3]));
  const [map] = labelMaps(plan, [
    prediction('core', '..xx....'),
    prediction('whole', '.xxxxx..'),
    prediction('other', '....xxx.'),
  ]);
  t.equal(painted(map), '01223330');
  t.equal(map!.contested(), 2, 'a part within its whole is not contested');
  t.match(map, { dataset: 'set', sizeVoxels: [8, 1, 1], spacingMm: [1, 2, 3] });
  const declared = tasksOf(task('core', [2], 2), task('whole', [1, 2], 1));
  const [over] = labelMaps(declared, [prediction('core', '..xx....'), prediction('whole', '.xxx....')]);
  t.equal(painted(over), '01110000', 'regions_class_order is obeyed, also where it hides a region');
});

t.test('one map per dataset; tasks that are not asked for, and the synthetic one, are left out', async (t) => {
  const plan = tasksOf(task('a', [1]), task('x', [1], undefined, 'second'), task('b', [2]));
  const maps = labelMaps(plan, [
    prediction('x', 'x.......'),
    prediction('b', '..x.....'),
    prediction('any-foreground', 'xxxxxxxx'),
  ]);
  t.same(
    maps.map((map) => [map.dataset, painted(map), map.painted]),
    [
      ['set', '00200000', [{ task: 'b', value: 2 }]],
      ['second', '10000000', [{ task: 'x', value: 1 }]],
    ],
  );
  const file = join(t.testdir(), 'map.nii.gz');
  await writeNifti(file, maps[0]!);
  const read = await readVolume(file);
  t.same([read.data.constructor, [...read.data].join('')], [Uint8Array, '00200000']);
  t.same(labelMaps(plan, [prediction('any-foreground', 'xxxxxxxx')]), []);
  const alike = tasksOf(task('whole', [1, 2]), task('a', [1]), task('b', [2]));
  const both = [prediction('whole', 'x.......'), prediction('a', 'x.......')];
  t.match((await failure(() => labelMaps(alike, both), 'PLAN_CONTRADICTION')).message, /1 for whole and a.*--task/);
});

t.test('regions_class_order reaches the plan', async (t) => {
  const voxels = Uint8Array.from({ length: 4096 }, (_, i) => i / 1024);
  const dim = [3, 16, 16, 16, 1, 1, 1, 1];
  const image = niftiBytes({ dim, voxels: Uint8Array.from({ length: 4096 }, (_, i) => (i * 37) % 251) });
  const folder = await writeTree(join(t.testdir(), 'set'), {
    'dataset.json': {
      ...{ channel_names: { 0: 'MR' }, file_ending: '.nii', regions_class_order: [5, 2, 7] },
      labels: { background: 0, whole: [1, 2, 3], core: [2, 3], enhancing: 3 },
    },
    'imagesTr/a_0000.nii': image,
    'labelsTr/a.nii': niftiBytes({ dim, voxels }),
  });
  const { plan } = makePlan(await fingerprintDatasets([{ path: folder, name: 'set' }]));
  const again = parsePlan(JSON.parse(JSON.stringify(plan)));
  t.same(
    paintedTasks(again, 'set').map(({ value }) => value),
    [5, 2, 7],
  );
  const wrong = { ...plan, tasks: plan.tasks.map((one) => ({ ...one, writtenAs: 256 })) };
  await failure(() => parsePlan(wrong), 'PLAN_INVALID');
});
