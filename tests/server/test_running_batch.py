"""A converted GPT-2 on a server: any number of streams run or wait on one instance, each as if it were alone."""

from __future__ import annotations

import json
import queue
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
import tritonclient.grpc

from benchmarks.serving import RunningServer
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.generators import LINES, write_generator
from tests.kits.servers import served

STREAMS = 1000
NEW = 6


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("source") / "gpt2", "gpt2")


@pytest.fixture(scope="module")
def server(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    convert(source, ConvertOptions("gpt2", repository, "torch", precision="fp32"))
    for name in ("gpt2-model", "gpt2-stream", "gpt2-completions"):  # one engine with a small pool
        config = repository / name / "config.pbtxt"
        text = config.read_text()
        config.write_text(f'{text}\nparameters {{ key: "KV_CACHE_MIB" value {{ string_value: "1" }} }}\n')
    with served(repository) as running:
        yield running


@pytest.fixture(scope="module")
def expected(source: Path) -> dict[str, str]:
    """What transformers generates after each line."""
    network = hf.AutoModelForCausalLM.from_pretrained(source).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(source)
    texts = {}
    for line in LINES:
        ids = torch.tensor([tokenizer.encode(line)])
        with torch.inference_mode():
            made = network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)
        texts[line] = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
    return texts


def inputs(line: str, new: int = NEW) -> list[Any]:
    made = []
    for name, array in (("text", np.array([[line.encode()]], np.object_)), ("max_output_len", np.array([[new]], "u4"))):
        datatype = "BYTES" if name == "text" else "UINT32"
        made.append(tritonclient.grpc.InferInput(name, array.shape, datatype))
        made[-1].set_data_from_numpy(array)
    return made


def test_a_thousand_streams_at_once_get_what_transformers_generates(server, expected):
    heard: queue.Queue[Any] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: heard.put((result, error)))
        for number in range(STREAMS):
            client.async_stream_infer("gpt2-stream", inputs(LINES[number % len(LINES)]), request_id=str(number))
        pieces: dict[str, list[str]] = {}
        ended = 0
        while ended < STREAMS:
            result, error = heard.get(timeout=120)
            assert error is None
            response = result.get_response()
            pieces.setdefault(response.id, []).append(result.as_numpy("generated_text")[0, 0].decode())
            ended += response.parameters["triton_final_response"].bool_param
        client.stop_stream()
    for number in range(STREAMS):
        assert "".join(pieces[str(number)]) == expected[LINES[number % len(LINES)]]


def test_clients_that_do_not_read_hold_up_nobody(server, expected):
    host, port = server.http.rsplit(":", 1)
    body = json.dumps({"text": LINES[0], "max_output_len": 60}).encode()
    head = (
        f"POST /v2/models/gpt2-stream/generate_stream HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(20)]
        for connection in slow:
            connection.sendall(head.encode() + body)
        client = stack.enter_context(tritonclient.grpc.InferenceServerClient(server.grpc))
        for line in LINES:
            answer = client.infer("gpt2", inputs(line)).as_numpy("generated_text")
            assert answer[0, 0].decode() == expected[line]
        for connection in slow:
            assert connection.recv(12) == b"HTTP/1.1 200"
