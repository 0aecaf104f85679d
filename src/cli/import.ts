import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import type { Command } from 'commander';
import { readModelBytes, saveModel } from '../checkpoints/files.js';
import { modelMetadata } from '../checkpoints/metadata.js';
import { readPlan } from '../config/read-plan.js';
import { VersemiError } from '../errors.js';
import { importWeights } from '../exchange/import-weights.js';
import { stateDicts } from '../exchange/weights-file.js';
import { networkConfig } from '../model/layers.js';
import { packageVersion } from '../root.js';
import { addShared, shared } from './options.js';
import { createTerminal, formatTable } from './terminal.js';

/** Tensors without a counterpart that are listed for a person; --json lists all. */
const mostListed = 40;

export function addImport(program: Command): void {
  const command = program
    .command('import')
    .description(
      'Make a model of the weights of a PyTorch network: the released VerSemi, or the V-Net of UA-MT and SSL4MIS.',
    )
    .argument('<checkpoint>', 'file of torch.save (.pth, .pt) or safetensors')
    .requiredOption('--plan <file>', 'plan.json: tasks in the order of the checkpoint, preprocessing, network, patch')
    .requiredOption('--out <file>', 'model.safetensors to write')
    .option('--trunk', 'take encoder and decoder alone, as a start for training (versemi train --init)')
    .option('--key <name>', 'which network, where the file holds several')
    .addOption(shared.axes())
    .addHelpText(
      'after',
      `
Examples:
  $ versemi import versemi.pth --plan plan.json --out model.safetensors
  $ versemi import ua-mt.pth --plan plan.json --out trunk.safetensors
  $ versemi train plan.json --init trunk.safetensors --out runs/tuned

Nothing in the file is run. A V-Net becomes a trunk: its plan has network.fullResolutionSkip and network.fullResolutionBlock true.
docs/models.md says what the plan must be so that the masks are those of the PyTorch program.`,
    );
  addShared(command, 'json', 'quiet').action(async (file: string, options) => {
    const terminal = createTerminal(options);
    const plan = await readPlan(options.plan);
    if (existsSync(options.out))
      throw new VersemiError('USAGE', {
        ...{ file: options.out, expected: 'a new file', found: 'one that is there' },
        remedy: 'Choose another name for --out.',
      });
    const bytes = await readModelBytes(file);
    const { layout, parts, path, values, used, left } = await importWeights(
      stateDicts(bytes, file),
      networkConfig(plan),
      {
        ...{ file, axes: options.axes, trunkOnly: options.trunk === true, seed: plan.seed },
        ...(options.key === undefined ? {} : { key: options.key }),
      },
    );
    const imported = { file: basename(file), sha256: createHash('sha256').update(bytes).digest('hex'), layout, parts };
    const provenance = {
      ...{ created: new Date().toISOString(), versions: { versemi: packageVersion() }, imported },
      data: plan.datasets.map(({ name }) => ({ dataset: name })),
    };
    const history = { steps: 0, losses: [], validation: [], best: null };
    await saveModel(options.out, values, modelMetadata(plan, history, provenance));
    const from = path === '' ? file : `${file}, ${path}`;
    const what = layout === 'versemi' ? 'the network of VerSemi' : 'the V-Net of UA-MT and SSL4MIS';
    terminal.print(
      formatTable(
        ['model', 'from', 'layout', 'taken'],
        [[options.out, from, what, `${used} tensors, ${parts === 'whole' ? 'the whole network' : 'the trunk alone'}`]],
      ),
    );
    if (left.length > 0) {
      const rows = left.slice(0, mostListed).map(({ name, shape }) => [name, shape.join(' x ') || 'one number']);
      const more = left.length > mostListed ? `\nand ${left.length - mostListed} more (--json lists all)` : '';
      terminal.print(`\nWithout a counterpart, and left out:\n${formatTable(['tensor', 'shape'], rows)}${more}`);
    }
    if (parts === 'trunk')
      terminal.print(`\nThe head is not trained: versemi train ${options.plan} --init ${options.out} --out runs/NAME`);
    terminal.printJson({ model: options.out, layout, parts, key: path, used, left });
  });
}
