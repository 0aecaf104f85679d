import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { loadModel } from '../checkpoints/files.js';
import type { CohortCase } from '../cohort/cohort.js';
import type { PlacedSeries } from '../datasets/dicom/read-series.js';
import { openScan, scanFacts } from '../datasets/load-case.js';
import { findScans, type ScanFiles } from '../datasets/scan-files.js';
import { estimateMemory } from '../inference/memory.js';
import { type PredictProgress, predictVolume, type TaskPrediction } from '../inference/predict.js';
import { inferenceSettings, type Segmenter, syntheticTaskName, taskIndices, taskName } from '../inference/segmenter.js';
import { addCohort, cohortLine, modelHash, openCohort, supervised, tellEarlierFailures } from './cohort-options.js';
import { chooseDevice } from './device.js';
import { Failures } from './failures.js';
import {
  addInference,
  inferenceArguments,
  memoryLine,
  modelFileOf,
  seriesHelp,
  weightsOf,
} from './inference-options.js';
import { interruptible } from './interrupt.js';
import { addShared, list, positiveTriple } from './options.js';
import {
  formatList,
  isPerTask,
  maskFormats,
  seriesFor,
  taskFile,
  type WrittenObject,
  writeObjects,
  writeTask,
} from './predict-formats.js';
import {
  datasetsOfMaps,
  labelNamesFile,
  type MadeMask,
  type OutputNames,
  outputsOf,
  requireOwnOutputs,
  type WrittenMap,
  withoutEarlierOutputs,
  writeLabelMaps,
} from './predict-outputs.js';
import { leftOutLines, remarksOn, requireSpacingUsed, sourcesOf } from './predict-scans.js';
import { createTerminal, formatDuration, formatTable, progressBar } from './terminal.js';

