"""The output file as the record of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway.errors import SlipwayError
from slipway.lines.record import LineOutput, RunIdentity
from slipway.lines.source import LineSource, Survey

IDENTITY = RunIdentity(Survey(20, 5, "abc"), "m", "1", "in", "out")


def begin(path, identity=IDENTITY, *, restart=False):
    output = LineOutput.open(str(path))
    try:
        output.begin(identity, restart=restart)
    except BaseException:
        output.close()
        raise
    return output


@pytest.fixture
def interrupted(tmp_path):
    """An output with two complete lines and a third that was cut off."""
    path = tmp_path / "out"
    output = begin(path)
    output.write([b"1", b"2"])
    output.close()
    with path.open("ab") as file:
        file.write(b"3 cut")
    return path


def test_a_run_goes_on_after_the_last_complete_line(interrupted):
    output = begin(interrupted)
    assert output.done == 2
    output.write([b"3", b""])
    output.finish()
    output.close()
    assert interrupted.read_bytes() == b"1\n2\n3\n\n"
    assert [path.name for path in interrupted.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("text", [b"", b"cut", b"1\n", b"1\n" + b"x" * (3 << 20)])
def test_a_cut_line_is_removed_whatever_is_before_it(tmp_path, text):
    path = tmp_path / "out"
    begin(path).close()
    path.write_bytes(text)
    output = begin(path)
    output.close()
    assert output.done == text.count(b"\n")
    assert path.read_bytes() == text[: text.rfind(b"\n") + 1]


def test_a_finished_output_is_replaced_by_the_next_run(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old\n")
    output = begin(path)
    assert (output.done, path.read_bytes()) == (0, b"")
    output.close()


def test_opening_alone_changes_nothing(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old\n")
    LineOutput.open(str(path)).close()
    assert path.read_bytes() == b"old\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": Survey(20, 5, "other")}, "another input"),
        ({"model": "n", "version": ""}, "another model and version"),
        ({"output_name": "scores"}, "another output name"),
    ],
)
def test_a_run_of_something_else_does_not_go_on(interrupted, changes, message):
    with pytest.raises(SlipwayError, match=message):
        begin(interrupted, replace(IDENTITY, **changes))
    assert interrupted.read_bytes() == b"1\n2\n3 cut"


def test_a_stream_cannot_go_on_with_a_run(interrupted):
    with pytest.raises(SlipwayError, match="cannot be read again"):
        begin(interrupted, None)


def test_a_restart_begins_again(interrupted):
    output = begin(interrupted, replace(IDENTITY, model="n"), restart=True)
    assert (output.done, interrupted.read_bytes()) == (0, b"")
    output.close()


def test_an_output_with_more_lines_than_the_input_is_refused(interrupted):
    interrupted.write_bytes(b"\n" * 6)
    with pytest.raises(SlipwayError, match="has 6 lines, the input only 5"):
        begin(interrupted)


def test_a_damaged_record_is_named(interrupted):
    (interrupted.parent / "out.progress").write_bytes(b"{")
    with pytest.raises(SlipwayError, match=r"out\.progress' is damaged"):
        begin(interrupted)


def test_two_runs_do_not_write_one_file(tmp_path):
    output = begin(tmp_path / "out")
    with pytest.raises(SlipwayError, match="another triton_client is writing"):
        LineOutput.open(str(tmp_path / "out"))
    output.close()


@pytest.mark.parametrize(("text", "lines"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\n\nb", 3), (b"\r\n\x85", 2)])
def test_a_survey_counts_lines_and_recognises_a_change(tmp_path, text, lines):
    path = tmp_path / "in"
    path.write_bytes(text)
    survey = surveyed(path)
    assert (survey.size, survey.lines) == (len(text), lines)
    assert surveyed(path) == survey
    path.write_bytes(text.replace(b"a", b"A") + b"x")
    assert surveyed(path).digest != survey.digest


def surveyed(path):
    source = LineSource.open(str(path))
    survey = source.survey()
    source.close()
    return survey
