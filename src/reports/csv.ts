import { parse, stringify } from '#csv';
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
  return stringify(rows, {
    record_delimiter: '\r\n',
    // A line break of one character would end a line for some readers.
    quoted_match: /[\r\n]/,
    // The library's own guard (escape_formulas) cannot be undone in reading, and turns "-1" into text.
    cast: { string: (text) => (formula.test(text) && !plainNumber.test(text) ? `'${text}` : text) },
  });
}

/**
 * Rows of a CSV text, as {@link csvText} was given them, but every cell as text.
 * @param file named in error sentences
 * @throws VERSEMI_FILE_CORRUPT naming the line where quotes do not fit together
 */
export function csvRows(text: string, file: string): string[][] {
  try {
    return parse(text, {
      bom: true,
      record_delimiter: ['\r\n', '\n'],
      relax_column_count: true,
      cast: (cell) => (cell.startsWith("'") ? cell.slice(1) : cell),
    });
  } catch (error) {
    const { message, records } = error as Error & { readonly records?: number };
    throw new VersemiError(
      'FILE_CORRUPT',
      {
        file,
        // The rows before it; the library's own line number is where it gave up, which may be the end of the file.
        ...(records === undefined ? {} : { field: `line ${records + 1}` }),
        expected: 'cells with both quotes or none',
        found: message.slice(0, 200),
        remedy: 'Write the table again.',
      },
      error,
    );
  }
}
