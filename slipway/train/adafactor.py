"""Adafactor as tensor2tensor computes it (Shazeer and Stern 2018, algorithms 4 and 5). Imports torch at once.

The squares of a matrix's gradients are kept as means of rows and columns. Unlike torch's own Adafactor, the learning
rate is the schedule's alone, momentum and unfactored squares exist, and every matrix is factored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import Parameter

_LEAST_SQUARE: Final = 1e-30  # epsilon 1
_LEAST_SCALE: Final = 1e-3  # epsilon 2


@dataclass(frozen=True, slots=True)
class AdafactorSettings:
    """`beta2` is None for the decay 1 - step^-`exponent`, else Adam's corrected decay. `clipping` limits the root mean
    square of an update (0: not); `scale_by_weights` multiplies an update by that of its parameter."""

    beta1: float = 0.0
    beta2: float | None = None
    exponent: float = 0.8
    clipping: float = 1.0
    factored: bool = True
    scale_by_weights: bool = True


class Adafactor(torch.optim.Optimizer):
    """The optimiser. Groups of parameters may have a `weight_decay`, which adds to their gradients."""

    def __init__(
        self, parameters: Iterable[Parameter] | list[dict[str, Any]], settings: AdafactorSettings | None = None
    ) -> None:
        super().__init__(parameters, {"lr": 0.0, "weight_decay": 0.0, **asdict(settings or AdafactorSettings())})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad.float(), group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        state["step"] = step = state.get("step", 0) + 1
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        update = gradient * self._inverse_root(state, gradient, _decay(group, step), group["factored"])
        if group["clipping"]:
            update /= (_root_mean_square(update) / group["clipping"]).clamp_min_(1.0)
        if group["scale_by_weights"]:
            update *= _root_mean_square(parameter).clamp_min_(_LEAST_SCALE)
        update *= group["lr"]
        if group["beta1"]:
            momentum = state.setdefault("momentum", torch.zeros_like(update))
            update = momentum.mul_(group["beta1"]).add_(update, alpha=1 - group["beta1"])
        parameter.sub_(update)

    @staticmethod
    def _inverse_root(state: dict[str, Any], gradient: Tensor, decay: float, factored: bool) -> Tensor:
        """Return 1 / sqrt(mean of the squared gradients), after taking this gradient into the mean."""
        squares = gradient.square().add_(_LEAST_SQUARE)
        if not factored or gradient.dim() < 2:
            mean: Tensor = state.setdefault("squares", torch.zeros_like(squares))
            return mean.lerp_(squares, 1 - decay).rsqrt()
        rows = state.setdefault("rows", torch.zeros_like(squares[..., 0]))
        columns = state.setdefault("columns", torch.zeros_like(squares[..., 0, :]))
        rows.lerp_(squares.mean(-1), 1 - decay)
        columns.lerp_(squares.mean(-2), 1 - decay)
        of_rows: Tensor = (rows / rows.mean(-1, keepdim=True)).rsqrt_()
        of_columns: Tensor = columns.rsqrt()
        return of_rows.unsqueeze(-1) * of_columns.unsqueeze(-2)


def _decay(group: dict[str, Any], step: int) -> float:
    beta2 = group["beta2"]
    if beta2 is None:
        return float(1.0 - step ** -group["exponent"])
    return float(beta2 * (1 - beta2 ** (step - 1)) / (1 - beta2**step))


def _root_mean_square(x: Tensor) -> Tensor:
    mean: Tensor = x.square().mean()
    return mean.sqrt_()
