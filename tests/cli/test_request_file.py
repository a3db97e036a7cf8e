"""Requests in files, in the format of FasterTransformer's issue_request.py."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.serving import running_server
from slipway.cli.main import main
from slipway.cli.request_file import read_request
from slipway.errors import SlipwayError
from tests.kits.repositories import add_identity, write_config

TENSORS = [{"name": "INPUT0", "data": [[1, 2.5]], "dtype": "float32"}]
STREAMING_CONFIG = """backend: "python"
max_batch_size: 1
model_transaction_policy { decoupled: true }
input [ { name: "input_ids" data_type: TYPE_UINT32 dims: [ -1 ] } ]
output [ { name: "output_ids" data_type: TYPE_INT32 dims: [ -1, -1 ] },
         { name: "sequence_length" data_type: TYPE_INT32 dims: [ -1 ] } ]
"""
STREAMING_MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            ids = pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy()[0]
            sender = request.get_response_sender()
            lengths = [1, 2, 3] if ids[0] == 0 else [1, 3]
            for length in lengths:
                sender.send(pb_utils.InferenceResponse([
                    pb_utils.Tensor("output_ids", np.arange(4, dtype=np.int32).reshape(1, 1, 4)),
                    pb_utils.Tensor("sequence_length", np.array([[length]], np.int32)),
                ]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def test_a_request_file_names_tensors_and_where_they_go():
    text = json.dumps({"config": {"protocol": "grpc", "url": "h:1", "stream_api": True}, "request": TENSORS})
    request = read_request(text)
    assert (request.protocol, request.url, request.model, request.streams) == ("grpc", "h:1", "fastertransformer", True)
    assert request.tensors["INPUT0"].datatype == "FP32"
    np.testing.assert_array_equal(request.tensors["INPUT0"].array, [[1, 2.5]])


def test_changes_are_merged_deeply_and_tensors_by_name():
    base = {"config": {"url": "a:1", "model_name": "m"}, "request": [*TENSORS, {**TENSORS[0], "name": "INPUT1"}]}
    changes = {"config": {"url": "b:2"}, "request": [{"name": "INPUT1", "data": [[7]]}]}
    request = read_request(json.dumps(base), json.dumps(changes))
    assert (request.url, request.model) == ("b:2", "m")
    assert request.tensors["INPUT0"].array.tolist() == [[1, 2.5]]
    assert request.tensors["INPUT1"].array.tolist() == [[7]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the request file is not valid JSON"),
        ("[]", "the request file is not a JSON object"),
        ("{}", "'request' in the request file is not a list of tensors"),
        ('{"config": 1, "request": [1]}', "'config' in the request file is not an object"),
        ('{"config": {"url": 1}, "request": [1]}', "'config.url' in the request file is 1; expected a str"),
        ('{"request": [1]}', "a tensor in the request file has no name: 1"),
        ('{"request": [{"name": "x"}]}', "tensor 'x' in the request file lacks data and dtype"),
        ('{"request": [{"name": "x", "data": [[1], [1, 2]], "dtype": "int32"}]}', "does not contain int32 values"),
        ('{"request": [{"name": "x", "data": [1], "dtype": "nonsense"}]}', "does not contain nonsense values"),
        ('{"request": [{"name": "x", "data": [1], "dtype": "complex64"}]}', "which cannot be sent"),
    ],
)
def test_an_invalid_request_is_refused_with_the_place(text, message):
    with pytest.raises(SlipwayError, match=message):
        read_request(text)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("models")
    add_identity(repository, "numbers")
    version = write_config(repository, "stream", STREAMING_CONFIG)
    (version / "model.py").write_text(STREAMING_MODEL)
    with running_server(repository) as running:
        yield running


def test_the_command_sends_the_file_and_prints_every_output(server, tmp_path, capsys):
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"request": TENSORS}))
    for protocol in ("http", "grpc"):
        flags = ["--protocol", protocol, "--url", getattr(server, protocol)]
        assert main(["infer", "numbers", "--request", str(file), *flags]) == 0
        assert capsys.readouterr().out == "OUTPUT0:\n[[1.  2.5]]\n"


def test_a_stream_prints_the_tokens_so_far_and_must_grow_by_one(server, tmp_path, capsys):
    file = tmp_path / "request.json"
    tensor = {"name": "input_ids", "data": [[0]], "dtype": "uint32"}
    config = {"protocol": "grpc", "url": server.grpc, "model_name": "stream", "stream_api": True}
    file.write_text(json.dumps({"config": config, "request": [tensor]}))
    assert main(["infer", "--request", str(file), "-t"]) == 0
    assert capsys.readouterr().out == "tokens [0]\ntokens [0, 1]\ntokens [0, 1, 2]\n"
    jump = json.dumps({"request": [{"name": "input_ids", "data": [[1]]}]})
    assert main(["infer", "--request", str(file), "-t", "--params", jump]) == 1
    assert "the stream went from 1 to 3 tokens, expected one more" in capsys.readouterr().err
    assert main(["infer", "--request", str(file), "--protocol", "http"]) == 1
    assert "streaming needs protocol grpc" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http", "nowhere"])
def test_a_stream_without_a_server_is_one_line(server, tmp_path, capsys, url):
    file = tmp_path / "request.json"
    address = "127.0.0.1:1" if url == "nowhere" else server.http
    tensor = {"name": "input_ids", "data": [[0]], "dtype": "uint32"}
    config = {"protocol": "grpc", "url": address, "model_name": "stream", "stream_api": True}
    file.write_text(json.dumps({"config": config, "request": [tensor]}))
    assert main(["infer", "--request", str(file)]) == 1
    expected = "no server answers at 127.0.0.1:1" if url == "nowhere" else f"{address} speaks HTTP, not gRPC: "
    assert capsys.readouterr().err.startswith(f"error: {expected}")
