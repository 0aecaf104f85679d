import { type Command, InvalidArgumentError, Option } from 'commander';
import { allowedThreads } from '../allowed-threads.js';
import type { Hdf5Keys } from '../datasets/hdf5-keys.js';

/** Options that several commands share, so that they read and behave the same everywhere. */
export const shared = {
  device: () =>
    new Option(
      '--device <name>',
      'where to compute; auto takes the native addon if it is built, else WebAssembly; cuda (experimental) only by name',
    )
      .choices(['auto', 'cuda', 'cpu', 'wasm'])
      .default('auto'),
  threads: () =>
    new Option(
      '--threads <n>',
      `threads of the device (default: the cores that this process may use, here ${allowedThreads()})`,
    ).argParser(positiveInteger),
  exact: () =>
    new Option(
      '--exact',
      'plain sums only: no minimal filtering (Winograd), whose rounding differs in the last digits, and which makes NaN of an infinite voxel, and of some around it',
    ),
  precision: () =>
    new Option(
      '--precision <name>',
      'operands of the convolutions; cuda: bfloat16 (default), tf32 or float32; other devices have float32 alone',
    ).choices(['float32', 'tf32', 'bfloat16']),
  maxMemory: () =>
    new Option(
      '--max-memory <size>',
      'compute in as many parts as keep the process below this (2GB, 800MB), or refuse (default: 90 % of the memory)',
    ).argParser(byteSize),
  keys: () =>
    new Option(
      '--keys <image,label>',
      'names of the arrays of HDF5 files (default: the usual ones); one name is that of the image',
    ).argParser(keys),
  filesOutside: () =>
    new Option('--files-outside', 'dataset.json may name files outside of its folder (absolute paths, ../)'),
  axes: () =>
    new Option(
      '--axes <order>',
      'order of the spatial axes that the PyTorch network sees: xyz as arrays of h5py and nibabel, zyx as those of SimpleITK',
    )
      .choices(['xyz', 'zyx'])
      .default('xyz'),
  json: () => new Option('--json', 'print the result as JSON'),
  quiet: () => new Option('-q, --quiet', 'print nothing but the result'),
} as const;

export function addShared(command: Command, ...names: (keyof typeof shared)[]): Command {
  for (const name of names) command.addOption(shared[name]());
  return command;
}

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value <= 0)
    throw new InvalidArgumentError('Expected a whole number of at least 1.');
  return value;
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError('Expected a whole number of at least 0.');
  return value;
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('Expected a number above 0.');
  return value;
}

/** "2GB", "800 MB", "1.5GiB" -> bytes; a bare number is bytes. */
export function byteSize(text: string): number {
  const found = /^\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?\s*$/i.exec(text);
  const power = found?.[2] === undefined ? 0 : 'kmgt'.indexOf(found[2].toLowerCase()) + 1;
  const value = Number(found?.[1]) * (found?.[3] ? 1024 : 1000) ** power;
  if (!(value >= 1) || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a size such as 2GB or 800MB.');
  return Math.floor(value);
}

/** "a,b,c" (and repeated options) -> ["a", "b", "c"]. */
export function list(text: string, previous: string[] = []): string[] {
  return [
    ...previous,
    ...text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  ];
}

/** "img,mask" -> the names of the arrays of HDF5 files; "img" alone leaves the label map its usual name. */
export function keys(text: string): Hdf5Keys {
  const [image, label = 'label', ...others] = list(text);
  if (image === undefined || others.length > 0)
    throw new InvalidArgumentError('Expected two names, IMAGE,LABEL, or that of the image.');
  return { image, label };
}

/** "1,1,2.5" -> three positive numbers along x, y, z; one number stands for all three. */
export function positiveTriple(text: string): [number, number, number] {
  const values = text.split(/[,x]/).map(positiveNumber);
  if (values.length === 1) return [values[0]!, values[0]!, values[0]!];
  if (values.length !== 3) throw new InvalidArgumentError('Expected one number, or three: x,y,z.');
  return [values[0]!, values[1]!, values[2]!];
}
