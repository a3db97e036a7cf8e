"""/v1/rerank, /rerank, /v1/score and /v1/classify: the bodies of Cohere, Jina, vLLM and text-embeddings-inference."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.rest.openai.conftest import vector_of

QUERY, DOCUMENTS = "the cat", ["a dog", "the cat sat", "the mat"]


def cosine(one: str, other: str) -> float:
    first, second = np.array(vector_of(one)), np.array(vector_of(other))
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
def test_documents_come_in_the_order_of_their_relevance(few, path):
    status, answer = few.post(path, {"model": "ranks", "query": QUERY, "documents": DOCUMENTS})
    assert status == 200
    assert [each["index"] for each in answer["results"]] == [1, 2, 0]
    assert [each["relevance_score"] for each in answer["results"]] == [2.0, 1.0, 0.0]
    assert "document" not in answer["results"][0]
    assert answer["usage"]["total_tokens"] == 7 + 8 + 7  # of the pairs, with three special tokens each
    assert answer["model"] == "ranks"


def test_the_best_documents_come_back_with_their_texts(few):
    given = [{"text": text, "title": "ignored"} for text in DOCUMENTS]
    body = {"model": "ranks", "query": QUERY, "documents": given, "top_n": 2, "return_documents": True}
    _, answer = few.post("/v1/rerank", body)
    assert [each["document"] for each in answer["results"]] == [{"text": "the cat sat"}, {"text": "the mat"}]


def test_texts_get_the_answer_of_text_embeddings_inference(few):
    body = {"query": QUERY, "texts": DOCUMENTS, "return_text": True, "model": "ranks"}
    _, answer = few.post("/rerank", body)
    assert answer[0] == {"index": 1, "text": "the cat sat", "score": 2.0}
    assert [each["index"] for each in answer] == [1, 2, 0]


def test_long_documents_are_truncated_for_cohere_and_refused_for_text_embeddings_inference(few):
    long = "cat " * 20
    assert few.post("/rerank", {"model": "ranks", "query": QUERY, "documents": [long]})[0] == 200
    status, answer = few.post("/rerank", {"model": "ranks", "query": QUERY, "texts": [long]})
    assert status == 413
    assert answer["error_type"] == "Validation"
    assert "maximum context length" in answer["error"]
    status, answer = few.post("/rerank", {"model": "ranks", "query": QUERY, "documents": [long], "truncation": False})
    assert status == 400
    assert answer["error"]["code"] == "context_length_exceeded"


def test_an_embedding_model_reranks_by_the_cosine_of_query_and_passage(few):
    _, answer = few.post("/v1/rerank", {"model": "words", "query": QUERY, "documents": DOCUMENTS})
    expected = {place: cosine(f"query: {QUERY}", f"passage: {text}") for place, text in enumerate(DOCUMENTS)}
    found = {each["index"]: each["relevance_score"] for each in answer["results"]}
    assert found == pytest.approx(expected, abs=1e-6)
    assert [each["index"] for each in answer["results"]] == sorted(expected, key=lambda place: -expected[place])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"query": QUERY}, "either 'documents' or 'texts'"),
        ({"query": QUERY, "documents": ["a"], "texts": ["a"]}, "either 'documents' or 'texts'"),
        ({"query": "", "documents": ["a"]}, "'query' must not be empty"),
        ({"query": QUERY, "documents": []}, "must not be empty"),
        ({"query": QUERY, "documents": ["a"], "top_n": 0}, "'top_n' is 0"),
        ({"query": QUERY, "documents": [{"title": "a"}]}, "Missing required parameter"),
        ({"query": QUERY, "documents": ["a"], "raw_scores": True, "model": "ranks"}, "'raw_scores' is not supported"),
        ({"query": QUERY, "documents": ["a"], "top_k": 2}, "Unrecognized request argument supplied: top_k"),
        ({"query": QUERY, "documents": ["a"]}, "several models"),
        ({"query": QUERY, "documents": ["a"] * 2049, "model": "ranks"}, "at most 2048"),
    ],
)
def test_a_wrong_rerank_request_is_refused(few, body, words):
    status, answer = few.post("/v1/rerank", body)
    assert status in (400, 413)
    assert words in (answer["error"] if isinstance(answer["error"], str) else answer["error"]["message"])


def test_one_text_is_scored_with_many_and_pairs_with_each_other(few):
    _, answer = few.post("/v1/score", {"model": "ranks", "text_1": QUERY, "text_2": DOCUMENTS})
    assert [each["score"] for each in answer["data"]] == [0.0, 2.0, 1.0]
    _, answer = few.post("/v1/score", {"model": "ranks", "text_1": ["a dog", "the mat"], "text_2": ["a dog", "mat"]})
    assert [each["score"] for each in answer["data"]] == [2.0, 1.0]
    status, answer = few.post("/v1/score", {"model": "ranks", "text_1": ["a", "b"], "text_2": ["a", "b", "c"]})
    assert status == 400
    assert "their numbers must be equal" in answer["error"]["message"]
    status, answer = few.post("/v1/score", {"model": "ranks", "text_1": "a", "text_2": ["a", ""]})
    assert status == 400


def test_texts_are_classified_among_the_labels_of_the_model(few):
    _, answer = few.post("/v1/classify", {"input": ["good good bad", "fair"]})
    first, second = answer["data"]
    assert first["label"] == first["prediction"] == "good"
    assert first["probs"] == pytest.approx([2 / 3, 1 / 3, 0])
    assert first["num_classes"] == 3
    assert [each["label"] for each in first["predictions"]] == ["good", "bad", "fair"]
    assert first["score"] == first["predictions"][0]["score"]
    assert second["label"] == "fair"
    assert answer["usage"]["total_tokens"] == 5 + 3


def test_texts_are_classified_among_the_labels_of_the_request(few):
    body = {"model": "zero", "input": [{"text": "cat cat dog"}, {"text": "dog"}], "labels": ["dog", "cat"]}
    status, answer = few.post("/v1/classify", body)
    assert status == 200
    assert [each["prediction"] for each in answer["data"]] == ["cat", "dog"]
    assert answer["data"][0]["predictions"] == [{"label": "cat", "score": 2.0}, {"label": "dog", "score": 1.0}]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": ["cat"]}, "at least two"),
        ({"labels": []}, "must not be empty"),
        pytest.param({"labels": ["cat", "dog" * 400]}, "more than 1024 characters", id="a long label"),
        ({"labels": ["cat", ""]}, "at least two elements, none of them empty"),
        ({"labels": [f"{place}" for place in range(2000)], "input": ["a", "b"]}, "at most 2048"),
        ({"input": ""}, "must not contain empty"),
        ({"model": "words"}, "needs one that classifies texts"),
    ],
)
def test_a_wrong_classify_request_is_refused(few, fields, words):
    status, answer = few.post("/v1/classify", {"input": "cat", **fields})
    assert status in (400, 413)
    assert words in answer["error"]["message"]


def test_a_long_query_is_in_memory_a_few_times_and_not_for_every_document(few):
    tracemalloc.start()
    try:
        status, _ = few.post("/v1/rerank", {"model": "ranks", "query": "cat " * 250_000, "documents": ["a"] * 200})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == 200
    assert peak < 20 << 20  # the query has 1 MB
