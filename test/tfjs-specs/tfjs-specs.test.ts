/** TF.js's own op specs, which tfjs-core ships, on the backends versemi-cpu and versemi-wasm. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import t from 'tap';
import { nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import type { SpecResult } from './run-specs.js';

/** Of tfjs-core 4.22.0: 3,848 run on the backend, 377 need none. Fewer would mean that some were never declared. */
const specCount = 4225;

const here = dirname(fileURLToPath(import.meta.url));
const bundle = join(here, 'specs.cjs');
const core = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-core/package.json'));

t.before(async () => {
  // The specs are ES modules without file extensions, which Node cannot import. `ignoreAnnotations`: the package calls them
  // free of side effects, though to declare specs is one.
  await build({
    stdin: {
      contents: `
        require('./register_all_gradients');
        require('./public/chained_ops/register_all_chained_ops');
        exports.setTestEnvs = require('./jasmine_util').setTestEnvs;
        exports.declareSpecs = () => require('./tests');`,
      resolveDir: join(core, 'dist'),
    },
    bundle: true,
    ignoreAnnotations: true,
    format: 'cjs',
    platform: 'node',
    mainFields: ['module', 'main'],
    external: ['jasmine-core', 'node-fetch'],
    outfile: bundle,
    logLevel: 'error',
  });
});

async function runSpecs(device: string): Promise<SpecResult> {
  const child = fork(join(here, 'run-specs.js'), [bundle, device], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let complaints = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    complaints += text;
  });
  let result: SpecResult | undefined;
  child.on('message', (message) => {
    result = message as SpecResult;
  });
  await once(child, 'close');
  if (result === undefined) throw new Error(`the specs did not end:\n${complaints}`);
  return result;
}

for (const device of ['cpu', 'wasm']) {
  const skip = (device === 'cpu' && nativeUnavailableReason()) || false;
  t.test(`TF.js's specs pass on versemi-${device}`, { skip }, async (t) => {
    const { passed, failures } = await runSpecs(device);
    for (const failure of failures) t.fail(failure);
    t.equal(passed, specCount, 'specs that passed');
  });
}
