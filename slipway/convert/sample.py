"""The texts on which candidates are compared and calibrated: the built-in sample, or a file of the user."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from slipway.errors import invalid

_MOST: Final = 300  # of a file; more only take time


def sample_texts() -> list[str]:
    """Return sentences from the styles of news, reviews, questions and instructions."""
    return files("slipway.convert").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()


def read_texts(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file that are not empty, at most 300; raise INVALID_ARG if there are none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(f"calibration file '{path}' cannot be read as UTF-8 text: {error}") from None
    texts = [line for line in lines if line][:_MOST]
    if not texts:
        raise invalid(f"calibration file '{path}' contains no text")
    return texts
