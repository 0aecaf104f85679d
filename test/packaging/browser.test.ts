// The doors for pages, as somebody's bundler takes them: esbuild, Vite and webpack without hints, and the bundle in Chromium, whose masks
// must be those of Node byte for byte.
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  encodeNifti,
  loadModelBytes,
  makePhantomDataset,
  openScanBytes,
  predictVolume,
  selectDevice,
} from '../../src/index.js';
import { packageRoot } from '../../src/root.js';
import { chromium, serveFiles } from './chromium.js';

const folder = t.testdir();
mkdirSync(join(folder, 'node_modules'));
symlinkSync(packageRoot, join(folder, 'node_modules', 'versemi'), 'dir');

const modelFile = join(packageRoot, 'test', 'examples', 'real-data.safetensors');
const tasks = ['left-atrium'];

/** What a page would write. `load` gives bytes by name. */
writeFileSync(
  join(folder, 'page.js'),
  `import { encodeNifti, loadModelBytes, openScanBytes, predictVolume, segmentationMetrics, selectDevice } from 'versemi/browser';
const load = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
globalThis.run = async (threads) => {
  const { device, why } = await selectDevice('wasm', threads === undefined ? {} : { threads });
  const model = loadModelBytes(await load('model.safetensors'));
  const scan = await openScanBytes(await load('scan.nii.gz'), { name: 'scan.nii.gz' });
  const [{ mask }] = await predictVolume(model, scan, { tasks: ${JSON.stringify(tasks)} });
  const { dice } = segmentationMetrics(mask.data, mask.data, mask.sizeVoxels, mask.spacingMm);
  const nifti = await encodeNifti(mask, { gzip: false });
  const zipped = await openScanBytes(await encodeNifti(mask));
  model.network.dispose();
  return { threads: device.threads, why, dice, voxels: mask.count(), sizeVoxels: zipped.sizeVoxels, nifti: [...nifti] };
};
`,
);
writeFileSync(
  join(folder, 'index.html'),
  '<!doctype html><title>versemi</title><script type="module" src="./page.js"></script>',
);
writeFileSync(join(folder, 'tfjs.js'), `export { selectDevice, conv3dNormRelu } from 'versemi/tfjs';\n`);

/** As `esbuild --bundle`: the platform is a browser, and nothing is external. */
async function esbuild(entry: string, outfile: string): Promise<readonly unknown[]> {
  const { build } = await import('esbuild');
  const { warnings, errors } = await build({
    absWorkingDir: folder,
    entryPoints: [entry],
    outfile: join(folder, outfile),
    bundle: true,
    format: 'esm',
    logLevel: 'silent',
  });
  return [...warnings, ...errors];
}

t.test('esbuild bundles both doors without a word', async (t) => {
  t.same(await esbuild('page.js', 'esbuild/page.js'), []);
  t.same(await esbuild('tfjs.js', 'esbuild/tfjs.js'), []);
});

t.test('Vite bundles both doors without a warning about versemi', { timeout: 200_000 }, async (t) => {
  const { build, createLogger } = await import('vite');
  const logger = createLogger('warn');
  const warnings: string[] = [];
  logger.warn = (message) => void warnings.push(message);
  logger.warnOnce = logger.warn;
  for (const [input, outDir] of [
    ['index.html', 'vite'],
    ['tfjs.js', 'vite-tfjs'],
  ] as const)
    await build({
      root: folder,
      configFile: false,
      base: './',
      customLogger: logger,
      // Vite's remark that a file is large, and Rollup's about comments of zod, are not about what was asked here.
      build: {
        outDir,
        minify: false,
        reportCompressedSize: false,
        chunkSizeWarningLimit: 4096,
        rollupOptions: { input: join(folder, input) },
      },
    });
  t.same(
    warnings.filter((text) => !text.includes('contains an annotation that Rollup cannot interpret')),
    [],
  );
  const scripts = readdirSync(join(folder, 'vite', 'assets'));
  t.ok(
    scripts.some((name) => name.startsWith('index-')),
    'a bundle was written',
  );
});

