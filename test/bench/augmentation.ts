// What augmentation costs: milliseconds of processor time of one batch, made in this thread, for augmentations of more and more kinds.
//   node dist/test/bench/augmentation.js [--patch 96] [--batches 7]
// Volumes and batch are those of `versemi bench --only batch-8-8`.
import { parseArgs } from 'node:util';
import { batchPlan, noiseCases, volumeSize } from '../../src/bench/batch.js';
import { formatTable } from '../../src/cli/terminal.js';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { medianOf } from '../../src/preprocessing/fingerprint.js';
import { createSampler } from '../../src/sampling/sampler.js';

const { values: options } = parseArgs({
  options: { patch: { type: 'string', default: '96' }, batches: { type: 'string', default: '7' } },
});
const [patch, batches] = [Number(options.patch), Number(options.batches)];

const flips = { flip: [true, true, true] };
const shades = { ...flips, intensityScale: 0.2, intensityShift: 0.1, gamma: [0.7, 1.5] };
const noise = { ...shades, noise: 0.05 };
const kinds: readonly (readonly [name: string, augmentation: object])[] = [
  ['random crop and CutMix (the paper)', {}],
  ['+ flips', flips],
  ['+ intensity scale, shift and gamma', shades],
  ['+ noise (a normal number per voxel)', noise],
  ['+ rotation and magnification', { ...noise, rotationDegrees: [10, 10, 15], magnification: [0.8, 1.25] }],
];

const size = volumeSize(patch);
const data = { labeled: noiseCases(size, true), unlabeled: noiseCases(size, false) };

/** Median over batches of processor time, ms; one batch before them, which does not count. */
function millisecondsOf(plan: Plan): number {
  const sampler = createSampler(plan, data);
  const times = Array.from({ length: batches + 1 }, (_, step) => {
    const before = process.cpuUsage();
    sampler.batch(step);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  return medianOf(times.slice(1));
}

const rows = kinds.map(([name, augmentation]) => {
  const second = parsePlan({ ...batchPlan(patch), augmentation });
  const first = { ...second, training: { ...second.training, stage1Steps: 1_000_000 } };
  return [name, ...[first, second].map((plan) => String(Math.round(millisecondsOf(plan))))];
});
console.log(formatTable([`batch of 8 + 8 patches of ${patch}^3`, 'stage 1, ms', 'stage 2, ms'], rows));
