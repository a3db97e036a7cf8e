"""All problems of a configuration are reported at once, in the words of NVIDIA's tritonserver 2.51.

The texts marked `triton` were read from the real server for the same config.pbtxt.
"""

from __future__ import annotations

import pytest

from slipway.config.parse import parse_config_json
from slipway.config.validate import validate
from tests.config.texts import (
    END,
    IO,
    OTHER_START,
    START,
    X,
    Y,
    control,
    dynamic,
    group,
    io,
    oldest,
    problems,
    state,
    x,
)

SERVED = {
    "plain": IO,
    "no io": "",
    "an empty reshape with batches": x("dims: [ 1 ] reshape { shape: [] }", "max_batch_size: 2"),
    "a reshape of ones": x("dims: [ 1, -1 ] reshape { shape: [ -1 ] }"),
    "three dims with a format": x("dims: [ -1, 4, 3 ] format: FORMAT_NHWC"),
    "dynamic": dynamic(""),
    "dynamic without batches": f"{IO} dynamic_batching {{}}",
    "ordering with a delay that never comes": dynamic(
        "preserve_ordering: true default_queue_policy { timeout_action: DELAY }"
    ),
    "levels": dynamic("priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 2 value {} }"),
    "sequence": f"{IO} sequence_batching {{ {START} direct {{}} }}",
    "state": state('initial_state [{ name: "i" data_type: TYPE_INT32 dims: [ 1 ] zero_data: true }]'),
    "cache": f"{IO} response_cache {{ enable: true }}",
    "groups": f"{IO} instance_group [{{ kind: KIND_CPU count: 2 }}, {{ kind: KIND_GPU gpus: [ 0 ] }}, {{ count: -1 }}]",
    "batch io": IO + 'max_batch_size: 2 batch_input [{ kind: BATCH_ELEMENT_COUNT target_name: "t" data_type: TYPE_FP32 '
    'source_input: "x" }] batch_output [{ target_name: "y" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" }]',
    "files": x("dims: [ 4 ]") + 'default_model_filename: "sub/model.py" model_warmup [{ name: "w" batch_size: 1 '
    'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "x.bin" } } }]',
}

