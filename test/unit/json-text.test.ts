// JSON from elsewhere: what is too deep or too much is refused before memory is taken for it.
import { performance } from 'node:perf_hooks';
import t from 'tap';
import { parseJson, shown } from '../../src/json-text.js';
import { failure } from './datasets-support.js';

const parse = (text: string) => parseJson(text, { file: 'a.json', code: 'PLAN_INVALID' });
const refused = (text: string) => failure(() => parse(text), 'PLAN_INVALID');

t.test('nesting: a hundred levels, whatever brackets stand in strings', async (t) => {
  const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  t.ok(Array.isArray(parse(nested(100))));
  for (const text of [nested(101), nested(500_000), '['.repeat(500_000), '{"a":'.repeat(200_000)])
    t.match((await refused(text)).details.expected, /100 levels/);
  const brackets = { a: '['.repeat(500), '\\"{[': '\\\\"[[[', b: ['"', '\\', '[{'] };
  t.same(parse(JSON.stringify(brackets)), brackets);
  t.same(
    parse(`[${'[],'.repeat(1000)}[]]`),
    Array.from({ length: 1001 }, () => []),
    'beside each other',
  );
});

t.test('values: two million, refused at once', async (t) => {
  for (const text of [`[${'{},'.repeat(3e6)}{}]`, `{${'"a":0,'.repeat(3e6)}"b":0}`, `[${'0,'.repeat(3e6)}x]`]) {
    const [started, before] = [performance.now(), process.memoryUsage().heapUsed];
    t.match((await refused(text)).details.expected, /2000000 values/);
    t.ok(performance.now() - started < 5000);
    t.ok(process.memoryUsage().heapUsed - before < 2e8);
  }
  t.equal((parse(`[${'0,'.repeat(1_000_000)}0]`) as unknown[]).length, 1_000_001);
});

t.test('a long text that is wrong is not searched for long', async (t) => {
  const started = performance.now();
  const { details } = await refused(`["${'a'.repeat(5e7)}", x]`);
  t.match(details.expected, 'valid JSON');
  t.ok(performance.now() - started < 5000);
  t.match((await refused('{"a": 1,\n "b": x}')).details.field, 'line 2, column 7');
});

t.test('values in error sentences are short, whatever they are', async (t) => {
  const deep = parse(`${'{"a":'.repeat(99)}1${'}'.repeat(99)}`);
  for (const value of [
    deep,
    { toString: 1 },
    { toJSON: 1 },
    JSON.parse('{"__proto__": {"x": 1}}'),
    Object.create(null),
    ['x'.repeat(1e6)],
  ])
    t.ok(shown(value).length <= 80);
});
