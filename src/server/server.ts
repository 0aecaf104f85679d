import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import type { OpenDatasetOptions } from '../datasets/dataset.js';
import type { CaseFiles } from '../datasets/types.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import type { MemoryOptions } from '../inference/memory.js';
import { parseJson, shown } from '../json-text.js';
import { packageRoot, packageVersion } from '../root.js';
import type { VerbOptions } from '../verb-options.js';
import { type App, errorAnswer, fileAnswer, statusOf } from './answers.js';
import { ServedDataset } from './cases.js';
import { guard, isLoopback, requireToken } from './guard.js';
import { namesOfObject, valuesByName } from './label-names.js';
import { modelNamed, type ServedModel, servedModels } from './models.js';
import { folderOf, monaiLabelPaths, serveMonaiLabel } from './monai-label.js';
import { pageFiles, servePage, unknownPath } from './page.js';
import { Segmentation } from './segmentation.js';
import { Suggestions } from './suggestions.js';
import { receiveFile, ScratchFolder } from './uploads.js';

/** A request has been answered. */
export interface ServedRequest {
  readonly method: string;
  /** Without what stands behind the question mark: names of cases, the token. */
  readonly path: string;
  readonly status: number;
  readonly milliseconds: number;
}

/** What is served, and to whom. `signal` ends the server as `close` does; notices say who else can reach it. */
export interface ServerOptions extends VerbOptions<ServedRequest> {
  /** Model files that the page can load and MONAI Label's clients can ask for. */
  readonly models?: readonly string[];
  /** Folder of a dataset whose cases are shown and whose labels are saved. */
  readonly data?: string;
  readonly dataset?: OpenDatasetOptions;
  /** Address to listen on; default 127.0.0.1: this machine alone. */
  readonly host?: string;
  /** Default 8642; 0: any that is free. */
  readonly port?: number;
  /** Present: MONAI Label's REST is served too, without a token. The device must have been selected. */
  readonly monaiLabel?: MemoryOptions & {
    /** Origins of viewers on other addresses that may ask, such as `http://localhost:3000`. */
    readonly allowOrigins?: readonly string[];
  };
  /** Most bytes of one request; default 2 GiB. */
  readonly mostUploadBytes?: number;
  /** Folder of the page; default: that of the package. */
  readonly pageFolder?: string;
  /** Told of defects that a client met. */
  readonly onDefect?: (error: unknown) => void;
}

/** A server that listens. */
export interface RunningServer {
  /** What a person opens: with the token. */
  readonly url: string;
  /** Address without the token, for clients of MONAI Label. */
  readonly origin: string;
  readonly loopback: boolean;
  readonly models: readonly ServedModel[];
  /** Name of the dataset. */
  readonly dataset: string | null;
  /** Ends all requests, what is computed for them, and removes what clients have sent. Resolves when that is done, also a second time. */
  close(): Promise<void>;
}

export const defaultPort = 8642;
const mostLogLines = 2000;

/**
 * Serves the page, its API, and if asked MONAI Label's REST, until it is closed or `signal` is aborted.
 * @throws VERSEMI_FILE_NOT_FOUND (the page was not built, no such model), VERSEMI_ADDRESS_IN_USE, VERSEMI_IO_FAILED, VERSEMI_ABORTED where
 *   `signal` was aborted before anything was served, and what opening models and the dataset throws
 */
export async function startServer(options: ServerOptions = {}): Promise<RunningServer> {
  const { host = '127.0.0.1', port = defaultPort, monaiLabel, signal, onProgress, onNotice } = options;
  throwIfAborted(signal, 'server');
  const files = pageFiles(options.pageFolder ?? join(packageRoot, 'dist', 'app'));
  const models = await servedModels(options.models ?? []);
  const scratch = new ScratchFolder(options.mostUploadBytes);
  const closing = new AbortController();
  const segmentation = monaiLabel === undefined ? undefined : new Segmentation(monaiLabel);
  try {
    const dataset = options.data === undefined ? undefined : await ServedDataset.open(options.data, options.dataset);
    const token = randomBytes(32).toString('base64url');
    const app: App = new Hono({ strict: false });
    const log: string[] = [];
    app.use('*', async (c, next) => {
      const started = performance.now();
      await next();
      if (c.req.raw.method === 'HEAD') await c.res.body?.cancel();
      const { method, path } = c.req;
      const { status } = c.res;
      const milliseconds = Math.round(performance.now() - started);
      const line = `${new Date().toISOString()} ${method} ${path} ${status} ${milliseconds} ms`;
      if (log.push(line) > mostLogLines) log.shift();
      onProgress?.({ method, path, status, milliseconds });
    });
    const allowOrigins = monaiLabel?.allowOrigins ?? [];
    const ofMonaiLabel = (path: string) => (monaiLabelPaths as readonly string[]).includes(path.split('/')[1]!);
    app.use('*', guard({ host, allowOrigins, mayAllow: ofMonaiLabel }));
    app.onError((error) => {
      if (statusOf(error) === 500 && !closing.signal.aborted) options.onDefect?.(error);
      return errorAnswer(error, scratch.path);
    });
    const suggestions = new Suggestions();
    serveApi(app, { models, dataset, suggestions, scratch, token });
    if (segmentation !== undefined)
      serveMonaiLabel(app, {
        ...{ models, dataset, segmentation, suggestions, scratch, closing: closing.signal },
        log: (lines) => log.slice(-lines).join('\n'),
      });
    servePage(app, files, token);
    app.notFound((c) => errorAnswer(unknownPath(c.req.method, c.req.path)));

    throwIfAborted(signal, 'server');
    const server = createAdaptorServer({ fetch: app.fetch }) as Server;
    const bound = await listen(server, host, port);
    const shownHost = isAny(host) ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
    const origin = `http://${shownHost}:${bound.port}`;
    const shut = async () => {
      closing.abort();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
      await segmentation?.close();
      scratch.dispose();
    };
    let closed: Promise<void> | undefined;
    const close = () => {
      signal?.removeEventListener('abort', onAbort);
      closed ??= shut();
      return closed;
    };
    const onAbort = () => void close().catch((error: unknown) => options.onDefect?.(error));
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted) {
      await close();
      throwIfAborted(signal, 'server');
    }
    const loopback = isLoopback(host);
    for (const text of notices(host, origin, loopback, monaiLabel !== undefined)) onNotice?.(text);
    return {
      ...{ url: `${origin}/?token=${token}`, origin, loopback, models },
      dataset: dataset?.name ?? null,
      close,
    };
  } catch (error) {
    scratch.dispose();
    throw error;
  }
}

