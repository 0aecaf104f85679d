"""Times PyTorch on the V-Net: `python3 pytorch.py forward|training THREADS RUNS [PATCH]` prints {"milliseconds": [...]}.

"training" is forward + backward of a mean loss. One warm-up run, then RUNS timed ones. CPU only.
"""
import json
import sys
import time

import torch
from torch import nn


class Block(nn.Sequential):
    def __init__(self, source, target, kernel, stride, transposed=False):
        kind = nn.ConvTranspose3d if transposed else nn.Conv3d
        super().__init__(
            kind(source, target, kernel, stride, padding=1 if kernel == 3 else 0),
            nn.InstanceNorm3d(target),
            nn.ReLU(inplace=True),
        )


class VNet(nn.Module):
    def __init__(self, width=16, repeats=(1, 2, 3, 3, 3)):
        super().__init__()
        self.first = Block(1, width, 3, 1)
        self.down, self.encoder, self.up, self.decoder = (nn.ModuleList() for _ in range(4))
        for level in range(1, 5):
            channels = width << level
            self.down.append(Block(channels // 2, channels, 2, 2))
            self.encoder.append(nn.Sequential(*(Block(channels, channels, 3, 1) for _ in range(repeats[level]))))
        for level in (3, 2, 1, 0):
            channels = width << level
            self.up.append(Block(channels * 2, channels, 2, 2, transposed=True))
            if level > 0:
                self.decoder.append(nn.Sequential(*(Block(channels, channels, 3, 1) for _ in range(repeats[level]))))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv3d(width, 8, 1), nn.Conv3d(8, 8, 1), nn.ReLU(), nn.Conv3d(8, 8, 1),
                                  nn.ReLU(), nn.Conv3d(8, 2, 1))

    def forward(self, x):
        x = self.first(x)
        skips = []
        for down, encoder in zip(self.down, self.encoder):
            x = encoder(down(x))
            skips.append(x)
        for level, up in enumerate(self.up):
            x = up(x)
            if level < 3:
                x = self.decoder[level](x + skips[2 - level])
        return self.head(x)


def main():
    mode, threads, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    patch = int(sys.argv[4]) if len(sys.argv) > 4 else 96
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = VNet()
    x = torch.randn(1, 1, patch, patch, patch)
    milliseconds = []
    for run in range(-1, runs):
        start = time.perf_counter()
        if mode == "forward":
            with torch.no_grad():
                network(x)
        else:
            network.zero_grad(set_to_none=True)
            network(x).square().mean().backward()
        if run >= 0:
            milliseconds.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"milliseconds": milliseconds, "version": torch.__version__}))


main()
