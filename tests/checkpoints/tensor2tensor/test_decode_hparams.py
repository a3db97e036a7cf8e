"""Decoding settings under tensor2tensor's names: honoured, refused with the nearest name, or named as ignored."""

from __future__ import annotations

import json

import pytest

from slipway.checkpoints.tensor2tensor.decode_hparams import (
    DecodeHParams,
    decoding_from_json,
    decoding_to_json,
    override_decoding,
)
from slipway.errors import Code, SlipwayError


def test_the_defaults_are_those_of_tensor2tensor():
    settings = DecodeHParams()
    assert (settings.beam_size, settings.alpha, settings.extra_length) == (4, 0.6, 100)
    assert not settings.return_beams


def test_values_of_every_type_are_read():
    found = override_decoding(DecodeHParams(), "beam_size=8,alpha=1,return_beams=True,delimiter=\\t,max_input_size=-1")
    assert found == DecodeHParams(beam_size=8, alpha=1.0, return_beams=True, delimiter="\t")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beam_sise=8", "'beam_sise' is unknown: did you mean 'beam_size'?"),
        ("alpha=high", "'alpha' is 'high', expected a number"),
        ("beam_size", "'beam_size' is None, expected a whole number"),
        ("beam_size=0", "beam_size is 0, expected 1 to 64"),
        ("alpha=inf", "alpha is inf, expected a finite number"),
        ("extra_length=-1", "extra_length is -1, expected 0 or more"),
        ("return_beams=perhaps", "expected true or false"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(SlipwayError) as caught:
        override_decoding(DecodeHParams(), text)
    assert caught.value.code is Code.INVALID_ARG
    assert message in caught.value.message


def test_another_search_is_unsupported_but_its_neutral_value_is_not():
    assert override_decoding(DecodeHParams(), "block_size=0,num_decodes=1") == DecodeHParams()
    with pytest.raises(SlipwayError, match="'block_size' is 4, but only 0 is supported") as caught:
        override_decoding(DecodeHParams(), "block_size=4")
    assert caught.value.code is Code.UNSUPPORTED


def test_settings_without_effect_are_named(caplog):
    override_decoding(DecodeHParams(), "save_images=true,log_results=false")
    assert "ignored, without effect here: save_images, log_results" in caplog.text


def test_json_keeps_everything():
    settings = DecodeHParams(beam_size=2, alpha=0.0, delimiter="\t", return_beams=True)
    text = decoding_to_json(settings, problem="p", step=3)
    assert decoding_from_json(text, "decoding.json", ("problem", "step")) == (settings, {"problem": "p", "step": 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam_size": "4"}, "'beam_size' is '4', expected a whole number"),
        ({"return_beams": 1}, "expected true or false"),
        ({"beams": 4}, "'beams' is unknown"),
    ],
)
def test_a_damaged_decoding_json_is_refused_by_its_name(change, message):
    text = json.dumps(json.loads(decoding_to_json(DecodeHParams())) | change)
    with pytest.raises(SlipwayError, match=r"D/decoding\.json") as caught:
        decoding_from_json(text, "D/decoding.json")
    assert message in caught.value.message


@pytest.mark.parametrize("text", ["[]", "{"])
def test_what_is_not_an_object_is_refused(text):
    with pytest.raises(SlipwayError, match=r"decoding\.json"):
        decoding_from_json(text, "decoding.json")
