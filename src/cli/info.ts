import type { Command } from 'commander';
import { readModel } from '../checkpoints/files.js';
import { imageInfo } from '../datasets/read-volume.js';
import { addShared } from './options.js';
import { createTerminal, formatTable, type Terminal } from './terminal.js';

export function addInfo(program: Command): void {
  const command = program
    .command('info')
    .description('Say what an image or a model is.')
    .argument('<file...>', 'images (.nii, .nii.gz, .hdr/.img, .h5) or models (.safetensors)')
    .addHelpText(
      'after',
      `
Examples:
  $ versemi info scan.nii.gz
  $ versemi info scan.nii.gz --json
  $ versemi info case.h5 --keys raw,mask
  $ versemi info runs/first/model.safetensors`,
    );
  addShared(command, 'keys', 'json', 'quiet').action(async (files: string[], options) => {
    const terminal = createTerminal(options);
    const results = [];
    for (const file of files) {
      results.push(
        /\.safetensors$/i.test(file)
          ? await modelInfo(file, terminal)
          : await showImage(file, options.keys?.image, terminal),
      );
    }
    terminal.printJson(results.length === 1 ? results[0] : results);
  });
}

async function showImage(file: string, key: string | undefined, terminal: Terminal) {
  const info = await imageInfo(file, key === undefined ? {} : { key });
  const triple = (values: readonly number[]) => values.map((value) => Number(value.toPrecision(6))).join(' x ');
  terminal.print(
    `${file}\n${formatTable(
      ['', ''],
      [
        [
          'size',
          `${triple(info.sizeVoxels)} voxels${info.shape.length > 3 ? ` (stored ${info.shape.join(' x ')})` : ''}`,
        ],
        ['spacing', `${triple(info.spacingMm)} mm`],
        ['extent', `${triple(info.sizeVoxels.map((size, i) => size * info.spacingMm[i]!))} mm`],
        ['orientation', info.orientation],
        ['datatype', info.datatype],
        ['intensities', `${info.min} to ${info.max}, mean ${Number(info.mean.toPrecision(6))}`],
        ...(info.nonFinite > 0 ? [['not finite', `${info.nonFinite} voxels are NaN or infinite`]] : []),
        ...[0, 1, 2].map((row) => [
          row === 0 ? 'affine' : '',
          info.affine
            .slice(4 * row, 4 * row + 4)
            .map((value) => value.toFixed(3).padStart(10))
            .join(' '),
        ]),
      ],
    )
      .split('\n')
      .slice(2)
      .map((line) => `  ${line}`)
      .join('\n')}`,
  );
  return { file, ...info };
}

async function modelInfo(file: string, terminal: Terminal) {
  const { tasks, plan, preprocessing, history, provenance, networks } = await readModel(file);
  const { baseWidth, levels } = plan.network;
  const licences = provenance.data.map(({ dataset, licence }) => `${dataset}: ${licence ?? 'not stated'}`);
  terminal.print(
    [
      file,
      `  plan ${plan.name}, ${plan.training.mode}, ${history.steps} steps, made ${provenance.created}`,
      `  network of width ${baseWidth} and ${levels} levels, patch ${plan.patchSizeVoxels.join(' x ')} voxels, weights: ${networks.join(', ')}`,
      `  data and terms: ${licences.join('; ')}`,
      '',
      formatTable(
        ['task', 'dataset', 'labels', 'spacing (mm)', 'best validation Dice'],
        tasks.map((task) => [
          task.name,
          task.dataset,
          task.labels.join(' '),
          preprocessing.find((row) => row.dataset === task.dataset)!.spacingMm.join(' x '),
          bestDice(history.validation, task.name),
        ]),
      ),
    ].join('\n'),
  );
  return { file, tasks, plan, preprocessing, networks, history, provenance };
}

function bestDice(validation: readonly { readonly perTask: Readonly<Record<string, number>> }[], task: string): string {
  const values = validation.flatMap((row) => row.perTask[task] ?? []);
  return values.length === 0 ? '–' : Math.max(...values).toFixed(3);
}
