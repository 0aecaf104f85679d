"""The V-Net of ../../../README.md in PyTorch, own code from published facts (see the README of this folder): what the peers time."""
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Sequential):
    def __init__(self, source, target, kernel, stride, transposed=False):
        kind = nn.ConvTranspose3d if transposed else nn.Conv3d
        super().__init__(
            kind(source, target, kernel, stride, padding=1 if kernel == 3 else 0),
            nn.InstanceNorm3d(target),
            nn.ReLU(inplace=True),
        )


class Trunk(nn.Module):
    """Encoder and decoder. Returns features [n, width, d, h, w] and the bottleneck [n, 16 width, d/16, h/16, w/16]."""

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

    def forward(self, x):
        x = self.first(x)
        skips = []
        for down, encoder in zip(self.down, self.encoder):
            x = encoder(down(x))
            skips.append(x)
        bottleneck = x
        for level, up in enumerate(self.up):
            x = up(x)
            if level < 3:
                x = self.decoder[level](x + skips[2 - level])
        return x, bottleneck


class Promptable(nn.Module):
    """Trunk, controller and dynamic head. `forward(x, prompts [n, p])` gives two class scores per prompt: [n, p, 2, d, h, w]."""

    def __init__(self, tasks, width=16, head=8):
        super().__init__()
        self.trunk = Trunk(width)
        self.tasks, self.head = tasks, head
        self.sizes = (head * head, head * head, 2 * head, head, head, 2)
        self.pool = nn.Sequential(nn.BatchNorm3d(16 * width), nn.ReLU(), nn.AdaptiveAvgPool3d(1))
        self.controller = nn.Linear(16 * width + tasks + 1, sum(self.sizes))
        self.prehead = nn.Sequential(nn.BatchNorm3d(width), nn.ReLU(), nn.Conv3d(width, head, 1))

    def heads(self, features, bottleneck, prompts):
        n, p = prompts.shape
        shared = self.prehead(features)
        pooled = self.pool(bottleneck).flatten(1)
        code = F.one_hot(prompts, self.tasks + 1).to(pooled.dtype)
        made = self.controller(torch.cat([pooled[:, None].expand(n, p, -1), code], 2))
        w1, w2, w3, b1, b2, b3 = made.split(self.sizes, 2)
        width, rows = self.head, shared.flatten(2)[:, None]  # [n, 1, width, voxels]
        hidden = torch.relu(w1.view(n, p, width, width) @ rows + b1[..., None])
        hidden = torch.relu(w2.view(n, p, width, width) @ hidden + b2[..., None])
        scores = w3.view(n, p, 2, width) @ hidden + b3[..., None]
        return scores.view(n, p, 2, *features.shape[2:])

    def forward(self, x, prompts):
        return self.heads(*self.trunk(x), prompts)
