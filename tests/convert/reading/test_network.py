"""The arrays of a reader's encoder: all of them have to be in the checkpoint, and all of those have to be used."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from slipway.convert.reading.network import load_reader
from slipway.errors import SlipwayError
from tests.kits.image_readers import write_reader


def change(source, *, without=(), **added):
    """Rewrite the arrays of a checkpoint."""
    arrays = {name: array for name, array in load_file(source / "model.safetensors").items() if name not in without}
    assert len(without) == len(load_file(source / "model.safetensors")) - len(arrays)
    save_file(arrays | added, source / "model.safetensors", metadata={"format": "pt"})


def encoder_arrays(source):
    return sorted(name for name in load_file(source / "model.safetensors") if name.startswith("encoder."))


def test_a_whole_encoder_is_loaded_without_a_note(tmp_path):
    _, notes = load_reader(write_reader(tmp_path))
    assert notes == []


def test_an_encoder_with_a_missing_array_is_refused(tmp_path):
    source = write_reader(tmp_path)
    name = next(name for name in encoder_arrays(source) if name.endswith("1.layernorm_before.weight"))
    change(source, without=[name])
    with pytest.raises(SlipwayError, match=r"has 1 missing arrays, first 'encoder.*layernorm_before.weight'"):
        load_reader(source)


def test_an_encoder_with_an_array_of_another_shape_is_refused(tmp_path):
    source = write_reader(tmp_path)
    name = next(name for name in encoder_arrays(source) if name.endswith("1.layernorm_before.weight"))
    change(source, **{name: np.ones(3, np.float32)})
    with pytest.raises(SlipwayError, match=r"has 1 misshapen arrays, first 'encoder.*layernorm_before.weight'"):
        load_reader(source)


def test_an_encoder_that_config_json_cuts_short_is_refused(tmp_path):
    source = write_reader(tmp_path)
    config = json.loads((source / "config.json").read_text())
    config["encoder"]["num_hidden_layers"] = 1
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(SlipwayError, match=r"not used, first 'encoder.*config.json describes a smaller"):
        load_reader(source)


def test_the_projection_to_the_decoder_has_to_be_there(tmp_path):
    source = write_reader(tmp_path, "deit", "mbart")
    change(source, without=["enc_to_dec_proj.bias"])
    with pytest.raises(SlipwayError, match=r"1 missing arrays, first 'enc_to_dec_proj.bias'"):
        load_reader(source)


def test_the_pooler_may_be_missing_because_decoders_attend_to_what_precedes_it(tmp_path):
    source = write_reader(tmp_path)
    change(source, without=[name for name in encoder_arrays(source) if ".pooler." in name])
    _, notes = load_reader(source)
    assert notes == []
