// Bundles what versemi uses of large packages into dist/src/third-party, where the names of package.json
// lead; with their types, and with their licences in THIRD_PARTY.txt. Who installs versemi installs none of these packages.
// `node src/third-party/bundle.mjs` does nothing when everything is there and belongs to the versions that are installed.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { licenceTexts } from './licences.mjs';
import { tensorflow } from './tfjs-plugin.mjs';

const require = createRequire(import.meta.url);
const folder = dirname(fileURLToPath(import.meta.url));
const root = join(folder, '..', '..');
const output = join(root, 'dist', 'src', 'third-party');
const licences = join(root, 'THIRD_PARTY.txt');
/** The package of the decoders has no licences of the libraries that were compiled into it. They are written down for one version. */
const codecLicences = join(folder, 'dicom-codecs-licences.txt');
const codecVersion = /of dcmjs-codecs (\S+),/.exec(await readFile(codecLicences, 'utf8'))[1];

/** The packages, each with those that it depends on or carries inside. */
const packages = [
  ...['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-cpu', 'zod', 'dcmjs', 'dcmjs-codecs', 'h5wasm'],
  ...['fast-png', 'csv-stringify', 'csv-parse', 'crc-32'],
];
const packageFolder = (name) => {
  const place = require.resolve
    .paths(name)
    .map((path) => join(path, name))
    .find((path) => existsSync(path));
  if (place === undefined) throw new Error(`${name} is not installed: npm install`);
  return place;
};

/** What each bundle gives, as the module that esbuild starts from. */
const entries = {
  tfjs: `export * from '@tensorflow/tfjs-core';
    import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
    import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';
    import '@tensorflow/tfjs-backend-cpu';
    import { registerPending } from 'versemi:shared-registries';
    registerPending();`,
  zod: "export { z } from 'zod';",
  dicom: `import dcmjs from 'dcmjs';
    import codecs from 'dcmjs-codecs';
    export { codecs, dcmjs };`,
  crc: `import iso from 'crc-32';
    import castagnoli from 'crc-32/crc32c.js';
    export const crc32 = (bytes) => iso.buf(bytes);
    export const crc32c = (bytes) => castagnoli.buf(bytes);`,
  png: "export { encode } from 'fast-png';",
  csv: `export { stringify } from 'csv-stringify/sync';
    export { parse } from 'csv-parse/sync';`,
};

/** Files that are taken as they are. The HDF5 library's is its build for browsers, which reaches no file of the machine. */
const copies = {
  'hdf5.js': join(packageFolder('h5wasm'), 'dist', 'esm', 'hdf5_util.js'),
  'dicom-codecs.wasm': join(packageFolder('dcmjs-codecs'), 'build', 'dcmjs-native-codecs.wasm'),
};

async function bundleCode() {
  const { build } = await import('esbuild');
  const { metafile } = await build({
    entryPoints: Object.keys(entries).map((name) => ({ in: `entry:${name}`, out: name })),
    plugins: [
      {
        name: 'entries',
        setup({ onResolve, onLoad }) {
          onResolve({ filter: /^entry:/ }, ({ path }) => ({ path: path.slice(6), namespace: 'entry' }));
          onLoad({ filter: /.*/, namespace: 'entry' }, ({ path }) => ({ contents: entries[path], resolveDir: folder }));
        },
      },
      tensorflow,
    ],
    outdir: output,
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    target: 'es2022',
    mainFields: ['module', 'main'],
    conditions: ['import'],
    // Names stay, so that errors of these libraries can be read.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    metafile: true,
    logLevel: 'error',
  });
  // What is bundled without being named above would be without its licence.
  const named = new Set((await licenceTexts(packages, packageFolder)).map(({ name }) => name));
  for (const input of Object.keys(metafile.inputs)) {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name !== undefined && !named.has(name)) throw new Error(`${input} is bundled without a licence`);
  }
}

/** TF.js's types in one file, for who has no copy of TF.js: package.json says that types of a copy come first. */
async function bundleTypes() {
  const { rollup } = await import('rollup');
  const { dts } = await import('rollup-plugin-dts');
  const library = packageFolder('@tensorflow/tfjs-core');
  const bundle = await rollup({
    input: join(library, 'dist', 'index.d.ts'),
    plugins: [dts({ respectExternal: true, compilerOptions: { skipLibCheck: true, types: [] } })],
    onwarn() {},
  });
  const { output: files } = await bundle.generate({ format: 'es' });
  await bundle.close();
  // What stands in them without being declared: a buffer of WebGPU, and integers of 64 bits in a helper of its hash function.
  const undeclared = 'interface GPUBuffer {}\ninterface Long {}\n';
  const code = files[0].code.replace(/^\/\/\/ <reference.*\n/gm, '');
  await writeFile(join(output, 'tfjs.d.ts'), `${undeclared}${code}`);
}

/** zod's types as they are: they name each other in circles. */
async function copyTypes() {
  const from = packageFolder('zod');
  for (const part of ['index.d.ts', 'v4/classic', 'v4/core', 'v4/locales'])
    await cp(join(from, part), join(output, 'zod', part), {
      recursive: true,
      filter: async (path) => (await stat(path)).isDirectory() || path.endsWith('.d.ts'),
    });
}

const versions = await Promise.all(
  packages.map(
    async (name) => `${name} ${JSON.parse(await readFile(join(packageFolder(name), 'package.json'))).version}`,
  ),
);
const scripts = (await readdir(folder)).filter((file) => /\.(mjs|txt)$/.test(file)).sort();
if (!versions.includes(`dcmjs-codecs ${codecVersion}`))
  throw new Error(
    `${codecLicences} lists the libraries in dcmjs-codecs ${codecVersion}: see which its new version has`,
  );
const hash = createHash('sha256').update(versions.join());
for (const file of scripts) hash.update(await readFile(join(folder, file)));
const made = hash.digest('hex');
const mark = join(output, '.made-of');

if (!existsSync(mark) || (await readFile(mark, 'utf8')) !== made) {
  await rm(output, { recursive: true, force: true });
  await mkdir(output, { recursive: true });
  await bundleCode();
  await bundleTypes();
  await copyTypes();
  for (const [name, from] of Object.entries(copies)) await copyFile(from, join(output, name));
  const texts = await licenceTexts(packages, packageFolder);
  await writeFile(
    licences,
    [
      'Libraries that versemi carries inside (dist/src/third-party), each with its licence. src/third-party/bundle.mjs writes this file.',
      ...texts.map(
        ({ name, version, licence, text }) => `${'='.repeat(100)}\n${name} ${version}: ${licence}\n\n${text}`,
      ),
      `${'='.repeat(100)}\n${await readFile(codecLicences, 'utf8')}`,
    ].join('\n\n'),
  );
  await writeFile(mark, made);
  console.log(`third-party: ${versions.join(', ')}`);
}
