"""Evaluation of one case as research code does it, the network served by ONNX Runtime: read with nibabel, normalise, windows with
Gaussian weights in numpy, metrics with scipy as medpy has them, write with nibabel.

`python3 evaluation.py '{"image": FILE, "label": FILE, "labels": [1], "model": FILE, "patch": [x, y, z], "overlap": 0.5,
"spacingMm": [x, y, z], "threads": 2, "runs": 5, "node": PROGRAM, "out": FILE}'` prints {"milliseconds": [...], "results": {...},
"networkMilliseconds": [...]}. From files to files; imports and the loading of the network do not count, nor does the first run.
"""
import json
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np

from metrics import measure


class Server:
    """The network behind two pipes; see onnx-server.mjs."""

    def __init__(self, settings):
        program = Path(__file__).with_name("onnx-server.mjs")
        patch = ",".join(map(str, settings["patch"]))
        command = [settings["node"], str(program), settings["model"], patch, str(settings["threads"])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seconds = 0.0
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("the server of the network did not start")

    def __call__(self, patch):
        """Probabilities of one patch [z, y, x]."""
        start = time.perf_counter()
        self.process.stdin.write(np.ascontiguousarray(patch))
        self.process.stdin.flush()
        result = np.empty(patch.shape, np.float32)
        view = memoryview(result).cast("B")
        read = 0
        while read < len(view):
            part = self.process.stdout.readinto(view[read:])
            if not part:
                raise RuntimeError("the server of the network ended")
            read += part
        self.seconds += time.perf_counter() - start
        return result

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def begins(size, patch, overlap):
    """First voxels of the windows: as few as the stride allows, evenly spread; a small volume lies in the middle of one."""
    if size <= patch:
        return [-((patch - size) // 2)]
    steps = -(-(size - patch) // max(1, int(patch * (1 - overlap))))
    return [int(i * (size - patch) / steps + 0.5) for i in range(steps + 1)]


def gaussian(shape):
    along = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in shape]
    weights = along[0][:, None, None] * along[1][:, None] * along[2]
    return np.maximum(weights, 1e-3).astype(np.float32)


def segment(image, network, patch, overlap):
    """Foreground of [z, y, x]."""
    sums, total, weights = np.zeros_like(image), np.zeros_like(image), gaussian(patch)
    for z in begins(image.shape[0], patch[0], overlap):
        for y in begins(image.shape[1], patch[1], overlap):
            for x in begins(image.shape[2], patch[2], overlap):
                first = (z, y, x)
                inside = tuple(slice(max(0, b), min(n, b + p)) for b, p, n in zip(first, patch, image.shape))
                window = tuple(slice(s.start - b, s.stop - b) for s, b in zip(inside, first))
                cut = image[inside]
                if cut.shape != patch:
                    padded = np.zeros(patch, np.float32)
                    padded[window] = cut
                    cut = padded
                probability = network(cut)
                sums[inside] += probability[window] * weights[window]
                total[inside] += weights[window]
    return sums > 0.5 * total


def evaluate(settings, network):
    file = nibabel.load(settings["image"])
    image = file.get_fdata(dtype=np.float32).T  # [x, y, z], x fastest -> [z, y, x]
    label = np.asarray(nibabel.load(settings["label"]).dataobj).T
    image = (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
    mask = segment(image.astype(np.float32), network, tuple(settings["patch"][::-1]), settings["overlap"])
    reference = np.isin(label, settings["labels"])
    found = measure(mask, reference, settings["spacingMm"][::-1])
    nibabel.save(nibabel.Nifti1Image(mask.T.astype(np.uint8), file.affine), settings["out"])
    return {**found, "voxels": int(mask.sum())}


def main():
    settings = json.loads(sys.argv[1])
    network = Server(settings)
    milliseconds, network_milliseconds, found = [], [], None
    for run in range(settings["runs"] + 1):
        network.seconds = 0.0
        start = time.perf_counter()
        found = evaluate(settings, network)
        if run > 0:
            milliseconds.append((time.perf_counter() - start) * 1000)
            network_milliseconds.append(network.seconds * 1000)
    network.close()
    print(json.dumps({"milliseconds": milliseconds, "results": found, "networkMilliseconds": network_milliseconds}))


if __name__ == "__main__":
    main()