export function addPredict(program: Command): void {
  const command = program
    .command('predict')
    .description('Segment scans: one mask per task, in the geometry of the scan.')
    .argument('<model>', 'a model file, or the folder of a run')
    .argument('<input...>', 'images, DICOM folders, folders of images, or datasets (Decathlon, nnU-Net, HDF5, images)')
    .requiredOption('--out <folder>', 'where the masks go: NAME_TASK.nii.gz, or as --format says')
    .addOption(
      new Option('--task <names>', 'only these tasks, comma-separated (default: all that the model knows)').argParser(
        list,
      ),
    )
    .addOption(
      new Option(
        '--format <list>',
        'nifti or nrrd: a file per task; seg or rtstruct: a DICOM object with all tasks, NAME.seg.dcm, NAME.rtstruct.dcm',
      )
        .argParser(formatList)
        .default(['nifti'], 'nifti'),
    )
    .option('--deidentify', 'DICOM objects: leave names, numbers and dates of the patient out (UIDs stay)')
    .option('--label-map', 'write a label map too, per dataset of the model: NAME_DATASET-labels.nii.gz and .json')
    .addOption(
      new Option(
        '--channel <which>',
        "volume of 4-D files, or modality of files named _0000, _0001, by index or name (default: the model's plan)",
      ).argParser((text): number | string => (/^\d+$/.test(text) ? Number(text) : text)),
    )
    .addOption(
      new Option('--spacing <mm>', 'spacing of HDF5 files: x,y,z or one number (default: dataset.json)').argParser(
        positiveTriple,
      ),
    )
    .option('--series <which>', seriesHelp)
    .option('--each-file', 'files named _0000, _0001 ... are scans of their own, not modalities of one')
    .option('--skip-existing', 'pass over scans of which every output is there')
    .addHelpText(
      'after',
      `
Examples:
  $ versemi predict model.safetensors scan.nii.gz --out out
  $ versemi predict model.safetensors scans/ --out out --task left-atrium --largest-component
  $ versemi predict model.safetensors data/Task01_BrainTumour --out out --channel FLAIR --label-map
  $ versemi predict model.safetensors study/ --out out --series "thin slices" --format seg,rtstruct
  $ versemi predict model.safetensors case.h5 --out out --spacing 0.625 --keys img,mask
  $ versemi predict model.safetensors scan.nii.gz --out out --device wasm --tta
  $ versemi predict model.safetensors ct.nii.gz --out out --max-memory 2GB
  $ versemi predict model.safetensors scan.nii.gz --out out --exact
  $ versemi predict model.safetensors scan.nii.gz --out out --device cuda --precision tf32
  $ versemi predict model.safetensors cohort/ --out out --manifest out/manifest.jsonl --part 3/8 --timeout 600

A scan that cannot be read or segmented does not end the others: what failed is listed at the end, and the exit code is 3.
Names lose the number of a modality: ID_0000.nii.gz gives ID_TASK.nii.gz. Hidden files are passed over.

In a label map the values are the dataset's own. A part lies on its whole (fewer labels on more; with regions_class_order, in
its order); where other masks overlap, the later task of the model is seen, and the number of such voxels is told.

With --max-memory the memory that a scan will take is printed before its voxels are read. Parts cost windows that are computed
twice; the masks are the same, bit for bit.`,
    );
  addInference(command);
  addCohort(command);
  addShared(
    command,
    ...(['keys', 'filesOutside', 'device', 'threads', 'exact', 'precision', 'maxMemory', 'json', 'quiet'] as const),
  ).action(async (modelFile: string, inputs: string[], options) => {
    const terminal = createTerminal(options);
    if (await supervised(options, terminal)) return;
    const { filesOutside, eachFile, out: folder } = options;
    const found = await findScans(inputs, { keys: options.keys, filesOutside, eachFile, except: folder });
    const { device, settings } = await chooseDevice(options, terminal);
    const model = await loadModel(
      modelFileOf(modelFile),
      options.weights === undefined ? {} : { network: options.weights },
    );
    try {
      weightsOf(model, options.weights);
      const tasks = taskIndices(model, options.task); // an unknown task is an error before the first scan is read
      const names = tasks.map((index) => taskName(model, index));
      const inference = inferenceArguments(options);
      const outputs: OutputNames = {
        folder,
        tasks: names,
        labelMaps: options.labelMap ? datasetsOfMaps(model.plan, names) : [],
        formats: options.format,
      };
      const { scans, leftOut } = await withoutEarlierOutputs(found.scans, everyOutput(model, folder));
      requireOwnOutputs(scans, outputs);
      requireSpacingUsed(scans, options.spacing);
      const remarks = [...leftOutLines([...found.leftOut, ...leftOut]), ...remarksOn(scans, options)];
      for (const text of remarks) terminal.note(text);
      const remark = (text: string) => {
        remarks.push(text);
        terminal.note(text);
      };
      const cohort = await openCohort<ScanResult, ScanFiles & CohortCase>(scans.map(caseOfScan), options, terminal, {
        ...{ command: 'predict', device: device.description, what: 'scans' },
        settings: [
          await modelHash(options, model.file),
          outputs,
          inferenceSettings(model, inference),
          ...settingsOf(options),
          settings,
        ],
      });
      const todo = options.skipExisting
        ? cohort.todo.filter(({ id }) => !outputsOf(outputs, id).every((file) => existsSync(file)))
        : cohort.todo;
      if (todo.length < cohort.todo.length)
        terminal.note(`${cohort.todo.length - todo.length} of ${cohort.todo.length} scans are done.`);

      const processBytes = process.memoryUsage().rss;
      const results = new Map(cohort.done);
      const failures = new Failures(todo.length + cohort.done.size + cohort.failed.length);
      tellEarlierFailures(cohort, failures);
      try {
        await interruptible(terminal, 'Stopping after this window', async (signal) => {
          for (const [index, scan] of todo.entries()) {
            const started = performance.now();
            const name = scan.modalityFiles === undefined ? basename(scan.image) : scan.id;
            const label = `${name} (${index + 1} of ${todo.length})`;
            const result = await failures.guard(scan.image, () =>
              cohort.attempt(scan, async () => {
                const made = await writeScan(scan, await predictScan(scan, label, started, signal));
                return { result: made, outputs: filesOf(made) };
              }),
            );
            if (result !== undefined) results.set(scan.id, result);
            terminal.note(
              `${label}: ${result === undefined ? 'failed' : formatDuration((performance.now() - started) / 1000)}`,
            );
          }
        });
      } finally {
        // Also when a full disk or Ctrl-C ends the call: what was written is told, in the order of the scans.
        const told = scans.flatMap(({ id }) => results.get(id) ?? []);
        const rows = told.flatMap(({ predictions }) => predictions);
        const maps = told.flatMap(({ labelMaps }) => labelMaps);
        const objects = told.flatMap((result) => result.objects);
        if (rows.length > 0 || failures.list.length > 0 || todo.length === 0) {
          // Of a cohort the manifest is the list.
          if (options.manifest !== undefined) terminal.print(cohortLine(results.size, failures, options));
          else {
            if (rows.length > 0) terminal.print(maskTable(rows));
            for (const { output } of [...maps, ...objects]) terminal.print(output);
          }
          terminal.printJson({
            ...{ model: modelFile, device: device.description, settings, predictions: rows },
            ...(options.labelMap ? { labelMaps: maps } : {}),
            ...(objects.length > 0 ? { objects } : {}),
            ...{ failures: failures.list, leftOut: [...found.leftOut, ...leftOut], remarks },
          });
        }
      }
      failures.tell('scans');

      async function writeScan(scan: ScanFiles, { made, series }: Awaited<ReturnType<typeof predictScan>>) {
        const result: ScanResult = { predictions: [], labelMaps: [], objects: [] };
        const perTask = outputs.formats.filter(isPerTask);
        for (const { input, prediction } of made) {
          for (const format of perTask) {
            const output = taskFile(folder, scan.id, prediction.task, format);
            await writeTask(output, format, prediction);
            result.predictions.push(describe(input, output, prediction));
          }
        }
        if (series !== undefined) {
          const predictions = made.map(({ prediction }) => prediction);
          const how = { model: model.plan.name, deidentify: options.deidentify === true, remark };
          const written = await writeObjects(outputs.formats, series, predictions, { folder, id: scan.id }, how);
          result.objects.push(...written);
          if (perTask.length === 0)
            for (const { input, prediction } of made)
              result.predictions.push(describe(input, written[0]?.output, prediction));
        }
        if (options.labelMap) {
          const written = await writeLabelMaps(model.plan, made, outputs, scan.id);
          result.labelMaps.push(...written);
          for (const { output, contestedVoxels } of written)
            if (contestedVoxels > 0)
              remark(`${output}: ${contestedVoxels} voxels are in the masks of two tasks; the later one is seen.`);
        }
        return result;
      }

      async function predictScan(scan: ScanFiles, label: string, started: number, signal: AbortSignal) {
        const made: MadeMask[] = [];
        let series: PlacedSeries | undefined;
        for (const source of await sourcesOf(model, scan, tasks, options, remark)) {
          series = await seriesFor(outputs.formats, source.file, options.series);
          let strips = 1;
          if (options.maxMemory !== undefined) {
            const memory = { ...inference, maxMemoryBytes: options.maxMemory, processBytes };
            const estimate = estimateMemory(model, await scanFacts(source.file, source.options), source.tasks, memory);
            terminal.note(memoryLine(label, estimate));
            strips = estimate.strips;
          }
          const predictions = await predictVolume(
            model,
            await openScan(source.file, { ...source.options, onNotice: remark }),
            {
              ...inference,
              tasks: source.tasks.map((index) => taskName(model, index)),
              strips,
              signal,
              onProgress: (progress) => terminal.status(statusLine(label, progress, started)),
            },
          );
          made.push(...predictions.map((prediction) => ({ input: source.file, prediction })));
        }
        return { made, series };
      }
    } finally {
      model.network.dispose();
    }
  });
}

