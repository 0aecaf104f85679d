import type { EvaluatedCase } from '../inference/evaluate.js';

/** One line per case and task, RFC 4180; undefined metrics are empty cells. */
export function casesToCsv(cases: readonly EvaluatedCase[]): string {
  const columns = [...new Set(cases.flatMap((row) => Object.keys(row)))];
  const rows = cases.map((row) => new Map<string, string | number | null>(Object.entries(row)));
  const lines = [columns, ...rows.map((row) => columns.map((column) => row.get(column) ?? ''))];
  return `${lines.map((line) => line.map(cell).join(',')).join('\r\n')}\r\n`;
}

function cell(value: number | string): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
