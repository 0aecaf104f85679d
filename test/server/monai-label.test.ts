// Exchanges with the plugins of 3D Slicer and OHIF, by a client written from their public description.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { encodeNifti } from '../../src/datasets/nifti-bytes.js';
import { readVolume } from '../../src/datasets/read-volume.js';
import type { RunningServer } from '../../src/server/server.js';
import { selectDevice } from '../../src/tfjs/index.js';
import { runVersemi } from '../integration/cli-support.js';
import { noData, realData } from '../unit/datasets-support.js';
import { exchange, ohifReads, requestsForm, type SentFile, slicerForm, slicerReads } from './monai-client.js';
import { ask, exampleModel, pageFixture, startFor, voxelsOf } from './server-support.js';

await selectDevice('wasm', { threads: 1 });

const data = realData('hippocampus');
const needsData = { skip: data === undefined && noData, timeout: 300_000 };
const model = 'real-data-hippocampus';
const cases = ['hippocampus_001', 'hippocampus_003', 'hippocampus_004'] as const;

/** Three cases of the real dataset, of which the first has a label. */
function smallDataset(folder: string): string {
  for (const part of ['images', 'labels']) mkdirSync(join(folder, part), { recursive: true });
  for (const id of cases) copyFileSync(join(data!, 'images', `${id}.nii.gz`), join(folder, 'images', `${id}.nii.gz`));
  copyFileSync(join(data!, 'labels', `${cases[0]}.nii.gz`), join(folder, 'labels', `${cases[0]}.nii.gz`));
  const training = cases.map((id, i) =>
    i === 0 ? { image: `images/${id}.nii.gz`, label: `labels/${id}.nii.gz` } : `images/${id}.nii.gz`,
  );
  const labels = { 0: 'background', 1: 'anterior', 2: 'posterior' };
  writeFileSync(
    join(folder, 'dataset.json'),
    JSON.stringify({ name: 'hippocampus', modality: { 0: 'MRI' }, labels, training }, null, 2),
  );
  return folder;
}

const infer = (server: RunningServer, query: string, params: object = {}, files: SentFile[] = [], name = model) =>
  exchange(server.origin, {
    method: 'POST',
    path: `/infer/${name}?${query}`,
    ...slicerForm({ params: JSON.stringify(params) }, files),
  });

