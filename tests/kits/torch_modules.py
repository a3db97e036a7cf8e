"""Tiny torch modules, written as TorchScript and torch.export files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch


class SimpleNet(torch.nn.Module):
    """Y = relu(Linear(2, 2)), with weights 1 and bias 0."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        with torch.no_grad():
            self.linear.weight.fill_(1)
            self.linear.bias.fill_(0)

    def forward(self, x):
        return torch.relu(self.linear(x))


class SumAndDifference(torch.nn.Module):
    def forward(self, first, second):
        return first + second, first - second


class OfDict(torch.nn.Module):
    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"SUM": tensors["A"] + tensors["B"], "DIFF": tensors["A"] - tensors["B"]}


class Keyword(torch.nn.Module):
    def forward(self, a, *, scale):
        return a * scale


class Lookup(torch.nn.Module):
    """Rows of a table of 3; an index out of range fails at run time."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(3.0))

    def forward(self, index):
        return self.table[index]


class Shout(torch.nn.Module):
    def forward(self, words: list[str]) -> list[str]:
        return [word + "!" for word in words]


class InPlace(torch.nn.Module):
    def forward(self, x):
        return x.add_(1)


class Same(torch.nn.Module):
    def forward(self, x):
        return x


def script(directory: Path, module: torch.nn.Module, file: str = "model.pt") -> Path:
    """Write `module` as TorchScript; return the model's directory."""
    path = _path(directory, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return directory


def export(
    directory: Path,
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    rows: bool = False,
    file: str = "model.pt2",
) -> Path:
    """Write `module` as a torch.export file, with dynamic first dimensions if `rows`; return the directory."""
    batch = torch.export.Dim("batch")
    dynamic = tuple({0: batch} for _ in args) if rows else None
    program = torch.export.export(module, args, kwargs, dynamic_shapes=dynamic)
    torch.export.save(program, _path(directory, file))
    return directory


def _path(directory: Path, file: str) -> Path:
    path = directory / "1" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
