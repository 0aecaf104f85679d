// train() from datasets on disk: what is read, what is not, and where the model says that it comes from.
import t from 'tap';
import { loadModel } from '../../src/checkpoints/files.js';
import { parsePlan } from '../../src/config/plan.js';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { fingerprintDatasets } from '../../src/preprocessing/fingerprint.js';
import type { TrainingEvent } from '../../src/training/events.js';
import { train } from '../../src/training/train.js';

const folder = t.testdir();
const counts = { cases: 4, labeledCases: 1, validationCases: 2, testCases: 0, seed: 3 };
await makePhantomDataset(`${folder}/la`, 'mr-atrium', counts);

const split = { labeled: 'labeled', validation: 'validation', unlabeled: 'unlabeled' };

function plan(training: Readonly<Record<string, unknown>>) {
  return parsePlan({
    version: 1,
    name: 'from disk',
    datasets: [
      {
        name: 'la',
        path: `${folder}/la`,
        split,
        preprocessing: { spacingMm: [8, 8, 8] },
      },
    ],
    tasks: [{ name: 'left atrium', dataset: 'la', labels: [1] }],
    network: { baseWidth: 2, levels: 2, headWidth: 2 },
    patchSizeVoxels: [8, 8, 8],
    training: {
      stage1Steps: 1,
      stage2Steps: 1,
      labeledBatchSize: 2,
      unlabeledBatchSize: 1,
      validationCases: 1,
      ...training,
    },
  });
}

async function run(name: string, training: Readonly<Record<string, unknown>> = {}) {
  const events: TrainingEvent[] = [];
  const options = { runFolder: `${folder}/${name}`, cacheFolder: `${folder}/cache`, device: 'wasm' } as const;
  for await (const event of train(plan(training), options)) events.push(event);
  return events;
}

t.test('cases are preprocessed, told, cached, and named in the model', async (t) => {
  const events = await run('first');
  const cases = events.filter((event) => event.type === 'case');
  t.same(
    cases.map(({ role, index, total, cached }) => [role, index, total, cached]),
    [
      ['labeled', 1, 4, false],
      ['unlabeled', 2, 4, false],
      ['validation', 3, 4, false],
      ['validation', 4, 4, false],
    ],
  );
  t.match(events[4], { type: 'start', cases: { labeled: 1, unlabeled: 1, validation: 1 } });
  t.equal(events.filter(({ type }) => type === 'step').length, 2);
  const validation = events.find((event) => event.type === 'validation');
  t.ok(validation?.type === 'validation' && validation.perTask['left atrium']! >= 0);
  const end = events.at(-1);
  if (end?.type !== 'end' || end.model === undefined) return t.fail('no model');
  const model = await loadModel(end.model);
  t.equal(model.provenance.data[0]?.dataset, 'la');
  t.ok(model.provenance.data[0]?.licence, 'the licence of the data is in the model');
  const { scans } = model.plan.datasets[0]!;
  t.match(scans, { cases: 2, modality: 'MR' }, 'what its scans are like, though the plan does not say it');
  t.strictSame(scans, (await fingerprintDatasets([{ path: `${folder}/la`, split }])).datasets[0]!.scans);
  model.network.dispose();
});

t.test('facts of scans that a plan has stay as they are, and a run goes on whether or not it has them', async (t) => {
  const given = { cases: 9, modality: 'PT' };
  const [dataset] = plan({}).datasets;
  const options = { runFolder: `${folder}/given`, cacheFolder: `${folder}/cache`, device: 'wasm' } as const;
  const planned = { ...plan({}), datasets: [{ ...dataset!, scans: given }] };
  const abort = new AbortController();
  for await (const event of train(planned, { ...options, signal: abort.signal }))
    if (event.type === 'step') abort.abort();
  for await (const event of train(plan({}), { ...options, resume: true }))
    if (event.type === 'step') t.equal(event.step, 2);
  const model = await loadModel(`${folder}/given/model.safetensors`);
  t.strictSame(model.plan.datasets[0]!.scans, given);
  model.network.dispose();
});

t.test('supervised training opens no unlabelled case; everything else comes from the cache', async (t) => {
  const events = await run('second', { mode: 'supervised' });
  const cases = events.filter((event) => event.type === 'case');
  t.same(
    cases.map(({ role, cached }) => [role, cached]),
    [
      ['labeled', true],
      ['validation', true],
      ['validation', true],
    ],
  );
});
