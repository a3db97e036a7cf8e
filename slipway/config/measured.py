"""The parameter by which `slipway convert` records that it measured batches, so rules need not guess their benefit.

Triton ignores the key.
"""

from __future__ import annotations

from typing import Final

BATCHING_MEASURED: Final = "BATCHING_MEASURED"  # its value is the result, in words