/** All that the model could write for a scan, in this call or in another. */
function everyOutput({ plan }: Segmenter, folder: string): OutputNames {
  return {
    folder,
    tasks: [...plan.tasks.map(({ name }) => name), syntheticTaskName],
    labelMaps: plan.datasets.map(({ name }) => name),
    formats: maskFormats,
  };
}

/** What is told of a scan. */
interface ScanResult {
  readonly predictions: ReturnType<typeof describe>[];
  readonly labelMaps: WrittenMap[];
  readonly objects: WrittenObject[];
}

/** Every file that was written of a scan. */
function filesOf({ predictions, labelMaps, objects }: ScanResult): string[] {
  const maps = labelMaps.map(({ output }) => output);
  const files = [...predictions, ...objects].flatMap(({ output }) => output ?? []);
  return [...new Set([...files, ...maps, ...maps.map(labelNamesFile)])];
}

function caseOfScan(scan: ScanFiles): ScanFiles & CohortCase {
  const { id, image, modalityFiles, modalities, spacingMm } = scan;
  const inputs = [...(modalityFiles?.values() ?? [image])];
  return { ...scan, key: id, inputs, settings: [modalities ?? null, spacingMm ?? null] };
}

/** Options that decide what is read and written. */
function settingsOf(options: Record<string, unknown>): unknown[] {
  const names = ['weights', 'channel', 'spacing', 'keys', 'series', 'deidentify', 'eachFile'];
  return names.map((name) => options[name] ?? null);
}

function maskTable(rows: readonly ReturnType<typeof describe>[]): string {
  return formatTable(
    ['mask', 'task', 'voxels', 'volume (ml)'],
    rows.map((row) => [row.output ?? '–', row.task, String(row.foregroundVoxels), row.volumeMl.toFixed(2)]),
  );
}

function describe(input: string, output: string | undefined, { task, foregroundVoxels, volumeMl }: TaskPrediction) {
  return { input, output, task, foregroundVoxels, volumeMl };
}

function statusLine(
  label: string,
  { window, windows, pass, passes, slices }: PredictProgress,
  started: number,
): string {
  const done = (pass + window / windows) / passes;
  const seconds = (performance.now() - started) / 1000;
  return `${label} ${progressBar(done)} ${Math.round(done * 100)} %, ${slices} slices final, ${formatDuration((seconds / done) * (1 - done))} left`;
}
