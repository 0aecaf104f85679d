import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeFileAtomic } from '../atomic-file.js';
import { type LoadedModel, loadModel } from '../checkpoints/index.js';
import { type Dataset, openDataset } from '../datasets/dataset.js';
import { loadCase } from '../datasets/load-case.js';
import { writeNifti } from '../datasets/read-volume.js';
import { VersemiError } from '../errors.js';
import { type CaseOutcome, type EvaluatedCase, type Evaluation, evaluateCase } from '../inference/evaluate.js';
import { inferenceSettings, taskIndices } from '../inference/segmenter.js';
import { type Summary, summarize } from '../metrics/index.js';
import { casesToCsv } from '../reports/csv.js';
import { overlayFileName, overlayPng } from '../reports/overlay-file.js';
import { toStored } from '../volume/orientation.js';
import { chooseDevice } from './device.js';
import { evaluationCases } from './evaluation-cases.js';
import { addInference, type InferenceArguments, inferenceArguments } from './inference-options.js';
import { modelFileOf } from './model-path.js';
import { addShared, list, positiveNumber } from './options.js';
import { createTerminal, formatDuration, formatTable, progressBar, type Terminal } from './terminal.js';

/** Files in the folder given with --out. */
export const evaluationFileName = 'evaluation.json';
export const overlayFolderName = 'overlays';

export function addEvaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('Segment labelled cases and compare: Dice, Jaccard, 95HD, ASD, surface Dice per case and task.')
    .argument('<model>', 'a model file, or the folder of a run')
    .requiredOption('--data <folder...>', 'datasets (Decathlon, nnU-Net, HDF5 or images with labels)')
    .option('--dataset <name>', "what the model's plan calls the dataset (default: by its own name)")
    .addOption(
      new Option(
        '--cases <which>',
        'all, test, validation, labeled (as the plan splits them), a list in splits.json, or ids, comma-separated',
      )
        .argParser(list)
        .default(undefined, 'all cases with labels'),
    )
    .addOption(new Option('--task <names>', 'only these tasks, comma-separated').argParser(list))
    .addOption(new Option('--tolerance <mm>', 'tolerance of surface Dice').argParser(positiveNumber).default(1))
    .option('--json [file]', 'write the result as JSON to a file, or print it')
    .option('--csv <file>', 'write one line per case and task')
    .option('--out <folder>', `write ${evaluationFileName}, cases.csv and overlays, for \`versemi report\``)
    .option('--save-masks', 'with --out: keep the predicted masks too')
    .addHelpText(
      'after',
      `
Examples:
  $ versemi evaluate runs/first --data data/spleen --cases validation
  $ versemi evaluate model.safetensors --data data/atrium --json out.json --protocol versemi
  $ versemi evaluate runs/first --data data/spleen data/atrium --out runs/first/evaluation

Distances are in millimetres. Where a mask is empty they are undefined (null), and counted as such.`,
    );
  addInference(command);
  addShared(command, 'device', 'threads', 'quiet').action(async (modelPath: string, options) => {
    const terminal = createTerminal({ quiet: options.quiet, json: options.json === true });
    const datasets: Dataset[] = [];
    for (const folder of options.data as string[]) datasets.push(await openDataset(folder));
    const { device } = await chooseDevice(options, terminal);
    const file = modelFileOf(modelPath);
    const model = await loadModel(file, options.weights === undefined ? {} : { network: options.weights });
    try {
      const cases: EvaluatedCase[] = [];
      for (const dataset of datasets) {
        const named = nameInPlan(dataset, model, options);
        for await (const outcome of evaluateDataset(named, model, options, terminal)) {
          cases.push(outcome.result);
          if (options.out !== undefined) await keep(outcome, options.out, options.saveMasks === true);
        }
      }
      const evaluation: Evaluation = {
        format: 1,
        model: file,
        device: device.description,
        inference: JSON.stringify(inferenceSettings(model, inferenceArguments(options))),
        created: new Date().toISOString(),
        cases,
        summary: summarize(cases),
      };
      await write(evaluation, options);
      terminal.print(summaryTable(evaluation.summary));
      terminal.printJson(evaluation);
    } finally {
      model.network.dispose();
    }
  });
}

interface EvaluateArguments extends InferenceArguments {
  readonly dataset?: string;
  readonly cases?: string[];
  readonly task?: string[];
  readonly tolerance: number;
  readonly json?: true | string;
  readonly csv?: string;
  readonly out?: string;
}

