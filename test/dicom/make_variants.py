"""Writes one small CT series in many forms into a folder, by pydicom, gdcmconv and dcmconv (dcmtk).

Run: python3 make_variants.py FOLDER   (Debian: python3-pydicom libgdcm-tools dcmtk)
The voxels are value(x, y, z) below, in every form; dicom.test.ts knows the same formula.
"""
import copy
import os
import shutil
import subprocess
import sys

import numpy
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

out = sys.argv[1]
COLUMNS, ROWS, SLICES = 21, 16, 9
SPACING = [0.75, 1.25]  # between rows, between columns
STEP = 2.5
CT = "1.2.840.10008.5.1.4.1.1.2"
# Row and column direction of an oblique scan.
a, b = 0.8, 0.6
ROW = numpy.array([a, b, 0.0])
COLUMN = numpy.array([-b * a, a * a, b])
NORMAL = numpy.cross(ROW, COLUMN)
ORIGIN = numpy.array([-50.5, 20.25, 300.0])

study, frame_of_reference = generate_uid(), generate_uid()


def value(z):
    y, x = numpy.mgrid[0:ROWS, 0:COLUMNS]
    return (x * 3 + y * 70 - z * 101 - 200).astype(numpy.int16)


def instance(z, series, number=None):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.SOPClassUID, ds.SOPInstanceUID = CT, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame_of_reference
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Test^Phantom", "P1", "", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "20260101", "120000", "", "1", ""
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber = "CT", "thin slices", 3
    ds.Manufacturer, ds.ImageType = "nobody", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = z + 1 if number is None else number
    ds.ImagePositionPatient = [float(v) for v in ORIGIN + z * STEP * NORMAL]
    ds.ImageOrientationPatient = [float(v) for v in [*ROW, *COLUMN]]
    ds.PixelSpacing, ds.SliceThickness = SPACING, STEP
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = value(z).tobytes()
    return ds


def save(folder, name, ds):
    os.makedirs(os.path.join(out, folder), exist_ok=True)
    path = os.path.join(out, folder, name)
    ds.save_as(path, write_like_original=False)
    return path


def series(folder, change=lambda ds, z: None, uid=None, slices=range(SLICES)):
    uid = uid or generate_uid()
    for z in slices:
        ds = instance(z, uid)
        if change(ds, z) is not False:
            save(folder, f"IM{(z * 5) % 11:02d}", ds)
    return uid


plain = series("plain")
for name in ("notes.txt", "scan.nii.gz"):
    open(os.path.join(out, "plain", name), "w").write("no DICOM file")
open(os.path.join(out, "plain", ".hidden"), "w").write("x")
os.makedirs(os.path.join(out, "plain", "deeper"))
shutil.move(os.path.join(out, "plain", "IM05"), os.path.join(out, "plain", "deeper", "of another name.dcm"))


