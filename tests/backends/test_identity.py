import numpy as np
import pytest

from slipway.backends.api import Placement
from slipway.backends.identity.backend import IdentityBackend
from slipway.core.pending import Pending
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME
from slipway.errors import Code, SlipwayError
from tests.backends.models import arrays, context, ignore, infer, open_instance, pending


def pair(index: int, data_type: str = "TYPE_FP32", dims: str = "[-1]", more: str = "") -> str:
    return (
        f'input {{ name: "INPUT{index}" data_type: {data_type} dims: {dims} {more} }} '
        f'output {{ name: "OUTPUT{index}" data_type: {data_type} dims: {dims} }} '
    )


def load(tmp_path, text: str):
    return IdentityBackend().load(context(tmp_path, text))


@pytest.mark.parametrize("row", BY_NAME.values(), ids=BY_NAME)
def test_every_datatype_comes_back_unchanged(tmp_path, row):
    executor = open_instance(load(tmp_path, pair(0, row.config_name, "[-1,-1]")))
    values = np.array([[b"\x00\xff", b""]], object) if row.name == "BYTES" else np.array([[0, 1]]).astype(row.numpy)
    for array in (values, values[:, :0]):
        answer = infer(executor, {"INPUT0": array})["OUTPUT0"]
        assert answer.dtype == row.numpy
        assert answer.shape == array.shape
        assert (answer == array).all()


def test_a_tensor_passes_through_undecoded(tmp_path):
    executor = open_instance(load(tmp_path, pair(0, dims="[2]")))
    tensor = Tensor("INPUT0", "FP32", (2,), raw=memoryview(bytes(8)))
    request = Pending(InferRequest("m", inputs={"INPUT0": tensor}), 1, 0, None, ignore)
    (output,) = executor.execute([request]).responses[0].outputs
    assert output.name == "OUTPUT0"
    assert not output.is_decoded
    assert output.raw is tensor.raw


def test_names_are_matched_by_suffix_not_by_order(tmp_path):
    text = (
        'input [{name: "INPUT_a" data_type: TYPE_INT8 dims: [1]}, {name: "INPUT_b" data_type: TYPE_INT16 dims: [1]}] '
        'output [{name: "OUTPUT_b" data_type: TYPE_INT16 dims: [1]}, {name: "OUTPUT_a" data_type: TYPE_INT8 dims: [1]}]'
    )
    answer = infer(open_instance(load(tmp_path, text)), {"INPUT_a": np.int8([1]), "INPUT_b": np.int16([2])})
    assert {name: int(array[0]) for name, array in answer.items()} == {"OUTPUT_b": 2, "OUTPUT_a": 1}


def test_only_requested_outputs_are_answered(tmp_path):
    executor = open_instance(load(tmp_path, pair(0) + pair(1)))
    inputs = {"INPUT0": np.ones(1, np.float32), "INPUT1": np.zeros(2, np.float32)}
    assert list(infer(executor, inputs, ("OUTPUT1",))) == ["OUTPUT1"]


def test_every_request_of_a_batch_gets_its_own_tensors(tmp_path):
    executor = open_instance(load(tmp_path, "max_batch_size: 8 " + pair(0)))
    batch = [pending({"INPUT0": np.full((rows, 3), rows, np.float32)}, rows=rows) for rows in (1, 2)]
    answers = [arrays(response)["OUTPUT0"] for response in executor.execute(batch).responses]
    assert [answer.shape for answer in answers] == [(1, 3), (2, 3)]


def test_an_omitted_optional_input_comes_back_as_zeros(tmp_path):
    text = "max_batch_size: 8 " + pair(0) + pair(1, "TYPE_INT32", "[-1,2]", "optional: true")
    text += pair(2, "TYPE_STRING", "[1]", "optional: true")
    answer = infer(open_instance(load(tmp_path, text)), {"INPUT0": np.ones((3, 1), np.float32)})
    assert np.array_equal(answer["OUTPUT1"], np.zeros((3, 1, 2), np.int32))
    assert answer["OUTPUT2"].tolist() == [[b""]] * 3


