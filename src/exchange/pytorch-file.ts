/**
 * Files of `torch.save`: a zip file with `data.pkl` and one entry per storage (PyTorch 1.6 and newer), or the older form, five pickles and
 * the storages behind them. Every claim of a file is checked before memory is taken.
 */

import { isZip, unzipped } from '../datasets/zip.js';
import { VersemiError } from '../errors.js';
import { shown } from '../json-text.js';
import { invalidPickle, unpickle } from './pickle.js';
import { storageOf, type TorchStorage, torchGlobals } from './pytorch-tensors.js';

/** What the older form begins with, as a pickled number. */
const legacyMagic = 0x1950a86a20f9469cfc6cn;
const legacyVersion = 1001;

/** More entries than any network has storages. */
const mostEntries = 200_000;
/** `torch.save` does not compress, and who packs weights again gains little: so many times the size of the file, and a little. */
const largestUnpacking = 16;
const littleBytes = 2 ** 20;

function unsupported(file: string | undefined, expected: string, found: string, cause?: unknown): VersemiError {
  return new VersemiError(
    'MODEL_INVALID',
    {
      ...(file === undefined ? {} : { file }),
      expected,
      found,
      remedy: "Save the weights again in Python: torch.save(network.state_dict(), 'weights.pth').",
    },
    cause,
  );
}

/** Whether bytes begin as a pickle of protocol 2 or newer does. */
export function isPickle(bytes: Uint8Array): boolean {
  return bytes[0] === 0x80 && bytes[1]! >= 2 && bytes[1]! <= 5;
}

/**
 * What a file of `torch.save` holds: Maps, lists, numbers, texts and `TorchTensor`s.
 * @param file name for error sentences
 * @throws VERSEMI_MODEL_INVALID
 */
export function readTorchFile(bytes: Uint8Array, file?: string): unknown {
  return isZip(bytes) ? readZip(bytes, file) : readLegacy(bytes, file);
}

function entriesOf(bytes: Uint8Array, file: string | undefined): Map<string, Uint8Array> {
  let count = 0;
  let total = 0;
  try {
    return unzipped(bytes, ({ name, originalSize }) => {
      total += originalSize;
      if (++count > mostEntries || total > largestUnpacking * bytes.length + littleBytes)
        throw unsupported(file, 'a file of torch.save', `a zip file that unpacks to ${total} bytes and more`);
      return /(^|\/)(data\.pkl|byteorder|data\/[^/]+|constants\.pkl)$/.test(name);
    });
  } catch (error) {
    if (error instanceof VersemiError) throw error;
    throw unsupported(file, 'a whole zip file', error instanceof Error ? error.message : 'an error', error);
  }
}

function readZip(bytes: Uint8Array, file: string | undefined): unknown {
  const entries = entriesOf(bytes, file);
  const names = [...entries.keys()];
  const pickles = names.filter((name) => /(^|\/)data\.pkl$/.test(name));
  if (pickles.length !== 1) throw unsupported(file, 'one data.pkl in the zip file', `${pickles.length}`);
  const root = pickles[0]!.slice(0, -'data.pkl'.length);
  if (entries.has(`${root}constants.pkl`)) throw unsupported(file, 'a state dict', 'a program (TorchScript)');
  const order = entries.get(`${root}byteorder`);
  if (order !== undefined && new TextDecoder().decode(order).trim() !== 'little')
    throw unsupported(file, 'numbers in little-endian byte order', 'another order');
  const storages = new Map<string, TorchStorage>();
  const { value } = unpickle(entries.get(pickles[0]!)!, 0, optionsFor(storages, file));
  for (const storage of storages.values()) setBytes(storage, entries.get(`${root}data/${storage.key}`), file);
  return value;
}

function optionsFor(storages: Map<string, TorchStorage>, file: string | undefined) {
  return {
    ...(file === undefined ? {} : { file }),
    globals: torchGlobals(file),
    persistent: (id: unknown) => storageOf(id, storages, file),
  };
}

function setBytes(storage: TorchStorage, bytes: Uint8Array | undefined, file: string | undefined): void {
  const expected = storage.elements * storage.bytesPerElement;
  if (bytes?.length !== expected)
    throw invalidPickle(file, `storage ${storage.key}`, `${expected} bytes`, bytes ? `${bytes.length}` : 'none');
  storage.bytes = bytes;
}

function readLegacy(bytes: Uint8Array, file: string | undefined): unknown {
  const storages = new Map<string, TorchStorage>();
  const options = optionsFor(storages, file);
  let at = 0;
  const next = () => {
    const { value, end } = unpickle(bytes, at, options);
    at = end;
    return value;
  };
  if (next() !== legacyMagic) throw unsupported(file, 'a file of torch.save', 'another pickle');
  const version = next();
  if (version !== legacyVersion) throw unsupported(file, `version ${legacyVersion} of the older form`, shown(version));
  const system = next();
  if (!(system instanceof Map) || system.get('little_endian') !== true)
    throw unsupported(file, 'numbers in little-endian byte order', 'another order');
  const value = next();
  const keys = next();
  if (!Array.isArray(keys)) throw unsupported(file, 'a list of storages', 'something else');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (storage === undefined || storage.bytes !== undefined)
      throw invalidPickle(file, 'list of storages', 'each storage of a tensor, once', shown(key));
    const length = storage.elements * storage.bytesPerElement;
    if (at + 8 + length > bytes.length || Number(view.getBigInt64(at, true)) !== storage.elements)
      throw invalidPickle(
        file,
        `storage ${storage.key}`,
        `${storage.elements} elements`,
        'the end of the file, or another number',
      );
    setBytes(storage, bytes.subarray(at + 8, at + 8 + length), file);
    at += 8 + length;
  }
  return value;
}
