import { VersemiError } from '../../errors.js';
import type { Triple } from '../../volume/volume.js';
import {
  codeItem,
  type DerivedOptions,
  dateTime,
  decimal,
  derivedFrom,
  encodeDicom,
  type LabelledMask,
  lpsOf,
  newUid,
  references,
} from './derived.js';
import type { PlacedSeries } from './placed.js';

const code = (value: string, scheme: string, meaning: string) => codeItem({ scheme, value, meaning });

/**
 * A segmentation (SEG, PS3.3, A.51) with one segment per mask, one bit per voxel; planes without a voxel are left out. Patient data are
 * those of the source.
 * @returns the bytes of the file
 * @throws VERSEMI_VOLUME_INVALID when every mask is empty: a segmentation without planes cannot be written
 */
export async function encodeSegmentation(
  source: PlacedSeries,
  masks: readonly LabelledMask[],
  options: DerivedOptions,
): Promise<Uint8Array> {
  const { grid, series } = source;
  const [columns, rows, slices] = grid.sizeVoxels;
  const plane = columns * rows;
  const planes: { readonly segment: number; readonly slice: number }[] = [];
  for (const [i, { data }] of masks.entries())
    for (let slice = 0; slice < slices; slice++)
      if (data.subarray(slice * plane, (slice + 1) * plane).some((voxel) => voxel !== 0))
        planes.push({ segment: i + 1, slice });
  if (planes.length === 0) {
    throw new VersemiError('VOLUME_INVALID', {
      field: 'segmentation',
      expected: 'at least one voxel in one of the masks',
      found: `${masks.length} empty masks`,
      remedy: 'Write NIfTI masks, which can be empty.',
    });
  }
  const pixels = new Uint8Array(2 * Math.ceil((plane * planes.length) / 16));
  for (const [k, { segment, slice }] of planes.entries()) {
    const { data } = masks[segment - 1]!;
    for (let i = 0, bit = k * plane; i < plane; i++, bit++)
      if (data[slice * plane + i] !== 0) pixels[bit >> 3]! |= 1 << (bit & 7);
  }
  const { date, time } = dateTime(options.date ?? new Date());
  const [first] = grid.frames;
  const dimensions = newUid();
  const base = await derivedFrom(source, options);
  return encodeDicom({
    ...base,
    FrameOfReferenceUID: base.FrameOfReferenceUID ?? newUid(),
    PositionReferenceIndicator: '',
    SOPClassUID: '1.2.840.10008.5.1.4.1.1.66.4',
    Modality: 'SEG',
    SeriesDescription: `${options.model} segments`.slice(0, 64),
    ImageType: ['DERIVED', 'PRIMARY'],
    ContentDate: date,
    ContentTime: time,
    ContentLabel: 'VERSEMI',
    ContentDescription: options.model.slice(0, 64),
    ContentCreatorName: '',
    SamplesPerPixel: 1,
    PhotometricInterpretation: 'MONOCHROME2',
    NumberOfFrames: planes.length,
    Rows: rows,
    Columns: columns,
    BitsAllocated: 1,
    BitsStored: 1,
    HighBit: 0,
    PixelRepresentation: 0,
    LossyImageCompression: isLossy(source) ? '01' : '00',
    SegmentationType: 'BINARY',
    SegmentSequence: masks.map(({ name, colour, code: type, category }, i) => ({
      SegmentNumber: i + 1,
      SegmentLabel: name.slice(0, 64),
      SegmentAlgorithmType: 'AUTOMATIC',
      SegmentAlgorithmName: `versemi ${options.version}`.slice(0, 64),
      SegmentedPropertyCategoryCodeSequence: [
        category === undefined ? code('91723000', 'SCT', 'Anatomical Structure') : codeItem(category),
      ],
      SegmentedPropertyTypeCodeSequence: [type === undefined ? code('85756007', 'SCT', 'Tissue') : codeItem(type)],
      RecommendedDisplayCIELabValue: cieLab(colour),
    })),
    DimensionOrganizationSequence: [{ DimensionOrganizationUID: dimensions }],
    DimensionIndexSequence: [
      {
        DimensionOrganizationUID: dimensions,
        DimensionIndexPointer: 0x0062000b,
        FunctionalGroupPointer: 0x0062000a,
        DimensionDescriptionLabel: 'ReferencedSegmentNumber',
      },
      {
        DimensionOrganizationUID: dimensions,
        DimensionIndexPointer: 0x00200032,
        FunctionalGroupPointer: 0x00209113,
        DimensionDescriptionLabel: 'ImagePositionPatient',
      },
    ],
    ReferencedSeriesSequence: [{ SeriesInstanceUID: series.uid, ReferencedInstanceSequence: references(source) }],
    SharedFunctionalGroupsSequence: [
      {
        PlaneOrientationSequence: [{ ImageOrientationPatient: first!.orientation.map(decimal) }],
        PixelMeasuresSequence: [
          {
            SliceThickness: decimal(betweenSlicesMm(source)),
            SpacingBetweenSlices: decimal(betweenSlicesMm(source)),
            PixelSpacing: first!.spacingMm.map(decimal),
          },
        ],
      },
    ],
    PerFrameFunctionalGroupsSequence: planes.map(({ segment, slice }) => {
      const { instance, index } = grid.frames[slice]!;
      return {
        DerivationImageSequence: [
          {
            DerivationCodeSequence: [code('113076', 'DCM', 'Segmentation')],
            SourceImageSequence: [
              {
                ReferencedSOPClassUID: instance.sopClassUid,
                ReferencedSOPInstanceUID: instance.sopInstanceUid,
                ...(instance.numberOfFrames > 1 ? { ReferencedFrameNumber: index + 1 } : {}),
                PurposeOfReferenceCodeSequence: [code('121322', 'DCM', 'Source image for image processing operation')],
              },
            ],
          },
        ],
        FrameContentSequence: [{ DimensionIndexValues: [segment, slice + 1] }],
        PlanePositionSequence: [{ ImagePositionPatient: lpsOf(grid.affine, 0, 0, slice).map(decimal) }],
        SegmentIdentificationSequence: [{ ReferencedSegmentNumber: segment }],
      };
    }),
    PixelData: pixels.buffer,
    _vrMap: { PixelData: 'OB' },
  });
}

