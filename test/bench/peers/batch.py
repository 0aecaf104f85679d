"""Patches and CutMix of training steps in numpy: `python3 batch.py FOLDER slices|masks` prints {"milliseconds": [...], "results": {...}}.

FOLDER holds the volumes (.npy, [z, y, x]) and batch.json with the decisions of each step: which patch of which volume, which cube of
which pair. Two ways to the same numbers:
- slices: the least work that numpy can do. The arrays of a batch are made once and filled in every step, nothing is copied twice.
- masks: as research code does it. Patches are cut and converted one by one and stacked to a batch; a cube is a mask m of ones and
  zeros, and a mix is a * m + b * (1 - m).
The first step does not count. Processor time (one thread).
"""
import json
import sys
import time
from functools import reduce
from pathlib import Path

import numpy as np

FIELDS = {  # patches of each array, in halves of the labelled batch or as many as there are unlabelled ones
    "labeled.image": "labeled", "labeled.target": "labeled", "mixed.image": "mixed", "mixed.anyForeground": "mixed",
    "mixed.targetA": "mixed", "mixed.targetB": "mixed", "unlabeled.image": "unlabeled", "unlabeled.partner": "unlabeled",
    "unlabeled.cubeLabel": "unlabeled",
}


def box(begin, size):
    """Slices [z, y, x] of a box given as x, y, z."""
    return tuple(slice(b, b + s) for b, s in zip(begin[::-1], size[::-1]))


def cube_of(mix):
    return box(mix["cube"]["begin"], mix["cube"]["sizeVoxels"])


def foreground(labels, values, out):
    """1.0 where the label is one of the values."""
    np.equal(labels, values[0], out=out, casting="unsafe")
    for value in values[1:]:
        out[labels == value] = 1


