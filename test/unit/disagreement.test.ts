// Disagreement of a model's tasks with its synthetic task, against counts by hand.
import t from 'tap';
import { disagreement } from '../../src/inference/disagreement.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import type { Affine, Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';

const sizeVoxels: Triple = [5, 3, 130];
const affine: Affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
const mask = (inside: (i: number) => boolean) => {
  const data = Uint8Array.from({ length: 5 * 3 * 130 }, (_, i) => Number(inside(i)));
  return new MaskVolume({ sizeVoxels, spacingMm: [1, 1, 1], affine }, host().packMask(data, sizeVoxels));
};
const none = mask(() => false);

t.test('1 - Dice of the union of the tasks and the synthetic mask', async (t) => {
  const [first, second] = [mask((i) => i < 100), mask((i) => i >= 1900)];
  t.equal(
    disagreement(
      [first, second],
      mask((i) => i < 100 || i >= 1900),
    ),
    0,
  );
  t.equal(disagreement([first, second], none), 1);
  t.equal(disagreement([none], first), 1);
  t.equal(disagreement([none, none], none), 0, 'nothing found twice is agreement');
  // 150 voxels of tasks, 100 of the synthetic mask, 50 of both.
  t.equal(
    disagreement(
      [first, second],
      mask((i) => i >= 50 && i < 150),
    ),
    1 - 100 / 250,
  );
  t.equal(
    disagreement(
      [first, first],
      mask((i) => i < 50),
    ),
    1 - 100 / 150,
    'a voxel of two tasks counts once',
  );
});
