import { randomUUID } from 'node:crypto';
import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { VersemiError } from '../errors.js';

/**
 * The HDF5 library (h5wasm) in instances that are thrown away. An instance is WebAssembly with memory and a file system of
 * its own, in which there is one file, the case that is being read: links, external storage and virtual datasets of a file
 * from elsewhere reach no other. What odd files leave open or leak ends with the instance.
 */

/** What HDF5 says of an array. */
export interface Hdf5Facts {
  /** H5T_class_t of the elements: 0 integer, 1 float, 8 enumeration (what h5py writes bool as). */
  readonly type: number;
  readonly size: number;
  readonly signed: boolean;
  readonly littleEndian: boolean;
  readonly vlen: boolean;
  readonly enum_type?: { readonly type: number };
  /** null for an array that holds nothing. */
  readonly shape: readonly number[] | null;
  readonly chunks: readonly number[] | null;
  readonly virtual_sources?: readonly unknown[];
}

/** As much of h5wasm's module as is used here. */
interface Hdf5Module {
  open(path: string, mode: number, trackOrder: boolean, libverLow: number, libverHigh: number): bigint;
  close_file(id: bigint): number;
  get_names(id: bigint, path: string, recursive: boolean): string[];
  get_type(id: bigint, path: string): number;
  get_dataset_metadata(id: bigint, path: string): Hdf5Facts;
  get_dataset_filters(id: bigint, path: string): readonly { readonly id: number; readonly name: string }[];
  get_dataset_data(
    id: bigint,
    path: string,
    count: readonly bigint[],
    offset: readonly bigint[],
    strides: readonly bigint[],
    pointer: bigint,
  ): number;
  /** @returns eight bytes */
  create_object_reference(id: bigint, path: string): readonly number[];
  activate_throwing_error_handler(): number;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  readonly HEAPU8: Uint8Array;
  readonly FS: {
    open(path: unknown, ...how: unknown[]): unknown;
    mknod(path: string, mode: number, device: number): FileNode;
    unlink(path: string): void;
    readonly ErrnoError: new (errno: number) => Error;
  };
}

interface FileNode {
  usedBytes: number;
  stream_ops: object;
}

/** What a name in a file stands for. */
export type Hdf5Kind = 'array' | 'group' | 'external link' | 'dangling link' | 'nothing' | 'something else';

/** H5G_obj_t */
const kinds: Readonly<Record<number, Hdf5Kind>> = {
  [-1]: 'nothing',
  0: 'group',
  1: 'array',
  3: 'dangling link',
  4: 'external link',
};

/** An open HDF5 file. Every method may throw an error of the library, whose message is its stack of failures. */
export interface Hdf5File {
  readonly sizeBytes: number;
  /** Names at the top level. */
  names(): string[];
  kind(path: string): Hdf5Kind;
  facts(path: string): Hdf5Facts;
  /** Address of an object's header in the file, links followed. */
  address(path: string): number;
  filters(path: string): readonly { readonly id: number; readonly name: string }[];
  /**
   * Elements as stored but little-endian, the last index fastest.
   * @param begin,end range of the first index
   * @returns a copy
   */
  read(path: string, shape: readonly number[], elementBytes: number, begin: number, end: number): Uint8Array;
}

/** Failures after which an instance is given up: each may leave something open in it. */
const mostFailures = 50;
/** Memory above which an instance is given up once its file is closed: it never shrinks. */
const mostHeapBytes = 256 << 20;
const noEntry = 44; // errno of the WebAssembly system interface
const inputOutputError = 29;

class Instance {
  private failures = 0;
  private path = '';

  private constructor(private readonly module: Hdf5Module) {
    const { FS } = module;
    const open = FS.open.bind(FS);
    FS.open = (path, ...how) => {
      // Besides the case, only what the library's error handler writes its messages to.
      if (path === this.path || (typeof path === 'string' && path.startsWith('/tmp/tmpfile_')))
        return open(path, ...how);
      throw new FS.ErrnoError(noEntry);
    };
    // Without this handler the library prints failures and hands back zeros for chunks that it could not decompress.
    module.activate_throwing_error_handler();
  }

  static async create(): Promise<Instance> {
    // What makes instances: the library's build for browsers, whose file system is in memory.
    const { default: make } = (await import('#hdf5')) as {
      default: (options: object) => Promise<Hdf5Module>;
    };
    const silent = () => {};
    return new Instance(await make({ noInitialRun: true, print: silent, printErr: silent }));
  }

  /** Opens a file for as long as `work` takes. */
  use<T>(handle: FileHandle, sizeBytes: number, work: (file: Hdf5File) => T): T {
    const { module } = this;
    this.path = `/${randomUUID()}`;
    const node = module.FS.mknod(this.path, 0o100444, 0);
    node.usedBytes = sizeBytes;
    node.stream_ops = { ...node.stream_ops, read: reader(module, handle, sizeBytes) };
    try {
      const id = module.open(this.path, 0, false, -1, -1);
      try {
        return work(fileOf(module, id, sizeBytes));
      } finally {
        module.close_file(id);
      }
    } catch (error) {
      if (!(error instanceof VersemiError)) this.failures++;
      // A trap leaves the library in no state at all.
      if (error instanceof WebAssembly.RuntimeError) this.failures = mostFailures;
      throw error;
    } finally {
      module.FS.unlink(this.path);
    }
  }

  get worn(): boolean {
    return this.failures >= mostFailures || this.module.HEAPU8.length > mostHeapBytes;
  }
}

function reader({ FS }: Hdf5Module, { fd }: FileHandle, sizeBytes: number) {
  return (_: unknown, buffer: Uint8Array, offset: number, length: number, position: number): number => {
    const wanted = Math.min(length, sizeBytes - position);
    if (wanted <= 0) return 0;
    try {
      return readSync(fd, buffer, offset, wanted, position);
    } catch {
      throw new FS.ErrnoError(inputOutputError);
    }
  };
}

function fileOf(module: Hdf5Module, id: bigint, sizeBytes: number): Hdf5File {
  return {
    sizeBytes,
    names: () => module.get_names(id, '/', false),
    kind: (path) => kinds[module.get_type(id, path)] ?? 'something else',
    facts: (path) => module.get_dataset_metadata(id, path),
    address(path) {
      // A reference is the address in little-endian bytes.
      return module.create_object_reference(id, path).reduceRight((value, byte) => value * 256 + byte, 0);
    },
    filters: (path) => module.get_dataset_filters(id, path),
    read(path, shape, elementBytes, begin, end) {
      const count = [end - begin, ...shape.slice(1)];
      const bytes = count.reduce((product, length) => product * length, elementBytes);
      const pointer = module._malloc(bytes);
      if (pointer === 0) throw new Error('): out of memory\n');
      try {
        const offset = count.map((_, axis) => BigInt(axis === 0 ? begin : 0));
        module.get_dataset_data(
          id,
          path,
          count.map(BigInt),
          offset,
          count.map(() => 1n),
          BigInt(pointer),
        );
        return module.HEAPU8.slice(pointer, pointer + bytes);
      } finally {
        module._free(pointer);
      }
    },
  };
}

let instance: Promise<Instance> | undefined;

/** Opens a file for as long as `work`, which takes no pauses, runs. @throws errors of the library, and what `work` throws */
export async function withHdf5File<T>(handle: FileHandle, sizeBytes: number, work: (file: Hdf5File) => T): Promise<T> {
  instance ??= Instance.create();
  const used = instance;
  const current = await used;
  try {
    return current.use(handle, sizeBytes, work);
  } finally {
    if (current.worn && instance === used) instance = undefined;
  }
}
