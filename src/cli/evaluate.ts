import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeFileAtomic } from '../atomic-file.js';
import { type LoadedModel, loadModel } from '../checkpoints/files.js';
import { writeNifti } from '../datasets/read-volume.js';
import { VersemiError } from '../errors.js';
import { fileNameOf } from '../file-name.js';
import { lockFolder } from '../folder-lock.js';
import { caseSets, selectionNotes } from '../inference/case-selection.js';
import type { DatasetFolder } from '../inference/dataset-match.js';
import type { EvaluatedCase } from '../inference/evaluate.js';
import { type CaseProgress, evaluateSelected, makeEvaluation, selectCases } from '../inference/evaluate-dataset.js';
import type { MemoryEstimate } from '../inference/memory.js';
import { taskName } from '../inference/segmenter.js';
import type { Summary } from '../metrics/summary.js';
import { casesToCsv } from '../reports/cases-csv.js';
import {
  evaluationFileName,
  evaluationText,
  writeEvaluation,
  writeOverlay,
  writeSlices,
} from '../reports/evaluation-folder.js';
import { programVersion } from '../root.js';
import { chooseDevice } from './device.js';
import { Failures } from './failures.js';
import { addInference, inferenceArguments, memoryLine, modelFileOf, weightsOf } from './inference-options.js';
import { interruptible } from './interrupt.js';
import { addShared, list, positiveNumber } from './options.js';
import { createTerminal, formatDuration, formatTable, progressBar } from './terminal.js';

export function addEvaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('Segment labelled cases and compare: Dice, Jaccard, 95HD, ASD, surface Dice per case and task.')
    .argument('<model>', 'a model file, or the folder of a run')
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

A model remembers the cases it was trained on by name and content: validation, labeled and training (labelled and unlabelled)
are those, unseen is none of them. What a score cannot be trusted for is said before the first case.

