// A server with a small page, and requests with any header.
import { type IncomingHttpHeaders, request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readVolume } from '../../src/datasets/read-volume.js';
import { type RunningServer, type ServerOptions, startServer } from '../../src/server/server.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
export const exampleModel = join(root, 'test', 'examples', 'real-data.safetensors');

/** Files of a page, for `t.testdir`. */
export const pageFixture = {
  'index.html': '<!doctype html><title>versemi</title><script type="module" src="app.js"></script>',
  'app.js': 'document.title = "runs";',
  workers: { 'predict.js': '' },
};

const tree = { page: pageFixture };

interface Test {
  testdir(files: typeof tree): string;
  teardown(end: () => Promise<void>): void;
}

/** Starts a server on a free port; it ends with the test. */
export async function startFor(t: Test, options: ServerOptions = {}, folder?: string): Promise<RunningServer> {
  const pageFolder = folder ?? join(t.testdir(tree), 'page');
  const server = await startServer({ port: 0, pageFolder, ...options });
  t.teardown(() => server.close());
  return server;
}

export function tokenOf({ url }: RunningServer): string {
  return new URL(url).searchParams.get('token')!;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array | string;
  readonly signal?: AbortSignal;
}

export function ask(
  { origin }: { readonly origin: string },
  path: string,
  { method = 'GET', headers = {}, body, signal }: AskOptions = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(origin);
    const length =
      body === undefined || 'transfer-encoding' in headers
        ? {}
        : { 'content-length': String(Buffer.byteLength(body as Buffer)) };
    const sent = request(
      {
        ...{ hostname, port, path, method, headers: { ...length, ...headers }, agent: false },
        ...(signal ? { signal } : {}),
      },
      (answer) => {
        const parts: Buffer[] = [];
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.on('error', reject);
        answer.on('end', () => {
          const bytes = Buffer.concat(parts);
          const text = bytes.toString('utf8');
          const isJson = answer.headers['content-type']?.startsWith('application/json') === true;
          const json = isJson ? (JSON.parse(text) as Record<string, unknown>) : {};
          resolve({ status: answer.statusCode!, headers: answer.headers, bytes, text, json });
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

/** Voxels of a volume in a file. */
export async function voxelsOf(file: string): Promise<Uint8Array> {
  return Uint8Array.from((await readVolume(file)).data);
}
