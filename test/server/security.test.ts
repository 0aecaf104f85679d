// Who may ask the server, and what a request may hold.
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { startServer } from '../../src/server/server.js';
import { failure } from '../unit/datasets-support.js';
import { ask, exampleModel, pageFixture, startFor, tokenOf } from './server-support.js';

const scratchFolders = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`versemi-serve-${process.pid}-`));

t.test('the page asks for its token, and says in words how to find it', async (t) => {
  const server = await startFor(t);
  const token = tokenOf(server);
  t.match(token, /^[\w-]{43}$/, '256 bits');
  for (const path of ['/', '/?token=', '/?token=wrong', `/?token=${token}x`]) {
    const { status, text, headers } = await ask(server, path);
    t.equal(status, 403, path);
    t.match(text, /versemi serve --open/, 'words');
    t.notMatch(text, /at .*\.js|Error/, 'no stack');
    t.notMatch(text, token, 'and not the token');
    t.equal(headers['set-cookie'], undefined);
  }
  const page = await ask(server, `/?token=${token}`);
  t.equal(page.status, 200);
  t.equal(page.text, pageFixture['index.html']);
  t.equal(page.headers['set-cookie'], undefined, 'cookies would reach the other servers of this machine');
  const other = await startFor(t, {}, join(t.testdirName, 'page'));
  t.not(tokenOf(other), token, 'each start has a token of its own');
});

t.test('headers that isolate the page', async (t) => {
  const server = await startFor(t);
  for (const path of [`/?token=${tokenOf(server)}`, '/app.js', '/workers/predict.js', '/nothing', '/api/info']) {
    const { headers } = await ask(server, path);
    t.equal(headers['cross-origin-opener-policy'], 'same-origin', path);
    t.equal(headers['cross-origin-embedder-policy'], 'require-corp');
    t.equal(headers['cross-origin-resource-policy'], 'same-origin');
    t.equal(headers['x-content-type-options'], 'nosniff');
    t.equal(headers['referrer-policy'], 'no-referrer');
    t.match(headers['content-security-policy'], /default-src 'none'/);
    t.match(headers['content-security-policy'], /frame-ancestors 'none'/);
    t.equal(headers['access-control-allow-origin'], undefined);
  }
  const page = (await ask(server, `/?token=${tokenOf(server)}`)).headers['content-security-policy']!;
  t.match(page, /script-src 'self' 'wasm-unsafe-eval';/, 'no inline script, no eval');
  t.match(page, /worker-src 'self' blob:/);
  t.match((await ask(server, '/app.js')).headers['content-type'], /javascript/);
  t.equal((await ask(server, '/api/info')).headers['cache-control'], 'no-store');
  const decoders = await ask(server, '/dicom-codecs.wasm');
  t.match(decoders.headers['content-type'], /wasm/, 'the page needs no copy of the decoders');
  t.same(decoders.bytes.subarray(0, 4), Buffer.from('\0asm'));
});

t.test('the API asks for the token, in a header or in the address', async (t) => {
  const server = await startFor(t, { models: [exampleModel] });
  const token = tokenOf(server);
  for (const path of ['/api/info', '/api/models', '/api/models/real-data', '/api/cases', '/api/nothing']) {
    const none = await ask(server, path);
    t.equal(none.status, 403, path);
    t.equal(none.json.code, 'VERSEMI_REQUEST_DENIED');
    t.match(none.json.found, /none/);
    const wrong = await ask(server, path, { headers: { 'x-versemi-token': 'wrong' } });
    t.equal(wrong.status, 403);
    t.equal(wrong.json.found, 'another one');
    t.equal((await ask(server, `${path}?token=${token.toLowerCase()}`)).status, 403);
  }
  t.equal((await ask(server, '/api/labels?case=a', { method: 'PUT', body: 'x' })).status, 403);
  t.equal((await ask(server, '/api/cases/a/disagreement?value=1', { method: 'PUT' })).status, 403);
  const info = await ask(server, '/api/info', { headers: { 'x-versemi-token': token } });
  t.equal(info.status, 200);
  t.equal(info.json.dataset, null);
  t.equal((await ask(server, `/api/info?token=${token}`)).status, 200);
  const unknown = await ask(server, `/api/nothing?token=${token}`);
  t.equal(unknown.status, 404);
  const noData = await ask(server, `/api/cases?token=${token}`);
  t.equal(noData.status, 404);
  t.match(noData.json.message, /--data/);
});