SIZE = "dimension must be integer >= 1, or -1 to indicate a variable-size dimension for m"
RESHAPED_SIZE = "reshape dimensions must be integer >= 1, or -1 to indicate a variable-size dimension for m"
SCALAR = "cannot have empty reshape for non-batching model as scalar tensors are not supported for m"
TENSORRT = "only supported for TensorRT platform for m"
BATCH_INPUT = "max_batch_size: 2 batch_input [{{ kind: BATCH_ELEMENT_COUNT {} }}]"
BATCH_OUTPUT = "max_batch_size: 2 batch_output [{{ kind: BATCH_SCATTER_WITH_INPUT_SHAPE {} }}]"
TRITON = [
    (IO + "max_batch_size: -1", "'max_batch_size' must be non-negative value for m"),
    (io("{ data_type: TYPE_FP32 dims: [ 4 ] }"), "model input must specify 'name' for m"),
    (io(X, "{ data_type: TYPE_FP32 dims: [ 4 ] }"), "model output must specify 'name' for m"),
    (io('{ name: "x" dims: [ 4 ] }'), "model input 'x' must specify 'data_type' for m"),
    (io(X, '{ name: "y" dims: [ 4 ] }'), "model output 'y' must specify 'data_type' for m"),
    (x(""), "model input 'x' must specify 'dims' for m"),
    (x("dims: [ 0 ]"), f"model input 'x' {SIZE}"),
    (x("dims: [ 2, -2 ]"), f"model input 'x' {SIZE}"),
    (x("dims: [ 4 ] reshape { shape: [] }"), f"model input 'x' {SCALAR}"),
    (x("dims: [ 1 ] reshape { shape: [] }"), f"model input 'x' {SCALAR}"),
    (x("dims: [ -1 ] reshape { shape: [] }"), f"model input 'x' {SCALAR}"),
    (x("dims: [ 4 ] reshape { shape: [ 5 ] }"), "model input 'x' has different size for dims and reshape for m"),
    (x("dims: [ 4, -1 ] reshape { shape: [ 4 ] }"), "model input 'x' has different size for dims and reshape for m"),
    (
        x("dims: [ 4, -1 ] reshape { shape: [ -1, 2 ] }"),
        "model input 'x' has different size for dims and reshape for m",
    ),
    (
        x("dims: [ 4, -1, 2, -1 ] reshape { shape: [ -1, -1, 8 ] }"),
        "model input 'x' has different size for dims and reshape for m",
    ),
    (
        x("dims: [ 4 ] reshape { shape: [] }", "max_batch_size: 2"),
        "model input 'x' has different size for dims and reshape for m",
    ),
    (
        x("dims: [ -1, -1 ] reshape { shape: [ -1 ] }"),
        "model input 'x' has different number of variable-size dimensions for dims and reshape for m",
    ),
    (x("dims: [ 4 ] reshape { shape: [ 0 ] }"), f"model input 'x' {RESHAPED_SIZE}"),
    (x("dims: [ 4 ] reshape { shape: [ -2 ] }"), f"model input 'x' {RESHAPED_SIZE}"),
    (x("dims: [ 4 ] format: FORMAT_NCHW"), "model input NHWC/NCHW require 3 dims for m"),
    (x("dims: [ 4 ] is_shape_tensor: true"), f"shape tensors are {TENSORRT}"),
    (
        x("dims: [ 4 ] is_non_linear_format_io: true"),
        "Non-linear IO format is only supported for the TensorRT platform for m",
    ),
    (
        IO + BATCH_INPUT.format('target_name: "t" data_type: TYPE_FP32 source_input: "z"'),
        "unknown source input name 'z' for m",
    ),
    (
        IO + BATCH_INPUT.format('target_name: "t" data_type: TYPE_INT64 source_input: "x"'),
        "batch input data type must be TYPE_INT32 or TYPE_FP32 for m",
    ),
    (
        IO + BATCH_INPUT.format('target_name: "t" source_input: "x"'),
        "unexpected batch input data type 'TYPE_INVALID'",
    ),
    (
        IO + BATCH_INPUT.format('target_name: "t" data_type: TYPE_FP32'),
        "batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, got 0 for m",
    ),
    (IO + BATCH_OUTPUT.format('target_name: "z" source_input: "x"'), "unknown target output name 'z' for m"),
    (
        IO + BATCH_OUTPUT.format('target_name: "y"'),
        "batch output kind 'BATCH_SCATTER_WITH_INPUT_SHAPE' expects 1 source input, got 0 for m",
    ),
    (dynamic("preferred_batch_size: [ 0 ]"), "dynamic batching preferred size must be positive for m"),
    (dynamic("preferred_batch_size: [ -1 ]"), "dynamic batching preferred size must be positive for m"),
    (dynamic("preferred_batch_size: [ 4, 9 ]"), "dynamic batching preferred size must be <= max batch size for m"),
    (dynamic("preferred_batch_size: [ 4 ]", 0), "dynamic batching preferred size must be <= max batch size for m"),
    (
        dynamic("priority_levels: 2 default_priority_level: 3"),
        "default priority level must be in range [1, 2] for m",
    ),
    (dynamic("priority_levels: 2"), "default priority level must be in range [1, 2] for m"),
    (
        dynamic("priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value {} }"),
        "priority queue policy must have priority level in range [1, 2] for m",
    ),
    (
        dynamic("preserve_ordering: true priority_levels: 2 default_priority_level: 1"),
        "Only one priority level is allowed when 'preserve_ordering' is true for m",
    ),
    (
        dynamic(
            "preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 }"
        ),
        "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for m",
    ),
    (
        (
            f"{IO} sequence_batching {{ control_input [{{ control [{{ kind: CONTROL_SEQUENCE_START "
            "int32_false_true: [ 0, 1 ] }] }] }"
        ),
        "sequence batching control tensor must have a name for m",
    ),
    (
        f"{IO} sequence_batching {{ {START} {END} }}",
        "sequence batching control tensor 'S' is specified for multiple control kinds for m",
    ),
    (
        f"{IO} sequence_batching {{ {START} {OTHER_START} }}",
        "sequence batching specifies multiple CONTROL_SEQUENCE_START tensors for m",
    ),
    (
        control("kind: CONTROL_SEQUENCE_START"),
        (
            "sequence batching must specify either 'int32_false_true', 'fp32_false_true' or 'bool_false_true' "
            "for CONTROL_SEQUENCE_START for m"
        ),
    ),
    (
        control("kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ]"),
        (
            "sequence batching specifies more than one from 'int32_false_true', 'fp32_false_true' and "
            "'bool_false_true' for CONTROL_SEQUENCE_START for m"
        ),
    ),
    (
        control("kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0 ]"),
        "sequence batching control 'fp32_false_true' must have exactly 2 entries for CONTROL_SEQUENCE_START for m",
    ),
    (
        control("kind: CONTROL_SEQUENCE_CORRID"),
        (
            "unexpected data type for control CONTROL_SEQUENCE_CORRID for m. Allowed data types are TYPE_UINT64, "
            "TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING"
        ),
    ),
    (
        control("kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 int32_false_true: [ 0, 1 ]"),
        (
            "sequence batching must not specify either 'int32_false_true', 'fp32_false_true' or 'bool_false_true' "
            "for CONTROL_SEQUENCE_CORRID for m"
        ),
    ),
    (
        oldest("max_candidate_sequences: 4 preferred_batch_size: [ 0 ]"),
        "sequence batching preferred batch size must be positive for m",
    ),
    (
        oldest("max_candidate_sequences: 8 preferred_batch_size: [ 4 ]", 2),
        "sequence batching preferred batch size must be <= max batch size for m",
    ),
    (
        f"{IO} max_batch_size: 2 sequence_batching {{ {START} direct {{ minimum_slot_utilization: 1.5 }} }}",
        "sequence batching minimum slot utilization must be in range (0.0, 1.0] for m",
    ),
    (
        state("initial_state [{ data_type: TYPE_INT32 dims: [ 1 ] zero_data: true }]"),
        "Field 'name' must be set when using initial_state for state input 'si'.",
    ),
    (
        state('initial_state [{ name: "i" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }]'),
        "The data type used for 'initial_state' field of state 'si' does not match the state data type.",
    ),
    (
        state('initial_state [{ name: "i" data_type: TYPE_INT32 dims: [ 1 ] }]'),
        "initial_state setting expects state'si' to have state_data set",
    ),
    (
        state(2 * 'initial_state { name: "i" data_type: TYPE_INT32 dims: [ 1 ] zero_data: true } '),
        "initial_state field for state input 'si' must contain exactly one or zero element. Found '2' elements.",
    ),
    (
        f"{IO} sequence_batching {{ {START} }} response_cache {{ enable: true }}",
        (
            "Response Cache does not currently support model m with sequence batching scheduler. "
            "Please disable the response cache."
        ),
    ),
    (
        IO + "model_transaction_policy { decoupled: true } response_cache { enable: true }",
        (
            "Response Cache does not currently support model m with 'decoupled' transaction policy. "
            "Please disable the response cache."
        ),
    ),
    (
        group("kind: KIND_CPU gpus: [ 0 ]"),
        "instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs",
    ),
    (
        group("kind: KIND_MODEL gpus: [ 0 ]"),
        "instance group m_0 of model m has kind KIND_MODEL but specifies one or more GPUs",
    ),
    (
        group('kind: KIND_CPU profile: [ "a" ]'),
        (
            "instance group m_0 of model m and platform specifies profile field which is only supported "
            "for TensorRT models"
        ),
    ),
    (
        IO + 'platform: "ensemble"',
        "ensemble scheduling must be set for ensemble m whose platform is ensemble",
    ),
    (
        IO + 'platform: "ensemble" dynamic_batching {}',
        "ensemble scheduling must be set for ensemble m whose platform is ensemble",
    ),
]


