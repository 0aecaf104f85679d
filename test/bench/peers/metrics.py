"""Dice, 95HD and ASD in scipy as medpy has them: erosion, distance transforms of the whole volume, percentiles. Processor time.

`python3 metrics.py RADIUS RUNS` prints {"milliseconds": [...], "results": {...}} of two lobed balls in 256^3, which `versemi bench`
reads; `python3 metrics.py` prints a table of three sizes, whole and cropped to the box around both masks first. medpy itself
computes the surfaces anew for every metric; here both distances come from one pass, which is kinder to scipy.
"""
import json
import sys
import time

import numpy as np
from scipy import ndimage

EDGE, SPACING = 256, (1.5, 0.7, 0.7)


def lobed_ball(x0, y0, z0, radius, lobes):
    z, y, x = np.meshgrid(*(np.arange(EDGE, dtype=float),) * 3, indexing="ij")
    dx, dy, dz = x - x0, y - y0, z - z0
    limit = radius + lobes * np.sin(5 * np.arctan2(dy, dx)) * np.cos(dz / 9)
    return dx * dx + dy * dy + dz * dz < limit * limit


def balls(radius):
    return lobed_ball(128, 128, 128, radius, 5), lobed_ball(131, 127, 126, radius - 2, 6)


def surface(mask):
    return mask ^ ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1))


def measure(a, b, spacing, crop=False):
    """Of prediction a and reference b, both bool and not empty: Dice, pooled 95HD, ASD from a to b."""
    if crop:
        box = ndimage.find_objects((a | b).astype(np.uint8))[0]
        a, b = (np.pad(m[box], 1) for m in (a, b))
    surface_a, surface_b = surface(a), surface(b)
    to_b = ndimage.distance_transform_edt(~surface_b, sampling=spacing)[surface_a]
    to_a = ndimage.distance_transform_edt(~surface_a, sampling=spacing)[surface_b]
    dice = 2 * (a & b).sum() / (a.sum() + b.sum())
    return {"dice": float(dice), "hd95Mm": float(np.percentile(np.hstack((to_b, to_a)), 95)), "asdMm": float(to_b.mean())}


def timed(masks, crop=False):
    start = time.process_time()
    found = measure(*masks, SPACING, crop)
    return (time.process_time() - start) * 1000, found


def main():
    if len(sys.argv) > 1:
        masks = balls(float(sys.argv[1]))
        times = [timed(masks) for _ in range(int(sys.argv[2]))]
        print(json.dumps({"milliseconds": [elapsed for elapsed, _ in times], "results": times[-1][1]}))
        return
    for radius in (40, 80, 115):
        masks = balls(radius)
        for crop in (True, False):
            elapsed, found = timed(masks, crop)
            print(f"radius {radius}, {'cropped' if crop else 'whole'}: {elapsed:.0f} ms, Dice {found['dice']:.6f}, 95HD {found['hd95Mm']:.6f} mm")


if __name__ == "__main__":
    main()
