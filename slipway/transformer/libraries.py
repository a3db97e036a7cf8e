"""Which libraries that compute are installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

INSTALL: Final = 'pip install "slipway[generate]"'


def installed(library: str) -> bool:
    """Return whether a library can be imported; it is not."""
    return find_spec(library) is not None
