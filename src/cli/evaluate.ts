import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeFileAtomic } from '../atomic-file.js';
import { loadModel } from '../checkpoints/files.js';
import { writeNifti } from '../datasets/read-volume.js';
import { fileNameOf } from '../file-name.js';
import { lockFolder } from '../folder-lock.js';
import type { EvaluatedCase } from '../inference/evaluate.js';
import { type CaseProgress, evaluateDataset, makeEvaluation } from '../inference/evaluate-dataset.js';
import type { MemoryEstimate } from '../inference/memory.js';
import type { Summary } from '../metrics/summary.js';
import { casesToCsv } from '../reports/cases-csv.js';
import { evaluationFileName, evaluationText, writeEvaluation, writeOverlay } from '../reports/evaluation-folder.js';
import { chooseDevice } from './device.js';
import { addInference, inferenceArguments, memoryLine, modelFileOf } from './inference-options.js';
import { interruptible } from './interrupt.js';
import { addShared, list, positiveNumber } from './options.js';
import { createTerminal, formatDuration, formatTable, progressBar } from './terminal.js';

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
  $ versemi evaluate runs/first --data data/spleen --max-memory 2GB
  $ versemi evaluate runs/first --data data/spleen --device cuda --precision tf32

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
        ...(options.dataset === undefined ? {} : { dataset: options.dataset }),
        ...(options.task === undefined ? {} : { tasks: options.task }),
        ...(options.cases === undefined ? {} : { cases: options.cases }),
        ...(options.maxMemory === undefined
          ? {}
          : {
              maxMemoryBytes: options.maxMemory as number,
              processBytes: process.memoryUsage().rss,
              onEstimate: (id: string, estimate: MemoryEstimate) => terminal.note(memoryLine(id, estimate)),
            }),
      };
      const lock = options.out === undefined ? undefined : await lockFolder(options.out, 'an evaluation');
      try {
        const cases: EvaluatedCase[] = [];
        await interruptible(terminal, 'Stopping after this window', async (signal) => {
          for (const folder of options.data as string[]) {
            const started = performance.now();
            const evaluated = evaluateDataset(model, folder, {
              ...settings,
              signal,
              onProgress: (progress) => terminal.status(statusLine(progress)),
            });
            for await (const { dataset, id, index, total, trainedOn, outcomes } of evaluated) {
              if (index === 1 && trainedOn > 0) {
                terminal.note(
                  `${dataset}: the model was trained on ${trainedOn} of these ${total} cases with their labels.`,
                );
              }
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
          { model: file, device: device.description, deviceSettings },
          settings,
        );
        if (typeof options.json === 'string') await writeFileAtomic(options.json, evaluationText(evaluation));
        if (options.csv !== undefined) await writeFileAtomic(options.csv, casesToCsv(cases));
        if (options.out !== undefined) await writeEvaluation(options.out, evaluation);
        terminal.print(summaryTable(evaluation.summary));
        terminal.printJson(evaluation);
      } finally {
        await lock?.release();
        model.network.dispose();
      }
    },
  );
}

function statusLine({ dataset, id, index, total, window, windows, pass, passes }: CaseProgress): string {
  const done = (index - 1 + (pass + window / windows) / passes) / total;
  return `${dataset} ${progressBar(done)} case ${index} of ${total}, ${id}`;
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