t.test('3D Slicer and OHIF segment, correct and save', needsData, async (t) => {
  const work = t.testdir({ page: pageFixture });
  const folder = smallDataset(join(work, 'data'));
  const server = await startFor(t, { models: [exampleModel], data: folder, monaiLabel: {} }, join(work, 'page'));

  // What `versemi predict` finds.
  const id = cases[1];
  const image = join(folder, 'images', `${id}.nii.gz`);
  const predicted = await runVersemi(work, [
    'predict',
    exampleModel,
    image,
    '--out',
    'out',
    '--task',
    'hippocampus',
    '--label-map',
    '--device',
    'wasm',
  ]);
  t.equal(predicted.code, 0, predicted.stderr);
  const expected = await voxelsOf(join(work, 'out', `${id}_hippocampus-labels.nii.gz`));
  const foreground = expected.reduce((sum, value) => sum + (value > 0 ? 1 : 0), 0);
  t.ok(foreground > 1000, `${foreground} voxels`);
  const voxels = async (name: string, bytes: Uint8Array) => {
    writeFileSync(join(work, name), bytes);
    const volume = await readVolume(join(work, name));
    const source = await readVolume(image);
    t.strictSame(volume.sizeVoxels, source.sizeVoxels);
    for (const [i, value] of volume.affine.entries()) t.ok(Math.abs(value - source.affine[i]!) < 1e-4, `affine ${i}`);
    return Uint8Array.from(volume.data);
  };

  await t.test('info', async (t) => {
    const { status, json } = await ask(server, '/info/');
    t.equal(status, 200);
    const info = json as Record<string, object> & { models: Record<string, Record<string, unknown>> };
    const datasets = ['hippocampus', 'left-atrium', 'cardiac-cine', 'soft-tissue-sarcoma-ct'];
    t.strictSame(
      Object.keys(info.models).sort(),
      datasets.map((name) => `real-data-${name}`).sort(),
      'one for each dataset',
    );
    t.strictSame(info.models['real-data-cardiac-cine']!.labels, {
      ...{ 'left-ventricle': 3, 'left-ventricle-myocardium': 2, 'right-ventricle': 1 },
    });
    const { type, labels, description, dimension } = info.models[model]!;
    t.strictSame({ type, labels, dimension }, { type: 'segmentation', labels: { hippocampus: 1 }, dimension: 3 });
    t.match(description, /real-data/);
    t.ok((info.labels as string[]).includes('hippocampus'));
    t.strictSame(Object.keys(info.strategies!), ['disagreement', 'first']);
    t.strictSame(info.datastore, { total: 3, completed: 1, label_tags: { final: 1 } });
    t.strictSame([info.config, info.trainers], [{}, {}], 'settings here would be taken for an old server');
  });

  await t.test('next sample, and its image', async (t) => {
    const next = await ask(server, '/activelearning/first', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"client_id":"user-xyz"}',
    });
    t.equal(next.status, 200);
    t.equal(next.json.id, id, 'the first case without a label');
    t.equal(next.json.name, `${id}.nii.gz`);
    t.equal(next.json.checksum, null);
    const fetched = await ask(server, next.json.url as string);
    t.ok(fetched.bytes.equals(readFileSync(image)));
    t.equal((await ask(server, '/activelearning/random', { method: 'POST' })).status, 400);
  });

  await t.test('segment a case', async (t) => {
    const answer = await infer(server, `image=${id}`, { client_id: 'user-xyz' });
    t.equal(answer.status, 200, answer.body.toString().slice(0, 300));
    const { params, files } = slicerReads(answer);
    t.strictSame([...files.keys()], ['label.nrrd']);
    t.strictSame(await voxels('slicer.nrrd', files.get('label.nrrd')!), expected, 'the mask of versemi predict');
    t.strictSame(params.label_names, { hippocampus: 1 });
    const [value, ...centre] = params.centroids!.hippocampus!;
    const { sizeVoxels } = await readVolume(image);
    t.equal(value, 1);
    t.ok(
      centre.every((at, axis) => at > 0 && at < sizeVoxels[axis]! - 1),
      `${centre}`,
    );
    t.ok(params.disagreement! > 0 && params.disagreement! < 0.5, `${params.disagreement}`);
  });

  await t.test('as OHIF asks', async (t) => {
    const params = {
      result_extension: '.nrrd',
      result_dtype: 'uint16',
      result_compress: false,
      restore_label_idx: false,
    };
    const { header, voxels: found, params: told } = ohifReads(await infer(server, `image=${id}&output=all`, params));
    t.match(header, /type: uint16/);
    t.match(header, /encoding: raw/);
    t.strictSame(Uint8Array.from(found), expected);
    for (const [, [segment, ...centre]] of Object.entries(told.centroids)) t.ok(segment === 1 && centre.length === 3);
  });

  await t.test('only the image, only the numbers, as NIfTI', async (t) => {
    const only = await infer(server, `image=${id}&output=image`, { result_extension: '.nii.gz' });
    t.strictSame(await voxels('only.nii.gz', only.body), expected);
    const json = await infer(server, `image=${id}&output=json`);
    t.strictSame(JSON.parse(json.body.toString()).label_names, { hippocampus: 1 });
  });

  await t.test('a session: the image of a client', async (t) => {
    const file = { field: 'files', name: 'tmp1x.nii.gz', bytes: readFileSync(image) };
    const made = await exchange(server.origin, {
      method: 'PUT',
      path: '/session/',
      ...requestsForm([file], { client_id: 'x' }),
    });
    t.equal(made.status, 200, made.body.toString());
    const { session_id: session, session_info: facts } = JSON.parse(made.body.toString());
    t.match(session, /^[0-9a-f-]{36}$/);
    t.notMatch(JSON.stringify(facts), /versemi-serve/, 'no path of the server');
    t.equal((await ask(server, `/session/${session}`)).status, 200);
    t.ok((await ask(server, `/session/${session}?image=true`)).bytes.equals(readFileSync(image)));
    const { files } = slicerReads(await infer(server, `image=of-the-client&session_id=${session}`));
    t.strictSame(await voxels('session.nrrd', files.get('label.nrrd')!), expected);
    t.equal((await ask(server, `/session/${session}`, { method: 'DELETE' })).status, 200);
    t.equal((await ask(server, `/session/${session}`)).status, 404);
    t.equal((await infer(server, `image=x&session_id=${session}`)).status, 404);
    t.equal((await infer(server, 'image=x&session_id=..%2F..')).status, 404);
  });

  await t.test('an image within the request, and one under a name', async (t) => {
    const file = { field: 'file', name: '../../evil.nii.gz', bytes: readFileSync(image) };
    const { files } = slicerReads(await infer(server, 'image=', {}, [file]));
    t.strictSame(await voxels('sent.nrrd', files.get('label.nrrd')!), expected);
    const put = await exchange(server.origin, {
      method: 'PUT',
      path: '/datastore/?image=MRHead',
      ...slicerForm({ params: '{}' }, [file]),
    });
    t.strictSame(JSON.parse(put.body.toString()), { image: 'MRHead' });
    const named = slicerReads(await infer(server, 'image=MRHead'));
    t.strictSame(await voxels('named.nrrd', named.files.get('label.nrrd')!), expected);
    t.ok((await ask(server, '/datastore/image?image=MRHead')).bytes.equals(readFileSync(image)));
    const form = slicerForm({ params: '{}' }, [
      { field: 'label', name: 'l.nrrd', bytes: named.files.get('label.nrrd')! },
    ]);
    const saved = await exchange(server.origin, { method: 'PUT', path: '/datastore/label?image=MRHead', ...form });
    t.equal(saved.status, 404);
    t.match(JSON.parse(saved.body.toString()).detail, /Copy the image into the dataset folder/);
    t.equal((await ask(server, '/datastore/?id=MRHead&type=image', { method: 'DELETE' })).status, 200);
    t.equal(
      (await ask(server, `/datastore/?id=${id}&type=image`, { method: 'DELETE' })).status,
      501,
      'no file of the dataset is removed',
    );
    t.ok(existsSync(image));
    t.strictSame(readdirSync(folder).sort(), ['dataset.json', 'images', 'labels'], 'the dataset is as it was');
  });

  await t.test('the case on which the tasks disagree most', async (t) => {
    const score = new Map<string, number>();
    for (const one of cases.slice(1)) {
      const answer = await infer(server, `image=${one}&output=json`);
      score.set(one, JSON.parse(answer.body.toString()).disagreement);
    }
    const [first] = [...score].sort((a, b) => b[1] - a[1])[0]!;
    const next = await ask(server, '/activelearning/disagreement', { method: 'POST' });
    t.equal(next.json.id, first, JSON.stringify([...score]));
  });

  await t.test('save a label', async (t) => {
    const drawn = await readVolume(join(folder, 'labels', `${cases[0]}.nii.gz`)).then(() => readVolume(image));
    const own = { ...drawn, data: Uint8Array.from(expected, (value, i) => (value === 0 ? 0 : 1 + (i % 2))) };
    const bytes = await encodeNifti(own);
    const save = (params: object) =>
      exchange(server.origin, {
        ...{ method: 'PUT', path: `/datastore/label?image=${id}&tag=final` },
        ...slicerForm({ params: JSON.stringify(params) }, [{ field: 'label', name: 'tmp.nii.gz', bytes }]),
      });
    const label = join(folder, 'labels', `${id}.nii.gz`);
    const several = await save({
      label_info: [
        { name: 'hippocampus', idx: 1 },
        { name: 'posterior', idx: 2 },
      ],
    });
    t.equal(several.status, 400);
    t.match(
      JSON.parse(several.body.toString()).detail,
      /several of them \(anterior, posterior\)/,
      'a task of two labels is neither',
    );
    const gap = await save({
      label_info: [
        { name: 'anterior', idx: 2 },
        { name: 'posterior', idx: 3 },
      ],
    });
    t.match(JSON.parse(gap.body.toString()).detail, /without gaps/);
    t.notOk(existsSync(label), 'nothing is saved of what is refused');
    const saved = await save({
      label_info: [
        { name: 'posterior', idx: 1 },
        { name: 'Anterior', idx: 2 },
        { name: 'left-atrium', idx: 3 },
      ],
    });
    t.strictSame(JSON.parse(saved.body.toString()), { image: id, label: id });
    t.strictSame(
      await voxelsOf(label),
      Uint8Array.from(own.data, (value) => (value === 0 ? 0 : 3 - value)),
      'by name',
    );
    t.strictSame((await ask(server, '/info/')).json.datastore, { total: 3, completed: 2, label_tags: { final: 2 } });
    t.equal((await save({})).status, 200, 'without names the values stay');
    t.ok(existsSync(`${label}.1.bak`), 'and the label of before is kept');
    t.ok((await ask(server, `/datastore/label?label=${id}&tag=final`)).bytes.equals(readFileSync(label)));
    const { objects } = (await ask(server, '/datastore/?output=all')).json as {
      objects: Record<string, { image: { ext: string }; labels: object }>;
    };
    t.equal(objects[id]!.image.ext, '.nii.gz');
    t.strictSame(Object.keys(objects[cases[2]]!.labels), []);
    for (const method of ['GET', 'PUT'])
      t.equal((await ask(server, `/datastore/label?label=${id}&image=${id}&tag=original`, { method })).status, 501);
    const listed = JSON.parse((await ask(server, '/datastore/?output=train')).text);
    t.equal(listed.length, 2);
  });

  await t.test('what is refused', async (t) => {
    const expectations = [
      ['image=unknown', {}, model, 404],
      ['image=..%2F..%2Fpage%2Findex.html', {}, model, 404],
      ['image=%2Fetc%2Fpasswd', {}, model, 404],
      ['', {}, model, 400],
      [`image=${id}`, {}, 'real-data', 404],
      [`image=${id}`, { result_extension: '.exe' }, model, 400],
      [`image=${id}`, { result_dtype: 'float32' }, model, 400],
      [`image=${id}`, [], model, 400],
      [`image=${id}&output=dicom_seg`, {}, model, 501],
      [`image=${id}&output=picture`, {}, model, 400],
    ] as const;
    for (const [query, params, name, status] of expectations) {
      const answer = await infer(server, query, params, [], name);
      t.equal(answer.status, status, `${query} ${JSON.stringify(params)}`);
      t.match(JSON.parse(answer.body.toString()).detail, /\w \w/);
    }
    // Parameters name no file: in other servers they may.
    const injected = await infer(server, `image=${id}&output=json`, { image: '/etc/passwd', label: '/etc/passwd' });
    t.equal(injected.status, 200);
    t.equal((await ask(server, '/train/?check_if_running=true')).status, 404, '200 would mean that one runs');
    for (const [method, path] of [
      ['POST', '/train/'],
      ['POST', '/train/x'],
      ['DELETE', '/train/'],
    ] as const) {
      const answer = await ask(server, path, { method });
      t.equal(answer.status, 501);
      t.match(answer.json.detail, /versemi train/);
    }
    const log = await ask(server, '/logs/?lines=5');
    t.match(log.text, /POST \/train/);
    t.equal(log.text.split('\n').length, 5);
    t.notMatch(log.text, /hippocampus_|token=/);
  });
});

