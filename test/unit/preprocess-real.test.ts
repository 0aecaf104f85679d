import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase, loadLabel } from '../../src/datasets/load-case.js';
import { preprocessCase } from '../../src/preprocessing/preprocess-case.js';
import { restoreLabels } from '../../src/preprocessing/restore.js';

const data = process.env.VERSEMI_DATA ?? '../shared/data';

t.test('labels of real scans go to the preprocessed grid and back', async (t) => {
  for (const name of ['hippocampus', 'cardiac-cine', 'left-atrium', 'soft-tissue-sarcoma-ct']) {
    const folder = join(data, name);
    if (!existsSync(folder)) {
      t.pass(name, { skip: `${folder} is not there; set VERSEMI_DATA` });
      continue;
    }
    const dataset = await openDataset(folder);
    const files = dataset.cases[0]!;
    const loaded = await loadCase(dataset, files);
    const stored = await loadLabel(dataset, files.label!);
    const base = { window: null, normalization: 'zscore', crop: 'body' } as const;
    const { spacingMm } = loaded.image;
    const same = preprocessCase(loaded, { ...base, spacingMm: [...spacingMm] }, name);
    const back = restoreLabels(same.label!, same.grid);
    t.same(back.sizeVoxels, stored.sizeVoxels, name);
    t.same(back.affine, stored.affine);
    t.equal(Buffer.compare(back.data, stored.data), 0, `${name}: exact at equal spacing`);

    const [x, y, z] = spacingMm;
    const other = preprocessCase(loaded, { ...base, spacingMm: [1.5 * x, 1.3 * y, z] }, name);
    const restored = restoreLabels(other.label!, other.grid).data;
    let [both, sum] = [0, 0];
    for (let i = 0; i < restored.length; i++) {
      const [a, b] = [restored[i] !== 0 ? 1 : 0, stored.data[i] !== 0 ? 1 : 0];
      both += a & b;
      sum += a + b;
    }
    t.ok((2 * both) / sum > 0.93, `${name}: Dice ${(2 * both) / sum} after a coarser grid`);
  }
});
