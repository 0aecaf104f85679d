// The largest connected component of the host by flood fill on random masks, and masks that are empty or full.
import t from 'tap';
import type { Triple } from '../../src/volume/volume.js';
import { createHost } from '../../src/wasm/host.js';
import { forEachVoxel, makeMask } from './metrics-support.js';

const host = createHost();
const size: Triple = [17, 13, 11];

t.test('the largest component', async (t) => {
  for (const [noise, connectivity, reach] of [
    [300, 6, 1],
    [200, 18, 2],
    [120, 26, 3],
  ] as const) {
    const mask = makeMask(size, { salt: noise, noise, ellipsoids: [] });
    const labels = new Int32Array(mask.length);
    let count = 0;
    forEachVoxel(size, (x, y, z, i) => {
      if (mask[i] === 0 || labels[i] !== 0) return;
      const open: Triple[] = [[x, y, z]];
      labels[i] = ++count;
      for (let at = open.pop(); at !== undefined; at = open.pop())
        forEachVoxel([3, 3, 3], (dx, dy, dz) => {
          const step = [dx - 1, dy - 1, dz - 1];
          if (step.reduce((sum, d) => sum + Math.abs(d), 0) > reach) return;
          const next = at!.map((c, axis) => c + step[axis]!) as unknown as Triple;
          if (next.some((c, axis) => c < 0 || c >= size[axis]!)) return;
          const j = next[0] + size[0] * (next[1] + size[1] * next[2]);
          if (mask[j] === 0 || labels[j] !== 0) return;
          labels[j] = count;
          open.push(next);
        });
    });
    const sizes = new Uint32Array(count);
    for (const label of labels) if (label > 0) sizes[label - 1]!++;
    const largest = sizes.indexOf(sizes.reduce((a, b) => Math.max(a, b))) + 1;
    t.same(
      host.largestComponent(mask, size, connectivity),
      Uint8Array.from(labels, (l) => (l === largest ? 1 : 0)),
      `connectivity ${connectivity}, ${count} components`,
    );
  }
  const empty = new Uint8Array(24);
  t.same(host.largestComponent(empty, [2, 3, 4]), empty);
  const full = new Uint8Array(24).fill(9);
  t.same(host.largestComponent(full, [2, 3, 4]), new Uint8Array(24).fill(1));
});
