import { dirname, isAbsolute, relative, resolve, sep } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import { readJsonFile } from '../regular-file.js';
import { type Plan, parsePlan, stringifyPlan } from './plan.js';

/**
 * Reads and checks a plan file; dataset paths become absolute (they are relative to the file).
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_PLAN_INVALID, VERSEMI_PLAN_CONTRADICTION
 */
export async function readPlan(file: string): Promise<Plan> {
  const plan = parsePlan(readJsonFile(file, 'PLAN_INVALID'), file);
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
  const portable = (path: string) => (isAbsolute(path) ? relative(folder, path).split(sep).join('/') || '.' : path);
  const text = stringifyPlan({
    ...plan,
    datasets: plan.datasets.map((dataset) => ({ ...dataset, path: portable(dataset.path) })),
  });
  await writeFileAtomic(file, text);
}
