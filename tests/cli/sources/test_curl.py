"""The commands that are printed for models; tests/server/test_sources.py executes some against a server."""

from __future__ import annotations

import json
import shlex
import subprocess

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2 as pb

from slipway.cli.sources.curl import HttpTarget, curl_command
from slipway.verify.sample import Input, Sample

TARGET = HttpTarget("http://127.0.0.1:8000")
TEXT = Input("text", "BYTES", np.array([[b"It's a cat's life"]], dtype=np.object_))


def words(command: str) -> list[str]:
    return shlex.split(command)


def body(command: str) -> dict[str, object]:
    return json.loads(words(command)[-1])


def piped(command: str) -> tuple[dict[str, object], bytes]:
    """Return the JSON and the binary part of what a command would send, as the shell writes it."""
    writes, _, curl = command.partition(" | curl ")
    sent = subprocess.run(["sh", "-c", writes], stdout=subprocess.PIPE, check=True).stdout
    length = int(next(word for word in words(curl) if word.startswith("Inference-Header")).partition(": ")[2])
    return json.loads(sent[:length]), sent[length:]


def test_a_text_is_json_and_survives_the_shell():
    command = curl_command(pb.ModelConfig(name="m"), Sample("", (TEXT,), 1), TARGET)
    assert words(command)[:3] == ["curl", "-s", "http://127.0.0.1:8000/v2/models/m/infer"]
    expected = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["It's a cat's life"]}
    assert body(command) == {"inputs": [expected]}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a b", "a%20b"),
        ("q?x#y", "q%3Fx%23y"),
        ("it's$(id)", "it%27s%24%28id%29"),
        ("l\ni\x1b", "l%0Ai%1B"),
        ("[1]", "%5B1%5D"),
    ],
)
def test_a_name_is_one_part_of_the_path_for_the_shell_curl_and_the_server(name, path):
    command = curl_command(pb.ModelConfig(name=name), Sample("", (TEXT,), 1), TARGET)
    assert words(command)[2] == f"http://127.0.0.1:8000/v2/models/{path}/infer"


def test_a_small_tensor_is_json():
    ids = Input("ids", "INT64", np.zeros((1, 8), np.int64))
    (tensor,) = body(curl_command(pb.ModelConfig(name="m"), Sample("", (ids,), 1), TARGET))["inputs"]
    assert tensor["data"] == [0] * 8


@pytest.mark.parametrize(("datatype", "size"), [("FP32", 4), ("UINT8", 1), ("BF16", 2)])
def test_a_large_tensor_is_zeros_in_binary_form(datatype, size):
    image = Input("image", datatype, np.ones((1, 3, 224, 224), np.float32))
    header, binary = piped(curl_command(pb.ModelConfig(name="m"), Sample("", (image, TEXT), 1), TARGET))
    assert [each["name"] for each in header["inputs"]] == ["text", "image"]
    assert header["inputs"][1]["parameters"] == {"binary_data_size": 3 * 224 * 224 * size}
    assert binary == bytes(3 * 224 * 224 * size)


def test_bytes_that_are_not_text_are_written_from_base64():
    picture = Input("image", "BYTES", np.array([[b"\x89PNG\r\n\x00"]], dtype=np.object_))
    header, binary = piped(curl_command(pb.ModelConfig(name="m"), Sample("", (picture,), 1), TARGET))
    assert header["inputs"][0]["parameters"] == {"binary_data_size": 11}
    assert binary == b"\x07\x00\x00\x00\x89PNG\r\n\x00"


def test_a_decoupled_model_is_asked_for_a_stream():
    config = pb.ModelConfig(name="m", model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True))
    command = curl_command(config, Sample("", (TEXT,), 1), TARGET)
    assert words(command)[2] == "http://127.0.0.1:8000/v2/models/m/generate_stream"
    assert body(command) == {"text": "It's a cat's life"}


def test_a_sequence_begins_and_ends():
    config = pb.ModelConfig(name="m", sequence_batching=pb.ModelSequenceBatching())
    parameters = body(curl_command(config, Sample("", (TEXT,), 1), TARGET))["parameters"]
    assert parameters == {"sequence_id": 1, "sequence_start": True, "sequence_end": True}


def test_the_options_of_the_server_come_first():
    target = HttpTarget("https://[::1]:8000", ("--cacert 'my cert.pem'",))
    command = curl_command(pb.ModelConfig(name="m"), Sample("", (TEXT,), 1), target)
    assert words(command)[1:5] == ["-s", "--cacert", "my cert.pem", "https://[::1]:8000/v2/models/m/infer"]