/** Distance of neighbouring planes along their normal. */
function betweenSlicesMm({ grid }: PlacedSeries): number {
  const { affine, tiltDegrees } = grid;
  return Math.hypot(affine[2]!, affine[6]!, affine[10]!) * Math.cos((tiltDegrees * Math.PI) / 180);
}

/** Lossy transfer syntaxes of images leave their mark on what is derived from them. */
function isLossy({ grid }: PlacedSeries): boolean {
  return grid.frames.some(({ instance }) => /\.4\.(50|51|81|91|203)$/.test(instance.pixels.transferSyntax));
}

/** sRGB to CIELab (D50) in the units of DICOM, 0 to 65535 (PS3.3, C.10.7.1.1). */
export function cieLab(colour: Triple): number[] {
  const linear = colour.map((value) => {
    const c = value / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  // Matrix of sRGB to XYZ, adapted to D50 (Bradford), with the white point of D50.
  const rows = [
    [0.4360747, 0.3850649, 0.1430804],
    [0.2225045, 0.7168786, 0.0606169],
    [0.0139322, 0.0971045, 0.7141733],
  ];
  const white = [0.9642, 1, 0.8251];
  const [fx, fy, fz] = rows.map((row, i) => {
    const t = row.reduce((sum, weight, j) => sum + weight * linear[j]!, 0) / white[i]!;
    return t > 216 / 24389 ? Math.cbrt(t) : (24389 / 27 / 116) * t + 16 / 116;
  }) as [number, number, number];
  const [l, a, b] = [116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)];
  const clamp = (value: number) => Math.max(0, Math.min(65535, Math.round(value)));
  return [clamp((l / 100) * 65535), clamp(((a + 128) / 255) * 65535), clamp(((b + 128) / 255) * 65535)];
}
