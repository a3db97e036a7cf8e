"""docs/decoding.md is what the tables say, with a meaning for each parameter."""

from __future__ import annotations

import re
from pathlib import Path

from slipway.backends.fastertransformer.arguments import RULES
from slipway.backends.fastertransformer.completion import DECODING
from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams, override_decoding
from slipway.cli.decoding_page import FASTERTRANSFORMER, GRAMMAR_MEANINGS, LIST_MEANINGS, MEANINGS, page
from slipway.rest.openai.sampling import LIMITS
from slipway.runtime.arguments import SETTINGS, check_names
from slipway.runtime.grammars.source import GRAMMARS
from slipway.runtime.token_lists import LISTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "decoding.md"


def section(head: str) -> str:
    return page().partition(f"\n## {head}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_the_document_is_what_make_docs_writes():
    assert DOCUMENT.read_text(encoding="utf-8") == page(), "run make docs"


def test_each_parameter_has_a_meaning_and_no_other():
    assert MEANINGS.keys() == {each.name for each in SETTINGS}
    assert GRAMMAR_MEANINGS.keys() == {each.name for each in GRAMMARS}
    assert LIST_MEANINGS.keys() == LISTS.keys()
    assert FASTERTRANSFORMER.keys() == {each.name for each in DECODING}
    assert RULES.keys() <= FASTERTRANSFORMER.keys()


def test_the_names_of_the_page_are_accepted_by_the_models():
    shown = section("Converted text generators")
    names = first_cells(shown)
    check_names(names, ())
    assert set(names) >= {each.name for each in SETTINGS}
    assert [name for each in SETTINGS for name in each.aliases if f"`{name}`" not in shown] == []


def test_limits_are_those_of_the_tables():
    assert "| `beam_width` | `num_beams` | whole number, 1 to 64 |" in page()
    shown = section("OpenAI's routes")
    assert LIMITS["temperature"] == (0, 2)
    assert "| `temperature` | 0 to 2 |" in shown
    assert "| `seed` | -2^63 to 2^63 - 1 |" in shown
    assert first_cells(shown)[: len(LIMITS)] == list(LIMITS)


def test_the_settings_of_tensor2tensor_are_accepted_with_their_defaults():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section("tensor2tensor's models"), re.MULTILINE)
    given = ",".join(f"{name}={value}" for name, value in rows if name != "delimiter")
    assert override_decoding(DecodeHParams(), given) == DecodeHParams()
