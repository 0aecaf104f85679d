import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parsePlan, planFields, planMarkdown, stringifyPlan } from '../../src/config/plan.js';
import { readPlan, writePlan } from '../../src/config/read-plan.js';
import { isVersemiError, type VersemiError } from '../../src/errors.js';
import { packageRoot } from '../../src/root.js';

type Json = Record<string, unknown>;

function minimal(changes: Json = {}, dataset: Json = {}): Json {
  return {
    version: 1,
    name: 'test',
    datasets: [{ name: 'la', path: 'data/la', preprocessing: { spacingMm: [1, 1, 1] }, ...dataset }],
    tasks: [{ name: 'atrium', dataset: 'la', labels: [1] }],
    ...changes,
  };
}

function failure(json: unknown): VersemiError {
  try {
    parsePlan(json, 'plan.json');
  } catch (error) {
    if (isVersemiError(error)) return error;
    throw error;
  }
  throw new Error('the plan was accepted');
}

t.test('defaults are those of the paper and of the table', async (t) => {
  const plan = parsePlan(minimal());
  t.match(plan.network, { baseWidth: 16, levels: 5, convolutions: [1, 2, 3, 3, 3], headWidth: 8 });
  t.match(plan.network, { fullResolutionSkip: false, fullResolutionBlock: false }, 'the paper has neither');
  t.same(plan.patchSizeVoxels, [96, 96, 96]);
  t.equal(plan.training.labeledBatchSize, 8);
  t.equal(plan.training.beta1, 0.5);
  t.equal(plan.cutmix.stage1Ratio, 2 / 3);
  t.same(plan.cutmix.stage2Ratio, [0.3, 0.6]);
  t.same(plan.datasets[0]!.split, { file: null, labeled: 'all', validation: 0, unlabeled: 'rest' });
  for (const row of planFields) {
    if (row.default === undefined) continue;
    let value: unknown = plan;
    for (const part of row.name.replaceAll('[]', '.0').split('.')) value = (value as Json)[part];
    t.same(value, row.default, row.name);
  }
  const other = parsePlan(minimal());
  t.not(plan.cutmix.stage2Ratio, other.cutmix.stage2Ratio, 'two plans share no default array');
  t.same(parsePlan(minimal({ network: { levels: 3 } })).network.convolutions, [1, 2, 3], 'cut to the levels');
});

t.test('the table names every field of a plan, once, with what the help needs', async (t) => {
  const leaves: string[] = [];
  const walk = (value: unknown, path: string) => {
    if (planFields.some((row) => row.name === path)) leaves.push(path);
    else if (Array.isArray(value)) walk(value[0], `${path}[]`);
    else if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) walk(inner, path === '' ? key : `${path}.${key}`);
    else t.fail(`${path} is not in the table`);
  };
  const own = { augmentation: { own: ['mine'] }, losses: { own: { mine: 1 } }, network: { architecture: 'mine' } };
  const { augmentation } = parsePlan(minimal(own));
  const triples = [
    [1, 1, 1],
    [2, 2, 2],
  ];
  const scans = { cases: 1, modality: 'CT', spacingMm: triples, extentMm: triples };
  const intensities = { percentile005: [0, 1], percentile995: [2, 3] };
  const optional = { keys: { image: 'a', label: 'b' }, filesOutside: true, split: { fold: [0, 2] } };
  const plan = parsePlan(
    minimal(
      { ...own, training: { batchSizeScope: 'global' } },
      { augmentation, ...optional, scans: { ...scans, ...intensities } },
    ),
  );
  const code = { scheme: 'SCT', value: '10200004', meaning: 'Liver' };
  const named = { writtenAs: 1, code, category: code, color: '#dd8265' };
  walk({ ...plan, tasks: plan.tasks.map((task) => ({ ...task, ...named })) }, '');
  t.same(
    planFields.map((row) => row.name),
    leaves,
  );
  for (const row of planFields) {
    t.ok(row.range.length > 0 && row.explanation.endsWith('.'), row.name);
    t.ok(planMarkdown().includes(`\`${row.name}\``));
  }
});