def test_reshapes_of_input_and_output_are_applied(tmp_path):
    text = (
        'max_batch_size: 8 input {name: "INPUT0" data_type: TYPE_FP32 dims: [4] reshape {shape: [2,2]}} '
        'output {name: "OUTPUT0" data_type: TYPE_FP32 dims: [1,4] reshape {shape: [2,2]}}'
    )
    answer = infer(open_instance(load(tmp_path, text)), {"INPUT0": np.ones((3, 4), np.float32)})
    assert answer["OUTPUT0"].shape == (3, 1, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            pair(0) + 'input {name: "INPUT1" data_type: TYPE_FP32 dims: [1]}',
            "model configuration must have equal input/output pairs",
        ),
        (
            pair(0).replace("INPUT0", "IN0"),
            "expected input name to follow INPUT<index> pattern, got 'IN0'",
        ),
        (
            pair(0).replace("OUTPUT0", "OUT0"),
            "expected output name to follow OUTPUT<index> pattern, got 'OUT0'",
        ),
        (pair(0).replace("OUTPUT0", "OUTPUT1"), "expected input and output indices to match"),
        (
            pair(0).replace("TYPE_FP32", "TYPE_STRING", 1),
            "expected input and output datatype to match, got TYPE_STRING and TYPE_FP32",
        ),
        (
            pair(0).replace("[-1]", "[-1,2]", 1),
            "expected input and output shape to match, got [-1,2] and [-1]",
        ),
        (
            pair(0) + 'parameters {key: "execute_delay_ms" value {string_value: "soon"}}',
            "unable to load model 'm', parameter 'execute_delay_ms': failed to convert 'soon' to integral number",
        ),
    ],
)
def test_a_configuration_that_is_not_an_identity_is_refused_in_tritons_words(tmp_path, text, message):
    with pytest.raises(SlipwayError) as caught:
        load(tmp_path, text)
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == message


def test_it_runs_on_the_event_loop_unless_it_has_a_delay(tmp_path):
    delayed = pair(0) + 'parameters {key: "execute_delay_ms" value {string_value: "1"}}'
    assert load(tmp_path, pair(0)).placement is Placement.INLINE
    assert load(tmp_path, delayed).placement is Placement.THREAD


def test_the_delay_grows_with_the_instance_where_asked(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr("slipway.backends.identity.backend.time.sleep", slept.append)
    delay = 'parameters {key: "execute_delay_ms" value {string_value: "10"}}'
    multiplier = 'parameters {key: "instance_wise_delay_multiplier" value {string_value: "3"}}'
    for text in (pair(0) + delay, pair(0) + delay + multiplier):
        model = load(tmp_path, text)
        for index in (0, 1, 2):
            infer(open_instance(model, index), {"INPUT0": np.ones(1, np.float32)})
    assert slept == [0.01, 0.01, 0.01, 0.01, 0.03, 0.06]


def test_loading_sleeps_the_creation_delay(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr("slipway.backends.identity.backend.time.sleep", slept.append)
    load(tmp_path, pair(0) + 'parameters {key: "creation_delay_sec" value {string_value: "2"}}')
    assert slept == [2]


def test_the_custom_metric_counts_input_bytes_until_the_model_is_unloaded(tmp_path):
    made = context(tmp_path, pair(0) + pair(1, "TYPE_STRING"))
    model = IdentityBackend().load(made)
    infer(open_instance(model), {"INPUT0": np.ones(3, np.float32), "INPUT1": np.array([b"ab"], object)})
    (family,) = made.host.metrics.families()
    ((labels, series),) = family.series()
    assert (family.name, family.kind) == ("input_byte_size_counter", "counter")
    assert dict(labels) == {"model": "m", "version": "1"}
    assert series.value == 3 * 4 + 4 + 2
    model.unload()
    assert made.host.metrics.families() == []