t.test('a name that points here by somebody else, and pages of others', async (t) => {
  const server = await startFor(t, { monaiLabel: {} });
  const { port } = new URL(server.origin);
  const path = `/api/info?token=${tokenOf(server)}`;
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`, 'LOCALHOST:9'])
    t.equal((await ask(server, path, { headers: { host } })).status, 200, host);
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.example',
    '192.168.1.7',
    'a b',
    'user@localhost',
    '[::2]',
  ])
    for (const asked of [path, '/', '/info/', '/app.js']) {
      const { status, text } = await ask(server, asked, { headers: { host } });
      // What is no name at all is refused before the server sees it.
      t.equal(status, /[ @]/.test(host) ? 400 : 403, `${host} ${asked}`);
      if (status === 403) t.match(text, /Host/);
    }
  const own = server.origin;
  t.equal((await ask(server, path, { headers: { origin: own } })).status, 200);
  for (const origin of [
    'http://evil.example',
    'null',
    'http://localhost:3000',
    `${own}.evil.example`,
    'http://127.0.0.1:1',
  ])
    for (const [method, asked] of [
      ['GET', path],
      ['POST', '/infer/m?image=x'],
      ['OPTIONS', '/info/'],
      ['PUT', '/datastore/label?image=x'],
    ] as const) {
      const answer = await ask(server, asked, { method, headers: { origin } });
      t.equal(answer.status, 403, `${origin} ${method} ${asked}`);
      t.equal(answer.headers['access-control-allow-origin'], undefined);
    }
  // A picture or a script of another page has no Origin.
  for (const site of ['cross-site', 'same-site'])
    t.equal(
      (await ask(server, path, { headers: { 'sec-fetch-site': site, 'sec-fetch-mode': 'no-cors' } })).status,
      403,
    );
  t.equal(
    (await ask(server, '/', { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' } })).status,
    403,
    'words',
  );
  t.equal(
    (
      await ask(server, `/?token=${tokenOf(server)}`, {
        headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' },
      })
    ).status,
    200,
    'a link leads to the page',
  );
});

t.test('a viewer that is allowed may ask for MONAI Label, and for nothing else', async (t) => {
  const viewer = 'http://localhost:3000';
  const server = await startFor(t, { monaiLabel: { allowOrigins: [viewer] } });
  const headers = { origin: viewer };
  const info = await ask(server, '/info/', { headers });
  t.equal(info.status, 200);
  t.equal(info.headers['access-control-allow-origin'], viewer);
  t.equal(info.headers['cross-origin-resource-policy'], 'cross-origin');
  const before = await ask(server, '/infer/x', { method: 'OPTIONS', headers });
  t.equal(before.status, 204);
  t.match(before.headers['access-control-allow-methods'], /POST/);
  t.equal((await ask(server, `/api/info?token=${tokenOf(server)}`, { headers })).status, 403);
  t.equal((await ask(server, '/info/', { headers: { origin: 'http://localhost:3001' } })).status, 403);
});

t.test('MONAI Label is not there unless it is asked for', async (t) => {
  const server = await startFor(t, { models: [exampleModel] });
  for (const path of ['/info/', '/datastore/', '/logs/', '/session/x', '/train/'])
    t.equal((await ask(server, path)).status, 404, path);
  t.equal((await ask(server, '/infer/real-data', { method: 'POST' })).status, 404);
});

t.test('no path leaves the folder of the page', async (t) => {
  const folder = t.testdir({ secret: 'secret', page: pageFixture });
  symlinkSync(join(folder, 'secret'), join(folder, 'page', 'link'));
  mkdirSync(join(folder, 'page', 'empty'));
  const server = await startFor(t, {}, join(folder, 'page'));
  const paths = [
    '/../secret',
    '/..%2fsecret',
    '/%2e%2e/secret',
    '/workers/../../secret',
    '/..%5csecret',
    '//etc/passwd',
    '/%00',
    '/empty',
    '/link',
    '/%zz',
  ];
  for (const path of paths) {
    const { status, text } = await ask(server, path);
    t.not(status, 200, path);
    t.notMatch(text, /^secret/);
    t.ok(status < 500, `${path}: ${status}`);
  }
  writeFileSync(join(folder, 'page', 'later.js'), '');
  t.equal((await ask(server, '/later.js')).status, 404, 'what is put there later is not served');
});

t.test('bodies are bounded, and the client can read why', async (t) => {
  const folders = scratchFolders();
  const data = t.testdir({ page: pageFixture, data: { images: { 'a.nii': 'x', 'b.nii': 'x' } } });
  const server = await startFor(
    t,
    { mostUploadBytes: 100_000, data: join(data, 'data'), monaiLabel: {} },
    join(data, 'page'),
  );
  const token = { 'x-versemi-token': tokenOf(server) };
  const claimed = await ask(server, '/api/labels?case=a', {
    method: 'PUT',
    headers: { ...token, 'content-length': '3000000000' },
    body: '',
  }).catch((error: Error) => error);
  t.notOk(claimed instanceof Error, 'an answer comes before the body');
  const large = Buffer.alloc(200_000);
  for (const [path, headers] of [
    ['/api/labels?case=a', token],
    ['/session/', { 'content-type': 'multipart/form-data; boundary=xx' }],
    ['/datastore/?image=a', { 'content-type': 'multipart/form-data; boundary=xx' }],
  ] as const) {
    const head = Buffer.from('--xx\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\n');
    const { status, json } = await ask(server, path, {
      method: 'PUT',
      headers: { ...headers },
      body: Buffer.concat([head, large]),
    });
    t.equal(status, 413, path);
    t.equal(json.code, 'VERSEMI_REQUEST_TOO_LARGE');
    // The same without a length.
    const chunked = await ask(server, path, {
      method: 'PUT',
      headers: { ...headers, 'transfer-encoding': 'chunked' },
      body: Buffer.concat([head, large]),
    });
    t.equal(chunked.status, 413, `${path} in chunks`);
  }
  for (const body of [
    '',
    'no form',
    '--xx\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\ncut off',
  ]) {
    const { status, json } = await ask(server, '/session/', {
      method: 'PUT',
      headers: { 'content-type': 'multipart/form-data; boundary=xx' },
      body,
    });
    t.equal(status, 400, body.slice(0, 10));
    t.equal(json.code, 'VERSEMI_REQUEST_INVALID');
  }
  const left = scratchFolders().filter((name) => !folders.includes(name));
  t.equal(left.length, 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.strictSame(readdirSync(join(tmpdir(), left[0]!)), [], 'nothing of what was refused stays');
  await server.close();
  t.strictSame(
    scratchFolders().filter((name) => !folders.includes(name)),
    [],
    'nor the folder',
  );
});

t.test('a client that leaves in the middle of an upload leaves nothing', async (t) => {
  const folders = scratchFolders();
  const server = await startFor(t, { monaiLabel: {} });
  const { port } = new URL(server.origin);
  const socket = connect(Number(port), '127.0.0.1');
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(
    'PUT /session/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=xx\r\nContent-Length: 100000\r\n\r\n--xx\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\nhalf',
  );
  await new Promise((resolve) => setTimeout(resolve, 200));
  socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const own = scratchFolders().filter((name) => !folders.includes(name));
  t.strictSame(
    own.flatMap((name) => readdirSync(join(tmpdir(), name))),
    [],
  );
  t.equal((await ask(server, '/info/')).status, 200, 'and the server goes on');
});

t.test('what cannot be started is said', async (t) => {
  const folder = t.testdir({ page: pageFixture, empty: {} });
  const pageFolder = join(folder, 'page');
  const first = await startFor(t, {}, pageFolder);
  const port = Number(new URL(first.origin).port);
  const folders = scratchFolders().length;
  const inUse = await failure(() => startServer({ port, pageFolder }), 'ADDRESS_IN_USE');
  t.match(inUse.message, `127.0.0.1:${port}`);
  const noPage = await failure(() => startServer({ port: 0, pageFolder: join(folder, 'empty') }), 'FILE_NOT_FOUND');
  t.match(noPage.message, /npm run build:app/);
  await failure(
    () => startServer({ port: 0, pageFolder, models: [join(folder, 'none.safetensors')] }),
    'FILE_NOT_FOUND',
  );
  await failure(() => startServer({ port: 0, pageFolder, models: [join(pageFolder, 'app.js')] }), 'MODEL_INVALID');
  await failure(() => startServer({ port: 0, pageFolder, data: join(folder, 'empty') }), 'DATASET_INVALID');
  await failure(() => startServer({ port: 0, pageFolder, data: join(pageFolder, 'app.js') }), 'USAGE');
  await failure(() => startServer({ port: 0, pageFolder, host: '203.0.113.9' }), 'IO_FAILED');
  t.equal(scratchFolders().length, folders, 'no folder stays');
});
