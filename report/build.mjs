// Bundles script and style of reports into dist/report: `versemi report` writes both into each page.
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { licenceTexts } from '../src/third-party/licences.mjs';
import { bundlePage } from '../src/third-party/page-bundle.mjs';

const folder = dirname(fileURLToPath(import.meta.url));
const root = dirname(folder);
const output = join(root, 'dist', 'report');

const packages = await bundlePage(root, output, {
  entryPoints: [join(folder, 'main.ts'), join(folder, 'main.css')],
  format: 'iife',
});

// Each plot brings a style of its own, which the policy of a page has to know by its hash: the text as the library writes it.
const plot = await readFile(join(root, 'node_modules', '@observablehq', 'plot', 'src', 'plot.js'), 'utf8');
const written = /append\("style"\)\.text\(\s*`([^`]*)`/.exec(plot)?.[1];
if (written === undefined)
  throw new Error('@observablehq/plot no longer writes its style as before: adapt report/build.mjs');
await writeFile(join(output, 'plot.css'), written.replaceAll(`\${className}`, 'plot'));

// Every page carries what is bundled, so it carries the licences too.
const bundled = [...packages];
const texts = (await licenceTexts(bundled, (name) => join(root, 'node_modules', name))).filter(({ name }) =>
  bundled.includes(name),
);
// Packages of one author have one text.
const byText = new Map();
for (const { name, version, licence, text } of texts)
  byText.set(text, [...(byText.get(text) ?? []), `${name} ${version} (${licence})`]);
const licences = [...byText]
  .map(([text, names]) => `${names.join(', ')}\n\n${text}`)
  .join(`\n\n${'-'.repeat(100)}\n\n`);
const script = join(output, 'main.js');
const comment = `/*\nLibraries in this script, each with its licence.\n\n${licences.replaceAll('*/', '* /')}\n*/\n`;
const text = `${await readFile(script, 'utf8')}${comment}`;
if (/<\/script|<!--/i.test(text)) throw new Error('the script of reports would end its element');
await writeFile(script, text);
