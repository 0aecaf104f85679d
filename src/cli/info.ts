import type { Command } from 'commander';
import { readModel } from '../checkpoints/files.js';
import type { ModelHistory, ModelImport, Sitting } from '../checkpoints/metadata.js';
import type { ParsedModel } from '../checkpoints/model-file.js';
import { totalSteps } from '../config/steps.js';
import { imageInfo } from '../datasets/read-volume.js';
import { formatDuration } from '../duration-text.js';
import { ranges } from '../inference/fit.js';
import { seriesHelp, weightsNames } from './inference-options.js';
import { addShared } from './options.js';
import { isRun, readRun, runText } from './run-info.js';
import { createTerminal, factLines, formatTable, type Terminal } from './terminal.js';

export function addInfo(program: Command): void {
  const command = program
    .command('info')
    .description('Say what an image, a model or a run is.')
    .argument(
      '<file...>',
      'images (NIfTI, HDF5, NRRD, MetaImage; DICOM: folder, zip or file), models (.safetensors) or run folders (versemi train)',
    )
    .option('--series <which>', seriesHelp)
    .addHelpText(
      'after',
      `
Examples:
  $ versemi info scan.nii.gz
  $ versemi info scan.nii.gz --json
  $ versemi info case.h5 --keys raw,mask
  $ versemi info study/ --series 2
  $ versemi info runs/first
  $ versemi info runs/first/model.safetensors`,
    );
  addShared(command, 'keys', 'parts', 'json', 'quiet').action(async (files: string[], options) => {
    const terminal = createTerminal(options);
    const results = [];
    for (const file of files) {
      results.push(
        isRun(file)
          ? await runInfo(file, terminal)
          : /\.safetensors$/i.test(file)
            ? await modelInfo(file, terminal)
            : await showImage(file, options.keys?.image, options.series, terminal),
      );
    }
    terminal.printJson(results.length === 1 ? results[0] : results);
  });
}

async function showImage(file: string, key: string | undefined, series: string | undefined, terminal: Terminal) {
  const info = await imageInfo(file, {
    ...(key === undefined ? {} : { key }),
    ...(series === undefined ? {} : { series }),
    onNotice: (text) => terminal.note(text),
  });
  const triple = (values: readonly number[]) => values.map((value) => Number(value.toPrecision(6))).join(' x ');
  terminal.print(
    `${file}\n${factLines([
      [
        'size',
        `${triple(info.sizeVoxels)} voxels${info.shape.length > 3 ? ` (stored ${info.shape.join(' x ')})` : ''}`,
      ],
      ...(info.series === undefined ? [] : [['series', info.series]]),
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
    ])}`,
  );
  return { file, ...info };
}

/** A run: how far it came and what lies in its folder, then its model, or its last checkpoint. */
async function runInfo(folder: string, terminal: Terminal) {
  const run = await readRun(folder);
  terminal.print(`${runText(run)}\n`);
  const shown =
    run.checkpoints.find(({ kind }) => kind === 'model') ?? run.checkpoints.find(({ kind }) => kind === 'last');
  return { run, ...(shown === undefined ? {} : { model: await modelInfo(shown.file, terminal) }) };
}

/** "steps 1 to 2,100 in 43 min: CPU, avx512, 2 threads; ...": where and for how long. */
function sittingText({ firstStep, lastStep, seconds, program, device, machine }: Sitting): string {
  const version = `versemi ${program.version}${program.commit === undefined ? '' : ` (${program.commit})`}, Node ${program.node}`;
  const memory = `${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB`;
  return `steps ${firstStep} to ${lastStep} in ${formatDuration(seconds)}: ${device}; ${machine.processor}, ${machine.cores} cores, ${memory}, ${machine.system}; ${version}`;
}

