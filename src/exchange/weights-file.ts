/** Files of weights that other programs wrote, as named tensors: PyTorch files and safetensors. */

import { foreignDtypes, parseSafetensors, tensorValues } from '../checkpoints/safetensors.js';
import { isZip } from '../datasets/zip.js';
import { VersemiError } from '../errors.js';
import { isPickle, readTorchFile } from './pytorch-file.js';
import { TorchTensor } from './pytorch-tensors.js';

export interface ForeignTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The elements, row-major. Ask only for tensors of an expected shape. @throws VERSEMI_MODEL_INVALID where they are none of floating-point numbers */
  values(): Float32Array;
}

/** A dictionary of tensors in a file. */
export interface StateDict {
  /** Where in the file it lies, `state_dict`; empty for the whole file. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, ForeignTensor>;
}

/** How far down dictionaries in dictionaries are looked into, and how many of them. */
const deepest = 6;
const mostDictionaries = 10_000;

/**
 * All dictionaries of tensors in a file: a checkpoint may hold the weights beside their average and the memory of an optimiser.
 * @param file name for error sentences
 * @throws VERSEMI_MODEL_INVALID
 */
export function stateDicts(bytes: Uint8Array, file: string): StateDict[] {
  if (isZip(bytes) || isPickle(bytes)) return dictsIn(readTorchFile(bytes, file));
  if (new TextDecoder().decode(bytes.subarray(257, 262)) === 'ustar')
    throw new VersemiError('MODEL_INVALID', {
      file,
      expected: 'a file of PyTorch 0.2 or newer, or safetensors',
      found: 'a tar file, as PyTorch 0.1 wrote',
      remedy: 'Load the file in PyTorch and save the weights again.',
    });
  // The header of safetensors is an object of JSON behind eight bytes.
  if (bytes[8] !== 0x7b)
    throw new VersemiError('MODEL_INVALID', {
      file,
      expected: 'a file of torch.save (.pth, .pt), or safetensors',
      found: bytes.length < 9 ? `${bytes.length} bytes` : 'something else',
      remedy: 'Give the file of the weights; copy or download it again if it should be one.',
    });
  const { tensors } = parseSafetensors(bytes, file, foreignDtypes);
  const named = [...tensors].map(([name, tensor]) => {
    const values = () => {
      if (/^[IUB]\d|^BOOL/.test(tensor.dtype))
        throw new VersemiError('MODEL_INVALID', {
          ...{ file, field: name, expected: 'floating-point numbers', found: tensor.dtype },
          remedy: 'Give the file that holds the weights.',
        });
      return tensorValues(tensor);
    };
    return [name, { dtype: tensor.dtype, shape: tensor.shape, values }] as const;
  });
  return [{ path: '', tensors: new Map(named) }];
}

function dictsIn(root: unknown): StateDict[] {
  const found: StateDict[] = [];
  const seen = new Set<unknown>();
  const waiting: { value: unknown; path: string; depth: number }[] = [{ value: root, path: '', depth: 0 }];
  for (let next = waiting.pop(); next !== undefined && seen.size < mostDictionaries; next = waiting.pop()) {
    const { value, path, depth } = next;
    if (!(value instanceof Map) || seen.has(value) || depth > deepest) continue;
    seen.add(value);
    const tensors = new Map<string, ForeignTensor>();
    for (const [key, item] of value) {
      // A key may be anything; what names a network is a text or a number.
      if (typeof key !== 'string' && typeof key !== 'number') continue;
      if (item instanceof TorchTensor) tensors.set(String(key), item);
      else waiting.push({ value: item, path: path === '' ? String(key) : `${path}.${key}`, depth: depth + 1 });
    }
    if (tensors.size > 0) found.push({ path, tensors });
  }
  return found;
}
