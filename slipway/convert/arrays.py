"""What is handed to a model and what it answers, by tensor name: the one form in which conversions hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Arrays]  # a model, whatever runs it

MAX_BATCH_SIZE: Final = 16  # of every model that `slipway convert` writes
