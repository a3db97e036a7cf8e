"""The benchmark of decoder-only engines, on a tiny model."""

from __future__ import annotations

import sys

import pytest

from benchmarks import decoder_process, decoders
from benchmarks.reference import CannotRunError

TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 100}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


def test_an_engine_in_a_process_of_its_own_answers_with_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(decoders, "TURNS", 1)
    decoders.write_checkpoint(tmp_path, **TINY, **HEADS)
    with decoders.running_decoder(sys.executable, "openvino int8", tmp_path) as decoder:
        found = decoders.alternating({"openvino int8": decoder}, 2)
    assert found["openvino int8"] > 0


def test_a_process_that_ends_is_an_error(tmp_path):
    with pytest.raises(CannotRunError), decoders.running_decoder(sys.executable, "openvino int8", tmp_path):
        pass


def test_ratios_are_those_of_each_engine_of_ours_against_each_neighbour():
    speeds = {1: dict.fromkeys(decoders.OURS, 30.0) | {decoders.TRANSFORMERS: 10.0, decoders.CTRANSLATE2: 25.0}}
    rows = {row.name: row for row in decoders.compared(speeds)}
    assert len(rows) == 6
    met = rows["0.5B, batch 1, openvino bfloat16: against transformers bfloat16"]
    missed = rows["0.5B, batch 1, openvino int8: against CTranslate2 int8"]
    assert (met.ratio, met.verdict, missed.verdict) == (3.0, "met", "missed")


def test_every_engine_that_is_measured_can_be_run():
    assert {
        *decoders.OURS,
        decoders.TRANSFORMERS,
        decoders.CTRANSLATE2,
        *decoders.ELSEWHERE,
    } <= decoder_process.KINDS.keys()
