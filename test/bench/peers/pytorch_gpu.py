"""Times PyTorch on a GPU: what versemi's CUDA device is measured against. Prints one JSON object; see README.md.

  python3 pytorch_gpu.py ceilings                        copy bandwidth and bf16 matrix product of this GPU
  python3 pytorch_gpu.py layers [BATCH] [PATCH]          cuDNN per layer shape: forward, grad-input, grad-weight in bf16 and TF32
  python3 pytorch_gpu.py step released|best [BATCH] [PATCH]   a training step of both stages
    released: the published procedure, every prompt through the whole network (20 and 52 trunk passes per step at batch 8 + 8),
              float32 tensors, convolutions in TF32
    best:     the most that PyTorch offers: one trunk pass per image, bf16 autocast, channels last, torch.compile, fused Adam

`--device cpu --runs 1` with a small batch and patch checks the program itself without a GPU.
"""
import argparse
import contextlib
import json
import statistics
import time

import torch
from torch.nn import functional as F

from pytorch_network import Promptable

TASKS = 4


def measure(function, runs, device, warmup=3):
    """Milliseconds of each run: CUDA events on a GPU, the clock elsewhere."""
    for _ in range(warmup):
        function()
    times = []
    for _ in range(runs):
        if device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        else:
            start = time.perf_counter()
            function()
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def dice(probability, target):
    return 1 - (2 * (probability * target).sum() + 1e-5) / ((probability**2).sum() + (target**2).sum() + 1e-5)


def foreground(scores):
    return torch.softmax(scores.float(), -4)[..., 1, :, :, :]


