"""A YOLOX-shaped detector that needs no training: a coloured square of 32 pixels is an element of 256.

Red is a table, green a chart, blue a title. Only the coarsest of the three grids finds anything.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from slipway.convert.onnx_file import trace
from slipway.convert.page_elements.contract import grid

SIDE = 1024
CELL = 32
COLOURS = {"table": (255, 0, 0), "chart": (0, 255, 0), "title": (0, 0, 255)}


class ColourDetector(nn.Module):
    """FP32 [pages, 3, 1024, 1024] to [pages, 21504, 8]; with `decoded=False`, without the decoding of the grid."""

    def __init__(self, *, decoded: bool = True):
        super().__init__()
        cells, strides = grid()
        self.decoded = decoded
        self.register_buffer("cells", torch.from_numpy(cells).float())
        self.register_buffer("strides", torch.from_numpy(strides).float()[:, None])

    def forward(self, pixels: Tensor) -> Tensor:
        rows = torch.cat([self.head(pixels, stride) for stride in (8, 16, CELL)], 1)
        if not self.decoded:
            return rows
        centres = (rows[:, :, :2] + self.cells) * self.strides
        sides = torch.exp(rows[:, :, 2:4]) * self.strides
        return torch.cat([centres, sides, rows[:, :, 4:]], 2)

    def head(self, pixels: Tensor, stride: int) -> Tensor:
        colours = functional.avg_pool2d(pixels, stride).flatten(2).transpose(1, 2)
        others = colours.sum(2, keepdim=True) - colours
        classes = torch.sigmoid((colours - others - 100) / 20)
        middle = torch.full_like(colours[:, :, :2], 0.5)
        sides = torch.full_like(middle, float(np.log(256 / CELL)))
        found = torch.ones_like(classes[:, :, :1]) * float(stride == CELL) * 0.9
        return torch.cat([middle, sides, found, classes], 2)


def coloured_page(*elements: tuple[str, int, int], height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Return a white page [height, width, 3] with a square for each (label, row of cells, column of cells)."""
    page = np.full((height, width, 3), 255, np.uint8)
    for label, row, column in elements:
        page[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = COLOURS[label]
    return page


def write_detector(
    path: Path, *, decoded: bool = True, batched: bool = True, names: tuple[str, str] = ("images", "output")
) -> Path:
    """Write the detector as ONNX with these names of its tensors."""
    axes = {name: {0: "pages"} for name in names} if batched else {}
    example = (torch.zeros(1, 3, SIDE, SIDE),)
    network = ColourDetector(decoded=decoded).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        trace(network, example, path, inputs=list(names[:1]), outputs=list(names[1:]), axes=axes)
    return path


def write_script(path: Path) -> Path:
    """Write the detector as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(ColourDetector().eval(), torch.zeros(2, 3, SIDE, SIDE)), str(path))
    return path


def write_program(path: Path) -> Path:
    """Write the detector with torch.export and any number of pages."""
    example = (torch.zeros(2, 3, SIDE, SIDE),)
    program = torch.export.export(ColourDetector().eval(), example, dynamic_shapes=({0: torch.export.Dim("pages")},))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two buffers that share no memory are taken for one
        torch.export.save(program, path)
    return path
