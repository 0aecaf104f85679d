import { VersemiError } from '../errors.js';
import type { EvaluatedCase } from '../inference/evaluate.js';
import { shown } from '../json-text.js';
import { csvRows, csvText } from './csv.js';

/** Columns that are text; all others are numbers, or empty where a metric is undefined. */
const textColumns = ['id', 'dataset', 'task'];

/** One line per case and task; undefined metrics are empty cells. What a spreadsheet would take for a formula is made harmless. */
export function casesToCsv(cases: readonly EvaluatedCase[]): string {
  const columns = [...new Set(cases.flatMap((row) => Object.keys(row)))];
  const rows = cases.map((row) => new Map<string, string | number | null>(Object.entries(row)));
  return csvText([columns, ...rows.map((row) => columns.map((column) => row.get(column) ?? ''))]);
}

/**
 * Reads what {@link casesToCsv} wrote.
 * @param file named in error sentences
 * @throws VERSEMI_FILE_CORRUPT naming line and column
 */
export function casesFromCsv(text: string, file: string): EvaluatedCase[] {
  const [columns = [], ...rows] = csvRows(text, file);
  const wrong = (line: number, column: string, expected: string, found: unknown) =>
    new VersemiError('FILE_CORRUPT', {
      file,
      field: `line ${line}, ${column}`,
      expected,
      found: shown(found),
      remedy: 'Evaluate again, or mend the table at that place.',
    });
  const missing = textColumns.find((name) => !columns.includes(name));
  if (missing !== undefined) throw wrong(1, missing, 'a column of this name', columns);
  if (new Set(columns).size < columns.length) throw wrong(1, 'names of columns', 'each once', columns);
  return rows.map((row, i) => {
    if (row.length !== columns.length) throw wrong(i + 2, 'cells', `${columns.length}, one per column`, row.length);
    const entries = columns.map((column, k) => {
      const cell = row[k]!;
      if (textColumns.includes(column)) return [column, cell] as const;
      const value = cell === '' ? null : Number(cell);
      if (value !== null && (cell.trim() !== cell || !Number.isFinite(value)))
        throw wrong(i + 2, column, 'a number, or nothing', cell);
      return [column, value] as const;
    });
    return Object.fromEntries(entries) as unknown as EvaluatedCase;
  });
}
