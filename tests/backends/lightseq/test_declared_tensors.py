from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.backends.lightseq.declared_tensors import complete_interface, warn_of_differences
from slipway.backends.lightseq.model_types import INTERFACES, SCORING, TASKS, LightSeqTask, task_of
from slipway.errors import SlipwayError

BERT = """
name: "m" max_batch_size: 8
input [ { name: "token_ids" data_type: TYPE_INT32 dims: [ -1 ] } ]
output [ { name: "encoder_output" data_type: TYPE_INT32 dims: [ -1 ] } ]
"""
TRANSFORMER = """
name: "m" max_batch_size: 8
input [ { name: "source_ids" data_type: TYPE_INT32 dims: [ -1 ] } ]
output [ { name: "target_ids" data_type: TYPE_INT32 dims: [ -1 ] },
         { name: "target_scores" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""


def completed(text, interface):
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    complete_interface(config, interface, 4)
    return config


def shown(tensors):
    return [(tensor.name, model_config_pb2.DataType.Name(tensor.data_type), list(tensor.dims)) for tensor in tensors]


def test_berts_output_declared_as_integers_becomes_float_with_a_warning(caplog):
    config = completed(BERT, INTERFACES[LightSeqTask.ENCODE])
    assert shown(config.output) == [("encoder_output", "TYPE_FP32", [-1, -1])]
    assert "declared as TYPE_INT32 [-1] but is TYPE_FP32 [-1, -1]" in caplog.text


def test_the_rank_of_target_ids_is_corrected_and_scores_are_left(caplog):
    config = completed(TRANSFORMER, INTERFACES[LightSeqTask.TRANSLATE])
    assert shown(config.output) == [("target_ids", "TYPE_INT32", [-1, -1]), ("target_scores", "TYPE_FP32", [-1])]
    assert "target_scores" not in caplog.text


def test_a_reshape_of_a_corrected_output_goes_with_its_dims():
    text = BERT.replace("TYPE_INT32 dims: [ -1 ] } ]\n", "TYPE_INT32 dims: [ -1 ] reshape { shape: [ 1, -1 ] } } ]\n")
    assert not completed(text, INTERFACES[LightSeqTask.ENCODE]).output[0].HasField("reshape")


def test_a_score_per_row_is_declared_as_one_number():
    text = BERT.split("output", maxsplit=1)[0] + 'output [ { name: "result" data_type: TYPE_INT32 dims: [ -1 ] } ]'
    assert shown(completed(text, SCORING).output) == [("result", "TYPE_FP32", [-1])]
    assert shown(completed(BERT.split("output", maxsplit=1)[0], SCORING).output) == [("result", "TYPE_FP32", [1])]


def test_requests_of_any_length_merge_unless_a_scheduler_is_declared():
    config = completed(TRANSFORMER, INTERFACES[LightSeqTask.TRANSLATE])
    assert config.HasField("dynamic_batching")
    assert config.input[0].allow_ragged_batch
    config = completed(TRANSFORMER.replace("8", "1"), INTERFACES[LightSeqTask.TRANSLATE])
    assert not config.HasField("dynamic_batching")


@pytest.mark.parametrize("task", list(LightSeqTask))
def test_a_config_without_tensors_is_filled_in(task, caplog):
    config = completed('name: "m"', INTERFACES[task])
    assert config.max_batch_size == 4
    assert [tensor.name for tensor in config.input] == [INTERFACES[task].input.name]
    assert [tensor.name for tensor in config.output] == [output.name for output in INTERFACES[task].outputs]
    assert not caplog.text


def test_without_batch_dimension_the_full_rank_is_declared():
    text = BERT.replace("max_batch_size: 8", "").replace("[ -1 ]", "[ -1, -1 ]", 1)
    assert shown(completed(text, INTERFACES[LightSeqTask.ENCODE]).output) == [
        ("encoder_output", "TYPE_FP32", [-1, -1, -1])
    ]


def test_all_unknown_tensors_are_named_at_once():
    text = BERT.replace("token_ids", "ids").replace("encoder_output", "states")
    with pytest.raises(SlipwayError) as error:
        completed(text, INTERFACES[LightSeqTask.ENCODE])
    for words in ("have an input 'ids', only 'token_ids'", "'token_ids' is not declared", "have an output 'states'"):
        assert words in error.value.message


def test_an_input_of_another_type_is_refused():
    with pytest.raises(SlipwayError, match="'token_ids' is declared as TYPE_FP32, expected TYPE_INT32"):
        completed(BERT.replace("TYPE_INT32", "TYPE_FP32", 1), INTERFACES[LightSeqTask.ENCODE])


def test_with_auto_completion_off_the_differences_are_logged_and_kept(caplog):
    config = text_format.Parse(BERT, model_config_pb2.ModelConfig())
    warn_of_differences(config, INTERFACES[LightSeqTask.ENCODE])
    assert "the metadata keeps the declaration" in caplog.text
    assert shown(config.output)[0][1] == "TYPE_INT32"


@pytest.mark.capability("1.17")
@pytest.mark.parametrize("model_type", ["bert", "Llama", ""])
def test_an_unknown_model_type_is_refused_with_all_known_ones(model_type):
    with pytest.raises(SlipwayError, match="Model not supported") as error:
        task_of(model_type, "m")
    assert all(name in error.value.message for name in TASKS)
