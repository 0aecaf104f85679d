import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { type LoadedModel, loadModel, readModel } from '../checkpoints/files.js';
import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { readError } from '../regular-file.js';

/** A model that the server was started with. */
export interface ServedModel {
  /** Without folder and ending; unique. */
  readonly name: string;
  readonly file: string;
  readonly bytes: number;
  readonly plan: Plan;
}

/**
 * Reads what models say of themselves, so that a file that is none is told at the start.
 * @param files model files
 * @throws what `readModel` throws
 */
export async function servedModels(files: readonly string[]): Promise<ServedModel[]> {
  const models: ServedModel[] = [];
  for (const file of files) {
    const { plan } = await readModel(file);
    const { size } = await stat(file).catch((error: unknown) => {
      throw readError(error, file);
    });
    const taken = models.map(({ name }) => name);
    models.push({ name: addressName(nameOfFile(file), taken), file, bytes: size, plan });
  }
  return models;
}

/** runs/first/model.safetensors is called after its run. */
function nameOfFile(file: string): string {
  const own = basename(file).replace(/\.safetensors$/i, '');
  const parts = file.split(/[\\/]/);
  return own === 'model' && parts.length > 1 ? parts.at(-2)! : own;
}

/**
 * A name that can stand in an address: Python's clients write a blank as a plus sign there, which is another name.
 * @param taken names of others
 */
export function addressName(name: string, taken: readonly string[]): string {
  const base = name.replaceAll(/[^\p{L}\p{N}._-]/gu, '_');
  for (let number = 1; ; number++) {
    const numbered = number === 1 ? base : `${base}-${number}`;
    if (!taken.includes(numbered)) return numbered;
  }
}

/** @throws VERSEMI_REQUEST_UNKNOWN */
export function modelNamed<T extends { readonly name: string }>(models: readonly T[], name: string): T {
  const found = models.find((model) => model.name === name);
  if (found !== undefined) return found;
  throw new VersemiError('REQUEST_UNKNOWN', {
    field: 'model',
    expected: models.map((model) => model.name).join(', ') || 'no model, as the server was started with none',
    found: name,
    remedy: models.length > 0 ? 'Name one of these.' : 'Start versemi serve with the files of models.',
  });
}

/** Models on the device: each is loaded when it is first asked for, and stays. */
export class LoadedModels {
  private readonly loaded = new Map<string, LoadedModel>();

  async get({ file }: ServedModel): Promise<LoadedModel> {
    let model = this.loaded.get(file);
    if (model === undefined) {
      model = await loadModel(file);
      this.loaded.set(file, model);
    }
    return model;
  }

  dispose(): void {
    for (const { network } of this.loaded.values()) network.dispose();
    this.loaded.clear();
  }
}
