import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import type { CohortCase } from '../cohort/cohort.js';
import { seriesFiles } from '../cohort/inputs.js';
import { fileOfPart } from '../cohort/parts.js';
import type { PlacedSeries } from '../datasets/dicom/placed.js';
import { openScan } from '../datasets/load-case.js';
import type { ImageFacts } from '../datasets/read-volume.js';
import { findScans, type ScanFiles } from '../datasets/scan-files.js';
import { noTaskFits, type TaskFit } from '../inference/fit.js';
import { maskIntensities } from '../inference/measure.js';
import { estimateMemory } from '../inference/memory.js';
import { type PredictProgress, predictVolume } from '../inference/predict.js';
import { inferenceSettings, type Segmenter, syntheticTaskName, taskName } from '../inference/segmenter.js';
import type { TaskVolume } from '../reports/volumes.js';
import {
  addCohort,
  cohortLine,
  modelHash,
  openCohort,
  partIn,
  partOf,
  requireNoManifest,
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
  seriesHelp,
  type WeightsArgument,
} from './inference-options.js';
import { interruptible } from './interrupt.js';
import { loadModels, modelNotes, modelsIn } from './models.js';
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
import { requireOwnTables, volumeRow, volumesFile, writeVolumes } from './predict-volumes.js';
import { createTerminal, formatDuration, formatTable, progressBar } from './terminal.js';

export function addPredict(program: Command): void {
  const command = program
    .command('predict')
    .description('Segment scans: one mask per task, in the geometry of the scan.')
    .argument('<model>', 'a model file, the folder of a run, or a folder of the runs of all folds (fold-0, fold-1 ...)')
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
  $ versemi predict folds scans/ --out out        (the mean of folds/fold-0, folds/fold-1 ...)
  $ versemi predict a.safetensors scans/ --out out --ensemble b.safetensors --ensemble c.safetensors
  $ versemi predict model.safetensors data/Task01_BrainTumour --out out --channel FLAIR --label-map
  $ versemi predict model.safetensors study/ --out out --series "thin slices" --format seg,rtstruct
  $ versemi predict model.safetensors case.h5 --out out --spacing 0.625 --keys img,mask
  $ versemi predict model.safetensors scan.nii.gz --out out --device wasm --tta
  $ versemi predict model.safetensors ct.nii.gz --out out --max-memory 2GB
  $ versemi predict model.safetensors scan.nii.gz --out out --exact
  $ versemi predict model.safetensors scan.nii.gz --out out --device cuda --precision tf32
  $ versemi predict model.safetensors cohort/ --out out --manifest out/manifest.jsonl --part 3/8 --timeout 600

A scan is compared with those of each task's dataset: modality, spacing, field of view and, where their scale counts,
intensities. Tasks that it is unlike are passed over and named; a task that --task names is predicted all the same.

A scan that cannot be read or segmented does not end the others: what failed is listed at the end, and the exit code is 3.
Names lose the number of a modality: ID_0000.nii.gz gives ID_TASK.nii.gz. Hidden files are passed over.

In a label map the values are the dataset's own. A part lies on its whole (fewer labels on more; with regions_class_order, in
its order); where other masks overlap, the later task of the model is seen, and the number of such voxels is told.

