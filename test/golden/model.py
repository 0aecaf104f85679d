#!/usr/bin/python3
"""Golden values of the network, the losses and ten training steps, from PyTorch, in double precision.

An implementation of its own, from the published description: nn.Module layers, one forward pass per (image, prompt) as
the paper's code does it, probabilities by softmax over two channels. Weights and data come from a formula, so that the golden
file holds outputs only. Run: python3 test/golden/model.py > test/golden/model.json
"""
import hashlib
import json
import math
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

WIDTH, LEVELS, CONVOLUTIONS, HEAD, TASKS = 4, 3, [1, 2, 2], 8, 2
PATCH = (8, 16, 8)  # depth, height, width: a wrong axis order shows
LABELED, UNLABELED = 4, 4
SMOOTH = 1e-5
CONTROLLER_SCALE = 0.25


def wave(count, offset):
    """2 frac(43758.5453 sin(12.9898 (i + 1) + 78.233 (offset + 1))) - 1: looks random, costs nothing to store."""
    values = [43758.5453 * math.sin(12.9898 * (i + 1) + 78.233 * (offset + 1)) for i in range(count)]
    return torch.tensor([2 * (value - math.floor(value)) - 1 for value in values])


class Block(nn.Module):
    def __init__(self, count, inputs, outputs):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv3d(inputs if i == 0 else outputs, outputs, 3, padding=1) for i in range(count))
        self.norm = nn.InstanceNorm3d(outputs)

    def forward(self, x):
        for conv in self.convs:
            x = F.relu(self.norm(conv(x)))
        return x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        width = [WIDTH * 2**level for level in range(LEVELS)]
        self.width = width
        self.encoder = nn.ModuleList(Block(CONVOLUTIONS[i], 1 if i == 0 else width[i], width[i]) for i in range(LEVELS))
        self.down = nn.ModuleList(nn.Conv3d(width[i], width[i + 1], 2, stride=2) for i in range(LEVELS - 1))
        self.up = nn.ModuleList(nn.ConvTranspose3d(width[i + 1], width[i], 2, stride=2) for i in range(LEVELS - 1))
        self.decoder = nn.ModuleList(Block(CONVOLUTIONS[i], width[i], width[i]) for i in range(1, LEVELS - 1))
        self.norms = nn.ModuleList(nn.InstanceNorm3d(w) for w in width)
        self.gap = nn.BatchNorm3d(width[-1])
        self.generated = 2 * HEAD * HEAD + 2 * HEAD + 2 * HEAD + 2
        self.controller = nn.Conv3d(width[-1] + TASKS + 1, self.generated, 1)
        self.prehead_norm = nn.BatchNorm3d(width[0])
        self.prehead = nn.Conv3d(width[0], HEAD, 1)

    def trunk(self, x):
        skips = []
        for level in range(LEVELS):
            if level > 0:
                x = F.relu(self.norms[level](self.down[level - 1](x)))
            x = self.encoder[level](x)
            skips.append(x)
        bottleneck = x
        for level in reversed(range(LEVELS - 1)):
            x = F.relu(self.norms[level](self.up[level](x)))
            if level > 0:
                x = self.decoder[level - 1](x + skips[level])
        return x, bottleneck

    def forward(self, x, prompts, follow=False):
        """prompts: one list of task indices per image. Returns softmax scores before softmax, [n, p, 2, D, H, W].

        follow: whether this pass moves the running statistics (ours do so for unmixed images only)."""
        self.gap.momentum = self.prehead_norm.momentum = 0.1 if follow else 0.0
        features, bottleneck = self.trunk(x)
        pooled = F.relu(self.gap(bottleneck)).mean((2, 3, 4), keepdim=True)
        features = self.prehead(F.relu(self.prehead_norm(features)))
        out = []
        for n, tasks in enumerate(prompts):
            row = []
            for task in tasks:
                code = torch.zeros(1, TASKS + 1, 1, 1, 1)
                code[0, task] = 1
                p = self.controller(torch.cat([pooled[n : n + 1], code], 1)).flatten()
                sizes = [HEAD * HEAD, HEAD * HEAD, 2 * HEAD, HEAD, HEAD, 2]
                w1, w2, w3, b1, b2, b3 = torch.split(p, sizes)
                h = F.relu(F.conv3d(features[n : n + 1], w1.reshape(HEAD, HEAD, 1, 1, 1), b1))
                h = F.relu(F.conv3d(h, w2.reshape(HEAD, HEAD, 1, 1, 1), b2))
                row.append(F.conv3d(h, w3.reshape(2, HEAD, 1, 1, 1), b3)[0])
            out.append(torch.stack(row))
        return torch.stack(out)


