// Bundles scripts and styles of a page with esbuild, and says which packages are inside.
import { mkdir, rm } from 'node:fs/promises';
import { build } from 'esbuild';

/**
 * @param root folder of versemi, to which paths in messages are relative
 * @param output folder that is emptied and filled
 * @param options of esbuild, beside those that every page has
 * @returns names of the packages of which something was bundled
 */
export async function bundlePage(root, output, options) {
  await rm(output, { recursive: true, force: true });
  await mkdir(output, { recursive: true });
  const { metafile } = await build({
    absWorkingDir: root,
    outdir: output,
    bundle: true,
    target: 'es2022',
    minify: true,
    // Licences are written where those who pass a page on find them: what is in comments of the sources is no whole list.
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
    ...options,
  });
  const packages = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name !== undefined) packages.add(name);
  }
  return packages;
}
