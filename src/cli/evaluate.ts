import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { readPlan } from '../config/read-plan.js';
import { filesOfMasks } from '../datasets/case-masks.js';
import { VersemiError } from '../errors.js';
import { caseSets } from '../inference/case-selection.js';
import type { DatasetFolder } from '../inference/dataset-match.js';
import { evaluateSelected, makeEvaluation, selectCases } from '../inference/evaluate-dataset.js';
import { evaluateSelectedMasks, type MaskTask, makeMaskEvaluation, selectMasks } from '../inference/evaluate-masks.js';
import type { MemoryEstimate } from '../inference/memory.js';
import { inferenceSettings, taskName } from '../inference/segmenter.js';
import { evaluationFileName } from '../reports/evaluation-folder.js';
import { addCohort, modelHash, supervised } from './cohort-options.js';
import { chooseDevice, type DeviceArguments } from './device.js';
import { type Comparison, type EvaluateArguments, runComparison, withOutput } from './evaluate-cases.js';
import {
  addInference,
  type InferenceArguments,
  inferenceArguments,
  isTold,
  memoryLine,
  memoryOptions,
  type WeightsArgument,
} from './inference-options.js';
import { loadModels, modelNotes, modelsIn } from './models.js';
import { addShared, list, positiveNumber } from './options.js';
import { createTerminal, progressBar } from './terminal.js';

