"""One pytorch_model.bin file: only tensors (`weights_only`), mapped if the file's format allows it.

Needs torch; weight_files.py imports it when there is such a file.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from zipfile import is_zipfile

import ml_dtypes
import numpy as np
import torch

from slipway.errors import invalid
from slipway.transformer.weights import Array


def open_torch(path: Path) -> dict[str, Array]:
    """Return every tensor of the file, unread if possible; raise INVALID_ARG when it contains anything else."""
    try:
        # Files written by torch before 1.6 are not zip archives and cannot be mapped.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except Exception as error:  # its unpickler raises whatever the steps of a damaged pickle lead to
        reason = " ".join(str(error).split())[:200]
        raise invalid(f"'{path.name}' is not a readable file of tensors: {reason or type(error).__name__}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise invalid(f"'{path.name}' does not contain a state dict (name to tensor)")
    return {str(name): Array(tuple(tensor.shape), partial(_numpy, tensor)) for name, tensor in loaded.items()}


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype is torch.bfloat16:  # numpy lacks it: the same bits as another type
        bits: np.ndarray = tensor.detach().view(torch.int16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    return np.asarray(tensor.detach().numpy())
