"""Models that serve sequences, on a real server: over both transports, in streams, ensembles and calls of models."""

from __future__ import annotations

import json
import queue
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from benchmarks.serving import running_server
from tests.kits.calls import tensors
from tests.server.sequence_models import add_models

VALUES = (11, 7, 5, 3, 2, 0, 1)
SUMS = list(accumulate(VALUES))
NAMES = ("direct", "oldest", "single", "chain")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("models")
    add_models(repository)
    with running_server(repository) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def client(request, server):
    module = tritonclient.http if request.param == "http" else tritonclient.grpc
    with module.InferenceServerClient(getattr(server, request.param)) as client:
        client.module = module
        yield client


def given(client, model, value):
    shape = (1,) if model in ("single", "short") else (1, 1)
    return tensors(client.module, {"IN": np.full(shape, value, np.int32)})


def ask(client, model, value, sequence=0, flags="", **options):
    """Send one request of a sequence, with the flags S and E; return its sum."""
    if model == "oldest" and sequence:
        sequence = f"sequence {sequence}"
    options |= {"sequence_id": sequence, "sequence_start": "S" in flags, "sequence_end": "E" in flags}
    return client.infer(model, given(client, model, value), **options).as_numpy("OUT").item()


def send_all(client, model, sequence, values=VALUES):
    flags = ["S", *[""] * (len(values) - 2), "E"]
    return [ask(client, model, value, sequence, flag) for value, flag in zip(values, flags, strict=True)]


def refusal(client, *arguments, **options):
    with pytest.raises(tritonclient.utils.InferenceServerException) as refused:
        ask(client, *arguments, **options)
    return refused.value.message()


@pytest.mark.parametrize("model", NAMES)
def test_a_sequence_is_summed_up(client, model):
    assert send_all(client, model, 1) == SUMS
    assert send_all(client, model, 1) == SUMS


def sums_of(server, model, sequence):
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.module = tritonclient.grpc
        return send_all(client, model, sequence, [value + sequence for value in VALUES])


@pytest.mark.parametrize("model", NAMES)
def test_sequences_at_once_do_not_mix(server, model):
    numbers = range(1, 13)
    with ThreadPoolExecutor(len(numbers)) as threads:
        found = list(threads.map(lambda number: sums_of(server, model, number), numbers))
    assert found == [list(accumulate(value + number for value in VALUES)) for number in numbers]


def test_the_bad_requests_get_the_texts_of_triton(client):
    assert "must specify a non-zero or non-empty correlation ID" in refusal(client, "direct", 1)
    assert "sequence 77 to model 'direct' must specify the START flag on the first" in refusal(client, "direct", 1, 77)
    assert "data-type is 'BYTES', but model 'direct' expects 'UINT64'" in refusal(client, "direct", 1, "x", "S")
    rows = tensors(client.module, {"IN": np.zeros((2, 1), np.int32)})
    with pytest.raises(tritonclient.utils.InferenceServerException) as refused:
        client.infer("direct", rows, sequence_id=1, sequence_start=True)
    assert "must specify batch-size 1 due to requirements of sequence batcher" in refused.value.message()
    control = tensors(client.module, {"START": np.ones((1, 1), np.int32)})
    with pytest.raises(tritonclient.utils.InferenceServerException) as refused:
        client.infer("direct", [*given(client, "direct", 1), *control], sequence_id=3, sequence_start=True)
    assert "expected 1 inputs but got 2 inputs for model 'direct'" in refused.value.message()


def test_a_start_before_the_end_begins_again(client, server):
    assert [ask(client, "direct", 5, 9, flags) for flags in ("S", "", "S", "E")] == [5, 10, 5, 10]
    assert "sequence 9 for model 'direct' has a conflict." in server.log


def test_an_idle_sequence_ends(client):
    assert ask(client, "short", 5, 4, "S") == 5
    message = ""
    while not message:
        time.sleep(0.05)
        try:
            ask(client, "short", 5, 4)
        except tritonclient.utils.InferenceServerException as error:
            message = error.message()
    assert "must specify the START flag" in message


