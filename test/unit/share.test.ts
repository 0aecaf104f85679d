// The part of a batch that a rank makes: all ranks together make the batch, voxel by voxel, and nothing counts twice.
import t from 'tap';
import type { FieldName, StepBatch } from '../../src/sampling/fields.js';
import { fields } from '../../src/sampling/fields.js';
import { createSampler } from '../../src/sampling/sampler.js';
import { shareRows } from '../../src/sampling/share.js';
import { voxelCount } from '../../src/volume/volume.js';
import { shapes, tinyPlan } from '../integration/training-support.js';
import './model-support.js';
import { withUnknown } from './sampling-support.js';

const groups = ['labeled', 'mixed', 'unlabeled'] as const;

t.test('every row counts on one rank, and every rank has one of each group', async (t) => {
  for (const unlabeledMix of ['labeled-inside', 'unlabeled-pairs'] as const)
    for (const labeledBatchSize of [1, 2, 4, 5, 8, 12])
      for (const unlabeledBatchSize of [2, 4, 6])
        for (let ranks = 1; ranks <= labeledBatchSize; ranks++) {
          const plan = { training: { labeledBatchSize, unlabeledBatchSize }, cutmix: { unlabeledMix } };
          const each = Array.from({ length: ranks }, (_, rank) => shareRows({ ...plan, share: { rank, ranks } }));
          const sizes = {
            labeled: labeledBatchSize,
            mixed: Math.floor(labeledBatchSize / 2),
            unlabeled: unlabeledBatchSize,
          };
          for (const group of groups) {
            const counted = each.flatMap(({ rows, counts }) => (counts[group] ? rows[group] : []));
            const all = Array.from({ length: sizes[group] }, (_, row) => row);
            const what = `${group} of ${labeledBatchSize} + ${unlabeledBatchSize}, ${ranks} ranks, ${unlabeledMix}`;
            t.same(
              counted.sort((a, b) => a - b),
              all,
              what,
            );
            const lengths = each.map(({ rows }) => rows[group].length);
            const unit = group === 'unlabeled' && unlabeledMix === 'unlabeled-pairs' ? 2 : 1;
            t.ok(Math.max(...lengths) - Math.min(...lengths) <= unit, `${what}: equal parts`);
            if (sizes[group] > 0) t.ok(Math.min(...lengths) > 0, `${what}: something to compute`);
          }
        }
});

t.test('pairs of labelled patches that are mixed lie on one rank where there are enough of them', async (t) => {
  const training = { labeledBatchSize: 8, unlabeledBatchSize: 8 };
  for (let rank = 0; rank < 2; rank++) {
    const { rows } = shareRows({
      training,
      cutmix: { unlabeledMix: 'labeled-inside' },
      share: { rank, ranks: 2 },
    });
    t.same(rows.labeled, [...rows.mixed, ...rows.mixed.map((row) => row + 4)]);
  }
});

/** Patches of a field, by their bytes. */
function patchesOf({ fields: made }: StepBatch, name: FieldName, voxels: number): string[] {
  const values = made[name]!;
  return Array.from({ length: values.length / voxels }, (_, i) =>
    Buffer.from(values.slice(i * voxels, (i + 1) * voxels).buffer).toString('base64'),
  );
}

t.test('the voxels of a rank are those of the batch', async (t) => {
  const data = shapes(6);
  const unknown = { ...data, labeled: data.labeled.map(withUnknown) };
  const training = { stage1Steps: 1, stage2Steps: 2, labeledBatchSize: 4, unlabeledBatchSize: 6 };
  const losses = { teacher: 1, agreement: 1, cubeTasks: 1, teacherNoise: 0.1, noisyPasses: 2, entropy: [0.9, 1] };
  const plans = [
    tinyPlan({ ...training, promptsPerImage: 'all' }, { losses, cutmix: { unlabeledMix: 'both-sides' } }),
    tinyPlan(training, { losses: { ...losses, cubeTasks: 0 }, cutmix: { unlabeledMix: 'unlabeled-pairs' } }),
    tinyPlan({ ...training, mode: 'supervised', labeledBatchSize: 5 }),
  ];
  for (const plan of plans)
    for (const cases of [data, unknown])
      for (const step of [0, 2]) {
        const whole = createSampler(plan, cases).batch(step);
        const voxels = voxelCount(plan.patchSizeVoxels);
        for (const ranks of [2, 4])
          for (let rank = 0; rank < ranks; rank++) {
            const own = { ...plan, share: { rank, ranks } };
            const part = createSampler(own, cases).batch(step);
            const { rows } = shareRows(own);
            for (const name of Object.keys(part.fields) as FieldName[]) {
              // A field of ranks alone: the targets of the labelled patch that each unlabelled one is mixed with.
              const partners = name === 'unlabeled.partnerTarget';
              const all = patchesOf(whole, partners ? 'labeled.target' : name, voxels);
              const { group, source } = fields[name];
              const size = { labeled: plan.training.labeledBatchSize, mixed: 2, unlabeled: 6 };
              const of = partners ? size.labeled : size[group];
              const perRow = all.length / of;
              // Noise: one batch after the other; everything else: one row after the other.
              const expected =
                'noise' in source
                  ? Array.from({ length: perRow }, (_, pass) => rows[group].map((row) => all[pass * of + row])).flat()
                  : rows[group].flatMap((row) => {
                      const from = partners ? row % of : row;
                      return all.slice(from * perRow, (from + 1) * perRow);
                    });
              t.same(patchesOf(part, name, voxels), expected, `${name}, step ${step}, rank ${rank} of ${ranks}`);
            }
            const names = Object.keys(part.fields).filter((name) => name !== 'unlabeled.partnerTarget');
            t.same(names.sort(), Object.keys(whole.fields).sort());
          }
      }
});
