"""The built-in sample text on which candidates are compared and calibrated."""

from __future__ import annotations

from importlib.resources import files


def sample_texts() -> list[str]:
    """Return sentences from the styles of news, reviews, questions and instructions."""
    return files("slipway.convert").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()