t.test('one after the other, and a client that leaves stops its own', needsData, async (t) => {
  const work = t.testdir({ page: pageFixture });
  const folder = smallDataset(join(work, 'data'));
  const server = await startFor(t, { models: [exampleModel], data: folder, monaiLabel: {} }, join(work, 'page'));
  const size = 220;
  const large = await encodeNifti({
    ...{
      sizeVoxels: [size, size, size],
      spacingMm: [1, 1, 1],
      affine: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
    },
    data: Int16Array.from({ length: size ** 3 }, (_, i) => (i * 7919) % 1000),
  });
  await exchange(server.origin, {
    method: 'PUT',
    path: '/datastore/?image=large',
    ...slicerForm({}, [{ field: 'file', name: 'l.nii.gz', bytes: large }]),
  });
  const started = performance.now();
  const form = slicerForm({ params: '{}' }, []);
  await exchange(server.origin, {
    method: 'POST',
    path: `/infer/${model}?image=large`,
    ...form,
    leaveAfterMs: 3000,
  }).catch(() => {});
  const both = await Promise.all([infer(server, `image=${cases[0]}`), infer(server, `image=${cases[1]}`)]);
  const seconds = (performance.now() - started) / 1000;
  t.strictSame(
    both.map(({ status }) => status),
    [200, 200],
  );
  const alone = await infer(server, `image=${cases[0]}`);
  t.ok(slicerReads(alone).files.get('label.nrrd')!.equals(slicerReads(both[0]!).files.get('label.nrrd')!));
  t.comment(`${seconds.toFixed(1)} s`);
  t.ok(seconds < 60, 'the scan that nobody waits for took minutes');
  // The server ends while it computes.
  const running = exchange(server.origin, { method: 'POST', path: `/infer/${model}?image=large`, ...form }).catch(
    () => undefined,
  );
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const closing = performance.now();
  await server.close();
  t.ok(performance.now() - closing < 20_000, 'after the window at hand');
  await running;
});

