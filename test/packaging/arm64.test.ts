// The addon that the package brings for Linux arm64, under qemu-aarch64 with Node for arm64: its kernels are the NEON ones, and the
// mask of `predict` is that of this machine, byte for byte.
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
import { host } from '../../src/wasm/host.js';

const addon = join(packageRoot, 'prebuilds', 'linux-arm64', 'versemi.node');
const node = join(packageRoot, 'build', 'nodes', 'node_modules', 'node-arm64', 'bin', 'node');
/** The C and C++ libraries for arm64, from Debian's cross compiler. */
const libraries = '/usr/aarch64-linux-gnu';

function missing(): string | false {
  if (!existsSync(addon)) return 'no prebuilds/linux-arm64: npm run prebuilds makes it';
  if (!existsSync(node)) return 'no Node for arm64: node test/packaging/nodes.mjs brings it';
  if (spawnSync('qemu-aarch64', ['--version']).status !== 0)
    return 'no qemu-aarch64 (Debian: apt-get install qemu-user)';
  if (!existsSync(libraries)) return `no ${libraries} (Debian: apt-get install g++-aarch64-linux-gnu)`;
  return nativeUnavailableReason() ?? false;
}

t.test('predict on arm64 gives the mask of this machine', { skip: missing(), timeout: 280_000 }, async (t) => {
  const folder = t.testdir();
  await makePhantomDataset(join(folder, 'phantom'), 'mr-atrium', {
    ...{ cases: 1, labeledCases: 0, validationCases: 0, testCases: 0, seed: 3 },
  });
  // The middle of a phantom: three windows of the network.
  const whole = await readVolume(join(folder, 'phantom', 'imagesTr', 'mr-atrium_001.nii.gz'));
  const sizeVoxels = [32, 32, 16] as const;
  const begin = whole.sizeVoxels.map((size, axis) => Math.floor((size - sizeVoxels[axis]!) / 2));
  const data = host().crop(whole.data, whole.sizeVoxels, begin as [number, number, number], sizeVoxels);
  const scan = join(folder, 'scan.nii.gz');
  await writeNifti(scan, { data, sizeVoxels, spacingMm: whole.spacingMm, affine: whole.affine });

  const predict = (program: readonly string[], out: string, env: Record<string, string>) => {
    const model = join(packageRoot, 'test', 'examples', 'real-data.safetensors');
    const [command, ...before] = program as [string, ...string[]];
    const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
    const args = [main, 'predict', model, scan, '--out', join(folder, out), '--task', 'left-atrium', '--device', 'cpu'];
    const { status, stdout, stderr } = spawnSync(command, [...before, ...args], {
      encoding: 'utf8',
      env: { ...environmentWithout('VERSEMI_ADDON', 'VERSEMI_ISA'), ...env },
    });
    t.equal(status, 0, `${out}: ${stderr}`);
    return `${stdout}${stderr}`;
  };
  const here = predict([process.execPath], 'here', {});
  const there = predict(['qemu-aarch64', '-L', libraries, node], 'arm64', { VERSEMI_ADDON: addon });
  t.match(here, /CPU, /);
  t.match(there, /CPU, baseline/);
  const masks = await Promise.all(
    ['here', 'arm64'].map((out) => readVolume(join(folder, out, 'scan_left-atrium.nii.gz'))),
  );
  const foreground = (masks[0]!.data as Uint8Array).reduce((sum, voxel) => sum + voxel, 0);
  t.ok(foreground > 100, `${foreground} voxels are not background`);
  t.same(masks[1], { ...masks[0]!, file: masks[1]!.file });
  // Inflated: processors have compressors of their own.
  const bytes = (out: string) => gunzipSync(readFileSync(join(folder, out, 'scan_left-atrium.nii.gz')));
  t.ok(bytes('here').equals(bytes('arm64')), 'the files are equal');
});
