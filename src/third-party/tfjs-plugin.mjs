// TF.js as a bundle that gets on with a copy of the user's. The copies share one engine, one table of kernels and one of gradients,
// which TF.js keeps on globalThis; what TF.js would do twice, with a warning each time, is done here only where it is missing.

import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));

/** Kernels and the cpu backend wait until the backend is asked for: by then a copy of the user's has registered its own. */
const sharedRegistries = `
  import * as core from '@tensorflow/tfjs-core';
  export * from '@tensorflow/tfjs-core';
  const pending = [];
  export function registerKernel(kernel) {
    pending.push(kernel);
  }
  export function registerPending() {
    if (core.findBackendFactory('cpu') !== register) registerAll();
  }
  function registerAll() {
    for (const kernel of pending.splice(0))
      if (core.getKernel(kernel.kernelName, kernel.backendName) === undefined) core.registerKernel(kernel);
  }
  let make;
  function register() {
    registerAll();
    // Without its advice to install another backend: versemi brings others.
    return Object.assign(make(), { firstUse: false });
  }
  export function registerBackend(name, factory, priority) {
    make = factory;
    if (core.findBackendFactory(name) == null) core.registerBackend(name, register, priority);
  }`;

/** Node or the browser, as TF.js sees them; set by the first copy that needs it. */
const platform = `
  import { env } from '@tensorflow/tfjs-core/dist/environment.js';
  let offer;
  export function offerPlatform(...platform) {
    offer = platform;
  }
  export function currentPlatform() {
    if (env().platform == null) env().setPlatform(...offer);
    return env().platform;
  }`;

/** Modules of Node that TF.js and its random numbers ask for. Every runtime that versemi knows has fetch and crypto. */
const nodeModules = {
  util: "module.exports = process.getBuiltinModule('node:util');",
  'node-fetch': 'module.exports = globalThis.fetch;',
  crypto: 'module.exports = {};',
};

const virtual = {
  'versemi:shared-registries': sharedRegistries,
  'versemi:platform': platform,
  ...nodeModules,
};

/** Changes a file, which must have what is changed. */
function replaced(text, from, to, file) {
  if (!text.includes(from)) throw new Error(`${file}: "${from}" is not there any more`);
  return text.replaceAll(from, to);
}

export const tensorflow = {
  name: 'tensorflow',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(versemi:.*|util|node-fetch|crypto)$/ }, ({ path }) => ({ path, namespace: 'virtual' }));
    onLoad({ filter: /.*/, namespace: 'virtual' }, ({ path }) => ({ contents: virtual[path], resolveDir: folder }));
    onResolve({ filter: /^@tensorflow\/tfjs-core$/ }, ({ importer }) =>
      /tfjs-backend-cpu\/dist\/(base|register_all_kernels)\.js$/.test(importer.replaceAll('\\', '/'))
        ? { path: 'versemi:shared-registries', namespace: 'virtual' }
        : undefined,
    );
    onLoad({ filter: /tfjs-core[\\/]dist[\\/](util|platforms[\\/]platform_(node|browser))\.js$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const isUtil = path.endsWith('util.js');
      const contents = isUtil
        ? replaced(text, 'env().platform', 'currentPlatform()', path)
        : replaced(text, 'env().setPlatform(', 'offerPlatform(', path);
      const name = isUtil ? 'currentPlatform' : 'offerPlatform';
      return { contents: `import { ${name} } from 'versemi:platform';\n${contents}` };
    });
  },
};
