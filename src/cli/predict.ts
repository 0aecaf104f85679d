import { existsSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Command, Option } from 'commander';
import { loadModel } from '../checkpoints/files.js';
import { openScan, scanFacts } from '../datasets/load-case.js';
import { writeNifti } from '../datasets/read-volume.js';
import { VersemiError } from '../errors.js';
import { fileNameOf } from '../file-name.js';
import { estimateMemory } from '../inference/memory.js';
import { type PredictProgress, predictVolume, type TaskPrediction } from '../inference/predict.js';
import { taskIndices } from '../inference/segmenter.js';
import { chooseDevice } from './device.js';
import { addInference, inferenceArguments, memoryLine, modelFileOf, weightsOf } from './inference-options.js';
import { interruptible } from './interrupt.js';
import { addShared, list } from './options.js';
import { createTerminal, formatDuration, formatTable, progressBar } from './terminal.js';

const imageEnding = /\.(nii|nii\.gz|hdr|hdr\.gz|h5|hdf5)$/i;

export function addPredict(program: Command): void {
  const command = program
    .command('predict')
    .description('Segment scans: one mask per task, in the geometry of the scan.')
    .argument('<model>', 'a model file, or the folder of a run')
    .argument('<input...>', 'images, or folders of images')
    .requiredOption('--out <folder>', 'where the masks go: NAME_TASK.nii.gz')
    .addOption(
      new Option('--task <names>', 'only these tasks, comma-separated (default: all that the model knows)').argParser(
        list,
      ),
    )
    .addHelpText(
      'after',
      `
Examples:
  $ versemi predict model.safetensors scan.nii.gz --out out
  $ versemi predict model.safetensors scans/ --out out --task left-atrium --largest-component
  $ versemi predict model.safetensors scan.nii.gz --out out --device wasm --tta
  $ versemi predict model.safetensors ct.nii.gz --out out --max-memory 2GB
  $ versemi predict model.safetensors scan.nii.gz --out out --exact
  $ versemi predict model.safetensors scan.nii.gz --out out --device cuda --precision tf32

With --max-memory the memory that a scan will take is printed before its voxels are read. Parts cost windows that are computed
twice; the masks are the same, bit for bit.`,
    );
  addInference(command);
  addShared(command, 'device', 'threads', 'exact', 'precision', 'maxMemory', 'json', 'quiet').action(
    async (modelFile: string, inputs: string[], options) => {
      const terminal = createTerminal(options);
      const files = await imageFiles(inputs);
      const { device, settings } = await chooseDevice(options, terminal);
      const model = await loadModel(
        modelFileOf(modelFile),
        options.weights === undefined ? {} : { network: options.weights },
      );
      try {
        weightsOf(model, options.weights);
        const tasks = taskIndices(model, options.task); // an unknown task is an error before the first scan is read
        const processBytes = process.memoryUsage().rss;
        const rows: ReturnType<typeof describe>[] = [];
        await interruptible(terminal, 'Stopping after this window', async (signal) => {
          for (const [index, file] of files.entries()) {
            const started = performance.now();
            const label = `${basename(file)} (${index + 1} of ${files.length})`;
            const inference = inferenceArguments(options);
            let strips = 1;
            if (options.maxMemory !== undefined) {
              const memory = { ...inference, maxMemoryBytes: options.maxMemory, processBytes };
              const estimate = estimateMemory(model, await scanFacts(file), tasks, memory);
              terminal.note(memoryLine(label, estimate));
              strips = estimate.strips;
            }
            const image = await openScan(file);
            const predictions = await predictVolume(model, image, {
              ...inference,
              tasks: options.task ?? [],
              strips,
              signal,
              onProgress: (progress) => terminal.status(statusLine(label, progress, started)),
            });
            for (const prediction of predictions) {
              const output = join(options.out, fileNameOf(`${stem(file)}_${prediction.task}.nii.gz`));
              await writeNifti(output, prediction.mask);
              rows.push(describe(file, output, prediction));
            }
            terminal.note(`${label}: ${formatDuration((performance.now() - started) / 1000)}`);
          }
        });
        terminal.print(
          formatTable(
            ['mask', 'task', 'voxels', 'volume (ml)'],
            rows.map((row) => [row.output, row.task, String(row.foregroundVoxels), row.volumeMl.toFixed(2)]),
          ),
        );
        terminal.printJson({ model: modelFile, device: device.description, settings, predictions: rows });
      } finally {
        model.network.dispose();
      }
    },
  );
}

function describe(input: string, output: string, { task, foregroundVoxels, volumeMl }: TaskPrediction) {
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

/** The images that were named, and all images of folders that were named. @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_USAGE when masks would collide */
async function imageFiles(inputs: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const input of inputs) {
    if (!existsSync(input)) {
      throw new VersemiError('FILE_NOT_FOUND', {
        file: input,
        expected: 'an image or a folder of images',
        remedy: 'Check the path.',
      });
    }
    if (!statSync(input).isDirectory()) {
      files.push(input);
      continue;
    }
    const inside = (await readdir(input)).filter((name) => imageEnding.test(name)).sort();
    if (inside.length === 0) {
      throw new VersemiError('FILE_NOT_FOUND', {
        file: input,
        expected: 'images (.nii, .nii.gz, .hdr, .h5)',
        found: 'none in this folder',
        remedy: 'Name the folder that holds the images themselves.',
      });
    }
    files.push(...inside.map((name) => join(input, name)));
  }
  const byStem = new Map<string, string>();
  for (const file of new Set(files)) {
    const other = byStem.get(stem(file));
    if (other !== undefined) {
      throw new VersemiError('USAGE', {
        field: 'input',
        expected: 'images whose masks have different names',
        found: `${other} and ${file}`,
        remedy: 'Give them in two calls with different --out folders.',
      });
    }
    byStem.set(stem(file), file);
  }
  return [...byStem.values()];
}

/** File name without folder and ending. */
function stem(file: string): string {
  return basename(file).replace(imageEnding, '');
}
