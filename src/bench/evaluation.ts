import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel, readModel, saveModel } from '../checkpoints/files.js';
import { modelMetadata } from '../checkpoints/metadata.js';
import { parsePlan } from '../config/plan.js';
import { openDataset } from '../datasets/dataset.js';
import { caseFacts, openCase } from '../datasets/load-case.js';
import { writeNifti } from '../datasets/read-volume.js';
import { onnxOf } from '../exchange/export-onnx.js';
import { type EvaluatedCase, evaluateCase } from '../inference/evaluate.js';
import { taskIndices } from '../inference/segmenter.js';
import { bufferSpecs, type NetworkConfig, networkConfig, parameterSpecs } from '../model/layers.js';
import type { NamedValues } from '../model/network.js';
import { packageRoot } from '../root.js';
import type { Triple } from '../volume/volume.js';
import { type BenchCase, pythons } from './run.js';

/** The trained model of the package. */
const trained = join(packageRoot, 'test', 'examples', 'real-data.safetensors');
const task = 'left-atrium';
const overlap = 0.5;

/**
 * A network twice as wide that computes the same function: it holds every channel twice, and each layer that reads such a pair
 * weighs both channels by half. (Instance normalisation treats each channel by itself, so that the two remain equal.)
 * @param values parameters and buffers by name, of the narrow network
 */
export function widened(values: NamedValues, config: NetworkConfig): Map<string, Float32Array> {
  const specsOf = (one: NetworkConfig) => [...parameterSpecs(one), ...bufferSpecs(one)];
  const wide = specsOf({ ...config, baseWidth: 2 * config.baseWidth });
  return new Map(
    specsOf(config).map(({ name, shape }, i) => {
      // Weights are matrices, one per tap of a kernel; a vector is a matrix of one row.
      const [rows, columns] = matrixOf(shape);
      const [wideRows, wideColumns] = matrixOf(wide[i]!.shape);
      // A product sums over the rows of the matrix, in a transposed convolution over its columns; a vector is not summed over.
      const factor = name.startsWith('up.') && shape.length > 1 ? columns / wideColumns : rows / wideRows;
      const source = values.get(name)!;
      const result = new Float32Array((source.length / (rows * columns)) * wideRows * wideColumns);
      for (let at = 0; at < result.length; at++) {
        const column = at % wideColumns;
        const row = Math.floor(at / wideColumns) % wideRows;
        const tap = Math.floor(at / (wideColumns * wideRows));
        result[at] = factor * source[(tap * rows + (row % rows)) * columns + (column % columns)]!;
      }
      return [name, result];
    }),
  );
}

function matrixOf(shape: readonly number[]): [rows: number, columns: number] {
  return [shape.at(-2) ?? 1, shape.at(-1)!];
}

/**
 * Writes the trained model, whose width is 8, as a model of the paper's width and patch whose plan takes scans at the spacing in
 * which they are stored, so that neither versemi nor the peer resamples anything.
 * @returns its file
 */
async function writeWideModel(folder: string, patch: number, spacingMm: Triple): Promise<string> {
  const { plan, history, provenance, values, networks } = await readModel(trained);
  const config = networkConfig(plan);
  const network = { ...plan.network, baseWidth: 2 * config.baseWidth };
  const datasets = plan.datasets.map((dataset) =>
    dataset.name === task
      ? { ...dataset, preprocessing: { ...dataset.preprocessing, spacingMm: [...spacingMm] } }
      : dataset,
  );
  const wide = parsePlan({ ...plan, network, datasets, patchSizeVoxels: [patch, patch, patch] });
  const file = join(folder, 'model.safetensors');
  await saveModel(file, widened(values(networks[0]!), config), modelMetadata(wide, history, provenance));
  return file;
}

/**
 * One left atrium from files to files: read, windows, network, metrics, mask and metrics written; against the same in Python with
 * the network in ONNX Runtime. Loading the model counts on neither side.
 */
export const evaluationCase: BenchCase = {
  name: 'evaluate-left-atrium',
  // Voxels at the decision boundary may fall on either side. The tolerances are their share of the mask and what they do to distances.
  tolerance: { dice: 1e-3, voxels: 1e-3, hd95Mm: 0.05, asdMm: 0.02 },
  prepare: async ({ data, patch, runs, peers, chosen: { name, threads } }) => {
    const dataFolder = join(data, task);
    if (!existsSync(trained)) return `there is no ${trained}`;
    if (!existsSync(dataFolder)) return `there is no ${dataFolder} (--data, VERSEMI_DATA)`;
    const dataset = await openDataset(dataFolder);
    const files = dataset.cases.find(({ label }) => label !== undefined);
    if (files === undefined) return `${dataFolder} has no case with a label`;
    const folder = await mkdtemp(join(tmpdir(), 'versemi-evaluation-'));
    const { spacingMm } = (await caseFacts(dataset, files)).geometry;
    const weights = await writeWideModel(folder, patch, spacingMm);
    const model = await loadModel(weights);
    const tasks = taskIndices(model, [task]);
    const { labels } = model.plan.tasks[tasks[0]!]!;
    let found: EvaluatedCase | undefined;
    let voxels = 0;
    const { image, label } = files;
    const exported = join(folder, 'model.onnx');
    await writeFile(exported, onnxOf(model, exported, { tasks: [task] }).parts);
    const network = { model: exported, patch: [patch, patch, patch], overlap, threads, node: process.execPath };
    const peerSettings = { image, label, labels, spacingMm, out: join(folder, 'peer.nii.gz'), runs, ...network };
    const installed = existsSync(join(peers, 'node_modules', 'onnxruntime-node'));
    return {
      run: async () => {
        const opened = await openCase(dataset, files);
        const options = { overlap, weighting: 'gaussian', protocol: 'default', largestComponent: false } as const;
        const [outcome] = await evaluateCase(model, { ...opened, label: opened.label! }, task, tasks, options);
        await writeNifti(join(folder, 'mask.nii.gz'), outcome!.prediction);
        await writeFile(join(folder, 'metrics.json'), JSON.stringify(outcome!.result));
        found = outcome!.result;
        voxels = outcome!.prediction.count();
      },
      results: () => {
        const { dice, hd95PooledMm, asdMm } = found!;
        return { dice, hd95Mm: hd95PooledMm ?? Number.NaN, asdMm: asdMm ?? Number.NaN, voxels };
      },
      dispose: async () => {
        model.network.dispose();
        await rm(folder, { recursive: true });
      },
      // The peer's network runs on the processor, so comparing it with a GPU would say nothing.
      peers:
        installed && name !== 'cuda'
          ? [
              {
                name: 'Python, onnxruntime-node',
                commands: pythons,
                args: [join(peers, 'evaluation.py'), JSON.stringify(peerSettings)],
              },
            ]
          : [],
    };
  },
};
