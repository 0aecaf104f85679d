import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { channelIndex, imageOf } from '../datasets/load-case.js';
import type { ReadVolumeOptions } from '../datasets/read-volume.js';
import { scanSource } from '../datasets/scan-files.js';
import { VersemiError } from '../errors.js';
import { isJsonObject, type JsonObject, parseJson, shown } from '../json-text.js';
import { packageVersion } from '../root.js';
import { type App, type Ctx, fileAnswer, multipartAnswer } from './answers.js';
import type { ServedDataset } from './cases.js';
import { type KeptImage, KeptImages } from './kept-images.js';
import { namesOfLabelInfo, valuesByName } from './label-names.js';
import { modelNamed, type ServedModel } from './models.js';
import { type LabelMapModel, labelMapModels, resultFormat, type Segmentation } from './segmentation.js';
import { type Strategy, type Suggestions, strategies } from './suggestions.js';
import { receiveForm, removeFolder, type ScratchFolder } from './uploads.js';

/**
 * MONAI Label's REST as far as 3D Slicer's and OHIF's plugins use it, from its public description
 * (https://docs.monai.io/projects/label) and from what the plugins send. No token: the plugins cannot send one.
 */

export interface MonaiLabelOptions {
  readonly models: readonly ServedModel[];
  readonly dataset: ServedDataset | undefined;
  readonly segmentation: Segmentation;
  readonly suggestions: Suggestions;
  readonly scratch: ScratchFolder;
  /** Aborted when the server ends. */
  readonly closing: AbortSignal;
  /** Last lines of the server's log. */
  readonly log: (lines: number) => string;
}

/** First parts of the paths that are served here. */
export const monaiLabelPaths = ['info', 'infer', 'session', 'datastore', 'activelearning', 'train', 'logs'] as const;

