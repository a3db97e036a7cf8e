"""What `sequence_batching` specifies, read once: strategy, controls, states with their initial data."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.config.normalise import normalise
from slipway.config.sequences import (
    declared_inputs,
    declared_outputs,
    execution_signature,
    first_inputs,
    sequence_plan,
)
from slipway.config.signature import build_signature
from slipway.errors import SlipwayError
from tests.config.texts import IO

STATE = 'state { input_name: "i" output_name: "o" data_type: TYPE_%s dims: [ %s ] %s }'
FILE = 'initial_state { name: "s" data_type: TYPE_%s dims: [ %s ] data_file: "%s" }'
CONTROLS = """control_input [
  { name: "S" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
  { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } ] } ]"""


def config_of(text, rows=4):
    config = model_config_pb2.ModelConfig(name="m", max_batch_size=rows)
    text_format.Parse(f"{IO} sequence_batching {{ {text} }}", config)
    normalise(config)
    return config


def plan_of(text, directory, rows=4):
    return sequence_plan(config_of(text, rows), directory)


def initial(plan):
    (state,) = plan.states
    return state.initial.array.tolist()


def test_a_model_without_sequences_has_no_plan(tmp_path):
    assert sequence_plan(model_config_pb2.ModelConfig(name="m"), tmp_path) is None
    assert first_inputs(None) == {}


@pytest.mark.parametrize(
    ("text", "rows", "oldest", "slots"),
    [
        ("", 4, False, 4),
        ("direct { }", 0, False, 1),
        ("oldest { }", 4, True, 4),
        ("oldest { max_candidate_sequences: 9 }", 4, True, 9),
        ("oldest { max_candidate_sequences: 9 }", 0, True, 9),
    ],
)
def test_the_strategy_decides_how_many_sequences_an_instance_serves(tmp_path, text, rows, oldest, slots):
    plan = plan_of(text, tmp_path, rows)
    assert (plan.oldest, plan.slots, plan.max_idle) == (oldest, slots, 10**9)


def test_the_limits_of_each_strategy_are_read(tmp_path):
    direct = plan_of("direct { max_queue_delay_microseconds: 5 minimum_slot_utilization: 0.5 }", tmp_path)
    assert (direct.max_delay, direct.minimum_utilization) == (5000, 0.5)
    oldest = plan_of(
        "oldest { max_queue_delay_microseconds: 7 preserve_ordering: true preferred_batch_size: [ 2, 3 ] } "
        "max_sequence_idle_microseconds: 11",
        tmp_path,
    )
    assert (oldest.max_delay, oldest.preserve_ordering, oldest.preferred_rows) == (7000, True, {2, 3})
    assert oldest.max_idle == 11_000


@pytest.mark.parametrize(
    ("dims", "rows", "expected"),
    [("3", 4, [[0, 0, 0]]), ("3", 0, [0, 0, 0]), ("2, -1", 4, [[[0], [0]]]), ("", 4, [0])],
)
def test_a_state_begins_with_zeros_and_variable_sizes_with_one(tmp_path, dims, rows, expected):
    assert initial(plan_of(STATE % ("INT32", dims, ""), tmp_path, rows)) == expected


def test_an_initial_state_may_have_another_size(tmp_path):
    given = 'initial_state { name: "z" data_type: TYPE_FP32 dims: [ 2 ] zero_data: true }'
    assert initial(plan_of(STATE % ("FP32", "-1", given), tmp_path)) == [[0, 0]]


def test_strings_begin_empty(tmp_path):
    assert initial(plan_of(STATE % ("STRING", "2", ""), tmp_path)) == [[b"", b""]]


def test_an_initial_state_may_come_from_a_file(tmp_path):
    (tmp_path / "initial_state").mkdir()
    (tmp_path / "initial_state" / "n").write_bytes(np.arange(5, dtype=np.int32).tobytes())
    (tmp_path / "initial_state" / "s").write_bytes(b"\2\0\0\0hi\0\0\0\0")
    assert initial(plan_of(STATE % ("INT32", "-1", FILE % ("INT32", "3", "n")), tmp_path)) == [[0, 1, 2]]
    assert initial(plan_of(STATE % ("STRING", "2", FILE % ("STRING", "2", "s")), tmp_path)) == [[b"hi", b""]]


@pytest.mark.parametrize(
    ("datatype", "name", "content", "message"),
    [
        ("INT32", "missing", None, "cannot read file 'missing' of the initial state of state input 'i': there is no"),
        ("INT32", "../../x", None, "it must stay within the model's 'initial_state' directory"),
        ("INT32", "f", b"123", "expects 4 bytes, but the data provided from f only has 3 bytes"),
        ("STRING", "f", b"\5\0\0\0ab", "its last string is incomplete"),
        ("STRING", "f", b"\0\0\0\0" * 2, "it has 2 strings, 1 are expected"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, datatype, name, content, message):
    (tmp_path / "initial_state").mkdir()
    if content is not None:
        (tmp_path / "initial_state" / name).write_bytes(content)
    with pytest.raises(SlipwayError, match=message.replace("(", "[(]")) as refused:
        plan_of(STATE % (datatype, "1", FILE % (datatype, "1", name)), tmp_path)
    assert len(refused.value.problems) == 1


def test_the_models_code_has_controls_and_states_and_clients_do_not(tmp_path):
    config = config_of(f"{CONTROLS} {STATE % ('FP32', '2', '')}")
    signature = build_signature(config, tmp_path)
    plan = sequence_plan(config, tmp_path)
    inside = execution_signature(signature, plan)
    added = {name: (spec.datatype, spec.dims) for name, spec in inside.inputs.items() if name not in signature.inputs}
    assert added == {"S": ("FP32", (1,)), "C": ("BYTES", (1,)), "i": ("FP32", (2,))}
    assert list(inside.outputs) == [*signature.outputs, "o"]
    assert inside.required_inputs - signature.required_inputs == {"S", "C", "i"}
    assert [each.name for each in declared_inputs(config)] == [*signature.inputs, "S", "C", "i"]
    assert [each.name for each in declared_outputs(config)] == [*signature.outputs, "o"]
    assert execution_signature(signature, None) is signature


def test_a_warm_up_sample_gets_the_inputs_of_a_whole_sequence(tmp_path):
    added = first_inputs(plan_of(f"{CONTROLS} {STATE % ('FP32', '2', '')}", tmp_path))
    assert {name: tensor.array.tolist() for name, tensor in added.items()} == {
        "S": [[1.0]],
        "C": [[b"1"]],
        "i": [[0.0, 0.0]],
    }
