// Phantoms: the same files for the same seed, organs in every case, datasets that open and load like real ones.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase } from '../../src/datasets/load-case.js';
import { makePhantomDataset, type PhantomKindName, phantomCase, phantomKinds } from '../../src/datasets/phantom.js';
import { resolveSplit } from '../../src/datasets/splits.js';
import { orientationCode } from '../../src/volume/affine.js';
import { createHost } from '../../src/wasm/host.js';
import { failure } from './datasets-support.js';

const kinds = Object.keys(phantomKinds) as PhantomKindName[];
const host = createHost();

for (const kind of kinds) {
  t.test(kind, async (t) => {
    const { labels, modality } = phantomKinds[kind];
    const sizes = new Set<string>();
    const volumes: Record<string, number[]> = {};
    for (let i = 0; i < 6; i++) {
      const { image, label } = phantomCase(kind, 3, i);
      sizes.add(image.sizeVoxels.join());
      t.ok(
        image.sizeVoxels.every((size) => size >= 20 && size <= 66),
        'small enough for two cores',
      );
      t.ok(new Set(image.spacingMm).size > 1, 'anisotropic');
      t.equal(orientationCode(image.affine), modality === 'CT' ? 'LPS' : 'RAS');
      const counts = host.labelCounts(label.data);
      for (const value of Object.keys(labels).map(Number)) {
        t.ok(counts[value]! > 60, `case ${i}: ${counts[value]} voxels of label ${value}`);
        volumes[value] = [...(volumes[value] ?? []), counts[value]!];
      }
      t.equal(
        counts.reduce((sum, count, value) => sum + (value in labels ? count : 0), 0),
        label.data.length,
        'no other labels',
      );
      const { min, max, mean } = host.statistics(host.toFloat32(image.data));
      if (modality === 'CT') t.ok(min >= -1024 && max > 200 && max <= 3071 && mean < 0, `CT numbers ${min} ... ${max}`);
      else t.ok(min >= 0 && max > 200, `magnitudes ${min} ... ${max}`);
      // Intensity alone must not tell the organ: as much tissue outside has values of the inside.
      const inside = host.statistics(host.toFloat32(image.data).filter((_, k) => label.data[k] !== 0));
      const [low, high] = [inside.mean - inside.standardDeviation, inside.mean + inside.standardDeviation];
      const alike = host.threshold(host.toFloat32(image.data), low, high);
      const outside = alike.reduce((sum, bit, k) => sum + (bit === 1 && label.data[k] === 0 ? 1 : 0), 0);
      t.ok(outside > 0.4 * inside.count, `case ${i}: ${outside} voxels outside look like the ${inside.count} inside`);
    }
    t.ok(sizes.size > 3, 'sizes differ');
    for (const counts of Object.values(volumes)) t.ok(Math.max(...counts) > 1.2 * Math.min(...counts), 'organs differ');
  });
}

t.test('a case is a pure function of kind, seed and index', async (t) => {
  const bytes = (seed: number, index: number) => {
    const { image, label } = phantomCase('mr-atrium', seed, index);
    return Buffer.concat([new Uint8Array(image.data.buffer), label.data, Buffer.from(image.affine.join())]);
  };
  t.ok(bytes(9, 4).equals(bytes(9, 4)));
  t.notOk(bytes(9, 4).equals(bytes(10, 4)), 'another seed');
  t.notOk(bytes(9, 4).equals(bytes(9, 5)), 'another case');
});

t.test('a dataset on disk', async (t) => {
  const scratch = t.testdir();
  const [folder, again] = [join(scratch, 'first'), join(scratch, 'again')];
  const options = { cases: 6, labeledCases: 2, validationCases: 1, testCases: 2, seed: 5 };
  await makePhantomDataset(folder, 'ct-lesion', options);
  const dataset = await openDataset(folder);
  t.match(dataset, { name: 'ct-lesion', format: 'decathlon', labels: { 1: 'tumour' }, modalities: ['CT'] });
  t.same([dataset.cases.length, dataset.test.length], [6, 2]);
  const split = { file: null, labeled: 'labeled', validation: 'validation', unlabeled: 'rest' };
  const { labeled, validation, unlabeled } = resolveSplit(dataset, { split }, 1);
  t.same([labeled.length, validation.length, unlabeled.length], [2, 1, 3]);
  for (const { id } of unlabeled)
    t.notOk(existsSync(join(folder, 'labelsTr', `${id}.nii.gz`)), `${id} has no label file`);
  for (const files of [...labeled, ...validation, ...dataset.test]) {
    const { image, label } = await loadCase(dataset, files);
    t.ok(label?.data.includes(1));
    t.equal(orientationCode(image.affine), 'RAS');
  }
  await makePhantomDataset(again, 'ct-lesion', options);
  for (const name of ['dataset.json', 'splits.json', 'imagesTr/ct-lesion_004.nii.gz', 'labelsTs/ct-lesion_008.nii.gz'])
    t.ok((await readFile(join(again, name))).equals(await readFile(join(folder, name))), `${name}: the same bytes`);
});

t.test('counts that do not fit', async (t) => {
  const folder = t.testdir();
  for (const options of [
    { cases: 0, labeledCases: 0 },
    { cases: 3, labeledCases: 2 },
    { cases: 3.5, labeledCases: 1 },
  ])
    await failure(() => makePhantomDataset(folder, 'ct-organ', { ...options, seed: 1 }), 'USAGE');
  await failure(
    () => makePhantomDataset(folder, 'ct-brain' as PhantomKindName, { cases: 1, labeledCases: 1, seed: 1 }),
    'USAGE',
  );
});