class Step:
    """One step of each stage, as METHOD describes them; data are random, since only the time counts."""

    def __init__(self, procedure, batch, patch, device):
        self.best = procedure == "best"
        self.device, self.batch = device, batch
        torch.manual_seed(0)
        self.network = Promptable(TASKS).to(device)
        layout = {"memory_format": torch.channels_last_3d} if self.best else {}
        self.network = self.network.to(**layout)
        fused = {"fused": True} if self.best and device == "cuda" else {}
        self.adam = torch.optim.Adam(self.network.parameters(), 1e-3, betas=(0.5, 0.999), **fused)
        image = lambda n: torch.randn(n, 1, patch, patch, patch, device=device).to(**layout)
        label = lambda n: (torch.rand(n, patch, patch, patch, device=device) > 0.8).float()
        self.labeled, self.target = image(batch), label(batch)
        self.mixed, self.any_target, self.inside = image(batch // 2), label(batch // 2), label(batch // 2)
        self.unlabeled, self.cube, self.cube_target = image(batch), label(batch), label(batch)
        self.tasks = torch.arange(batch, device=device) % TASKS
        self.compiled = {}

    def prompts(self, *columns):
        return torch.stack([c if torch.is_tensor(c) else torch.full_like(columns[0], c) for c in columns], 1)

    def scores(self, x, columns):
        """Scores of every prompt: in one trunk pass (best) or in one pass of the whole network each (released)."""
        if self.best:
            return self.network(x, self.prompts(*columns))
        return torch.cat([self.network(x, c[:, None]) for c in columns], 1)

    def loss(self, stage):
        half = self.batch // 2
        first, second = self.tasks[:half], self.tasks[half:]
        synthetic = torch.full_like(self.tasks, TASKS)
        own = self.scores(self.labeled, [self.tasks])[:, 0]
        loss = dice(foreground(own), self.target) + F.cross_entropy(own.float(), self.target.long())
        mixed = self.scores(self.mixed, [synthetic[:half]] + ([first, second] if stage == 1 else []))
        loss = loss + dice(foreground(mixed[:, 0]), self.any_target)
        if stage == 1:
            a, b = foreground(mixed[:, 1]), foreground(mixed[:, 2])
            m = self.inside
            return loss + 0.5 * (dice(a, self.any_target * m) + dice(b, self.any_target * (1 - m)))
        columns = [torch.full_like(self.tasks, k) for k in range(TASKS)] + [synthetic]
        every = foreground(self.scores(self.unlabeled, columns))
        loss = loss + dice(every[:, TASKS], every[:, :TASKS].max(1).values)
        return loss + dice(every[:, TASKS] * self.cube, self.cube_target * self.cube)

    def __call__(self, stage):
        if self.best and stage not in self.compiled:
            compile_ = getattr(torch, "compile", None) if self.device == "cuda" else None
            function = lambda: self.loss(stage)
            self.compiled[stage] = compile_(function) if compile_ else function
        self.adam.zero_grad(set_to_none=True)
        cast = torch.autocast(self.device, torch.bfloat16) if self.best else contextlib.nullcontext()
        with cast:
            loss = self.compiled[stage]() if self.best else self.loss(stage)
        loss.backward()
        self.adam.step()


def layer_shapes(patch):
    """(name, count in the network, in channels, out channels, input edge, kernel, stride, transposed)."""
    shapes = [("conv3 1-16", 1, 1, 16, patch, 3, 1, False)]
    counts = {32: 4, 64: 6, 128: 6, 256: 3}
    for level, (channels, count) in enumerate(counts.items(), 1):
        edge = patch >> level
        shapes.append((f"down {channels // 2}-{channels}", 1, channels // 2, channels, edge * 2, 2, 2, False))
        shapes.append((f"conv3 {channels}-{channels}", count, channels, channels, edge, 3, 1, False))
        shapes.append((f"up {channels}-{channels // 2}", 1, channels, channels // 2, edge, 2, 2, True))
    shapes.append(("conv1 16-8", 1, 16, 8, patch, 1, 1, False))
    return shapes


def layers(batch, patch, runs, device):
    rows = []
    # The check without a GPU leaves bf16 out: older CPU builds lack its transposed convolution.
    for dtype in (torch.bfloat16, torch.float32)[device == "cpu":]:
        for name, count, inner, outer, edge, kernel, stride, transposed in layer_shapes(patch):
            make = lambda *shape: torch.randn(*shape, device=device, dtype=dtype)
            x = make(batch, inner, edge, edge, edge).to(memory_format=torch.channels_last_3d)
            weight = make(*((inner, outer) if transposed else (outer, inner)), kernel, kernel, kernel)
            weight = weight.to(memory_format=torch.channels_last_3d)
            pad = 1 if kernel == 3 else 0
            function = F.conv_transpose3d if transposed else F.conv3d
            output = function(x, weight, None, stride, pad)
            gradient = torch.randn_like(output)
            back = lambda mask: torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [stride] * 3, [pad] * 3, [1] * 3, transposed, [0] * 3, 1, mask)
            flops = 2.0 * batch * inner * outer * kernel**3 * (edge**3 if transposed else output.shape[2] ** 3)
            rows.append({
                "name": name, "count": count, "precision": "bfloat16" if dtype == torch.bfloat16 else "tf32", "flops": flops,
                "forwardMs": measure(lambda: function(x, weight, None, stride, pad), runs, device),
                "gradInputMs": measure(lambda: back([True, False, False]), runs, device),
                "gradWeightMs": measure(lambda: back([False, True, False]), runs, device),
            })
    return rows


def ceilings(runs, device):
    source = torch.randn(2**29 if device == "cuda" else 2**22, device=device)
    target = torch.empty_like(source)
    copy = measure(lambda: target.copy_(source), runs, device)
    size = 8192 if device == "cuda" else 256
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = measure(lambda: a @ b, runs, device)
    return {"copyBytesPerSecond": 2 * source.numel() * 4 / copy * 1e3, "bf16FlopsPerSecond": 2 * size**3 / product * 1e3}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="+")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    what, *rest = options.what
    device, runs = options.device, options.runs
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    result = {"what": what, "torch": torch.__version__, "device": torch.cuda.get_device_name() if device == "cuda" else device}
    if what == "ceilings":
        result |= ceilings(runs, device)
    elif what == "layers":
        batch, patch = (int(v) for v in (rest + ["8", "96"][len(rest):]))
        result |= {"batch": batch, "patch": patch, "layers": layers(batch, patch, runs, device)}
    elif what == "step":
        procedure, *sizes = rest
        batch, patch = (int(v) for v in (sizes + ["8", "96"][len(sizes):]))
        step = Step(procedure, batch, patch, device)
        result |= {"procedure": procedure, "batch": batch, "patch": patch,
                   **{f"stage{stage}Ms": measure(lambda: step(stage), runs, device) for stage in (1, 2)}}
        if device == "cuda":
            result["peakBytes"] = torch.cuda.max_memory_allocated()
    else:
        parser.error(f"unknown: {what}")
    print(json.dumps(result))


main()
