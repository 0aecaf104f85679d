#!/usr/bin/python3
"""Checkpoints as PyTorch writes them, and what their networks compute: for `versemi import`.

Networks of our own code, whose modules have the names and the layout of the released VerSemi and of the V-Net of UA-MT (facts read off
those programs), small: the same blocks at fewer levels and channels. Arrays are indexed [x, y, z], as those programs have them.
Run: /usr/bin/python3 test/golden/pytorch.py > test/golden/pytorch.json
"""
import argparse
import base64
import collections
import io
import json
import sys

import numpy as np
import torch
from torch import nn

torch.manual_seed(20)
torch.set_num_threads(1)
NUMERALS = "one two three four five six seven eight nine".split()


class Layers(nn.Module):
    """`count` convolutions, each with a normalisation and a ReLU behind it, in one list called conv."""

    def __init__(self, kind, count, source, target, kernel, stride, norm):
        super().__init__()
        layers = []
        for i in range(count):
            layers.append(kind(source if i == 0 else target, target, kernel, stride, padding=1 if kernel == 3 else 0))
            layers += [] if norm is None else [norm(target)]
            layers.append(nn.ReLU())
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.conv(x)


class Net(nn.Module):
    """The trunk. `full`: skip and block at full resolution, and a static head, as the V-Net of UA-MT; else GAP, controller, precls_conv."""

    def __init__(self, width, convolutions, full, head=0, tasks=0, norm=nn.InstanceNorm3d):
        super().__init__()
        self.levels, self.full, self.head, self.tasks = len(convolutions), full, head, tasks
        wide = [width * 2**level for level in range(self.levels)]
        for i in range(2 * self.levels - 1 if full else 2 * self.levels - 2):
            level = i if i < self.levels else 2 * self.levels - 2 - i
            name = f"block_{NUMERALS[i]}"
            setattr(self, name, Layers(nn.Conv3d, convolutions[level], 1 if i == 0 else wide[level], wide[level], 3, 1, norm))
            if i < self.levels - 1:
                setattr(self, f"{name}_dw", Layers(nn.Conv3d, 1, wide[level], wide[level + 1], 2, 2, norm))
            elif level > 0:
                setattr(self, f"{name}_up", Layers(nn.ConvTranspose3d, 1, wide[level], wide[level - 1], 2, 2, norm))
        if full:
            self.out_conv = nn.Conv3d(width, 2, 1)
            return
        self.GAP = nn.Sequential(nn.BatchNorm3d(wide[-1]), nn.ReLU(), nn.AdaptiveAvgPool3d(1))
        self.sizes = [head * head, head * head, 2 * head, 2 * head, head, head, 2, 2]
        self.controller = nn.Conv3d(wide[-1] + tasks + 1, sum(self.sizes), 1)
        self.precls_conv = nn.Sequential(nn.BatchNorm3d(width), nn.ReLU(), nn.Conv3d(width, head, 1))

    def trunk(self, x):
        skips = []
        for i in range(self.levels):
            x = getattr(self, f"block_{NUMERALS[i]}")(x)
            skips.append(x)
            if i < self.levels - 1:
                x = getattr(self, f"block_{NUMERALS[i]}_dw")(x)
        bottleneck = x
        for i in range(self.levels, 2 * self.levels - 1):
            level = 2 * self.levels - 2 - i
            x = getattr(self, f"block_{NUMERALS[i - 1]}_up")(x)
            if level > 0 or self.full:
                x = getattr(self, f"block_{NUMERALS[i]}")(x + skips[level])
        return x, bottleneck

    def forward(self, x, task):
        """Two scores per voxel for one prompt (counted from 0)."""
        features, bottleneck = self.trunk(x)
        code = torch.zeros(len(x), self.tasks + 1, 1, 1, 1)
        code[:, task] = 1
        made = self.controller(torch.cat([self.GAP(bottleneck), code], 1)).flatten(1)
        w1, w2, w3, _, b1, b2, b3, _ = made.split(self.sizes, 1)
        y = self.precls_conv(features)
        rows = []
        for n in range(len(x)):
            flat = y[n].flatten(1)
            flat = torch.relu(w1[n].view(self.head, self.head) @ flat + b1[n][:, None])
            flat = torch.relu(w2[n].view(self.head, self.head) @ flat + b2[n][:, None])
            rows.append((w3[n].view(2, self.head) @ flat + b3[n][:, None]).view(2, *x.shape[2:]))
        return torch.stack(rows)


