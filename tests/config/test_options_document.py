"""What docs/options.md shows is what the server does."""

from __future__ import annotations

import re
from pathlib import Path

from slipway.config.option_report import option_lines
from slipway.config.options import parse_options

PAGE = (Path(__file__).parent.parent.parent / "docs" / "options.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def test_the_file_of_the_page_gives_the_table_of_the_page(tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    keys.write_text("key\n")
    keys.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    Path("slipway.toml").write_text(block("toml").replace("/run/secrets/keys", str(keys)), encoding="utf-8")
    command, *shown, end = block("console").splitlines()
    variable, words = re.fullmatch(r"\$ (\S+) slipway serve (.+)", command).groups()
    options = parse_options(words.split(), dict([variable.split("=")]))
    lines = [line.split(maxsplit=2) for line in option_lines(options)]
    assert [line for line in shown if line.split(maxsplit=2) not in lines] == []
    assert end == "..."
    assert options.allow_client_shm
    assert options.grpc_max_message_bytes == 1_000_000
