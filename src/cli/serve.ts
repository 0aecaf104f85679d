import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { VersemiError } from '../errors.js';
import { defaultPort, startServer } from '../server/server.js';
import { chooseDevice } from './device.js';
import { memoryOptions, modelFileOf } from './inference-options.js';
import { interruptible } from './interrupt.js';
import { addShared, wholeNumber } from './options.js';
import { createTerminal } from './terminal.js';

export function addServe(program: Command): void {
  const command = program
    .command('serve')
    .description(
      'Serve the app, a page in which scans are segmented, corrected and saved; the model runs in the browser.',
    )
    .argument('[model...]', 'model files, or folders of runs, that the page offers')
    .option('--data <folder>', 'a dataset: its cases can be opened, and labels are saved into it for the next training')
    .addOption(
      new Option('--port <n>', 'port to listen on; 0: any that is free').argParser(portNumber).default(defaultPort),
    )
    .option('--host <address>', 'address to listen on; any but loopback lets other machines in', '127.0.0.1')
    .option('--open', 'open the page in the browser')
    .option(
      '--monai-label',
      "also speak MONAI Label's REST, for 3D Slicer's and OHIF's plugins, which predict on this machine's device; they send no token, so that every program that reaches the port may ask",
    )
    .option(
      '--allow-origin <url...>',
      'beside --monai-label, a viewer on another address that may ask too, such as http://localhost:3000',
    )
    .addHelpText(
      'after',
      `
Examples:
  $ versemi serve model.safetensors --open
  $ versemi serve runs/first --data data/spleen
  $ versemi serve model.safetensors --data data/spleen --monai-label --device cpu
  $ versemi serve model.safetensors --monai-label --allow-origin http://localhost:3000

The address that is printed holds a token that is new at each start: whoever has it can read the models and the cases and save labels.
A label that is there already is kept beside a new one under a name that ends with .bak.

The page computes in the browser; --device and the other options of computing are for --monai-label, which computes here.

In 3D Slicer's module MONAI Label, the server is the address without the token. A model of several datasets is one entry per dataset.
Training from a viewer is not offered: run versemi train on the dataset.

Ctrl-C ends the server, with exit code 0.`,
    );
  addShared(
    command,
    ...(['keys', 'filesOutside', 'device', 'threads', 'exact', 'precision', 'maxMemory', 'json', 'quiet'] as const),
  ).action(async (modelFiles: string[], options) => {
    requireUsed(command, options);
    const terminal = createTerminal(options);
    const chosen = options.monaiLabel ? await chooseDevice(options, terminal) : undefined;
    const server = await startServer({
      models: modelFiles.map((path) => modelFileOf(path)),
      ...(options.data === undefined ? {} : { data: options.data }),
      dataset: { keys: options.keys, filesOutside: options.filesOutside },
      ...{ host: options.host, port: options.port },
      ...(chosen !== undefined
        ? {
            monaiLabel: {
              ...memoryOptions(options.maxMemory, chosen.device.name),
              allowOrigins: options.allowOrigin ?? [],
            },
          }
        : {}),
      onNotice: (text) => terminal.note(text),
      onDefect: (error) => terminal.note(error instanceof Error ? (error.stack ?? error.message) : String(error)),
    });
    const page = options.open ? openingPage(server.url) : undefined;
    try {
      terminal.print(`versemi is at ${server.url}`);
      terminal.printJson({
        ...{ url: server.url, origin: server.origin, dataset: server.dataset },
        models: server.models.map(({ name }) => name),
      });
      terminal.note('Ctrl-C ends it.');
      if (page !== undefined)
        openInBrowser(page.file, () => terminal.note('No browser could be started: open the address.'));
      await interruptible(terminal, 'Closing', async (signal) => {
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
        await server.close();
      });
    } finally {
      page?.remove();
    }
  });
}

/** @throws VERSEMI_USAGE for an option that would do nothing */
function requireUsed(
  command: Command,
  options: { monaiLabel?: boolean; data?: string; allowOrigin?: string[]; [name: string]: unknown },
): void {
  const needs = (name: string, other: string) => {
    throw new VersemiError('USAGE', {
      field: name,
      expected: `${other} beside it`,
      found: `${name} alone`,
      remedy: `Add ${other}, or leave ${name} out.`,
    });
  };
  const given = (key: string) => command.getOptionValueSource(key) === 'cli';
  if (!options.monaiLabel)
    for (const option of command.options)
      if (ofMonaiLabel.includes(option.attributeName()) && given(option.attributeName()))
        needs(option.long!, '--monai-label');
  if (options.data === undefined)
    for (const [key, name] of [
      ['keys', '--keys'],
      ['filesOutside', '--files-outside'],
    ] as const)
      if (given(key)) needs(name, '--data');
  for (const origin of options.allowOrigin ?? [])
    if (!URL.canParse(origin) || new URL(origin).origin !== origin)
      throw new VersemiError('USAGE', {
        field: '--allow-origin',
        expected: 'protocol, name and port, without a path: http://localhost:3000',
        found: origin,
        remedy: 'Give the address up to the port.',
      });
}

/** Options of what is computed here, which the page does for itself. */
const ofMonaiLabel = ['device', 'threads', 'exact', 'precision', 'maxMemory', 'allowOrigin'];

function portNumber(text: string): number {
  const port = wholeNumber(text);
  if (port > 65535) throw new InvalidArgumentError('Expected a number from 0 to 65535.');
  return port;
}

/**
 * A file that leads to the address. The browser is started with this file: what a program is started with can be seen by everybody on
 * the machine, and the address holds the token.
 */
function openingPage(url: string): { readonly file: string; readonly remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), `versemi-open-${process.pid}-`));
  const file = join(folder, 'versemi.html');
  writeFileSync(
    file,
    `<!doctype html><meta charset="utf-8"><title>versemi</title><meta http-equiv="refresh" content="0; url=${url}">\n`,
    {
      mode: 0o600,
    },
  );
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  return { file, remove };
}

function openInBrowser(file: string, failed: () => void): void {
  const [program, ...args] =
    process.platform === 'win32'
      ? ['rundll32', 'url.dll,FileProtocolHandler', file]
      : [process.platform === 'darwin' ? 'open' : 'xdg-open', pathToFileURL(file).href];
  const child = spawn(program!, args, { stdio: 'ignore', detached: true });
  child.once('error', failed);
  child.once('exit', (code) => {
    if (code !== 0 && code !== null) failed();
  });
  child.unref();
}
