// Statistics of methods and seeds on the same cases, against numbers worked out by hand.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { comparisonTables } from '../../src/cli/report.js';
import { parsePlan } from '../../src/config/plan.js';
import { forwardPasses, runPasses, totalSteps, trunkPasses } from '../../src/config/steps.js';
import { pairedDifference } from '../../src/metrics/paired.js';
import { methodNames, methodRow, planForMethod } from '../../src/preprocessing/methods.js';
import { RandomStream, streams } from '../../src/random.js';
import { summarizeComparison, writeComparison } from '../../src/reports/comparison.js';
import { writeComparisonReport } from '../../src/reports/comparison-report.js';
import type { PageData } from '../../src/reports/page-data.js';
import { assertHarmlessPage } from '../fuzz/checks.js';
import { writeScores } from './reports-support.js';

t.test('paired differences: the mean of the tasks, and an interval over cases', async (t) => {
  const one = (stratum: string, values: Record<string, number>) => ({
    stratum,
    byGroup: new Map(Object.entries(values)),
  });
  const cases = [one('a', { x: 0.1, y: 0.3 }), one('a', { x: 0.3, y: 0.1 }), one('b', { z: -0.2 })];
  const found = pairedDifference(cases, 1)!;
  t.ok(Math.abs(found.mean - (0.2 + 0.2 - 0.2) / 3) < 1e-12, 'each task counts as much as another');
  t.equal(found.cases, 3);
  // x and y are of the same cases: what one gains the other loses, and z has one case only. So nothing varies.
  t.ok(
    Math.abs(found.low - found.mean) < 1e-12 && Math.abs(found.high - found.mean) < 1e-12,
    `${found.low}, ${found.high}`,
  );
  t.same(pairedDifference(cases, 1), found, 'the same each time');
  t.equal(pairedDifference([], 1), undefined);

  // Of 100 normal numbers the interval is that of the normal distribution, and it covers the truth about 95 times of 100.
  let covered = 0;
  for (let trial = 0; trial < 20; trial++) {
    const random = new RandomStream(5, streams.test, trial);
    const values = Array.from({ length: 60 }, () => 0.05 + 0.1 * random.normal());
    const { mean, low, high } = pairedDifference(
      values.map((value) => one('a', { x: value })),
      trial,
    )!;
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
    const half = (1.96 * deviation) / Math.sqrt(values.length);
    t.ok(Math.abs(low - (mean - half)) < 0.1 * half && Math.abs(high - (mean + half)) < 0.1 * half, `trial ${trial}`);
    if (low <= 0.05 && high >= 0.05) covered++;
  }
  t.ok(covered >= 16, `${covered} of 20`);
});

