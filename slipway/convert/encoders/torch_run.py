"""Run a torch function on arrays, for subjects that torch runs: arrays in, arrays out, errors as one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slipway.backends.pytorch.module import cause_of_torch
from slipway.convert.arrays import Arrays
from slipway.errors import invalid


def answers_of(path: Path, call: Callable[[Mapping[str, Any]], Any], inputs: Arrays) -> list[np.ndarray]:
    """Return the results of `call` for tensors with these values; raise INVALID_ARG with torch's reason if it fails,
    and for results that numpy cannot hold."""
    import torch

    with torch.inference_mode():
        try:
            answer = call({name: torch.from_numpy(array.copy()) for name, array in inputs.items()})
        except Exception as error:  # a module can raise anything
            raise invalid(cause_of_torch(error)) from error
    if isinstance(answer, Mapping):
        answer = tuple(answer.values())
    answers = answer if isinstance(answer, (tuple, list)) else (answer,)
    if not all(isinstance(each, torch.Tensor) for each in answers):
        raise invalid(f"'{path}' returns something other than tensors, which cannot be served")
    if any(each.dtype == torch.bfloat16 for each in answers):
        raise invalid(f"'{path}' returns bfloat16, which numpy lacks: return .float() instead")
    return [each.numpy() for each in answers]
