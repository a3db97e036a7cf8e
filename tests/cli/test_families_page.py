"""docs/families.md is what the tables of checkpoints say."""

from __future__ import annotations

import re
from pathlib import Path

from slipway.checkpoints.huggingface.reader import FAMILIES
from slipway.cli.families_page import page
from slipway.convert.generation.source import TASKS

DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_document_is_what_make_docs_writes():
    assert DOCUMENT.read_text(encoding="utf-8") == page(), "run make docs"


def test_every_family_that_generates_text_has_one_row_and_a_reader():
    kinds = page().partition("## Settings")[0]
    shown = re.findall(r"^\| `([^`]+)` \|", kinds, re.MULTILINE)
    assert sorted(shown) == sorted(TASKS)
    assert set(shown) <= FAMILIES.keys()


def test_rows_say_what_distinguishes_a_family():
    assert (
        "| `gemma2` | Gemma 2 | rotary | RMS norms, norms of each block's output, grouped heads, attention windows, "
        in page()
    )
    assert "| `bloom` | BLOOM, BLOOMZ | ALiBi | layer norms |" in page()
    assert "| `clip_qkv` | `null` |" in page()
