// What is shown on a terminal: names as they are, nothing that a terminal obeys or that turns text round.
import t from 'tap';
import { VersemiError } from '../../src/errors.js';
import { visible, visibleJson, visibleName } from '../../src/visible-text.js';

const code = (from: number, to = from) =>
  Array.from({ length: to - from + 1 }, (_, i) => String.fromCodePoint(from + i));

/** Every character that no terminal may see raw. */
const obeyed = [
  ...code(0, 8),
  ...code(11, 31),
  ...code(0x7f, 0x9f),
  ...['\u061c', '\u200b', '\u200e', '\u200f', '\ufeff', '\u{e0041}'],
  ...code(0x2028, 0x202e),
  ...code(0x2066, 0x2069),
];

t.test('what a terminal obeys is written out', async (t) => {
  for (const letter of obeyed) {
    const name = letter.codePointAt(0)!.toString(16);
    t.match(visible(`a${letter}b`), /^a\\(x[0-9a-f]{2}|u\{[0-9a-f]+\})b$/, name);
    t.match(visibleName(`a${letter}b`), /^a\\(x[0-9a-f]{2}|u\{[0-9a-f]+\})b$/, name);
    const json = JSON.stringify({ [letter]: letter });
    t.same(JSON.parse(visibleJson(json)), JSON.parse(json), `${name} in JSON`);
    t.notOk(visibleJson(json).includes(letter), name);
  }
  t.equal(visible('\u001b[31mred\u001b[0m'), '\\x1b[31mred\\x1b[0m');
  t.equal(visible('scan\u202egz.iin'), 'scan\\u{202e}gz.iin');
});

t.test('other text stays as it is', async (t) => {
  for (const text of ['', 'a b', 'Müller 太郎 نور می\u200cشود 👩\u200d⚕️', '— ± × ━', 'C:\\scans\\a.nii.gz']) {
    t.equal(visible(text), text);
    t.equal(visibleName(text), text);
  }
  t.equal(visible('two\nlines\tand a tab'), 'two\nlines\tand a tab');
  t.equal(visibleName('two\nlines\tand a tab'), 'two\\nlines\\tand a tab', 'a name stays on its line');
});

t.test('errors show names and values so', async (t) => {
  const { message, details } = new VersemiError('FILE_CORRUPT', {
    file: 'a\nVERSEMI_X: all is well\u001b[2K',
    field: 'b\u202ec',
    expected: 'd\u009b',
    found: `e\u0007${'x'.repeat(10_000)}`,
  });
  t.notOk(obeyed.some((letter) => message.includes(letter)));
  t.notMatch(message, /\n/);
  t.ok(message.length < 5000, 'and cuts what is long');
  t.equal(details.field, 'b\u202ec', 'the details are as they were given');
});
