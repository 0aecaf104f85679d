import type { Command } from 'commander';
import type { Cohort, CohortCase } from '../cohort/cohort.js';
import { inputsOfCase } from '../cohort/inputs.js';
import { readPlan } from '../config/read-plan.js';
import { throwIfAborted } from '../errors.js';
import {
  defaultCacheFolder,
  type MadeEntry,
  type PlannedCase,
  preprocessCases,
} from '../preprocessing/preprocess-datasets.js';
import { addCohort, openCohort, partIn, supervised, tellEarlierFailures, tellFailures } from './cohort-options.js';
import { Failures } from './failures.js';
import { interruptible } from './interrupt.js';
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
  $ versemi preprocess plan.json --part 3/8 --manifest preprocessed.jsonl

The cache is keyed by the content of the files and the settings: what did not change is not done again. A case that cannot be read
does not end the others: what failed is listed at the end, and the exit code is 3. With --manifest cases are made one after the
other; several parts on one machine make several at a time.`,
    );
  addCohort(command);
  addShared(command, 'json', 'quiet').action(async (planFile: string, options) => {
    const terminal = createTerminal(options);
    if (await supervised(options, terminal)) return;
    const plan = await readPlan(planFile);
    const started = performance.now();
    const written = options.manifest !== undefined;
    let cohort: Cohort<Preprocessed, PlanCase> | undefined;
    let failures: Failures | undefined;
    const results = new Map<string, Preprocessed>();
    await interruptible(terminal, 'Stopping after this case', async (signal) => {
      const events = preprocessCases(plan, {
        cacheFolder: options.cache,
        // Of a case that ends its process it must be known which one that was.
        ...(written ? { workers: 0 } : {}),
        async choose(cases) {
          cohort = await openCohort<Preprocessed, PlanCase>(cases.map(caseOfPlan), options, terminal, {
            ...{ command: 'preprocess', device: 'host', what: 'cases' },
            settings: [options.cache],
          });
          for (const [key, result] of cohort.done) results.set(key, result);
          failures = new Failures(cohort.mine.length);
          tellEarlierFailures(cohort, failures);
          return cohort.todo;
        },
        async attempt({ job }, work) {
          const key = `${job.name}/${job.files.id}`;
          const one = cohort!.todo.find((other) => other.key === key)!;
          let made: MadeEntry | undefined;
          const result = await failures!.guard(key, () =>
            cohort!.attempt(one, async () => {
              throwIfAborted(signal, 'preprocessing');
              made = await work();
              return { result: describe(made), outputs: made.file === undefined ? [] : [made.file] };
            }),
          );
          if (result !== undefined) results.set(key, result);
          return made;
        },
        onRemark: (text) => terminal.note(text),
        signal,
      });
      for await (const { case: one, index, total } of events)
        terminal.status(`${progressBar(index / total)} ${index} of ${total} cases, ${one.dataset} ${one.id}`);
    });
    const rows = rowsOf(cohort!.mine.flatMap(({ key }) => results.get(key) ?? []));
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
    const { list } = failures!;
    terminal.printJson({
      ...{ cache: options.cache, ...partIn(options), datasets: rows },
      ...(list.length === 0 ? {} : { failures: list }),
    });
    tellFailures(failures!, 'cases', options, terminal);
  });
}

/** What is told of a case. */
interface Preprocessed {
  readonly dataset: string;
  readonly labeled: boolean;
  readonly cached: boolean;
  readonly voxels: number;
}

function describe({ case: { dataset, sizeVoxels, label }, cached }: MadeEntry): Preprocessed {
  return { dataset, labeled: label !== undefined, cached, voxels: sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2] };
}

interface PlanCase extends PlannedCase, CohortCase {}

function caseOfPlan({ role, job }: PlannedCase): PlanCase {
  const { dataset, name, files, channel, settings } = job;
  const { spacingMm, keys, labels, ignoredLabel } = dataset;
  return {
    ...{ role, job, key: `${name}/${files.id}`, ...inputsOfCase(files) },
    settings: [channel, settings, spacingMm ?? null, keys ?? null, labels, ignoredLabel ?? null, files.series ?? null],
  };
}

/** Sums per dataset. */
function rowsOf(results: readonly Preprocessed[]) {
  const counts = new Map<string, { cases: number; labeled: number; cached: number; voxels: number }>();
  for (const { dataset, labeled, cached, voxels } of results) {
    const count = counts.get(dataset) ?? { cases: 0, labeled: 0, cached: 0, voxels: 0 };
    counts.set(dataset, {
      cases: count.cases + 1,
      labeled: count.labeled + (labeled ? 1 : 0),
      cached: count.cached + (cached ? 1 : 0),
      voxels: count.voxels + voxels,
    });
  }
  return [...counts].map(([dataset, count]) => ({ dataset, ...count }));
}
