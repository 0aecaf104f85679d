import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeFileAtomic } from '../atomic-file.js';
import { type LoadedModel, loadModel } from '../checkpoints/files.js';
import type { CohortCase } from '../cohort/cohort.js';
import { inputsOfCase } from '../cohort/inputs.js';
import { fileOfPart, type Part } from '../cohort/parts.js';
import { writeNifti } from '../datasets/read-volume.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { VersemiError } from '../errors.js';
import { fileNameOf } from '../file-name.js';
import { lockFolder } from '../folder-lock.js';
import { caseSets, selectionNotes } from '../inference/case-selection.js';
import type { DatasetFolder } from '../inference/dataset-match.js';
import type { CaseOutcome, EvaluatedCase } from '../inference/evaluate.js';
import { type CaseProgress, evaluateSelected, makeEvaluation, selectCases } from '../inference/evaluate-dataset.js';
import type { MemoryEstimate } from '../inference/memory.js';
import { inferenceSettings, taskName } from '../inference/segmenter.js';
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
import {
  addCohort,
  modelHash,
  openCohort,
  partIn,
  partOf,
  supervised,
  tellEarlierFailures,
  tellFailures,
} from './cohort-options.js';
import { chooseDevice } from './device.js';
import { Failures } from './failures.js';
import {
  addInference,
  inferenceArguments,
  isTold,
  memoryLine,
  memoryOptions,
  modelFileOf,
  type WeightsArgument,
  weightsOf,
} from './inference-options.js';
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
  $ versemi evaluate runs/first --data data/spleen --out scores --part 3/8
  $ versemi merge scores --out scores

A model remembers the cases it was trained on by name and content: validation, labeled, unlabeled (trained on without labels)
and training (both) are those, unseen is none of them. What a score cannot be trusted for is said before the first case.

