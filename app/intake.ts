import { parseModel } from '../src/checkpoints/model-file.js';
import type { Plan } from '../src/config/plan.js';
import { type PlacedSeries, placeChosen, readPlaced } from '../src/datasets/dicom/placed.js';
import { type DicomContents, readContents, type Series } from '../src/datasets/dicom/series.js';
import type { UnscaledVolume } from '../src/datasets/nifti-read.js';
import { asDicom, baseName, bytesOf, type PageFile, unpacked } from './page-file.js';
import type { GivenFile, Intake, ModelEntry, ScanEntry } from './protocol.js';
import { type VolumeFile, volumeFiles } from './volume-files.js';

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

export interface KnownModel extends ModelEntry {
  readonly plan: Plan;
  bytes(): Promise<Uint8Array>;
}

/** Longer lists of volumes are of headers that are damaged. */
const mostVolumes = 5000;

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
    const isModel = ({ name }: PageFile) => /\.safetensors$/i.test(name);
    const models: KnownModel[] = [];
    for (const file of files.filter(isModel)) models.push(await this.model(file));
    const { volumes, rest } = await volumeFiles(files.filter((file) => !isModel(file)));
    const contents = await readContents(rest.map(asDicom));
    const scans = [
      ...volumes.flatMap((volume) => this.volumeScans(volume)),
      ...contents.series.map((series) => this.dicomScan(contents, series)),
    ];
    this.scans.push(...scans);
    this.models.push(...models);
    return {
      scans: scans.map(({ id, name, facts }) => ({ id, name, facts })),
      models: models.map(({ id, name, tasks }) => ({ id, name, tasks })),
      notices: leftOut(contents),
    };
  }

  scan(id: number): KnownScan {
    return this.scans.find((scan) => scan.id === id)!;
  }

  knownModel(id: number): KnownModel {
    return this.models.find((model) => model.id === id)!;
  }

  /** A scan for each volume of a file. */
  private volumeScans({ path, format, volumes, read }: VolumeFile): KnownScan[] {
    const name = baseName(path);
    return Array.from({ length: Math.min(volumes, mostVolumes) }, (_, volume) => ({
      ...{ id: ++this.last, name },
      facts: volumes === 1 ? format : `${format} · volume ${volume + 1} of ${volumes}`,
      read: async () => ({ ...(await read(volumes === 1 ? undefined : volume)), name, notices: [] }),
    }));
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

  private async model(file: PageFile): Promise<KnownModel> {
    const { plan } = parseModel(await bytesOf(file), file.name);
    return {
      id: ++this.last,
      name: baseName(file.name).replace(/\.safetensors$/i, ''),
      plan,
      tasks: plan.tasks.map(({ name, dataset, color }) => ({
        ...{ name, dataset },
        ...(color === undefined ? {} : { colour: color }),
      })),
      bytes: () => bytesOf(file),
    };
  }
}

/** Files that no scan holds: what opening a series tells of them is said then, and not twice. */
function leftOut({ series, others, notDicom, refused, repeated }: DicomContents): string[] {
  const notices: string[] = [];
  if (series.length === 0 && refused.length > 0)
    notices.push(`${refused.length} images are left out: ${refused[0]!.error.message}`);
  if (series.length === 0 && repeated.length > 0)
    notices.push(`${repeated.length} files repeat an image and are left out.`);
  const labels = others.filter(({ kind }) => kind !== 'other').map(({ file }) => file.name);
  if (labels.length > 0)
    notices.push(
      `${listed(labels)}: to compare with outlines or segments, open their images and give them under Reference.`,
    );
  const unknown = notDicom.map(({ name }) => name);
  if (unknown.length > 0)
    notices.push(
      `Left out, as ${unknown.length === 1 ? 'it is' : 'they are'} neither a scan nor a model: ${listed(unknown)}. Scans are DICOM, NIfTI, NRRD, MetaImage or a zip of these; models are .safetensors.`,
    );
  return notices;
}

function listed(names: readonly string[]): string {
  return `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;
}