export function addEvaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description(
      'Segment labelled cases, or take masks that are there, and compare: Dice, Jaccard, 95HD, ASD, surface Dice per case and task.',
    )
    .argument(
      '[model]',
      'a model file, the folder of a run, or a folder of the runs of all folds (fold-0, fold-1 ...); none with --masks',
    )
    .option(
      '--masks <folder>',
      'compare masks that are there, of any program: ID.nii.gz with the values of the dataset, or ID_TASK.nii.gz',
    )
    .addOption(
      new Option(
        '--tasks <name=values...>',
        'with --masks: what is compared (default: the labels of dataset.json)',
      ).argParser(maskTask),
    )
    .option('--plan <file>', 'with --masks: compare the tasks of a plan, whose split says which cases are for what')
    .requiredOption(
      '--data <folder...>',
      "datasets (Decathlon, nnU-Net, HDF5, DICOM or images with labels), by their own names or as NAME=FOLDER: what the model's plan calls them",
    )
    .option('--dataset <name>', 'the same as --data NAME=FOLDER, for one folder')
    .addOption(
      new Option(
        '--cases <which>',
        `${caseSets.join(', ')} (by what the model was trained on), a list in splits.json, or ids, comma-separated`,
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
  $ versemi evaluate runs/first --data data/spleen atrium=data/new-scans --cases unseen --out runs/first/evaluation
  $ versemi evaluate runs/first --data data/spleen --max-memory 2GB
  $ versemi evaluate runs/first --data data/spleen --device cuda --precision tf32
  $ versemi evaluate runs/first --data data/spleen --out scores --part 3/8
  $ versemi merge scores --out scores
  $ versemi evaluate folds --data data/spleen --cases test         (the mean of folds/fold-0, folds/fold-1 ...)
  $ versemi evaluate --masks nnunet-out --data data/spleen --cases test --out scores
  $ versemi evaluate --masks out --data liver=data/ct --tasks liver=1,2 tumour=2 --csv scores.csv

A model remembers the cases it was trained on by name and content: validation, labeled, unlabeled (trained on without labels)
and training (both) are those, unseen is none of them. What a score cannot be trusted for is said before the first case.

With --masks nothing is segmented: the masks of a case ID are a label map (ID.nii.gz), a file per task (ID_TASK.nii.gz, or
ID/TASK.nii.gz), or a DICOM segmentation or structure set (ID.dcm), in the folder or in its subfolder of the name of the dataset. They
must lie on the voxels of their scan. A case without its mask fails, and is listed.

Distances are in millimetres. Where a mask is empty they are undefined (null), and counted as such.`,
    );
  addInference(command);
  addCohort(command);
  addShared(command, 'device', 'threads', 'exact', 'precision', 'maxMemory', 'parts', 'quiet').action(
    async (modelPath: string | undefined, options: Options) => {
      const terminal = createTerminal({ quiet: options.quiet === true, json: options.json === true });
      requireOneSource(modelPath, options, command);
      if (await supervised(options, terminal)) return;
      if (modelPath === undefined) {
        const comparison = await maskComparison(options, (text) => terminal.note(text));
        return withOutput(options, terminal, (lock) => runComparison(comparison, options, terminal, lock));
      }
      const { device, settings: deviceSettings } = await chooseDevice(options, terminal);
      const models = await loadModels([modelPath, ...(options.ensemble ?? [])], options.weights ?? {});
      try {
        await withOutput(options, terminal, async (lock) =>
          runComparison(await modelComparison(), options, terminal, lock),
        );
      } finally {
        models.dispose();
      }

      async function modelComparison(): Promise<Comparison> {
        const { model, files, weights } = models;
        const inference = inferenceArguments(options);
        const settings = {
          ...inference,
          toleranceMm: options.tolerance,
          ...memoryOptions(options.maxMemory, device.name),
          processBytes: process.memoryUsage().rss,
          onEstimate: (id: string, estimate: MemoryEstimate) => {
            if (isTold(estimate, options.maxMemory)) terminal.note(memoryLine(id, estimate));
          },
        };
        const known = model.plan.datasets.map(({ name }) => name);
        const datasets = await selectCases(
          model,
          dataFolders(options.data, options.dataset, known),
          options.task,
          options.cases,
          {
            onProgress: ({ dataset, id, index, total }) =>
              terminal.status(`${dataset} ${progressBar(index / total)} ${index} of ${total} cases read, ${id}`),
          },
        );
        return {
          notes: modelNotes(models),
          device: device.description,
          settings: [
            await modelHash(options, files),
            ...[weights, inferenceSettings(model, inference), options.tolerance, deviceSettings],
            datasets.map(({ tasks }) => tasks),
          ],
          datasets: datasets.map((selected) => ({
            ...selected,
            taskNames: selected.tasks.map((index) => taskName(model, index)),
            evaluate: (cases, how) => evaluateSelected(model, { ...selected, cases }, { ...settings, ...how }),
          })),
          gather: (cases, facts) =>
            makeEvaluation(
              model,
              cases,
              {
                ...{ model: files[0]!, ...modelsIn(models), device: device.description, deviceSettings },
                ...(files.length === 1 ? { weights: weights[0]! } : {}),
                ...facts,
              },
              settings,
            ),
        };
      }
    },
  );
}

/** Options of `evaluate`, as commander gives them. */
interface Options extends EvaluateArguments, InferenceArguments, DeviceArguments {
  readonly masks?: string;
  readonly tasks?: readonly MaskTask[];
  readonly plan?: string;
  readonly data: readonly string[];
  readonly dataset?: string;
  readonly cases?: readonly string[];
  readonly task?: readonly string[];
  readonly tolerance: number;
  readonly ensemble?: readonly string[];
  readonly weights?: WeightsArgument;
  readonly maxMemory?: number;
  readonly quiet?: boolean;
}

/** Masks that are there, by --tasks, --plan or dataset.json. */
async function maskComparison(options: Options, onNotice: (text: string) => void): Promise<Comparison> {
  const masks = options.masks!;
  const plan = options.plan === undefined ? undefined : await readPlan(options.plan);
  const known = plan?.datasets.map(({ name }) => name);
  const datasets = await selectMasks(masks, dataFolders(options.data, options.dataset, known), {
    ...(options.tasks === undefined ? {} : { tasks: options.tasks }),
    ...(plan === undefined ? {} : { plan }),
    ...(options.task === undefined ? {} : { only: options.task }),
    ...(options.cases === undefined ? {} : { cases: options.cases }),
  });
  const how = { toleranceMm: options.tolerance, voxels: options.protocol === 'versemi' };
  return {
    notes: datasets.flatMap(({ remarks }) => remarks),
    device: 'none: masks that were there',
    settings: ['masks', how, datasets.map(({ tasks }) => tasks)],
    datasets: datasets.map((selected) => ({
      ...selected,
      taskNames: selected.tasks.map(({ name }) => name),
      moreInputs: ({ id }) => {
        const found = selected.found.get(id)!;
        return found instanceof VersemiError ? [] : filesOfMasks(found);
      },
      evaluate: (cases, more) => evaluateSelectedMasks({ ...selected, cases }, { ...how, ...more, onNotice }),
    })),
    gather: (cases, facts) => makeMaskEvaluation(masks, cases, facts),
  };
}

/** Options that say how a model segments, which do nothing where masks are there already. */
const ofModels = [
  ...[
    'device',
    'threads',
    'exact',
    'precision',
    'maxMemory',
    'overlap',
    'tta',
    'largestComponentOf',
    'largestComponent',
    'weights',
  ],
  ...['ensemble', 'saveMasks'],
];

/** @throws VERSEMI_USAGE unless there is either a model or a folder of masks, each with its own options */
function requireOneSource(model: string | undefined, { masks, tasks, plan }: Options, command: Command): void {
  const refuse = (field: string, expected: string, found: string, remedy: string): never => {
    throw new VersemiError('USAGE', { field, expected, found, remedy });
  };
  if (masks === undefined) {
    if (model === undefined)
      refuse(
        'model',
        'a model, or the folder of masks that are there',
        'neither',
        'Name a model, or add --masks FOLDER.',
      );
    const [unused] = [tasks && '--tasks', plan && '--plan'].filter((option) => option !== undefined);
    if (unused !== undefined)
      refuse(
        unused,
        'masks that are there (--masks)',
        'a model, which has tasks of its own',
        'Name tasks of the model with --task.',
      );
    return;
  }
  if (model !== undefined)
    refuse('--masks', 'a model or masks that are there', 'both', 'Leave the model out, or leave --masks out.');
  if (tasks !== undefined && plan !== undefined)
    refuse('--tasks and --plan', 'one of the two', 'both', 'Leave one of them out.');
  const unused = command.options.find(
    (option) =>
      ofModels.includes(option.attributeName()) && command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (unused !== undefined)
    refuse(
      `--masks and ${unused.long}`,
      'masks that are there, for which nothing is segmented',
      `${unused.long}, which says how to segment`,
      `Leave ${unused.long} out.`,
    );
}

/** "tumour=2,3" -> a task; the option may be given several times. */
function maskTask(text: string, previous: readonly MaskTask[] = []): MaskTask[] {
  const [, name, values] = /^([^=]+)=(\d{1,3}(?:,\d{1,3})*)$/.exec(text.trim()) ?? [];
  const labels = values?.split(',').map(Number) ?? [];
  if (name === undefined || labels.some((value) => value < 1 || value > 255))
    throw new InvalidArgumentError('Expected NAME=VALUE or NAME=VALUE,VALUE with values from 1 to 255.');
  if (previous.some((task) => task.name === name)) throw new InvalidArgumentError(`The task ${name} is given twice.`);
  return [...previous, { name, labels: [...new Set(labels)] }];
}

/**
 * Folders as they were given: FOLDER, or NAME=FOLDER.
 * @param known names of datasets that the plan of the model, or of the masks, has; undefined: there is no plan, and any name will do
 * @throws VERSEMI_USAGE, VERSEMI_MODEL_TASK_UNKNOWN
 */
function dataFolders(
  data: readonly string[],
  dataset: string | undefined,
  known: readonly string[] | undefined,
): DatasetFolder[] {
  if (dataset !== undefined && data.length > 1) {
    throw new VersemiError('USAGE', {
      field: '--dataset',
      expected: 'one folder',
      found: `${data.length}: ${data.join(', ')}`,
      remedy: 'Say of each folder which dataset it is: --data NAME=FOLDER.',
    });
  }
  return data.map((text) => {
    const name = known?.find((one) => text.startsWith(`${one}=`));
    if (name !== undefined) return { dataset: name, folder: text.slice(name.length + 1) };
    const unknown = existsSync(text) ? undefined : /^([^/\\]+?)=/.exec(text)?.[1];
    if (unknown !== undefined && known === undefined)
      return { dataset: unknown, folder: text.slice(unknown.length + 1) };
    if (unknown === undefined || known === undefined)
      return { folder: text, ...(dataset === undefined ? {} : { dataset }) };
    throw new VersemiError('MODEL_TASK_UNKNOWN', {
      field: `--data ${text}`,
      expected: `NAME=FOLDER with the name of a dataset of the model: ${known.join(', ')}`,
      found: unknown,
      remedy: 'Correct the name, or leave it out and name tasks of one dataset (--task).',
    });
  });
}