const dicom = realData('dicom');
t.test('a session of DICOM slices', { skip: dicom === undefined && noData, timeout: 300_000 }, async (t) => {
  const work = t.testdir({ page: pageFixture });
  const server = await startFor(t, { models: [exampleModel], monaiLabel: {} }, join(work, 'page'));
  const source = join(dicom!, 'STS_025', 'CT');
  const names = readdirSync(source, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const files = names.map(({ parentPath, name }) => ({
    field: 'files',
    name,
    bytes: readFileSync(join(parentPath, name)),
  }));
  const made = await exchange(server.origin, { method: 'PUT', path: '/session/', ...requestsForm(files) });
  t.equal(made.status, 200, made.body.toString());
  const { session_id: session } = JSON.parse(made.body.toString());
  const { models } = (await ask(server, '/info/')).json as { models: Record<string, { labels: object }> };
  const [name] = Object.entries(models).find(([, { labels }]) => 'sarcoma' in labels)!;
  const answer = await infer(server, `image=x&session_id=${session}`, {}, [], name);
  t.equal(answer.status, 200, answer.body.toString().slice(0, 300));
  writeFileSync(join(work, 'label.nrrd'), slicerReads(answer).files.get('label.nrrd')!);
  const [label, image] = await Promise.all([readVolume(join(work, 'label.nrrd')), readVolume(source)]);
  t.strictSame(label.sizeVoxels, image.sizeVoxels);
  t.equal((await ask(server, `/session/${session}?image=true`)).status, 501, 'slices are no single file');
});
