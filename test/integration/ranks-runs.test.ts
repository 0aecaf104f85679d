// A training over MPI from its beginning to its end: bit for bit repeatable, interrupted, resumed, with a rank that dies, refused.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parseSafetensors } from '../../src/checkpoints/safetensors.js';
import { openRanks } from '../../src/ranks/launch.js';
import { runVersemi } from './cli-support.js';
import { failRanks, job, launch, lossDifference, lossTolerance, noRanks, runRanks } from './ranks-support.js';

const skip = noRanks;

/** Bytes of every tensor of a file. */
function tensorsOf(file: string): Record<string, string> {
  const { tensors } = parseSafetensors(readFileSync(file));
  return Object.fromEntries([...tensors].map(([name, { bytes }]) => [name, Buffer.from(bytes).toString('base64')]));
}

t.test(
  'two runs with as many ranks are the same bit for bit, and so is one that was interrupted',
  { skip },
  async (t) => {
    const folder = t.testdir();
    const training = {
      stage1Steps: 3,
      stage2Steps: 5,
      labeledBatchSize: 4,
      unlabeledBatchSize: 4,
      checkpointEverySteps: 0,
    };
    const [first, second] = [
      await runRanks(2, job(folder, 'a', { training })),
      await runRanks(2, job(folder, 'b', { training })),
    ];
    t.same(first.losses, second.losses);
    t.same(
      tensorsOf(`${folder}/a/checkpoints/last.safetensors`),
      tensorsOf(`${folder}/b/checkpoints/last.safetensors`),
    );

    // The last rank alone is told to stop: all stop after the same step, with a checkpoint.
    const part = await runRanks(2, job(folder, 'c', { training, stopAfter: 4 }));
    t.equal(part.losses.length, 4);
    const rest = await runRanks(2, job(folder, 'c', { training, resume: true }));
    t.same([...part.losses, ...rest.losses], first.losses, 'as if it had never stopped');
    t.same(tensorsOf(`${folder}/a/model.safetensors`), tensorsOf(`${folder}/c/model.safetensors`));

    await runRanks(4, job(folder, 'd', { training, stopAfter: 4 }));
    const fewer = await runRanks(1, job(folder, 'd', { training, resume: true }));
    t.ok(
      lossDifference({ ...first, losses: first.losses.slice(4) }, fewer).worst < lossTolerance,
      'one process goes on',
    );
    t.match(fewer.logs, [/one process, where it had 4 until now/]);
  },
);

t.test('with the batch of a rank in the plan, a step has as many times more', { skip }, async (t) => {
  const folder = t.testdir();
  const steps = { stage1Steps: 2, stage2Steps: 3 };
  const weak = { ...steps, labeledBatchSize: 2, unlabeledBatchSize: 2, batchSizeScope: 'rank' };
  const whole = await runRanks(
    1,
    job(folder, 'a', { training: { ...steps, labeledBatchSize: 8, unlabeledBatchSize: 8 } }),
  );
  const four = await runRanks(4, job(folder, 'b', { training: weak }));
  t.ok(lossDifference(whole, four).worst < lossTolerance);
  t.match(four.logs, [/8 labelled and 8 unlabelled patches in a step/]);
  t.equal(JSON.parse(readFileSync(`${folder}/b/plan.json`, 'utf8')).training.labeledBatchSize, 2, 'the plan is kept');
});

t.test('a rank that dies ends the run, with its number and the step, and the run goes on', { skip }, async (t) => {
  const folder = t.testdir();
  const training = {
    stage1Steps: 4,
    stage2Steps: 4,
    labeledBatchSize: 4,
    unlabeledBatchSize: 4,
    checkpointEverySteps: 2,
  };
  const whole = await runRanks(2, job(folder, 'a', { training }));
  const killed = await failRanks(2, job(folder, 'b', { training, kill: { rank: 1, after: 5 } }));
  t.not(killed.code, 0);
  t.match(killed.stderr, /rank 0: A rank of the training is lost \(step [56], rank 1 of 2\): .* Look at .*--resume/s);
  const rest = await runRanks(2, job(folder, 'b', { training, resume: true }));
  t.same(rest.losses, whole.losses.slice(4), 'from the checkpoint after step 4');
  t.same(tensorsOf(`${folder}/a/model.safetensors`), tensorsOf(`${folder}/b/model.safetensors`));
});

t.test('ranks that do not fit are refused', { skip }, async (t) => {
  const folder = t.testdir();
  const other = await failRanks(2, job(folder, 'a', { training: { labeledBatchSize: 4 }, differs: 1 }));
  t.not(other.code, 0);
  t.match(other.stderr, /do not have the same \(plan\): expected \w+, as rank 0 has it, found \w+ on rank 1/);
  const many = await failRanks(4, job(folder, 'b', { training: { labeledBatchSize: 2 } }));
  t.not(many.code, 0);
  t.match(many.stderr, /training.labeledBatchSize\): expected at least 4 patches, one for each rank, found 2/);
});

t.test(
  "a part of one's own that is not made for ranks is refused, and so is one that only says it is",
  { skip },
  async (t) => {
    const folder = t.testdir();
    const term = (name: string, more: string) => {
      const file = join(folder, `${name}.mjs`);
      const value = '({ logits }) => logits.square().mean()';
      writeFileSync(
        file,
        `export const parts = { lossTerms: [{ name: '${name}', group: 'labeled', ${more} value: ${value} }] };`,
      );
      const rest = { losses: { own: { [name]: 1 } } };
      return failRanks(2, job(folder, name, { training: { labeledBatchSize: 4 }, parts: [file], rest }));
    };
    const silent = await term('silent', '');
    t.match(
      silent.stderr,
      /losses\.own\.silent\): expected .*acrossRanks.*found silent, which does not say so, with 2 ranks/,
    );
    const wrong = await term('wrong', 'acrossRanks: true,');
    t.match(wrong.stderr, /do not have the same \(loss term own\.wrong\).*sumOverParts/);
  },
);

t.test('without the addon, or with one for another launcher, a run over ranks is refused', async (t) => {
  const folder = t.testdir({ 'plan.json': '{}' });
  const started = async (environment: Record<string, string>) => {
    Object.assign(process.env, environment);
    try {
      return await runVersemi(folder, ['train', 'plan.json', '--out', 'run']);
    } finally {
      for (const name of Object.keys(environment)) delete process.env[name];
    }
  };
  const size = { OMPI_COMM_WORLD_SIZE: '3', OMPI_COMM_WORLD_RANK: '0' };
  const missing = await started({ ...size, VERSEMI_MPI_ADDON: `${folder}/none.node` });
  t.equal(missing.code, 6);
  t.match(
    missing.stderr,
    /VERSEMI_RANKS_UNAVAILABLE.*none.node.*expected the addon for MPI, found none.*build-addon --mpi/,
  );
  if (skip) return;
  const other = await started(size);
  t.equal(other.code, 6);
  t.match(other.stderr, /expected 3 ranks, as the launcher has started, found 1, as .*MPI/);
  t.equal(openRanks().size, 1, 'without a launcher there is one process');
});

t.test('the command line: rank 0 speaks for all, and all end well', { skip }, async (t) => {
  const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
  const folder = t.testdir({ 'plan.json': '{"version": 1}' });
  const bad = await launch(2, [main, 'train', `${folder}/plan.json`, '--out', `${folder}/run`]);
  t.equal(bad.code, 4);
  t.equal(bad.stderr.match(/VERSEMI_PLAN_INVALID/g)?.length, 1, 'said once');
});
