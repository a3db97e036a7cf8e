"""Which libraries that compute are installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from slipway.installation import install_hint

INSTALL: Final = install_hint("generate")


def installed(library: str) -> bool:
    """Return whether a library can be imported; it is not. A folder of its name on the path is no library."""
    found = find_spec(library)
    return found is not None and found.origin is not None