def test_states_stay_with_their_sequences(client):
    def graph(value, sequence, **flags):
        result = client.infer("graph", given(client, "graph", value), sequence_id=sequence, **flags)
        names = {output["name"] if isinstance(output, dict) else output.name for output in outputs(result)}
        assert names == {"OUT", "ALL_OUT"}
        return result.as_numpy("OUT").item(), result.as_numpy("ALL_OUT").ravel().tolist()

    def outputs(result):
        response = result.get_response()
        return response["outputs"] if isinstance(response, dict) else response.outputs

    assert graph(1, 1, sequence_start=True) == (1001, [1])
    assert graph(7, 2, sequence_start=True) == (1007, [7])
    assert graph(2, 1) == (1003, [1, 2])
    assert graph(8, 2, sequence_end=True) == (1015, [7, 8])
    assert graph(3, 1, sequence_end=True) == (1006, [1, 2, 3])


def test_a_model_repeats_a_request_until_it_is_done(client):
    for times in (0, 1, 5):
        assert ask(client, "repeated", times) == times + 1


def test_repeated_requests_at_once_do_not_mix(server):
    def repeated(times):
        with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
            client.module = tritonclient.grpc
            return ask(client, "repeated", times)

    times = [3 * number % 11 for number in range(11)]
    with ThreadPoolExecutor(len(times)) as threads:
        assert list(threads.map(repeated, times)) == [count + 1 for count in times]


def test_a_repeated_request_streams_its_responses(server):
    body = json.dumps({"IN": 4}).encode()
    with urllib.request.urlopen(f"http://{server.http}/v2/models/streamed/generate_stream", body) as response:
        events = [json.loads(line[6:]) for line in response if line.startswith(b"data: ")]
    assert [event["OUT"] for event in events] == [1, 2, 3, 4]


def test_generate_takes_part_in_a_sequence(server):
    def generate(value, **fields):
        body = json.dumps({"IN": value, "sequence_id": 88, **fields}).encode()
        with urllib.request.urlopen(f"http://{server.http}/v2/models/direct/generate", body) as response:
            return json.loads(response.read())["OUT"]

    found = [generate(1, sequence_start=True), generate(2), generate(3, sequence_end=True)]
    assert found == [1, 3, 6]
    with pytest.raises(urllib.error.HTTPError) as refused:
        generate(4)
    with refused.value as error:
        assert "must specify the START flag" in json.loads(error.read())["error"]


@pytest.mark.parametrize("model", ["direct", "oldest"])
def test_a_stream_mixes_sequences(server, model):
    answers = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.module = tritonclient.grpc
        client.start_stream(lambda result, error: answers.put((result, error)))
        for turn, value in enumerate(VALUES):
            for sequence in (1, 2, 3):
                client.async_stream_infer(
                    model,
                    given(client, model, value * sequence),
                    request_id=str(sequence),
                    sequence_id=f"s{sequence}" if model == "oldest" else sequence,
                    sequence_start=turn == 0,
                    sequence_end=turn == len(VALUES) - 1,
                )
        found = {"1": [], "2": [], "3": []}
        for _ in range(3 * len(VALUES)):
            result, error = answers.get(timeout=60)
            assert error is None
            found[result.get_response().id].append(result.as_numpy("OUT").item())
        client.stop_stream()
    assert found == {str(sequence): [sequence * total for total in SUMS] for sequence in (1, 2, 3)}


def test_a_model_calls_a_model_that_serves_sequences(client):
    result = client.infer("calling", given(client, "calling", 5))
    assert result.as_numpy("OUT").item() == 15


def test_a_cancelled_request_ends_its_sequence(server):
    answers = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.module = tritonclient.grpc
        call = client.async_infer(
            "repeated",
            given(client, "repeated", 2**31 - 1),
            lambda result, error: answers.put((result, error)),
            sequence_id=5,
            sequence_start=True,
        )
        call.cancel()
        _, error = answers.get(timeout=60)
        assert "CANCELLED" in str(error)
        assert ask(client, "repeated", 1, 5, "S") == 2


def test_a_process_that_dies_takes_its_sequences_with_it_and_no_others(client):
    assert ask(client, "mortal", 1, 1, "S") == 1
    assert "Failed to process the request" in refusal(client, "mortal", 99, 2, "S")
    assert "the sequence was lost with the process" in refusal(client, "mortal", 1, 1)
    assert send_all(client, "mortal", 1) == SUMS


def test_the_server_announces_sequences(client):
    metadata = client.get_server_metadata()
    extensions = metadata["extensions"] if isinstance(metadata, dict) else metadata.extensions
    assert list(extensions)[:2] == ["classification", "sequence"]


def test_clients_see_the_inputs_that_they_send(client):
    metadata = client.get_model_metadata("direct")
    inputs = metadata["inputs"] if isinstance(metadata, dict) else metadata.inputs
    assert [each["name"] if isinstance(each, dict) else each.name for each in inputs] == ["IN"]
