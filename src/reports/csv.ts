import type { CaseResult } from './types.js';

/** One line per case and task, RFC 4180; undefined metrics are empty cells. */
export function casesToCsv(cases: readonly CaseResult[]): string {
  const columns = [...new Set(cases.flatMap((row) => Object.keys(row)))];
  const lines = [columns, ...cases.map((row) => columns.map((column) => row[column] ?? ''))];
  return `${lines.map((line) => line.map(cell).join(',')).join('\r\n')}\r\n`;
}

function cell(value: number | string): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