def stirred(net):
    """Random statistics and affine parameters, so that a part that is mixed up shows; every number exact in half precision."""
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.dtype == torch.int64:
                value.fill_(7)
                continue
            if "running_var" in name:
                value.copy_(torch.rand(value.shape) + 0.5)
            elif "running_mean" in name or ".0.weight" in name and value.dim() == 1 or ".0.bias" in name and "block" not in name:
                value.copy_(torch.rand(value.shape) - 0.2)
            value.copy_(value.half().float())
    return net.eval()


def saved(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return base64.b64encode(stream.getvalue()).decode()


def listed(tensor):
    return [float(value) for value in tensor.flatten()]


def strided(state):
    """The same numbers as views: transposed, every second element of a larger storage, and two tensors of one storage."""
    result = collections.OrderedDict()
    for i, (name, value) in enumerate(state.items()):
        if value.dim() == 5 and i % 2 == 0:
            value = value.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)
        elif value.dim() == 1 and value.dtype == torch.float32:
            twice = torch.full((2 * len(value) + 3,), -99.0)
            twice[3::2] = value
            value = twice[3::2]
        result[name] = value
    both = torch.cat([state["controller.bias"], state["precls_conv.2.bias"]])
    count = len(state["controller.bias"])
    result["controller.bias"], result["precls_conv.2.bias"] = both[:count], both[count:]
    return result


tiny = stirred(Net(1, [1, 2], False, head=2, tasks=2))
with torch.no_grad():
    tiny.block_one.conv[0].bias.copy_(tiny.block_one.conv[0].bias.bfloat16().float())
state = collections.OrderedDict((name, value.clone()) for name, value in tiny.state_dict().items())
adam = torch.optim.Adam(tiny.parameters())
x = torch.rand(1, 1, 4, 6, 8)
tiny(x, 1).sum().backward()
adam.step()
tiny.load_state_dict(state)
prefixed = collections.OrderedDict((f"module.{name}", value) for name, value in state.items())
containers = {
    "zip": saved(state),
    "legacy": saved(state, _use_new_zipfile_serialization=False),
    "protocol 4": saved(state, pickle_protocol=4),
    "half": saved(collections.OrderedDict((n, v.half() if v.is_floating_point() else v) for n, v in state.items())),
    "bfloat16 of one": saved({**state, "block_one.conv.0.bias": state["block_one.conv.0.bias"].bfloat16()}),
    "double": saved(collections.OrderedDict((n, v.double() if v.is_floating_point() else v) for n, v in state.items())),
    "strided": saved(strided(state)),
    "strided legacy": saved(strided(state), _use_new_zipfile_serialization=False),
    "parameters": saved(dict(tiny.named_parameters()) | dict(tiny.named_buffers())),
    "nested": saved(
        {
            "epoch": 3,
            "best_dice": np.float64(0.75),
            "arguments": argparse.Namespace(lr=0.1, name="run"),
            "net": prefixed,
            "optimizer": adam.state_dict(),
        }
    ),
    "two networks": saved({"student": prefixed, "ema": state}),
}

versemi = stirred(Net(2, [1, 2, 2], False, head=4, tasks=3))
vnet = stirred(Net(2, [1, 2, 2], True))
batch = stirred(Net(1, [1, 2], True, norm=nn.BatchNorm3d))
plain = stirred(Net(1, [1, 2], True, norm=None))
image = torch.tensor(np.sin(np.arange(8 * 12 * 16) * 0.37).astype(np.float32).reshape(1, 1, 8, 12, 16))
with torch.no_grad():
    scores = [versemi(image, task)[0] for task in range(4)]
    features = vnet.trunk(image)[0][0]
json.dump(
    {
        "provenance": {
            "tool": f"PyTorch {torch.__version__}, numpy {np.__version__}",
            "seed": 20,
            "command": "/usr/bin/python3 test/golden/pytorch.py > test/golden/pytorch.json",
        },
        "values": {name: listed(value) for name, value in state.items()},
        "shapes": {name: list(value.shape) for name, value in state.items()},
        "containers": containers,
        "versemi": {
            "checkpoint": saved(collections.OrderedDict((n, v.half() if v.is_floating_point() else v) for n, v in versemi.state_dict().items())),
            # score of the foreground less that of the background, [task][x, y, z], every fifth
            "logits": [listed(torch.round(score[1] - score[0], decimals=5))[::5] for score in scores],
        },
        "vnet": {
            "checkpoint": saved(collections.OrderedDict((n, v.half()) for n, v in vnet.state_dict().items())),
            "features": listed(torch.round(features, decimals=5))[::5],
        },
        "batchNorm": saved(batch.state_dict()),
        "noNorm": saved(plain.state_dict()),
    },
    sys.stdout,
)
