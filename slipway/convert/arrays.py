"""The inputs and outputs of a model as arrays by tensor name, the form that all conversions use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Arrays]  # a model, on any engine

MAX_BATCH_SIZE: Final = 16  # max_batch_size of every model that `slipway convert` writes
