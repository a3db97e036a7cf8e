"""Run a torch function on arrays, for subjects that torch runs: tensors in, arrays out, its errors as one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slipway.backends.pytorch.module import cause_of_torch
from slipway.convert.arrays import Arrays
from slipway.errors import invalid


def answers_of(path: Path, call: Callable[[Mapping[str, Any]], Any], inputs: Arrays) -> list[np.ndarray]:
    """Return what `call` gives for tensors of these values; raise INVALID_ARG with torch's reason where it fails, and
    for answers that are not tensors which numpy has."""
    import torch

    with torch.inference_mode():
        try:
            answer = call({name: torch.from_numpy(array.copy()) for name, array in inputs.items()})
        except Exception as error:  # a module raises whatever it likes
            raise invalid(cause_of_torch(error)) from error
    if isinstance(answer, Mapping):
        answer = tuple(answer.values())
    answers = answer if isinstance(answer, (tuple, list)) else (answer,)
    if not all(isinstance(each, torch.Tensor) for each in answers):
        raise invalid(f"'{path}' answers with something else than tensors, which cannot be served")
    if any(each.dtype == torch.bfloat16 for each in answers):
        raise invalid(f"'{path}' answers in bfloat16, which numpy lacks: let it return .float()")
    return [each.numpy() for each in answers]
