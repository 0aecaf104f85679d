import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { HttpBindings } from '@hono/node-server';
import type { Context, Hono } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { type ErrorCode, errorTable, isVersemiError, VersemiError } from '../errors.js';
import { readError } from '../regular-file.js';

/** Answers of the server: errors as JSON with an HTTP status, and files that are streamed. */

/** The server's routes, and one request; `env` holds Node's own request and answer. */
export type App = Hono<{ Bindings: HttpBindings }>;
export type Ctx = Context<{ Bindings: HttpBindings }>;

const statusOfCode: Partial<Record<ErrorCode, ContentfulStatusCode>> = {
  FILE_NOT_FOUND: 404,
  REQUEST_UNKNOWN: 404,
  MODEL_TASK_UNKNOWN: 404,
  REQUEST_DENIED: 403,
  REQUEST_TOO_LARGE: 413,
  LABEL_EXISTS: 409,
  GEOMETRY_MISMATCH: 409,
  NOT_OFFERED: 501,
  SERVER_BUSY: 503,
  ABORTED: 503,
  MEMORY_LIMIT: 507,
  DISK_FULL: 507,
};

/** The HTTP status of an error: what the client can mend is 4xx. */
export function statusOf(error: unknown): ContentfulStatusCode {
  if (!isVersemiError(error)) return 500;
  const code = error.code.slice('VERSEMI_'.length) as ErrorCode;
  const status = statusOfCode[code];
  if (status !== undefined) return status;
  return errorTable[code].kind === 'input' ? 400 : 500;
}

/**
 * An error as clients read it: `message` is the whole sentence, and `detail` the same under the name that clients of MONAI Label look for.
 */
function errorBody(error: unknown) {
  const known = isVersemiError(error) ? error : new VersemiError('INTERNAL', { found: String(error) }, error);
  return { code: known.code, message: known.message, detail: known.message, ...known.details };
}

/** @param scratch folder of what clients have sent: a client knows its file, and not that name of it */
export function errorAnswer(error: unknown, scratch?: string): Response {
  const json = JSON.stringify(errorBody(error));
  const text = scratch === undefined ? json : json.replaceAll(sentFile(scratch), 'the file that was sent');
  return new Response(text, { status: statusOf(error), headers: { 'content-type': 'application/json' } });
}

function sentFile(scratch: string): RegExp {
  const inJson = JSON.stringify(scratch).slice(1, -1);
  return new RegExp(`${inJson.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}[\\w.\\\\/-]*`, 'g');
}

export interface FileAnswer {
  readonly path: string;
  /** Name under which a browser would save it. */
  readonly name: string;
  /** MIME type; default: bytes of no known kind. */
  readonly type?: string;
}

/**
 * A file as the body of an answer, streamed; its length is told, so that the answer is not sent in chunks.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED
 */
export async function fileAnswer({ path, name, type = 'application/octet-stream' }: FileAnswer): Promise<Response> {
  const { bytes, body } = await streamOf(path);
  return new Response(body, {
    headers: {
      'content-type': type,
      'content-length': String(bytes),
      'content-disposition': disposition(name),
    },
  });
}

/** The name as every client reads it, and as those read it that know other letters than ASCII (RFC 6266). */
function disposition(name: string): string {
  const encoded = encodeURIComponent(name).replaceAll(/['()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16)}`);
  return `attachment; filename="${name.replaceAll(/[^\w. ()+-]/g, '_')}"; filename*=UTF-8''${encoded}`;
}

/** The bytes of a file as a stream, and their number. The file is open from here on, so that it may be replaced meanwhile. */
async function streamOf(path: string): Promise<{ readonly bytes: number; readonly body: ReadableStream<Uint8Array> }> {
  try {
    const handle = await open(path);
    const { size } = await handle.stat();
    const stream = createReadStream(path, { fd: handle, start: 0, end: Math.max(0, size - 1) });
    return { bytes: size, body: Readable.toWeb(stream) as ReadableStream<Uint8Array> };
  } catch (error) {
    throw readError(error, path);
  }
}

/** One part of a multipart answer. */
export interface Part {
  /** Lines of its header, without the line breaks. */
  readonly head: readonly string[];
  readonly body: Uint8Array | { readonly path: string };
}

/**
 * A multipart/form-data answer with its length: a client of 3D Slicer's plugin reads the socket itself and knows no chunks.
 * @param boundary of letters, digits and hyphens, that no part holds
 */
export async function multipartAnswer(parts: readonly Part[], boundary: string): Promise<Response> {
  const pieces: { bytes: number; body: Uint8Array | ReadableStream<Uint8Array> }[] = [];
  const add = (bytes: Uint8Array) => pieces.push({ bytes: bytes.length, body: bytes });
  for (const { head, body } of parts) {
    add(Buffer.from(`--${boundary}\r\n${head.join('\r\n')}\r\n\r\n`));
    if (body instanceof Uint8Array) add(body);
    else pieces.push(await streamOf(body.path));
    add(Buffer.from('\r\n'));
  }
  add(Buffer.from(`--${boundary}--\r\n`));
  async function* content(): AsyncGenerator<Uint8Array> {
    for (const { body } of pieces) {
      if (body instanceof Uint8Array) yield body;
      else yield* body as unknown as AsyncIterable<Uint8Array>;
    }
  }
  return new Response(Readable.toWeb(Readable.from(content(), { objectMode: false })) as ReadableStream, {
    headers: {
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': String(pieces.reduce((sum, { bytes }) => sum + bytes, 0)),
    },
  });
}
