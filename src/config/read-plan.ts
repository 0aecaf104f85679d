import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import { VersemiError } from '../errors.js';
import { type Plan, parsePlan, stringifyPlan } from './plan.js';

/** Line and column (from 1) of the syntax error in a JSON text, found in what the parser says. */
function syntaxPlace(text: string, message: string): string {
  const position = /position (\d+)/.exec(message)?.[1];
  const end = position === undefined ? text.length : Number(position);
  const before = text.slice(0, end).split('\n');
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`;
}

/** JSON from a file. @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_PLAN_INVALID with line and column */
async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new VersemiError(
      missing ? 'FILE_NOT_FOUND' : 'IO_FAILED',
      {
        file,
        expected: 'a plan file',
        remedy: missing ? 'Check the path, or make a plan with versemi plan.' : 'Check that the file can be read.',
      },
      error,
    );
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const { message } = error as Error;
    throw new VersemiError(
      'PLAN_INVALID',
      {
        file,
        field: syntaxPlace(text, message),
        expected: 'JSON',
        found: message,
        remedy: 'Mend the syntax at that place.',
      },
      error,
    );
  }
}

/**
 * Reads and checks a plan file; dataset paths become absolute (they are relative to the file).
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_PLAN_INVALID, VERSEMI_PLAN_CONTRADICTION
 */
export async function readPlan(file: string): Promise<Plan> {
  const plan = parsePlan(await readJson(file), file);
  const folder = dirname(resolve(file));
  return {
    ...plan,
    datasets: plan.datasets.map((dataset) => ({ ...dataset, path: resolve(folder, dataset.path) })),
  };
}

/**
 * Writes a plan; absolute dataset paths become relative to the file, so that both can move together. The file appears
 * complete or not at all. @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function writePlan(file: string, plan: Plan): Promise<void> {
  const folder = dirname(resolve(file));
  const portable = (path: string) => (isAbsolute(path) ? relative(folder, path).split('\\').join('/') || '.' : path);
  const text = stringifyPlan({
    ...plan,
    datasets: plan.datasets.map((dataset) => ({ ...dataset, path: portable(dataset.path) })),
  });
  await writeFileAtomic(file, text);
}
