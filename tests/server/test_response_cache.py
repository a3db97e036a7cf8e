"""The response cache of a running server: over both transports, in streams and metrics, and with a Redis that fails."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import ExitStack

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, shared_memory

from benchmarks.serving import ServerFailedError, running_server
from tests.kits.calls import infer, infer_json, tensors
from tests.kits.redis_server import RedisServer
from tests.kits.repositories import write_config

COUNTING = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.executed = 0

    def execute(self, requests):
        responses = []
        for request in requests:
            self.executed += 1
            given = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            counted = pb_utils.Tensor("COUNT", np.full((given.shape[0], 1), self.executed, np.int32))
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", given), counted]))
        return responses
"""
CONFIG = """backend: "python"
max_batch_size: 4
input { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "COUNT" data_type: TYPE_INT32 dims: [ 1 ] } ]
response_cache { enable: true }
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    (write_config(root, "counting", CONFIG) / "model.py").write_text(COUNTING)
    return root


def given(*values: float) -> dict[str, np.ndarray]:
    return {"IN": np.array([values], np.float32)}


def metrics(server) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=20) as response:
        lines = [line for line in response.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_both_transports_and_every_form_of_a_request_share_responses(repository):
    with (
        running_server(repository, "--cache-config=local,size=1000000") as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        # One output by name over JSON, all outputs otherwise: two entries.
        assert [infer(client, "counting", given(1, 2), "COUNT").item() for client in (http, grpc, http)] == [1] * 3
        assert [infer_json(http, "counting", given(1, 2), "COUNT").item() for _ in range(2)] == [2, 2]
        np.testing.assert_array_equal(infer(grpc, "counting", given(1, 2), "OUT"), [[1, 2]])

        answers = []
        grpc.start_stream(lambda result, error: answers.append((result, error)))
        for number in range(3):
            grpc.async_stream_infer("counting", tensors(tritonclient.grpc, given(1, 2)), request_id=str(number))
        grpc.stop_stream()
        assert [error for _, error in answers] == [None] * 3
        assert [(result.get_response().id, result.as_numpy("COUNT").item()) for result, _ in answers] == [
            ("0", 1),
            ("1", 1),
            ("2", 1),
        ]

        statistics = http.get_inference_statistics("counting")["model_stats"][0]
        counted = {
            name: statistics["inference_stats"][name]["count"] for name in ("success", "cache_hit", "cache_miss")
        }
        assert counted == {"success": 9, "cache_hit": 7, "cache_miss": 2}
        assert statistics["execution_count"] == 2
        message = grpc.get_inference_statistics("counting").model_stats[0].inference_stats
        assert (message.cache_hit.count, message.cache_miss.count) == (7, 2)
        assert message.cache_hit.ns > 0
        assert message.cache_miss.ns > 0
        shown = metrics(server)
        labels = '{model="counting",version="1"}'
        assert shown[f"nv_cache_num_hits_per_model{labels}"] == shown["nv_cache_num_hits"] == 7
        assert shown[f"nv_cache_num_misses_per_model{labels}"] == shown["nv_cache_num_misses"] == 2
        assert shown[f"nv_inference_request_success{labels}"] == 9
        assert shown["nv_cache_num_entries"] == 2
        assert 0 < shown["nv_cache_util"] < 0.01


def test_the_least_recently_used_responses_make_room(repository):
    with (
        running_server(repository, "--response-cache-byte-size=20000") as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
    ):
        first = infer(http, "counting", given(*range(100)), "COUNT").item()
        for number in range(60):
            infer(http, "counting", given(*range(number + 101, number + 201)), "COUNT")
            assert infer(http, "counting", given(*range(100)), "COUNT").item() == first
        shown = metrics(server)
        assert shown["nv_cache_num_evictions"] == 61 - shown["nv_cache_num_entries"] > 0
        assert shown["nv_cache_util"] <= 1
        assert "--response-cache-byte-size is deprecated" in server.log


def test_equal_bytes_get_equal_bytes_until_the_model_is_loaded_again(tmp_path):
    """The fourth request is answered without being decoded: it is counted, and ends with the model as the others do."""
    (write_config(tmp_path, "counting", CONFIG) / "model.py").write_text(COUNTING)
    flags = ("--cache-config=local,size=1000000", "--model-control-mode=explicit", "--load-model=counting")
    with (
        running_server(tmp_path, *flags) as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        for client, module in ((http, tritonclient.http), (grpc, tritonclient.grpc)):
            inputs = tensors(module, given(1, 2))
            for name in ("a", "a", "a", "b", "b", "a", "", ""):
                answer = client.infer("counting", inputs, request_id=name)
                response = answer.get_response()
                assert (response["id"] if module is tritonclient.http and name else name) == name
                assert answer.as_numpy("COUNT").item() == 1
                np.testing.assert_array_equal(answer.as_numpy("OUT"), [[1, 2]])
        assert metrics(server)["nv_cache_num_hits"] == 15
        before = http.get_inference_statistics("counting")["model_stats"][0]["inference_stats"]
        assert (before["success"]["count"], before["cache_hit"]["count"]) == (16, 15)

        (tmp_path / "counting/1/model.py").write_text(COUNTING.replace("self.executed = 0", "self.executed = 10"))
        http.load_model("counting")
        for client, module in ((http, tritonclient.http), (grpc, tritonclient.grpc)):
            counts = [client.infer("counting", tensors(module, given(1, 2))).as_numpy("COUNT").item() for _ in range(4)]
            assert counts == [11] * 4

        settings = {"log_verbose_level": 1}
        http.update_log_settings(settings)
        assert infer(http, "counting", given(1, 2), "COUNT").item() == 11
        assert "counting" in server.log.splitlines()[-1]
        http.update_log_settings({"log_verbose_level": 0})
        http.unload_model("counting")
        for client in (http, grpc):
            with pytest.raises(InferenceServerException, match="unknown model"):
                infer(client, "counting", given(1, 2), "COUNT")


def test_a_region_that_was_written_again_is_another_request(repository):
    region = shared_memory.create_shared_memory_region("in", "/slipway_cached_in", 8)
    try:
        with (
            running_server(repository, "--cache-config=local,size=1000000", "--allow-client-shm") as server,
            tritonclient.http.InferenceServerClient(server.http) as http,
            tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
        ):
            http.register_system_shared_memory("in", "/slipway_cached_in", 8)
            for client, module in ((http, tritonclient.http), (grpc, tritonclient.grpc)):
                asked = module.InferInput("IN", [1, 2], "FP32")
                asked.set_shared_memory("in", 8)
                for value in (3, 3, 3, 4, 4, 4):
                    shared_memory.set_shared_memory_region(region, [np.array([value, 1], np.float32)])
                    np.testing.assert_array_equal(client.infer("counting", [asked]).as_numpy("OUT"), [[value, 1]])
    finally:
        shared_memory.destroy_shared_memory_region(region)


def test_large_tensors_come_from_the_cache_whole(repository):
    values = np.random.default_rng(1).random((2, 500_000), np.float32)
    with (
        running_server(repository, "--cache-config=local,size=100000000") as server,
        tritonclient.http.InferenceServerClient(server.http, network_timeout=60) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        counts = []
        for client in (http, grpc, http):
            np.testing.assert_array_equal(infer(client, "counting", {"IN": values}, "OUT"), values)
            counts.append(infer(client, "counting", {"IN": values}, "COUNT")[0].item())
        assert counts[1:] == [counts[1]] * 2


def test_a_server_without_a_cache_serves_and_says_so(repository):
    with (
        running_server(repository) as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
    ):
        assert [infer(http, "counting", given(1), "COUNT").item() for _ in range(2)] == [1, 2]
        assert "model 'counting': response_cache has no effect without --cache-config" in server.log
        assert "nv_cache_num_entries" not in metrics(server)


def test_a_start_with_a_cache_that_cannot_be_is_refused(repository):
    with pytest.raises(ServerFailedError) as caught, running_server(repository, "--cache-config=locale,size=5"):
        pass
    assert "--cache-config: unknown cache 'locale'; expected local or redis" in str(caught.value)


def until_kept(redis, count: int) -> None:
    """Wait until Redis has `count` responses: a server sends them after it has answered."""
    client = pytest.importorskip("redis").Redis(port=redis.port)
    deadline = time.monotonic() + 60
    while client.dbsize() < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client.close()


def test_servers_share_a_redis_and_serve_without_it(repository, tmp_path):
    pytest.importorskip("redis")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path))
        flags = (*redis.flags, "--cache-config=redis,socket_timeout=2000", "--cache-config=redis,connect_timeout=2000")
        first = stack.enter_context(running_server(repository, *flags))
        with tritonclient.http.InferenceServerClient(first.http) as http:
            assert infer(http, "counting", given(1), "COUNT").item() == 1
            until_kept(redis, 1)
            assert infer(http, "counting", given(1), "COUNT").item() == 1
            with (
                running_server(repository, *flags) as second,
                tritonclient.grpc.InferenceServerClient(second.grpc) as grpc,
            ):
                infer(grpc, "counting", given(9), "COUNT")
                assert infer(grpc, "counting", given(2), "COUNT").item() == 2
                until_kept(redis, 3)
                assert infer(http, "counting", given(2), "COUNT").item() == 2
                assert infer(http, "counting", given(3), "COUNT").item() == 2  # its own second execution
            redis.hang()
            assert infer(http, "counting", given(1), "COUNT").item() == 3
            redis.stop()
            counts = [infer(http, "counting", given(1), "COUNT").item() for _ in range(20)]
            assert counts == list(range(4, 24))
        shown = metrics(first)
        assert shown["slipway_cache_failure_count"] >= 1
        assert "nv_cache_num_entries" not in shown
        assert first.log.count("failed, models run without it") == 1


def test_statistics_name_the_cache_in_json(repository):
    """The form of Triton's statistics extension, with nanoseconds."""
    with running_server(repository, "--cache-config=local,size=1000000") as server:
        with tritonclient.http.InferenceServerClient(server.http) as http:
            for _ in range(2):
                infer(http, "counting", given(1), "COUNT")
        with urllib.request.urlopen(f"http://{server.http}/v2/models/counting/stats", timeout=20) as response:
            found = json.load(response)["model_stats"][0]["inference_stats"]
        assert found["cache_hit"]["count"] == found["cache_miss"]["count"] == 1
        assert found["cache_hit"]["ns"] > 0
        assert found["compute_infer"]["count"] == 1
