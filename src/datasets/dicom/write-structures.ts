import { outlinesOf } from './contours.js';
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

/**
 * A structure set (RTSTRUCT, PS3.3, A.19) with one region per mask, whose outlines run along the edges of voxels. Holes are joined to their
 * outlines. Patient data are those of the source.
 * @returns the bytes of the file
 */
export async function encodeStructureSet(
  source: PlacedSeries,
  masks: readonly LabelledMask[],
  options: DerivedOptions,
): Promise<Uint8Array> {
  const { grid, series } = source;
  const [columns, rows] = grid.sizeVoxels;
  const { date, time } = dateTime(options.date ?? new Date());
  const base = await derivedFrom(source, options);
  const frameOfReference = (base.FrameOfReferenceUID as string | undefined) ?? newUid();
  const { SeriesDate: _, SeriesTime: __, ...natural } = base;
  const contours = masks.map(({ data }) =>
    grid.frames.flatMap(({ instance, index }, z) => {
      const outlines = outlinesOf(data.subarray(z * columns * rows, (z + 1) * columns * rows), columns, rows);
      return outlines.map((outline) => {
        const points: string[] = [];
        for (let i = 0; i < outline.length; i += 2)
          points.push(...lpsOf(grid.affine, outline[i]!, outline[i + 1]!, z).map(decimal));
        return {
          ContourImageSequence: [
            {
              ReferencedSOPClassUID: instance.sopClassUid,
              ReferencedSOPInstanceUID: instance.sopInstanceUid,
              ...(instance.numberOfFrames > 1 ? { ReferencedFrameNumber: index + 1 } : {}),
            },
          ],
          ContourGeometricType: 'CLOSED_PLANAR',
          NumberOfContourPoints: points.length / 3,
          ContourData: points,
        };
      });
    }),
  );
  return encodeDicom({
    ...natural,
    FrameOfReferenceUID: frameOfReference,
    PositionReferenceIndicator: '',
    SOPClassUID: '1.2.840.10008.5.1.4.1.1.481.3',
    Modality: 'RTSTRUCT',
    SeriesDescription: `${options.model} outlines`.slice(0, 64),
    OperatorsName: '',
    InstanceCreationDate: date,
    InstanceCreationTime: time,
    StructureSetLabel: 'versemi',
    StructureSetName: options.model.slice(0, 64),
    StructureSetDate: date,
    StructureSetTime: time,
    ReferencedFrameOfReferenceSequence: [
      {
        FrameOfReferenceUID: frameOfReference,
        RTReferencedStudySequence: [
          {
            // Detached Study Management, retired, is what the field asks for all the same.
            ReferencedSOPClassUID: '1.2.840.10008.3.1.2.3.1',
            ReferencedSOPInstanceUID: series.studyUid,
            RTReferencedSeriesSequence: [{ SeriesInstanceUID: series.uid, ContourImageSequence: references(source) }],
          },
        ],
      },
    ],
    StructureSetROISequence: masks.map(({ name }, i) => ({
      ROINumber: i + 1,
      ReferencedFrameOfReferenceUID: frameOfReference,
      ROIName: name.slice(0, 64),
      ROIGenerationAlgorithm: 'AUTOMATIC',
      ROIGenerationDescription: `versemi ${options.version}`.slice(0, 64),
    })),
    ROIContourSequence: masks.map(({ colour }, i) => ({
      ReferencedROINumber: i + 1,
      ROIDisplayColor: [...colour],
      // A region without a voxel has no sequence of contours.
      ...(contours[i]!.length === 0 ? {} : { ContourSequence: contours[i] }),
    })),
    RTROIObservationsSequence: masks.map(({ code }, i) => ({
      ObservationNumber: i + 1,
      ReferencedROINumber: i + 1,
      ...(code === undefined ? {} : { RTROIIdentificationCodeSequence: [codeItem(code)] }),
      RTROIInterpretedType: '',
      ROIInterpreter: '',
    })),
    ApprovalStatus: 'UNAPPROVED',
  });
}
