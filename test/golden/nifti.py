"""Golden NIfTI files and orientations from nibabel, an implementation that shares no code with ours.

    python3 test/golden/nifti.py > test/golden/nifti.json

Each file: gzip + base64 of the bytes, and what nibabel reads from them: affine, orientation, shape, voxels.
"""

import base64
import gzip
import hashlib
import io
import json
import sys

import nibabel as nib
import numpy as np

SEED = 20260201
random = np.random.default_rng(SEED)


def rotation(turns):
    a, b, c = turns
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


def affine(turns, zooms, origin, mirrored=False, shear=0.0):
    m = rotation(turns) @ np.diag(zooms)
    if mirrored:
        m[:, 0] *= -1
    m = m @ (np.eye(3) + shear * np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]))
    result = np.eye(4)
    result[:3, :3] = m
    result[:3, 3] = origin
    return result


def voxels(dtype, shape):
    if np.issubdtype(dtype, np.floating):
        return (random.normal(size=shape) * 100).astype(dtype)
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**53)), min(info.max, 2**53)
    values = random.integers(low, high, size=shape, dtype=np.int64 if high <= 2**62 else np.uint64, endpoint=True)
    values.flat[0], values.flat[1] = low, high
    return values.astype(dtype)


def clear(a):
    """Whether no two voxel axes lie closest to the same world axis, so that every rule gives the same orientation."""
    u, _, v = np.linalg.svd(a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0))
    return len(set(np.abs(u @ v).argmax(axis=0))) == 3


def golden(name, image):
    stream = io.BytesIO()
    image.file_map["image"].fileobj = stream
    image.to_file_map()
    data = stream.getvalue()
    read = type(image).from_bytes(data)
    values = np.asarray(read.dataobj)
    return {
        "name": name,
        "gzip": base64.b64encode(gzip.compress(data, 9, mtime=0)).decode(),
        "shape": list(read.shape),
        "affine": [float(x) for x in read.affine.flatten()],
        "orientation": "".join(nib.aff2axcodes(read.affine)) if clear(read.affine) else None,
        # x fastest, as in the file
        "voxels": [float(x) for x in values.flatten(order="F")],
    }


files = []
shape = (3, 4, 2)
for name in ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]:
    for order, code in (("little", "<"), ("big", ">")):
        cls = nib.Nifti1Image if order == "little" else nib.Nifti2Image
        data = voxels(np.dtype(name), shape)
        a = affine(random.uniform(-3, 3, 3), random.uniform(0.5, 4, 3), random.uniform(-50, 50, 3))
        header = cls.header_class(endianness=code)
        header.set_data_dtype(np.dtype(name).newbyteorder(code))
        image = cls(data, a, header)
        files.append(golden(f"{name} {order}-endian NIfTI-{1 if cls is nib.Nifti1Image else 2}", image))

for i in range(8):
    mirrored, data = i % 2 == 1, voxels(np.dtype("int16"), shape)
    a = affine(random.uniform(-3, 3, 3), random.uniform(0.5, 4, 3), random.uniform(-50, 50, 3), mirrored)
    b = affine(random.uniform(-3, 3, 3), random.uniform(0.5, 4, 3), random.uniform(-50, 50, 3))
    image = (nib.Nifti1Image if i < 4 else nib.Nifti2Image)(data, None)
    image.header.set_zooms(nib.affines.voxel_sizes(a))
    sform_code, qform_code = [(0, 1), (1, 1), (2, 0), (0, 0)][i % 4]
    image.header.set_qform(a, code=qform_code)
    image.header.set_sform(b, code=sform_code)
    # What the header says, not what the constructor made of it.
    image = type(image)(data, None, image.header)
    files.append(golden(f"sform_code {sform_code} qform_code {qform_code} {'mirrored' if mirrored else ''} {i}", image))

for slope, inter in [(0.25, -3.0), (2.0, 0.0), (1.0, 5.0)]:
    image = nib.Nifti1Image(voxels(np.dtype("int16"), shape), np.diag([2, 2, 3, 1]))
    image.header.set_slope_inter(slope, inter)
    # Store the voxels as they are: the scaling is applied by whoever reads.
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()
    read = nib.Nifti1Image.from_bytes(bytes(raw))
    entry = golden("", image)
    entry.update(
        name=f"scl_slope {slope} scl_inter {inter}",
        gzip=base64.b64encode(gzip.compress(bytes(raw), 9, mtime=0)).decode(),
        voxels=[float(x) for x in np.asarray(read.dataobj).flatten(order="F")],
    )
    files.append(entry)

orientations = []
for i in range(80):
    a = affine(
        random.uniform(-3.2, 3.2, 3), random.uniform(0.3, 6, 3), random.uniform(-200, 200, 3), i % 3 == 0, 0.3 * (i % 4 == 0)
    )
    if clear(a):
        orientations.append({"affine": [float(x) for x in a.flatten()], "orientation": "".join(nib.aff2axcodes(a))})

body = {"files": files, "orientations": orientations}
with open(__file__, "rb") as script:
    digest = hashlib.sha256(script.read()).hexdigest()
provenance = {
    "tool": f"nibabel {nib.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}",
    "seed": SEED,
    "command": "python3 test/golden/nifti.py > test/golden/nifti.json",
    "scriptSha256": digest,
    "contentSha256": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest(),
}
json.dump({"provenance": provenance, **body}, sys.stdout)
print()
