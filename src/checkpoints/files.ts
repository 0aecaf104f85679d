import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../atomic-file.js';
import { VersemiError } from '../errors.js';
import type { NamedValues, VersemiNetwork } from '../model/network.js';
import type { ModelMetadata } from './metadata.js';
import {
  type EncodeOptions,
  encodeModel,
  type NetworkChoice,
  networkOf,
  type ParsedModel,
  parseModel,
} from './model-file.js';

export interface LoadedModel extends ParsedModel {
  readonly file: string;
  readonly network: VersemiNetwork;
}

/**
 * Writes a model file, atomically.
 * @param network the network, or its values by name
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function saveModel(
  file: string,
  network: VersemiNetwork | NamedValues,
  metadata: ModelMetadata,
  options: EncodeOptions = {},
): Promise<void> {
  const values = 'trunk' in network ? await network.values() : network;
  await writeFileAtomic(file, encodeModel(values, metadata, options));
}

/**
 * Reads a model, or the model in a checkpoint, onto TF.js's current backend. Free it with `network.dispose()`.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_MODEL_INVALID
 */
export async function loadModel(
  file: string,
  options: { readonly network?: NetworkChoice } = {},
): Promise<LoadedModel> {
  const model = parseModel(await readModelBytes(file), file);
  return { ...model, file, network: networkOf(model, options.network) };
}

/** Reads what a model file says about itself and its tensors, without making a network. */
export async function readModel(file: string): Promise<ParsedModel> {
  return parseModel(await readModelBytes(file), file);
}

/** @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED */
export async function readModelBytes(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new VersemiError('FILE_NOT_FOUND', { file, expected: 'a model file', remedy: 'Check the path.' }, error);
    throw new VersemiError('IO_FAILED', { file, found: message }, error);
  }
}
