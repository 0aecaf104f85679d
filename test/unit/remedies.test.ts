// Options that texts of the program name exist where the texts are shown: on the command that the text names, else on a command
// that can show it, because its file imports the text's.
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { Command } from 'commander';
import t from 'tap';
import { packageRoot } from '../../src/root.js';

const read = (file: string) => readFileSync(join(packageRoot, file), 'utf8');
const sources = readdirSync(join(packageRoot, 'src'), { recursive: true, encoding: 'utf8' })
  .map((file) => posix.join('src', file.replaceAll('\\', '/')))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'));

/** Files that a file imports, by any number of steps, and the file itself. */
function reached(file: string): Set<string> {
  const seen = new Set([file]);
  for (const one of seen)
    for (const [, target] of read(one).matchAll(/(?:\bfrom|\bimport|\bimport\s*\()\s*['"](\.[^'"]+)\.js['"]/g)) {
      const path = `${posix.join(posix.dirname(one), target!)}.ts`;
      if (sources.includes(path)) seen.add(path);
    }
  return seen;
}

const verbs = [...read('src/cli/main.ts').matchAll(/^ {2}(\w+): async \(\) => \(await import\('\.\/(\w+)\.js'\)\)/gm)];
const commands = await Promise.all(
  verbs.map(async ([, verb, file]) => {
    const program = new Command();
    const module = (await import(`../../src/cli/${file}.js`)) as Record<string, (program: Command) => void>;
    module[`add${verb![0]!.toUpperCase()}${verb!.slice(1)}`]!(program);
    const options = program.commands[0]!.options.map(({ long }) => long);
    return { verb: verb!, options: [...options, '--help'], files: reached(`src/cli/${file}.ts`) };
  }),
);

/** Texts in quotes or backticks, without comments. */
function texts(file: string): string[] {
  const code = read(file).replaceAll(/^\s*(\/\/|\/?\*).*$/gm, '');
  return [...code.matchAll(/'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`/g)].map(
    ([, ...parts]) => parts.find((part) => part !== undefined)!,
  );
}

/** Options in a text, each with the commands that the text names for it. */
function optionsIn(text: string): { option: string; named: string[] }[] {
  const found: { option: string; named: string[] }[] = [];
  for (const part of text.split(/(?<=[.;)])\s|\n/)) {
    // What stands between a launcher of MPI and versemi belongs to the launcher.
    const sentence = part.replaceAll(/\b(?:mpirun|srun)(?: (?!versemi)[-\w.:=$"{}/]+)*/g, '');
    if (/\b(npm|node|Node|SBATCH)\b |NODE_OPTIONS|var\(--|<[a-z]/.test(sentence)) continue;
    for (const [option] of sentence.matchAll(/(?<![\w-])--[a-z][a-z-]*[a-z](?![a-z]*:)/g)) {
      const before = sentence.slice(0, sentence.indexOf(option)).match(/versemi ([a-z]+)(?!.*versemi)/)?.[1];
      const after = sentence
        .slice(sentence.indexOf(option))
        .match(/of versemi ((?:[a-z]+(?:, | and | or )?)+)/)?.[1]
        ?.split(/, | and | or /)
        .filter((word) => commands.some(({ verb }) => verb === word));
      found.push({ option, named: after ?? (before === undefined ? [] : [before]) });
    }
  }
  return found;
}

t.test('options that texts name exist where they are shown', async (t) => {
  t.equal(commands.length, 14);
  let count = 0;
  for (const file of sources) {
    // Arguments that are passed on to other programs; the program itself, which has --help and --version only.
    if (/^src\/bench\/|^src\/cli\/main\.ts$|^src\/(environment|root)\.ts$/.test(file)) continue;
    for (const text of texts(file)) {
      for (const { option, named } of optionsIn(text)) {
        count++;
        const showing = commands.filter(({ verb, files }) =>
          named.length > 0 ? named.includes(verb) : files.has(file),
        );
        const lacking = showing.filter(({ options }) => !options.includes(option)).map(({ verb }) => verb);
        const ok = named.length > 0 ? lacking.length === 0 && showing.length > 0 : lacking.length < showing.length;
        t.ok(ok, `${file}: ${option} exists on ${named.join(', ') || showing.map(({ verb }) => verb).join(' or ')}`);
      }
    }
  }
  t.ok(count > 40, `${count} options were found`);
});

t.test('what this test would find', async (t) => {
  t.same(optionsIn('Say it (--channel).'), [{ option: '--channel', named: [] }]);
  t.same(optionsIn('Use --keys IMAGE,LABEL of versemi plan and predict, or rename it.'), [
    { option: '--keys', named: ['plan', 'predict'] },
  ]);
  t.same(optionsIn('Say srun --mpi=pmix versemi train plan.json --out FOLDER.'), [
    { option: '--out', named: ['train'] },
  ]);
  t.same(optionsIn('Run versemi train plan.json --resume.'), [{ option: '--resume', named: ['train'] }]);
});
