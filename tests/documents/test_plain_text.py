"""Markdown and LaTeX in a text are removed, and the words remain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.documents.plain_text import latex_table, plain_text


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("## Header", "Header"),
        ("# One\n### Two", "One\nTwo"),
        ("C# and F# stay", "C# and F# stay"),
        ("**bold** and *italic* and _stressed_", "bold and italic and stressed"),
        ("snake_case_name", "snake_case_name"),
        ("* first\n* second *word*", "first\nsecond word"),
        ("2 * 3", "2 * 3"),
        ("see ([https://a.b/c](https://a.b/c)) and [the page](d.html)", "see (https://a.b/c) and the page"),
        ("[1] is not a link", "[1] is not a link"),
        ("E = mc<sup>2</sup>, H<sub>2</sub>O", "E = mc2, H2O"),
        ("a ```code\nin lines``` b", "a  b"),
        (r"before \[ x^2 \] after", "before  after"),
        (r"the \(x\) axis", "the x axis"),
        ("costs $x + y$ more", "costs  more"),
        ("5 $ and no more", "5 $ and no more"),
        (r"a \begin{table}x\end{table} b", "a  b"),
        ("a \\begin{tabular}{l}\n1 \\\\\n\\end{tabular} b", "a <table> b"),
        ("| a | b |\n|---|---|\ntext", "text"),
        ("P(a|b) is P(b|a)", "P(a|b) is P(b|a)"),
        (r"50\% of \alpha", "50% of alpha"),
        ("continued <tbc>", "continued"),
        ("```not closed", "```not closed"),
        ("", ""),
    ],
)
def test_words_remain(markdown, plain):
    assert plain_text(markdown) == plain


@given(st.text(st.sampled_from("ab *_#$|`[]()\\{}<>/supb\n"), max_size=60))
def test_any_text_can_be_read(text):
    assert "\\" not in plain_text(text)


@pytest.mark.parametrize(
    "piece", ["[", "[a](", "*", "_", "$", "|", "```", r"\[", r"\begin{tabular}", "#", "<sup>", " "]
)
def test_a_long_text_of_openings_is_read_in_linear_time(piece):
    assert len(plain_text(piece * 100_000)) <= 100_000 * len(piece)


def test_an_escaped_table_becomes_latex():
    escaped = r"\\begin{tabular}{l}\na \\\\ \"b\"\t1\\\\\n\\end{tabular}"
    assert latex_table(escaped) == '\\begin{tabular}{l}\na \\\\ "b"\t1\\\\\n\\end{tabular}'


def test_a_table_that_is_latex_already_remains():
    table = "\\begin{tabular}{l}\n\\textbf{é} \\\\ \\nu\n\\end{tabular}"
    assert latex_table(f" {table}<tbc>") == table
