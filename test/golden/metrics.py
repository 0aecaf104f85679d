#!/usr/bin/python3
"""Golden values of overlap and surface metrics, largest components, resampling and percentiles, from scipy and
numpy in double precision. Surface metrics follow medpy's published definitions (surface = mask XOR erosion with a
6-connected element; distances from an exact Euclidean distance transform), written down anew. Masks and images come from
integer formulas, so that the golden file holds results only. Run: python3 test/golden/metrics.py > test/golden/metrics.json
"""
import hashlib
import json
import sys

import numpy as np
import scipy
from scipy import ndimage

TOLERANCE_MM = 1.5


def grid(size):
    x, y, z = size
    return np.meshgrid(np.arange(z), np.arange(y), np.arange(x), indexing="ij")


def make_mask(size, recipe):
    """Union of ellipsoids (center, radius) in voxels, then a share of `noise` per mille of all voxels is inverted."""
    z, y, x = (c.astype(np.int64) for c in grid(size))
    mask = np.zeros(x.shape, bool)
    for cx, cy, cz, rx, ry, rz in recipe["ellipsoids"]:
        terms = (x - cx) ** 2 * (ry * rz) ** 2 + (y - cy) ** 2 * (rx * rz) ** 2 + (z - cz) ** 2 * (rx * ry) ** 2
        mask |= terms <= (rx * ry * rz) ** 2
    number = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791) ^ recipe["salt"]
    number = (number * 2654435761) & 0xFFFFFFFF
    return mask ^ ((number >> 8) % 1000 < recipe["noise"])


def make_image(size):
    z, y, x = grid(size)
    return (((x * 37 + y * 101 + z * 59 + x * y * 3 + y * z * 7) % 211) / 4 - 20).astype(np.float32)


def surface(mask):
    return mask ^ ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1))


def surface_distances(a, b, spacing):
    return ndimage.distance_transform_edt(~surface(b), sampling=spacing[::-1])[surface(a)]


def distance_metrics(a, b, spacing, tolerance):
    if not a.any() or not b.any():
        return None
    to_b, to_a = surface_distances(a, b, spacing), surface_distances(b, a, spacing)
    return {
        "hd95Pooled": np.percentile(np.hstack((to_b, to_a)), 95),
        "hd95Max": max(np.percentile(to_b, 95), np.percentile(to_a, 95)),
        "hd": max(to_b.max(), to_a.max()),
        "asd": to_b.mean(),
        "assd": np.mean((to_b.mean(), to_a.mean())),
        "surfaceDice": ((to_b <= tolerance).sum() + (to_a <= tolerance).sum()) / (to_b.size + to_a.size),
    }


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def case(name, size, spacing, a, b):
    mask_a, mask_b = make_mask(size, a), make_mask(size, b)
    both, in_a, in_b = (int(m.sum()) for m in (mask_a & mask_b, mask_a, mask_b))
    ml = float(np.prod(spacing)) / 1000
    return {
        "name": name, "sizeVoxels": size, "spacingMm": spacing, "prediction": a, "reference": b,
        "sha256": [digest(m.astype(np.uint8)) for m in (mask_a, mask_b)],
        "dice": 2 * both / (in_a + in_b),
        "jaccard": both / (in_a + in_b - both),
        "precision": both / in_a if in_a else None,
        "recall": both / in_b if in_b else None,
        "volumePredictionMl": in_a * ml,
        "volumeReferenceMl": in_b * ml,
        "mm": distance_metrics(mask_a, mask_b, spacing, TOLERANCE_MM),
        "voxels": distance_metrics(mask_a, mask_b, [1, 1, 1], 1),
    }


def recipe(salt, noise, *ellipsoids):
    return {"salt": salt, "noise": noise, "ellipsoids": ellipsoids}


