import { headerBytes, inflateBytes, isGzip } from '../src/datasets/inflate-bytes.js';
import { readVolumeBytes } from '../src/datasets/nifti-bytes.js';
import { parseNiftiHeader } from '../src/datasets/nifti-header.js';
import type { UnscaledVolume } from '../src/datasets/nifti-read.js';
import { isRaster, namedDataFiles, rasterFacts, readRaster } from '../src/datasets/raster-read.js';
import { asRaster, baseName, besideName, bytesOf, missingBeside, type PageFile } from './page-file.js';

/** A volume in files of its own format, which is read when it is asked for. */
export interface VolumeFile {
  /** Path of the file, of the header where the voxels are in another one. */
  readonly path: string;
  /** Name of the format, for people. */
  readonly format: 'NIfTI' | 'NRRD' | 'MetaImage';
  /** How many 3-D volumes it holds, as far as its header can be read. */
  readonly volumes: number;
  /**
   * Voxels as stored, in stored orientation.
   * @param channel which volume of several
   * @throws as the readers of the formats, VERSEMI_FILE_NOT_FOUND
   */
  read(channel?: number): Promise<UnscaledVolume>;
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
      volumes.push({
        ...{ path: name, format: 'NIfTI', volumes: await niftiVolumes(file) },
        read: async (channel) => readVolumeBytes(await bytesOf(file), { name, ...chosen(channel) }),
      });
    } else if (/\.hdr(\.gz)?$/i.test(name)) {
      const img = files.find((other) => isImgOf(other.name, name));
      taken.add(file);
      if (img !== undefined) taken.add(img);
      volumes.push({
        ...{ path: name, format: 'NIfTI', volumes: await niftiVolumes(file) },
        read: (channel) => readPair(file, img, channel),
      });
    } else if (isRaster(name)) {
      const raster = asRaster(file, byName);
      taken.add(file);
      // A header that cannot be read is told of when its volume is opened.
      for (const data of await namedDataFiles(raster).catch(() => [])) {
        const found = byName.get(besideName(name, data));
        if (found !== undefined) taken.add(found);
      }
      const format = /\.(nrrd|nhdr)$/i.test(name) ? 'NRRD' : 'MetaImage';
      const facts = await rasterFacts(raster).catch(() => ({ volumes: 1 }));
      volumes.push({
        ...{ path: name, format, volumes: facts.volumes },
        read: (channel) => readRaster(raster, chosen(channel)),
      });
    }
  }
  return { volumes, rest: files.filter((file) => !taken.has(file)) };
}

function isImgOf(name: string, header: string): boolean {
  const ending = pairEnding.exec(name);
  const base = header.replace(pairEnding, '');
  return ending !== null && /img/i.test(ending[1]!) && name.slice(0, ending.index) === base;
}

function chosen(channel: number | undefined): { readonly channel?: number } {
  return channel === undefined ? {} : { channel };
}

/** Enough of a file for its header, compressed or not. */
const startBytes = 8192;

/** 1 where the header cannot be read, which is told of when the volume is opened. */
async function niftiVolumes(file: PageFile): Promise<number> {
  try {
    const start = await file.range(0, startBytes);
    const header = isGzip(start) ? await inflateBytes(start, headerBytes, file.name) : start;
    return parseNiftiHeader(header, file.name).volumes;
  } catch {
    return 1;
  }
}

async function readPair(
  header: PageFile,
  img: PageFile | undefined,
  channel: number | undefined,
): Promise<UnscaledVolume> {
  if (img === undefined) throw missingBeside(header.name, baseName(header.name.replace(/hdr(\.gz)?$/i, 'img')));
  return readVolumeBytes(await bytesOf(header), {
    ...{ name: header.name, ...chosen(channel) },
    img: { name: img.name, bytes: await bytesOf(img) },
  });
}
