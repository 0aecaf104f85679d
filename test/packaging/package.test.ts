// What `npm install versemi` gives: the tarball in an empty folder, without install scripts, as npm 12 installs dependencies. Its
// device cpu works, its types resolve, its documents have their files, and CommonJS can require it.
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import t, { type Test } from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { environmentWithout } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';

t.setTimeout(900_000); // Compiles an addon and checks all types, on a machine that does other things too.
// Not below this clone, whose packages would be found from there.
const folder = mkdtempSync(join(tmpdir(), 'versemi-package-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const consumer = join(folder, 'consumer');
mkdirSync(consumer);
const platform = `${process.platform}-${process.arch}`;

interface Outcome {
  readonly code: number | null;
  /** Standard output and error, in the order in which they came. */
  readonly text: string;
  readonly stdout: string;
}

/** Runs a program in the consumer's folder, without what the settings of this clone would change. */
function run(command: string, args: readonly string[], cwd = consumer, settings: object = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const env = { ...environmentWithout('VERSEMI_ADDON', 'VERSEMI_ISA'), ...settings };
    const child = spawn(command, args, { cwd, env });
    let [text, stdout] = ['', ''];
    child.stdout.on('data', (chunk) => {
      text += chunk;
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      text += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, text, stdout }));
  });
}

const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
// The scripts of npm pack would build what this test only looks at.
const packed = await run(npm, ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], packageRoot);
const answer = JSON.parse(packed.stdout) as PackedFiles[] | Record<string, PackedFiles>;
interface PackedFiles {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}
const { filename, files } = (Array.isArray(answer) ? answer[0] : Object.values(answer)[0]) as PackedFiles;
const paths = new Set(files.map(({ path }) => path));