@pytest.mark.parametrize("text", SERVED.values(), ids=SERVED)
def test_what_triton_serves_has_no_problem(tmp_path, text):
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize(("text", "expected"), TRITON, ids=[f"{i}-{row[1][:40]}" for i, row in enumerate(TRITON)])
def test_what_triton_refuses_is_refused_in_its_words(tmp_path, text, expected):
    assert problems(tmp_path, text) == [expected]


def test_all_problems_are_reported_at_once(tmp_path):
    text = io('{ data_type: TYPE_FP32 dims: [ 0 ] }, { name: "z" dims: [ 4 ] }') + "max_batch_size: -1 "
    assert problems(tmp_path, text + "instance_group [{ kind: KIND_CPU gpus: [ 1 ] }]") == [
        "'max_batch_size' must be non-negative value for m",
        "model input must specify 'name' for m",
        f"model input '' {SIZE}",
        "model input 'z' must specify 'data_type' for m",
        "instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs",
    ]


def test_names_given_twice_are_refused(tmp_path):
    assert problems(tmp_path, io(f"{X}, {X}", f"{Y}, {Y}")) == [
        "model input 'x' is specified more than once for m",
        "model output 'y' is specified more than once for m",
    ]


def test_a_negative_gpu_is_refused(tmp_path):
    assert problems(tmp_path, group("kind: KIND_GPU gpus: [ 0, -2 ]")) == [
        "instance group m_0 of model m specifies invalid or unsupported gpu id -2"
    ]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("data_type", '{"input": [{"name": "x", "data_type": 99, "dims": [1]}]}'),
        ("kind", '{"instance_group": [{"kind": 99}]}'),
        ("data_type", '{"model_warmup": [{"name": "w", "inputs": {"x": {"data_type": 99, "dims": [1]}}}]}'),
    ],
)
def test_a_number_that_names_no_enum_value_is_refused(tmp_path, field, text):
    config = parse_config_json(text)
    config.name = "m"
    assert [str(problem) for problem in validate(config, tmp_path)] == [
        f"field '{field}' has the unknown value 99 for m"
    ]
