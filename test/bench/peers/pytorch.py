"""Times PyTorch on the V-Net: `python3 pytorch.py forward|training THREADS RUNS [PATCH]` prints {"milliseconds": [...]}.

"training" is forward + backward of a mean loss. One warm-up run, then RUNS timed ones. CPU only.
"""
import json
import sys
import time

import torch
from torch import nn

from pytorch_network import Trunk


class VNet(nn.Module):
    """The trunk with one plain head in place of the dynamic one."""

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.head = nn.Sequential(nn.ReLU(), nn.Conv3d(16, 8, 1), nn.Conv3d(8, 8, 1), nn.ReLU(), nn.Conv3d(8, 8, 1),
                                  nn.ReLU(), nn.Conv3d(8, 2, 1))

    def forward(self, x):
        return self.head(self.trunk(x)[0])


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
