import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { benchCases, runBench } from '../bench/cases.js';
import type { BenchProgress, BenchRow } from '../bench/run.js';
import { type ComparedRow, runTrainingBench, type TrainingArguments } from '../bench/training-peers.js';
import { environment } from '../environment.js';
import { packageRoot } from '../root.js';
import { chooseDevice, type DeviceArguments } from './device.js';
import { addShared, list, positiveInteger } from './options.js';
import { createTerminal, formatTable, type Terminal } from './terminal.js';

export function addBench(program: Command): void {
  const names = benchCases.map(({ name }) => name).join(', ');
  const command = program
    .command('bench')
    .description(
      'Time the network, an evaluation, metrics and batches on this machine, beside what else one could use.',
    )
    .addOption(new Option('--only <names>', `only these: ${names}`).argParser(list))
    .addOption(new Option('--runs <n>', 'timed runs of each; the median counts').argParser(positiveInteger).default(5))
    .addOption(
      new Option('--patch <voxels>', 'edge of the patch of the network').argParser(positiveInteger).default(96),
    )
    .addOption(
      new Option('--peers <folder>', 'folder of the peers, after npm install --ignore-scripts there').default(
        join(packageRoot, 'test', 'bench', 'peers'),
        'test/bench/peers of the package',
      ),
    )
    .addOption(
      new Option('--data <folder>', 'folder of the dataset left-atrium, for evaluate-left-atrium').default(
        environment('VERSEMI_DATA') ?? '../shared/data',
      ),
    )
    .option(
      '--training',
      'instead: every layer in every direction, and whole training steps of both stages, with their floors',
    )
    .addOption(new Option('--batch <n>', 'of --training').argParser(positiveInteger).default(8))
    .addHelpText(
      'after',
      `
Examples:
  $ versemi bench
  $ versemi bench --device wasm --threads 1 --only vnet-forward
  $ versemi bench --device cuda --training
  $ versemi bench --exact --only vnet-forward
  $ versemi bench --json

Peers that are not installed are left out. Where a peer does the same work with the same numbers, what both found is compared.
metrics-256 and batch-8-8 run on one thread in WebAssembly, whatever the device. Machines drift: only the ratios of one run count.`,
    );
  addShared(command, 'device', 'threads', 'exact', 'precision', 'json', 'quiet').action(async (options) => {
    const terminal = createTerminal(options);
    if (options.training) return benchTraining(options, terminal);
    const rows: BenchRow[] = [];
    const listener = {
      onProgress: ({ name, index, total }: BenchProgress) => terminal.status(`${index} of ${total}: ${name} ...`),
      onNotice: (text: string) => terminal.note(text),
    };
    for await (const row of runBench({ ...options, ...listener })) {
      rows.push(row);
      terminal.note(line(row));
    }
    terminal.print(
      formatTable(
        ['name', 'device', 'threads', 'ms', 'GFLOP/s', 'peer', 'peer ms', 'times faster'],
        rows.map((row) => [
          row.name,
          row.device,
          String(row.threads),
          row.milliseconds.toFixed(1),
          row.gflops?.toFixed(1) ?? '–',
          row.peer ?? '–',
          row.peerMilliseconds?.toFixed(1) ?? '–',
          row.peerMilliseconds === null ? '–' : (row.peerMilliseconds / row.milliseconds).toFixed(2),
        ]),
      ),
    );
    terminal.printJson(rows);
  });
}

/** Layers and steps, each with its floor, its peer and their ratio. */
async function benchTraining(options: TrainingArguments & DeviceArguments, terminal: Terminal): Promise<void> {
  const { device } = await chooseDevice(options, terminal);
  const rows: ComparedRow[] = [];
  for await (const row of runTrainingBench(device, options)) {
    rows.push(row);
    terminal.note(`${row.name}: ${row.milliseconds.toFixed(3)} ms`);
  }
  const share = (part: number | null, whole: number) => (part === null ? '–' : (part / whole).toFixed(2));
  terminal.print(
    formatTable(
      ['name', 'count', 'ms', 'TFLOP/s', 'of the floor', 'MiB', 'peer', 'peer ms', 'times faster'],
      rows.map((row) => [
        row.name,
        String(row.count),
        row.milliseconds.toFixed(3),
        (row.flops / row.milliseconds / 1e9).toFixed(2),
        share(row.floorMilliseconds, row.milliseconds),
        (row.bytesPeak / 2 ** 20).toFixed(0),
        row.peer ?? '–',
        row.peerMilliseconds?.toFixed(3) ?? '–',
        share(row.peerMilliseconds, row.milliseconds),
      ]),
    ),
  );
  terminal.printJson(rows.map((row) => ({ ...row, device: device.name, threads: device.threads })));
}

function line({ name, device, threads, milliseconds, gflops }: BenchRow): string {
  const rate = gflops === null ? '' : `, ${gflops.toFixed(1)} GFLOP/s`;
  return `${name}, ${device}, ${threads} threads: ${milliseconds.toFixed(1)} ms${rate}`;
}
