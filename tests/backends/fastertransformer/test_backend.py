"""Loading: what a checkpoint or a configuration must have, and the errors if it does not."""

from __future__ import annotations

import pytest

from slipway.backends.fastertransformer.backend import FasterTransformerBackend
from slipway.backends.shared.generation import GenerationExecutor
from slipway.backends.shared.single_pass import EncodingExecutor
from slipway.errors import Code, SlipwayError
from tests.backends.models import completion, context, open_instance, parse
from tests.kits.fastertransformer_models import BETA, tiny_t5, write_checkpoint


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_CACHE_DIR", str(tmp_path / "cache"))
    directory = tmp_path / "m"
    write_checkpoint(tiny_t5(steps=0), directory / "1", tmp_path / "hf")
    return directory


def config(kind="T5", text="", **parameters):
    """Return a configuration after completion."""
    keys = {"model_type": kind, "DEVICE": "cpu", **parameters}
    rows = "".join(f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}\n' for k, v in keys.items())
    return text + rows


def load(directory, text):
    made = parse(text)
    FasterTransformerBackend().complete(made, completion(directory))
    return FasterTransformerBackend().load(context(directory, str(made)))


def failure(directory, text):
    with pytest.raises(SlipwayError) as raised:
        load(directory, text)
    return raised.value


@pytest.mark.parametrize(("kind", "executor"), [("T5", GenerationExecutor), ("T5-Encoder", EncodingExecutor)])
def test_one_checkpoint_serves_as_a_whole_or_as_its_encoder(model, kind, executor):
    loaded = load(model, config(kind))
    assert isinstance(open_instance(loaded), executor)
    loaded.unload()
    with pytest.raises(SlipwayError, match="opened after its model was unloaded"):
        open_instance(loaded)
    loaded.unload()  # harmless


def test_inputs_of_no_interface_are_refused(model):
    text = """max_batch_size: 8
input { name: "ids" data_type: TYPE_UINT32 dims: [ -1 ] }
output { name: "output_ids" data_type: TYPE_INT32 dims: [ -1, -1 ] }
"""
    error = failure(model, config(text=text))
    assert error.code is Code.INVALID_ARG
    assert "needs the inputs 'input_ids' and 'max_output_len' or 'INPUT_ID'; config.pbtxt declares ids" in error.message


@pytest.mark.parametrize("damage", ["short", "long", "missing"])
def test_a_damaged_checkpoint_fails_the_load_with_the_files_name(model, damage):
    path = model / "1" / "decoder.block.1.layer.2.DenseReluDense.wo.weight.0.bin"
    if damage == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-4] if damage == "short" else data + bytes(4))
    error = failure(model, config())
    assert "decoder.block.1.layer.2.DenseReluDense.wo.weight.0" in error.message


def test_sizes_that_do_not_match_the_files_fail_the_load(model):
    ini = model / "1" / "config.ini"
    ini.write_text(ini.read_text().replace("d_ff = 48", "d_ff = 64"))
    assert "DenseReluDense" in failure(model, config()).message


def test_parameters_of_the_first_interface_are_checked_when_it_loads(model):
    assert "'beam_width' is 99" in failure(model, config(text=BETA, beam_width="99")).message


def test_an_unknown_model_type_fails_before_anything_is_read(tmp_path):
    assert failure(tmp_path, config("GPT-NeoX")).code is Code.UNSUPPORTED


def test_an_instance_group_for_gpus_is_served_with_a_warning(model, caplog):
    load(model, config(text="instance_group { count: 2 kind: KIND_GPU }\n")).unload()
    assert "instance groups do not set the device" in caplog.text
