import numpy as np
import pytest

from slipway.backends.shared.stacked import StackedExecutor, StackedModel
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.errors import FailureReason, SlipwayError, internal
from slipway.instances.execution import execute
from tests.backends.models import arrays, context, open_instance, pending

BATCHED = ModelSignature(
    "m", 8, {"X": TensorSpec("X", "FP32", (2,))}, {name: TensorSpec(name, "FP32", (2,)) for name in ("Y", "Z")}
)


class Double:
    """Y = 2 X, Z = 3 X; fails on any batch that contains a NaN; remembers its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, inputs, names):
        self.calls.append((inputs["X"].shape[0], tuple(names)))
        if np.isnan(inputs["X"]).any():
            raise internal("poison", reason=FailureReason.BACKEND)
        return {name: inputs["X"] * {"Y": 2, "Z": 3}[name] for name in names}


def rows(*values):
    return {"X": np.array([[value, value] for value in values], np.float32)}


def test_a_batch_is_one_call_and_equals_its_requests_alone():
    run = Double()
    executor = StackedExecutor(BATCHED, 3, run)
    batch = [pending(rows(1)), pending(rows(2, 3), rows=2), pending(rows(4))]
    together = [arrays(response) for response in executor.execute(batch).responses]
    assert run.calls == [(4, ("Y", "Z"))]
    for request, answer in zip(batch, together, strict=True):
        alone = arrays(executor.execute([request]).responses[0])
        assert answer.keys() == alone.keys()
        assert all(np.array_equal(answer[name], alone[name]) for name in alone)


def test_responses_carry_model_version_and_request_id():
    response = StackedExecutor(BATCHED, 3, Double()).execute([pending(rows(1))]).responses[0]
    assert (response.model_name, response.model_version, response.id, response.final) == ("m", "3", "r", True)


def test_only_requested_outputs_are_computed_and_answered():
    run = Double()
    batch = [pending(rows(1), ("Z",)), pending(rows(2), ("Z",))]
    answers = [arrays(response) for response in StackedExecutor(BATCHED, 1, run).execute(batch).responses]
    assert run.calls == [(2, ("Z",))]
    assert [list(answer) for answer in answers] == [["Z"], ["Z"]]


def test_each_request_of_a_batch_gets_the_outputs_it_asked_for():
    batch = [pending(rows(1), ("Z",)), pending(rows(2))]
    answers = [arrays(response) for response in StackedExecutor(BATCHED, 1, Double()).execute(batch).responses]
    assert [list(answer) for answer in answers] == [["Z"], ["Y", "Z"]]


def test_batch_mates_survive_a_poisonous_request():
    batch = [pending(rows(1)), pending(rows(float("nan"))), pending(rows(3, 4), rows=2)]
    first, culprit, last = execute(StackedExecutor(BATCHED, 1, Double()), batch, "m_0").responses
    assert np.array_equal(arrays(first)["Y"], [[2, 2]])
    assert np.array_equal(arrays(last)["Z"], [[9, 9], [12, 12]])
    assert culprit.error.message == "poison"
    assert culprit.error.reason is FailureReason.BACKEND
    assert culprit.final


def test_a_single_failing_request_raises():
    with pytest.raises(SlipwayError, match="poison"):
        StackedExecutor(BATCHED, 1, Double()).execute([pending(rows(float("nan")))])


def test_an_output_without_the_batchs_rows_is_an_error_that_names_it():
    executor = StackedExecutor(BATCHED, 1, lambda _inputs, names: {name: np.zeros((1, 2)) for name in names})
    with pytest.raises(SlipwayError, match=r"output 'Y' of model 'm' has shape \[1, 2\] for a batch of 2 rows"):
        executor.execute([pending(rows(1)), pending(rows(2))])


def test_a_model_without_batch_dimension_may_answer_in_any_shape():
    signature = ModelSignature("m", 0, {"X": TensorSpec("X", "FP32", (2,))}, {"Y": TensorSpec("Y", "FP32", (1,))})
    executor = StackedExecutor(signature, 1, lambda _inputs, _names: {"Y": np.ones((2, 3), np.float32)})
    answer = arrays(executor.execute([pending({"X": np.ones(2, np.float32)})]).responses[0])
    assert answer["Y"].shape == (2, 3)


def test_clock_readings_are_in_order():
    execution = StackedExecutor(BATCHED, 1, Double()).execute([pending(rows(1))])
    assert execution.input_end <= execution.output_start


def test_a_closed_executor_forgets_the_model():
    executor = StackedExecutor(BATCHED, 1, Double())
    executor.close()
    with pytest.raises(SlipwayError, match="unloaded"):
        executor.execute([pending(rows(1))])


PARTS = (
    'max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] } '
    'output { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] } output { name: "Z" data_type: TYPE_FP32 dims: [ 2 ] } '
    'parameters { key: "ROWS_AT_ONCE" value { string_value: "%s" } }'
)


def test_a_batch_is_computed_in_parts_of_the_rows_at_once(tmp_path):
    run = Double()
    executor = open_instance(StackedModel(context(tmp_path, PARTS % 2), lambda _: run))
    batch = [pending(rows(1, 2, 3), rows=3), pending(rows(4)), pending(rows(5), ("Z",))]
    first, second, third = (arrays(response) for response in executor.execute(batch).responses)
    assert [count for count, _ in run.calls] == [2, 2, 1]
    assert first["Y"].tolist() == [[2, 2], [4, 4], [6, 6]]
    assert second["Z"].tolist() == [[12, 12]]
    assert third["Z"].tolist() == [[15, 15]]


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_rows_at_once_that_are_not_a_count_are_refused(tmp_path, value):
    with pytest.raises(SlipwayError, match="ROWS_AT_ONCE"):
        StackedModel(context(tmp_path, PARTS % value), lambda _: Double())
