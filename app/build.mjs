// Bundles the page into dist/app: a folder of static files that any web server can hold, under any path.
import { copyFile, mkdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const require = createRequire(import.meta.url);
const app = dirname(fileURLToPath(import.meta.url));
const root = dirname(app);
const output = join(root, 'dist', 'app');
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));

await rm(output, { recursive: true, force: true });
await mkdir(output, { recursive: true });
await build({
  absWorkingDir: root,
  entryPoints: [join(app, 'main.ts'), join(app, 'worker.ts')],
  outdir: output,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  legalComments: 'linked',
  define: { VERSEMI_VERSION: JSON.stringify(version) },
  logLevel: 'warning',
});
for (const name of ['index.html', 'style.css']) await copyFile(join(app, name), join(output, name));
const codecs = join(dirname(require.resolve('dcmjs-codecs')), 'dcmjs-native-codecs.wasm');
await copyFile(codecs, join(output, 'dcmjs-native-codecs.wasm'));
