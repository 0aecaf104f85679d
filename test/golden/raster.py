"""NRRD and MetaImage files by ITK (plastimatch) and teem (unu), of volumes whose voxels and affines are known.

Run: python3 raster.py > raster.json   (Debian: python3-nibabel plastimatch teem-apps)
"""
import base64
import json
import os
import subprocess
import sys
import tempfile

import nibabel
import numpy

SIZE = (3, 4, 5)
TYPES = {"int16": "short", "uint8": "uchar", "float32": "float"}


def voxels(kind):
    x, y, z = numpy.meshgrid(*[numpy.arange(n) for n in SIZE], indexing="ij")
    return (x + 5 * y + 20 * z - (0 if kind == "uint8" else 50)).astype(kind)


def affine():
    """Oblique, one axis flipped, three spacings."""
    a, b = numpy.cos(0.3), numpy.sin(0.3)
    turn = numpy.array([[a, -b, 0], [b, a, 0], [0, 0, 1]]) @ numpy.array([[1, 0, 0], [0, a, -b], [0, b, a]])
    result = numpy.eye(4)
    result[:3, :3] = turn @ numpy.diag([-0.75, 1.5, 2.5])
    result[:3, 3] = [12.5, -30.25, 100.125]
    return result


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def files_of(folder):
    return {name: base64.b64encode(open(os.path.join(folder, name), "rb").read()).decode() for name in sorted(os.listdir(folder))}


def itk(kind, name):
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as out:
        source = os.path.join(work, "source.nii")
        nibabel.save(nibabel.Nifti1Image(voxels(kind), affine()), source)
        run("plastimatch", "convert", "--input", source, "--output-img", os.path.join(out, name), "--output-type", TYPES[kind])
        return {"made": "ITK", "open": name, "type": kind, "files": files_of(out)}


def unu(kind, name, *options):
    """What teem makes of an NRRD that is written here by hand."""
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as out:
        lps = numpy.diag([-1, -1, 1, 1]) @ affine()
        vector = lambda v: "(" + ",".join(repr(float(x)) for x in v) + ")"
        header = "\n".join([
            "NRRD0004", "type: " + TYPES[kind], "dimension: 3", "space: left-posterior-superior",
            "sizes: " + " ".join(map(str, SIZE)),
            "space directions: " + " ".join(vector(lps[:3, i]) for i in range(3)),
            "endian: little", "encoding: raw", "space origin: " + vector(lps[:3, 3]), "", "",
        ])
        source = os.path.join(work, "source.nrrd")
        with open(source, "wb") as file:
            file.write(header.encode() + voxels(kind).tobytes(order="F"))
        run("teem-unu", "save", "-i", source, *options, "-o", os.path.join(out, name))
        return {"made": "teem", "open": name, "type": kind, "files": files_of(out)}


cases = {
    "ITK .mha": itk("int16", "a.mha"),
    "ITK .mhd with .raw": itk("float32", "a.mhd"),
    "ITK .nrrd": itk("int16", "a.nrrd"),
    "ITK .nhdr": itk("uint8", "a.nhdr"),
    "teem raw": unu("int16", "a.nrrd", "-f", "nrrd", "-e", "raw"),
    "teem gzip, big-endian": unu("int16", "a.nrrd", "-f", "nrrd", "-e", "gzip", "-en", "big"),
    "teem text": unu("int16", "a.nrrd", "-f", "nrrd", "-e", "text"),
    "teem hex": unu("uint8", "a.nrrd", "-f", "nrrd", "-e", "hex"),
    "teem float text": unu("float32", "a.nrrd", "-f", "nrrd", "-e", "text"),
    "teem detached": unu("float32", "a.nhdr", "-f", "nrrd", "-e", "gzip"),
}
versions = {
    "plastimatch": subprocess.run(["plastimatch", "--version"], capture_output=True, text=True).stdout.strip(),
    "teem": subprocess.run(["dpkg-query", "-Wf", "${Version}", "teem-apps"], capture_output=True, text=True).stdout,
}
json.dump(
    {
        "provenance": {"command": "python3 raster.py > raster.json", **versions},
        "sizeVoxels": SIZE,
        "affine": affine().flatten().tolist(),
        "cases": cases,
    },
    sys.stdout,
    indent=1,
)