def metric_cases():
    return [
        case("ball, shifted", [24, 22, 20], [1, 1, 1],
             recipe(1, 0, (12, 11, 10, 7, 7, 7)), recipe(2, 0, (13, 10, 10, 7, 7, 6))),
        case("thick slices", [40, 36, 12], [0.625, 0.625, 5],
             recipe(1, 0, (20, 18, 6, 12, 9, 4)), recipe(2, 0, (22, 16, 5, 11, 11, 4))),
        case("false positive far away", [50, 30, 30], [0.98, 0.97, 3.27],
             recipe(1, 0, (12, 12, 12, 8, 8, 8), (44, 24, 25, 3, 3, 2)), recipe(2, 0, (13, 12, 11, 8, 8, 8))),
        case("noise everywhere", [33, 17, 19], [1.5, 1.25, 0.7],
             recipe(11, 20, (15, 8, 9, 9, 6, 7)), recipe(12, 20, (16, 9, 9, 9, 6, 7))),
        case("cut by the border", [20, 21, 22], [2, 1, 1.1],
             recipe(1, 0, (2, 3, 4, 9, 9, 9)), recipe(2, 0, (0, 1, 6, 9, 8, 9))),
        case("disjoint", [48, 16, 40], [0.5, 2, 1],
             recipe(1, 0, (6, 8, 6, 4, 4, 4)), recipe(2, 0, (40, 8, 32, 5, 4, 5))),
        case("small and far apart", [9, 8, 7], [1, 2, 3],
             recipe(1, 0, (1, 1, 1, 1, 1, 1)), recipe(2, 0, (7, 6, 5, 1, 1, 1))),
        case("one inside the other", [31, 33, 35], [1, 1, 2],
             recipe(1, 0, (15, 16, 17, 5, 5, 5)), recipe(2, 0, (15, 16, 17, 13, 14, 15))),
        case("equal", [19, 18, 17], [1, 1.2, 1.4],
             recipe(5, 10, (9, 9, 8, 6, 5, 5)), recipe(5, 10, (9, 9, 8, 6, 5, 5))),
        case("wide rows", [70, 9, 8], [0.4, 3, 3],
             recipe(1, 5, (34, 4, 4, 31, 3, 3)), recipe(2, 5, (36, 4, 4, 30, 4, 3))),
        case("empty prediction", [12, 11, 10], [1, 1, 2], recipe(1, 0), recipe(2, 0, (6, 5, 5, 3, 3, 3))),
        case("empty reference", [12, 11, 10], [1, 1, 2], recipe(1, 0, (6, 5, 5, 3, 3, 3)), recipe(2, 0)),
    ]


def components():
    result = []
    for size, noise in (([15, 13, 11], 250), ([37, 20, 9], 130), ([8, 9, 10], 0)):
        mask = make_mask(size, recipe(21, noise))
        for rank, connectivity in ((1, 6), (2, 18), (3, 26)):
            labels, count = ndimage.label(mask, ndimage.generate_binary_structure(3, rank))
            sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
            result.append({
                "sizeVoxels": size, "mask": recipe(21, noise), "connectivity": connectivity,
                "largest": int(sizes.max()) if count else 0,
                "sha256": digest((labels == sizes.argmax() + 1 if count else mask).astype(np.uint8)),
            })
    return result


def resampling():
    result = []
    for size, out, scale, offset in (
        ([9, 8, 7], [6, 5, 4], [1.5, 1.6, 1.75], [0.25, 0.3, 0.375]),
        ([5, 6, 4], [9, 7, 8], [5 / 9, 6 / 7, 0.5], [-0.22, -0.07, -0.25]),
        ([7, 5, 6], [7, 4, 3], [-1, 1.25, 2.5], [6, 0.1, -1]),
        ([40, 5, 3], [50, 6, 4], [0.8, 0.8, 0.7], [0.1, 0.1, 0.05]),
    ):
        points = [c * scale[2 - i] + offset[2 - i] for i, c in enumerate(grid(out))]
        image = make_image(size).astype(np.float64)
        linear = ndimage.map_coordinates(image, points, order=1, mode="nearest")
        labels = (image.astype(int) // 12) % 4
        shares = [
            ndimage.map_coordinates((labels == k).astype(np.float64), points, order=1, mode="nearest") for k in range(4)
        ]
        top = np.sort(shares, axis=0)[-2:]
        result.append({
            "sizeVoxels": size, "outSizeVoxels": out, "scale": scale, "offset": offset, "linear": linear.ravel().tolist(),
            # -1: two labels are equal up to rounding, either is right.
            "labels": np.where(top[1] - top[0] < 1e-6, -1, np.argmax(shares, axis=0)).ravel().tolist(),
        })
    return result


def intensities():
    size, fractions = [31, 29, 7], [0, 0.005, 0.25, 0.5, 0.7531, 0.995, 1]
    image = make_image(size)
    mask = make_mask(size, recipe(9, 300))
    return {
        "sizeVoxels": size, "fractions": fractions, "mask": recipe(9, 300),
        "all": statistics(image.ravel(), fractions), "masked": statistics(image[mask], fractions),
    }


def statistics(values, fractions):
    values = values.astype(np.float64)
    return {
        "min": values.min(), "max": values.max(), "mean": values.mean(), "standardDeviation": values.std(),
        "count": int(values.size), "percentiles": np.percentile(values, [100 * f for f in fractions]).tolist(),
    }


def main():
    with open(__file__, "rb") as file:
        own_digest = hashlib.sha256(file.read()).hexdigest()
    json.dump({
        "provenance": {
            "tool": "scipy, numpy",
            "version": f"{scipy.__version__}, {np.__version__}",
            "seed": None,
            "command": "python3 test/golden/metrics.py > test/golden/metrics.json",
            "sha256": own_digest,
        },
        "toleranceMm": TOLERANCE_MM,
        "metrics": metric_cases(),
        "components": components(),
        "resampling": resampling(),
        "intensities": intensities(),
    }, sys.stdout)
    print()


main()
