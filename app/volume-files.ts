import { readVolumeBytes } from '../src/datasets/nifti-bytes.js';
import type { UnscaledVolume } from '../src/datasets/nifti-read.js';
import { isRaster, namedDataFiles, readRaster } from '../src/datasets/raster-read.js';
import { asRaster, baseName, besideName, bytesOf, missingBeside, type PageFile } from './page-file.js';

/** A volume in files of its own format, which is read when it is asked for. */
export interface VolumeFile {
  /** Path of the file, of the header where the voxels are in another one. */
  readonly path: string;
  /** Name of the format, for people. */
  readonly format: 'NIfTI' | 'NRRD' | 'MetaImage';
  /** Voxels as stored, in stored orientation. @throws as the readers of the formats, VERSEMI_FILE_NOT_FOUND */
  read(): Promise<UnscaledVolume>;
}

const pairEnding = /\.(hdr|img)(\.gz)?$/i;

/** Ending of the names that {@link volumeFiles} takes, for the names of what is saved. */
export const volumeEnding = /\.(nii|hdr)(\.gz)?$|(\.seg)?\.nrrd$|\.(nhdr|mha|mhd)$/i;

/**
 * The NIfTI, NRRD and MetaImage files among files that were given together.
 * @returns the volumes, and the files that are none and belong to none
 */
export async function volumeFiles(
  files: readonly PageFile[],
): Promise<{ readonly volumes: readonly VolumeFile[]; readonly rest: readonly PageFile[] }> {
  const byName = new Map(files.map((file) => [file.name, file]));
  const taken = new Set<PageFile>();
  const volumes: VolumeFile[] = [];
  for (const file of files) {
    const { name } = file;
    if (/\.nii(\.gz)?$/i.test(name)) {
      taken.add(file);
      volumes.push({ path: name, format: 'NIfTI', read: async () => readVolumeBytes(await bytesOf(file), { name }) });
    } else if (/\.hdr(\.gz)?$/i.test(name)) {
      const img = files.find((other) => isImgOf(other.name, name));
      taken.add(file);
      if (img !== undefined) taken.add(img);
      volumes.push({ path: name, format: 'NIfTI', read: () => readPair(file, img) });
    } else if (isRaster(name)) {
      const raster = asRaster(file, byName);
      taken.add(file);
      // A header that cannot be read is told of when its volume is opened.
      for (const data of await namedDataFiles(raster).catch(() => [])) {
        const found = byName.get(besideName(name, data));
        if (found !== undefined) taken.add(found);
      }
      const format = /\.(nrrd|nhdr)$/i.test(name) ? 'NRRD' : 'MetaImage';
      volumes.push({ path: name, format, read: () => readRaster(raster, {}) });
    }
  }
  return { volumes, rest: files.filter((file) => !taken.has(file)) };
}

function isImgOf(name: string, header: string): boolean {
  const ending = pairEnding.exec(name);
  const base = header.replace(pairEnding, '');
  return ending !== null && /img/i.test(ending[1]!) && name.slice(0, ending.index) === base;
}

async function readPair(header: PageFile, img: PageFile | undefined): Promise<UnscaledVolume> {
  if (img === undefined) throw missingBeside(header.name, baseName(header.name.replace(/hdr(\.gz)?$/i, 'img')));
  return readVolumeBytes(await bytesOf(header), {
    name: header.name,
    img: { name: img.name, bytes: await bytesOf(img) },
  });
}
