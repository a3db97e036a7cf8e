"""The parameter that limits how many rows of a batch a graph computes at a time. Triton ignores the key.

A page of an encoder of images takes hundreds of megabytes while it is computed, and keeps every core busy: more rows at
a time take more memory and no less time.
"""

from __future__ import annotations

from typing import Final

ROWS_AT_ONCE: Final = "ROWS_AT_ONCE"  # a positive number; all rows at a time if it is not set