class Batches:
    def __init__(self, folder):
        self.plan = plan = json.loads((folder / "batch.json").read_text())
        load = lambda pool, what: [np.load(folder / f"{pool}-{i}-{what}.npy") for i in range(plan["counts"][pool])]
        self.labeled, self.labels, self.unlabeled = load("labeled", "image"), load("labeled", "label"), load("unlabeled", "image")
        recipe = plan["recipes"][0]
        counts = {"labeled": len(recipe["labeled"]), "mixed": len(recipe["mixed"]), "unlabeled": len(recipe["unlabeledMixes"])}
        patch = tuple(plan["patch"][::-1])
        self.arrays = {name: np.zeros((counts[pool], *patch), np.float32) for name, pool in FIELDS.items()}
        datasets = list(dict.fromkeys(plan["datasetOf"]))  # the bench has one task per dataset, in the same order
        self.any = [plan["tasks"][datasets.index(name)] for name in plan["datasetOf"]]

    def patch(self, volumes, one):
        return volumes[one["caseIndex"]][box(one["begin"], self.plan["patch"])]

    def any_of(self, recipe, index):
        return self.any[recipe["labeled"][index]["caseIndex"]]

    def same_dataset(self, one, other):
        """Then what lies in the other patch of a mix is labelled for the task of each."""
        return self.plan["datasetOf"][one["caseIndex"]] == self.plan["datasetOf"][other["caseIndex"]]

    def slices(self, recipe):
        a, tasks = self.arrays, self.plan["tasks"]
        labels = []
        for i, one in enumerate(recipe["labeled"]):
            a["labeled.image"][i] = self.patch(self.labeled, one)
            labels.append(self.patch(self.labels, one))
            foreground(labels[i], tasks[one["task"]], a["labeled.target"][i])
        for i, mix in enumerate(recipe["mixed"]):
            outside, inside, cube = mix["outside"], mix["inside"], cube_of(mix)
            a["mixed.image"][i] = a["labeled.image"][outside]
            a["mixed.image"][i][cube] = a["labeled.image"][inside][cube]
            foreground(labels[outside], self.any_of(recipe, outside), a["mixed.anyForeground"][i])
            foreground(labels[inside][cube], self.any_of(recipe, inside), a["mixed.anyForeground"][i][cube])
            one, other = recipe["labeled"][outside], recipe["labeled"][inside]
            target_a, target_b = a["mixed.targetA"][i], a["mixed.targetB"][i]
            target_a[:] = a["labeled.target"][outside]
            if self.same_dataset(one, other):
                foreground(labels[inside][cube], tasks[one["task"]], target_a[cube])
                foreground(labels[outside], tasks[other["task"]], target_b)
            else:
                target_a[cube] = 0
                target_b[:] = 0
            target_b[cube] = a["labeled.target"][inside][cube]
        for i, mix in enumerate(recipe["unlabeledMixes"]):
            inside, cube = mix["inside"], cube_of(mix)
            a["unlabeled.image"][i] = self.patch(self.unlabeled, recipe["unlabeled"][mix["outside"]])
            a["unlabeled.image"][i][cube] = a["labeled.image"][inside][cube]
            a["unlabeled.partner"][i] = 0
            a["unlabeled.partner"][i][cube] = 1
            a["unlabeled.cubeLabel"][i] = 0
            foreground(labels[inside][cube], self.any_of(recipe, inside), a["unlabeled.cubeLabel"][i][cube])

    def masks(self, recipe):
        tasks, shape = self.plan["tasks"], tuple(self.plan["patch"][::-1])
        stack = lambda parts: np.stack(list(parts))
        target = lambda label, values: reduce(np.logical_or, (label == value for value in values)).astype(np.float32)

        def mask(mix):
            m = np.ones(shape, np.float32)
            m[cube_of(mix)] = 0
            return m

        images = stack(self.patch(self.labeled, one).astype(np.float32) for one in recipe["labeled"])
        labels = [self.patch(self.labels, one).copy() for one in recipe["labeled"]]
        targets = stack(target(labels[i], tasks[one["task"]]) for i, one in enumerate(recipe["labeled"]))
        anything = stack(target(label, self.any_of(recipe, i)) for i, label in enumerate(labels))
        mixes = recipe["mixed"]
        first, second = [mix["outside"] for mix in mixes], [mix["inside"] for mix in mixes]
        m = stack(map(mask, mixes))
        target_a, target_b = targets[first] * m, targets[second] * (1 - m)
        for i, (a, b) in enumerate(zip(first, second)):
            one, other = recipe["labeled"][a], recipe["labeled"][b]
            if self.same_dataset(one, other):
                target_a[i] += target(labels[b], tasks[one["task"]]) * (1 - m[i])
                target_b[i] += target(labels[a], tasks[other["task"]]) * m[i]
        unlabeled = stack(self.patch(self.unlabeled, one).astype(np.float32) for one in recipe["unlabeled"])
        mixes = recipe["unlabeledMixes"]
        outer, inner = [mix["outside"] for mix in mixes], [mix["inside"] for mix in mixes]
        u = stack(map(mask, mixes))
        self.arrays = {
            "labeled.image": images, "labeled.target": targets, "mixed.image": images[first] * m + images[second] * (1 - m),
            "mixed.anyForeground": anything[first] * m + anything[second] * (1 - m), "mixed.targetA": target_a,
            "mixed.targetB": target_b, "unlabeled.image": unlabeled[outer] * u + images[inner] * (1 - u),
            "unlabeled.partner": 1 - u, "unlabeled.cubeLabel": anything[inner] * (1 - u),
        }

    def fingerprint(self):
        def number(array):
            flat = array.ravel().astype(np.float64)
            return float(flat * flat @ (np.arange(flat.size) % 1009))
        return {name: number(array) for name, array in self.arrays.items()}


def main():
    batches = Batches(Path(sys.argv[1]))
    make = {"slices": batches.slices, "masks": batches.masks}[sys.argv[2]]
    milliseconds = []
    for recipe in batches.plan["recipes"]:
        start = time.process_time()
        make(recipe)
        milliseconds.append((time.process_time() - start) * 1000)
    print(json.dumps({"milliseconds": milliseconds[1:], "results": batches.fingerprint()}))


main()