def names(net):
    """(our name, PyTorch tensor or its part), in our order."""
    rows = []

    def conv(name, layer):
        rows.extend([(name + ".weight", layer.weight), (name + ".bias", layer.bias)])

    for level in range(LEVELS):
        if level > 0:
            conv(f"down.{level - 1}", net.down[level - 1])
        for i, layer in enumerate(net.encoder[level].convs):
            conv(f"encoder.{level}.{i}", layer)
    for level in reversed(range(LEVELS - 1)):
        conv(f"up.{level}", net.up[level])
        if level > 0:
            for i, layer in enumerate(net.decoder[level - 1].convs):
                conv(f"decoder.{level}.{i}", layer)
    rows.extend([("gap.gamma", net.gap.weight), ("gap.beta", net.gap.bias)])
    rows.append(("controller", net.controller.weight))
    rows.append(("controller.bias", net.controller.bias))
    rows.extend([("prehead.gamma", net.prehead_norm.weight), ("prehead.beta", net.prehead_norm.bias)])
    conv("prehead", net.prehead)
    return rows


def split(name, tensor):
    """Our controller is stored in two parts: pooled channels and prompt."""
    if name != "controller":
        return [(name, tensor)]
    pooled = WIDTH * 2 ** (LEVELS - 1)
    return [("controller.weight", tensor[:, :pooled, 0, 0, 0]), ("controller.prompt", tensor[:, pooled:, 0, 0, 0])]


def make_net():
    net = Net()
    net.train()
    with torch.no_grad():
        index = 0
        for name, tensor in names(net):
            for part_name, part in split(name, tensor):
                values = wave(part.numel(), index).reshape(part.shape)
                fan = part[0].numel() if part.dim() > 1 else 1
                scale = {"gamma": 0.5, "beta": 0.3}.get(part_name.split(".")[-1], 1 / math.sqrt(fan))
                if part_name.startswith("controller"):
                    scale = CONTROLLER_SCALE  # keeps the probabilities away from 0 and 1, where Dice is flat
                part.copy_(values * scale + (1 if part_name.endswith("gamma") else 0))
                index += 1
    return net


def volume_data(count, offset):
    return wave(count * math.prod(PATCH), offset).reshape(count, 1, *PATCH)


def blobs(count, offset, threshold):
    """Binary targets that differ from sample to sample."""
    return (wave(count * math.prod(PATCH), offset).reshape(count, *PATCH) > threshold).double()


def cubes(count):
    inside = torch.zeros(count, *PATCH)
    for n in range(count):
        inside[n, 1 + n : 5 + n, 2 : 9 + n, 0 : 4 + n] = 1
    return inside


def batch():
    half = LABELED // 2
    m = 1 - cubes(half)
    y = blobs(LABELED, 21, 0.3)
    y_mix = y[:half] * m + y[half:] * (1 - m)
    inside = cubes(UNLABELED)
    return {
        "x": volume_data(LABELED, 11),
        "y": y,
        "tasks": [0, 1, 1, 1],
        "x_mix": volume_data(half, 12),
        "y_mix": y_mix,
        # pair 0 has the tasks 0 and 1, pair 1 the same task twice
        "tasks_a": [0, 1],
        "tasks_b": [1, 1],
        "y_a": torch.stack([(y[:half] * m)[0], y_mix[1]]),
        "y_b": torch.stack([(y[half:] * (1 - m))[0], y_mix[1]]),
        "x_u": volume_data(UNLABELED, 13),
        "inside": inside,
        "cube_label": blobs(UNLABELED, 22, -0.2) * inside,
    }


def dice(p, y):
    return 1 - (2 * (p * y).sum() + SMOOTH) / ((p * p).sum() + (y * y).sum() + SMOOTH)


def probability(scores):
    return torch.softmax(scores, -4)[..., 1, :, :, :]


