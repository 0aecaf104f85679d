// Whether a scan is like those of a task's dataset: what is compared, what is unknown, and what real scans are called.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { readModel } from '../../src/checkpoints/files.js';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { loadScan } from '../../src/datasets/load-case.js';
import { type FitField, noTaskFits, type ScanToFit, taskFits } from '../../src/inference/fit.js';
import { anatomyOf } from '../../src/preprocessing/anatomy.js';
import { intensityOf, modalityOf, scanRanges } from '../../src/preprocessing/scan-facts.js';
import { asScan } from '../../src/scans/scan.js';
import type { Triple } from '../../src/volume/volume.js';
import { noData, realData } from './datasets-support.js';

const cases = Array.from({ length: 40 }, () => ({
  ...{ sizeVoxels: [200, 200, 100] as Triple, spacingMm: [1, 1, 2] as Triple },
  intensity: { percentile005: -1000, percentile995: 1200 },
}));
const heads = cases.map((one) => ({ ...one, intensity: { percentile005: 0, percentile995: 900 } }));

interface Changes {
  readonly scans?: unknown;
  readonly window?: readonly [number, number] | null;
  readonly normalization?: string;
}

function planOf({ scans, window = null, normalization = 'zscore' }: Changes): { plan: Plan } {
  const preprocessing = { spacingMm: [1, 1, 1], window, normalization };
  return {
    plan: parsePlan({
      ...{ version: 1, name: 'fit' },
      datasets: [{ name: 'body', path: 'body', preprocessing, ...(scans === undefined ? {} : { scans }) }],
      tasks: [{ name: 'organ', dataset: 'body', labels: [1] }],
    }),
  };
}

const ct = planOf({ scans: scanRanges(cases, 'CT'), window: [-160, 240] });
const mr = planOf({ scans: scanRanges(heads, 'MR') });
const scan: ScanToFit = { sizeVoxels: [200, 200, 100], spacingMm: [1, 1, 2] };
const values = (percentile005: number, percentile995: number) => ({ intensity: { percentile005, percentile995 } });
const air = values(-1000, 1000);

function judged(model: { plan: Plan }, changes: Partial<ScanToFit>): { misfits: FitField[]; unchecked: FitField[] } {
  const [fit] = taskFits(model, { ...scan, ...changes });
  return { misfits: fit!.misfits.map(({ field }) => field), unchecked: [...fit!.unchecked] };
}

t.test('modality: as DICOM says it, else by what only CT has', (t) => {
  t.strictSame(judged(ct, { modality: 'CT', ...air }), { misfits: [], unchecked: [] });
  t.strictSame(judged(ct, { modality: 'MR', ...values(0, 900) }).misfits, ['modality', 'intensity']);
  t.strictSame(judged(mr, { modality: 'CT', ...air }).misfits, ['modality']);
  t.strictSame(judged(mr, { modality: 'MR', ...values(-2000, 2000) }).misfits, [], 'what DICOM says goes first');
  t.strictSame(judged(mr, { modality: 'PT' }).misfits, ['modality']);
  t.strictSame(judged(mr, { modality: 'OT', ...values(0, 5) }).unchecked, ['modality'], 'OT says nothing');
  t.strictSame(judged(mr, air).misfits, ['modality'], 'air in Hounsfield units');
  t.strictSame(judged(ct, air), { misfits: [], unchecked: [] });
  t.strictSame(judged(mr, values(-1, 5)), { misfits: [], unchecked: ['modality'] });
  const undeclared = planOf({ scans: scanRanges(heads, undefined) });
  t.strictSame(judged(undeclared, air).misfits, ['modality'], 'no scan of the dataset had such air');
  t.strictSame(judged(undeclared, { modality: 'MR' }).unchecked, ['modality']);
  t.equal(scanRanges(cases, undefined).modality, 'CT', 'a dataset that says nothing, whose scans all have air');
  t.end();
});

t.test('intensities, where their scale counts', (t) => {
  t.strictSame(judged(ct, values(-1, 5)).misfits, ['intensity'], 'normalised');
  t.strictSame(judged(ct, values(0, 2000)).misfits, ['intensity'], 'air at 0');
  t.strictSame(judged(ct, values(-120, 400)), { misfits: [], unchecked: ['modality'] }, 'a cut inside of the body');
  t.strictSame(judged(mr, values(1e6, 2e6)).misfits, [], 'a z-score knows no scale');
  const stored = planOf({ scans: scanRanges(heads, 'MR'), normalization: 'none' });
  t.strictSame(judged(stored, values(10, 800)).misfits, []);
  t.strictSame(judged(stored, values(2000, 9000)).misfits, ['intensity'], 'beyond all of them');
  t.strictSame(judged(stored, values(0, 1)).misfits, ['intensity'], 'a thousandth of their contrast');
  const stripped = cases.map((one) => ({ ...one, ...values(0, 80) }));
  const brain = planOf({ scans: scanRanges(stripped, 'CT'), window: [0, 80] });
  t.strictSame(judged(brain, values(0, 70)).misfits, [], 'CT without fat and air, as the dataset has it');
  t.end();
});

