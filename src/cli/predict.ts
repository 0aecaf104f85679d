import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { loadModel } from '../checkpoints/files.js';
import type { PlacedSeries } from '../datasets/dicom/placed.js';
import { openScan } from '../datasets/load-case.js';
import type { ImageFacts } from '../datasets/read-volume.js';
import { findScans, type ScanFiles } from '../datasets/scan-files.js';
import { noTaskFits, type TaskFit } from '../inference/fit.js';
import { maskIntensities } from '../inference/measure.js';
import { estimateMemory } from '../inference/memory.js';
import { type PredictProgress, predictVolume } from '../inference/predict.js';
import { type Segmenter, syntheticTaskName, taskName } from '../inference/segmenter.js';
import type { TaskVolume } from '../reports/volumes.js';
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
import { askedTasks, fitLines, type JudgedSource, judgeSource, unrecordedLine } from './predict-fit.js';
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
  type MadeMask,
  type OutputNames,
  outputsOf,
  requireOwnOutputs,
  type WrittenMap,
  withoutEarlierOutputs,
  writeLabelMaps,
} from './predict-outputs.js';
import { leftOutLines, remarksOn, requireSpacingUsed, sourcesOf } from './predict-scans.js';
import { requireOwnTables, volumeRow, volumesFile, writeVolumes } from './predict-volumes.js';
import { createTerminal, formatDuration, formatTable, progressBar } from './terminal.js';

export function addPredict(program: Command): void {
  const command = program
    .command('predict')
    .description('Segment scans: one mask per task, in the geometry of the scan.')
    .argument('<model>', 'a model file, or the folder of a run')
    .argument(
      '<input...>',
      'images, DICOM folders, folders of images, or datasets (Decathlon, nnU-Net, HDF5, images, DICOM)',
    )
    .requiredOption('--out <folder>', 'where the masks go: NAME_TASK.nii.gz, or as --format says')
    .addOption(
      new Option(
        '--task <names>',
        'only these tasks, comma-separated; all: every task (default: those whose training data the scan is like)',
      ).argParser(list),
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
        '--volumes <file>',
        'write voxels, ml and intensities per scan and task to FILE.csv or FILE.json; for both, give it twice',
      ).argParser(volumesFile),
    )
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
  $ versemi predict model.safetensors scans/ --out out --task all --volumes out/volumes.csv
  $ versemi predict model.safetensors data/Task01_BrainTumour --out out --channel FLAIR --label-map
  $ versemi predict model.safetensors study/ --out out --series "thin slices" --format seg,rtstruct
  $ versemi predict model.safetensors case.h5 --out out --spacing 0.625 --keys img,mask
  $ versemi predict model.safetensors scan.nii.gz --out out --device wasm --tta
  $ versemi predict model.safetensors ct.nii.gz --out out --max-memory 2GB
  $ versemi predict model.safetensors scan.nii.gz --out out --exact
  $ versemi predict model.safetensors scan.nii.gz --out out --device cuda --precision tf32

A scan is compared with those of each task's dataset: modality, spacing, field of view and, where their scale counts,
intensities. Tasks that it is unlike are passed over and named; a task that --task names is predicted all the same.

A scan that cannot be read or segmented does not end the others: what failed is listed at the end, and the exit code is 3.
Names lose the number of a modality: ID_0000.nii.gz gives ID_TASK.nii.gz. Hidden files are passed over.

In a label map the values are the dataset's own. A part lies on its whole (fewer labels on more; with regions_class_order, in
its order); where other masks overlap, the later task of the model is seen, and the number of such voxels is told.