def losses(net, b, stage, auxiliary_ce=False, aggregate="both", auxiliary=None, unlabeled_pairs=False):
    terms = {}
    scores = net(b["x"], [[t] for t in b["tasks"]], follow=True)[:, 0]
    terms["dice"] = dice(probability(scores), b["y"])
    terms["crossEntropy"] = F.cross_entropy(scores, b["y"].long())
    mixed = net(b["x_mix"], [[TASKS, a, c] for a, c in zip(b["tasks_a"], b["tasks_b"])])
    terms["synthetic"] = dice(probability(mixed[:, 0]), b["y_mix"])
    if auxiliary is None:
        auxiliary = stage == 1
    if auxiliary:
        parts = []
        for i, target in ((1, b["y_a"]), (2, b["y_b"])):
            part = dice(probability(mixed[:, i]), target)
            if auxiliary_ce:
                part = part + F.cross_entropy(mixed[:, i], target.long())
            parts.append(part)
        terms["auxiliary"] = 0.5 * (parts[0] + parts[1])
    if stage == 2:
        scores_u = net(b["x_u"], [list(range(TASKS + 1))] * UNLABELED)
        p_u = probability(scores_u)
        largest = p_u[:, :TASKS].max(1).values
        if aggregate == "stop":
            largest = largest.detach()
        terms["unsupervised"] = dice(p_u[:, TASKS], largest)
        if not unlabeled_pairs:
            terms["cube"] = dice(p_u[:, TASKS] * b["inside"], b["cube_label"] * b["inside"])
    mixed = mixed if auxiliary else mixed[:, :1]
    return terms, {"labeled": scores, "mixed": mixed, **({"unlabeled": scores_u} if stage == 2 else {})}


def sampled(tensor):
    flat = tensor.detach().flatten()
    picks = [int(i) for i in np.linspace(0, flat.numel() - 1, min(5, flat.numel()))]
    return {"norm": float(flat.norm()), "at": picks, "values": [float(flat[i]) for i in picks]}


def gradients(net):
    result = {}
    for name, tensor in names(net):
        for part_name, part in split(name, tensor.grad):
            result[part_name] = sampled(part)
    return result


def whole_norm(net):
    return float(torch.sqrt(sum((p.grad**2).sum() for p in net.parameters())))


def stage_case(stage, **options):
    net, b = make_net(), batch()
    terms, scores = losses(net, b, stage, **options)
    sum(terms.values()).backward()
    case = {"losses": {k: float(v) for k, v in terms.items()}, "gradientNorm": whole_norm(net)}
    if not options:
        case["logits"] = {k: sampled(v[..., 1, :, :, :] - v[..., 0, :, :, :]) for k, v in scores.items()}
        case["gradients"] = gradients(net)
        norms = {"gap": net.gap, "prehead": net.prehead_norm}
        case["buffers"] = {}
        for key, norm in norms.items():
            case["buffers"][key + ".movingMean"] = norm.running_mean.tolist()
            case["buffers"][key + ".movingVariance"] = norm.running_var.tolist()
    return case


def training_case():
    net, b = make_net(), batch()
    adam = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
    totals, count, average = [], 0, None
    for step in range(10):
        terms, _ = losses(net, b, 1 if step < 5 else 2)
        total = sum(terms.values())
        adam.zero_grad()
        total.backward()
        adam.step()
        totals.append(float(total))
        count += 1
        weights = torch.cat([part.detach().flatten() for n, p in names(net) for _, part in split(n, p)])
        decay = min(0.99, (count - 1) / count)
        average = weights.clone() if average is None else decay * average + (1 - decay) * weights
    net.eval()
    scores = net(b["x"][:1], [[0, 1, 2]])
    return {
        "totals": totals,
        "parametersNorm": float(weights.norm()),
        "averageNorm": float(average.norm()),
        "evaluation": sampled(scores[..., 1, :, :, :] - scores[..., 0, :, :, :]),
    }


def main():
    with open(__file__, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    golden = {
        "provenance": {
            "tool": "PyTorch",
            "version": torch.__version__,
            "seed": None,
            "command": "python3 test/golden/model.py > test/golden/model.json",
            "sha256": digest,
        },
        "network": {
            "baseWidth": WIDTH, "levels": LEVELS, "convolutions": CONVOLUTIONS, "headWidth": HEAD, "tasks": TASKS,
        },
        "patch": PATCH,
        "stage1": stage_case(1),
        "stage2": stage_case(2),
        "options": {
            "auxiliaryCrossEntropy": stage_case(1, auxiliary_ce=True),
            "aggregateGradient stop": stage_case(2, aggregate="stop"),
            "auxiliaryInStage2": stage_case(2, auxiliary=True),
            "unlabeled-pairs": stage_case(2, unlabeled_pairs=True),
        },
        "training": training_case(),
    }
    json.dump(golden, sys.stdout, indent=1)
    print()


main()
