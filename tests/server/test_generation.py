"""Converted text-generation models on a server: text in, text out, whole and streamed, compared with transformers."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
import tritonclient.grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from benchmarks.serving import running_server
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.generators import LINES, write_generator

FAMILIES = ("t5", "gpt2", "marian", "umt5")
TEXTS = (*LINES, "the cat", "café 東京")
NEW = 12
UINT32 = ("max_output_len", "min_length", "beam_width", "runtime_top_k", "num_return_sequences")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    return {family: write_generator(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def client(sources, tmp_path_factory) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    """A client of a server with all of them."""
    repository = tmp_path_factory.mktemp("generation")
    for name, source in sources.items():
        engine = "torch" if name in ("marian", "umt5") else "ctranslate2"
        convert(source, ConvertOptions(name, repository, engine, precision="fp32"))
    with running_server(repository) as server, tritonclient.grpc.InferenceServerClient(server.grpc) as connected:
        yield connected


@pytest.fixture(scope="module")
def references(sources) -> dict[str, tuple[Any, Any]]:
    """The network and tokenizer of each, opened with transformers."""
    loaders = {"gpt2": hf.AutoModelForCausalLM}
    return {
        name: (
            loaders.get(name, hf.AutoModelForSeq2SeqLM).from_pretrained(source).eval(),
            hf.AutoTokenizer.from_pretrained(source),
        )
        for name, source in sources.items()
    }


def tensors(texts: list[str], **arguments: list[float]) -> list[Any]:
    """Return the inputs of one request, with an argument value per row."""
    arrays = {"text": np.array([[text.encode()] for text in texts], np.object_)}
    for name, values in arguments.items():
        kind = np.uint64 if name == "random_seed" else np.uint32 if name in UINT32 else np.float32
        arrays[name] = np.array(values, kind).reshape(-1, 1)
    made = []
    for name, array in arrays.items():
        made.append(tritonclient.grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        made[-1].set_data_from_numpy(array)
    return made


def ask(client: Any, model: str, texts: list[str], **arguments: list[float]) -> list[list[str]]:
    """Return the texts of each row."""
    answer = client.infer(model, tensors(texts, **arguments)).as_numpy("generated_text")
    return [[text.decode() for text in row] for row in answer]


def stream(client: Any, model: str, *texts: str, **arguments: list[float]) -> list[str]:
    """Return the pieces of one streamed response."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error or result))
    try:
        client.async_stream_infer(model, tensors(list(texts), **arguments), enable_empty_final_response=True)
        pieces = []
        while True:
            answer = answers.get(timeout=30)
            if isinstance(answer, InferenceServerException):
                raise answer
            array = answer.as_numpy("generated_text")
            if array is not None:
                pieces.append(array.reshape(-1)[0].decode())
            if answer.get_response().parameters["triton_final_response"].bool_param:
                return pieces
    finally:
        client.stop_stream()


def expected(references: Any, name: str, text: str, **settings: Any) -> list[str]:
    """Return the text that transformers generates for one text."""
    network, tokenizer = references[name]
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert ids.shape[1] <= 48  # otherwise it would be truncated
    with torch.inference_mode():
        made = network.generate(ids, **{"max_new_tokens": NEW, "do_sample": False} | settings)
    first = ids.shape[1] if name == "gpt2" else 1
    return [tokenizer.decode(row[first:], skip_special_tokens=True) for row in made]


@pytest.mark.parametrize("name", FAMILIES)
def test_text_in_text_out_is_what_transformers_generates_and_decodes(client, references, name):
    found = ask(client, name, list(TEXTS), max_output_len=[NEW] * len(TEXTS))
    assert found == [expected(references, name, text) for text in TEXTS]
    assert len({row[0] for row in found}) > 2


@pytest.mark.parametrize("name", FAMILIES)
def test_streamed_pieces_join_to_the_whole_text(client, name):
    counts = []
    for text in TEXTS[2:5]:
        pieces = stream(client, f"{name}-stream", text, max_output_len=[24])
        assert [["".join(pieces)]] == ask(client, name, [text], max_output_len=[24])
        counts.append(len(pieces))
    assert max(counts) > 2


def test_no_piece_of_a_stream_ends_within_a_character(client):
    """GPT-2's tokens are bytes, so its random text is full of partial characters."""
    for seed in range(6):
        settings = {"max_output_len": [40], "runtime_top_k": [200], "random_seed": [seed]}
        pieces = stream(client, "gpt2-stream", "東京", **settings)
        (whole,) = ask(client, "gpt2", ["東京"], **settings)
        assert ["".join(pieces)] == whole
        assert not any(piece.endswith("\N{REPLACEMENT CHARACTER}") for piece in pieces[:-1])


@pytest.mark.parametrize("name", ["t5", "umt5"])
def test_beam_search_is_that_of_transformers(client, references, name):
    for text in TEXTS[:3]:
        found = ask(client, name, [text], max_output_len=[NEW], beam_width=[4], num_return_sequences=[2])
        assert found == [expected(references, name, text, num_beams=4, num_return_sequences=2)]


def test_rows_of_one_request_have_arguments_of_their_own(client):
    both = ask(client, "t5", [TEXTS[0]] * 2, max_output_len=[2, 10], repetition_penalty=[1.0, 1.5])
    alone = [
        ask(client, "t5", [TEXTS[0]], max_output_len=[length], repetition_penalty=[penalty])[0]
        for length, penalty in ((2, 1.0), (10, 1.5))
    ]
    assert both == alone


def test_a_seed_makes_a_rows_draws_its_own_whatever_it_is_batched_with(client):
    settings = {"max_output_len": [10], "runtime_top_k": [20], "random_seed": [7]}
    alone = ask(client, "t5", [TEXTS[0]], **settings)
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda _: ask(client, "t5", [TEXTS[0]], **settings), range(6)))
    assert together == [alone] * 6
    others = [ask(client, "t5", [TEXTS[0]], **settings | {"random_seed": [seed]}) for seed in range(5)]
    assert any(other != alone for other in others)


def test_requests_of_different_lengths_and_arguments_are_answered_together(client, references):
    lengths = [3, 12, 7, 10, 5, 8, 12]
    with ThreadPoolExecutor(len(TEXTS)) as pool:
        pairs = zip(TEXTS, lengths, strict=True)
        found = list(pool.map(lambda pair: ask(client, "gpt2", [pair[0]], max_output_len=[pair[1]]), pairs))
    wanted = [
        [expected(references, "gpt2", text, max_new_tokens=length)] for text, length in zip(TEXTS, lengths, strict=True)
    ]
    assert found == wanted


def test_a_bad_argument_fails_its_own_request_with_its_name(client):
    with pytest.raises(InferenceServerException, match="input 'beam_width': 999 is out of range, expected 1 to 64"):
        ask(client, "t5", [TEXTS[0]], beam_width=[999])
    with pytest.raises(InferenceServerException, match=r"max_output_len is 500, but only \d+ tokens are possible"):
        ask(client, "gpt2", ["the cat sat on the mat"], max_output_len=[500])
    with pytest.raises(InferenceServerException, match="row 0: it has no tokens"):
        ask(client, "gpt2", [""])
    with pytest.raises(InferenceServerException, match="a stream takes one text, but the request has 2"):
        stream(client, "t5-stream", "a", "b")
    assert ask(client, "t5", [TEXTS[0]], max_output_len=[2])
