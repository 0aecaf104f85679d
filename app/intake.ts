import { parseModel } from '../src/checkpoints/model-file.js';
import { type DicomFile, dicomStartBytes, isDicom, withMeta } from '../src/datasets/dicom/elements.js';
import { type PlacedSeries, placeChosen, readPlaced } from '../src/datasets/dicom/placed.js';
import { type DicomContents, readContents, type Series } from '../src/datasets/dicom/series.js';
import { zipFiles } from '../src/datasets/dicom/zip.js';
import { readVolumeBytes } from '../src/datasets/nifti-bytes.js';
import type { UnscaledVolume } from '../src/datasets/nifti-read.js';
import { isZip } from '../src/datasets/zip.js';
import type { GivenFile, Intake, ModelEntry, ScanEntry } from './protocol.js';

/** A scan that was opened: its voxels in stored orientation, and for DICOM what SEG and RTSTRUCT refer to. */
export interface ReadScan extends UnscaledVolume {
  readonly name: string;
  readonly modality?: string;
  readonly placed?: PlacedSeries;
  readonly notices: readonly string[];
}

interface KnownScan extends ScanEntry {
  read(): Promise<ReadScan>;
}

interface KnownModel extends ModelEntry {
  bytes(): Promise<Uint8Array>;
}

const isNiftiName = (name: string) => /\.nii(\.gz)?$/i.test(name);

/** What was dropped so far. Bytes of scans are read when a scan is opened, not before. */
export class Given {
  private readonly scans: KnownScan[] = [];
  private readonly models: KnownModel[] = [];
  private last = 0;

  /**
   * Sorts files into scans and models, and adds them to those that are there.
   * @throws VERSEMI_FILE_CORRUPT and others where a model or a DICOM file is damaged
   */
  async take(given: readonly GivenFile[]): Promise<Intake> {
    const files = (await Promise.all(given.map(unpacked))).flat();
    const notices: string[] = [];
    const scans: KnownScan[] = [];
    const models: KnownModel[] = [];
    const rest: DicomFile[] = [];
    for (const file of files) {
      if (/\.safetensors$/i.test(file.name)) models.push(await this.model(file));
      else if (isNiftiName(file.name)) scans.push(this.niftiScan(file));
      else rest.push(file);
    }
    const contents = await readContents(rest);
    scans.push(...contents.series.map((series) => this.dicomScan(contents, series)));
    if (contents.repeated.length > 0)
      notices.push(`${contents.repeated.length} files repeat an image and are left out.`);
    if (contents.refused.length > 0)
      notices.push(`${contents.refused.length} images are left out: ${contents.refused[0]!.error.message}`);
    const unknown = contents.notDicom.map(({ name }) => name);
    if (unknown.length > 0)
      notices.push(
        `Left out, as ${unknown.length === 1 ? 'it is' : 'they are'} neither a scan nor a model: ${unknown.slice(0, 3).join(', ')}${unknown.length > 3 ? ` and ${unknown.length - 3} more` : ''}. Scans are DICOM, NIfTI (.nii, .nii.gz) or a zip of these; models are .safetensors.`,
      );
    this.scans.push(...scans);
    this.models.push(...models);
    return {
      scans: scans.map(({ id, name, facts }) => ({ id, name, facts })),
      models: models.map(({ id, name, tasks }) => ({ id, name, tasks })),
      notices,
    };
  }

  scan(id: number): KnownScan {
    return this.scans.find((scan) => scan.id === id)!;
  }

  knownModel(id: number): KnownModel {
    return this.models.find((model) => model.id === id)!;
  }

  private niftiScan(file: DicomFile): KnownScan {
    const name = baseName(file.name);
    return {
      id: ++this.last,
      name,
      facts: 'NIfTI',
      read: async () => ({ ...(await readVolumeBytes(await file.bytes(), { name: file.name })), name, notices: [] }),
    };
  }

  private dicomScan(contents: DicomContents, series: Series): KnownScan {
    const { modality, description, columns, rows, frames, number } = series;
    const name = description === '' ? `Series ${number ?? 'without description'}` : description;
    return {
      id: ++this.last,
      name,
      facts: `${modality} · ${columns} × ${rows} × ${frames.length}${number === undefined ? '' : ` · series ${number}`}`,
      read: async () => {
        const { placed, ...unscaled } = await readPlaced(placeChosen(series, contents), name);
        return { ...unscaled, placed, name, modality, notices: placed.notices };
      },
    };
  }

  private async model(file: DicomFile): Promise<KnownModel> {
    const { tasks } = parseModel(await file.bytes(), file.name);
    return {
      id: ++this.last,
      name: baseName(file.name).replace(/\.safetensors$/i, ''),
      tasks: tasks.map(({ name, dataset }) => ({ name, dataset })),
      bytes: file.bytes,
    };
  }
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** A file as the readers take it; a zip file as the files in it. */
export async function unpacked({ name, blob }: GivenFile): Promise<DicomFile[]> {
  const range = async (start: number, length: number) =>
    new Uint8Array(await blob.slice(start, start + length).arrayBuffer());
  const start = await range(0, dicomStartBytes);
  const whole = () => range(0, blob.size);
  if (isZip(start) && !isDicom(start)) return zipFiles(name, await whole());
  const head = async (most: number) => ({ bytes: await range(0, most), sizeBytes: blob.size });
  return [withMeta({ name, head, range, bytes: whole })];
}
