"""What a chat shows of the server that it starts."""

from __future__ import annotations

import pytest

from slipway.cli.chat.own_server import own_server, shown_line
from slipway.errors import SlipwayError

HEAD = "1130 15:04:05.123456 77"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f'I{HEAD} converting.py:112] "\'./m\': running the \\"reference\\""\n', "'./m': running the \"reference\""),
        (f'I{HEAD} loading.py:10] "loading: m:1"\n', ""),
        (f'W{HEAD} serve.py:10] "is not compiled yet"\n', "is not compiled yet"),
        (f"E{HEAD} serve.py:10] not quoted\n", "not quoted"),
        ("+-------+\n", ""),
        ("| Model |\n", ""),
        ("\n", ""),
        ("error: it cannot be read\n", ""),
        ("  fix: convert it again\n", "  fix: convert it again"),
    ],
)
def test_steps_and_problems_are_shown_without_the_head_of_the_log(line, text):
    assert shown_line(line) == text


def test_a_source_that_cannot_be_served_is_an_error_with_its_reason(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("not a model")
    with pytest.raises(SlipwayError, match=r"cannot be served: .*is not a source of models"), own_server(str(tmp_path)):
        pass
    assert "is not a source of models" not in capsys.readouterr().err  # it is said once
