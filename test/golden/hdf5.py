"""Writes hdf5.json: HDF5 files as h5py writes them, with the voxels that a reader must find or the reason to refuse.

Made with h5py 3.16.0 (HDF5 2.0.0), numpy 2.4.6: python3 test/golden/hdf5.py > test/golden/hdf5.json
"""
import base64, gzip, json, os, tempfile

import h5py
import numpy as np

values = np.arange(24).reshape(2, 3, 4) * 7 - 3
files = []


def add(name, write, voxels=None, refused=None, **how):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.h5")
        with h5py.File(path, "w", **how) as file:
            write(file)
        content = open(path, "rb").read()
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    files.append({"name": name, "gzip": packed, "voxels": voxels, "refused": refused})


def array(data, **how):
    return lambda file: file.create_dataset("image", data=data, **how)


def listed(data):
    return np.asarray(data, np.float64).ravel().tolist()


for dtype in ["i1", "i2", "i4", "i8", "f2", "f4", "f8"]:
    for order in "<>":
        add(f"{order}{dtype}", array(values.astype(order + dtype)), listed(values.astype(dtype)))
for dtype in ["u1", "u2", "u4", "u8"]:
    for order in "<>":
        add(f"{order}{dtype}", array((values + 3).astype(order + dtype)), listed(values + 3))
halves = np.array([0, -0.0, 6e-8, -6e-5, 1 / 3, 65504, 1, 2] * 3, np.float16).reshape(2, 3, 4)
add("float16, small and large", array(halves), listed(halves))
add("bool", array(values > 30), listed(values > 30))
add("enumeration", array(values.astype("<i2"), dtype=h5py.enum_dtype({"A": 0, "B": 1}, basetype="<i2")), listed(values))
gzipped = dict(compression="gzip", shuffle=True, fletcher32=True, chunks=(1, 2, 3))
add("latest format, gzip, shuffle, checksum", array(values, **gzipped), listed(values), libver="latest")
add("earliest format, gzip", array(values, compression="gzip", chunks=(2, 1, 4)), listed(values), libver="earliest")
add("scale-offset", array(values.astype("i4"), scaleoffset=0, chunks=(2, 3, 4)), listed(values))
add("user block", array(values), listed(values), userblock_size=512)


def soft_link(file):
    file["stored"] = values
    file["image"] = h5py.SoftLink("/stored")


def virtual(file):
    layout = h5py.VirtualLayout(shape=(2, 3, 4), dtype="u1")
    layout[:] = h5py.VirtualSource("other.h5", "image", shape=(2, 3, 4))
    file.create_virtual_dataset("image", layout)


def external(path):
    return lambda file: file.create_dataset("image", shape=(2, 3, 4), dtype="u1", external=[(path, 0, 24)])


def link(file):
    file["image"] = h5py.ExternalLink("other.h5", "/image")


def group_link(file):
    file["group"] = h5py.ExternalLink("other.h5", "/")
    file["image"] = h5py.SoftLink("/group/image")


def dangling(file):
    file["image"] = h5py.SoftLink("/gone")


def shaped(shape, **how):
    return lambda file: file.create_dataset("image", shape=shape, dtype="f4", **how)


add("soft link", soft_link, listed(values))
add("link to nothing", dangling, refused="FILE_FORMAT")
add("external link", link, refused="FORMAT_UNSUPPORTED")
add("soft link into another file", group_link, refused="FORMAT_UNSUPPORTED|FILE_FORMAT|FILE_CORRUPT")
add("virtual dataset", virtual, refused="FORMAT_UNSUPPORTED")
for path in ["/etc/passwd", "/dev/urandom", "/proc/self/fd/3", "other.raw"]:
    add(f"external storage {path}", external(path), refused="FORMAT_UNSUPPORTED")
add("LZF", array(values, compression="lzf"), refused="FORMAT_UNSUPPORTED")
add("complex", array(values.astype("c8")), refused="FORMAT_UNSUPPORTED")
add("big-endian enumeration", array(values.astype(">i2"), dtype=h5py.enum_dtype({"A": 0}, basetype=">i2")), refused="FORMAT_UNSUPPORTED")