Distances are in millimetres. Where a mask is empty they are undefined (null), and counted as such.`,
    );
  addInference(command);
  addShared(command, 'device', 'threads', 'exact', 'precision', 'maxMemory', 'quiet').action(
    async (modelPath: string, options) => {
      const terminal = createTerminal({ quiet: options.quiet, json: options.json === true });
      const { device, settings: deviceSettings } = await chooseDevice(options, terminal);
      const file = modelFileOf(modelPath);
      const model = await loadModel(file, options.weights === undefined ? {} : { network: options.weights });
      const settings = {
        ...inferenceArguments(options),
        toleranceMm: options.tolerance,
        ...(options.maxMemory === undefined
          ? {}
          : {
              maxMemoryBytes: options.maxMemory as number,
              processBytes: process.memoryUsage().rss,
              onEstimate: (id: string, estimate: MemoryEstimate) => terminal.note(memoryLine(id, estimate)),
            }),
      };
      const onWatch = (owner: string, seconds: number) =>
        terminal.note(`${options.out} is held by ${owner}: watching for ${seconds} s whether that one still lives.`);
      const lock = options.out === undefined ? undefined : await lockFolder(options.out, 'an evaluation', { onWatch });
      try {
        const weights = weightsOf(model, options.weights);
        const folders = dataFolders(options.data, options.dataset, model);
        const datasets = await selectCases(model, folders, options.task, options.cases);
        const selections = datasets.map(({ selection }) => selection);
        for (const selection of selections) for (const note of selectionNotes(selection)) terminal.note(note);
        for (const { opened } of datasets)
          for (const text of opened.remarks ?? []) terminal.note(`${opened.name}: ${text}`);
        const cases: EvaluatedCase[] = [];
        const failures = new Failures(datasets.reduce((sum, { cases }) => sum + cases.length, 0));
        const failed: { id: string; dataset: string; message: string }[] = [];
        const began = performance.now();
        await interruptible(terminal, 'Stopping after this window', async (signal) => {
          for (const selected of datasets) {
            const started = performance.now();
            const evaluated = evaluateSelected(model, selected, {
              ...settings,
              signal,
              attempt: async ({ dataset, id }, work) => {
                const outcomes = await failures.guard(id, work);
                if (outcomes === undefined) failed.push({ id, dataset, message: failures.list.at(-1)!.message });
                return outcomes;
              },
              onProgress: (progress) => terminal.status(statusLine(progress)),
            });
            for await (const { dataset, id, index, total, outcomes } of evaluated) {
              if (options.out !== undefined) await writeSlices(options.out, outcomes);
              for (const outcome of outcomes) {
                cases.push(outcome.result);
                if (options.out === undefined) continue;
                await writeOverlay(options.out, outcome);
                if (options.saveMasks !== true) continue;
                const mask = join(options.out, 'masks', fileNameOf(`${id}_${outcome.result.task}.nii.gz`));
                await writeNifti(mask, outcome.prediction);
              }
              if (index === total) {
                terminal.note(`${dataset}: ${total} cases in ${formatDuration((performance.now() - started) / 1000)}`);
              }
            }
          }
        });
        const evaluation = makeEvaluation(
          model,
          cases,
          {
            model: file,
            device: device.description,
            deviceSettings,
            weights,
            program: programVersion(),
            seconds: (performance.now() - began) / 1000,
            selections,
            ...(failed.length === 0 ? {} : { failures: failed }),
          },
          settings,
        );
        await lock?.assertHeld();
        if (typeof options.json === 'string') await writeFileAtomic(options.json, evaluationText(evaluation));
        if (options.csv !== undefined) await writeFileAtomic(options.csv, casesToCsv(cases));
        if (options.out !== undefined) await writeEvaluation(options.out, evaluation);
        const unscored = datasets.flatMap(({ opened, tasks }) => {
          const count = failed.filter(({ dataset }) => dataset === opened.name).length;
          return tasks.map((index) => [taskName(model, index), count] as const);
        });
        terminal.print(summaryTable(evaluation.summary, failed.length === 0 ? undefined : new Map(unscored)));
        terminal.printJson(evaluation);
        failures.tell('cases');
      } finally {
        await lock?.release();
        model.network.dispose();
      }
    },
  );
}

/**
 * Folders as they were given: FOLDER, or NAME=FOLDER with a name of the model's plan.
 * @throws VERSEMI_USAGE, VERSEMI_MODEL_TASK_UNKNOWN
 */
function dataFolders(data: readonly string[], dataset: string | undefined, { plan }: LoadedModel): DatasetFolder[] {
  if (dataset !== undefined && data.length > 1) {
    throw new VersemiError('USAGE', {
      field: '--dataset',
      expected: 'one folder',
      found: `${data.length}: ${data.join(', ')}`,
      remedy: 'Say of each folder which dataset it is: --data NAME=FOLDER.',
    });
  }
  const known = plan.datasets.map(({ name }) => name);
  return data.map((text) => {
    const name = known.find((one) => text.startsWith(`${one}=`));
    if (name !== undefined) return { dataset: name, folder: text.slice(name.length + 1) };
    const unknown = existsSync(text) ? undefined : /^([^/\\]+?)=/.exec(text)?.[1];
    if (unknown === undefined) return { folder: text, ...(dataset === undefined ? {} : { dataset }) };
    throw new VersemiError('MODEL_TASK_UNKNOWN', {
      field: `--data ${text}`,
      expected: `NAME=FOLDER with the name of a dataset of the model: ${known.join(', ')}`,
      found: unknown,
      remedy: 'Correct the name, or leave it out and name tasks of one dataset (--task).',
    });
  });
}

function statusLine({ dataset, id, index, total, window, windows, pass, passes }: CaseProgress): string {
  const done = (index - 1 + (pass + window / windows) / passes) / total;
  return `${dataset} ${progressBar(done)} case ${index} of ${total}, ${id}`;
}

/**
 * Mean ± standard deviation per task.
 * @param unscored per task, how many cases failed; absent: a column for them is too
 */
export function summaryTable(summary: Summary, unscored?: ReadonlyMap<string, number>): string {
  const columns = [
    ['Dice', 'dice', 3],
    ['Jaccard', 'jaccard', 3],
    ['95HD pooled (mm)', 'hd95PooledMm', 2],
    ['95HD max (mm)', 'hd95MaxMm', 2],
    ['ASD (mm)', 'asdMm', 2],
    ['surface Dice', 'surfaceDice', 3],
  ] as const;
  return formatTable(
    [
      ...['task', 'cases', ...(unscored === undefined ? [] : ['failed'])],
      ...[...columns.map(([heading]) => heading), 'undefined distances'],
    ],
    // A task of which every case failed has a row too.
    [...new Set([...Object.keys(summary), ...(unscored?.keys() ?? [])])].map((task) => {
      const metrics = summary[task] ?? {};
      return [
        task,
        String((metrics.dice?.count ?? 0) + (metrics.dice?.undefinedCount ?? 0)),
        ...(unscored === undefined ? [] : [String(unscored.get(task) ?? 0)]),
        ...columns.map(([, metric, digits]) => {
          const value = metrics[metric];
          if (value === undefined || value.mean === null) return '–';
          return `${value.mean.toFixed(digits)} ± ${(value.std ?? 0).toFixed(digits)}`;
        }),
        String(metrics.hd95PooledMm?.undefinedCount ?? 0),
      ];
    }),
  );
}
