"""Tables as tritonserver draws them."""

from __future__ import annotations

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
