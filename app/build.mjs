// Bundles the page into dist/app: a folder of static files that any web server can hold, under any path.
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { licenceTexts } from '../src/third-party/licences.mjs';
import { bundlePage } from '../src/third-party/page-bundle.mjs';

const app = dirname(fileURLToPath(import.meta.url));
const root = dirname(app);
const output = join(root, 'dist', 'app');
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));

/**
 * NiiVue computes gradients of each scan anew whenever its window changes, in two textures of four bytes per voxel, for a way of lighting
 * that the page does not use. On 512 x 512 x 300 voxels that is 630 MB, and seconds without a graphics card.
 */
let gradientsLeftOut = false;
const withoutGradients = {
  name: 'without-gradients',
  setup({ onLoad }) {
    onLoad({ filter: /@niivue[/\\]niivue[/\\]build[/\\]niivue[/\\]index\.js$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const always = 'this.volumeTexture = outTexture;\n      this.gradientTexture = gradientGL({';
      if (text.split(always).length !== 2) throw new Error(`${path} no longer has the lines that are changed`);
      const used = 'if (this.gradientTextureAmount > 0 || this.opts.gradientOpacity > 0)';
      gradientsLeftOut = true;
      return { contents: text.replace(always, always.replace('this.gradientTexture', `${used} this.gradientTexture`)) };
    });
  },
};

const packages = await bundlePage(root, output, {
  entryPoints: [join(app, 'main.ts'), join(app, 'worker.ts')],
  format: 'esm',
  plugins: [withoutGradients],
  // An eval of dcmjs-codecs that looks for a file of Node's, which src/datasets/dicom/library.ts replaces.
  logOverride: { 'direct-eval': 'silent' },
  define: { VERSEMI_VERSION: JSON.stringify(version) },
});
if (!gradientsLeftOut) throw new Error('the file of NiiVue that computes gradients has another name');
for (const name of ['index.html', 'style.css']) await copyFile(join(app, name), join(output, name));
await copyFile(join(root, 'dist', 'src', 'third-party', 'dicom-codecs.wasm'), join(output, 'dicom-codecs.wasm'));

// Whoever serves the folder passes on what is bundled: the licences go with it.
/** Its package has no text of its licence: app/niivue-licence.txt is that of its repository. */
const niivue = '@niivue/niivue';
packages.delete(niivue);
const texts = await licenceTexts([...packages], (name) => join(root, 'node_modules', name));
const carried = texts.map(({ name, version, licence, text }) => `${name} ${version}: ${licence}\n\n${text}\n`);
const viewer = `${niivue}: BSD-2-Clause\n\n${await readFile(join(app, 'niivue-licence.txt'), 'utf8')}`;
const own = await Promise.all(['LICENSE', 'THIRD_PARTY.txt'].map((name) => readFile(join(root, name), 'utf8')));
await writeFile(join(output, 'licences.txt'), [...own, viewer, ...carried].join(`\n${'='.repeat(100)}\n`));
