"""Tables as tritonserver draws them."""

from __future__ import annotations

import pytest

from slipway.core.table import render_table


def test_columns_are_as_wide_as_their_widest_cell_and_cells_may_have_lines():
    table = render_table(("Model", "Status"), [("a", "READY"), ("bad", "UNAVAILABLE: x\ny\n")])
    assert table.splitlines() == [
        "+-------+----------------+",
        "| Model | Status         |",
        "+-------+----------------+",
        "| a     | READY          |",
        "| bad   | UNAVAILABLE: x |",
        "|       | y              |",
        "+-------+----------------+",
    ]


def test_a_table_without_rows_has_its_header():
    assert render_table(("A",), []).splitlines() == ["+---+", "| A |", "+---+", "+---+"]


COMPARED = ("candidate", "gate", "same label", "cosine", "length: ms, rows/s", "MB")
CANDIDATES = [
    ("onnxruntime fp32", "passed", "", "1.00000 (worst 1.00000)", "32: 4.6 ms, 216/s; 128: 16.0 ms, 62/s", "90.4"),
    ("onnxruntime int8 (dynamic)", "refused", "", "0.99187 (worst 0.97287)", "", "23.0"),
]


def test_a_table_that_fits_stays_as_it_is():
    rows = [("a", "b"), ("", "c")]
    assert render_table(("x", "y"), rows, 80) == render_table(("x", "y"), rows)


def test_a_wide_column_is_folded_between_words():
    table = render_table(("model", "reason"), [("m", "the file is missing: it belongs elsewhere")], 34)
    assert table.splitlines() == [
        "+-------+----------------------+",
        "| model | reason               |",
        "+-------+----------------------+",
        "| m     | the file is missing: |",
        "|       | it belongs elsewhere |",
        "+-------+----------------------+",
    ]


def test_a_row_of_many_columns_becomes_a_block_whose_values_are_aligned():
    assert render_table(COMPARED, CANDIDATES, 80).splitlines() == [
        "onnxruntime fp32            gate passed   cosine 1.00000 (worst 1.00000)",
        "  length: ms, rows/s 32: 4.6 ms, 216/s; 128: 16.0 ms, 62/s  MB 90.4",
        "onnxruntime int8 (dynamic)  gate refused  cosine 0.99187 (worst 0.97287)",
        "  MB 23.0",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_width_and_no_value_is_lost(width):
    rows = [*CANDIDATES, ("a" * 90, "passed", "", "one\ntwo", "x " * 80, "1")]
    printed = render_table(COMPARED, rows, width)
    assert max(map(len, printed.splitlines())) <= width
    text = "".join(printed.replace("|", "").split())
    for row in CANDIDATES:
        for cell in row:
            assert all(word in text for word in cell.split())
