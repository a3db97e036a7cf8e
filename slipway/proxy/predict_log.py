"""The log of what models were asked, under the name that test-triton-pub's log configuration gives it.

Off unless a configuration turns it on, because inputs may be confidential.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

PREDICT_LOG: Final = logging.getLogger("predict_logger")
_LONGEST: Final = 1000  # characters


def log_input(name: str, fields: Mapping[str, Any]) -> None:
    """Log the fields of a request as test-triton-pub does: on one line, whatever they contain."""
    text = " ".join(f"{key if key.isidentifier() else repr(key)}={value!r}" for key, value in fields.items())
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    PREDICT_LOG.info("Received input: %s", shown, extra={"model": name})