def typed(make, committed=False):
    """The values, as a type that is made by changing a copy of a common one; the bytes are what HDF5 converts them to."""

    def write(file):
        kind = make()
        if committed:
            kind.commit(file.id, b"kind")
        space = h5py.h5s.create_simple((2, 3, 4))
        h5py.h5d.create(file.id, b"image", kind, space).write(space, space, values.astype("f4"))

    return write


def floating(size, sign, exponent, mantissa, bias, base=h5py.h5t.IEEE_F32LE, norm=h5py.h5t.NORM_IMPLIED, offset=0, precision=None):
    def make():
        kind = base.copy()
        kind.set_fields(sign, *exponent, *mantissa)
        kind.set_precision(precision or 8 * size)
        kind.set_offset(offset)
        kind.set_size(size)
        kind.set_ebias(bias)
        kind.set_norm(norm)
        return kind

    return make


def whole(precision, offset, base):
    def make():
        kind = base.copy()
        kind.set_precision(precision)
        kind.set_offset(offset)
        return kind

    return make


def vax():
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_order(h5py.h5t.ORDER_VAX)
    return kind


def as_ieee(order):
    return lambda: getattr(h5py.h5t, f"IEEE_F32{order}").copy()


for how in ["earliest", "latest"]:
    for committed in [False, True]:
        name = f"{how} format{', named type' if committed else ''}"
        for order in ["LE", "BE"]:
            add(f"float32 {order}, {name}", typed(as_ieee(order), committed), listed(values), libver=how)
        bfloat16 = floating(2, 15, (7, 8), (0, 7), 127, precision=16)
        add(f"bfloat16, {name}", typed(bfloat16, committed), refused="FORMAT_UNSUPPORTED", libver=how)
add("bfloat16 behind a user block", typed(bfloat16), refused="FORMAT_UNSUPPORTED", userblock_size=1024)
add("bfloat16, big-endian", typed(floating(2, 15, (7, 8), (0, 7), 127, h5py.h5t.IEEE_F32BE, precision=16)), refused="FORMAT_UNSUPPORTED")
add("float16 with another bias", typed(floating(2, 15, (10, 5), (0, 10), 16, h5py.h5t.IEEE_F16LE)), refused="FORMAT_UNSUPPORTED")
add("float8 in 16 bits", typed(floating(2, 7, (3, 4), (0, 3), 7, h5py.h5t.IEEE_F16LE)), refused="FORMAT_UNSUPPORTED")
add("float32 whose first bit of the fraction is stored", typed(floating(4, 31, (23, 8), (0, 23), 127, norm=h5py.h5t.NORM_MSBSET)), refused="FORMAT_UNSUPPORTED")
add("float24 in 32 bits", typed(floating(4, 23, (16, 7), (0, 16), 63, precision=24)), refused="FORMAT_UNSUPPORTED")
add("VAX order", typed(vax), refused="FORMAT_UNSUPPORTED")
add("12 bits in 16", typed(whole(12, 0, h5py.h5t.STD_I16LE)), refused="FORMAT_UNSUPPORTED")
add("12 bits in 16, the upper ones", typed(whole(12, 4, h5py.h5t.STD_U16LE)), refused="FORMAT_UNSUPPORTED")
huge = (2000, 2000, 1000)
add("16 GB in 1.4 KB, chunks", shaped(huge, chunks=(10, 10, 10), compression="gzip"), refused="FILE_TRUNCATED")
add("16 GB in 1.4 KB, contiguous", shaped(huge), refused="FILE_TRUNCATED")
add("one chunk of 3.6 GB", shaped((2, 3, 4), maxshape=(None,) * 3, chunks=(1000, 1000, 900), compression="gzip"), refused="FILE_TRUNCATED")
add("10^18 voxels", shaped((10**6,) * 3, chunks=(10, 10, 10)), refused="FILE_TRUNCATED")

print(json.dumps({"provenance": {"tool": f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, numpy {np.__version__}", "command": "python3 test/golden/hdf5.py > test/golden/hdf5.json"}, "files": files}, indent=1))