t.test('the tarball holds what its documents name, and no tests', async (t) => {
  // READMEs of folders describe what a clone has: tests, benches and programs that build.
  const own = /^(README|CHANGELOG|CONTRIBUTING|SECURITY)\.md$|^docs\/.*\.md$|^test\/examples\/own-parts\/README\.md$/;
  for (const document of [...paths].filter((path) => own.test(path))) {
    const text = readFileSync(join(packageRoot, document), 'utf8');
    for (const [, link] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      const target = posix.join(posix.dirname(document), link!);
      const found = paths.has(target) || [...paths].some((path) => path.startsWith(`${target}/`));
      t.ok(found, `${document}: ${target}`);
    }
  }
  const read = readFileSync(join(packageRoot, 'README.md'), 'utf8');
  for (const [name] of read.matchAll(/test\/examples\/[\w.-]+\.(safetensors|json)/g)) t.ok(paths.has(name), name);
  t.same(
    [...paths].filter((path) => /^dist\/test\/|^native\/test\/|\.test\.|\.map$|^build\//.test(path)),
    [],
  );
  for (const file of [
    'THIRD_PARTY.txt',
    'dist/src/browser.js',
    'dist/src/browser.d.ts',
    'native/install.mjs',
    'CMakeLists.txt',
    'LICENSE',
  ])
    t.ok(paths.has(file), file);
});

writeFileSync(join(consumer, 'package.json'), '{"private":true}');
const installed = await run(npm, [
  ...['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'],
  join(folder, filename),
]);
const offline = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT|ENOTCACHED/.test(installed.text);
const skip = offline ? 'npm cannot reach its registry, and its cache lacks a package' : false;
const withTime = { skip, timeout: 200_000 } as const;

t.test('it installs without scripts', withTime, async (t) => {
  t.equal(installed.code, 0, installed.text);
  t.ok(existsSync(join(consumer, 'node_modules', 'versemi', 'package.json')));
  t.notOk(existsSync(join(consumer, 'node_modules', 'versemi', 'build')), 'nothing was built');
});

t.test('it is small: 40 MB with its dependencies, and no tool that only a build needs', withTime, async (t) => {
  const modules = join(consumer, 'node_modules');
  let bytes = 0;
  // As a disk holds it, in blocks.
  for (const entry of readdirSync(modules, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) bytes += Math.ceil(statSync(join(entry.parentPath, entry.name)).size / 4096) * 4096;
  t.ok(bytes < 40e6, `${(bytes / 1e6).toFixed(1)} MB`);
  const carried = ['@tensorflow', 'zod', 'dcmjs', 'dcmjs-codecs', 'h5wasm'];
  for (const name of [...carried, 'cmake-js', 'node-addon-api', 'typescript', 'esbuild'])
    t.notOk(existsSync(join(modules, name)), `${name} is not installed`);
  const licences = readFileSync(join(modules, 'versemi', 'THIRD_PARTY.txt'), 'utf8');
  for (const name of ['@tensorflow/tfjs-core', ...carried.slice(1), 'core-js-pure', 'pako', 'seedrandom', 'long'])
    t.match(licences, new RegExp(`^${name} \\d+\\.\\d+\\.\\d+: `, 'm'), `the licence of ${name}`);
  // Messages in the decoders name the files that they were compiled from.
  const decoders = readFileSync(join(modules, 'versemi', 'dist', 'src', 'third-party', 'dicom-codecs.wasm'), 'latin1');
  const libraries = new Set(
    [...decoders.matchAll(/\/lib\/([a-z]+)-(\d[\w.]*\w)\//g)].map(([, name, version]) => `${name} ${version}`),
  );
  t.ok(libraries.size >= 6, `libraries in the decoders: ${[...libraries].join(', ')}`);
  for (const library of [...libraries, 'brotli 1.2.0', 'better enums 0.11.3', 'musl', 'emscripten']) {
    const [name, version] = library.replaceAll('_', '-').split(/ (?=\d)/);
    const title = version === undefined ? `${name}\\b` : `${name} (of )?${version.replaceAll('.', '\\.')}: `;
    t.match(licences, new RegExp(`^${title}`, 'im'), `the licence of ${library}, in the decoders`);
  }
  t.match(licences, /based in part on the work of the Independent JPEG Group/);
});

/** A gradient through an op of versemi and one of TF.js, and an optimiser, on the WebAssembly device. */
const differentiate = `
  await versemi.selectDevice('wasm', { threads: 1 });
  const [scan, weight] = [tf.ones([1, 4, 4, 4, 1]), tf.ones([3, 3, 3, 1, 2])];
  const plain = tf.grad((weight) => tf.conv3d(scan, weight, 1, 'same').square().sum())(weight);
  const fused = tf.grad((weight) => versemi.conv3dNormRelu(scan, weight, null).mul(scan).sum())(weight);
  const variable = tf.variable(tf.scalar(2));
  tf.train.sgd(0.1).minimize(() => tf.square(variable));
  console.log(tf.getBackend(), plain.dataSync()[0], fused.shape.join(), variable.dataSync()[0].toFixed(2), plain instanceof tf.Tensor);`;
const differentiated = 'versemi-wasm 1024 3,3,3,1,2 1.60 true';

async function checkTfjs(t: Test, name: string, imports: string): Promise<void> {
  const { text } = await run(process.execPath, ['--input-type=module', '-e', `${imports}\n${differentiate}`]);
  t.equal(text.trim(), differentiated, `${name}: the result, and no warning`);
}

t.test('TF.js of the package does without a copy of TF.js', withTime, (t) =>
  checkTfjs(t, 'no copy', "import * as versemi from 'versemi/tfjs'; const { tf } = versemi;"),
);

const noAddon = paths.has(`prebuilds/${platform}/versemi.node`)
  ? false
  : `no prebuilds/${platform} in this clone: npm run prebuilds makes it`;

t.test('the device cpu of the tarball segments a scan', { ...withTime, skip: skip || noAddon }, async (t) => {
  await makePhantomDataset(join(consumer, 'phantom'), 'mr-atrium', {
    ...{ cases: 1, labeledCases: 0, validationCases: 0, testCases: 0, seed: 3 },
  });
  const model = join('node_modules', 'versemi', 'test', 'examples', 'real-data.safetensors');
  const scan = join('phantom', 'imagesTr', 'mr-atrium_001.nii.gz');
  const main = join('node_modules', 'versemi', 'dist', 'src', 'cli', 'main.js');
  const args = [main, 'predict', model, scan, '--out', 'out', '--task', 'left-atrium', '--device', 'cpu', '--json'];
  const predicted = await run(process.execPath, args);
  t.equal(predicted.code, 0, predicted.text);
  t.match(predicted.text, /cpu/);
  const loaded = `import('versemi').then(async (v) => console.log((await v.selectDevice('auto')).why))`;
  t.match((await run(process.execPath, ['-e', loaded])).stdout, /^cpu: /, 'auto takes it');
});

/** TypeScript over files of the consumer, with every library checked. */
function check(module: string, moduleResolution: string, files: readonly string[]): Promise<Outcome> {
  const compilerOptions = {
    ...{ module, moduleResolution, strict: true, skipLibCheck: false, exactOptionalPropertyTypes: true, noEmit: true },
    ...{ target: 'es2022', lib: ['es2022', 'dom'] },
  };
  writeFileSync(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  return run(process.execPath, [join(packageRoot, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.']);
}

/** What the types of TF.js must allow, with a copy of the user's or without one. */
const tensorText = (imports: string) => `${imports}
export function block(scan: tf.Tensor5D, weight: tf.Tensor5D): tf.Scalar {
  const features: tf.Tensor5D = conv3dNormRelu(scan, weight, null, { stride: 2 });
  return tf.sum(tf.square(features));
}
`;

const tools = ['cmake', 'make', 'c++'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
const noTools = tools.length > 0 ? `not installed: ${tools.join(', ')}` : process.platform === 'win32' && 'no sh';

t.test('build-addon names the packages that it lacks, and builds with them', { skip: skip || noTools }, async (t) => {
  const main = join('node_modules', 'versemi', 'dist', 'src', 'cli', 'main.js');
  const build = (environment: object = {}) => run(process.execPath, [main, 'build-addon'], consumer, environment);
  const refused = await build();
  t.equal(refused.code, 6, refused.text);
  t.match(refused.text, /run npm install cmake-js@\d+ node-addon-api@\d+ .*, then run: npx versemi build-addon/);
  for (const name of ['cmake-js', 'node-addon-api'])
    symlinkSync(join(packageRoot, 'node_modules', name), join(consumer, 'node_modules', name), 'dir');
  // Whether it is built is the question here, not how fast it is: without optimisation it takes a fourth of the time.
  const launcher = join(folder, 'quick.sh');
  writeFileSync(
    launcher,
    `#!/bin/sh\nfor word; do shift; [ "$word" = -O3 ] && word=-O0; set -- "$@" "$word"; done\nexec "$@"\n`,
    { mode: 0o755 },
  );
  const built = await build({ VERSEMI_CUDA: '0', CMAKE_CXX_COMPILER_LAUNCHER: launcher });
  t.equal(built.code, 0, built.text);
  const left = readdirSync(join(consumer, 'node_modules', 'versemi', 'build'), {
    recursive: true,
    withFileTypes: true,
  });
  t.same(
    left.flatMap((entry) => (entry.isFile() ? [entry.name] : [])).sort(),
    ['versemi-settings.json', 'versemi.node'],
    'nothing of the build is left behind but the addon and with what it was made',
  );
  const chosen = `import('versemi').then(async (v) => console.log((await v.selectDevice('cpu')).device.description))`;
  t.match((await run(process.execPath, ['-e', chosen])).stdout, /^CPU, /, 'and is what the device cpu loads');
});

t.test('its types resolve, with every library checked', withTime, async (t) => {
  writeFileSync(join(consumer, 'tensors.mts'), tensorText("import { conv3dNormRelu, tf } from 'versemi/tfjs';"));
  const text = `import { evaluateDataset, loadModel, openScan, predictVolume, readPlan, selectDevice, train } from 'versemi';
import { addParts, createSampler, estimateMemory, loadParts, scanFacts, validate } from 'versemi';
import type { MaskPair, MaskVolume, Parts, PreprocessedData, Scan, StepBatch, StepEvent, Validation } from 'versemi';
import { encodeNifti, loadModelBytes, openScanBytes, type Volume } from 'versemi/browser';
const metric = { name: 'voxels', measure: ({ prediction }: MaskPair) => prediction.length };
const augmentation = { name: 'half', change: (image: Float32Array) => void image.forEach((value, i) => { image[i] = value / 2; }) };
export const parts: Parts = { metrics: [metric], augmentations: [augmentation] };
export async function pieces(data: PreprocessedData): Promise<[StepBatch, Validation, number]> {
  addParts(parts);
  await loadParts('parts.mjs');
  const model = await loadModel('model.safetensors');
  const scan: Scan = await openScan('scan.nii.gz');
  const { total } = estimateMemory(model, await scanFacts('scan.nii.gz'), [0]);
  const masks: MaskVolume[] = (await predictVolume(model, scan)).map(({ mask }) => mask);
  const own = (event: StepEvent): number | undefined => event.losses['own.tversky'];
  console.log(masks.length, own.length);
  return [createSampler(model.plan, data).batch(0), await validate(model, data.validation), total];
}
import { conv3dNormRelu } from 'versemi/tfjs';
export async function consume(): Promise<number> {
  const { device } = await selectDevice('cpu', { threads: 2 });
  const model = await loadModel('model.safetensors');
  const [prediction] = await predictVolume(model, await openScan('scan.nii.gz'), { tasks: ['left-atrium'] });
  const volume: Volume = prediction!.mask;
  for await (const event of train(await readPlan('plan.json'), { runFolder: 'runs/first' }))
    if (event.type === 'step') console.log(event.losses.total.toFixed(3));
  for await (const { id } of evaluateDataset(model, 'data')) console.log(id.length);
  const bytes: Uint8Array = await encodeNifti(volume);
  console.log(loadModelBytes(bytes).plan.tasks.length, (await openScanBytes(bytes)).sizeVoxels[2], typeof conv3dNormRelu);
  return device.threads;
}
`;
  writeFileSync(join(consumer, 'consumer.mts'), text);
  // What must be an error: a name that is not there, and a setting of another type.
  writeFileSync(
    join(consumer, 'wrong.mts'),
    `import { selectDevices } from 'versemi';\nimport { selectDevice } from 'versemi/browser';\nvoid selectDevices;\nvoid selectDevice('cpu', { threads: 'two' });\n`,
  );
  writeFileSync(
    join(consumer, 'consumer.cts'),
    `import versemi = require('versemi');\nexport const doors: readonly string[] = Object.keys(versemi.errorTable);\n`,
  );
  for (const [module, resolution] of [
    ['node16', 'node16'],
    ['esnext', 'bundler'],
  ] as const) {
    const { code, text } = await check(module, resolution, ['consumer.mts', 'tensors.mts']);
    t.equal(code, 0, `${resolution}: ${text}`);
  }
  const { stdout } = await check('nodenext', 'nodenext', ['consumer.mts', 'consumer.cts', 'wrong.mts']);
  t.match(
    stdout.trim(),
    /^wrong\.mts\(1,\d+\): error TS2\d+.*\n(?: .*\n)*wrong\.mts\(4,\d+\): error TS2322.*(?:\n .*)*$/,
    'nodenext: the wrong file has its two errors, and no other has one',
  );
});

t.test('CommonJS requires it where Node can, and is told why where it cannot', withTime, async (t) => {
  writeFileSync(
    join(consumer, 'require.cjs'),
    `const doors = [require('versemi').train, require('versemi/tfjs').selectDevice, require('versemi/browser').openScanBytes];
console.log(doors.map((door) => typeof door).join(' '));
`,
  );
  const { stdout, text } = await run(process.execPath, ['require.cjs']);
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
  const can = major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
  if (can) t.equal(stdout.trim(), 'function function function', text);
  // As older versions answer; docs/installation.md says what to do.
  const refused = can ? await run(process.execPath, ['--no-experimental-require-module', 'require.cjs']) : { text };
  t.match(refused.text, /ERR_REQUIRE_ESM/);
  t.match(readFileSync(join(packageRoot, 'docs', 'installation.md'), 'utf8'), /ERR_REQUIRE_ESM/);
});

t.test('it shares tensors, gradients and types with a copy of TF.js of the user', withTime, async (t) => {
  // With the types of its dependency, as npm would bring them.
  mkdirSync(join(consumer, 'node_modules', '@types'));
  for (const name of ['@tensorflow', '@types/long'])
    symlinkSync(join(packageRoot, 'node_modules', name), join(consumer, 'node_modules', name), 'dir');
  const core = "import * as tf from '@tensorflow/tfjs-core';";
  const cpu = "import '@tensorflow/tfjs-backend-cpu';";
  const own = "import * as versemi from 'versemi/tfjs';";
  await checkTfjs(t, 'the copy first', core + own);
  await checkTfjs(t, 'versemi first', own + core);
  await checkTfjs(t, 'the copy and its cpu backend first', core + cpu + own);
  writeFileSync(join(consumer, 'shared.mts'), tensorText(`${core}\nimport { conv3dNormRelu } from 'versemi/tfjs';`));
  for (const [module, resolution] of [
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ] as const) {
    const { code, text } = await check(module, resolution, ['shared.mts']);
    t.equal(code, 0, `${resolution}: ${text}`);
  }
});
