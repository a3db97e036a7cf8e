"""Writes each script in this folder as a notebook: `# %%` begins a cell of code, `# %% [markdown]` one of text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_CELL = re.compile(r"^# %%(?P<text> \[markdown\])?\n", re.MULTILINE)
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def scripts() -> list[Path]:
    """Return the scripts, in the order of their numbers."""
    return sorted(FOLDER.glob("[0-9]*.py"))


def notebook(script: Path) -> str:
    """Return a script as a notebook (nbformat 4.5)."""
    document = {
        "cells": list(cells(script.read_text(encoding="utf-8"))),
        "metadata": {"kernelspec": _KERNEL, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, indent=1) + "\n"


def cells(source: str) -> Iterator[dict[str, Any]]:
    """Yield the cells of a script in percent format."""
    _, *parts = _CELL.split(source)
    for number, (mark, body) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        lines = body.strip().split("\n")
        if mark:
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        text = [f"{line}\n" for line in lines[:-1]] + lines[-1:]
        own = {"id": f"cell-{number}", "metadata": {}, "source": text}
        yield (
            {"cell_type": "markdown", **own}
            if mark
            else {
                "cell_type": "code",
                "execution_count": None,
                "outputs": [],
                **own,
            }
        )


if __name__ == "__main__":
    for each in scripts():
        each.with_suffix(".ipynb").write_text(notebook(each), encoding="utf-8")
        print(f"wrote {each.with_suffix('.ipynb').name}")
