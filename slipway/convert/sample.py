"""The built-in sample of text that candidates are compared and calibrated on."""

from __future__ import annotations

from importlib.resources import files


def sample_texts() -> list[str]:
    """Return sentences of news, reviews, questions and instructions."""
    return files("slipway.convert").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()
