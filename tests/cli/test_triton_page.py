"""docs/triton.md is what the tables say, and leaves nothing out."""

from __future__ import annotations

from pathlib import Path

from slipway.cli.triton_page import page
from slipway.config.fields import all_fields
from slipway.config.flags import flags_of
from slipway.config.options import ServerOptions
from slipway.config.triton_flags import TRITON_FLAGS
from slipway.config.unserved import WITHOUT_EFFECT
from tests.config.test_environment import TRITON as VARIABLES
from tests.config.test_options import TRITON as FLAGS

DOCUMENT = Path(__file__).parents[2] / "docs" / "triton.md"


def test_the_document_is_what_make_docs_writes():
    assert DOCUMENT.read_text(encoding="utf-8") == page(), "run make docs"


def test_every_flag_field_and_variable_is_in_it():
    text = page()
    names = [*(f"--{name}" for name in FLAGS), *(name for name, _ in all_fields()), *VARIABLES]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_flag_is_tritons_or_slipways_own():
    assert set(FLAGS) == TRITON_FLAGS
    served = {name for flag in flags_of(ServerOptions) for name in (flag.name, *flag.aliases, *flag.deprecated)}
    assert served | set(WITHOUT_EFFECT) >= TRITON_FLAGS
    assert set(WITHOUT_EFFECT) <= TRITON_FLAGS


def test_each_line_of_a_table_has_as_many_cells_as_its_head():
    for block in page().split("\n\n"):
        counts = {line.replace(r"\|", "").count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(counts) <= 1, block
