import type { Command } from 'commander';
import { readPlan } from '../config/read-plan.js';
import { defaultCacheFolder, preprocessCases } from '../preprocessing/preprocess-datasets.js';
import { addShared } from './options.js';
import { createTerminal, formatDuration, formatTable, progressBar } from './terminal.js';

export function addPreprocess(program: Command): void {
  const command = program
    .command('preprocess')
    .description('Resample and normalise every case of a plan into the cache, so that training starts at once.')
    .argument('<plan>', 'plan.json')
    .option('--cache <folder>', 'folder of the cache', defaultCacheFolder)
    .addHelpText(
      'after',
      `
Examples:
  $ versemi preprocess plan.json
  $ versemi preprocess plan.json --json

The cache is keyed by the content of the files and the settings: what did not change is not done again.`,
    );
  addShared(command, 'parts', 'json', 'quiet').action(async (planFile: string, options) => {
    const terminal = createTerminal(options);
    const plan = await readPlan(planFile);
    const started = performance.now();
    const counts = new Map<string, { cases: number; labeled: number; cached: number; voxels: number }>();
    for await (const event of preprocessCases(plan, {
      cacheFolder: options.cache,
      onNotice: (text) => terminal.note(text),
    })) {
      const { dataset, id, sizeVoxels, label } = event.case;
      const count = counts.get(dataset) ?? { cases: 0, labeled: 0, cached: 0, voxels: 0 };
      counts.set(dataset, {
        cases: count.cases + 1,
        labeled: count.labeled + (label === undefined ? 0 : 1),
        cached: count.cached + (event.cached ? 1 : 0),
        voxels: count.voxels + sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2],
      });
      terminal.status(
        `${progressBar(event.index / event.total)} ${event.index} of ${event.total} cases, ${dataset} ${id}`,
      );
    }
    const rows = [...counts].map(([dataset, count]) => ({ dataset, ...count }));
    terminal.print(
      formatTable(
        ['dataset', 'cases', 'with labels', 'already there', 'voxels per case'],
        rows.map((row) => [
          row.dataset,
          String(row.cases),
          String(row.labeled),
          String(row.cached),
          String(Math.round(row.voxels / row.cases)),
        ]),
      ),
    );
    terminal.note(`In ${options.cache}, ${formatDuration((performance.now() - started) / 1000)}.`);
    terminal.printJson({ cache: options.cache, datasets: rows });
  });
}
