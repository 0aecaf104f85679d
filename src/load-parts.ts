import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { VersemiError } from './errors.js';
import { addPartLists } from './parts.js';

/** Where a thread finds the addresses of the modules that the thread which started it had loaded. */
const key = 'versemi: modules of parts';

const modules = () => (getEnvironmentData(key) ?? []) as unknown as readonly string[];

/**
 * Loads a module that exports `parts`, see `Parts`, and adds these parts in this thread and in every worker thread that is
 * started afterwards. The module runs with all rights of this process: load only what you trust as you trust this program.
 * @param module a path, relative to the current folder, or an address
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_PART_INVALID (no `parts`, or a part that is none), and what the module itself throws
 */
export async function loadParts(module: string | URL): Promise<void> {
  const url = module instanceof URL ? module.href : pathToFileURL(resolve(module)).href;
  await addFrom(url);
  if (!modules().includes(url)) setEnvironmentData(key, [...modules(), url]);
}

/** Adds in a worker thread the parts of the modules that its parent has loaded. @throws as {@link loadParts} */
export async function inheritParts(): Promise<void> {
  for (const url of modules()) await addFrom(url);
}

async function addFrom(url: string): Promise<void> {
  let exported: { readonly parts?: unknown };
  try {
    exported = await import(url);
  } catch (error) {
    // The file system says what is missing: the error comes now and then without Node's code where a loader's hooks run in
    // a thread of their own, and an import inside a module that is there fails with the same code.
    const file = new URL(url);
    if (file.protocol !== 'file:' || existsSync(file)) throw error;
    throw new VersemiError('FILE_NOT_FOUND', { file: url, expected: 'a module that exports `parts`' }, error);
  }
  addPartLists(exported.parts, url);
}
