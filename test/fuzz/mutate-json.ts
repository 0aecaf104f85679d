// JSON that is almost right: the tree of a good text with some of its parts exchanged, as text, so that keys may repeat.
import type { RandomStream } from '../../src/random.js';
import { few, mutatedBytes, once, pick } from './mutate.js';

/** A value on its way to text. Objects keep their keys in order, twice where they occur twice; `raw` is text as it is. */
type Node =
  | { readonly kind: 'raw'; text: string }
  | { readonly kind: 'list'; items: Node[] }
  | { readonly kind: 'object'; entries: [key: string, value: Node][] };

const raw = (text: string): Node => ({ kind: 'raw', text });

function nodeOf(value: unknown): Node {
  if (Array.isArray(value)) return { kind: 'list', items: value.map(nodeOf) };
  if (typeof value !== 'object' || value === null) return raw(JSON.stringify(value) ?? 'null');
  return { kind: 'object', entries: Object.entries(value).map(([key, one]) => [key, nodeOf(one)]) };
}

function textOf(node: Node): string {
  if (node.kind === 'raw') return node.text;
  if (node.kind === 'list') return `[${node.items.map(textOf).join(',')}]`;
  return `{${node.entries.map(([key, value]) => `${JSON.stringify(key)}:${textOf(value)}`).join(',')}}`;
}

const oddStrings = [
  ...['', ' ', '.', '..', '../../../etc/passwd', '/dev/zero', '/etc/passwd', 'a/b', 'a\\b', 'con', '\u0000', 'a\nb'],
  ...['\u001b[2J\u001b[31mred', '\u009b31m', '\u202eevil', '\u2066x\u2069', '\u2028', '\ud800', '\ufeff', '🫀'],
  ...[
    '=1+1',
    '+1',
    '-1',
    '@SUM(A1)',
    '\tx',
    "'x",
    '"',
    "'",
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
  ],
  ...[
    '</style><script>alert(1)</script>',
    '&lt;',
    'javascript:alert(1)',
    '1',
    '0',
    '4294967294',
    '4294967295',
    '-1',
    '1e3',
  ],
  ...[
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    'length',
    'valueOf',
    'all',
    'rest',
    'none',
  ],
];

const oddTexts = [
  ...['null', 'true', 'false', '[]', '{}', '0', '-0', '1', '-1', '0.5', '3', '255', '256', '1e9', '4294967295', '1e21'],
  ...[
    '9007199254740993',
    '1e308',
    '-1e308',
    '1e400',
    '-1e400',
    '5e-324',
    '1e-7',
    '[[]]',
    '[null]',
    '[1,2,3]',
    '[0,0,0]',
  ],
  ...[
    '{"toString":1}',
    '{"__proto__":{"x":1}}',
    '{"constructor":{"prototype":{}}}',
    '{"length":4294967295}',
    '{"then":1}',
  ],
  ...[
    '{"valueOf":null,"toString":null}',
    '[1e999]',
    '{"0":0}',
    '{"toJSON":1}',
    'NaN',
    'undefined',
    "'x'",
    '{',
    ']',
    '"',
  ],
];

const nested = (open: string, close: string, levels: number) => `${open.repeat(levels)}0${close.repeat(levels)}`;

function oddNode(random: RandomStream): Node {
  if (once(random, 60)) return raw(JSON.stringify('k'.repeat(1 + random.integer(3_000_000))));
  if (once(random, 40)) {
    const levels = pick(random, [50, 99, 100, 101, 1000, 20_000, 200_000]);
    return raw(once(random, 2) ? nested('[', ']', levels) : nested('{"a":', '}', levels));
  }
  if (once(random, 60)) return raw(`[${'0,'.repeat(random.integer(200_000))}0]`);
  return once(random, 2) ? raw(JSON.stringify(pick(random, oddStrings))) : raw(pick(random, oddTexts));
}

function oddKey(random: RandomStream): string {
  return once(random, 60) ? 'k'.repeat(1 + random.integer(2_000_000)) : pick(random, oddStrings);
}

/** Every list and object of a tree. */
function containers(node: Node): Exclude<Node, { kind: 'raw' }>[] {
  if (node.kind === 'raw') return [];
  const inner = node.kind === 'list' ? node.items : node.entries.map(([, value]) => value);
  return [node, ...inner.flatMap(containers)];
}

function mutateList(items: Node[], random: RandomStream): void {
  const at = random.integer(Math.max(1, items.length));
  const kind = random.integer(6);
  if (kind <= 2 && items.length > 0) items[at] = oddNode(random);
  else if (kind === 3) items.splice(at, 1);
  else if (kind === 4 && items.length > 0) items.push(items[at]!);
  else items.splice(at, 0, oddNode(random));
}

function mutateObject(entries: [string, Node][], random: RandomStream): void {
  const at = random.integer(Math.max(1, entries.length));
  const entry = entries[at];
  const kind = random.integer(8);
  if (kind <= 3 && entry !== undefined) entry[1] = oddNode(random);
  else if (kind === 4) entries.splice(at, 1);
  else if (kind === 5 && entry !== undefined) entry[0] = oddKey(random);
  else if (kind === 6 && entry !== undefined) entries.push([entry[0], entries[random.integer(entries.length)]![1]]);
  else entries.splice(at, 0, [oddKey(random), oddNode(random)]);
}

/** A good value as text, with faults in its tree, and now and then in its bytes. */
export function mutatedJson(value: unknown, random: RandomStream): Uint8Array {
  const tree = nodeOf(value);
  // A single text or number holds no other: all of it is replaced.
  if (tree.kind === 'raw') return encoded(textOf(oddNode(random)), random);
  for (let faults = few(random); faults > 0; faults--) {
    const target = pick(random, containers(tree));
    if (target.kind === 'list') mutateList(target.items, random);
    else mutateObject(target.entries, random);
  }
  return encoded(once(random, 50) ? textOf(oddNode(random)) : textOf(tree), random);
}

/** As programs of several systems write text. */
function encoded(text: string, random: RandomStream): Uint8Array {
  if (once(random, 30)) return Buffer.concat([Buffer.of(0xff, 0xfe), Buffer.from(text, 'utf16le')]);
  const bytes = Buffer.from(once(random, 30) ? `\ufeff${text}` : text);
  return once(random, 12) ? mutatedBytes(bytes, random) : bytes;
}

/** Lines of JSON, some of them changed, lost, repeated, joined or cut. */
export function mutatedJsonLines(values: readonly unknown[], random: RandomStream): Uint8Array {
  const lines: Uint8Array[] = values.map((value) => Buffer.from(JSON.stringify(value)));
  for (let faults = few(random); faults > 0; faults--) {
    const at = random.integer(lines.length);
    const kind = random.integer(8);
    if (kind <= 4) lines[at] = mutatedJson(values[at % values.length], random);
    else if (kind === 5 && lines.length > 1) lines.splice(at, 1);
    else if (kind === 6) lines.push(lines[at]!);
    else lines.splice(at, 0, Buffer.from(pick(random, oddTexts)));
  }
  const text = Buffer.concat(lines.flatMap((line) => [line, Buffer.from('\n')]));
  return once(random, 12) ? mutatedBytes(text, random) : text;
}
