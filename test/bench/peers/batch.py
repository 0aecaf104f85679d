"""Patches and CutMix of training steps by numpy slices: `python3 batch.py FOLDER` prints {"milliseconds": [...], "results": {...}}.

FOLDER holds the volumes (.npy, [z, y, x]) and batch.json with the decisions of each step: which patch of which volume, which cube of
which pair. The arrays of a batch are made once and filled in every step, and nothing is copied twice. The first step does not
count. Processor time (one thread).
"""
import json
import sys
import time
from pathlib import Path

import numpy as np

FIELDS = {  # patches of each array, in halves of the labelled batch or as many as there are unlabelled ones
    "labeledImage": "labeled", "labeledTarget": "labeled", "mixedImage": "mixed", "mixedAnyForeground": "mixed",
    "mixedTargetA": "mixed", "mixedTargetB": "mixed", "unlabeledImage": "unlabeled", "unlabeledInside": "unlabeled",
    "unlabeledCubeLabel": "unlabeled",
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
        self.any = [sorted({v for t, d in self.datasets_of_tasks() if d == dataset for v in t}) for dataset in plan["datasetOf"]]

    def datasets_of_tasks(self):
        """Labels of each task with the dataset that has it: the bench has one task per dataset, in the same order."""
        names = list(dict.fromkeys(self.plan["datasetOf"]))
        return list(zip(self.plan["tasks"], names))

    def fill(self, recipe):
        a, plan, tasks = self.arrays, self.plan, self.plan["tasks"]
        patch = lambda volumes, one: volumes[one["caseIndex"]][box(one["begin"], plan["patch"])]
        labels = []
        for i, one in enumerate(recipe["labeled"]):
            a["labeledImage"][i] = patch(self.labeled, one)
            labels.append(patch(self.labels, one))
            foreground(labels[i], tasks[one["task"]], a["labeledTarget"][i])
        any_of = lambda index: self.any[recipe["labeled"][index]["caseIndex"]]
        for i, mix in enumerate(recipe["mixed"]):
            outside, inside, cube = mix["outside"], mix["inside"], cube_of(mix)
            a["mixedImage"][i] = a["labeledImage"][outside]
            a["mixedImage"][i][cube] = a["labeledImage"][inside][cube]
            foreground(labels[outside], any_of(outside), a["mixedAnyForeground"][i])
            foreground(labels[inside][cube], any_of(inside), a["mixedAnyForeground"][i][cube])
            one, other = recipe["labeled"][outside], recipe["labeled"][inside]
            # Of one dataset: what lies in the other patch is labelled for this task too.
            same = plan["datasetOf"][one["caseIndex"]] == plan["datasetOf"][other["caseIndex"]]
            target_a, target_b = a["mixedTargetA"][i], a["mixedTargetB"][i]
            target_a[:] = a["labeledTarget"][outside]
            if same:
                foreground(labels[inside][cube], tasks[one["task"]], target_a[cube])
                foreground(labels[outside], tasks[other["task"]], target_b)
            else:
                target_a[cube] = 0
                target_b[:] = 0
            target_b[cube] = a["labeledTarget"][inside][cube]
        for i, mix in enumerate(recipe["unlabeledMixes"]):
            inside, cube = mix["inside"], cube_of(mix)
            a["unlabeledImage"][i] = patch(self.unlabeled, recipe["unlabeled"][mix["outside"]])
            a["unlabeledImage"][i][cube] = a["labeledImage"][inside][cube]
            a["unlabeledInside"][i] = 0
            a["unlabeledInside"][i][cube] = 1
            a["unlabeledCubeLabel"][i] = 0
            foreground(labels[inside][cube], any_of(inside), a["unlabeledCubeLabel"][i][cube])

    def fingerprint(self):
        def number(array):
            flat = array.ravel().astype(np.float64)
            return float(flat * flat @ (np.arange(flat.size) % 1009))
        return {name: number(array) for name, array in self.arrays.items()}


def main():
    batches = Batches(Path(sys.argv[1]))
    milliseconds = []
    for recipe in batches.plan["recipes"]:
        start = time.process_time()
        batches.fill(recipe)
        milliseconds.append((time.process_time() - start) * 1000)
    print(json.dumps({"milliseconds": milliseconds[1:], "results": batches.fingerprint()}))


main()
