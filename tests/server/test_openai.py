"""OpenAI's API and its kin on a real server with converted models, through the clients that people have.

The openai package and LangChain's classes are the unmodified ones from PyPI. Numbers are compared with those that the
same models give over KServe's gRPC.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import tritonclient.grpc

from benchmarks.serving import RunningServer, running_server
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.calls import infer, texts
from tests.kits.encoder_checkpoints import HEADS, add_sentence_transformers, write_checkpoint

SENTENCES = ["The cat sat on the mat.", "Stocks rallied, and the British pound gained but fell.", "hi"]
PROMPTS = {"query": "the cat: ", "passage": "the dog: "}
LONGEST = 24  # tokens that the embedding model reads


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with an embedding model, a reranker and a classifier."""
    sources, repository = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("models")
    embedder = add_sentence_transformers(write_checkpoint(sources / "embed"))
    (embedder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    made = {"embed": embedder}
    for name in ("ranks", "moods"):
        head, labels, changes = HEADS[name]
        made[name] = write_checkpoint(sources / name, head=head, id2label=labels, **changes)
    for name, source in made.items():
        convert(source, ConvertOptions(name, repository, "onnxruntime", "fp32", lengths=(8,)))
    with running_server(repository) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://{server.http}/v1", api_key="unused", max_retries=0) as connected:
        yield connected


@pytest.fixture(scope="module")
def grpc(server: RunningServer) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as connected:
        yield connected


def post(server: RunningServer, path: str, **body: Any) -> Any:
    """Return the document that the server answers with."""
    request = urllib.request.Request(f"http://{server.http}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def vectors(response: Any) -> np.ndarray:
    return np.array([each.embedding for each in response.data], np.float32)


def test_embeddings_of_the_openai_client_equal_those_over_grpc(client, grpc):
    expected = infer(grpc, "embed", texts(*SENTENCES), "embedding")
    for coding in (
        {},
        {"encoding_format": "float"},
        {"encoding_format": "base64"},
    ):  # the default is base64
        response = client.embeddings.create(model="embed", input=SENTENCES, **coding)
        if coding.get("encoding_format") != "base64":
            np.testing.assert_allclose(vectors(response), expected, atol=1e-5)
    assert response.model == "embed"
    assert response.usage.prompt_tokens == response.usage.total_tokens > len(SENTENCES)
    short = client.embeddings.create(model="embed", input=SENTENCES[0], dimensions=8)
    shortened = expected[0][:8] / np.linalg.norm(expected[0][:8])
    np.testing.assert_allclose(vectors(short)[0], shortened, atol=1e-5)


def test_many_inputs_come_back_in_order_and_run_as_batches(client, grpc, server):
    many = [f"{'the cat ' * (place % 7)}sat" for place in range(150)]
    response = client.embeddings.create(model="embed", input=many)
    expected = np.concatenate(
        [infer(grpc, "embed", texts(*many[start : start + 15]), "embedding") for start in range(0, 150, 15)]
    )
    np.testing.assert_allclose(vectors(response), expected, atol=1e-5)
    statistics = grpc.get_inference_statistics("embed").model_stats[0]
    assert statistics.inference_count / statistics.execution_count > 5


def test_concurrent_requests_of_the_asyncio_client_get_their_own_answers(server, grpc):
    async def ask() -> list[np.ndarray]:
        async with openai.AsyncOpenAI(base_url=f"http://{server.http}/v1", api_key="unused") as connected:
            calls = (connected.embeddings.create(model="embed", input=f"cat {'sat ' * place}") for place in range(16))
            return [vectors(each)[0] for each in await asyncio.gather(*calls)]

    for place, found in enumerate(asyncio.run(ask())):
        expected = infer(grpc, "embed", texts(f"cat {'sat ' * place}"), "embedding")[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_prompts_of_the_checkpoint_are_chosen_by_input_type(client, grpc):
    for side, prompt in PROMPTS.items():
        response = client.embeddings.create(model="embed", input="a mat", extra_body={"input_type": side})
        expected = infer(grpc, "embed", texts(prompt + "a mat"), "embedding")
        np.testing.assert_allclose(vectors(response), expected, atol=1e-5)


def test_token_arrays_give_the_vectors_of_their_texts(client, server):
    arrays = [
        post(server, "/tokenize", model="embed", prompt=text, add_special_tokens=False)["tokens"] for text in SENTENCES
    ]
    by_text = client.embeddings.create(model="embed", input=SENTENCES)
    by_tokens = client.embeddings.create(model="embed", input=arrays)
    np.testing.assert_allclose(vectors(by_tokens), vectors(by_text), atol=1e-5)
    assert by_tokens.usage == by_text.usage
    single = client.embeddings.create(model="embed", input=arrays[0])
    np.testing.assert_allclose(vectors(single)[0], vectors(by_text)[0], atol=1e-5)
    long = client.embeddings.create(model="embed", input=arrays[0] * 9, extra_body={"truncate": True})
    assert long.usage.prompt_tokens == LONGEST
    with pytest.raises(openai.BadRequestError, match="outside the model's vocabulary"):
        client.embeddings.create(model="embed", input=[1, 100_257])


def test_errors_are_those_that_the_openai_client_knows(client):
    with pytest.raises(openai.NotFoundError, match="did you mean 'embed'") as missing:
        client.embeddings.create(model="embedd", input="a")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="maximum context length is 24 tokens") as long:
        client.embeddings.create(model="embed", input="cat " * 100)
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "input")
    with pytest.raises(openai.BadRequestError, match="Unrecognized request argument supplied: dimension"):
        client.embeddings.create(model="embed", input="a", extra_body={"dimension": 4})
    with pytest.raises(openai.APIStatusError) as many:
        client.embeddings.create(model="embed", input=["a"] * 10_000)
    assert many.value.status_code == 413
    assert client.embeddings.create(model="embed", input="a").data


def test_models_are_listed_with_their_purpose(client):
    found = {model.id: model.to_dict() for model in client.models.list()}
    assert {name: model["task"] for name, model in found.items()} == {
        "embed": "embedding",
        "moods": "text-classification",
        "ranks": "reranking",
    }
    assert found["embed"]["max_model_len"] == LONGEST
    assert client.models.retrieve("ranks").id == "ranks"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("absent")


def test_langchain_embeds_documents_and_queries(server, grpc):
    from langchain_openai import OpenAIEmbeddings

    settings = {
        "model": "embed",
        "base_url": f"http://{server.http}/v1",
        "api_key": "unused",
        "check_embedding_ctx_length": False,
    }

    async def ask() -> list[list[float]]:
        async with httpx.AsyncClient() as connections:  # which LangChain's own would leave open
            return await OpenAIEmbeddings(**settings, http_async_client=connections).aembed_documents(SENTENCES)

    expected = infer(grpc, "embed", texts(*SENTENCES), "embedding")
    with httpx.Client() as connections:
        embedder = OpenAIEmbeddings(**settings, http_client=connections)
        np.testing.assert_allclose(embedder.embed_documents(SENTENCES), expected, atol=1e-5)
        np.testing.assert_allclose(embedder.embed_query(SENTENCES[0]), expected[0], atol=1e-5)
    np.testing.assert_allclose(asyncio.run(ask()), expected, atol=1e-5)


LITELLM = """
import json, sys
import litellm

sentences, address = json.loads(sys.argv[1]), sys.argv[2]
place = {"api_base": f"http://{address}/v1", "api_key": "unused"}
embedded = litellm.embedding(model="openai/embed", input=sentences, encoding_format="float", **place)
query = {"query": "the cat", "documents": sentences, "top_n": 2}
ranked = litellm.rerank(model="hosted_vllm/ranks", api_base=f"http://{address}", api_key="unused", **query)
print(json.dumps([[each["embedding"] for each in embedded.data], [each["index"] for each in ranked.results]]))
"""


def test_litellm_embeds_and_reranks(server, grpc):
    """In a process of its own: its import warns, and looks for a list of prices on the Internet."""
    if find_spec("litellm") is None:
        pytest.skip("litellm is not installed: it needs versions of packages that others cannot share")
    words = [sys.executable, "-c", LITELLM, json.dumps(SENTENCES), server.http]
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    output = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    embedded, ranked = json.loads(output.splitlines()[-1])
    np.testing.assert_allclose(embedded, infer(grpc, "embed", texts(*SENTENCES), "embedding"), atol=1e-5)
    answer = post(server, "/v1/rerank", query="the cat", documents=SENTENCES, model="ranks")
    scores = {each["index"]: each["relevance_score"] for each in answer["results"]}
    assert len(ranked) == 2
    assert min(scores[place] for place in ranked) >= sorted(scores.values())[1] - 1e-5


def test_reranking_and_scores_equal_the_model_s_own(server, grpc):
    columns = {
        "query": np.array([[b"the cat"]] * 3, np.object_),
        "text": np.array([[text.encode()] for text in SENTENCES], np.object_),
    }
    expected = infer(grpc, "ranks", columns, "score")[:, 0]
    answer = post(server, "/v1/rerank", query="the cat", documents=SENTENCES, model="ranks")
    found = {each["index"]: each["relevance_score"] for each in answer["results"]}
    np.testing.assert_allclose([found[place] for place in range(3)], expected, atol=1e-5)
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    answer = post(server, "/v1/score", text_1="the cat", text_2=SENTENCES, model="ranks")
    np.testing.assert_allclose([each["score"] for each in answer["data"]], expected, atol=1e-5)


def test_classes_equal_the_model_s_own(server, grpc):
    scores = infer(grpc, "moods", texts(*SENTENCES), "scores")
    labels = infer(grpc, "moods", texts(*SENTENCES), "label")[:, 0]
    answer = post(server, "/v1/classify", input=SENTENCES)
    np.testing.assert_allclose([each["probs"] for each in answer["data"]], scores, atol=1e-5)
    assert [each["label"].encode() for each in answer["data"]] == labels.tolist()
    best = post(server, "/predict", inputs=SENTENCES[0])[0]
    assert best["label"] == answer["data"][0]["label"]
    assert best["score"] == pytest.approx(answer["data"][0]["score"], abs=1e-5)


def test_embed_answers_as_text_embeddings_inference(server, grpc):
    expected = infer(grpc, "embed", texts(*SENTENCES), "embedding")
    np.testing.assert_allclose(post(server, "/embed", inputs=SENTENCES), expected, atol=1e-5)
    tokens = post(server, "/tokenize", model="embed", inputs="the cat")[0]
    assert [token["text"] for token in tokens if not token["special"]] == ["the", "cat"]
    ids = [token["id"] for token in tokens]
    assert post(server, "/decode", model="embed", ids=ids) == ["the cat"]


def test_the_converter_writes_what_the_model_is_for(server: RunningServer, grpc):
    parameters = grpc.get_model_config("embed").config.parameters
    assert parameters["SLIPWAY_TASK"].string_value == "embedding"
    assert parameters["SLIPWAY_TOKENIZER"].string_value == "embed-tokenizer"
    assert json.loads(parameters["SLIPWAY_PROMPTS"].string_value) == PROMPTS
    assert parameters["SLIPWAY_MAX_TOKENS"].string_value == str(LONGEST)
