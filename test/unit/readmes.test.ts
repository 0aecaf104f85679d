// What READMEs claim of the repository: files, links, the version of Node. And that they stay short enough to be read.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/root.js';

const read = (file: string) => readFileSync(join(packageRoot, file), 'utf8');
const mostWords = 400;

/** Files that people write: no generated code, nothing installed, no data. */
const files = ['src', 'app', 'native', 'assembly', 'test', 'docs']
  .flatMap((top) =>
    readdirSync(join(packageRoot, top), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => posix.join(top, join(entry.parentPath, entry.name).slice(join(packageRoot, top).length + 1))),
  )
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => !/(^|\/)(node_modules|generated|build)\//.test(file));

const sourceEnding = /\.(ts|mts|mjs|js|cpp|h|cu|cuh|py|cmake)$|\/CMakeLists\.txt$/;
const sources = files.filter((file) => sourceEnding.test(file));
const readmes = files.filter((file) => posix.basename(file) === 'README.md');
const documents = [
  ...files.filter((file) => file.endsWith('.md')),
  ...readdirSync(packageRoot).filter((file) => file.endsWith('.md')),
];

/** The names of source files between backticks: paths, and patterns with `*`, `{a,b}` and NAME, which stands for any name. */
function namedFiles(text: string): string[] {
  return [...text.replaceAll(/```[\s\S]*?```/g, '').matchAll(/`([^`]+)`/g)]
    .flatMap(([, code]) => code!.split(/\s+/))
    .map((word) => word.replace(/^dist\/(.*)\.js$/, '$1.ts').replace(/^(\.\.?\/)+/, ''))
    .filter((word) => /^[\w./*{},-]+\.(ts|mjs|cpp|h|cu|cuh|py|cmake)$|CMakeLists\.txt$/.test(word) && /\w/.test(word));
}

/** Whether a named file may be this one: a name without a folder is a file of any folder. */
function matcher(name: string): RegExp {
  const pattern = name
    .replaceAll('.', '\\.')
    .replaceAll(/\*\*|\*|NAME/g, (wild) => (wild === '**' ? '.*' : '[^/]*'))
    .replaceAll(/\{([^}]*)\}/g, (_, choices: string) => `(${choices.replaceAll(',', '|')})`);
  return new RegExp(`(^|/)${pattern}$`);
}

t.test('every folder has a README.md that names each of its files', async (t) => {
  for (const folder of new Set(sources.map((file) => posix.dirname(file)))) {
    const readme = `${folder}/README.md`;
    if (!readmes.includes(readme)) {
      t.fail(`${readme} is missing`);
      continue;
    }
    const named = namedFiles(read(readme)).map(matcher);
    const missing = sources.filter(
      (file) => posix.dirname(file) === folder && !named.some((pattern) => pattern.test(file)),
    );
    const names = missing.map((file) => posix.basename(file)).join(' ');
    t.ok(missing.length === 0, `${readme} does not name: ${names}`);
  }
});

t.test('every file that a document names is there', async (t) => {
  for (const document of documents) {
    if (document === 'CHANGELOG.md') continue;
    const gone = namedFiles(read(document)).filter((name) => !sources.some((file) => matcher(name).test(file)));
    t.ok(gone.length === 0, `${document} names what is not there: ${gone.join(' ')}`);
  }
});

/** The anchor that a heading gets on the pages of a repository. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-');

t.test('relative links lead somewhere', async (t) => {
  let links = 0;
  for (const document of documents) {
    for (const [, link] of read(document).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue;
      links++;
      const [path, anchor] = link!.split('#') as [string, string?];
      const target = path === '' ? document : posix.join(posix.dirname(document), path);
      if (!existsSync(join(packageRoot, target))) t.fail(`${document}: ${link} is not there`);
      else if (anchor !== undefined) {
        const headings = [...read(target).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchorOf(heading!));
        t.ok(headings.includes(anchor), `${document}: ${link} has its heading`);
      }
    }
  }
  t.ok(links > 5, `${links} links were found`);
});

t.test('READMEs of folders are short', async (t) => {
  for (const readme of readmes) {
    const words = read(readme)
      .split(/\s+/)
      .filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
    t.ok(words <= mostWords, `${readme}: ${words} words; measurements belong into NOTES.md beside it`);
  }
});

t.test('the version of Node is the same everywhere', async (t) => {
  const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
  const { packages } = JSON.parse(read('package-lock.json'));
  t.equal(packages[''].engines.node, engines.node, 'package-lock.json');
  const lowest = (range: string) => /^\^(\d+\.\d+)/.exec(range)?.[1];
  // Who builds from source needs what the builder needs.
  for (const [document, version] of [
    ['README.md', lowest(engines.node)],
    ['docs/javascript.md', lowest(engines.node)],
    ['docs/clinic.md', lowest(engines.node)],
    ['CONTRIBUTING.md', lowest(packages['node_modules/cmake-js'].engines.node)],
  ] as const) {
    const stated = [...read(document).matchAll(/Node (\d+(?:\.\d+)?) or newer/g)].map(([, number]) => number);
    t.ok(stated.length > 0, `${document} states one`);
    t.ok(
      stated.every((number) => number === version),
      `${document}: ${stated}, expected: ${version}`,
    );
  }
});
