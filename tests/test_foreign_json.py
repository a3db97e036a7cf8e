"""JSON that others wrote: every fault is one error that names the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway.errors import SlipwayError
from slipway.foreign_json import parse_foreign, read_foreign


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "Expecting property name"),
        (b'"\xff"', "can't decode byte 0xff"),
        (b"[" * 100_000, "nested more than 200 levels deep"),
        (b"[" * 201 + b"]" * 201, "nested more than 200 levels deep"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested more than 200 levels deep"),
        (b"9" * 5000, "Exceeds the limit"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused_with_its_source(text, reason):
    with pytest.raises(SlipwayError, match=f"^config.json: .*{reason}"):
        parse_foreign(text, "config.json")


def test_values_of_python_s_own_json_are_kept():
    assert parse_foreign('{"a": [1, NaN]}', "x")["a"][0] == 1
    assert parse_foreign(b"[" * 200 + b"]" * 200, "x")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(SlipwayError, match="is not a regular file"):
            read_foreign(path)


def test_a_missing_file_and_an_endless_name_are_refused(tmp_path):
    with pytest.raises(SlipwayError, match="No such file"):
        read_foreign(tmp_path / "no.json")
    with pytest.raises(SlipwayError, match="File name too long"):
        read_foreign(tmp_path / ("x" * 300))
