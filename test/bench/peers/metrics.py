"""The work of test/bench/metrics.ts in scipy, as metric libraries do it: erosion, two distance transforms, percentiles; with
and without cropping to the box around both masks first. Processor time. Run: python3 test/bench/peers/metrics.py
"""
import time

import numpy as np
from scipy import ndimage

EDGE, SPACING = 256, (1.5, 0.7, 0.7)


def lobed_ball(x0, y0, z0, radius, lobes):
    z, y, x = np.meshgrid(*(np.arange(EDGE, dtype=float),) * 3, indexing="ij")
    dx, dy, dz = x - x0, y - y0, z - z0
    limit = radius + lobes * np.sin(5 * np.arctan2(dy, dx)) * np.cos(dz / 9)
    return dx * dx + dy * dy + dz * dz < limit * limit


def surface(mask):
    return mask ^ ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1))


def measure(a, b, crop):
    if crop:
        box = ndimage.find_objects((a | b).astype(np.uint8))[0]
        a, b = (np.pad(m[box], 1) for m in (a, b))
    surface_a, surface_b = surface(a), surface(b)
    to_b = ndimage.distance_transform_edt(~surface_b, sampling=SPACING)[surface_a]
    to_a = ndimage.distance_transform_edt(~surface_a, sampling=SPACING)[surface_b]
    dice = 2 * (a & b).sum() / (a.sum() + b.sum())
    return dice, np.percentile(np.hstack((to_b, to_a)), 95), to_b.mean()


for radius in (40, 80, 115):
    masks = lobed_ball(128, 128, 128, radius, 5), lobed_ball(131, 127, 126, radius - 2, 6)
    for crop in (True, False):
        start = time.process_time()
        dice, hd95, _ = measure(*masks, crop)
        elapsed = (time.process_time() - start) * 1000
        print(f"radius {radius}, {'cropped' if crop else 'whole'}: {elapsed:.0f} ms, Dice {dice:.6f}, 95HD {hd95:.6f} mm")
