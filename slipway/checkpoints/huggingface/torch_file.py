"""One pytorch_model.bin file: tensors only (`weights_only`), mapped where the file's format allows it.

Needs torch; imported by weight_files.py when there is such a file.
"""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from zipfile import is_zipfile

import ml_dtypes
import numpy as np
import torch

from slipway.errors import invalid
from slipway.transformer.weights import Array


def open_torch(path: Path) -> dict[str, Array]:
    """Return every tensor of the file, unread where possible; raise INVALID_ARG when it holds anything else."""
    try:
        # Files of torch before 1.6 are not zip archives and cannot be mapped.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except (RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise invalid(
            f"'{path.name}' is no file of tensors that can be read: {reason or type(error).__name__}"
        ) from None
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise invalid(f"'{path.name}' does not hold a state dict, name to tensor")
    return {str(name): Array(tuple(tensor.shape), partial(_numpy, tensor)) for name, tensor in loaded.items()}


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype is torch.bfloat16:  # numpy has none: the same bits under another name
        bits: np.ndarray = tensor.detach().view(torch.int16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    return np.asarray(tensor.detach().numpy())
