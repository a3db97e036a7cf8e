import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.core.pending import Pending
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.scheduling.factory import request_queue, shape_key
from slipway.scheduling.queue import QueueFullError
from tests.scheduling.fakes import signature_of


def batching(text):
    return text_format.Parse(text, model_config_pb2.ModelDynamicBatching())


def test_microseconds_of_the_config_become_nanoseconds_of_the_clock():
    queue = request_queue(batching("default_queue_policy { default_timeout_microseconds: 7 }"))
    queue.push("a", 0)
    assert queue.next_deadline() == 7000


def test_a_level_without_a_policy_of_its_own_has_the_default_one():
    queue = request_queue(
        batching(
            "priority_levels: 2 default_priority_level: 2 default_queue_policy { max_queue_size: 1 } "
            "priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 1 } }"
        )
    )
    queue.push("a", 0, priority=1)
    queue.push("b", 0, priority=1)
    queue.push("c", 0)
    with pytest.raises(QueueFullError):
        queue.push("d", 0, priority=2)
    assert queue.expire(2000) == []
    assert [item for item, _ in queue.entries()] == ["a", "b", "c"]


def test_a_default_level_means_nothing_without_levels():
    queue = request_queue(batching("default_priority_level: 3"))
    queue.push("a", 0)
    queue.push("b", 0, priority=3)
    assert [item for item, _ in queue.entries()] == ["a", "b"]


def test_models_whose_requests_always_fit_together_need_no_key():
    assert shape_key(signature_of(dims=(2,))) is None
    assert shape_key(signature_of(dims=(-1,), max_batch_size=0)) is None


def test_ragged_inputs_may_differ_in_shape():
    ragged = TensorSpec("X", "FP32", (-1,), ragged=True)
    assert shape_key(ModelSignature("m", 8, {"X": ragged}, {})) is None


def test_requests_with_and_without_an_optional_input_are_merged_only_where_it_is_ragged():
    ids = TensorSpec("ids", "INT32", (-1,), ragged=True)
    for ragged, merged in ((True, True), (False, False)):
        seed = TensorSpec("seed", "INT32", (1,), optional=True, ragged=ragged)
        key = shape_key(ModelSignature("m", 8, {"ids": ids, "seed": seed}, {}))
        given = {"ids": Tensor.from_array("ids", np.zeros((1, 3), np.int32))}
        seeded = {**given, "seed": Tensor.from_array("seed", np.ones((1, 1), np.int32))}
        keys = [key and key(Pending(InferRequest("m", inputs=inputs), 1, 0, None, print)) for inputs in (given, seeded)]
        assert (keys[0] == keys[1]) is merged
