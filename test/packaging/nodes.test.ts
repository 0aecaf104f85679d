// Every version of Node that package.json allows: the oldest ones, the newest of 20, 22 and 24; and one that is too old, so that the
// bound is true from both sides. Each segments a scan on both devices with the same masks, and requires or imports as documented.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { readVolume, writeNifti } from '../../src/datasets/read-volume.js';
import { environmentWithout } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';
import { nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import type { Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';

const program = (name: string) => join(packageRoot, 'build', 'nodes', 'node_modules', name, 'bin', 'node');
const names = ['node-oldest', 'node-oldest-22', 'node-20', 'node-22', 'node-24'];
const missing = (name: string) =>
  existsSync(program(name)) ? false : `no ${name}: node test/packaging/nodes.mjs brings it`;

const folder = t.testdir();
const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
const model = join(packageRoot, 'test', 'examples', 'real-data.safetensors');
const scan = join(folder, 'scan.nii.gz');
const devices = nativeUnavailableReason() === null ? ['wasm', 'cpu'] : ['wasm'];

function run(node: string, args: readonly string[]) {
  const env = environmentWithout('VERSEMI_ADDON', 'VERSEMI_ISA');
  return spawnSync(node, args, { cwd: packageRoot, encoding: 'utf8', env });
}

function mask(node: string, name: string, device: string): Buffer {
  const out = join(folder, `${name}-${device}`);
  const args = [
    main,
    'predict',
    model,
    scan,
    '--out',
    out,
    '--task',
    'left-atrium',
    '--device',
    device,
    '--threads',
    '1',
  ];
  const { status, stderr } = run(node, args);
  if (status !== 0) throw new Error(`${name}, ${device}: ${stderr}`);
  return gunzipSync(readFileSync(join(out, 'scan_left-atrium.nii.gz')));
}

/** What this Node finds, by device. */
const expected = new Map<string, Buffer>();

/** Whether `require` of an ES module needs no flag, as docs/installation.md says. */
function canRequire(version: string): boolean {
  const [major, minor] = version.split('.').map(Number) as [number, number];
  return major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
}

t.before(async () => {
  await makePhantomDataset(join(folder, 'phantom'), 'mr-atrium', {
    ...{ cases: 1, labeledCases: 0, validationCases: 0, testCases: 0, seed: 3 },
  });
  // The middle of a phantom is enough of a scan: three windows of the network.
  const { data, sizeVoxels, ...whole } = await readVolume(join(folder, 'phantom', 'imagesTr', 'mr-atrium_001.nii.gz'));
  const size: Triple = [32, 32, 16];
  const begin = sizeVoxels.map((all, axis) => Math.floor((all - size[axis]!) / 2)) as [number, number, number];
  await writeNifti(scan, { ...whole, data: host().crop(data, sizeVoxels, begin, size), sizeVoxels: size });
  if (names.some((name) => missing(name) === false))
    for (const device of devices) expected.set(device, mask(process.execPath, 'this', device));
});

for (const name of names)
  t.test(`${name} segments a scan, imports and requires`, { skip: missing(name), timeout: 200_000 }, async (t) => {
    for (const device of devices) {
      const found = mask(program(name), name, device);
      t.ok(found.equals(expected.get(device)!), `${device}: the mask is that of this Node`);
      t.ok(found.subarray(352).includes(1), 'and is not empty');
    }
    const version = run(program(name), ['-p', 'process.versions.node']).stdout.trim();
    const imported = "import('versemi').then((versemi) => console.log(typeof versemi.train))";
    t.equal(run(program(name), ['-e', imported]).stdout.trim(), 'function', 'CommonJS imports it');
    const required = run(program(name), ['-e', "console.log(typeof require('versemi').train)"]);
    if (canRequire(version)) t.equal(required.stdout.trim(), 'function', `${version} requires it: ${required.stderr}`);
    else t.match(required.stderr, /ERR_REQUIRE_ESM/, `${version} says why it cannot`);
  });

t.test('a Node that is too old says so', { skip: missing('node-too-old') }, async (t) => {
  const { status, stderr } = run(program('node-too-old'), [main, 'info', model]);
  t.not(status, 0);
  t.match(stderr, /needs Node \d+\.\d+/);
});
