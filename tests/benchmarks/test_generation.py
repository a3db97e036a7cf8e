"""The benchmark of sequence models runs, with models of a small size, and what it last found keeps the promises.

Seconds depend on the machine, so the run here holds what does not: the same ids and states as `transformers`, and a row
for each promise. The ratios are held in the dated results of full size.
"""

from __future__ import annotations

import json

import pytest

from benchmarks.generation import bert, t5
from benchmarks.report import newest, save


def promised(rows, start):
    return {row.name: (row.at_least, row.at_most) for row in rows if row.name.startswith(start)}


@pytest.mark.slow
@pytest.mark.capability("0.21")
def test_t5_is_measured_beside_transformers_with_the_same_ids(tmp_path):
    rows = t5(tmp_path, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    same = [row.value for row in rows if row.name.endswith("ids as transformers'")]
    assert same == [1.0, 1.0, 1.0]
    assert all(row.value > 0 for row in rows)
    saved = json.loads(save("generation", rows, tmp_path / "results").read_text())
    assert [row["name"] for row in saved["rows"]] == [row.name for row in rows]
    assert promised(newest("generation"), "T5-base, ") == promised(rows, "T5-base, ")


@pytest.mark.slow
@pytest.mark.capability("1.22")
def test_bert_is_measured_beside_transformers_with_the_same_states(tmp_path):
    rows = bert(tmp_path, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    for row in rows:
        if row.name.endswith("float32: largest difference"):
            assert row.value < 2e-3
    assert promised(newest("generation"), "BERT-base ") == promised(rows, "BERT-base ")


@pytest.mark.capability("0.21")
@pytest.mark.parametrize("batch", ["batch 1", "batch 8", "batch 1, beam 4"])
def test_the_kept_figures_of_t5_are_at_least_twice_transformers(batch):
    rows = {row.name: row for row in newest("generation")}
    assert rows[f"T5-base, {batch}, float32"].ratio >= 2.0
    assert rows[f"T5-base, {batch}, int8"].ratio >= 2.0
    assert rows[f"T5-base, {batch}, float32: ids as transformers'"].value == 1.0


@pytest.mark.capability("0.21")
@pytest.mark.capability("1.22")
def test_the_kept_figures_keep_every_promise():
    rows = newest("generation")
    assert [row.name for row in rows if row.verdict == "missed"] == []
    assert {row.name.split(",")[0] for row in rows if row.verdict == "met"} >= {"T5-base", "BERT-base through lightseq"}
