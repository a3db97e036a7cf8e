"""/v1/embeddings: what OpenAI's clients send, and what they get."""

from __future__ import annotations

import base64
import json
import socket

import numpy as np
import pytest

from tests.rest.openai.conftest import LONGEST, vector_of


def test_a_text_gets_its_vector_and_the_number_of_its_tokens(front):
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": "the cat sat"})
    assert status == 200
    assert answer == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": vector_of("the cat sat")}],
        "model": "words",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},  # three words between two special tokens
    }


def test_many_texts_are_rows_of_few_requests_and_come_back_in_order(front):
    texts = [f"{'the ' * (place % 5)}cat" for place in range(23)]
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": texts})
    assert status == 200
    assert [each["embedding"] for each in answer["data"]] == [vector_of(text) for text in texts]
    assert [each["index"] for each in answer["data"]] == list(range(23))
    rows = [request.inputs["text"].shape[0] for request in front.plane.requests]
    assert sum(rows) == 23
    assert max(rows) == 4  # max_batch_size
    for request in front.plane.requests:  # texts of similar length share a batch
        assert len({text.count(b" ") for text in request.inputs["text"].array[:, 0]}) <= 2


def test_base64_holds_the_same_numbers(front):
    body = {"model": "words", "input": ["the cat", "a dog"], "encoding_format": "base64"}
    _, answer = front.post("/v1/embeddings", body)
    decoded = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4").tolist() for each in answer["data"]]
    assert decoded == [vector_of("the cat"), vector_of("a dog")]


def test_dimensions_shorten_a_vector_and_normalize_makes_its_length_one(front):
    _, answer = front.post("/v1/embeddings", {"model": "words", "input": "the cat", "dimensions": 2})
    assert answer["data"][0]["embedding"] == vector_of("the cat")[:2]
    _, answer = front.post("/v1/embeddings", {"model": "words", "input": "cat", "dimensions": 2, "normalize": True})
    assert np.linalg.norm(answer["data"][0]["embedding"]) == pytest.approx(1)


@pytest.mark.parametrize("dimensions", [0, -1, 5])
def test_dimensions_that_a_vector_does_not_have_are_refused(front, dimensions):
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": "cat", "dimensions": dimensions})
    assert status == 400
    assert answer["error"]["param"] == "dimensions"
    assert "have 4" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, "cat"),
        ({"input_type": "query"}, "query: cat"),
        ({"input_type": "search_query"}, "query: cat"),
        ({"input_type": "document"}, "passage: cat"),
        ({"input_type": "passage"}, "passage: cat"),
        ({"input_type": "classification"}, "cat"),
        ({"prompt_name": "passage"}, "passage: cat"),
    ],
)
def test_the_prompt_of_a_side_is_put_before_the_text(front, fields, sent):
    _, answer = front.post("/v1/embeddings", {"model": "words", "input": "cat", **fields})
    assert answer["data"][0]["embedding"] == vector_of(sent)
    assert answer["usage"]["prompt_tokens"] == len(sent.split()) + 2


def test_a_prompt_of_the_tokenizer_is_counted_and_neither_repeated_nor_replaced(front):
    _, answer = front.post("/v1/embeddings", {"model": "prompted", "input": "cat", "input_type": "query"})
    assert answer["data"][0]["embedding"] == vector_of("cat")  # the tokenizer puts it there
    assert answer["usage"]["prompt_tokens"] == 4
    status, answer = front.post("/v1/embeddings", {"model": "prompted", "input": "cat", "prompt_name": "passage"})
    assert status == 400
    assert answer["error"]["param"] == "prompt_name"


@pytest.mark.parametrize(
    ("fields", "parameter", "words"),
    [
        ({"input_type": "qery"}, "input_type", "did you mean 'query'?"),
        ({"prompt_name": "pasage"}, "prompt_name", "did you mean 'passage'?"),
    ],
)
def test_an_unknown_prompt_is_refused_with_the_nearest_name(front, fields, parameter, words):
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": "cat", **fields})
    assert status == 400
    assert answer["error"]["param"] == parameter
    assert words in answer["error"]["message"]


def test_a_text_longer_than_the_model_reads_is_refused_unless_it_may_be_truncated(front):
    long = "cat " * 20
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": ["cat", long]})
    assert status == 400
    assert answer["error"]["code"] == "context_length_exceeded"
    assert f"maximum context length is {LONGEST} tokens, but element 1 of 'input'" in answer["error"]["message"]
    assert front.plane.requests == []
    assert front.plane.rejected == ["words"]
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": ["cat", long], "truncate": True})
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == 3 + LONGEST


def test_a_model_without_batches_and_without_a_tokenizer_serves(front):
    _, answer = front.post("/v1/embeddings", {"model": "single", "input": ["the cat", "a dog"]})
    assert [each["embedding"] for each in answer["data"]] == [vector_of("the cat"), vector_of("a dog")]
    assert answer["usage"]["total_tokens"] == 0


