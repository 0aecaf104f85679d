// Label pairs against the partial volumes that numpy and scipy find.
import { readFile } from 'node:fs/promises';
import t from 'tap';
import { packageRoot } from '../../src/root.js';
import type { Triple } from '../../src/volume/volume.js';
import { createHost } from '../../src/wasm/host.js';
import { forEachVoxel, sha256 } from './metrics-support.js';

interface Golden {
  readonly partialVolumes: readonly {
    readonly name: string;
    readonly sizeVoxels: Triple;
    readonly outSizeVoxels: Triple;
    readonly scale: Triple;
    readonly offset: Triple;
    readonly sha256: string;
    readonly shares: readonly number[];
  }[];
}

const golden = JSON.parse(await readFile(`${packageRoot}test/golden/targets.json`, 'utf8')) as Golden;
const labels = [0, 1, 2, 3];
const host = createHost();

function labelMap(size: Triple): Uint8Array {
  const map = new Uint8Array(size[0] * size[1] * size[2]);
  forEachVoxel(size, (x, y, z, i) => {
    map[i] = Math.floor(((x * 37 + y * 101 + z * 59 + x * y * 3 + y * z * 7) % 211) / 60);
  });
  return map;
}

/** Shares of labels that differ by less have no order. */
const rounding = 1e-5;

/** For each set of labels its largest error; the two largest shares, made a whole, stand for all. */
function worst(pairs: Float32Array, shares: readonly number[], left: readonly number[] = []): number {
  const voxels = pairs.length;
  let error = 0;
  for (const set of [[1], [2], [3], [0, 1], [2, 3], [1, 2, 3]]) {
    const lookup = Uint8Array.from({ length: 256 }, (_, label) => (set.includes(label) ? 1 : 0));
    const found = host.pairTarget(pairs, lookup);
    for (let i = 0; i < voxels; i++) {
      const all = labels.map((label) => (left.includes(label) ? 0 : shares[label * voxels + i]!));
      const order = labels.toSorted((a, b) => all[b]! - all[a]!);
      const [first, second, third] = order as [number, number, number];
      if (all[second]! > 0 && all[second]! - all[third]! < rounding) continue;
      const both = all[first]! + all[second]!;
      const inSet = [first, second].filter((label) => set.includes(label));
      const expected = both === 0 ? Number(set.includes(0)) : inSet.reduce((sum, label) => sum + all[label]! / both, 0);
      error = Math.max(error, Math.abs(found[i]! - expected));
    }
  }
  return error;
}

t.test('partial volumes are those of numpy and scipy', async (t) => {
  for (const { name, sizeVoxels, outSizeVoxels, scale, offset, shares, sha256: digest } of golden.partialVolumes) {
    const map = labelMap(sizeVoxels);
    t.equal(sha256(map), digest, 'the same label map');
    const pairs = host.resamplePairs(map, sizeVoxels, outSizeVoxels, { scale, offset });
    const error = worst(pairs, shares);
    t.ok(error <= 0.5 / 510 + rounding, `${name}: largest error ${error} of a share that is stored in 1/510`);
    const known = host.resamplePairs(map, sizeVoxels, outSizeVoxels, { scale, offset }, 2);
    const errorKnown = worst(known, shares, [2]);
    t.ok(errorKnown <= 0.5 / 510 + 3 * rounding, `${name}, one label left out: ${errorKnown}`);
    t.ok(![...host.pairLabels(known, 'first'), ...host.pairLabels(known, 'second')].includes(2));
  }
  t.equal(host.memory().blocks, 0, 'no linear memory is kept');
});

t.test('fractions that are whole are labels', async (t) => {
  const size: Triple = [5, 4, 3];
  const map = labelMap(size);
  const same = host.resamplePairs(map, size, size, { scale: [1, 1, 1], offset: [0, 0, 0] });
  t.same([...same], [...map], 'the same grid');
  const halves = host.resamplePairs(Uint8Array.of(7, 3), [2, 1, 1], [1, 1, 1], {
    scale: [2, 1, 1],
    offset: [0.5, 0, 0],
  });
  t.same([...halves], [3 + 256 * 7 + 65536 * 255], 'of two halves the smaller label comes first');
  const third = Uint8Array.from({ length: 256 }, (_, label) => (label === 7 ? 1 : 0));
  t.same([...host.pairTarget(halves, third)], [0.5], 'a half is exact');
  t.same([...host.pairLabels(halves, 'second')], [7]);
});
