/**
 * Names that become names of files. Ids of cases and names of tasks come from files of others, and what is written on one system
 * is copied to another: what Windows refuses in a name is written as %XX everywhere, so that one case has one name. No `node:`
 * import.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const refused = /[<>:"/\\|?*\u0000-\u001f\u007f-\u009f]|%(?=[\da-f]{2})/gi;

/** Names of devices, with or without an ending: `con`, `aux.nii`. */
const device = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)/i;

/**
 * A name as a file on any system can have it: different names stay different.
 * @param name without a folder; not empty
 */
export function fileNameOf(name: string): string {
  const percent = (letter: string) => `%${letter.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
  return (
    name
      .replaceAll(refused, percent)
      .replace(device, (word) => percent(word[0]!) + word.slice(1))
      // Windows drops dots and blanks at the end.
      .replace(/[. ]$/, percent)
  );
}
