"""From arrays to tensors."""

from __future__ import annotations

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from slipway.transformer.module.layer_builder import as_tensor


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_numbers_of_every_stored_type_arrive(dtype):
    array = np.array([[1.5, -2.0], [0.25, 96.0]]).astype(dtype)
    assert as_tensor(array.T).to(torch.float32).tolist() == [[1.5, 0.25], [-2.0, 96.0]]


def test_a_mapped_file_is_not_kept_in_memory(tmp_path):
    numbers = np.arange(4_000_000, dtype=np.float32)
    numbers.tofile(tmp_path / "numbers.bin")
    mapped = np.memmap(tmp_path / "numbers.bin", np.float32, mode="c").view(np.ndarray)
    tensor = as_tensor(mapped)
    smaps = Path("/proc/self/smaps").read_text()
    resident = re.search(r"numbers\.bin\n(?:.*\n)*?Rss: +(\d+) kB", smaps)
    assert resident is not None
    assert int(resident[1]) < 1000
    assert torch.equal(tensor, torch.from_numpy(numbers))
    assert np.array_equal(mapped, numbers)  # still readable
