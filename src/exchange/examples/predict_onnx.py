"""Segments a scan with an ONNX model that `versemi export` wrote: python predict_onnx.py MODEL.onnx SCAN.nii.gz TASK MASK.nii.gz
Needs nibabel, numpy, onnxruntime and scipy. MODEL.json says all that is done. For research."""
import itertools, json, sys, nibabel, numpy as np, onnxruntime
from scipy import ndimage, signal
model_file, scan_file, task_name, mask_file = sys.argv[1:5]
model = json.load(open(model_file.removesuffix(".onnx") + ".json", encoding="utf-8"))
task = {task["name"]: task for task in model["tasks"]}.get(task_name) or sys.exit(f"tasks: {[t['name'] for t in model['tasks']]}")
together = [task] + [other for other in model["tasks"] if other["name"] in task.get("together", [])]
settings, windows, normalization = task["preprocessing"], model["windows"], task["preprocessing"]["normalization"]
session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
# Along an axis, blurring and interpolating are products with a matrix; in float64, so that what is constant stays so.
def blurring(size, sigma):  # a Gaussian [size, size], edges replicated
    return ndimage.gaussian_filter1d(np.eye(size), sigma, 0, mode="nearest", radius=int(np.ceil(3 * sigma))) if sigma > 0.25 else np.eye(size)
def interpolation(count, size, scale, offset):  # linear, [count, size]
    return (1 - abs((np.arange(count) * scale + offset).clip(0, size - 1)[:, None] - np.arange(size))).clip(0)
def along_axes(volume, matrices):
    return np.einsum("ax,by,cz,xyz->abc", *matrices, volume, optimize=True).astype(np.float32)
# In this order: crop to the body, clip, resample, normalise.
scan = nibabel.load(scan_file)
canonical = nibabel.as_closest_canonical(scan)  # axes x, y, z towards right, front, head
whole = np.asarray(canonical.dataobj, np.float32).reshape(canonical.shape[:3])
spacing, crop = nibabel.affines.voxel_sizes(canonical.affine), tuple(slice(0, size) for size in whole.shape)
if settings["crop"] == "body":  # the box round what is not air, and 5 mm
    low, high = np.quantile(whole, [0.01, 0.99])
    body = along_axes(whole, map(blurring, whole.shape, 3 / spacing)) >= (-500 if whole.min() <= -500 else low + 0.1 * (high - low))
    if body.any() and high > low:
        crop = tuple(slice(max(0, b.start - m), b.stop + m) for b, m in zip(ndimage.find_objects(body.astype(int))[0], np.ceil(5 / spacing).astype(int)))
image = whole[crop].clip(*settings["window"] or (-np.inf, np.inf))
ratio, full = np.array(settings["spacingMm"]) / spacing, np.array(image.shape)
scale = np.where(abs(ratio - 1) * full < 0.05, 1, ratio)
size = np.floor(full / scale + 0.5).astype(int).clip(1)
offset, sigma = (full - 1 - (size - 1) * scale) / 2, np.sqrt((scale.clip(1) ** 2 - 1) / (8 * np.log(2)))
image = along_axes(image, [interpolation(s, n, k, o) @ blurring(n, b) for s, n, k, o, b in zip(size, full, scale, offset, sigma)])
used = image != 0 if normalization == "zscore-nonzero" else np.ones(size, bool)
low, high = settings["window"] or (image.min(), image.max())
middle, spread = {"range": (low, high - low), "none": (0, 1)}.get(normalization) or (image[used].mean(dtype=float), image[used].std(dtype=float))
image = np.where(used, (image - middle) / spread if spread > 2**-23 * abs(middle) else 0, 0)
# Windows: the average of the probabilities, weighted.
patch, prompts = np.array(windows["sizeVoxels"]), np.eye(model["promptCount"], dtype=np.float32)[None, [one["prompt"] for one in together]]
outputs = range(len(together)) if model["promptsAsInput"] else [one["output"] for one in together]
before = (patch - size).clip(0) // 2  # a small volume stands amid zeros
image = np.pad(image, [(b, max(0, p - n) - b) for b, p, n in zip(before, patch, size)])
weight = np.einsum("x,y,z->xyz", *[signal.windows.gaussian(p, p / 8) for p in patch]).clip(1e-3) if windows["weighting"] == "gaussian" else np.ones(patch)
def begins(n, p, stride):
    steps = -(-(n - p) // stride)
    return [int(i * (n - p) / max(steps, 1) + 0.5) if windows["even"] else min(i * stride, n - p) for i in range(steps + 1)]
total, weights = np.zeros((len(together), *image.shape), np.float32), np.zeros(image.shape, np.float32)
for begin in itertools.product(*map(begins, image.shape, patch, windows["strideVoxels"])):
    box = tuple(slice(b, b + p) for b, p in zip(begin, patch))
    for axes in [(), (0,), (1,), (0, 1), (2,), (0, 2), (1, 2), (0, 1, 2)][: 8 if windows["mirror"] else 1]:
        feeds = {"image": np.flip(image[box], axes).T[None, None].astype(np.float32)} | ({"prompts": prompts} if model["promptsAsInput"] else {})
        found = session.run(["probabilities"], feeds)[0][0, outputs].transpose(0, 3, 2, 1)
        total[(slice(None), *box)] += weight * np.flip(found, [1 + axis for axis in axes])
        weights[box] += weight
# Back to the grid of the scan, in steps of 1/256.
steps = (np.ceil(total / weights * 256) - 1).clip(0, 255)[(slice(None), *(slice(b, b + n) for b, n in zip(before, size)))]
back = [interpolation(n, s, 1 / k, -o / k) for s, n, k, o in zip(size, full, scale, offset)]
masks = np.zeros((len(together), *whole.shape), bool)
for mask, values in zip(masks, steps):
    mask[crop] = along_axes(values, back) > 127.5
def largest(mask):
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax() if count > 1 else mask
mask = (largest(largest(masks.any(0)) & masks[0]) if windows["largestComponent"] else masks[0]).astype(np.uint8)
way_back = nibabel.orientations.ornt_transform(nibabel.io_orientation(canonical.affine), nibabel.io_orientation(scan.affine))
nibabel.save(nibabel.Nifti1Image(nibabel.apply_orientation(mask, way_back), scan.affine), mask_file)
print(f"{mask_file}: {mask.sum()} voxels of {task_name}, {mask.sum() * abs(np.linalg.det(scan.affine[:3, :3])) / 1000:.2f} ml")
