/**
 * A model as bytes: safetensors with the parameters by name, the moving average of the weights beside them under `ema.`
 * when there is one, and the metadata under the key `versemi`. No `node:` import: works on fetched bytes in a browser.
 */

import { VersemiError } from '../errors.js';
import { bufferSpecs, elementCount, networkConfig, type ParameterSpec, parameterSpecs } from '../model/layers.js';
import { type NamedValues, VersemiNetwork } from '../model/network.js';
import { type ModelMetadata, parseMetadata } from './metadata.js';
import {
  encodeSafetensors,
  parseSafetensors,
  type SafetensorsFile,
  type TensorToStore,
  tensorValues,
} from './safetensors.js';

/** Prefix of the names of averaged weights. */
export const averagePrefix = 'ema.';

/** The trained weights, or their moving average. */
export type NetworkChoice = 'student' | 'ema';

export interface ParsedModel extends ModelMetadata {
  /** Which weights the file holds. */
  readonly networks: readonly NetworkChoice[];
  /** Values by name of parameter or buffer, checked. */
  values(which: NetworkChoice): Map<string, Float32Array>;
}

/**
 * Weights as tensors of a file. Half precision takes half the room and costs no accuracy that could be measured; vectors
 * (biases, normalisations, statistics) stay in float32, as they are small and the statistics may be large numbers.
 */
export function modelTensors(
  specs: readonly ParameterSpec[],
  values: NamedValues,
  dtype: 'F32' | 'F16',
  prefix = '',
): TensorToStore[] {
  return specs.map(({ name, shape }) => ({
    name: `${prefix}${name}`,
    shape,
    data: values.get(name)!,
    dtype: shape.length > 1 ? dtype : 'F32',
  }));
}

/** How weights are stored. */
export interface EncodeOptions {
  /** Default F32. */
  readonly dtype?: 'F32' | 'F16';
  /** Moving average of the weights, stored beside them. */
  readonly average?: NamedValues;
}

/** @returns the parts of a model file, to be written one after the other */
export function encodeModel(values: NamedValues, metadata: ModelMetadata, options: EncodeOptions = {}): Uint8Array[] {
  const { dtype = 'F32', average } = options;
  const specs = specsOf(metadata);
  return encodeSafetensors(
    [
      ...modelTensors(specs, values, dtype),
      ...(average === undefined ? [] : modelTensors(specs, average, dtype, averagePrefix)),
    ],
    { versemi: JSON.stringify(metadata) },
  );
}

function specsOf({ plan }: ModelMetadata): ParameterSpec[] {
  const config = networkConfig(plan);
  return [...parameterSpecs(config), ...bufferSpecs(config)];
}

/**
 * @param file name for error sentences
 * @throws VERSEMI_MODEL_INVALID when the bytes are no safetensors file, no model of versemi, or lack a tensor
 */
export function parseModel(bytes: Uint8Array, file?: string): ParsedModel {
  return modelOf(parseSafetensors(bytes, file), file);
}

/** Checks the tensors of a parsed file against the plan in its metadata. */
export function modelOf({ tensors, metadata }: SafetensorsFile, file?: string): ParsedModel {
  const model = parseMetadata(metadata.versemi, file);
  const specs = specsOf(model);
  const invalid = (field: string, expected: string, found: string) =>
    new VersemiError('MODEL_INVALID', {
      ...(file === undefined ? {} : { file }),
      field,
      expected,
      found,
      remedy: 'Copy the model again, or train it again.',
    });
  const check = (prefix: string) => {
    for (const { name, shape } of specs) {
      const tensor = tensors.get(prefix + name);
      if (tensor === undefined) throw invalid(prefix + name, `a tensor [${shape}]`, 'none');
      if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i]))
        throw invalid(prefix + name, `a tensor [${shape}]`, `[${tensor.shape}]`);
    }
  };
  check('');
  const averaged = [...tensors.keys()].some((name) => name.startsWith(averagePrefix));
  if (averaged) check(averagePrefix);
  return {
    ...model,
    networks: averaged ? ['student', 'ema'] : ['student'],
    values(which) {
      const prefix = which === 'ema' && averaged ? averagePrefix : '';
      const result = new Map<string, Float32Array>();
      for (const { name, shape } of specs) {
        const values = tensorValues(tensors.get(prefix + name)!);
        if (!values.every(Number.isFinite))
          throw invalid(prefix + name, `${elementCount(shape)} finite numbers`, 'NaN or infinity');
        result.set(name, values);
      }
      return result;
    },
  };
}

/**
 * The network of a model, on TF.js's current backend.
 * @param which default: what the plan says (`inference.network`); the trained weights where the file has no average
 */
export function networkOf(model: ParsedModel, which: NetworkChoice = model.plan.inference.network): VersemiNetwork {
  return new VersemiNetwork(networkConfig(model.plan), model.values(which));
}

/**
 * Makes the model of a file's bytes, on TF.js's current backend. Free it with `network.dispose()`.
 * @param options.name of the file, for error sentences
 * @param options.network default: what the plan says
 * @throws VERSEMI_MODEL_INVALID
 */
export function loadModelBytes(
  bytes: Uint8Array,
  options: { readonly name?: string; readonly network?: NetworkChoice } = {},
): ParsedModel & { readonly network: VersemiNetwork } {
  const model = parseModel(bytes, options.name);
  return { ...model, network: networkOf(model, options.network) };
}
