"""Messages other than inference: statistics, index, load and unload."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2

from slipway.core.statistics import ModelStatistics, Timing
from slipway.errors import Code, SlipwayError
from slipway.wire import protobuf


def refusal(call):
    with pytest.raises(SlipwayError) as caught:
        call()
    return caught.value.code, caught.value.message


def test_statistics_carry_every_counter_and_the_batch_sizes_in_order():
    statistics = ModelStatistics()
    for rows in (4, 1, 4):
        statistics.record_execution(rows, Timing(10, 12, 15, 19), now_ms=1234)
    statistics.record_success(5, Timing(10, 12, 15, 19), end_ns=25)
    message = service_pb2.ModelStatistics()
    protobuf.model_statistics("m", "2", statistics, message=message)
    assert (message.name, message.version, message.last_inference) == ("m", "2", 1234)
    assert (message.inference_count, message.execution_count) == (9, 3)
    infer = message.inference_stats
    assert (infer.success.count, infer.success.ns, infer.queue.ns, infer.compute_output.ns) == (1, 20, 5, 4)
    assert infer.HasField("cache_hit")
    assert infer.HasField("fail")
    assert [(row.batch_size, row.compute_infer.count) for row in message.batch_stats] == [(1, 1), (4, 2)]


def test_the_index_leaves_out_what_is_empty():
    index = protobuf.repository_index([("m", "1", "READY", ""), ("n", "", "", "")])
    assert index.models[1] == service_pb2.RepositoryIndexResponse.ModelIndex(name="n")


def load(key, **value):
    message = service_pb2.RepositoryModelLoadRequest(model_name="m")
    message.parameters[key].CopyFrom(service_pb2.ModelRepositoryParameter(**value))
    return message


def test_a_load_overrides_configuration_and_files():
    assert protobuf.load_parameters(load("config", string_param="{}")) == ("{}", {})
    assert protobuf.load_parameters(load("file:1/m", bytes_param=b"x")) == (None, {"1/m": b"x"})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (load("config", int64_param=3), "invalid value type for load parameter 'config', expected string_param."),
        (
            load("file:1/x", string_param="s"),
            "invalid value type for load parameter 'file:1/x', expected bytes_param.",
        ),
        (load("zzz", bool_param=True), "unrecognized load parameter 'zzz'."),
    ],
)
def test_a_load_parameter_triton_does_not_know_is_refused(message, text):
    assert refusal(lambda: protobuf.load_parameters(message)) == (Code.INVALID_ARG, text)


def test_unload_takes_dependents_along_only_on_request():
    message = service_pb2.RepositoryModelUnloadRequest(model_name="m")
    assert not protobuf.unload_dependents(message)
    message.parameters["unload_dependents"].bool_param = True
    assert protobuf.unload_dependents(message)
    message.parameters["unload_dependents"].int64_param = 1
    assert refusal(lambda: protobuf.unload_dependents(message)) == (
        Code.INVALID_ARG,
        "invalid value type for 'unload_dependents' parameter, expected bool_param.",
    )


def test_a_repository_name_is_unsupported_as_in_triton():
    protobuf.refuse_repository_name("")
    assert refusal(lambda: protobuf.refuse_repository_name("x")) == (
        Code.UNSUPPORTED,
        "'repository_name' specification is not supported",
    )