def test_token_arrays_need_an_encoder_that_takes_ids(front):
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": [3, 4]})
    assert status == 400
    assert "takes texts only" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("", "must not contain empty"),
        ([], "must not be empty"),
        (["cat", ""], "must not contain empty"),
        ([[]], "must not contain empty"),
        (["cat", 3], "must be a text, an array of texts"),
        ([3, "cat"], "must be a text, an array of texts"),
        ([[3], "cat"], "must be a text, an array of texts"),
        (3, "Invalid type for 'input'"),
        (None, "Invalid type for 'input'"),
        ({"text": "cat"}, "Invalid type for 'input'"),
        ([True], "Invalid type for 'input[0]'"),
        ([[1.5]], "Invalid type for 'input[0][0]'"),
        (["cat"] * 10_000, "at most 2048"),
    ],
)
def test_inputs_of_another_form_are_refused(front, inputs, words):
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": inputs})
    assert status in (400, 413)
    assert answer["error"]["type"] == "invalid_request_error"
    assert words in answer["error"]["message"]
    assert front.plane.requests == []
    assert front.post("/v1/embeddings", {"model": "words", "input": "cat"})[0] == 200


@pytest.mark.parametrize(
    ("body", "parameter", "code", "words"),
    [
        ({"input": "cat"}, "model", "missing_required_parameter", "Missing required parameter: 'model'."),
        ({"model": "words"}, "input", "missing_required_parameter", "Missing required parameter: 'input'."),
        (
            {"model": "words", "input": "cat", "dimension": 2},
            "dimension",
            "unknown_parameter",
            "Unrecognized request argument supplied: dimension; did you mean 'dimensions'?",
        ),
        ({"model": 3, "input": "cat"}, "model", "invalid_type", "Invalid type for 'model'"),
        ({"model": "words", "input": "cat", "encoding_format": "hex"}, "encoding_format", "invalid_type", "hex"),
        ({"model": "wrds", "input": "cat"}, "model", "model_not_found", "did you mean 'words'?"),
        ({"model": "pixels", "input": "cat"}, "model", "model_not_found", "purpose is not known"),
        ({"model": "ranks", "input": "cat"}, "model", "model_not_supported", "needs one that embeds texts"),
        ([], None, None, "Invalid request body"),
    ],
)
def test_a_wrong_body_is_refused_in_openai_s_envelope(front, body, parameter, code, words):
    status, answer = front.post("/v1/embeddings", json.dumps(body).encode())
    assert status == (404 if code == "model_not_found" else 400)
    assert answer["error"]["param"] == parameter
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"model": "words", "input": "\xff"}',
        b'{"model": "words", "input": "\\ud800"}',
        b'{"model": "words", "input": "cat", "input": "dog"}',
        b"[" * 100_000,
    ],
)
def test_text_that_is_not_a_json_request_is_refused(front, text):
    status, answer = front.post("/v1/embeddings", text)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert front.post("/v1/embeddings", {"model": "words", "input": "cat"})[0] == 200


def test_a_body_that_is_too_large_is_refused(front):
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": "cat " * (3 << 20)})
    assert status == 413
    assert "the limit is" in answer["error"]["message"]


def test_more_elements_than_a_request_may_have_are_refused_before_they_are_made(front):
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": [[]] * 400_002})
    assert status == 413
    assert "400000 elements" in answer["error"]["message"]


def test_large_texts_are_counted_and_refused_without_reading_them_whole(front):
    status, answer = front.post("/v1/embeddings", {"model": "words", "input": ["cat " * 100_000] * 10})
    assert status == 400
    assert answer["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(("model", "status", "words"), [("failing", 400, "said no"), ("broken", 500, "not finite")])
def test_the_errors_of_a_model_come_in_the_envelope(front, model, status, words):
    found, answer = front.post("/v1/embeddings", {"model": model, "input": ["cat"] * 9})
    assert found == status
    assert words in answer["error"]["message"]
    assert answer["error"]["type"] == ("server_error" if status == 500 else "invalid_request_error")


def test_another_method_and_another_coding_are_refused_in_the_envelope(front):
    status, answer = front.get("/v1/embeddings")
    assert status == 405
    assert answer["error"]["message"] == "Method Not Allowed"
    status, answer = front.post("/v1/embeddings", b"x", content_encoding="gzip")
    assert status == 415
    assert "content-encoding" in answer["error"]["message"]


def test_the_texts_of_a_client_that_leaves_are_dropped(front):
    body = json.dumps({"model": "silent", "input": ["cat"] * 40}).encode()
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", front.served.port), timeout=30) as connection:
        connection.sendall(head + body)
        wait_for(lambda: len(front.plane.held) == 4)  # no more of them at a time
    wait_for(lambda: len(front.plane.cancelled) == 4)
    assert len(front.plane.requests) == 4


def wait_for(condition) -> None:
    """Wait until a condition holds, at most half a minute."""
    import time

    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition does not hold")
