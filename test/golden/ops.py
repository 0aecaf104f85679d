#!/usr/bin/env python3
"""Makes ops.json: the ops of the network, forward and gradient, by PyTorch in double precision.

    python3 test/golden/ops.py

Every case holds inputs, the cotangent and the gradients as flat lists in the layouts of versemi (NDHWC; weights
[kD, kH, kW, inC, outC]; transposed: [kD, kH, kW, outC, inC]), rounded to 9 digits.
"""
import hashlib
import json
import pathlib
import sys

import torch
import torch.nn.functional as F

SEED = 20240607
torch.manual_seed(SEED)
torch.set_default_dtype(torch.float64)
cases = []


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.detach().reshape(-1).tolist()]


def random(*shape):
    """Values that float32 holds exactly, so that only the computation differs."""
    return torch.randn(*shape).float().double().requires_grad_()


def to_channels_first(x):
    return x.permute(0, 4, 1, 2, 3)


def to_channels_last(x):
    return x.permute(0, 2, 3, 4, 1)


def case(name, op, options, inputs, output):
    cotangent = torch.randn_like(output).float().double()
    wanted = [key for key, x in inputs.items() if x.requires_grad]
    gradients = torch.autograd.grad(output, [inputs[key] for key in wanted], cotangent, allow_unused=True)
    cases.append(
        {
            "name": name,
            "op": op,
            "options": options,
            "inputs": {key: {"shape": list(x.shape), "values": numbers(x)} for key, x in inputs.items()},
            "output": {"shape": list(output.shape), "values": numbers(output)},
            "cotangent": numbers(cotangent),
            "gradients": {
                key: numbers(torch.zeros_like(inputs[key]) if g is None else g) for key, g in zip(wanted, gradients)
            },
        }
    )


def convolution(x, w, bias, stride, padding):
    return F.conv3d(to_channels_first(x), w.permute(4, 3, 0, 1, 2), bias, stride=stride, padding=padding)


def transposed(x, w, bias):
    return F.conv_transpose3d(to_channels_first(x), w.permute(4, 3, 0, 1, 2), bias, stride=2)


# Plain convolutions
x, w = random(2, 4, 3, 5, 3), random(3, 3, 3, 3, 4)
y = convolution(x, w, None, 1, 1)
case("conv3d 3^3", "conv3d", {"stride": 1, "pad": "same"}, {"x": x, "w": w}, to_channels_last(y))
x, w = random(1, 4, 6, 2, 3), random(2, 2, 2, 3, 5)
y = convolution(x, w, None, 2, 0)
case("conv3d 2^3 stride 2", "conv3d", {"stride": 2, "pad": "valid"}, {"x": x, "w": w}, to_channels_last(y))
x, w = random(2, 2, 3, 2, 4), random(2, 2, 2, 3, 4)
y = transposed(x, w, None)
case("conv3dTranspose 2^3 stride 2", "conv3dTranspose", {"stride": 2}, {"x": x, "w": w}, to_channels_last(y))

# Fused blocks
x, w, b = random(2, 4, 3, 4, 2), random(3, 3, 3, 2, 3), random(3)
y = F.relu(F.instance_norm(convolution(x, w, b, 1, 1), eps=1e-5))
case("block", "conv3dNormRelu", {"stride": 1}, {"x": x, "w": w, "bias": b}, to_channels_last(y))
x, w, b, skip = random(2, 2, 3, 2, 4), random(2, 2, 2, 3, 4), random(3), random(2, 4, 6, 4, 3)
y = to_channels_last(F.relu(F.instance_norm(transposed(x, w, b), eps=1e-5))) + skip
case("up", "conv3dNormRelu", {"stride": 2, "transposed": True}, {"x": x, "w": w, "bias": b, "skip": skip}, y)
x = random(2, 3, 4, 2, 3)
y = F.instance_norm(to_channels_first(x), eps=1e-5)
case("instance norm", "instanceNormRelu", {"relu": False}, {"x": x}, to_channels_last(y))
x, gamma, beta = random(2, 3, 2, 4, 3), random(3), random(3)
y = F.relu(F.batch_norm(to_channels_first(x), None, None, gamma, beta, training=True, eps=1e-5))
inputs = {"x": x, "gamma": gamma, "beta": beta}
case("batch norm, training", "batchNormRelu", {"training": True}, inputs, to_channels_last(y))
x, gamma, beta = random(2, 3, 2, 4, 3), random(3), random(3)
mean, variance = torch.randn(3).float().double(), torch.rand(3).float().double() + 0.5
y = F.relu(F.batch_norm(to_channels_first(x), mean, variance, gamma, beta, training=False, eps=1e-5))
options = {"training": False, "movingMean": numbers(mean), "movingVariance": numbers(variance)}
inputs = {"x": x, "gamma": gamma, "beta": beta}
case("batch norm, inference", "batchNormRelu", options, inputs, to_channels_last(y))

# Dynamic head: three 1x1x1 convolutions per sample and prompt, foreground score minus background score
n, prompts, width = 2, 3, 8
sizes = [width * width, width * width, 2 * width, width, width, 2]
features, parameters = random(n, 2, 3, 2, width), random(n, prompts, sum(sizes))
rows = []
for sample in range(n):
    for prompt in range(prompts):
        w1, w2, w3, b1, b2, b3 = torch.split(parameters[sample, prompt], sizes)
        h = to_channels_first(features[sample : sample + 1])
        h = F.relu(F.conv3d(h, w1.reshape(width, width, 1, 1, 1), b1))
        h = F.relu(F.conv3d(h, w2.reshape(width, width, 1, 1, 1), b2))
        o = F.conv3d(h, w3.reshape(2, width, 1, 1, 1), b3)
        rows.append(o[0, 1] - o[0, 0])
y = torch.stack(rows).reshape(n, prompts, 2, 3, 2)
case("dynamic head", "dynamicHead", {}, {"features": features, "parameters": parameters}, y)


# Losses: Dice on the foreground channel of the softmax, and cross-entropy over two channels
def two_channels(logits):
    return torch.stack([torch.zeros_like(logits), logits], 1)


def dice(p, q):
    return (1 - (2 * (p * q).sum() + 1e-5) / ((p * p).sum() + (q * q).sum() + 1e-5)).reshape(1)


logits, target = random(2, 3, 4, 2), (torch.rand(2, 3, 4, 2) < 0.4).double()
p = torch.softmax(two_channels(logits), 1)[:, 1]
case("Dice", "dice", {}, {"logits": logits, "target": target}, dice(p, target))
y = F.cross_entropy(two_channels(logits), target.long()).reshape(1)
case("cross-entropy", "crossEntropy", {}, {"logits": logits, "target": target}, y)
logits, other = random(2, 3, 4, 2), random(2, 4, 3, 4, 2)
p = torch.softmax(two_channels(logits), 1)[:, 1]
q = torch.softmax(two_channels(other), 1)[:, 1][:, :3].amax(1)
case("Dice against the aggregate", "aggregateDice", {"real": 3}, {"logits": logits, "other": other}, dice(p, q))

script = pathlib.Path(__file__)
body = json.dumps(cases, separators=(",", ":"))
provenance = {
    "tool": f"PyTorch {torch.__version__}, Python {sys.version.split()[0]}, double precision",
    "seed": SEED,
    "command": "python3 test/golden/ops.py",
    "sha256": hashlib.sha256(body.encode()).hexdigest(),
}
golden = json.dumps({"provenance": provenance, "cases": cases}, separators=(",", ":"))
script.with_suffix(".json").write_text(golden + "\n")
print(len(cases), "cases,", script.with_suffix(".json").stat().st_size, "bytes")
