"""Every one of tensor2tensor's commands prints its version."""

from __future__ import annotations

import re

import pytest

from slipway.cli.main import ALIASED, main


@pytest.mark.capability("2.1")
@pytest.mark.parametrize("name", ALIASED)
def test_version_is_semantic_and_exits_0(capsys, name):
    try:
        code = main([name, "--version"])
    except SystemExit as ended:
        code = ended.code
    assert code == 0
    assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", capsys.readouterr().out)
