"""The parameter by which `slipway convert` says that it measured batches: what they bring is then no guess of a rule's.

Triton ignores the key.
"""

from __future__ import annotations

from typing import Final

BATCHING_MEASURED: Final = "BATCHING_MEASURED"  # its value is what was found, in words
