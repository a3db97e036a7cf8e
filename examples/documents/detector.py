"""A narrow detector in the shape of YOLOX: three grids of strides 8, 16 and 32, one box for each of their 21 504 cells.

It takes FP32 [pages, 3, 1024, 1024] with values from 0 to 255 and returns FP32 [pages, 21504, 8]: centre, width and
height in pixels, the probability of an object, and those of table, chart and title. A real YOLOX is a hundred times as
large; this one learns the pages of layouts.py in a few minutes on two cores.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 1024
STRIDES = (8, 16, 32)
LABELS = ("table", "chart", "title")
RARE = -4.6  # the logit of 1 %: at first, nearly no cell should claim an object


def unit(into: int, out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with its normalisation and activation."""
    padding = (size - 1) // 2 if stride < size else 0
    return nn.Sequential(nn.Conv2d(into, out, size, stride, padding, bias=False), nn.BatchNorm2d(out), nn.SiLU())


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(unit(width, width), unit(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        return x + self.body(x)


class Detector(nn.Module):
    """Features from fine to coarse, what is known of the whole page added on the way back, and a head per grid."""

    def __init__(self, widths: tuple[int, ...] = (16, 24, 48, 96, 128, 128), neck: int = 64) -> None:
        super().__init__()
        self.stem = unit(3, widths[0], 4, 4)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList([nn.Sequential(unit(a, b, 3, 2), Residual(b)) for a, b in pairs])
        self.side = nn.ModuleList([nn.Conv2d(width, neck, 1) for width in widths[1:]])
        self.mixed = nn.ModuleList([unit(neck, neck, 1), unit(neck, neck), unit(neck, neck)])
        self.heads = nn.ModuleList([nn.Conv2d(neck, 5 + len(LABELS), 1) for _ in STRIDES])
        with torch.no_grad():
            for head in self.heads:
                head.bias[4] = RARE
        cells = [torch.cartesian_prod(torch.arange(SIDE // s), torch.arange(SIDE // s)).flip(1) for s in STRIDES]
        strides = [torch.full((len(each), 1), stride) for each, stride in zip(cells, STRIDES, strict=True)]
        self.register_buffer("cells", torch.cat(cells).float(), persistent=False)
        self.register_buffer("strides", torch.cat(strides).float(), persistent=False)

    def rows(self, pixels: Tensor) -> Tensor:
        """Return [pages, 21504, 8] as trained: offsets from the cell and logarithms of sizes, in strides; logits."""
        x = self.stem(pixels / 127.5 - 1)
        fine = []
        for down in self.down:
            x = down(x)
            fine.append(x)
        coarse = self.side[-1](fine[-1])
        found = []
        for number in range(len(fine) - 2, -1, -1):
            coarse = self.side[number](fine[number]) + functional.interpolate(coarse, scale_factor=2.0)
            if number < len(STRIDES):
                coarse = self.mixed[number](coarse)
                found.append(self.heads[number](coarse).flatten(2).transpose(1, 2))
        return torch.cat(found[::-1], 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return [pages, 21504, 8], decoded."""
        rows = self.rows(pixels)
        return torch.cat([self.boxes(rows), rows[:, :, 4:].sigmoid()], 2)

    def boxes(self, rows: Tensor) -> Tensor:
        """Return the boxes [pages, 21504, 4] of rows: centre, width and height in pixels."""
        centres = (rows[:, :, :2] + self.cells) * self.strides
        return torch.cat([centres, rows[:, :, 2:4].clamp(max=6).exp() * self.strides], 2)
