import { writeFileAtomic } from '../atomic-file.js';
import type { NamedValues, VersemiNetwork } from '../model/network.js';
import { withRegularFile } from '../regular-file.js';
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

/**
 * Reads what a model file says about itself and its tensors, without making a network.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_MODEL_INVALID
 */
export async function readModel(file: string): Promise<ParsedModel> {
  return parseModel(await readModelBytes(file), file);
}

/** @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_FORMAT (not a regular file), VERSEMI_IO_FAILED */
export async function readModelBytes(file: string): Promise<Uint8Array> {
  return withRegularFile(file, ({ handle }) => handle.readFile());
}
