// One table of environment variables: nothing is read that is not in it, nothing is in it that nobody reads.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { environment, environmentMarkdown, environmentTable, environmentWithout } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';

const table = 'src/environment.ts';
const known = new Set<string>(environmentTable.map(({ name }) => name));

const files = ['src', 'native', 'assembly', 'test']
  .flatMap((top) =>
    readdirSync(join(packageRoot, top), { recursive: true, encoding: 'utf8' }).map((file) =>
      `${top}/${file}`.replaceAll('\\', '/'),
    ),
  )
  .filter((file) => /\.(ts|mjs|cpp|h|cu|cuh|cmake|py)$|CMakeLists\.txt$/.test(file))
  .filter((file) => !/node_modules|\/generated\/|\.d\.ts$/.test(file) && file !== 'test/unit/environment.test.ts')
  .concat('CMakeLists.txt');

/** Every way in which a name reaches the environment, in TypeScript, plain JavaScript, C++, CMake and Python. */
const uses = [
  /\benvironment\(\s*'(\w+)'/g,
  /\benvironmentWithout\(([^)]*)\)/g,
  /\bprocess\??\.env\??\.(\w+)/g,
  /\bprocess\??\.env(?:\?\.)?\[\s*['"](\w+)['"]/g,
  /\bisSet\('(\w+)'\)/g,
  /\bgetenv\(\s*"(\w+)"/g,
  /\$ENV\{(\w+)\}/g,
  /\b(?:os\.environ(?:\.get\(|\[)|os\.getenv\()\s*['"](\w+)['"]/g,
  /['"](\w+)['"] in process\.env/g,
];

t.test('every variable that is read stands in the table, and every row of the table is read', async (t) => {
  const found = new Set<string>();
  for (const file of files) {
    if (file === table) continue;
    const text = readFileSync(join(packageRoot, file), 'utf8');
    for (const pattern of uses) {
      for (const [use, names] of text.matchAll(pattern)) {
        for (const name of names!.match(/\w+/g) ?? []) {
          found.add(name);
          if (!known.has(name)) t.fail(`${file}: ${use} is not in ${table}`);
        }
      }
    }
  }
  // CMake itself reads CUDACXX.
  for (const name of known) t.ok(found.has(name), `${name} is read somewhere`);
});

t.test('nothing is read past the table', async (t) => {
  for (const file of files) {
    const text = readFileSync(join(packageRoot, file), 'utf8');
    if (file.startsWith('src/') && file.endsWith('.ts') && file !== table) {
      const past = /.*\bprocess\??\.env\b.*|.*\.env\('.*/.exec(text);
      if (past !== null) t.fail(`${file}: ${past[0].trim()}`);
    } else if (file.startsWith('test/') && file.endsWith('.ts')) {
      // A test sets variables and hands all of them on; it reads them as everybody else does.
      // A name in a variable has the type of the table's names.
      const rest = text.replaceAll(
        /delete process\.env(\.\w+|\[\w+\])|process\.env(\.\w+|\[\w+\]) = |['"]\w+['"] in process\.env/g,
        '',
      );
      const past = /.*\bprocess\.env[.[].*/.exec(rest);
      if (past !== null) t.fail(`${file}: ${past[0].trim()}`);
    }
  }
});

t.test('an empty variable is an absent one; variables can be kept from a program', async (t) => {
  process.env.VERSEMI_DATA = '';
  t.equal(environment('VERSEMI_DATA'), undefined);
  process.env.VERSEMI_DATA = 'here';
  t.equal(environment('VERSEMI_DATA'), 'here');
  const { VERSEMI_DATA, ...others } = environmentWithout();
  t.equal(VERSEMI_DATA, 'here');
  t.same(environmentWithout('VERSEMI_DATA'), others);
  delete process.env.VERSEMI_DATA;
});

t.test('the document is the table', async (t) => {
  const text = readFileSync(join(packageRoot, 'docs', 'environment.md'), 'utf8');
  t.equal(text, `# Environment variables\n\n${environmentMarkdown()}`, 'docs/README.md says how to write it anew');
});
