// The Dice that a perfect network could reach with either kind of target, by dataset, spacing and label: what the grid of the plan
// costs whatever is learnt. `node dist/test/bench/target-caps.js [cases per dataset, default 8]`, on the scans in `VERSEMI_DATA`.
import { join } from 'node:path';
import { readPlan } from '../../src/config/read-plan.js';
import { openDataset } from '../../src/datasets/dataset.js';
import { loadCase } from '../../src/datasets/load-case.js';
import { environment } from '../../src/environment.js';
import { preprocessCase } from '../../src/preprocessing/preprocess-case.js';
import { packageRoot } from '../../src/root.js';
import type { Triple } from '../../src/volume/volume.js';
import { targetCap } from './target-cap.js';

const data = environment('VERSEMI_DATA') ?? '../shared/data';
const most = Number(process.argv[2] ?? 8);
const plan = await readPlan(`${packageRoot}test/examples/real-data.plan.json`);
/** Besides the spacings of the plan. */
const others: readonly (readonly [dataset: string, spacingMm: Triple])[] = [
  ['left-atrium', [1.25, 1.25, 1.25]],
  ['left-atrium', [1, 1, 1]],
  ['cardiac-cine', [2, 2, 8]],
];

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

console.log(`Dice of a perfect network, mean over ${most} cases at most\n`);
console.log('| dataset | label | spacing (mm) | labels | fractions |\n|---|---|---|---|---|');
for (const [name, spacingMm] of [
  ...plan.datasets.map(({ name, preprocessing }) => [name, preprocessing.spacingMm] as const),
  ...others,
]) {
  const dataset = await openDataset(join(data, name));
  const found = new Map<number, { labels: number[]; fractions: number[] }>();
  for (const files of dataset.cases.filter(({ label }) => label !== undefined).slice(0, most)) {
    const loaded = await loadCase(dataset, files);
    for (const targets of ['labels', 'fractions'] as const) {
      const grid = { spacingMm: [...spacingMm] as [number, number, number], window: null, crop: 'none' } as const;
      const one = preprocessCase(loaded, { ...grid, normalization: 'none', targets }, name);
      for (const value of Object.keys(dataset.labels).map(Number)) {
        const cap = value === 0 ? null : targetCap(one, [value], loaded.label!.data);
        if (cap === null) continue;
        const both = found.get(value) ?? { labels: [], fractions: [] };
        both[targets].push(cap);
        found.set(value, both);
      }
    }
  }
  for (const [value, { labels, fractions }] of found) {
    const [low, high] = [mean(labels).toFixed(4), mean(fractions).toFixed(4)];
    console.log(`| ${name} | ${dataset.labels[value]} | ${spacingMm.join(' x ')} | ${low} | ${high} |`);
  }
}