A scan that would take more than --max-memory (without it: 90 % of what the machine, a container or a job allows) is computed in
parts, which cost windows that are computed twice; the masks are the same, bit for bit. What does not fit in parts either is refused
before its voxels are read. With --max-memory the memory that each scan will take is printed.`,
    );
  addInference(command);
  addCohort(command);
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
    if (options.skipExisting) requireNoManifest(options, '--skip-existing');
    if (await supervised(options, terminal)) return;
    const { filesOutside, eachFile, out: folder } = options;
    const found = await findScans(inputs, {
      ...{ keys: options.keys, filesOutside, eachFile, except: folder, series: options.series },
    });
    const { device, settings } = await chooseDevice(options, terminal);
    const which: WeightsArgument = options.weights ?? {};
    const models = await loadModels([modelFile, ...(options.ensemble ?? [])], which);
    const { model, files } = models;
    try {
      const { indices: tasks, forced } = askedTasks(model, options.task); // an unknown task is an error before the first scan is read
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
      const tables: string[] = (options.volumes ?? []).map((file: string) => fileOfPart(file, partOf(options)));
      requireOwnTables(tables, scans, outputs, options.skipExisting === true);
      requireSpacingUsed(scans, options.spacing);
      const remarks = [
        ...leftOutLines([...found.leftOut, ...leftOut]),
        ...remarksOn(scans, options),
        ...modelNotes(models),
        ...unrecordedLine(model, tasks),
      ];
      for (const text of remarks) terminal.note(text);
      const remark = (text: string) => {
        if (options.json) remarks.push(text);
        terminal.note(text);
      };
      const cohort = await openCohort<ScanResult, ScanFiles & CohortCase>(scans.map(caseOfScan), options, terminal, {
        ...{ command: 'predict', device: device.description, what: 'scans' },
        settings: [
          ...[await modelHash(options, files), outputs, forced, inferenceSettings(model, inference)],
          ...[settingsOf(options), settings],
        ],
      });
      const todo = options.skipExisting
        ? cohort.todo.filter(({ id }) => !outputsOf(outputs, id).every((file) => existsSync(file)))
        : cohort.todo;
      if (todo.length < cohort.todo.length)
        terminal.note(`${cohort.todo.length - todo.length} of ${cohort.todo.length} scans are done.`);

      const processBytes = process.memoryUsage().rss;
      const memory = { ...memoryOptions(options.maxMemory, device.name), processBytes };
      // Of thousands of scans nothing is kept in memory that nobody is told.
      const areResultsTold = options.json === true || options.manifest === undefined || tables.length > 0;
      const results = new Map(cohort.done);
      const passedOver: PassedOver[] = [...cohort.done.values()].flatMap((result) => result.passedOver);
      const failures = new Failures(todo.length + cohort.done.size + cohort.failed.length);
      tellEarlierFailures(cohort, failures);
      let whole = false;
      try {
        await interruptible(terminal, 'Stopping after this window', async (signal) => {
          for (const [index, scan] of todo.entries()) {
            const started = performance.now();
            const isFile = scan.modalityFiles === undefined && scan.series === undefined;
            const name = isFile ? basename(scan.image) : scan.id;
            const label = `${name} (${index + 1} of ${todo.length})`;
            const passedBefore = passedOver.length;
            const result = await failures.guard(
              scan.series === undefined ? scan.image : `${scan.image} (${scan.id})`,
              () =>
                cohort.attempt(scan, async () => {
                  passedOver.length = passedBefore;
                  const written = await writeScan(scan, await predictScan(scan, label, started, signal));
                  const made: ScanResult = { ...written, passedOver: passedOver.slice(passedBefore) };
                  return { result: made, outputs: filesOf(made) };
                }),
            );
            if (result !== undefined) results.set(scan.id, areResultsTold ? result : untold);
            const took = formatDuration((performance.now() - started) / 1000);
            const said = result === undefined ? 'failed' : result.predictions.length === 0 ? 'done before' : took;
            terminal.note(`${label}: ${said}`);
          }
        });
        whole = true;
      } finally {
        // Also when a full disk or Ctrl-C ends the call: what was written is told, in the order of the scans.
        const told = scans.flatMap(({ id }) => results.get(id) ?? []);
        const rows = told.flatMap(({ predictions }) => predictions);
        const volumes = told.flatMap((result) => result.volumes);
        const maps = told.flatMap(({ labelMaps }) => labelMaps);
        const objects = told.flatMap((result) => result.objects);
        if (whole || rows.length > 0 || failures.list.length > 0) {
          // A table of an earlier call stays where there is nothing to put in its place.
          const written = volumes.length > 0 ? tables : [];
          await writeVolumes(written, volumes);
          // Of a cohort the manifest is the list.
          if (options.manifest !== undefined) terminal.print(cohortLine(results.size, failures, options));
          else {
            if (rows.length > 0) terminal.print(maskTable(rows));
            for (const { output } of [...maps, ...objects]) terminal.print(output);
          }
          for (const file of written) terminal.print(file);
          terminal.printJson({
            ...{ model: modelFile, ...modelsIn(models), device: device.description, settings, ...partIn(options) },
            ...{ predictions: rows, passedOver },
            ...(options.labelMap ? { labelMaps: maps } : {}),
            ...(objects.length > 0 ? { objects } : {}),
            ...{ failures: failures.list, leftOut: [...found.leftOut, ...leftOut], remarks },
          });
        }
      }
      tellFailures(failures, 'scans', options, terminal);

      async function writeScan(scan: ScanFiles, { made, series }: Awaited<ReturnType<typeof predictScan>>) {
        const result = { predictions: [] as Row[], volumes: [] as TaskVolume[] };
        let [objects, labelMaps]: [WrittenObject[], WrittenMap[]] = [[], []];
        if (made.length === 0) return { ...result, objects, labelMaps };
        const perTask = outputs.formats.filter(isPerTask);
        for (const one of made) {
          for (const format of perTask) {
            const output = taskFile(folder, scan.id, one.prediction.task, format);
            await writeTask(output, format, one.prediction);
            result.predictions.push(describe(one, output));
          }
        }
        if (series !== undefined) {
          const predictions = made.map(({ prediction }) => prediction);
          const how = { plan: model.plan, models: files, deidentify: options.deidentify === true, remark };
          objects = await writeObjects(outputs.formats, series, predictions, { folder, id: scan.id }, how);
          if (perTask.length === 0) result.predictions.push(...made.map((one) => describe(one, objects[0]?.output)));
        }
        if (options.labelMap) {
          labelMaps = await writeLabelMaps(model.plan, made, outputs, scan.id);
          for (const { output, contestedVoxels } of labelMaps)
            if (contestedVoxels > 0)
              remark(`${output}: ${contestedVoxels} voxels are in the masks of two tasks; the later one is seen.`);
        }
        for (const { input, prediction, intensity } of made)
          result.volumes.push(volumeRow(scan.id, input, prediction, intensity));
        return { ...result, objects, labelMaps };
      }

      async function predictScan(scan: ScanFiles, label: string, started: number, signal: AbortSignal) {
        let series: PlacedSeries | undefined;
        const judged: (JudgedSource & { readonly strips: number })[] = [];
        const sources = await sourcesOf(model, scan, tasks, options, remark);
        for (const source of sources) {
          series = seriesFor(outputs.formats, source);
          let strips = 1;
          const estimate = (facts: ImageFacts, left: readonly number[]) => {
            const estimated = estimateMemory(model, facts, left, { ...inference, ...memory });
            if (isTold(estimated, options.maxMemory)) terminal.note(memoryLine(label, estimated));
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
      models.dispose();
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

type Row = ReturnType<typeof describe>;
type PassedOver = { readonly input: string } & Omit<TaskFit, 'unchecked'>;

/** What is told of a scan. */
interface ScanResult {
  readonly predictions: readonly Row[];
  readonly volumes: readonly TaskVolume[];
  readonly passedOver: readonly PassedOver[];
  readonly labelMaps: readonly WrittenMap[];
  readonly objects: readonly WrittenObject[];
}

const untold: ScanResult = { predictions: [], volumes: [], passedOver: [], labelMaps: [], objects: [] };

/** Every file that was written of a scan. */
function filesOf({ predictions, labelMaps, objects }: ScanResult): string[] {
  const maps = labelMaps.map(({ output }) => output);
  const files = [...predictions, ...objects].flatMap(({ output }) => output ?? []);
  return [...new Set([...files, ...maps, ...maps.map(labelNamesFile)])];
}

function caseOfScan(scan: ScanFiles): ScanFiles & CohortCase {
  const { id, image, modalityFiles, modalities, spacingMm, series } = scan;
  const inputs = [...(modalityFiles?.values() ?? [image])];
  return {
    ...scan,
    ...seriesFiles(series),
    key: id,
    inputs,
    settings: [modalities ?? null, spacingMm ?? null, series ?? null],
  };
}

/** Options that decide what is read and written. */
function settingsOf(options: Record<string, unknown>): unknown[] {
  const names = ['weights', 'channel', 'spacing', 'keys', 'series', 'deidentify', 'eachFile'];
  return names.map((name) => options[name] ?? null);
}

function maskTable(rows: readonly Row[]): string {
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