export function serveMonaiLabel(app: App, options: MonaiLabelOptions): void {
  const { dataset, segmentation, suggestions, scratch, closing } = options;
  const models = labelMapModels(options.models);
  const sessions = new KeptImages();
  const uploads = new KeptImages();

  app.get('/info', async (c) => c.json(await info(models, dataset)));

  app.get('/logs', (c) => c.text(options.log(Number(c.req.query('lines') ?? 300) || 300)));

  app.post('/infer/:model', async (c) => {
    const model = modelNamed(models, c.req.param('model'));
    const output = c.req.query('output') ?? 'all';
    if (output === 'dicom_seg')
      throw notOffered(
        'output=dicom_seg',
        'Ask for a label map (output=all), or run versemi predict with --format seg.',
      );
    if (!['all', 'image', 'json'].includes(output)) throw invalid('output', 'all, image or json', output);
    const folder = await folderOf(c, scratch);
    const { fields, files } = await receiveForm(c.env.incoming, folder, scratch.mostBytes);
    const params = parametersOf(fields);
    const format = resultFormat(params);
    if (files.some(({ field }) => field === 'label'))
      throw notOffered('label', 'Ask without a label map: scribbles and points are not used by these models.');
    const sent = files.find(({ field }) => field === 'file')?.path;
    const id = c.req.query('image') ?? '';
    const source = sent === undefined ? await sourceOf(c, id, model) : fileSource(sent, model);
    const signal = AbortSignal.any([c.req.raw.signal, closing]);
    const result = await segmentation.run(model, source, { folder, format, signal });
    if (sent === undefined && source.case && result.disagreement !== undefined)
      suggestions.note(id, result.disagreement);
    const told = {
      ...{ label_names: result.labelNames, centroids: result.centroids },
      ...(result.disagreement === undefined ? {} : { disagreement: result.disagreement }),
      latencies: { total: Number(result.seconds.toFixed(3)) },
    };
    if (output === 'json') return c.json(told);
    const name = `label${format.extension}`;
    if (output === 'image') return fileAnswer({ path: result.path, name });
    return multipartAnswer(
      [
        {
          head: ['Content-Disposition: form-data; name="params"', 'Content-Type: application/json'],
          body: Buffer.from(JSON.stringify(told)),
        },
        {
          head: [
            `Content-Disposition: form-data; name="image"; filename="${name}"`,
            'Content-Type: application/octet-stream',
          ],
          body: { path: result.path },
        },
      ],
      `versemi-${randomBytes(18).toString('hex')}`,
    );
  });

  app.put('/session', async (c) => {
    const expiry = Number(c.req.query('expiry') ?? 0) || 0;
    const id = await keep(c, sessions, undefined, expiry);
    return c.json({ session_id: id, session_info: describe(id, (await sessions.get(id))!) });
  });
  app.get('/session/:id', async (c) => {
    const id = c.req.param('id');
    const image = await sessionOf(id);
    if (c.req.query('image') !== 'true') return c.json(describe(id, image));
    if (image.files > 1)
      throw notOffered('image=true', 'The session holds the slices of a series, which are no single file.');
    return fileAnswer({ path: image.path, name: basename(image.path) });
  });
  app.delete('/session/:id', async (c) => {
    const id = c.req.param('id');
    const image = await sessionOf(id);
    await sessions.remove(id);
    return c.json(describe(id, image));
  });

  app.get('/datastore', async (c) => {
    const output = c.req.query('output') ?? 'stats';
    if (output === 'stats') return c.json(await stats(dataset));
    const cases = (await dataset?.read())?.cases ?? [];
    if (output === 'train')
      return c.json(
        cases.flatMap(({ image, label }) =>
          label === undefined ? [] : [{ image: basename(image), label: basename(label) }],
        ),
      );
    const objects = cases.map(({ id, image, label }) => [
      id,
      {
        image: {
          ext: endingOf(image),
          info: { name: basename(image) },
        },
        labels: label === undefined ? {} : { final: { ext: endingOf(label), info: {} } },
      },
    ]);
    return c.json({ name: dataset?.name ?? '', description: '', objects: Object.fromEntries(objects) });
  });
  app.put('/datastore', async (c) => {
    const id = c.req.query('image') ?? '';
    if (!/^[^/\\]{1,200}$/.test(id)) throw invalid('image', 'a name of at most 200 characters, without slashes', id);
    return c.json({ image: await keep(c, uploads, id) });
  });
  app.delete('/datastore', async (c) => {
    const id = c.req.query('id') ?? '';
    if ((await uploads.remove(id)) === undefined)
      throw notOffered(
        'DELETE /datastore/',
        'Only images that were uploaded can be removed; files of the dataset stay.',
      );
    return c.json({});
  });
  app.get('/datastore/image', async (c) => {
    const id = c.req.query('image') ?? '';
    const uploaded = await uploads.get(id);
    if (uploaded !== undefined && uploaded.files === 1)
      return fileAnswer({ path: uploaded.path, name: basename(uploaded.path) });
    return fileAnswer(await requireDataset(id).image(id, '0', () => folderOf(c, scratch)));
  });
  app.get('/datastore/label', async (c) => {
    const id = c.req.query('label') ?? '';
    requireFinal(c);
    const { files } = await requireDataset(id).case(id);
    if (files.label === undefined || files.label === files.image)
      throw new VersemiError('REQUEST_UNKNOWN', {
        field: 'label',
        expected: 'a case with a label file',
        found: id,
        remedy: 'Ask for the label of another case.',
      });
    return fileAnswer({ path: files.label, name: basename(files.label) });
  });
  app.put('/datastore/label', async (c) => {
    const id = c.req.query('image') ?? '';
    requireFinal(c);
    const folder = await folderOf(c, scratch);
    const { fields, files } = await receiveForm(c.env.incoming, folder, scratch.mostBytes);
    const label = files.find(({ field }) => field === 'label');
    if (label === undefined) throw invalid('label', 'the label map as a part of the form', 'no such part');
    const served = requireDataset(id);
    const opened = await served.read();
    if (![...opened.cases, ...opened.test].some((one) => one.id === id) && (await uploads.get(id)) !== undefined)
      throw new VersemiError('REQUEST_UNKNOWN', {
        file: opened.folder,
        field: 'image',
        expected: 'a case of the dataset',
        found: `${id}, which was uploaded and goes with the server`,
        remedy: 'Copy the image into the dataset folder first, and ask for it by the name of its file without ending.',
      });
    const info = parametersOf(fields).label_info;
    const named =
      info === undefined ? {} : { datasetValue: valuesByName(opened, options.models, namesOfLabelInfo(info)) };
    await served.save(id, label.path, { existing: 'keep', called: 'the label that was sent', ...named });
    return c.json({ image: id, label: id });
  });

  app.post('/activelearning/:strategy', async (c) => {
    const strategy = c.req.param('strategy');
    if (!Object.hasOwn(strategies, strategy)) throw invalid('strategy', Object.keys(strategies).join(', '), strategy);
    const next = suggestions.next((await dataset?.read())?.cases ?? [], strategy as Strategy);
    if (next === undefined) return c.json({});
    const url = `/datastore/image?image=${encodeURIComponent(next.id)}`;
    const name = /\.(nii|nii\.gz|nrrd|mha)$/i.test(next.image) ? basename(next.image) : `${next.id}.nii.gz`;
    const known = suggestions.disagreementOf(next.id);
    // No path: the image is fetched, as a plugin that finds a file of this path on its own machine would take that.
    return c.json({
      id: next.id,
      name,
      path: '',
      url,
      checksum: null,
      ...(known === undefined ? {} : { disagreement: known }),
    });
  });

  app.get('/train', () => {
    // Clients take status 200 for a training that runs.
    throw new VersemiError('REQUEST_UNKNOWN', { field: 'train', found: 'no training', remedy: trainRemedy });
  });
  app.on(['POST', 'DELETE'], ['/train', '/train/:model'], () => {
    throw notOffered('train', trainRemedy);
  });

  /** Stores the files of a request for later ones. */
  async function keep(c: Ctx, images: KeptImages, id: string | undefined, expiry?: number): Promise<string> {
    const folder = await scratch.make();
    try {
      const { files } = await receiveForm(c.env.incoming, folder, scratch.mostBytes);
      return await images.add(files, id, expiry);
    } catch (error) {
      await removeFolder(folder);
      throw error;
    }
  }

  async function sessionOf(id: string): Promise<KeptImage> {
    const image = await sessions.get(id);
    if (image !== undefined) return image;
    throw new VersemiError('REQUEST_UNKNOWN', {
      field: 'session',
      expected: 'a session that has not ended',
      found: id,
      remedy: 'Send the image again.',
    });
  }

  /** The scan of a request that sends none: that of a session, one that was uploaded, or a case of the dataset. */
  async function sourceOf(c: Ctx, id: string, model: LabelMapModel) {
    const session = c.req.query('session_id') ?? '';
    if (session !== '') return fileSource((await sessionOf(session)).path, model);
    const uploaded = await uploads.get(id);
    if (uploaded !== undefined) return fileSource(uploaded.path, model);
    const opened = await requireDataset(id).case(id);
    const channel = opened.dataset.modalities.length > 1 ? channelOf(model) : 0;
    const { file, ...how } = imageOf(opened.dataset, opened.files, channelIndex(opened.dataset, channel));
    return { file, options: how, case: true };
  }

  function requireDataset(id: string): ServedDataset {
    if (id === '') throw invalid('image', 'the name of an image', 'none');
    if (dataset !== undefined) return dataset;
    throw new VersemiError('REQUEST_UNKNOWN', {
      field: 'image',
      expected: 'an image that was sent before, as the server was started without a dataset',
      found: id,
      remedy: 'Send the image (session or upload), or start versemi serve with --data.',
    });
  }
}

