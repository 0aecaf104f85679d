import { VersemiError } from '../errors.js';

/**
 * Comma-separated values (RFC 4180) that a spreadsheet takes for no formula: text that could be one begins with an apostrophe
 * (OWASP, "CSV injection"), and so does text that begins with an apostrophe, so that reading restores both. Numbers stay
 * numbers.
 */

export type Cell = string | number;

const formula = /^'|^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/;
const plainNumber = /^[+-]?\d+(\.\d*)?(e[+-]?\d+)?$/i;

/** Rows as text, each ended by a line break. */
export function csvText(rows: readonly (readonly Cell[])[]): string {
  return rows.map((row) => `${row.map(cellText).join(',')}\r\n`).join('');
}

function cellText(value: Cell): string {
  if (typeof value === 'number') return String(value);
  const text = formula.test(value) && !plainNumber.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Rows of a CSV text, as {@link csvText} was given them, but every cell as text.
 * @param file named in error sentences
 * @throws VERSEMI_FILE_CORRUPT naming the line where quotes do not fit together
 */
export function csvRows(text: string, file: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  // A cell and what ends it: in quotes, with quotes doubled, or as it is.
  const cell = /(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r\n|\n|$)/y;
  const end = text.length;
  for (let at = text.startsWith('\ufeff') ? 1 : 0; at < end; at = cell.lastIndex) {
    cell.lastIndex = at;
    const found = cell.exec(text);
    if (found === null) throw brokenQuotes(text, at, file);
    const [, quoted, plain, ending] = found;
    const content = quoted?.replaceAll('""', '"') ?? plain!;
    row.push(content.startsWith("'") ? content.slice(1) : content);
    if (ending === ',' && cell.lastIndex < end) continue;
    if (ending === ',') row.push('');
    rows.push(row);
    row = [];
  }
  return rows;
}

function brokenQuotes(text: string, at: number, file: string): VersemiError {
  return new VersemiError('FILE_CORRUPT', {
    file,
    field: `line ${text.slice(0, at).split('\n').length}`,
    expected: 'cells with both quotes or none',
    found: text.slice(at, at + 40),
    remedy: 'Write the table again.',
  });
}
