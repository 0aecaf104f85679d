import { randomBytes } from 'node:crypto';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Busboy, type BusboyHeaders, type BusboyInstance } from '@fastify/busboy';
import { writeError } from '../atomic-file.js';
import { VersemiError } from '../errors.js';

/**
 * Bodies of requests, written into a folder of the server's own while they arrive: no body is held in memory, each has a bound, and no
 * name that a client gives becomes a path.
 */

/** Most bytes of one request where nothing else is said: a scan of 1024^3 voxels of 16 bits. */
const usualMostBytes = 2 ** 31;
/** Most files of one request: the slices of a study. */
const mostFiles = 10_000;
/** Most bytes of a field that is no file. */
const mostFieldBytes = 1 << 20;

/** A folder that goes with the process. */
export class ScratchFolder {
  readonly path = mkdtempSync(join(tmpdir(), `versemi-serve-${process.pid}-`));
  private readonly onExit = () => rmSync(this.path, { recursive: true, force: true });

  /** @param mostBytes of one request that is written into it */
  constructor(readonly mostBytes = usualMostBytes) {
    process.on('exit', this.onExit);
  }

  /** A new folder in it, for one request. */
  async make(): Promise<string> {
    const folder = join(this.path, randomBytes(12).toString('hex'));
    await mkdir(folder, { mode: 0o700 });
    return folder;
  }

  dispose(): void {
    process.off('exit', this.onExit);
    this.onExit();
  }
}

export interface UploadedFile {
  /** Name of the form's field. */
  readonly field: string;
  readonly path: string;
  readonly bytes: number;
}

export interface Form {
  readonly fields: ReadonlyMap<string, string>;
  readonly files: readonly UploadedFile[];
}

/** Writes the body of a request into a file. @throws VERSEMI_REQUEST_TOO_LARGE, VERSEMI_REQUEST_INVALID, VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
export async function receiveFile(incoming: IncomingMessage, folder: string, mostBytes: number): Promise<UploadedFile> {
  const path = join(folder, 'body');
  const stream = createWriteStream(path, { flags: 'wx', mode: 0o600 });
  await receive(incoming, stream, mostBytes).catch((error) => {
    throw writeError(path, error);
  });
  return named({ field: '', path, bytes: stream.bytesWritten });
}

/**
 * Reads a form (multipart or urlencoded); a request without a body is an empty one.
 * @param folder where its files go, under names of the server's own
 * @throws as {@link receiveFile}
 */
export async function receiveForm(incoming: IncomingMessage, folder: string, mostBytes: number): Promise<Form> {
  const fields = new Map<string, string>();
  if (incoming.headers['content-type'] === undefined) return { fields, files: [] };
  const writes: Promise<UploadedFile>[] = [];
  let problem: Error | undefined;
  let parser: BusboyInstance;
  try {
    parser = new Busboy({
      headers: incoming.headers as BusboyHeaders,
      limits: { fieldSize: mostFieldBytes, fields: 100, files: mostFiles, parts: mostFiles + 100, headerPairs: 50 },
    });
  } catch (error) {
    throw notAForm((error as Error).message);
  }
  parser.on('field', (name, value, _nameCut, valueCut) => {
    if (valueCut) problem ??= tooLarge(`field ${name}`, mostFieldBytes);
    fields.set(name, value);
  });
  parser.on('file', (field, stream) => {
    const path = join(folder, String(writes.length).padStart(5, '0'));
    const file = createWriteStream(path, { flags: 'wx', mode: 0o600 });
    const write = pipeline(stream, file).then(() => named({ field, path, bytes: file.bytesWritten }));
    write.catch((error) => {
      problem ??= writeError(path, error);
      stream.resume();
    });
    writes.push(write);
  });
  for (const limit of ['filesLimit', 'partsLimit', 'fieldsLimit'] as const)
    parser.on(limit, () => {
      problem ??= notAForm(`more than ${mostFiles} parts`);
    });
  await receive(incoming, parser, mostBytes).catch((error) => {
    throw error instanceof VersemiError ? error : notAForm((error as Error).message);
  });
  const files = await Promise.allSettled(writes);
  if (problem !== undefined) throw problem;
  return { fields, files: files.map((file) => (file as PromiseFulfilledResult<UploadedFile>).value) };
}

function notAForm(found: string): VersemiError {
  return new VersemiError('REQUEST_INVALID', {
    field: 'body',
    expected: 'a form (multipart/form-data)',
    found,
    remedy: 'Send the file as a part of a form.',
  });
}

function tooLarge(field: string, mostBytes: number): VersemiError {
  return new VersemiError('REQUEST_TOO_LARGE', {
    field,
    expected: `at most ${mostBytes} bytes`,
    found: 'more',
    remedy: 'Crop or resample the scan, or run versemi predict on the file.',
  });
}

/**
 * Pipes a body into a stream. The connection stays open when that fails, so that the client can read why.
 */
async function receive(incoming: IncomingMessage, target: Writable, mostBytes: number): Promise<void> {
  if (Number(incoming.headers['content-length'] ?? 0) > mostBytes) {
    target.destroy();
    throw tooLarge('body', mostBytes);
  }
  let bytes = 0;
  const counter = new Transform({
    transform(chunk: Uint8Array, _, done) {
      bytes += chunk.length;
      if (bytes > mostBytes) done(tooLarge('body', mostBytes));
      else done(null, chunk);
    },
  });
  const left = () => {
    if (!incoming.complete) counter.destroy(new VersemiError('ABORTED', { field: 'upload' }));
  };
  incoming.once('close', left);
  incoming.pipe(counter);
  try {
    await pipeline(counter, target);
  } finally {
    incoming.off('close', left);
  }
}

/** Bytes by which formats are known, and where they stand. */
const beginnings = [
  { ending: '.zip', bytes: 'PK\x03\x04', at: 0 },
  { ending: '.dcm', bytes: 'DICM', at: 128 },
  { ending: '.nrrd', bytes: 'NRRD', at: 0 },
  { ending: '.mha', bytes: 'ObjectType', at: 0 },
  { ending: '.mha', bytes: 'NDims', at: 0 },
  { ending: '.h5', bytes: '\x89HDF', at: 0 },
  { ending: '.nii.gz', bytes: '\x1f\x8b', at: 0 },
] as const;

/** Gives a file the ending of what it holds: readers go by names, and the client's name is not to be trusted with that. */
async function named(file: UploadedFile): Promise<UploadedFile> {
  const handle = await open(file.path);
  const start = Buffer.alloc(132);
  try {
    await handle.read(start, 0, start.length, 0);
  } finally {
    await handle.close();
  }
  const known = beginnings.find(({ bytes, at }) => start.toString('latin1', at, at + bytes.length) === bytes);
  const path = `${file.path}${known?.ending ?? '.nii'}`;
  await rename(file.path, path);
  return { ...file, path };
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => {});
}