const trainRemedy = 'Train with versemi train on the dataset folder, which has the labels that were saved here.';

function channelOf({ model, dataset }: LabelMapModel): number | string {
  return model.plan.datasets.find(({ name }) => name === dataset)!.channel;
}

/** A file that was sent: of several volumes the one that the model's plan wants. */
function fileSource(path: string, model: LabelMapModel): { file: string; options: ReadVolumeOptions; case: boolean } {
  const choice = { channel: channelOf(model), asked: false };
  return { ...scanSource({ id: 'scan', image: path }, choice), case: false };
}

/** Labels that a model made are not kept beside those of people, which are called `final`. @throws VERSEMI_NOT_OFFERED */
function requireFinal(c: Ctx): void {
  const tag = c.req.query('tag') ?? '';
  if (tag !== '' && tag !== 'final') throw notOffered(`tag ${tag}`, 'Ask for the tag final: a case has one label.');
}

/** A folder for one request, which goes when it has been answered. */
export async function folderOf(c: Ctx, scratch: ScratchFolder): Promise<string> {
  const folder = await scratch.make();
  c.env.outgoing.once('close', () => void removeFolder(folder));
  return folder;
}

/** The field `params` of a form. @throws VERSEMI_REQUEST_INVALID */
function parametersOf(fields: ReadonlyMap<string, string>): JsonObject {
  const text = fields.get('params');
  if (text === undefined || text === '') return {};
  const json = parseJson(text, { code: 'REQUEST_INVALID', field: 'params' });
  // Python's clients write null for no parameters.
  if (json === null) return {};
  if (isJsonObject(json)) return json;
  throw invalid('params', 'a JSON object', shown(json));
}

function invalid(field: string, expected: string, found: string): VersemiError {
  return new VersemiError('REQUEST_INVALID', { field, expected, found, remedy: 'Correct the request.' });
}

function notOffered(field: string, remedy: string): VersemiError {
  return new VersemiError('NOT_OFFERED', { field, remedy });
}

/** `.nii.gz`, `.h5` */
function endingOf(file: string): string {
  return /(\.nii|\.hdr|\.img)?\.\w+$/i.exec(basename(file))?.[0] ?? '';
}

function describe(id: string, image: KeptImage) {
  return {
    ...{ name: id, path: '', image: basename(image.path), meta: {} },
    ...{ create_ts: image.created, last_access_ts: image.lastUsed, expiry: image.expirySeconds },
  };
}

async function stats(dataset: ServedDataset | undefined) {
  const cases = (await dataset?.read())?.cases ?? [];
  const completed = cases.filter(({ label }) => label !== undefined).length;
  return { total: cases.length, completed, label_tags: { final: completed } };
}

async function info(models: readonly LabelMapModel[], dataset: ServedDataset | undefined) {
  const listed = models.map(({ name, model, dataset: of, labels }) => [
    name,
    {
      type: 'segmentation',
      labels,
      dimension: 3,
      description: `${Object.keys(labels).join(', ')} (${of}), by the versemi model ${model.name}`,
      config: {},
    },
  ]);
  return {
    ...{ name: 'versemi', description: 'Segmentation by versemi models', version: packageVersion() },
    labels: [...new Set(models.flatMap(({ labels }) => Object.keys(labels)))],
    models: Object.fromEntries(listed),
    ...{ trainers: {}, scoring: {}, train_stats: {} },
    strategies: Object.fromEntries(
      Object.entries(strategies).map(([name, description]) => [name, { description, config: {} }]),
    ),
    datastore: await stats(dataset),
    // Older plugins look for settings here, and newer ones take a server with settings here for an old one.
    config: {},
  };
}
