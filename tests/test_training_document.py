"""Every command line of docs/training.md and of the README's section is one that the commands accept."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from slipway.checkpoints.tensor2tensor.hparam_limits import check_training
from slipway.checkpoints.tensor2tensor.hparams import named_hparams, override
from slipway.cli.main import ALIASED, COMMANDS
from slipway.cli.tensor2tensor.flags import read_flags

ROOT = Path(__file__).parent.parent


def command_lines():
    """Return the words of each command that has a launcher, in the order of the documents."""
    found = []
    for name in ("docs/training.md", "README.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^\$ (.+)$", text, re.MULTILINE):
            words = shlex.split(line.removeprefix("slipway "), comments=True)
            if words and words[0] in ALIASED and words[0] != "tritonserver":
                found.append(words)
    return found


LINES = command_lines()


def test_the_documents_show_the_whole_way():
    assert {words[0] for words in LINES} >= {"t2t-datagen", "t2t-trainer", "t2t-exporter", "tritonc", "triton_client"}


@pytest.mark.parametrize("words", LINES, ids=lambda words: words[0])
def test_a_documented_command_line_is_accepted(words):
    command = import_module(COMMANDS[words[0]].module).COMMAND
    flags = read_flags(command, words[1:])
    assert isinstance(flags, command.options)
    if words[0] == "t2t-trainer":
        check_training(override(named_hparams(flags.hparams_set), flags.hparams))
