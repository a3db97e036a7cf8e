"""Train the narrow detector on made-up pages, and export it: `train_detector.py OUT.onnx --steps 500`.

The pages are drawn, rendered and letterboxed like those of a user. Tables and charts are claimed by the cells around
their centre on the grid of stride 32, titles by those around their first letters on the grid of stride 16: the middle
of a line of text looks like the rest of it.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from detector import LABELS, SIDE, STRIDES, Detector
from layouts import HEIGHT, WIDTH, Drawn, random_pages
from rendering import rendered
from torch import Tensor
from torch.nn import functional

from slipway.documents.letterbox import page_batch

BATCH = 4
DPI = 108  # a little more than the detector sees, as pages at 300 dpi after they were reduced
NEAR = 1.5  # cells from where an element is claimed
GRID_OF = {"table": 32, "chart": 32, "title": 16}
RATE = 4e-3


def training_pages(steps: int, seed: int) -> Iterator[tuple[Tensor, list[list[Drawn]]]]:
    """Yield batches of pages [4, 3, 1024, 1024] and what is on them."""
    with tempfile.TemporaryDirectory() as folder:
        for step in range(steps):
            path = Path(folder) / "pages.pdf"
            drawn = random_pages(path, BATCH, seed + step)
            yield torch.from_numpy(page_batch(list(rendered(path, DPI))).pixels), drawn


def targets(drawn: list[Drawn], cells: np.ndarray, strides: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which cells claim an element, and for these the boxes (centre, width, height in pixels) and classes."""
    scale = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT]) * (SIDE / max(WIDTH, HEIGHT))
    claimed = np.full(len(cells), -1)
    elements = [each for each in drawn if each.kind in LABELS]
    boxes = np.array([np.array(each.box) * scale for each in elements]).reshape(-1, 4)
    boxes = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    for number, each in enumerate(elements):
        place = boxes[number, :2].copy()
        if each.kind == "title":
            place[0] += boxes[number, 3] - boxes[number, 2] / 2
        near = np.abs(cells + 0.5 - place / strides).max(1) < NEAR
        claimed[near & (strides[:, 0] == GRID_OF[each.kind])] = number
    owners = claimed[claimed >= 0]
    classes = np.array([LABELS.index(each.kind) for each in elements], np.int64)
    return claimed >= 0, boxes[owners].astype(np.float32), classes[owners]


def loss_of(network: Detector, pixels: Tensor, drawn: list[list[Drawn]]) -> Tensor:
    """Return the loss of a batch: objects, classes, overlap of boxes."""
    rows = network.rows(pixels)
    boxes = network.boxes(rows)
    cells, strides = network.cells.numpy(), network.strides.numpy()
    found = [targets(each, cells, strides) for each in drawn]
    claims = torch.from_numpy(np.stack([each[0] for each in found]))
    right, classes = (torch.from_numpy(np.concatenate([each[part] for each in found])) for part in (1, 2))
    count = max(int(claims.sum()), 1)
    objects = functional.binary_cross_entropy_with_logits(rows[:, :, 4], claims.float(), reduction="sum")
    kinds = functional.one_hot(classes, len(LABELS)).float()
    named = functional.binary_cross_entropy_with_logits(rows[claims][:, 5:], kinds, reduction="sum")
    guessed = boxes[claims]
    sizes = (guessed[:, 2:].log() - right[:, 2:].log()).abs().sum()
    return (objects + named + 5 * (1 - overlap(guessed, right)).sum() + 2 * sizes) / count


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Return the intersection over union of boxes [n, 4], given by centre, width and height."""
    low = torch.maximum(one[:, :2] - one[:, 2:] / 2, other[:, :2] - other[:, 2:] / 2)
    high = torch.minimum(one[:, :2] + one[:, 2:] / 2, other[:, :2] + other[:, 2:] / 2)
    shared = (high - low).clamp(min=0).prod(1)
    return shared / (one[:, 2:].prod(1) + other[:, 2:].prod(1) - shared)


def train(steps: int, seed: int = 1) -> Detector:
    """Return a trained detector."""
    torch.manual_seed(seed)
    network = Detector()
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    for step, (pixels, drawn) in enumerate(training_pages(steps, seed * 100_000), 1):
        loss = loss_of(network, pixels, drawn)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        rate.step()
        if step % 25 == 0 or step == steps:
            print(f"step {step} of {steps}: loss {loss.item():.2f}", flush=True)
    return network.eval()


def export(network: Detector, path: Path) -> None:
    """Write the detector as ONNX, with YOLOX's own names for its tensors."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter by tracing is announced as the older one
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, SIDE, SIDE),),
            str(path),
            input_names=["images"],
            output_names=["output"],
            dynamic_axes={"images": {0: "batch"}, "output": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    arguments = parser.parse_args()
    network = train(arguments.steps)
    export(network, arguments.out)
    print(f"{arguments.out}: {sum(each.numel() for each in network.parameters()):,} weights, grids {STRIDES}")


if __name__ == "__main__":
    main()
