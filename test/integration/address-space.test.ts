/**
 * Under a limit of address space (`ulimit -v`) every command works or ends in a coded error with a remedy, and the remedy helps.
 * With much less than the smallest of these limits Node cannot even start, or its own heap ends it.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/root.js';
import { nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { writeCt, writeModel } from '../bench/memory-model.js';

const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
const folder = t.testdir();
const spacing = [1, 1, 1] as const;
const model = await writeModel(folder, { tasks: 1, baseWidth: 4, patchSizeVoxels: [32, 32, 32], spacingMm: spacing });
const scan = await writeCt(folder, [40, 36, 34], spacing);
const predict = ['predict', model, scan, '--out', join(folder, 'out'), '--overlap', '0'];

interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

function limited(gigabytes: number, args: readonly string[], nodeOptions = ''): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const script = `ulimit -v ${gigabytes * 1e6} && exec "$@"`;
    const child = spawn('bash', ['-c', script, 'bash', process.execPath, main, ...args], {
      cwd: folder,
      env: { ...process.env, VERSEMI_THREADS: '2', NODE_OPTIONS: nodeOptions },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}

const coded = /VERSEMI_(MEMORY_LIMIT|DEVICE_OUT_OF_MEMORY): .+ found .+\. [A-Z].+/;
const skip = process.platform !== 'linux' ? 'ulimit -v limits on Linux alone' : false;

// Each of 14 runs takes a second or more.
t.setTimeout(0);

// V8 takes more addresses from Node 24 on.
const smallest = Number(process.versions.node.split('.')[0]) >= 24 ? 2 : 1.5;

for (const gigabytes of [smallest, 2.5, 4, 8])
  t.test(`${gigabytes} GB of address space`, { skip }, async (t) => {
    for (const args of [predict, ['selftest', '--device', 'wasm']]) {
      const what = args[0]!;
      const { code, output } = await limited(gigabytes, args);
      if (code === 0) t.pass(`${what} works`);
      else {
        t.equal(code, 6, `${what}: ${output}`);
        t.match(output, coded, what);
        t.match(output, 'NODE_OPTIONS=--disable-wasm-trap-handler', `${what} names what helps`);
      }
    }
    // The processor's own kernels need less, but the loops over voxels are in WebAssembly for every device.
    const isSmallest = gigabytes === smallest;
    for (const device of isSmallest && nativeUnavailableReason() === null ? ['cpu', 'wasm'] : ['wasm']) {
      const { code, output } = await limited(
        gigabytes,
        [...predict, '--device', device],
        '--disable-wasm-trap-handler',
      );
      t.equal(code, 0, `predict on ${device} with that option: ${output}`);
    }
    if (!isSmallest) return;
    const selftest = await limited(gigabytes, ['selftest', '--device', 'wasm'], '--disable-wasm-trap-handler');
    if (selftest.code !== 0) t.match(selftest.output, coded, 'the selftest needs more, and says so');
  });