/** The dataset under the name that the plan knows it by, which decides its tasks and its preprocessing. */
function nameInPlan(dataset: Dataset, { plan }: LoadedModel, { dataset: given, task }: EvaluateArguments): Dataset {
  const known = plan.datasets.map(({ name }) => name);
  const name = given ?? dataset.name;
  if (known.includes(name)) return { ...dataset, name };
  // A dataset that the model has not seen can still be used for tasks that are named.
  if (given === undefined && task !== undefined) return dataset;
  throw new VersemiError('MODEL_TASK_UNKNOWN', {
    file: dataset.folder,
    field: 'dataset',
    expected: known.join(', '),
    found: name,
    remedy: 'Say with --dataset which of them it is, or name the tasks with --task.',
  });
}

async function* evaluateDataset(
  dataset: Dataset,
  model: LoadedModel,
  options: EvaluateArguments,
  terminal: Terminal,
): AsyncGenerator<CaseOutcome> {
  const ofDataset = model.plan.tasks.filter((task) => task.dataset === dataset.name).map(({ name }) => name);
  const tasks = taskIndices(model, options.task ?? ofDataset);
  const { cases, trainedOn } = evaluationCases(dataset, model.plan, options.cases ?? ['all']);
  if (trainedOn > 0) {
    terminal.note(
      `${dataset.name}: the model was trained on ${trainedOn} of these ${cases.length} cases with their labels.`,
    );
  }
  const channel = model.plan.datasets.find(({ name }) => name === dataset.name)?.channel ?? 0;
  const started = performance.now();
  for (const [i, files] of cases.entries()) {
    terminal.status(`${dataset.name} ${progressBar(i / cases.length)} ${i} of ${cases.length} cases, ${files.id}`);
    const loaded = await loadCase(dataset, files, { channel });
    if (loaded.label === undefined) continue;
    const outcomes = await evaluateCase(model, { ...loaded, label: loaded.label }, dataset.name, tasks, {
      ...inferenceArguments(options),
      toleranceMm: options.tolerance,
    });
    yield* outcomes;
  }
  const seconds = (performance.now() - started) / 1000;
  terminal.note(`${dataset.name}: ${cases.length} cases in ${formatDuration(seconds)}`);
}

async function keep(
  { result, image, prediction, reference }: CaseOutcome,
  folder: string,
  mask: boolean,
): Promise<void> {
  const { data, sizeVoxels, spacingMm } = image;
  const png = overlayPng({
    image: data,
    sizeVoxels,
    spacingMm,
    prediction: prediction.data,
    reference: reference.data,
  });
  const overlays = join(folder, overlayFolderName);
  await mkdir(overlays, { recursive: true });
  await writeFile(join(overlays, overlayFileName(result.id, result.task)), png);
  if (mask) await writeNifti(join(folder, 'masks', `${result.id}_${result.task}.nii.gz`), toStored(prediction));
}

async function write(evaluation: Evaluation, { json, csv, out }: EvaluateArguments): Promise<void> {
  const text = `${JSON.stringify(evaluation, null, 2)}\n`;
  const table = casesToCsv(evaluation.cases);
  if (typeof json === 'string') await writeFileAtomic(json, text);
  if (csv !== undefined) await writeFileAtomic(csv, table);
  if (out === undefined) return;
  await writeFileAtomic(join(out, evaluationFileName), text);
  await writeFileAtomic(join(out, 'cases.csv'), table);
}

/** Mean ± standard deviation per task. */
export function summaryTable(summary: Summary): string {
  const columns = [
    ['Dice', 'dice', 3],
    ['Jaccard', 'jaccard', 3],
    ['95HD pooled (mm)', 'hd95PooledMm', 2],
    ['95HD max (mm)', 'hd95MaxMm', 2],
    ['ASD (mm)', 'asdMm', 2],
    ['surface Dice', 'surfaceDice', 3],
  ] as const;
  return formatTable(
    ['task', 'cases', ...columns.map(([heading]) => heading), 'undefined distances'],
    Object.entries(summary).map(([task, metrics]) => [
      task,
      String((metrics.dice?.count ?? 0) + (metrics.dice?.undefinedCount ?? 0)),
      ...columns.map(([, metric, digits]) => {
        const value = metrics[metric];
        if (value === undefined || value.mean === null) return '–';
        return `${value.mean.toFixed(digits)} ± ${(value.std ?? 0).toFixed(digits)}`;
      }),
      String(metrics.hd95PooledMm?.undefinedCount ?? 0),
    ]),
  );
}