def converted(folder, command, source="flat"):
    os.makedirs(os.path.join(out, folder))
    for name in sorted(os.listdir(os.path.join(out, source))):
        subprocess.run([*command, os.path.join(out, source, name), os.path.join(out, folder, name)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


series("flat")
for name, option in {"jpeg-lossless": "--jpeg", "jpeg-ls": "--jpegls", "jpeg-2000": "--j2k", "rle": "--rle"}.items():
    converted(name, ["gdcmconv", option])
for name, option in {"big-endian": "+tb", "deflated": "+td", "implicit": "+ti"}.items():
    converted(name, ["dcmconv", option])


def with_sequences(ds, z):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "113100", "DCM", "a profile"
    ds.DeidentificationMethodCodeSequence = [item]
    ds.private_block(0x0011, "VERSEMI", create=True).add_new(0x01, "SQ", [item])


# gdcmconv writes what had implicit types as unknown (UN), sequences of undefined length too.
series("sequences", with_sequences)
converted("sequences-implicit", ["dcmconv", "+ti", "-e"], "sequences")
converted("jpeg-ls-unknown-types", ["gdcmconv", "--jpegls"], "sequences-implicit")


def stored(bits_allocated, bits_stored, signed, array, high=None):
    def change(ds, z):
        ds.BitsAllocated, ds.BitsStored = bits_allocated, bits_stored
        ds.HighBit = bits_stored - 1 if high is None else high
        ds.PixelRepresentation = int(signed)
        ds.RescaleIntercept = 0
        ds.PixelData = array(value(z), ds).tobytes()

    return change


def shifted(offset, dtype):
    def make(v, ds):
        ds.RescaleIntercept = -offset
        return (v.astype(numpy.int64) + offset).astype(dtype)

    return make


def overlay(v, ds):
    """Twelve bits of value; the four above are an overlay."""
    ds.RescaleIntercept = -1200
    y, x = numpy.mgrid[0:ROWS, 0:COLUMNS]
    return ((v.astype(numpy.int64) + 1200) | ((x % 16) << 12)).astype(numpy.uint16)


def signed12(v, ds):
    return (v.astype(numpy.int64) & 0xFFF).astype(numpy.uint16)


def left(v, ds):
    """Twelve bits in the upper part."""
    ds.RescaleIntercept = -1200
    return ((v.astype(numpy.int64) + 1200) << 4).astype(numpy.uint16)


series("signed-8", stored(8, 8, True, lambda v, ds: (v // 16 + 20).astype(numpy.int8)))
series("unsigned-16", stored(16, 16, False, shifted(30000, numpy.uint16)))
series("unsigned-12-overlay", stored(16, 12, False, overlay))
series("signed-12", stored(16, 12, True, signed12))
series("upper-bits", stored(16, 12, False, left, high=15))
series("signed-32", stored(32, 32, True, shifted(-100000, numpy.int32)))
series("unsigned-32", stored(32, 32, False, shifted(3000000000, numpy.uint32)))


def eight(ds, z):
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = ((value(z).astype(int) + 1200) // 16).astype(numpy.uint8).tobytes() + b""


series("unsigned-8", eight)


series("unsigned-12", stored(16, 12, False, shifted(1200, numpy.uint16)))
# gdcmconv's JPEG-LS and JPEG 2000 of 12 bits, JPEG lossless of 8 bits, RLE of 32 bits.
for name, source, option in (
    ("jpeg-ls-12", "unsigned-12", "--jpegls"),
    ("jpeg-2000-12", "unsigned-12", "--j2k"),
    ("jpeg-lossless-12", "unsigned-12", "--jpeg"),
    ("jpeg-lossless-8", "unsigned-8", "--jpeg"),
    ("jpeg-ls-8", "unsigned-8", "--jpegls"),
    ("rle-8", "unsigned-8", "--rle"),
):
    converted(name, ["gdcmconv", option], source)


def without_meta(folder, source):
    os.makedirs(os.path.join(out, folder))
    for name in os.listdir(os.path.join(out, source)):
        content = open(os.path.join(out, source, name), "rb").read()
        # The first element of the meta information is its length.
        start = 144 + int.from_bytes(content[140:144], "little")
        open(os.path.join(out, folder, name), "wb").write(content[start:])


without_meta("bare-explicit", "flat")
without_meta("bare-implicit", "implicit")
series("single", slices=[4])
uid = series("time")
for z in range(SLICES):
    ds = instance(z, uid)
    ds.AcquisitionNumber, ds.PixelData = 2, (value(z) + 5).tobytes()
    save("time", f"second {z}", ds)


def scaled(ds, z):
    ds.RescaleSlope, ds.RescaleIntercept = 0.5 + z / 4, z - 3
    ds.PixelData = (value(z) // 2).tobytes()


series("scale-per-slice", scaled)


def padded(ds, z):
    ds.add_new(0x00280120, "SS", -2000)
    v = value(z).copy()
    v[:, :2] = -2000
    ds.PixelData = v.tobytes()


series("padding", padded)


def padded_unsigned(ds, z):
    """The value of the padding is written as unsigned in a signed image, as some scanners do."""
    ds.add_new(0x00280120, "US", 65536 - 2000)
    v = value(z).copy()
    v[:, :2] = -2000
    ds.PixelData = v.tobytes()


series("padding-unsigned", padded_unsigned)
series("monochrome1", lambda ds, z: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"))
series("rounded", lambda ds, z: setattr(ds, "ImagePositionPatient", [round(float(v), 1) for v in ds.ImagePositionPatient]))
series("tilted", lambda ds, z: setattr(ds, "ImagePositionPatient", [float(v) for v in ORIGIN + z * (STEP * NORMAL + 0.5 * COLUMN)]))

# Faults.
series("missing", lambda ds, z: z != 4)
series("uneven", lambda ds, z: setattr(ds, "ImagePositionPatient", [float(v) for v in ORIGIN + (z + (0.3 if z == 5 else 0)) * STEP * NORMAL]))
series("beside", lambda ds, z: setattr(ds, "ImagePositionPatient", [float(v) for v in ORIGIN + z * STEP * NORMAL + (3 * ROW if z == 6 else 0)]))
uid = series("twice")
save("twice", "again", instance(3, uid))
uid = series("copied")
shutil.copy(os.path.join(out, "copied", "IM00"), os.path.join(out, "copied", "a copy"))
series("cut", lambda ds, z: None)
path = os.path.join(out, "cut", "IM00")
open(path, "r+b").truncate(os.path.getsize(path) - 100)
os.makedirs(os.path.join(out, "cut-deflated"))
for name in os.listdir(os.path.join(out, "deflated")):
    content = open(os.path.join(out, "deflated", name), "rb").read()
    open(os.path.join(out, "cut-deflated", name), "wb").write(content[: len(content) - (60 if name == "IM00" else 0)])
series("short-pixels", lambda ds, z: setattr(ds, "PixelData", ds.PixelData[:-40]) if z == 2 else None)


def colour(ds, z):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = bytes(3 * ROWS * COLUMNS)


series("colour", colour)
uid = generate_uid()
series("scout", uid=uid)


def scout(ds, z):
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    ds.SeriesDescription = "scout"


series("scout-only", scout, uid=uid, slices=[0])
shutil.move(os.path.join(out, "scout-only", "IM00"), os.path.join(out, "scout", "scout"))
series("two", lambda ds, z: setattr(ds, "SeriesDescription", "soft tissue"))
for name in os.listdir(os.path.join(out, "flat")):
    shutil.copy(os.path.join(out, "flat", name), os.path.join(out, "two", "flat " + name))
series("unknown-syntax")
for name in os.listdir(os.path.join(out, "unknown-syntax")):
    path = os.path.join(out, "unknown-syntax", name)
    content = open(path, "rb").read()
    # MPEG-4: the same length once it is padded.
    old = b"1.2.840.10008.1.2.1\0"
    new = b"1.2.840.10008.1.2.9\0"
    assert content.count(old) >= 1
    open(path, "wb").write(content.replace(old, new, 1))


# Rows run the other way, so that the normal does too: slices sort in reverse order.
series("flipped", lambda ds, z: setattr(ds, "ImageOrientationPatient", [float(v) for v in [*-ROW, *COLUMN]]))


# Enhanced multi-frame, frames in any order, one file.
def enhanced(folder, order, change=lambda ds: None):
    ds = instance(0, generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, name)
    shared = Dataset()
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [float(v) for v in [*ROW, *COLUMN]]
    measures.PixelSpacing, measures.SliceThickness = SPACING, STEP
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for z in order:
        frame, position, transform = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [float(v) for v in ORIGIN + z * STEP * NORMAL]
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 1, 0, "HU"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = Sequence([position]), Sequence([transform])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.NumberOfFrames = len(order)
    ds.PixelData = b"".join(value(z).tobytes() for z in order)
    change(ds)
    return save(folder, "enhanced.dcm", ds)


path = enhanced("enhanced", [4, 0, 8, 2, 6, 1, 7, 3, 5])
os.makedirs(os.path.join(out, "enhanced-rle"))
subprocess.run(["gdcmconv", "--rle", path, os.path.join(out, "enhanced-rle", "a.dcm")], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
enhanced("enhanced-missing", [4, 0, 8, 2, 6, 1, 3, 5])

# Segmentations of the plain series: number of bits per frame is no multiple of 8.


def inside(segment, z):
    y, x = numpy.mgrid[0:ROWS, 0:COLUMNS]
    return ((x + 2 * y + 3 * z) % (segment + 2) == 0).astype(numpy.uint8)


def segmentation(name, frames, kind="BINARY", turned=False):
    ds = instance(0, generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    ds.Modality, ds.SeriesDescription = "SEG", "segments"
    for each in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, each)
    ds.SegmentationType = kind
    bits = 1 if kind == "BINARY" else 8
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0
    if kind == "FRACTIONAL":
        ds.SegmentationFractionalType, ds.MaximumFractionalValue = "PROBABILITY", 200
    segments = []
    for number in (1, 2):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = number, f"part {number}", "MANUAL"
        segments.append(segment)
    ds.SegmentSequence = Sequence(segments)
    referenced = Dataset()
    referenced.SeriesInstanceUID = plain
    ds.ReferencedSeriesSequence = Sequence([referenced])
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    # Turned: rows run backwards, and rows and columns are exchanged.
    first, second = (COLUMN, -ROW) if turned else (ROW, COLUMN)
    orientation.ImageOrientationPatient = [float(v) for v in [*first, *second]]
    measures.PixelSpacing, measures.SliceThickness = (SPACING[::-1] if turned else SPACING), STEP
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    groups, planes = [], []
    for number, z in frames:
        frame, position, identification = Dataset(), Dataset(), Dataset()
        corner = ORIGIN + z * STEP * NORMAL + ((COLUMNS - 1) * SPACING[1] * ROW if turned else 0)
        position.ImagePositionPatient = [float(v) for v in corner]
        identification.ReferencedSegmentNumber = number
        frame.PlanePositionSequence, frame.SegmentIdentificationSequence = Sequence([position]), Sequence([identification])
        groups.append(frame)
        plane = inside(number, z)
        planes.append(plane[:, ::-1].T if turned else plane)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    ds.NumberOfFrames = len(frames)
    if turned:
        ds.Rows, ds.Columns = COLUMNS, ROWS
    flat = numpy.concatenate([plane.ravel() for plane in planes])
    content = numpy.packbits(flat, bitorder="little").tobytes() if kind == "BINARY" else (flat * 120 + 30).astype(numpy.uint8).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    save("labels", name, ds)


some = [(2, 6), (1, 3), (1, 2), (2, 0)]
segmentation("binary.dcm", some)
segmentation("turned.dcm", some, turned=True)
segmentation("fractional.dcm", some, kind="FRACTIONAL")

# A structure set whose references match no image: outlines with a hole, and an island.


def polygon(z, corners):
    points = [ORIGIN + z * STEP * NORMAL + x * SPACING[1] * ROW + y * SPACING[0] * COLUMN for x, y in corners]
    return [float(round(v, 6)) for point in points for v in point]


def square(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def structures(name, contours):
    ds = instance(0, generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    ds.Modality, ds.SeriesDescription, ds.StructureSetLabel = "RTSTRUCT", "outlines", "outlines"
    for each in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "PixelData", "Rows", "Columns", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, each)
    roi = Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 7, "tumour", frame_of_reference
    ds.StructureSetROISequence = Sequence([roi])
    items = []
    for kind, data in contours:
        contour, image = Dataset(), Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CT, generate_uid()
        contour.ContourImageSequence = Sequence([image])
        contour.ContourGeometricType, contour.NumberOfContourPoints, contour.ContourData = kind, len(data) // 3, data
        items.append(contour)
    whole = Dataset()
    whole.ReferencedROINumber, whole.ContourSequence = 7, Sequence(items)
    ds.ROIContourSequence = Sequence([whole])
    reference, study_item, series_item = Dataset(), Dataset(), Dataset()
    series_item.SeriesInstanceUID = plain
    study_item.RTReferencedSeriesSequence = Sequence([series_item])
    reference.FrameOfReferenceUID, reference.RTReferencedStudySequence = frame_of_reference, Sequence([study_item])
    ds.ReferencedFrameOfReferenceSequence = Sequence([reference])
    save("labels", name, ds)


structures(
    "outlines.dcm",
    [
        ("CLOSED_PLANAR", polygon(4, square(2.5, 3.5, 12.5, 11.5))),
        ("CLOSED_PLANAR", polygon(4, square(5.5, 5.5, 8.5, 8.5))),
        ("CLOSED_PLANAR", polygon(5.2, square(1.5, 1.5, 4.5, 4.5))),
        ("POINT", polygon(4, [(15, 15)])),
        # One outline that goes into its hole and back again along the same way.
        ("CLOSED_PLANAR", polygon(7, [(1.5, 1.5), (9.5, 1.5), (9.5, 9.5), (1.5, 9.5), (1.5, 1.5), (4.5, 4.5), (4.5, 6.5), (6.5, 6.5), (6.5, 4.5), (4.5, 4.5)])),
    ],
)
structures("outside.dcm", [("CLOSED_PLANAR", polygon(12, square(2, 2, 5, 5)))])
structures("across.dcm", [("CLOSED_PLANAR", [*polygon(2, [(1, 1), (5, 1)]), *polygon(4, [(5, 5), (1, 5)])])])