t.test('webpack bundles both doors without a warning', { timeout: 200_000 }, async (t) => {
  const { default: webpack } = await import('webpack');
  const compiler = webpack({
    context: folder,
    mode: 'production',
    entry: { page: './page.js', tfjs: './tfjs.js' },
    output: { path: join(folder, 'webpack'), filename: '[name].js' },
    // Its remark that a file is large is not about what was asked here; minimised, the bundles would take a minute longer.
    performance: { hints: false },
    optimization: { minimize: false },
    cache: false,
  })!;
  const stats = await new Promise<import('webpack').Stats>((resolve, reject) =>
    compiler.run((error, result) => (error || result === undefined ? reject(error) : resolve(result))),
  );
  await new Promise((resolve) => compiler.close(resolve));
  const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
  t.same(
    [...errors!, ...warnings!].map(({ message }) => message),
    [],
  );
});

interface PageResult {
  readonly threads: number;
  readonly why: string;
  readonly dice: number;
  readonly voxels: number;
  readonly sizeVoxels: readonly number[];
  readonly nifti: readonly number[];
}

t.test(
  'the bundles segment a scan in Chromium as Node does',
  { skip: chromium === undefined ? 'no Chromium on this machine' : false, timeout: 200_000 },
  async (t) => {
    await makePhantomDataset(join(folder, 'phantom'), 'mr-atrium', {
      cases: 1,
      labeledCases: 0,
      validationCases: 0,
      testCases: 0,
      seed: 3,
    });
    const [name] = readdirSync(join(folder, 'phantom', 'imagesTr'));
    const bytes = readFileSync(join(folder, 'phantom', 'imagesTr', name!));
    const expected = await inNode(bytes);
    t.ok(expected.voxels > 0, 'there is something to compare');
    const { chromium: browserType } = await import('playwright-core');
    // As root, in a container, Chromium has no sandbox to give.
    const browser = await browserType.launch({ executablePath: chromium!, args: ['--no-sandbox'] });
    t.teardown(() => browser.close());
    for (const [bundle, isolated, threads] of [
      ['esbuild', true, 2],
      ['esbuild', false, 2],
      ['vite', true, 2],
      ['webpack', true, 2],
    ] as const) {
      const what = `${bundle}, ${isolated ? 'isolated' : 'not isolated'}`;
      if (bundle !== 'vite')
        writeFileSync(
          join(folder, bundle, 'index.html'),
          '<!doctype html><title>versemi</title><script type="module" src="./page.js"></script>',
        );
      for (const [file, content] of [
        ['model.safetensors', readFileSync(modelFile)],
        ['scan.nii.gz', bytes],
      ] as const)
        writeFileSync(join(folder, bundle, file), content);
      const server = await serveFiles(folder, isolated);
      try {
        const page = await browser.newPage();
        const errors: string[] = [];
        page.on('pageerror', (error) => errors.push(error.message));
        await page.goto(`${server.url}${bundle}/index.html`);
        await page.waitForFunction('globalThis.run !== undefined');
        const found = (await page.evaluate(`globalThis.run(${threads})`)) as PageResult;
        t.same(errors, [], `${what}: no error on the page`);
        t.equal(found.threads, isolated ? 2 : 1, `${what}: ${found.why}`);
        t.equal(found.dice, 1);
        t.same(found.sizeVoxels, expected.sizeVoxels, `${what}: a compressed mask is read again`);
        t.ok(Buffer.from(found.nifti).equals(expected.nifti), `${what}: the mask is that of Node`);
        await page.close();
      } finally {
        server.close();
      }
    }
  },
);

async function inNode(bytes: Uint8Array) {
  await selectDevice('wasm', { threads: 1 });
  const model = loadModelBytes(readFileSync(modelFile));
  const scan = await openScanBytes(bytes, { name: 'scan.nii.gz' });
  const [prediction] = await predictVolume(model, scan, { tasks });
  const { mask } = prediction!;
  model.network.dispose();
  return {
    voxels: mask.count(),
    sizeVoxels: scan.sizeVoxels,
    nifti: Buffer.from(await encodeNifti(mask, { gzip: false })),
  };
}