t.test('a comparison: means, deviations over seeds, pairs of the same case, runs that are left', async (t) => {
  const folder = t.testdir();
  const put = (name: string, seed: number, rows: readonly (readonly [id: string, task: string, dice: number])[]) =>
    writeScores(
      folder,
      { name, seed },
      rows.map(([id, task, dice]) => ({ id, dataset: 'd', task, dice })),
    );
  put('base', 1, [
    ['1', 'x', 0.5],
    ['2', 'x', 0.7],
    ['1', 'y', 0.4],
  ]);
  put('base', 2, [
    ['1', 'x', 0.7],
    ['2', 'x', 0.9],
    ['1', 'y', 0.6],
  ]);
  put('better', 1, [
    ['1', 'x', 0.8],
    ['2', 'x', 0.9],
    ['1', 'y', 0.5],
  ]);
  const runs = [1, 2].flatMap((seed) => ['base', 'better'].map((name) => ({ name, seed })));
  await writeComparison(folder, runs);
  const { tasks, reference, methods, unfinished } = summarizeComparison(folder);
  t.same([tasks, reference, unfinished], [['x', 'y'], 'base', [{ name: 'better', seed: 2 }]]);
  const [base, better] = methods;
  const near = (a: number, b: number, what: string) => t.ok(Math.abs(a - b) < 1e-12, `${what}: ${a} is ${b}`);
  near(base!.perTask.x!.mean, 0.7, 'mean of x');
  near(base!.perTask.x!.deviation!, Math.sqrt(0.02), 'deviation over seeds');
  near(base!.overall!.mean, 0.6, 'mean of the tasks');
  t.equal(base!.difference, undefined);
  t.equal(better!.perTask.x!.deviation, null, 'one seed has no deviation');
  t.same(better!.difference!.seeds, [1], 'seed 2 of the other has no counterpart yet');
  near(better!.difference!.perTask.x!.mean, (0.3 + 0.2) / 2, 'x');
  near(better!.difference!.perTask.y!.mean, 0.1, 'y');
  near(better!.difference!.overall.mean, 0.175, 'both');
  t.ok(better!.difference!.perTask.x!.low >= 0.2 - 1e-12 && better!.difference!.perTask.x!.high <= 0.3 + 1e-12);
  near(summarizeComparison(folder, 'better').methods[0]!.difference!.overall.mean, -0.175, 'the other way round');
  t.throws(() => summarizeComparison(folder, 'best'), { code: 'VERSEMI_USAGE', message: /one of base, better.*best/s });
  const page = join(folder, 'report.html');
  await writeComparisonReport(folder, summarizeComparison(folder), page, { title: '<b>' });
  const html = readFileSync(page, 'utf8');
  t.match(html, '+0.175 <small class="interval">');
  t.match(html, 'not finished: better seed 2<');
  t.match(html, '&lt;b&gt;');
  assertHarmlessPage(html);
  const data = JSON.parse(/id="page-data">([^<]*)</.exec(html)![1]!) as PageData;
  t.same(
    data.runs.map(({ name, cases }) => [name, cases.length]),
    [
      ['base', 3],
      ['better', 3],
    ],
    'cases of the first seed of each',
  );
  const [pair] = data.pairs;
  t.same([pair!.run, pair!.reference, pair!.tasks.map(({ task }) => task)], ['better', 'base', ['x', 'y']]);
  const [first, second] = pair!.tasks[0]!.cases;
  near(first!.difference, 0.8 - 0.5, 'each case less the same case of the same seed');
  near(second!.difference, 0.9 - 0.7, 'and the next');
  put('better', 2, [
    ['1', 'x', 0.6],
    ['2', 'x', 0.9],
    ['1', 'y', 0.4],
  ]);
  const { difference } = summarizeComparison(folder).methods[1]!;
  t.same(difference!.seeds, [1, 2]);
  near(difference!.perTask.x!.mean, (0.8 + 0.6) / 2 / 2 + 0.9 / 2 - 0.7, 'each case: the mean over both seeds');
  await writeComparison(folder, [runs[0]!, runs[3]!]);
  t.equal(summarizeComparison(folder).methods[1]!.difference, undefined, 'no seed in common');
  put('alone', 1, [
    ['1', 'x', 0.9],
    ['2', 'x', 0.8],
  ]);
  await writeComparison(folder, [...runs, { name: 'alone', seed: 1 }]);
  const summary = summarizeComparison(folder);
  const alone = summary.methods[2]!;
  t.same(
    [Object.keys(alone.perTask), alone.overall],
    [['x'], undefined],
    'no mean over other tasks than the others have',
  );
  t.ok(summary.methods[0]!.overall, 'which keep theirs');
  near(alone.difference!.overall.mean, (0.9 + 0.8 - 0.5 - 0.7) / 2, 'the difference is of the task that both have');
  await writeComparisonReport(folder, summary, page);
  const [tablesOfPage] = readFileSync(page, 'utf8').split('<script');
  for (const text of [comparisonTables(summary), tablesOfPage!]) {
    t.match(text, '–');
    t.notMatch(text, 'NaN');
  }
  writeFileSync(join(folder, 'comparison.json'), '{"format":1,"runs":[{"name":"../up","seed":1}]}');
  t.throws(() => summarizeComparison(folder), { code: 'VERSEMI_FILE_CORRUPT', message: /runs\.0\.name/ });
});

t.test('a plan made over for a method: the same data and network, equal trunk passes', async (t) => {
  const plan = parsePlan({
    version: 1,
    name: 'base',
    seed: 5,
    datasets: ['a', 'b'].map((name) => ({ name, path: name, preprocessing: { spacingMm: [1, 1, 1] } })),
    tasks: [1, 2]
      .map((label) => ({ name: `task ${label}`, dataset: 'a', labels: [label] }))
      .concat({
        name: 'other',
        dataset: 'b',
        labels: [1],
      }),
    training: {
      stage1Steps: 300,
      stage2Steps: 500,
      labeledBatchSize: 4,
      unlabeledBatchSize: 2,
      optimizer: 'sgd',
      warmupSteps: 80,
    },
    losses: { teacher: 2, confidence: 0.9, largestComponent: true, dice: 0.5 },
    cutmix: { unlabeledMix: 'unlabeled-pairs' },
    inference: { largestComponent: true },
  });
  const scattered = { ...plan, inference: { ...plan.inference, largestComponent: false } };
  for (const method of methodNames) {
    const made = planForMethod(plan, method);
    const { training, losses, cutmix, ...rest } = made;
    const { training: before, losses: _, cutmix: __, ...same } = plan;
    t.same(rest, same, method);
    for (const field of ['optimizer', 'learningRate', 'labeledBatchSize', 'unlabeledBatchSize'] as const)
      t.equal(training[field], before[field], field);
    const largest = Math.max(...[0, totalSteps(training) - 1].map((step) => forwardPasses(trunkPasses(made, step))));
    t.ok(Math.abs(runPasses(made) - runPasses(plan)) <= largest, `${method}: ${runPasses(made)} of ${runPasses(plan)}`);
    t.equal(losses.confidence, methodRow(method).losses?.confidence ?? 0, 'options of the plan before are gone');
    t.ok(Math.abs(training.warmupSteps / totalSteps(training) - 0.1) < 0.01, 'the warm-up is the same share');
    t.same(planForMethod(made, method).losses, losses);
    t.equal(losses.largestComponent, methodRow(method).losses?.largestComponent ?? false);
    const ofPieces = planForMethod(scattered, method);
    t.same(ofPieces, { ...made, inference: scattered.inference, losses: { ...losses, largestComponent: false } });
    t.equal(cutmix.unlabeledMix, methodRow(method).cutmix?.unlabeledMix ?? 'labeled-inside');
  }
});