async function modelInfo(file: string, terminal: Terminal) {
  const model = await readModel(file);
  const { tasks, plan, preprocessing, history, provenance, networks, cases } = model;
  const { baseWidth, levels } = plan.network;
  const { initial } = provenance;
  const licences = provenance.data.map(({ dataset, licence }) => `${dataset}: ${licence ?? 'not stated'}`);
  // What is shown is what these weights reached, at their own step: other steps had other weights.
  const reached = history.validation.find(({ step }) => step === history.steps);
  const shown = (dice: number | undefined) => (dice === undefined ? '–' : dice.toFixed(3));
  terminal.print(
    [
      file,
      factLines([
        ['plan', `${plan.name}, ${plan.training.mode}`],
        ['made', provenance.created],
        ...(initial === undefined
          ? []
          : [['began as', `${initial.model} after ${initial.steps} steps, SHA-256 ${initial.sha256}`]]),
        ['network', `width ${baseWidth}, ${levels} levels, patch ${plan.patchSizeVoxels.join(' x ')} voxels`],
        ['weights', `${stepOf(model)}: ${weightsIn(model)}`],
        ['validation', validationOf(history)],
        ...(provenance.sittings ?? []).map((one, i) => [i === 0 ? 'trained' : '', sittingText(one)] as const),
        ...(provenance.imported === undefined ? [] : [['imported', importText(provenance.imported)]]),
        ...licences.map((licence, i) => [i === 0 ? 'data and terms' : '', licence]),
      ]),
      '',
      formatTable(
        ['task', 'dataset', 'labels', 'spacing (mm)', `validation Dice (step ${history.steps})`],
        [
          ...tasks.map((task) => [
            task.name,
            task.dataset,
            task.labels.join(' '),
            preprocessing.find((row) => row.dataset === task.dataset)!.spacingMm.join(' x '),
            shown(reached?.perTask[task.name]),
          ]),
          ...(tasks.length > 1 ? [['mean of the tasks', '', '', '', shown(reached?.mean)]] : []),
        ],
      ),
      '',
      ...scansOf(plan),
      cases === undefined
        ? 'The model has no record of the cases that it was trained on.'
        : formatTable(
            ['cases of', 'labelled', 'unlabelled', 'validation', 'watched in training'],
            cases.map(({ dataset, labeled, unlabeled, validation, watched }) => [
              dataset,
              ...[labeled, unlabeled, validation, watched].map(({ length }) => String(length)),
            ]),
          ),
    ].join('\n'),
  );
  return { file, tasks, plan, preprocessing, networks, history, provenance, ...(cases === undefined ? {} : { cases }) };
}

/** What the scans of the datasets were like, where the model records it: what `predict` compares a scan with. */
function scansOf({ datasets }: ParsedModel['plan']): string[] {
  const rows = datasets.flatMap(({ name, scans }) => (scans === undefined ? [] : [{ name, ...scans }]));
  if (rows.length === 0) return ['The model does not record what its scans were like.', ''];
  const shown = (triples: (typeof rows)[number]['spacingMm']) => (triples === undefined ? '–' : ranges(...triples));
  return [
    formatTable(
      ['scans of', 'number', 'modality', 'spacing (mm)', 'field of view (mm)'],
      rows.map(({ name, cases, modality, spacingMm, extentMm }) => [
        ...[name, String(cases), modality ?? '–', shown(spacingMm), shown(extentMm)],
      ]),
    ),
    '',
  ];
}

function weightsIn({ plan, networks }: ParsedModel): string {
  // A file with one set of weights has those that its plan wants.
  return (networks.length > 1 ? networks : [plan.inference.network]).map((one) => weightsNames[one]).join(' and ');
}

function stepOf({ plan, history }: ParsedModel): string {
  const all = totalSteps(plan.training);
  return history.steps === all ? `step ${all}, the last of the run` : `step ${history.steps} of ${all}`;
}

function importText({ file, parts }: ModelImport): string {
  return parts === 'whole' ? `all weights of ${file}` : `encoder and decoder of ${file}; the head is not trained`;
}

/** What the weights in the file reached, and whether another step of the run was better. */
function validationOf({ steps, validation, best }: ModelHistory): string {
  if (best === null) return 'none in this run';
  const reached = validation.find(({ step }) => step === steps);
  const these = reached === undefined ? 'these weights were not validated' : `mean Dice ${reached.mean.toFixed(3)}`;
  if (best.step === steps) return `${these}, the best until step ${steps}`;
  return `${these}; the best was step ${best.step} with ${best.mean.toFixed(3)} (checkpoints/best.safetensors of the run)`;
}
