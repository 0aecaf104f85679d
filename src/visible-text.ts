/**
 * Text from files and names as a terminal, a page or a message may show it. Control characters would be obeyed by a terminal; marks of
 * direction turn the text round them, so that "gpj.exe" looks like another name; both are written out instead.
 */

/** Control characters but tab and line feed, marks and overrides of direction, line separators, and characters that are not seen. */
const unseen =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Line feeds and tabs stay; every other character that is obeyed or not seen becomes `\xNN` or `\u{NNNN}`. */
export function visible(text: string): string {
  return text.replace(unseen, (letter) => {
    const code = letter.codePointAt(0)!.toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u{${code}}`;
  });
}

/** As {@link visible}, for what stands on one line: a name, a path. */
export function visibleName(text: string): string {
  return visible(text).replaceAll('\n', '\\n').replaceAll('\t', '\\t');
}

/** JSON text whose strings are visible; it stands for the same value. */
export function visibleJson(json: string): string {
  return json.replace(unseen, (letter) =>
    Array.from({ length: letter.length }, (_, i) => `\\u${letter.charCodeAt(i).toString(16).padStart(4, '0')}`).join(
      '',
    ),
  );
}