With --max-memory the memory that a scan will take is printed before its voxels are read. Parts cost windows that are computed
twice; the masks are the same, bit for bit.`,
    );
  addInference(command);
  addShared(
    command,
    ...([
      'keys',
      'filesOutside',
      'device',
      'threads',
      'exact',
      'precision',
      'maxMemory',
      'parts',
      'json',
      'quiet',
    ] as const),
  ).action(async (modelFile: string, inputs: string[], options) => {
    const terminal = createTerminal(options);
    const { filesOutside, eachFile, out: folder } = options;
    const found = await findScans(inputs, {
      ...{ keys: options.keys, filesOutside, eachFile, except: folder, series: options.series },
    });
    const { device, settings } = await chooseDevice(options, terminal);
    const model = await loadModel(
      modelFileOf(modelFile),
      options.weights === undefined ? {} : { network: options.weights },
    );
    try {
      weightsOf(model, options.weights);
      const { indices: tasks, forced } = askedTasks(model, options.task); // an unknown task is an error before the first scan is read
      const names = tasks.map((index) => taskName(model, index));
      const outputs: OutputNames = {
        folder,
        tasks: names,
        labelMaps: options.labelMap ? datasetsOfMaps(model.plan, names) : [],
        formats: options.format,
      };
      const { scans, leftOut } = await withoutEarlierOutputs(found.scans, everyOutput(model, folder));
      requireOwnOutputs(scans, outputs);
      requireOwnTables(options.volumes ?? [], scans, outputs, options.skipExisting === true);
      requireSpacingUsed(scans, options.spacing);
      const remarks = [
        ...leftOutLines([...found.leftOut, ...leftOut]),
        ...remarksOn(scans, options),
        ...unrecordedLine(model, tasks),
      ];
      for (const text of remarks) terminal.note(text);
      const remark = (text: string) => {
        remarks.push(text);
        terminal.note(text);
      };
      const todo = options.skipExisting
        ? scans.filter(({ id }) => !outputsOf(outputs, id).every((file) => existsSync(file)))
        : scans;
      if (todo.length < scans.length) terminal.note(`${scans.length - todo.length} of ${scans.length} scans are done.`);

      const processBytes = process.memoryUsage().rss;
      const inference = inferenceArguments(options);
      const rows: ReturnType<typeof describe>[] = [];
      const volumes: TaskVolume[] = [];
      const passedOver: ({ readonly input: string } & Omit<TaskFit, 'unchecked'>)[] = [];
      const maps: WrittenMap[] = [];
      const objects: WrittenObject[] = [];
      const failures = new Failures(todo.length);
      let whole = false;
      try {
        await interruptible(terminal, 'Stopping after this window', async (signal) => {
          for (const [index, scan] of todo.entries()) {
            const started = performance.now();
            const isFile = scan.modalityFiles === undefined && scan.series === undefined;
            const name = isFile ? basename(scan.image) : scan.id;
            const label = `${name} (${index + 1} of ${todo.length})`;
            const result = await failures.guard(
              scan.series === undefined ? scan.image : `${scan.image} (${scan.id})`,
              () => predictScan(scan, label, started, signal),
            );
            if (result === undefined) {
              terminal.note(`${label}: failed`);
              continue;
            }
            const { made, series } = result;
            if (made.length === 0) {
              terminal.note(`${label}: done before`);
              continue;
            }
            const perTask = outputs.formats.filter(isPerTask);
            for (const one of made) {
              for (const format of perTask) {
                const output = taskFile(folder, scan.id, one.prediction.task, format);
                await writeTask(output, format, one.prediction);
                rows.push(describe(one, output));
              }
            }
            if (series !== undefined) {
              const predictions = made.map(({ prediction }) => prediction);
              const how = { plan: model.plan, deidentify: options.deidentify === true, remark };
              const written = await writeObjects(outputs.formats, series, predictions, { folder, id: scan.id }, how);
              objects.push(...written);
              if (perTask.length === 0) for (const one of made) rows.push(describe(one, written[0]?.output));
            }
            if (options.labelMap) {
              const written = await writeLabelMaps(model.plan, made, outputs, scan.id);
              maps.push(...written);
              for (const { output, contestedVoxels } of written)
                if (contestedVoxels > 0)
                  remark(`${output}: ${contestedVoxels} voxels are in the masks of two tasks; the later one is seen.`);
            }
            for (const { input, prediction, intensity } of made)
              volumes.push(volumeRow(scan.id, input, prediction, intensity));
            terminal.note(`${label}: ${formatDuration((performance.now() - started) / 1000)}`);
          }
        });
        whole = true;
      } finally {
        // Also when a full disk or Ctrl-C ends the call: what was written is told.
        if (whole || rows.length > 0 || failures.list.length > 0) {
          // A table of an earlier call stays where there is nothing to put in its place.
          const tables: string[] = volumes.length > 0 ? (options.volumes ?? []) : [];
          await writeVolumes(tables, volumes);
          if (rows.length > 0) terminal.print(maskTable(rows));
          for (const output of [...[...maps, ...objects].map((one) => one.output), ...tables]) terminal.print(output);
          terminal.printJson({
            ...{ model: modelFile, device: device.description, settings, predictions: rows, passedOver },
            ...(options.labelMap ? { labelMaps: maps } : {}),
            ...(objects.length > 0 ? { objects } : {}),
            ...{ failures: failures.list, leftOut: [...found.leftOut, ...leftOut], remarks },
          });
        }
      }
      failures.tell('scans');

      async function predictScan(scan: ScanFiles, label: string, started: number, signal: AbortSignal) {
        let series: PlacedSeries | undefined;
        const judged: (JudgedSource & { readonly strips: number })[] = [];
        const sources = await sourcesOf(model, scan, tasks, options, remark);
        for (const source of sources) {
          series = seriesFor(outputs.formats, source);
          let strips = 1;
          const estimate = (facts: ImageFacts, left: readonly number[]) => {
            if (options.maxMemory === undefined) return;
            const memory = { ...inference, maxMemoryBytes: options.maxMemory, processBytes };
            const estimated = estimateMemory(model, facts, left, memory);
            terminal.note(memoryLine(label, estimated));
            strips = estimated.strips;
          };
          const { scan: read, ...one } = await judgeSource(model, source, forced, estimate, remark);
          // Of several volumes one is in memory at a time.
          judged.push({ ...one, ...(read === undefined || sources.length > 1 ? {} : { scan: read }), strips });
        }
        const fits = judged.flatMap((one) => one.fits);
        for (const { source, fits: ofSource } of forced ? [] : judged)
          for (const { task, dataset, misfits } of ofSource)
            if (misfits.length > 0) passedOver.push({ input: source.file, task, dataset, misfits });
        const kept = judged.flatMap((one) => one.tasks.map((index) => taskName(model, index)));
        if (kept.length === 0) throw noTaskFits(scan.image, fits);
        for (const line of fitLines(label, fits, forced)) remark(line);
        const made: MadeMask[] = [];
        if (options.skipExisting && outputsOf(outputsFor(kept), scan.id).every((file) => existsSync(file)))
          return { made, series };
        for (const { source, tasks: ofSource, strips, scan: read } of judged) {
          if (ofSource.length === 0) continue;
          const image = read ?? (await openScan(source.file, source.options));
          const predictions = await predictVolume(model, image, {
            ...inference,
            tasks: ofSource.map((index) => taskName(model, index)),
            strips,
            signal,
            onProgress: (progress) => terminal.status(statusLine(label, progress, started)),
          });
          const intensities = maskIntensities(image, predictions);
          for (const [i, prediction] of predictions.entries())
            made.push({
              ...{ input: source.file, prediction, intensity: intensities[i]! },
              fit: fits.find(({ task }) => task === prediction.task)!,
            });
        }
        return { made, series };
      }

      /** The outputs of a scan of which not all tasks are predicted. */
      function outputsFor(names: readonly string[]): OutputNames {
        const labelMaps = options.labelMap ? datasetsOfMaps(model.plan, names) : [];
        return { ...outputs, tasks: names, labelMaps };
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

function maskTable(rows: readonly ReturnType<typeof describe>[]): string {
  return formatTable(
    ['mask', 'task', 'voxels', 'volume (ml)', 'mean intensity'],
    rows.map((row) => [
      ...[row.output ?? '–', row.task, String(row.foregroundVoxels), row.volumeMl.toFixed(2)],
      row.intensity === null ? '–' : String(Number(row.intensity.mean.toPrecision(4))),
    ]),
  );
}

function describe({ input, prediction, intensity, fit }: MadeMask, output: string | undefined) {
  const { task, foregroundVoxels, volumeMl } = prediction;
  const { misfits, unchecked } = fit;
  return { input, output, task, foregroundVoxels, volumeMl, intensity, misfits, unchecked };
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