Distances are in millimetres. Where a mask is empty they are undefined (null), and counted as such.`,
    );
  addInference(command);
  addCohort(command);
  addShared(command, 'device', 'threads', 'exact', 'precision', 'maxMemory', 'parts', 'quiet').action(
    async (modelPath: string, options) => {
      const terminal = createTerminal({ quiet: options.quiet, json: options.json === true });
      if (await supervised(options, terminal)) return;
      const part = partOf(options);
      const { device, settings: deviceSettings } = await chooseDevice(options, terminal);
      const which: WeightsArgument = options.weights ?? {};
      const file = modelFileOf(modelPath, which.checkpoint);
      const model = await loadModel(file, which.network === undefined ? {} : { network: which.network });
      const settings = {
        ...inferenceArguments(options),
        toleranceMm: options.tolerance,
        ...memoryOptions(options.maxMemory, device.name),
        processBytes: process.memoryUsage().rss,
        onEstimate: (id: string, estimate: MemoryEstimate) => {
          if (isTold(estimate, options.maxMemory)) terminal.note(memoryLine(id, estimate));
        },
      };
      const onWatch = (owner: string, seconds: number) =>
        terminal.note(`${options.out} is held by ${owner}: watching for ${seconds} s whether that one still lives.`);
      const lock =
        options.out === undefined
          ? undefined
          : await lockFolder(partFolder(options.out, part), 'an evaluation', { onWatch });
      try {
        const weights = weightsOf(model, which.network);
        const folders = dataFolders(options.data, options.dataset, model);
        const datasets = await selectCases(model, folders, options.task, options.cases, {
          onProgress: ({ dataset, id, index, total }) =>
            terminal.status(`${dataset} ${progressBar(index / total)} ${index} of ${total} cases read, ${id}`),
        });
        const selections = datasets.map(({ selection }) => selection);
        for (const selection of selections) for (const note of selectionNotes(selection)) terminal.note(note);
        for (const { opened } of datasets)
          for (const text of opened.remarks ?? []) terminal.note(`${opened.name}: ${text}`);
        const all = datasets.flatMap((selected) => selected.cases.map((files) => caseOf(selected.opened, files)));
        const cohort = await openCohort<EvaluatedCase[], EvaluationCase>(all, options, terminal, {
          ...{ command: 'evaluate', device: device.description, what: 'cases' },
          settings: [
            await modelHash(options, file),
            ...[weights, inferenceSettings(model, inferenceArguments(options)), options.tolerance, deviceSettings],
            ...[options.out ?? null, options.saveMasks ?? false, datasets.map(({ tasks }) => tasks)],
          ],
        });
        const results = new Map(cohort.done);
        const failures = new Failures(cohort.mine.length);
        tellEarlierFailures(cohort, failures);
        const failed = cohort.failed.map(({ key, error }) => {
          const { id, dataset } = cohort.mine.find((one) => one.key === key)!;
          return { id, dataset, message: error.message };
        });
        const began = performance.now();
        await interruptible(terminal, 'Stopping after this window', async (signal) => {
          for (const selected of datasets) {
            const started = performance.now();
            const mine = cohort.todo.filter(({ dataset }) => dataset === selected.opened.name);
            const todo = new Map(mine.map((one) => [one.id, one]));
            const evaluated = evaluateSelected(
              model,
              { ...selected, cases: mine.map((one) => one.case) },
              {
                ...settings,
                signal,
                attempt: async ({ dataset, id }, work) => {
                  const one = todo.get(id)!;
                  const result = await failures.guard(id, () =>
                    cohort.attempt(one, async () => {
                      const outcomes = await work();
                      return {
                        result: outcomes.map((outcome) => outcome.result),
                        outputs: await writeOutcomes(outcomes),
                      };
                    }),
                  );
                  if (result === undefined) failed.push({ id, dataset, message: failures.list.at(-1)!.message });
                  else results.set(one.key, result);
                  // They are written: nothing more is asked of them.
                  return [];
                },
                onProgress: (progress) => terminal.status(statusLine(progress)),
              },
            );
            for await (const { dataset, index, total } of evaluated)
              if (index === total)
                terminal.note(`${dataset}: ${total} cases in ${formatDuration((performance.now() - started) / 1000)}`);
          }
        });
        const cases = cohort.mine.flatMap(({ key }) => results.get(key) ?? []);
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
            ...partIn(options),
          },
          settings,
        );
        await lock?.assertHeld();
        if (typeof options.json === 'string')
          await writeFileAtomic(fileOfPart(options.json, part), evaluationText(evaluation));
        if (options.csv !== undefined) await writeFileAtomic(fileOfPart(options.csv, part), casesToCsv(cases));
        if (options.out !== undefined) await writeEvaluation(options.out, evaluation);
        const unscored = datasets.flatMap(({ opened, tasks }) => {
          const count = failed.filter(({ dataset }) => dataset === opened.name).length;
          return tasks.map((index) => [taskName(model, index), count] as const);
        });
        terminal.print(summaryTable(evaluation.summary, failed.length === 0 ? undefined : new Map(unscored)));
        terminal.printJson(evaluation);
        tellFailures(failures, 'cases', options, terminal);

        /** Slices, overlays and masks of a case. */
        async function writeOutcomes(outcomes: readonly CaseOutcome[]): Promise<string[]> {
          const files: string[] = [];
          if (options.out === undefined || outcomes.length === 0) return files;
          files.push(await writeSlices(options.out, outcomes));
          for (const outcome of outcomes) {
            files.push(await writeOverlay(options.out, outcome));
            if (options.saveMasks !== true) continue;
            const { id, task } = outcome.result;
            const mask = join(options.out, 'masks', fileNameOf(`${id}_${task}.nii.gz`));
            await writeNifti(mask, outcome.prediction);
            files.push(mask);
          }
          return files;
        }
      } finally {
        await lock?.release();
        model.network.dispose();
      }
    },
  );
}

/** A case as a cohort has it. */
interface EvaluationCase extends CohortCase {
  readonly id: string;
  readonly dataset: string;
  /** What is evaluated. */
  readonly case: CaseFiles;
}

function caseOf({ name, spacingMm, keys, labels, ignoredLabel }: Dataset, files: CaseFiles): EvaluationCase {
  const { id, series } = files;
  const settings = [spacingMm ?? null, keys ?? null, labels, ignoredLabel ?? null, series ?? null];
  return { id, dataset: name, case: files, key: `${name}/${id}`, ...inputsOfCase(files), settings };
}

/** What one part holds while it writes: the parts of an evaluation share its folder. */
function partFolder(folder: string, part: Part | undefined): string {
  return part === undefined ? folder : fileOfPart(join(folder, 'part'), part);
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
  const names = Object.values(summary).flatMap((metrics) => Object.keys(metrics));
  const ownNames = [...new Set(names)].filter((name) => name.startsWith('own.'));
  const columns = [
    ['Dice', 'dice', 3],
    ['Jaccard', 'jaccard', 3],
    ['95HD pooled (mm)', 'hd95PooledMm', 2],
    ['95HD max (mm)', 'hd95MaxMm', 2],
    ['ASD (mm)', 'asdMm', 2],
    ['ASSD (mm)', 'assdMm', 2],
    ['surface Dice', 'surfaceDice', 3],
    ...ownNames.map((name) => [name.slice('own.'.length), name, 3] as const),
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
