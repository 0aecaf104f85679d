// The licences of packages and of all that they depend on, as texts.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What a package only needs to be compiled or typed is not inside a bundle. */
const leftOut = /^(@types\/|@webgpu\/types|node-fetch)/;

/** @returns the licence's text of one package: its file, else the section of its README; Apache-2.0 is versemi's own LICENSE */
async function textOf(folder, manifest) {
  const files = (await readdir(folder)).filter((file) => /^(licen[cs]e|copying|notice)(\.|$)/i.test(file)).sort();
  if (files.length > 0)
    return (await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')))).join('\n').trim();
  if (manifest.license === 'Apache-2.0') return 'The text of the Apache License 2.0 is in the file LICENSE of versemi.';
  const readme = await readFile(join(folder, 'README.md'), 'utf8').catch(() => '');
  const section = /\n#*\s*licen[cs]e[^\n]*\n([\s\S]*)/i.exec(readme)?.[1]?.trim();
  if (section === undefined || !/copyright/i.test(section))
    throw new Error(`${manifest.name}: no text of a licence was found`);
  return section;
}

/**
 * @param names packages
 * @param folderOf where a package lies
 * @returns name, version, kind and text of the licence of each package and of what each depends on, sorted by name
 */
export async function licenceTexts(names, folderOf) {
  const found = new Map();
  const visit = async (name) => {
    if (found.has(name) || leftOut.test(name)) return;
    const folder = folderOf(name);
    const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    found.set(name, null);
    found.set(name, {
      name,
      version: manifest.version,
      licence: manifest.license,
      text: await textOf(folder, manifest),
    });
    for (const dependency of Object.keys(manifest.dependencies ?? {})) await visit(dependency);
  };
  for (const name of names) await visit(name);
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
