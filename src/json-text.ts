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

/**
 * A value from JSON as people and programs write it: with or without a byte order mark, in UTF-8 or, as PowerShell writes it,
 * in UTF-16.
 * @throws an error of `source.code` with line and column when it is not JSON, or nested too deeply
 */
export function parseJson(content: string | Uint8Array, source: JsonSource): unknown {
  const text = (typeof content === 'string' ? content : decoded(content)).replace(/^\uFEFF/, '');
  const wrong = (place: string | undefined, expected: string, found: string, cause?: unknown) =>
    new VersemiError(
      source.code,
      {
        ...(source.file === undefined ? {} : { file: source.file }),
        ...(source.field === undefined && place === undefined
          ? {}
          : { field: [source.field, place].filter((part) => part !== undefined).join(', ') }),
        expected,
        found,
        remedy: 'Mend the syntax at that place.',
      },
      cause,
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const { message } = error as Error;
    throw wrong(lineAndColumn(text, errorPosition(text, message)), 'valid JSON', message, error);
  }
  if (nesting(value, deepestNesting) > deepestNesting)
    throw wrong(undefined, `JSON of at most ${deepestNesting} levels`, 'lists or objects nested deeper');
  return value;
}

function decoded(bytes: Uint8Array): string {
  const utf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  return new TextDecoder(!utf16 ? 'utf-8' : bytes[0] === 0xff ? 'utf-16le' : 'utf-16be').decode(bytes);
}

/** Where the parser stopped. It does not always say so: then the shortest beginning that is wrong by itself is looked for. */
function errorPosition(text: string, message: string): number {
  const stated = /position (\d+)/.exec(message)?.[1];
  if (stated !== undefined) return Number(stated);
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

/** Levels of lists and objects, counted no further than one beyond `most`. */
function nesting(value: unknown, most: number): number {
  let level: object[] = isContainer(value) ? [value] : [];
  let levels = 0;
  while (level.length > 0 && levels <= most) {
    levels++;
    level = level.flatMap((container) => Object.values(container).filter(isContainer));
  }
  return levels;
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
  if (Array.isArray(value)) return `[${value.slice(0, mostEntries).map(inner).join(',')}]`;
  const entries = Object.entries(value).slice(0, mostEntries);
  return `{${entries.map(([key, one]) => `${inner(key)}:${inner(one)}`).join(',')}}`;
}
