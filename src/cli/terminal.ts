import { stripVTControlCharacters } from 'node:util';
import { writeError } from '../atomic-file.js';
import { environment } from '../environment.js';
import { visible, visibleJson } from '../visible-text.js';
import { pipeClosed } from './interrupt.js';

export { formatDuration } from '../duration-text.js';

/**
 * What commands write with: results go to stdout, everything else to stderr, so that pipes stay clean. Texts hold names from files:
 * what a terminal would obey is written out.
 */
export interface Terminal {
  /** A result for people (nothing with --json). */
  print(text: string): void;
  /** The result for machines; the only thing on stdout with --json. */
  printJson(value: unknown): void;
  /** One event of many, as a line of JSON (with --json). */
  printEvent(value: unknown): void;
  /** A remark on the way (nothing with -q). */
  note(text: string): void;
  /** A remark that a log must have, also with -q. */
  warn(text: string): void;
  /** Replaces the last status line on a terminal; elsewhere nothing. */
  status(text: string): void;
  readonly interactive: boolean;
  readonly quiet: boolean;
  readonly json: boolean;
}

export interface TerminalOptions {
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** The first failure to write a result, other than a closed pipe. */
let lostOutput: Error | undefined;

/**
 * Streams tell of failures by events, and an event that nobody hears ends the program. A closed pipe ends the command in its
 * own way; what else befalls stdout (a full disk) is told at the end, so that files are written first. Where stderr fails there is
 * nobody to tell.
 */
export function watchStreams(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') pipeClosed();
      else if (stream === process.stdout) lostOutput ??= error;
    });
  }
}

/** @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED when a result did not reach stdout */
export async function assertPrinted(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve)); // failures arrive after the call that writes
  if (lostOutput !== undefined) throw writeError('standard output', lostOutput);
}

/** Whether the cursor stands behind a status line. */
let statusShown = false;

/** Leaves the last status line where it is: what is written next begins a line of its own. */
export function leaveStatus(): void {
  if (statusShown) process.stderr.write('\n');
  statusShown = false;
}

export function createTerminal({ quiet = false, json = false }: TerminalOptions): Terminal {
  const interactive = process.stderr.isTTY === true && !quiet && environment('TERM') !== 'dumb';
  const clearStatus = () => {
    if (statusShown) process.stderr.write('\r\u001b[K');
    statusShown = false;
  };
  const tell = (text: string) => {
    clearStatus();
    process.stderr.write(`${visible(text)}\n`);
  };
  return {
    interactive,
    quiet,
    json,
    print(text) {
      clearStatus();
      if (!json) process.stdout.write(`${visible(text)}\n`);
    },
    printJson(value) {
      clearStatus();
      if (json) process.stdout.write(`${visibleJson(JSON.stringify(value, null, 2))}\n`);
    },
    printEvent(value) {
      clearStatus();
      if (json) process.stdout.write(`${visibleJson(JSON.stringify(value))}\n`);
    },
    note(text) {
      if (!quiet) tell(text);
    },
    warn: tell,
    status(text) {
      if (!interactive) return;
      const width = process.stderr.columns ?? 80;
      process.stderr.write(`\r${clip(visible(text), width - 1)}\u001b[K`);
      statusShown = true;
    },
  };
}

function clip(text: string, width: number): string {
  return stripVTControlCharacters(text).length <= width
    ? text
    : `${stripVTControlCharacters(text).slice(0, width - 1)}…`;
}

/** A table with aligned columns; numbers (and the headings above them) to the right. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const numeric = head.map(
    (_, i) => rows.length > 0 && rows.every((row) => /^([-+]?[\d.]+( ± [\d.]+)?|–|)( ?[%×])?$/.test(row[i] ?? '')),
  );
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

/** Names and values, indented, without a heading. */
export function factLines(rows: readonly (readonly string[])[]): string {
  const lines = formatTable(['', ''], rows).split('\n').slice(2);
  return lines.map((line) => `  ${line}`).join('\n');
}

/** "━━━━────" with `width` characters. */
export function progressBar(fraction: number, width = 24): string {
  const filled = Math.round(Math.max(0, Math.min(1, fraction)) * width);
  return '━'.repeat(filled) + '─'.repeat(width - filled);
}
