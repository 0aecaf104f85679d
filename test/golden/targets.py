#!/usr/bin/python3
"""Golden values of partial volumes: how much of each voxel of a resampled grid its labels fill, from numpy and scipy in double
precision. Every source voxel is a box of one label, the outermost ones reach on without end, and the integral of the one-hot map
over the box of an output voxel is a difference of cumulative sums, interpolated linearly along one axis after the other. Label
maps come from an integer formula, so that the golden file holds results only.
Run: python3 test/golden/targets.py > test/golden/targets.json
"""
import hashlib
import json

import numpy as np
import scipy
from scipy.interpolate import interp1d

CASES = (
    ("coarser", [9, 8, 7], [6, 5, 3], [1.5, 1.6, 2.25], [0.25, 0.3, 0.375]),
    ("finer", [5, 6, 4], [9, 7, 8], [5 / 9, 6 / 7, 0.5], [-0.22, -0.07, -0.25]),
    ("coarser and finer", [12, 10, 4], [5, 7, 9], [2.5, 1.4, 0.45], [0.5, 0.3, -0.3]),
    ("mirrored", [7, 6, 6], [5, 4, 3], [-1.4, 1.5, -2], [5.8, 0.25, 4.5]),
    ("a single slice", [11, 9, 1], [5, 4, 1], [2.2, 2.25, 1], [0.6, 0.625, 0]),
    ("a single slice made several", [6, 5, 1], [6, 5, 3], [1, 1, 0.4], [0, 0, -0.4]),
    ("much coarser", [21, 17, 13], [3, 3, 2], [7, 6, 6.5], [3, 2, 2.75]),
    ("ten times coarser", [30, 9, 4], [3, 2, 1], [10, 4.5, 4], [4.5, 1.75, 1.5]),
    ("beyond both ends", [6, 6, 6], [7, 7, 7], [1.5, 1.25, 1], [-1.5, -0.8, -0.5]),
)


def label_map(size):
    x, y, z = size
    z, y, x = np.meshgrid(np.arange(z), np.arange(y), np.arange(x), indexing="ij")
    return ((x * 37 + y * 101 + z * 59 + x * y * 3 + y * z * 7) % 211) // 60


def averaged(values, axis, count, scale, offset):
    """Mean over [i * scale + offset - |scale| / 2, the same + |scale| / 2] for each i < count along an axis."""
    size = values.shape[axis]
    width, middle = abs(scale), np.arange(count) * scale + offset
    reach = int(np.ceil(max(-(middle.min() - width), middle.max() + width - size, 0))) + 2
    padded = np.pad(values, [(reach, reach) if i == axis else (0, 0) for i in range(3)], mode="edge")
    zero = np.zeros_like(np.take(padded, [0], axis))
    sums = np.concatenate([zero, np.cumsum(padded, axis)], axis)
    edges = np.arange(sums.shape[axis]) - reach - 0.5
    integral = interp1d(edges, sums, axis=axis)
    return (integral(middle + width / 2) - integral(middle - width / 2)) / width


def partial_volumes(mask, out, scale, offset):
    shares = mask.astype(np.float64)
    for axis in range(3):
        shares = averaged(shares, axis, out[2 - axis], scale[2 - axis], offset[2 - axis])
    return shares


cases = []
for name, size, out, scale, offset in CASES:
    labels = label_map(size)
    shares = [partial_volumes(labels == label, out, scale, offset) for label in range(4)]
    assert np.allclose(sum(shares), 1)
    cases.append({
        "name": name, "sizeVoxels": size, "outSizeVoxels": out, "scale": scale, "offset": offset,
        "sha256": hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest(),
        # Share of each label, [label, z, y, x].
        "shares": np.round(np.ravel(shares), 7).tolist(),
    })
body = {"partialVolumes": cases}
digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
provenance = {
    "tool": "numpy, scipy", "version": f"{np.__version__}, {scipy.__version__}", "seed": None,
    "command": "python3 test/golden/targets.py > test/golden/targets.json", "sha256": digest,
}
print(json.dumps({"provenance": provenance, **body}))
