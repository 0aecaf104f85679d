"""Writes small DICOM datasets into a folder, by pydicom, and their voxels and label maps as expected.json.

Run: python3 make_datasets.py FOLDER   (Debian: python3-pydicom)
Every series is a CT of SIZE voxels; structures are boxes in voxels, so that what is inside is known without a reader of outlines.
"""
import json
import os
import sys
import zipfile

import numpy
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

out = sys.argv[1]
SIZE = (20, 18, 12)  # columns, rows, slices
SPACING = (0.8, 1.1, 2.0)  # between columns, rows, slices
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
expected = {}


class Series:
    def __init__(self, seed, study=None, frame=None, modality="CT", tilt=0.0, number=1, slices=SIZE[2]):
        self.uid, self.study, self.frame = generate_uid(), study or generate_uid(), frame or generate_uid()
        self.seed, self.modality, self.number, self.slices = seed, modality, number, slices
        # Tilted: each slice lies further to the back than the one below it.
        self.step = numpy.array([0.0, tilt, SPACING[2]])

    def voxels(self, z):
        y, x = numpy.mgrid[0 : SIZE[1], 0 : SIZE[0]]
        return ((x * 7 + y * 13 + z * 31 + self.seed * 101) % 1000 - 500).astype(numpy.int16)

    def place(self, x, y, z):
        return numpy.array([-30.0, 12.5, 100.0]) + numpy.array([x * SPACING[0], y * SPACING[1], 0]) + z * self.step

    def base(self, sop_class, modality):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.is_little_endian, ds.is_implicit_VR = True, False
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
        ds.PatientName, ds.PatientID = "Secret^Name", "secret"
        ds.StudyInstanceUID, ds.FrameOfReferenceUID, ds.Modality = self.study, self.frame, modality
        return ds

    def write(self, folder, change=lambda ds, z: None):
        os.makedirs(os.path.join(out, folder), exist_ok=True)
        for z in range(self.slices):
            ds = self.base(MR if self.modality == "MR" else CT, self.modality)
            ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = self.uid, self.number, z + 1
            ds.SeriesDescription = "Secret description"
            ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.ImagePositionPatient = [float(v) for v in self.place(0, 0, z)]
            ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            ds.PixelSpacing, ds.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.Rows, ds.Columns = SIZE[1], SIZE[0]
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
            ds.RescaleSlope, ds.RescaleIntercept = 1, 0
            ds.PixelData = self.voxels(z).tobytes()
            if change(ds, z) is not False:
                ds.save_as(os.path.join(out, folder, f"{self.number}_{(z * 5) % 13:02d}"), write_like_original=False)
        return self

    def structures(self, path, boxes, by="series"):
        """boxes: name -> (x0, y0, z0, x1, y1, z1) in voxels, ends not included; None: a structure without outlines."""
        ds = self.base("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT")
        ds.SeriesInstanceUID, ds.StructureSetLabel = generate_uid(), "outlines"
        del ds.FrameOfReferenceUID
        rois, contours = [], []
        for number, (name, box) in enumerate(boxes, 1):
            roi, whole, items = Dataset(), Dataset(), []
            roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, self.frame
            for z in range(box[2], box[5]) if box else []:
                contour = Dataset()
                corners = [(box[0], box[1]), (box[3], box[1]), (box[3], box[4]), (box[0], box[4])]
                points = [float(v) for x, y in corners for v in self.place(x - 0.5, y - 0.5, z)]
                contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
                contour.ContourData = [round(v, 6) for v in points]
                items.append(contour)
            whole.ReferencedROINumber, whole.ContourSequence = number, Sequence(items)
            rois.append(roi)
            contours.append(whole)
        ds.StructureSetROISequence, ds.ROIContourSequence = Sequence(rois), Sequence(contours)
        if by != "nothing":
            reference, study, series = Dataset(), Dataset(), Dataset()
            series.SeriesInstanceUID = self.uid if by == "series" else generate_uid()
            study.RTReferencedSeriesSequence = Sequence([series])
            reference.FrameOfReferenceUID = generate_uid() if by == "stranger" else self.frame
            reference.RTReferencedStudySequence = Sequence([study])
            ds.ReferencedFrameOfReferenceSequence = Sequence([reference])
        os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
        ds.save_as(os.path.join(out, path), write_like_original=False)
        return self

    def segments(self, path, boxes):
        ds = self.base("1.2.840.10008.5.1.4.1.1.66.4", "SEG")
        ds.SeriesInstanceUID, ds.SegmentationType = generate_uid(), "BINARY"
        ds.Rows, ds.Columns = SIZE[1], SIZE[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
        segments, groups, planes = [], [], []
        for number, (name, box) in enumerate(boxes, 1):
            segment = Dataset()
            segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = number, name, "MANUAL"
            segments.append(segment)
            for z in range(box[2], box[5]):
                frame, position, identification = Dataset(), Dataset(), Dataset()
                position.ImagePositionPatient = [float(v) for v in self.place(0, 0, z)]
                identification.ReferencedSegmentNumber = number
                frame.PlanePositionSequence, frame.SegmentIdentificationSequence = Sequence([position]), Sequence([identification])
                groups.append(frame)
                plane = numpy.zeros((SIZE[1], SIZE[0]), numpy.uint8)
                plane[box[1] : box[4], box[0] : box[3]] = 1
                planes.append(plane.ravel())
        shared, orientation, measures, referenced = Dataset(), Dataset(), Dataset(), Dataset()
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
        referenced.SeriesInstanceUID = self.uid
        ds.SegmentSequence, ds.ReferencedSeriesSequence = Sequence(segments), Sequence([referenced])
        ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(groups)
        ds.NumberOfFrames = len(groups)
        content = numpy.packbits(numpy.concatenate(planes), bitorder="little").tobytes()
        ds.PixelData = content + b"\0" * (len(content) % 2)
        os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
        ds.save_as(os.path.join(out, path), write_like_original=False)
        return self

    def expect(self, case, boxes=None):
        """Voxels, and label values of boxes, columns fastest, in the order of the slices."""
        image = numpy.stack([self.voxels(z) for z in range(self.slices)])
        entry = {"image": image.ravel().tolist()}
        if boxes is not None:
            label = numpy.zeros(image.shape, numpy.uint8)
            for value, (x0, y0, z0, x1, y1, z1) in boxes:
                label[z0:z1, y0:y1, x0:x1] = value
            entry["label"] = label.ravel().tolist()
        expected[case] = entry
        return self


def zipped(folder, name):
    root = os.path.join(out, folder)
    with zipfile.ZipFile(os.path.join(out, name), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, _, files in os.walk(root):
            for file in files:
                archive.write(os.path.join(path, file), os.path.relpath(os.path.join(path, file), root))
                os.remove(os.path.join(path, file))
    for path, _, _ in os.walk(root, topdown=False):
        os.rmdir(path)


LIVER, TUMOUR = (3, 2, 1, 9, 8, 6), (11, 4, 3, 15, 9, 9)

# One sub folder or zip file per patient. The name of a structure is written in other ways, one is missing, one was not drawn.
(Series(1).write("patients/P1/2019/image").structures("patients/P1/2019/mask/rs.dcm", [("tumour", TUMOUR), ("Liver", LIVER), ("points", None)])
    .expect("P1", [(1, LIVER), (2, TUMOUR)]))
Series(2).write("patients/P2/ct").segments("patients/P2/seg/a", [("liver ", LIVER)]).expect("P2", [(1, LIVER)])
Series(3).write("patients/P3").expect("P3")
(Series(4).write("zip/study").structures("zip/rs", [("Tumour", TUMOUR), ("LIVER", LIVER)]).expect("P4", [(1, LIVER), (2, TUMOUR)]))
zipped("zip", "patients/P4.zip")
scout = Series(5, slices=1).write("patients/P3/scout", lambda ds, z: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
Series(6, modality="PT").write("patients/P2/pet")
(Series(7, tilt=0.5).write("patients/P5").structures("patients/P5/rs", [("liver", LIVER), ("tumour", TUMOUR)]).expect("P5", [(1, LIVER), (2, TUMOUR)]))
Series(8).structures("patients/P3/strange.dcm", [("liver", LIVER)], by="stranger")
open(os.path.join(out, "patients", "notes.txt"), "w").write("no DICOM")

# Series of two studies in one folder: outlines find theirs by the series, or by the frame of reference.
study, frame = generate_uid(), generate_uid()
(Series(11, study, frame, number=2).write("flat").structures("flat/rs1", [("liver", LIVER)]).expect("CT_2", [(1, LIVER)]))
Series(12, study, frame, number=3).write("flat").expect("CT_3")
Series(13, number=4).write("flat").structures("flat/rs2", [("liver", TUMOUR)], by="frame").expect("CT_4", [(1, TUMOUR)])

# What is not clear is refused.
study, frame = generate_uid(), generate_uid()
Series(21, study, frame, number=1).write("ambiguous")
Series(22, study, frame, number=2).write("ambiguous").structures("ambiguous/rs", [("liver", LIVER)], by="frame")
one = Series(23).write("twice/a").structures("twice/a/rs1", [("liver", LIVER)])
one.structures("twice/a/rs2", [("liver", TUMOUR)])
Series(24).write("overlap/a").structures("overlap/a/rs", [("body", (1, 1, 1, 15, 12, 9)), ("Organ", LIVER), ("other", LIVER)])
Series(25).write("time/a")
moving = Series(26).write("time/b").structures("time/b/rs", [("liver", LIVER)])
moving.number = 9
moving.write("time/b")
moving = Series(27).write("time-unlabelled/b")
Series(28).write("time-unlabelled/a").structures("time-unlabelled/a/rs", [("liver", LIVER)])
moving.number = 9
moving.write("time-unlabelled/b")
for i, modality in enumerate(("CT", "CT", "MR")):
    Series(31 + i, modality=modality).write(f"mixed/p{i}").structures(f"mixed/p{i}/rs", [("liver", LIVER)])
json.dump(expected, open(os.path.join(out, "expected.json"), "w"))
