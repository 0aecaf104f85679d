// What a reader may hand back: a result, or a coded error that a terminal and a person can read.
import { isVersemiError } from '../../src/errors.js';
import { pageAssets } from '../../src/reports/assets.js';

/** Characters that a terminal obeys or that turn text around; line breaks and tabs stay. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const obeyed = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const longestMessage = 40_000;

/** Why an error is none that a person should see; undefined for a good one. */
export function faultOf(error: unknown): string | undefined {
  if (!isVersemiError(error)) return `no coded error: ${text(error)}`;
  if (error.code === 'VERSEMI_INTERNAL') return `an internal error: ${error.message}`;
  if (error.message.length > longestMessage) return `a message of ${error.message.length} characters`;
  if (obeyed.test(error.message)) return `a message with control characters: ${JSON.stringify(error.message)}`;
  return undefined;
}

function text(error: unknown): string {
  if (error instanceof Error) return (error.stack ?? `${error.name}: ${error.message}`).slice(0, 3000);
  try {
    return String(error).slice(0, 3000);
  } catch {
    return typeof error;
  }
}

/** Elements and attributes that a report is made of. */
const tags =
  /^\/?(html|head|meta|title|style|body|header|main|nav|section|a|h1|h2|h3|p|table|caption|thead|tbody|tr|th|td|small|div|span|figure|figcaption|img|button|ul|li)$/;
const attributes =
  /^(lang|charset|name|content|http-equiv|class|id|href|role|scope|type|aria-label|aria-labelledby|alt|src|data-(run|dataset|case|task|plots))$/;

/** @throws when a page holds anything but what a report is made of */
export function assertHarmlessPage(page: string): void {
  if (!page.includes('http-equiv="Content-Security-Policy"')) throw new Error('a page without a policy');
  const { script, style } = pageAssets();
  for (const [name, own] of [
    ['script', script],
    ['style', style],
  ] as const)
    if (page.split(`<${name}>${own}</${name}>`).length !== 2) throw new Error(`not its own ${name}, once`);
  const markup = page
    .replace(/^<!doctype html>/, '')
    .replace(`<style>${style}</style>`, () => '')
    .replace(`<script>${script}</script>`, () => '')
    .replaceAll(
      /<script type="application\/json" id="(page-data|slices-\d+)">([^<]*)<\/script>/g,
      (_, id: string, text: string) => {
        try {
          JSON.parse(text);
        } catch (error) {
          throw new Error(`${id} is no JSON`, { cause: error });
        }
        return '';
      },
    );
  for (const [, tag, rest] of markup.matchAll(/<([^\s>]*)([^>]*)>/g)) {
    if (!tags.test(tag!)) throw new Error(`an element <${tag}> in a report`);
    for (const [, name, value] of rest!.matchAll(/([^\s=]+)(?:="([^"]*)")?/g)) {
      if (!attributes.test(name!) && name !== '/') throw new Error(`an attribute ${name} in a report`);
      if (name === 'src' && !value!.startsWith('data:image/png;base64,'))
        throw new Error(`a source ${value} in a report`);
      if (name === 'href' && !/^#[a-z]+$/.test(value!)) throw new Error(`a link to ${value} in a report`);
      if (name === 'type' && value !== 'button') throw new Error(`an element of the type ${value} in a report`);
    }
  }
}