t.test('spacing and field of view', (t) => {
  const known = values(0, 900);
  t.strictSame(judged(mr, { ...known, spacingMm: [0.3, 0.3, 0.5], sizeVoxels: [666, 666, 400] }).misfits, []);
  t.strictSame(judged(mr, { ...known, spacingMm: [1, 1, 4.5], sizeVoxels: [200, 200, 44] }).misfits, ['spacing']);
  t.strictSame(judged(mr, { ...known, spacingMm: [1, 1, 4], sizeVoxels: [200, 200, 50] }).misfits, []);
  t.strictSame(judged(mr, { ...known, sizeVoxels: [120, 200, 100] }).misfits, ['field of view'], 'too small');
  t.strictSame(judged(mr, { ...known, sizeVoxels: [330, 200, 100] }).misfits, ['field of view'], 'too large');
  t.strictSame(judged(mr, { ...known, sizeVoxels: [310, 130, 155] }).misfits, []);
  const few = planOf({ scans: scanRanges(heads.slice(0, 2), 'MR') });
  t.strictSame(
    judged(few, { ...known, sizeVoxels: [120, 660, 100] }).misfits,
    [],
    'two cases tell little of the range',
  );
  t.strictSame(
    judged(mr, { ...known, sizeVoxels: [20, 20, 20], spacingKnown: false }),
    { misfits: [], unchecked: ['modality', 'spacing', 'field of view'] },
    'a spacing that nobody said',
  );
  t.end();
});

t.test('models that record nothing', (t) => {
  t.strictSame(judged(planOf({}), air), { misfits: [], unchecked: ['modality', 'spacing', 'field of view'] });
  const window = planOf({ window: [-160, 240] });
  t.strictSame(judged(window, { modality: 'MR', ...values(-1, 5) }).misfits, ['modality', 'intensity']);
  t.strictSame(judged(window, air).misfits, []);
  t.end();
});

t.test('tasks, and the sentence when none fits', (t) => {
  const fits = taskFits(mr, { ...scan, modality: 'CT', sizeVoxels: [20, 20, 20] }, ['organ']);
  const { message, code, exitCode } = noTaskFits('scan.nii', fits);
  t.strictSame([code, exitCode], ['VERSEMI_SCAN_UNLIKE_DATASETS', 3]);
  t.match(
    message,
    /scan\.nii.*organ \(modality: expected MR, as body is, found CT; field of view: .*200 x 200 x 200 mm, found 20 x 20 x 40 mm.*--task all/,
  );
  t.strictSame(taskFits(mr, { ...scan, modality: 'CT' }, ['any-foreground'])[0]!.misfits, [], 'a task of no dataset');
  t.throws(() => taskFits(mr, scan, ['liver']), { code: 'VERSEMI_MODEL_TASK_UNKNOWN' });
  t.end();
});

t.test('words of datasets', (t) => {
  const words = ['CT', 'MRI', 'T1w', 'FLAIR', 'PET', 'ultrasound', 'unknown', 'LGE', 'computed tomography'];
  t.strictSame(words.map(modalityOf), ['CT', 'MR', 'MR', 'MR', 'PT', 'US', undefined, 'MR', 'CT']);
  const meanings = (...labels: string[]) => labels.map((label) => anatomyOf(label)?.code.meaning);
  t.strictSame(meanings('liver', 'Left_Kidney', ' left atrium', 'lung tumour', 'cancer', 'myocardium'), [
    ...['Liver', 'Kidney', 'Left atrium', 'Neoplasm', 'Neoplasm', 'Myocardium structure'],
  ]);
  t.strictSame(meanings('anterior', 'label 1', 'liverwurst', 'tumor core', 'left', ''), Array(6).fill(undefined));
  t.equal(anatomyOf('liver tumor')!.category.value, '49755003');
  t.end();
});

const names = ['hippocampus', 'left-atrium', 'cardiac-cine', 'soft-tissue-sarcoma-ct'];
const skip = realData(names[0]!) === undefined && noData;
t.test('real scans fit the tasks of their own dataset in the example model, and no others', { skip }, async (t) => {
  const model = await readModel(
    fileURLToPath(new URL('../../../test/examples/real-data.safetensors', import.meta.url)),
  );
  for (const name of names) {
    const images = join(realData(name)!, 'images');
    const own = model.plan.tasks.filter(({ dataset }) => dataset === name).map((task) => task.name);
    for (const file of readdirSync(images).filter((_, i) => i % 12 === 0)) {
      const image = await loadScan(join(images, file));
      const { sizeVoxels, spacingMm } = image;
      const fits = taskFits(model, { sizeVoxels, spacingMm, intensity: intensityOf(asScan(image)) });
      const fitting = fits.filter(({ misfits }) => misfits.length === 0).map(({ task }) => task);
      t.strictSame(fitting, own, `${name}: ${file}`);
    }
  }
});
