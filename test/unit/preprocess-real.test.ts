import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase, loadLabel } from '../../src/datasets/load-case.js';
import { environment } from '../../src/environment.js';
import { preprocessCase } from '../../src/preprocessing/preprocess-case.js';
import type { PreprocessedCase } from '../../src/preprocessing/preprocessed-case.js';
import { restorer } from '../../src/preprocessing/restore.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { emptyMask } from '../../src/wasm/host.js';

const data = environment('VERSEMI_DATA') ?? '../shared/data';

/** The foreground of a preprocessed label in the geometry in which the source was stored. */
function restored({ label, grid }: PreprocessedCase): MaskVolume {
  const mask = emptyMask(grid.canonical.sizeVoxels);
  const back = restorer([grid], [mask], 0.5);
  const [sizeX, sizeY, sizeZ] = grid.sizeVoxels;
  const foreground = Uint8Array.from(label!, (value) => (value > 0 ? 1 : 0));
  for (let z = 0; z < sizeZ; z++) back.push(z, foreground.subarray(z * sizeX * sizeY, (z + 1) * sizeX * sizeY));
  back.dispose();
  return new MaskVolume({ ...grid.canonical, ...(grid.stored === undefined ? {} : { stored: grid.stored }) }, mask);
}

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
    const base = { window: null, normalization: 'zscore', crop: 'body', targets: 'labels' } as const;
    const { spacingMm } = loaded.image;
    const foreground = stored.data.map((value) => (value > 0 ? 1 : 0));
    const same = preprocessCase(loaded, { ...base, spacingMm: [...spacingMm] }, name);
    const back = restored(same);
    t.same(back.sizeVoxels, stored.sizeVoxels, name);
    t.same(back.affine, stored.affine);
    t.equal(Buffer.compare(back.data, foreground), 0, `${name}: exact at equal spacing`);

    const [x, y, z] = spacingMm;
    const other = restored(preprocessCase(loaded, { ...base, spacingMm: [1.5 * x, 1.3 * y, z] }, name)).data;
    let [both, sum] = [0, 0];
    for (let i = 0; i < other.length; i++) {
      both += other[i]! & foreground[i]!;
      sum += other[i]! + foreground[i]!;
    }
    t.ok((2 * both) / sum > 0.93, `${name}: Dice ${(2 * both) / sum} after a coarser grid`);
  }
});