/** Who can reach the server, and what they can do. */
function notices(host: string, origin: string, loopback: boolean, monaiLabel: boolean): string[] {
  return [
    ...(loopback
      ? []
      : [
          `Warning: ${host} can be reached by other machines, and nothing is encrypted: who listens on the network sees the token and the scans. Take a network that you trust, or a tunnel (ssh -L) to a server on 127.0.0.1.`,
        ]),
    ...(monaiLabel
      ? [
          `MONAI Label at ${origin}, without a token: ${loopback ? 'every program on this machine' : 'everybody who reaches this machine'} can predict and save labels.`,
        ]
      : []),
  ];
}

interface ApiOptions {
  readonly models: readonly ServedModel[];
  readonly dataset: ServedDataset | undefined;
  readonly suggestions: Suggestions;
  readonly scratch: ScratchFolder;
  readonly token: string;
}

/** What the page asks for. */
function serveApi(app: App, { models, dataset, suggestions, scratch, token }: ApiOptions): void {
  app.use('/api/*', requireToken(token));
  app.get('/api/info', (c) => c.json({ version: packageVersion(), dataset: dataset?.name ?? null }));
  app.get('/api/models', (c) =>
    c.json(models.map(({ name, bytes, plan }) => ({ name, bytes, tasks: plan.tasks.map((task) => task.name) }))),
  );
  app.get('/api/models/:name', (c) => {
    const { name, file } = modelNamed(models, c.req.param('name'));
    return fileAnswer({ path: file, name: `${name}.safetensors` });
  });
  app.get('/api/cases', async (c) => {
    const { cases, test, modalities, labels } = await required(dataset).read();
    const listed = (of: readonly CaseFiles[], isTest: boolean) =>
      of.map(({ id, label }) => {
        const disagreement = suggestions.disagreementOf(id);
        const known = disagreement === undefined ? {} : { disagreement };
        return { id, labeled: label !== undefined, test: isTest, ...known };
      });
    return c.json({
      cases: [...listed(cases, false), ...listed(test, true)],
      ...{ modalities, labels, next: suggestions.next(cases)?.id ?? null },
    });
  });
  app.put('/api/cases/:id/disagreement', async (c) => {
    const id = c.req.param('id');
    await required(dataset).case(id);
    const text = c.req.query('value') ?? '';
    const value = text === '' ? Number.NaN : Number(text);
    if (!(value >= 0 && value <= 1))
      throw new VersemiError('REQUEST_INVALID', {
        field: 'value',
        expected: 'a number from 0 (the tasks agree) to 1',
        found: shown(text),
        remedy: 'Correct the request.',
      });
    suggestions.note(id, value);
    return c.json({ case: id, disagreement: value });
  });
  app.get('/api/cases/:id/image', async (c) =>
    fileAnswer(
      await required(dataset).image(c.req.param('id'), c.req.query('channel') ?? '0', () => folderOf(c, scratch)),
    ),
  );
  app.put('/api/labels', async (c) => {
    const served = required(dataset);
    const id = c.req.query('case') ?? '';
    const names = c.req.query('names');
    const folder = await folderOf(c, scratch);
    const { path } = await receiveFile(c.env.incoming, folder, scratch.mostBytes);
    const named =
      names === undefined
        ? {}
        : {
            datasetValue: valuesByName(
              await served.read(),
              models,
              namesOfObject(parseJson(names, { code: 'REQUEST_INVALID', field: 'names' })),
            ),
          };
    const existing = c.req.query('replace') === '1' ? 'keep' : 'refuse';
    const saved = await served.save(id, path, { existing, called: 'the label that was sent', ...named });
    return c.json({ case: id, ...saved });
  });
  app.all('/api/*', (c) => {
    throw unknownPath(c.req.method, c.req.path);
  });
}

function required(dataset: ServedDataset | undefined): ServedDataset {
  if (dataset !== undefined) return dataset;
  throw new VersemiError('REQUEST_UNKNOWN', {
    field: 'dataset',
    found: 'none',
    remedy: 'Start versemi serve with --data and the folder of a dataset.',
  });
}

function isAny(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** @throws VERSEMI_ADDRESS_IN_USE, VERSEMI_IO_FAILED */
function listen(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const field = `${host}:${port}`;
      if (error.code === 'EADDRINUSE')
        reject(
          new VersemiError(
            'ADDRESS_IN_USE',
            { field, remedy: 'End the other program, or choose another --port (0: any that is free).' },
            error,
          ),
        );
      else
        reject(
          new VersemiError(
            'IO_FAILED',
            {
              field,
              found: error.message,
              remedy: 'Choose another --host or --port; ports below 1024 are for administrators.',
            },
            error,
          ),
        );
    });
    server.listen(port, host, () => resolve(server.address() as AddressInfo));
  });
}
