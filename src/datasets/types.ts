import type { Scan } from '../scans/scan.js';
import type { Triple, Volume } from '../volume/volume.js';
import type { SeriesFiles } from './dicom/read-series.js';
import type { Hdf5Keys } from './hdf5-keys.js';
import type { Region } from './label-meanings.js';

/** How a folder is organised: `auto`, or the name of a layout, see `layouts.ts`. */
export type DatasetFormat = 'auto' | 'decathlon' | 'nnunet' | 'hdf5' | 'images' | 'dicom' | (string & {});

/** Where the files of one case are: a case before anything is read. */
export interface CaseFiles {
  readonly id: string;
  /** Image file; for several modalities in files of their own, the first of `channels`. */
  readonly image: string;
  /** One file per modality, in the order of `Dataset.modalities`; absent when all are in `image`. */
  readonly channels?: readonly string[];
  /** Label file; absent for an unlabelled case. The same as `image` in HDF5 files that hold both. */
  readonly label?: string;
  /** DICOM: which files in `image`, a folder or a zip file, are the case. */
  readonly series?: SeriesFiles;
}

/** A dataset after its folder has been looked at, and before any voxel is read. */
export interface Dataset {
  readonly name: string;
  readonly folder: string;
  readonly format: DatasetFormat;
  /** Label value -> name, 0 is the background. */
  readonly labels: Readonly<Record<number, string>>;
  /** Voxels with this value of the label map are unknown, and count neither in training nor in metrics. */
  readonly ignoredLabel?: number;
  /** Sets of label values of which each is a task, where the dataset describes such. */
  readonly regions?: readonly Region[];
  /** False when nothing on disk names the labels: `labels` is then a guess, and other values are let through. */
  readonly labelsDeclared: boolean;
  readonly modalities: readonly string[];
  /** Cases for training and validation. */
  readonly cases: readonly CaseFiles[];
  /** Cases that the dataset itself sets apart for testing; never used for training or for choosing a model. */
  readonly test: readonly CaseFiles[];
  /** Spacing of files that store none (HDF5). */
  readonly spacingMm?: Triple;
  /** Names of the arrays of HDF5 files, where they were given. */
  readonly keys?: Hdf5Keys;
  /** Files in the folder that belong to no case. */
  readonly leftOut?: readonly LeftOut[];
  /** What a person should know of the cases. */
  readonly remarks?: readonly string[];
  /** DICOM: true where dataset.json says which structure lies on which; else structures must not overlap. */
  readonly labelsOrdered?: boolean;
  readonly description?: string;
  readonly licence?: string;
  readonly reference?: string;
}

/** A file, or a folder of files, that is used for nothing. */
export interface LeftOut {
  readonly file: string;
  readonly reason: string;
}

/** Cases of a dataset as a reader of one form finds them. */
export interface DatasetCases
  extends Pick<Dataset, 'cases' | 'test' | 'leftOut' | 'remarks' | 'labelsOrdered'>,
    Partial<
      Pick<
        Dataset,
        | 'labels'
        | 'labelsDeclared'
        | 'modalities'
        | 'ignoredLabel'
        | 'regions'
        | 'spacingMm'
        | 'description'
        | 'licence'
        | 'reference'
      >
    > {}

/** How a reader of one form takes what a description says. */
export interface ReadCasesOptions {
  /** The description may name files outside of the folder. */
  readonly filesOutside: boolean;
  /** Cases whose files are missing are kept: reading them fails. */
  readonly lenient: boolean;
}

/** A case that has been read and checked: all voxels finite, image and label in canonical orientation (RAS+). */
export interface LoadedCase<Image extends Volume<Float32Array> | Scan = Volume<Float32Array>> {
  readonly id: string;
  /** A `Scan`, whose voxels stay as they are in the file, takes less memory than a volume. */
  readonly image: Image;
  /** Label values [z, y, x], on the same voxels as the image; absent for an unlabelled case. */
  readonly label?: Volume<Uint8Array>;
  /** Voxels of `label` with this value do not count. */
  readonly ignoredLabel?: number;
}
