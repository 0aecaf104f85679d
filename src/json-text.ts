import { type ErrorCode, VersemiError } from './errors.js';

/** Where a JSON text comes from, and how what is wrong with it is reported. */
export interface JsonSource {
  readonly file?: string;
  /** Part of the file that the text is. */
  readonly field?: string;
  readonly code: ErrorCode;
}

/** No file of this project nests deeper; whoever walks a value may then do so recursively. */
const deepestNesting = 100;
/** No file of this project holds more; each takes some hundred bytes of memory, a hundred times what it takes as text. */
const mostValues = 2_000_000;
/** Where the parser does not say what is wrong, texts up to this length are searched for it. */
const longestSearched = 1 << 20;
const otherFile = 'Check that this is the file that you mean.';

/**
 * A value from JSON as people and programs write it: with or without a byte order mark, in UTF-8 or, as PowerShell writes it,
 * in UTF-16.
 * @throws an error of `source.code` with line and column when it is not JSON, and one when it is nested too deeply or holds too
 *   many values, before memory is taken for them
 */
export function parseJson(content: string | Uint8Array, source: JsonSource): unknown {
  const text = (typeof content === 'string' ? content : decoded(content)).replace(/^\uFEFF/, '');
  const wrong = (place: string | undefined, expected: string, found: string, remedy: string, cause?: unknown) =>
    new VersemiError(
      source.code,
      {
        ...(source.file === undefined ? {} : { file: source.file }),
        ...(source.field === undefined && place === undefined
          ? {}
          : { field: [source.field, place].filter((part) => part !== undefined).join(', ') }),
        expected,
        found,
        remedy,
      },
      cause,
    );
  const { levels, values } = extentOf(text);
  if (levels > deepestNesting)
    throw wrong(undefined, `JSON of at most ${deepestNesting} levels`, 'lists or objects nested deeper', otherFile);
  if (values > mostValues) throw wrong(undefined, `JSON of at most ${mostValues} values`, 'more', otherFile);
  try {
    return JSON.parse(text);
  } catch (error) {
    const { message } = error as Error;
    const position = errorPosition(text, message);
    const place = position === undefined ? undefined : lineAndColumn(text, position);
    throw wrong(place, 'valid JSON', message, 'Mend the syntax at that place.', error);
  }
}

function decoded(bytes: Uint8Array): string {
  const utf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  return new TextDecoder(!utf16 ? 'utf-8' : bytes[0] === 0xff ? 'utf-16le' : 'utf-16be').decode(bytes);
}

/** Where the parser stopped. It does not always say so: then the shortest beginning that is wrong by itself is looked for. */
function errorPosition(text: string, message: string): number | undefined {
  const stated = /position (\d+)/.exec(message)?.[1];
  if (stated !== undefined) return Number(stated);
  if (text.length > longestSearched) return undefined;
  let [right, wrong] = [0, text.length + 1];
  while (wrong - right > 1) {
    const middle = (right + wrong) >> 1;
    if (middle <= text.length && canGoOn(text.slice(0, middle))) right = middle;
    else wrong = middle;
  }
  return Math.min(right, text.length);
}

/** True when a text is JSON, or could be the beginning of some. */
function canGoOn(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as Error;
    const stated = /position (\d+)/.exec(message)?.[1];
    return stated === undefined ? /end of JSON|Unterminated/.test(message) : Number(stated) >= text.length;
  }
}

function lineAndColumn(text: string, position: number): string {
  const before = text.slice(0, position).split('\n');
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`;
}

/** Deepest level and number of values of a JSON text, counted no further than one beyond what is allowed. */
function extentOf(text: string): { readonly levels: number; readonly values: number } {
  let [level, levels, values] = [0, 0, 1];
  for (let at = 0; at < text.length; at++) {
    const letter = text.charCodeAt(at);
    if (letter === 0x22) at = endOfString(text, at);
    else if (letter === 0x2c) values++;
    else if (letter === 0x5b || letter === 0x7b) {
      values++;
      levels = Math.max(levels, ++level);
    } else if (letter === 0x5d || letter === 0x7d) level--;
    if (levels > deepestNesting || values > mostValues) break;
  }
  return { levels, values };
}

/** Position of the quote that ends the string beginning at `start`, or behind the end of the text. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === 0x5c) escapes++;
    if (escapes % 2 === 0) return end;
  }
  return text.length;
}

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return isContainer(value) && !Array.isArray(value);
}

/** Entries and levels of a value that an error sentence shows. */
const [mostEntries, mostLevels] = [20, 4];

/** A value for an error sentence: as JSON, so that text has its quotes, and cut where it is long. Never throws. */
export function shown(value: unknown, mostCharacters = 80): string {
  const text = written(value, mostCharacters, mostLevels);
  return text.length > mostCharacters ? `${text.slice(0, mostCharacters - 3)}...` : text;
}

function written(value: unknown, mostCharacters: number, levels: number): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, mostCharacters));
  if (!isContainer(value)) return String(value);
  if (levels === 0) return '...';
  const inner = (one: unknown) => written(one, mostCharacters, levels - 1);
  // All entries of a large array of bytes would fill the memory before the first are taken.
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (Array.isArray(value)) return `[${value.slice(0, mostEntries).map(inner).join(',')}]`;
  const entries = Object.entries(value).slice(0, mostEntries);
  return `{${entries.map(([key, one]) => `${inner(key)}:${inner(one)}`).join(',')}}`;
}
