/** Tensors of PyTorch files: a part of a storage, seen through sizes and strides; and the names that a pickle may use for them. */

import { bfloat16Value, float16Value, fromHalf } from '../half.js';
import { inert, invalidPickle, type PickleGlobal } from './pickle.js';

/** Bytes per element by the name of the storage's class. */
const storageTypes: Readonly<Record<string, number>> = {
  FloatStorage: 4,
  HalfStorage: 2,
  BFloat16Storage: 2,
  DoubleStorage: 8,
  LongStorage: 8,
  IntStorage: 4,
  ShortStorage: 2,
  CharStorage: 1,
  ByteStorage: 1,
  BoolStorage: 1,
};

/** A run of elements of one type, which several tensors may share. */
export interface TorchStorage {
  readonly type: string;
  readonly key: string;
  readonly elements: number;
  readonly bytesPerElement: number;
  /** Set once the part of the file that holds it has been found. */
  bytes?: Uint8Array;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const areCounts = (value: unknown): value is number[] => Array.isArray(value) && value.every(isCount);

/** Most axes of a tensor that could be a weight. */
const mostAxes = 8;

/** A tensor of a state dict. */
export class TorchTensor {
  constructor(
    private readonly file: string | undefined,
    private readonly storage: TorchStorage,
    private readonly offset: number,
    readonly shape: readonly number[],
    private readonly strides: readonly number[],
  ) {}

  /** The class of its storage, without the word Storage. */
  get dtype(): string {
    return this.storage.type.replace('Storage', '').toLowerCase();
  }

  /**
   * The elements, row-major. Ask only for tensors of an expected shape: strides of 0 make a tensor of any size from one element.
   * @throws VERSEMI_MODEL_INVALID where the type is none of floating-point numbers, or the tensor leaves its storage
   */
  values(): Float32Array {
    const { storage, shape, strides, offset } = this;
    const count = shape.reduce((product, size) => product * size, 1);
    const last = shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis]!, offset);
    if (count > 0 && last >= storage.elements)
      throw invalidPickle(this.file, `storage ${storage.key}`, `at least ${last + 1} elements`, `${storage.elements}`);
    const numbers = this.numbers(offset, count > 0 ? last + 1 : offset);
    const result = new Float32Array(count);
    const index = shape.map(() => 0);
    for (let i = 0, at = 0; i < count; i++) {
      result[i] = numbers[at]!;
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        at += strides[axis]!;
        if (++index[axis]! < shape[axis]!) break;
        at -= shape[axis]! * strides[axis]!;
        index[axis] = 0;
      }
    }
    return result;
  }

  /** Elements begin <= index < end of the storage, which many tensors may share. */
  private numbers(begin: number, end: number): Float32Array | Float64Array {
    const { type, bytes, key, bytesPerElement } = this.storage;
    if (bytes === undefined) throw invalidPickle(this.file, `storage ${key}`, 'its bytes', 'none');
    const copy = new Uint8Array(bytes.subarray(begin * bytesPerElement, end * bytesPerElement)).buffer;
    switch (type) {
      case 'FloatStorage':
        return new Float32Array(copy);
      case 'DoubleStorage':
        return new Float64Array(copy);
      case 'HalfStorage':
        return fromHalf(new Uint16Array(copy), float16Value);
      case 'BFloat16Storage':
        return fromHalf(new Uint16Array(copy), bfloat16Value);
      default:
        throw invalidPickle(this.file, `storage ${key}`, 'floating-point numbers', type);
    }
  }
}

/** Objects that people keep beside weights: read over. */
const passedOver = [
  'argparse Namespace',
  'numpy.core.multiarray scalar',
  'numpy._core.multiarray scalar',
  'numpy dtype',
  '_codecs encode',
  'torch device',
];

/**
 * The names that a pickle of PyTorch may use. None of them is looked up anywhere.
 * @param file for error sentences
 */
export function torchGlobals(file: string | undefined): ReadonlyMap<string, PickleGlobal['make']> {
  const invalid = (expected: string, found: string) => invalidPickle(file, 'tensor', expected, found);
  const tensor = ([storage, offset, shape, strides]: readonly unknown[]) => {
    if (typeof storage !== 'object' || storage === null || !('elements' in storage))
      throw invalid('a storage', 'something else');
    if (!isCount(offset) || !areCounts(shape) || !areCounts(strides) || shape.length !== strides.length)
      throw invalid('offset, sizes and strides', 'something else');
    if (shape.length > mostAxes) throw invalid(`at most ${mostAxes} axes`, String(shape.length));
    return new TorchTensor(file, storage as TorchStorage, offset, shape, strides);
  };
  const first = (args: readonly unknown[]) => args[0] ?? [];
  return new Map<string, PickleGlobal['make']>([
    ['collections OrderedDict', () => new Map()],
    ['torch._utils _rebuild_tensor', tensor],
    ['torch._utils _rebuild_tensor_v2', tensor],
    ['torch._utils _rebuild_parameter', first],
    ['torch Size', first],
    ...Object.keys(storageTypes).map((type) => [`torch ${type}`, () => inert] as const),
    ...passedOver.map((name) => [name, () => inert] as const),
  ]);
}

/**
 * The storage that an id in a pickle stands for: ('storage', class, key, device, elements).
 * @param known storages so far, by key
 * @throws VERSEMI_MODEL_INVALID
 */
export function storageOf(id: unknown, known: Map<string, TorchStorage>, file: string | undefined): TorchStorage {
  const [kind, type, key, , elements, view] = Array.isArray(id) ? (id as unknown[]) : [];
  const global = typeof type === 'object' && type !== null && 'global' in type ? String(type.global) : '';
  const name = global.replace(/^torch /, '');
  if (kind !== 'storage' || !Object.hasOwn(storageTypes, name) || typeof key !== 'string' || !isCount(elements))
    throw invalidPickle(file, 'storage', 'class, key, device and number of elements', 'something else');
  if (view !== undefined && view !== null)
    throw invalidPickle(file, `storage ${key}`, 'a storage of its own', 'a part of another (PyTorch before 0.4)');
  const before = known.get(key);
  if (before !== undefined && (before.type !== name || before.elements !== elements))
    throw invalidPickle(file, `storage ${key}`, `${before.type} of ${before.elements}`, `${name} of ${elements}`);
  const storage = before ?? { type: name, key, elements, bytesPerElement: storageTypes[name]! };
  known.set(key, storage);
  return storage;
}
