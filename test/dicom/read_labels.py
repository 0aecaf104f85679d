"""What pydicom finds in a segmentation and a structure set, as JSON. Run: python3 read_labels.py SEG RTSTRUCT"""
import json
import sys

import numpy
import pydicom

seg, rt = (pydicom.dcmread(path) for path in sys.argv[1:3])
pixels = seg.pixel_array.reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)
orientation = numpy.array(seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient, float)
step = float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices)
normal = numpy.cross(orientation[:3], orientation[3:])
segments, origin = {}, None
for index, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
    number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    # The second dimension counts planes of the source from 1; their places must agree with it.
    plane = frame.FrameContentSequence[0].DimensionIndexValues[1] - 1
    along = float(numpy.dot(numpy.array(frame.PlanePositionSequence[0].ImagePositionPatient, float), normal)) - plane * step
    origin = along if origin is None else origin
    assert abs(along - origin) < 1e-6, (along, origin)
    at = plane * seg.Rows * seg.Columns + numpy.flatnonzero(pixels[index])
    segments.setdefault(str(number), []).extend(int(i) for i in at)
for ds in (seg, rt):
    assert ds.SpecificCharacterSet == "ISO_IR 192"
contours = [c for roi in rt.ROIContourSequence if "ContourSequence" in roi for c in roi.ContourSequence]
assert all(len(c.ContourData) == 3 * c.NumberOfContourPoints for c in contours)
series = rt.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
assert len(series.ContourImageSequence) == len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence)
def coded(sequence):
    return [[c.CodeValue, c.CodingSchemeDesignator, c.CodeMeaning] for c in sequence]


json.dump(
    {
        "types": [coded(s.SegmentedPropertyCategoryCodeSequence) + coded(s.SegmentedPropertyTypeCodeSequence) for s in seg.SegmentSequence],
        "regions": [coded(o.get("RTROIIdentificationCodeSequence", [])) for o in rt.RTROIObservationsSequence],
        "segments": segments,
        "patient": [str(seg.PatientName), seg.PatientID, seg.StudyDate, seg.PatientSex, seg.AccessionNumber],
        "references": len(series.ContourImageSequence),
        "points": sum(c.NumberOfContourPoints for c in contours),
    },
    sys.stdout,
)
