"""docs/flags.md is what the commands accept, and leaves nothing out."""

from __future__ import annotations

from pathlib import Path

from slipway.cli.convert_flags import convert_parser
from slipway.cli.flags_page import page
from slipway.cli.infer_parser import infer_parser
from slipway.config.flags import flags_of
from slipway.config.options import ServerOptions
from slipway.config.triton_flags import TRITON_FLAGS
from slipway.config.variables import OTHER_VARIABLES
from slipway.proxy.options import ProxyOptions

DOCUMENT = Path(__file__).parents[2] / "docs" / "flags.md"


def section(command: str) -> str:
    return page().partition(f"\n## {command}\n")[2].partition("\n## ")[0]


def test_the_document_is_what_make_docs_writes():
    assert DOCUMENT.read_text(encoding="utf-8") == page(), "run make docs"


def test_serve_has_the_flags_that_tritonserver_lacks():
    shown = section("slipway serve")
    for flag in flags_of(ServerOptions):
        assert (f"| `--{flag.name}`" in shown) is (flag.name not in TRITON_FLAGS), flag.name


def test_every_option_of_the_other_commands_is_in_its_section():
    assert [each.name for each in flags_of(ProxyOptions) if f"`--{each.name}`" not in section("slipway proxy")] == []
    for parser in (convert_parser(), infer_parser()):
        assert [
            each for each in parser.long_options() if each != "--help" and f"`{each}`" not in section(parser.prog)
        ] == []
    assert "`--pipeline`" in section("slipway config create")
    assert [name for name in OTHER_VARIABLES if f"`{name}`" not in page()] == []


def test_each_line_of_a_table_has_as_many_cells_as_its_head():
    for block in page().split("\n\n"):
        counts = {line.replace(r"\|", "").count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(counts) <= 1, block
