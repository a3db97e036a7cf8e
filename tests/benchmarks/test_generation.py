"""The benchmark of sequence models runs with small models and a real server.

Times depend on the machine, so these tests check what does not: the same ids and states as `transformers`, and a target
for each kind of request. `python -m benchmarks` judges the ratios.
"""

from __future__ import annotations

import json

import pytest

from benchmarks.generation import bert, t5
from benchmarks.report import save


def promised(rows):
    return {row.name for row in rows if row.reference is not None and row.at_least is not None}


@pytest.mark.slow
@pytest.mark.capability("0.21")
def test_t5_is_measured_against_transformers_with_the_same_ids(tmp_path):
    rows = t5(tmp_path, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    same = [row.value for row in rows if row.name.endswith("ids as transformers'")]
    assert same == [1.0, 1.0, 1.0]
    assert all(row.value > 0 for row in rows)
    batches = ("batch 1", "batch 8", "batch 1, beam 4")
    assert promised(rows) >= {f"T5-base, {batch}, float32" for batch in batches} | {"T5-base, batch 8, int8"}
    saved = json.loads(save("generation", rows, tmp_path / "results").read_text())
    assert [row["name"] for row in saved["rows"]] == [row.name for row in rows]


@pytest.mark.slow
@pytest.mark.capability("1.22")
def test_bert_is_measured_against_transformers_with_the_same_states(tmp_path):
    rows = bert(tmp_path, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    differences = [row.value for row in rows if row.name.endswith("float32: largest difference")]
    assert len(differences) == 4
    assert max(differences) < 2e-3
    what = "BERT-base through lightseq, {} tokens, batch {}, {}"
    assert promised(rows) == {
        what.format(tokens, batch, kind) for tokens in (32, 128) for batch in (1, 8) for kind in ("float32", "int8")
    }
