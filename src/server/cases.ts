import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { type OpenDatasetOptions, openDataset } from '../datasets/dataset.js';
import { channelIndex, imageOf } from '../datasets/load-case.js';
import { readVolume, writeNifti } from '../datasets/read-volume.js';
import { type SavedLabel, type SaveLabelOptions, saveLabel, unknownCase } from '../datasets/save-label.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { VersemiError } from '../errors.js';
import { fileNameOf } from '../file-name.js';
import type { FileAnswer } from './answers.js';

/** Files that hold a whole image and that a page reads. */
const wholeFile = /\.(nii|nii\.gz|nrrd|mha)$/i;

/** The dataset folder that the server was started with. It is opened anew for each request, as others may change it. */
export class ServedDataset {
  /** One label is saved at a time: dataset.json is read, changed and written. */
  private saving: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly path: string,
    private readonly options: OpenDatasetOptions,
    readonly name: string,
  ) {}

  /** @throws VERSEMI_USAGE, and what `openDataset` throws */
  static async open(path: string, options: OpenDatasetOptions = {}): Promise<ServedDataset> {
    const facts = await stat(path).catch(() => undefined);
    if (facts?.isFile() && basename(path) !== 'dataset.json') {
      throw new VersemiError('USAGE', {
        field: '--data',
        expected: 'a folder, or its dataset.json',
        found: path,
        remedy: 'Give the folder of the dataset.',
      });
    }
    const { name } = await openDataset(path, options);
    return new ServedDataset(resolve(path), options, name);
  }

  read(): Promise<Dataset> {
    return openDataset(this.path, this.options);
  }

  /** A case, test cases included. @throws VERSEMI_REQUEST_UNKNOWN */
  async case(id: string): Promise<{ readonly dataset: Dataset; readonly files: CaseFiles }> {
    const dataset = await this.read();
    const files = [...dataset.cases, ...dataset.test].find((one) => one.id === id);
    if (files === undefined) throw unknownCase(dataset, id);
    return { dataset, files };
  }

  /**
   * The image of a case as one file that a page can read: its own, or, where it is HDF5, a pair or a folder, a copy as NIfTI.
   * @param channel modality by index or name
   * @param folder where the copy goes
   */
  async image(id: string, channel: string, folder: () => Promise<string>): Promise<FileAnswer> {
    const { dataset, files } = await this.case(id);
    const index = channelIndex(dataset, /^\d+$/.test(channel) ? Number(channel) : channel);
    const { file, ...how } = imageOf(dataset, files, index);
    // One volume of several is cut out; a channel of a single volume is the file itself.
    const whole = wholeFile.test(file) && (files.channels !== undefined || dataset.modalities.length === 1);
    if (whole) return { path: file, name: basename(file) };
    const path = join(await folder(), 'image.nii.gz');
    await writeNifti(path, await readVolume(file, how));
    return { path, name: fileNameOf(`${id}.nii.gz`) };
  }

  /** @throws what `saveLabel` throws */
  save(id: string, source: string, options: SaveLabelOptions): Promise<SavedLabel> {
    const saved = this.saving.then(async () => {
      const done = await saveLabel(await this.read(), id, source, options);
      const { files } = await this.case(id);
      // The readers of the layout find it, or this is not the place for it.
      if (files.label !== done.file)
        throw new VersemiError('INTERNAL', {
          file: done.file,
          expected: 'the label of the case',
          found: `${files.label}`,
        });
      return done;
    });
    this.saving = saved.catch(() => {});
    return saved;
  }
}
