"""Both ways: the models that `slipway convert` writes for generated text, in NVIDIA's server and in Slipway."""

from __future__ import annotations

import json
import queue
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from benchmarks.reference import reference_server
from benchmarks.serving import running_server
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.calls import tensors
from tests.kits.generators import LINES, write_generator
from tests.reference.requirement import skipped_without_reference

Client = tritonclient.grpc.InferenceServerClient
# What the models need of Python: Slipway, its libraries. Where both servers have one, each takes its own.
LIBRARIES = (Path(__file__).parents[2], Path(sysconfig.get_path("purelib")))


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    """Yield a client of Slipway and one of the reference, on the same models."""
    root = tmp_path_factory.mktemp("generated")
    repository = root / "models"
    for name, engine in (("t5", "torch"), ("gpt2", "ctranslate2")):
        source = write_generator(root / name, name)
        convert(source, ConvertOptions(name, repository, engine, precision="fp32"))
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(repository, root / "reference.log", libraries=LIBRARIES))
        ours = stack.enter_context(running_server(repository)).ports
        yield tuple(stack.enter_context(Client(f"127.0.0.1:{ports.grpc}")) for ports in (ours, theirs))


def question(texts: list[str], **arguments: Any) -> list[Any]:
    arrays: dict[str, np.ndarray] = {"text": np.array([[text.encode()] for text in texts], np.object_)}
    arrays |= {name: np.full((len(texts), 1), value) for name, value in arguments.items()}
    return tensors(tritonclient.grpc, arrays)


@pytest.mark.parametrize("model", ["t5", "gpt2"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"max_output_len": np.uint32(5)},
        {"beam_width": np.uint32(3), "num_return_sequences": np.uint32(2)},
        {"runtime_top_k": np.uint32(4), "random_seed": np.uint64(7), "temperature": np.float32(0.7)},
    ],
    ids=["plain", "short", "beams", "drawn"],
)
def test_texts_and_figures_are_the_same(clients, model, arguments):
    answers = []
    for client in clients:
        result = client.infer(model, question([*LINES[:3], "café 東京"], **arguments))
        answers.append({each.name: result.as_numpy(each.name) for each in result.get_response().outputs})
    ours, theirs = answers
    assert ours.keys() == theirs.keys()
    assert ours["generated_text"].tolist() == theirs["generated_text"].tolist()
    np.testing.assert_array_equal(ours["sequence_length"], theirs["sequence_length"])
    np.testing.assert_allclose(ours["cum_log_probs"], theirs["cum_log_probs"], rtol=1e-5)


def streamed(client: Client, model: str, inputs: list[Any], output: str) -> list[bytes]:
    """Return what a stream has in one output, in order."""
    heard: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: heard.put(error or result))
    client.async_stream_infer(model, inputs, enable_empty_final_response=True)
    pieces: list[bytes] = []
    last = False
    while not last:
        result = heard.get(timeout=60)
        assert not isinstance(result, InferenceServerException), result
        found = result.as_numpy(output)
        pieces += [] if found is None else found.ravel().tolist()
        last = result.get_response().parameters["triton_final_response"].bool_param
    client.stop_stream()
    return pieces


@pytest.mark.parametrize("model", ["t5-stream", "gpt2-stream"])
def test_a_stream_has_the_same_pieces(clients, model):
    inputs = question([LINES[0]], max_output_len=np.uint32(9))
    ours, theirs = [streamed(client, model, inputs, "generated_text") for client in clients]
    assert ours == theirs
    assert ours


@pytest.mark.parametrize("model", ["t5-completions", "gpt2-completions"])
def test_completions_have_the_same_events(clients, model):
    orders = [{"prompt": [5, 9], "max_tokens": 6, "logprobs": 1, "pieces": True}, {"prompt": [7], "max_tokens": 3}]
    array = np.array([[json.dumps(order).encode()] for order in orders], np.object_)
    inputs = tensors(tritonclient.grpc, {"completion": array})
    ours, theirs = ([json.loads(event) for event in streamed(each, model, inputs, "event")] for each in clients)
    kept = ("row", "text", "finish_reason", "tokens")
    assert [{name: event.get(name) for name in kept} for event in ours] == [
        {name: event.get(name) for name in kept} for event in theirs
    ]
    assert {event["row"] for event in ours} == {0, 1}


@pytest.mark.parametrize("model", ["t5", "gpt2"])
def test_a_bad_argument_is_refused_in_the_same_words(clients, model):
    texts = []
    for client in clients:
        with pytest.raises(InferenceServerException) as raised:
            client.infer(model, question([LINES[0]], beam_width=np.uint32(0)))
        texts.append((raised.value.status(), raised.value.message().rpartition("] ")[2]))
    assert texts[0] == texts[1]
    assert texts[0][0] == "StatusCode.INVALID_ARGUMENT"
