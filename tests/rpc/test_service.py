"""The RPCs other than inference, over real sockets on both engines."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException


def refused(call):
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def test_liveness_and_readiness_follow_the_dataplane(client, server):
    assert client.is_server_live()
    assert client.is_server_ready()
    server.plane.is_ready = False
    assert not client.is_server_ready()


def test_health_check_ignores_the_service_name(server):
    with grpc.insecure_channel(server.url) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        assert stub.Check(health_pb2.HealthCheckRequest(service="anything")).status == serving
        server.plane.is_ready = False
        assert stub.Check(health_pb2.HealthCheckRequest()).status == not_serving


def test_an_unknown_model_is_not_ready_rather_than_an_error(client):
    assert client.is_model_ready("identity")
    assert not client.is_model_ready("nope")
    assert not client.is_model_ready("identity", "9")
    assert refused(lambda: client.is_model_ready("identity", "abc"))[0] == "INVALID_ARGUMENT"


def test_metadata_names_server_and_tensors(client):
    assert client.get_server_metadata().extensions[:] == ["classification", "statistics"]
    metadata = client.get_model_metadata("identity")
    assert (metadata.versions[:], metadata.platform) == (["1"], "python")
    assert (metadata.inputs[0].name, metadata.inputs[0].datatype, metadata.inputs[0].shape[:]) == (
        "INPUT0",
        "FP32",
        [-1, -1],
    )
    assert refused(lambda: client.get_model_metadata("nope")) == (
        "NOT_FOUND",
        "Request for unknown model: 'nope' is not found",
    )


def test_configuration_is_the_official_message(client):
    config = client.get_model_config("count").config
    assert config.model_transaction_policy.decoupled
    assert client.get_model_config("identity", as_json=True)["config"]["max_batch_size"] == 8


def test_statistics_of_one_model_and_of_all(client):
    (one,) = client.get_inference_statistics("identity").model_stats
    assert (one.name, one.inference_count, one.inference_stats.success.ns) == ("identity", 5, 700)
    assert len(client.get_inference_statistics().model_stats) > 1
    assert refused(lambda: client.get_inference_statistics("nope")) == (
        "INVALID_ARGUMENT",
        "requested model 'nope' is not available",
    )


def test_the_index_lists_states_and_reasons(client, server):
    rows = [(row.name, row.state, row.reason) for row in client.get_model_repository_index().models]
    assert rows == [("identity", "READY", ""), ("broken", "UNAVAILABLE", "no such file")]
    with grpc.insecure_channel(server.url) as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/RepositoryIndex",
            request_serializer=service_pb2.RepositoryIndexRequest.SerializeToString,
            response_deserializer=service_pb2.RepositoryIndexResponse.FromString,
        )
        assert len(ask(service_pb2.RepositoryIndexRequest(ready=True)).models) == 1
        with pytest.raises(grpc.RpcError) as caught:
            ask(service_pb2.RepositoryIndexRequest(repository_name="x"))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_load_and_unload_pass_configuration_and_files(client, server):
    client.load_model("identity", config='{"max_batch_size": 4}', files={"file:1/model.py": b"code"})
    client.unload_model("identity", unload_dependents=True)
    assert server.plane.loaded == [("identity", '{"max_batch_size": 4}', {"1/model.py": b"code"})]
    assert server.plane.unloaded == [("identity", True)]


def test_large_files_pass_and_leave_the_budget(client, server):
    files = {f"file:1/part{number}": bytes(2**20) for number in range(20)}
    client.load_model("identity", config="{}", files=files)
    ((_, _, loaded),) = server.plane.loaded
    assert {name: len(content) for name, content in loaded.items()} == {
        f"1/part{number}": 2**20 for number in range(20)
    }
    server.wait_until(lambda: server.listener._budget.held == 0)


def test_files_beyond_the_budget_are_refused(client, server):
    server.listener._budget.limit = 2**20
    files = {"file:1/weights": bytes(2**21)}
    code, text = refused(lambda: client.load_model("identity", config="{}", files=files))
    assert (code, text.startswith("the server holds as many requests")) == ("UNAVAILABLE", True)
    assert server.listener._budget.held == 0


def test_only_files_may_be_large(client, server):
    code, text = refused(lambda: client.load_model("identity", config=" " * 2**20))
    assert (code, "beside the contents of its files" in text) == ("INVALID_ARGUMENT", True)
    assert refused(lambda: client.unload_model("x" * 2**20)) == (
        "INVALID_ARGUMENT",
        "a message of this RPC may have at most 262144 bytes",
    )
    assert (server.plane.loaded, server.plane.unloaded, server.listener._budget.held) == ([], [], 0)


def test_shared_memory_is_off_and_says_how_to_turn_it_on(client):
    expected = (
        "UNIMPLEMENTED",
        "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable.",
    )
    assert refused(lambda: client.register_system_shared_memory("a", "/a", 8)) == expected
    assert refused(client.unregister_system_shared_memory) == expected
    assert refused(lambda: client.register_cuda_shared_memory("a", b"x" * 64, 0, 8)) == expected
    assert refused(client.unregister_cuda_shared_memory) == expected
    assert not client.get_system_shared_memory_status().regions
    assert not client.get_cuda_shared_memory_status().regions


def test_trace_settings_are_lists_of_texts(client):
    settings = {name: list(setting.value) for name, setting in client.get_trace_settings().settings.items()}
    assert settings == {
        "trace_level": ["OFF"],
        "trace_rate": ["1000"],
        "trace_count": ["-1"],
        "log_frequency": ["0"],
        "trace_file": [""],
        "trace_mode": ["triton"],
    }
    assert client.update_trace_settings(settings={"trace_rate": "5"}).settings["trace_rate"].value == ["5"]
    assert client.update_trace_settings(settings={"trace_rate": []}).settings["trace_rate"].value == ["1000"]
    assert refused(lambda: client.update_trace_settings(settings={"trace_file": "a"})) == (
        "UNIMPLEMENTED",
        "trace file location can not be updated through network protocol",
    )


def test_log_settings_have_types_and_can_be_changed(client):
    given = {"log_info": False, "log_verbose_level": 2, "log_format": "ISO8601"}
    response = client.update_log_settings(given, as_json=True)["settings"]
    assert response == {
        "log_file": {"string_param": ""},
        "log_info": {"bool_param": False},
        "log_warning": {"bool_param": True},
        "log_error": {"bool_param": True},
        "log_verbose_level": {"uint32_param": 2},
        "log_format": {"string_param": "ISO8601"},
    }
    assert client.get_log_settings(as_json=True)["settings"] == response


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"log_file": "a"}, ("UNIMPLEMENTED", "log file location can not be updated through network protocol")),
        ({"log_info": None}, ("INVALID_ARGUMENT", "expect boolean for 'log_info'")),
        ({"log_format": "xml"}, ("INVALID_ARGUMENT", "invalid argument for log_format, got: xml")),
        (
            {"log_warnings": True},
            ("INVALID_ARGUMENT", "unknown log setting 'log_warnings'; did you mean 'log_warning'?"),
        ),
    ],
)
def test_a_bad_log_setting_is_refused(client, given, error):
    assert refused(lambda: client.update_log_settings(given)) == error
