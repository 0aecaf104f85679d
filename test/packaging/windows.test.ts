// The packed package under Wine, with Node for Windows: it says what to do, and the mask of `predict` is that of this system.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { makePhantomDataset } from '../../src/datasets/phantom.js';
import { packageRoot } from '../../src/root.js';

// Wine makes its folder of Windows first, which takes a minute or more on a busy machine.
t.setTimeout(900_000);

const node = join(packageRoot, 'build', 'nodes', 'node_modules', 'node-win', 'bin', 'node.exe');

function missing(): string | false {
  if (process.platform !== 'linux') return 'Wine is tried on Linux';
  if (spawnSync('wine', ['--version']).status !== 0) return 'no Wine (Debian: apt-get install wine64)';
  return existsSync(node) ? false : 'no Node for Windows: node test/packaging/nodes.mjs brings it';
}

t.test('the package on Windows', { skip: missing(), timeout: 880_000 }, async (t) => {
  // Not below this clone, whose packages would be found from there.
  const folder = mkdtempSync(join(tmpdir(), 'versemi-windows-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  // As npm lays it out: the files of the tarball, and beside them what it depends on.
  const pack = ['pack', '--ignore-scripts', '--pack-destination', folder];
  const packed = spawnSync('npm', pack, { cwd: packageRoot, encoding: 'utf8' });
  t.equal(packed.status, 0, packed.stderr);
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, 'versemi'), { recursive: true });
  const tarball = join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz'))!);
  t.equal(spawnSync('tar', ['-xf', tarball, '-C', join(modules, 'versemi'), '--strip-components=1']).status, 0);
  const { dependencies } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  for (const name of Object.keys(dependencies))
    cpSync(join(packageRoot, 'node_modules', name), join(modules, name), { recursive: true });

  await makePhantomDataset(join(folder, 'phantom'), 'mr-atrium', {
    ...{ cases: 1, labeledCases: 0, validationCases: 0, testCases: 0, seed: 3 },
  });
  // Wine calls itself Windows 7, which Node would refuse.
  const env = {
    ...process.env,
    WINEPREFIX: join(folder, 'wine'),
    WINEDEBUG: '-all',
    DISPLAY: '',
    NODE_SKIP_PLATFORM_CHECK: '1',
  };
  // One server for all programs: each would start its own, which ends with the program, and the next program may find it
  // half ended.
  mkdirSync(env.WINEPREFIX);
  t.equal(spawnSync('wineserver', ['-p60'], { env, stdio: 'ignore' }).status, 0);
  t.teardown(() => void spawnSync('wineserver', ['-k'], { env }));
  const main = 'node_modules/versemi/dist/src/cli/main.js';
  /** Output goes to a file: programs of Windows find no console here. */
  const run = (program: readonly string[], args: readonly string[]) => {
    const file = join(folder, 'output.txt');
    const out = openSync(file, 'w');
    const [command, ...first] = program;
    const { status } = spawnSync(command!, [...first, main, ...args], {
      cwd: folder,
      env,
      stdio: ['ignore', out, out],
    });
    closeSync(out);
    return { status, text: readFileSync(file, 'utf8') };
  };
  const windows = ['wine', node];

  const first = run(windows, []);
  t.equal(first.status, 2);
  t.match(first.text, /versemi serve model\.safetensors --open/, 'without arguments it says what to do');
  const predict = (program: readonly string[], out: string) => {
    const model = 'node_modules/versemi/test/examples/real-data.safetensors';
    const scan = 'phantom/imagesTr/mr-atrium_001.nii.gz';
    const args = ['predict', model, scan, '--out', out, '--task', 'left-atrium', '--device', 'wasm'];
    const { status, text } = run(program, args);
    t.equal(status, 0, `${out}: ${text}`);
    return gunzipSync(readFileSync(join(folder, out, 'mr-atrium_001_left-atrium.nii.gz')));
  };
  const [here, there] = [predict([process.execPath], 'here'), predict(windows, 'windows')];
  t.ok(
    here.subarray(352).some((voxel) => voxel !== 0),
    'the mask has voxels',
  );
  t.ok(there.equals(here), 'the masks are equal, byte for byte');
});