t.test('what is not valid names the field, what was expected and found', async (t) => {
  const atrium = { name: 'atrium', dataset: 'la', labels: [1] };
  const code = { scheme: 'SCT', value: '82471001', meaning: 'Left atrium' };
  const cases: [Json, string, RegExp][] = [
    [minimal({ patchSize: [32, 32, 32] }), 'patchSize', /Did you mean "patchSizeVoxels"/],
    [minimal({ training: { learningrate: 1 } }), 'training.learningrate', /Did you mean "learningRate"/],
    [minimal({}, { pth: 'x' }), 'datasets[0].pth', /Did you mean "path"/],
    [minimal({ zzzzzz: 1 }), 'zzzzzz', /Remove it/],
    [minimal({ training: { learningRate: -1 } }), 'training.learningRate', /a number in \(0, 10\], found -1/],
    [minimal({ training: { learningRate: '1e-3' } }), 'training.learningRate', /found "1e-3"/],
    [minimal({ training: { mode: 'semi' } }), 'training.mode', /'semi-supervised' or 'supervised', found "semi"/],
    [minimal({ tasks: [{ name: 'a', dataset: 'la', labels: [0] }] }), 'tasks[0].labels', /in \[1, 255\]/],
    [minimal({ tasks: [] }), 'tasks', /at least one entry/],
    [minimal({ datasets: 3 }), 'datasets', /a list, found 3/],
    [minimal({ version: 2 }), 'version', /expected 1, found 2/],
    [minimal({ patchSizeVoxels: [96, 96] }), 'patchSizeVoxels', /three integers/],
    [minimal({}, { preprocessing: {} }), 'datasets[0].preprocessing.spacingMm', /found nothing/],
    [minimal({ seed: 0.5 }), 'seed', /an integer/],
    [minimal({}, { split: { validation: -1 } }), 'datasets[0].split.validation', /a count/],
    [
      minimal(
        {},
        {
          scans: {
            cases: 1,
            spacingMm: [
              [0, 1, 1],
              [1, 1, 1],
            ],
          },
        },
      ),
      'datasets[0].scans.spacingMm',
      /above 0/,
    ],
    [minimal({ tasks: [{ ...atrium, color: 'red' }] }), 'tasks[0].color', /#rrggbb/],
    [minimal({ tasks: [{ ...atrium, code: { ...code, meaning: 'a\\b' } }] }), 'tasks[0].code.meaning', /no backslash/],
    [minimal({ tasks: [{ ...atrium, code: { ...code, value: '' } }] }), 'tasks[0].code.value', /1 to 16/],
    [minimal({ tasks: [{ ...atrium, code: { value: '1', meaning: 'x' } }] }), 'tasks[0].code.scheme', /letters/],
  ];
  for (const [json, field, message] of cases) {
    const error = failure(json);
    t.equal(error.code, 'VERSEMI_PLAN_INVALID', field);
    t.equal(error.details.field, field);
    t.equal(error.details.file, 'plan.json');
    t.match(error.message, message);
  }
  t.equal(failure(null).details.field, 'the plan');
  t.equal(failure([]).code, 'VERSEMI_PLAN_INVALID');
  const two = failure(minimal({ seed: 'x', training: { workers: -1 } }));
  t.match(two.message, /Also not valid: training\.workers/);
});

t.test('contradictions name both fields', async (t) => {
  const la = { name: 'la', path: 'x', preprocessing: { spacingMm: [1, 1, 1] } };
  const task = { name: 'atrium', dataset: 'la', labels: [1] };
  const cases: [Json, string][] = [
    [minimal({ tasks: [{ ...task, dataset: 'lla' }] }), 'tasks[0].dataset and datasets[].name'],
    [minimal({ datasets: [la, la] }), 'datasets[0].name and datasets[1].name'],
    [minimal({ tasks: [task, task] }), 'tasks[0].name and tasks[1].name'],
    [minimal({ tasks: [{ ...task, labels: [1, 1] }] }), 'tasks[0].labels'],
    [minimal({ patchSizeVoxels: [96, 100, 96] }), 'patchSizeVoxels[1] and network.levels'],
    [minimal({ network: { levels: 4, convolutions: [1, 2] } }), 'network.convolutions and network.levels'],
    [minimal({ training: { labeledBatchSize: 3 } }), 'training.labeledBatchSize and training.mode'],
    [
      minimal({ training: { unlabeledBatchSize: 3 }, cutmix: { unlabeledMix: 'unlabeled-pairs' } }),
      'training.unlabeledBatchSize and cutmix.unlabeledMix',
    ],
    [
      minimal({}, { scans: { cases: 2, percentile005: [3, 1] } }),
      'datasets[0].scans.percentile005[0] and datasets[0].scans.percentile005[1]',
    ],
    [
      minimal(
        {},
        {
          scans: {
            cases: 2,
            extentMm: [
              [1, 1, 2],
              [1, 2, 1],
            ],
          },
        },
      ),
      'datasets[0].scans.extentMm[0] and datasets[0].scans.extentMm[1]',
    ],
    [minimal({}, { split: { fold: [2, 2] } }), 'datasets[0].split.fold'],
    [
      minimal({}, { split: { fold: [0, 2], validation: 3 } }),
      'datasets[0].split.fold and datasets[0].split.validation',
    ],
    [minimal({}, { split: { unlabeled: 'none' } }), 'training.stage2Steps and datasets[].split.unlabeled'],
    [minimal({ losses: { confidence: 0.8 } }), 'losses.confidence and losses.teacher and losses.agreement'],
    [
      minimal({ losses: { largestComponent: true } }),
      'losses.largestComponent and losses.teacher and losses.agreement',
    ],
    [
      minimal({ inference: { largestComponentOf: 'dataset' } }),
      'inference.largestComponentOf and inference.largestComponent',
    ],
    [
      minimal({ losses: { teacher: 1, noisyPasses: 8, entropy: [0.75, 1] } }),
      'losses.noisyPasses and losses.entropy and losses.teacherNoise',
    ],
    [
      minimal({ losses: { cubeTasks: 1 }, cutmix: { unlabeledMix: 'none' } }),
      'losses.cubeTasks and cutmix.unlabeledMix',
    ],
    [minimal({ training: { stage1Steps: 0, stage2Steps: 0 } }), 'training.stage1Steps and training.stage2Steps'],
    [
      minimal({ training: { stage1Steps: 5, stage2Steps: 5, warmupSteps: 11 } }),
      'training.warmupSteps and training.stage1Steps',
    ],
    [
      minimal({ augmentation: { rotation90: true }, patchSizeVoxels: [32, 64, 32] }),
      'augmentation.rotation90 and patchSizeVoxels',
    ],
    [
      minimal({ augmentation: { magnification: [1.2, 0.8] } }),
      'augmentation.magnification[0] and augmentation.magnification[1]',
    ],
    [
      minimal({}, { augmentation: { gamma: [2, 1] } }),
      'datasets[0].augmentation.gamma[0] and datasets[0].augmentation.gamma[1]',
    ],
    [
      minimal({ patchSizeVoxels: [32, 64, 32] }, { augmentation: { rotation90: true } }),
      'datasets[0].augmentation.rotation90 and patchSizeVoxels',
    ],
    [minimal({ cutmix: { stage2Ratio: [0.6, 0.3] } }), 'cutmix.stage2Ratio[0] and cutmix.stage2Ratio[1]'],
    [minimal({ cutmix: { stage1Ratio: 0.01 } }), 'cutmix.stage1Ratio and patchSizeVoxels'],
    [
      minimal({}, { preprocessing: { spacingMm: [1, 1, 1], window: [5, 5] } }),
      'datasets[0].preprocessing.window[0] and datasets[0].preprocessing.window[1]',
    ],
    [minimal({}, { split: { labeled: [] } }), 'datasets[0].split.labeled and tasks[].dataset'],
    [minimal({ datasets: [la, { ...la, name: 'other' }] }), 'datasets[1].split.labeled and tasks[].dataset'],
    [
      minimal({}, { split: { labeled: ['a', 'b'], validation: ['b'] } }),
      'datasets[0].split.labeled and datasets[0].split.validation',
    ],
    [
      minimal({}, { split: { labeled: 'k', validation: 'k' } }),
      'datasets[0].split.labeled and datasets[0].split.validation',
    ],
  ];
  for (const [json, field] of cases) {
    const error = failure(json);
    t.equal(error.code, 'VERSEMI_PLAN_CONTRADICTION', field);
    t.equal(error.details.field, field);
    t.ok(error.details.remedy);
  }
  t.ok(parsePlan(minimal({ training: { mode: 'supervised', labeledBatchSize: 3 } })), 'supervised batches may be odd');
  t.ok(
    parsePlan(minimal({ training: { mode: 'supervised' } }, { split: { unlabeled: 'none' } })),
    'supervised training needs no unlabelled cases',
  );
  t.ok(
    parsePlan(minimal({ datasets: [la, { ...la, name: 'other', split: { labeled: [] } }] })),
    'a dataset may be only unlabelled',
  );
});

t.test('the documentation is the table', async (t) => {
  const text = await readFile(`${packageRoot}src/config/FIELDS.md`, 'utf8');
  t.equal(text, `# Fields of a plan\n\n${planMarkdown()}`, 'after a change: node -e, see src/config/README.md');
});

t.test('reading and writing files', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'versemi-plan-'));
  const file = join(folder, 'plan.json');
  await writeFile(file, JSON.stringify(minimal()));
  const plan = await readPlan(file);
  t.equal(plan.datasets[0]!.path, join(folder, 'data', 'la'), 'paths are relative to the plan file');

  const copy = join(folder, 'copy.json');
  await writePlan(copy, plan);
  t.same(await readPlan(copy), plan, 'written and read again');
  t.same((await readdir(folder)).sort(), ['copy.json', 'plan.json'], 'no temporary file stays');
  t.match(stringifyPlan(plan), /"patchSizeVoxels": \[96, 96, 96\]/);
  t.same(parsePlan(JSON.parse(stringifyPlan(plan))), plan);

  await t.rejects(readPlan(join(folder, 'absent.json')), { code: 'VERSEMI_FILE_NOT_FOUND' });
  await t.rejects(writePlan(join(file, 'no-folder.json'), plan), { code: 'VERSEMI_IO_FAILED' });
  await writeFile(file, '{\n  "version": 1,\n  "name" "x"\n}');
  await t.rejects(readPlan(file), { code: 'VERSEMI_PLAN_INVALID', message: /line 3, column 10/ });
  await writeFile(file, '{\n  "version": 1');
  await t.rejects(readPlan(file), { code: 'VERSEMI_PLAN_INVALID', message: /line 2/ });
});
