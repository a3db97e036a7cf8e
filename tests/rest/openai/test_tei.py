"""The routes of text-embeddings-inference, and those for tokens and models."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.api_keys import ApiKeys, key_digest
from slipway.config.options import parse_options
from slipway.config.restrictions import by_group
from slipway.rest.app import HEALTH_PATHS, build_app
from slipway.rest.context import RestOptions
from slipway.rest.key_guard import require_key
from slipway.rest.openai.routes import envelope_of
from tests.rest.conftest import serve
from tests.rest.openai.conftest import PROMPTS, WORDS, Asked, plane, vector_of


def unit(text: str) -> list[float]:
    vector = np.array(vector_of(text), np.float32)
    return (vector / np.linalg.norm(vector)).tolist()


@pytest.mark.parametrize("inputs", ["the cat", ["the cat"], ["the cat", "a dog"]])
def test_embed_returns_an_array_of_vectors_of_length_one(few, inputs):
    status, answer = few.post("/embed", {"inputs": inputs})
    assert status == 200
    texts = [inputs] if isinstance(inputs, str) else inputs
    np.testing.assert_allclose(answer, [unit(text) for text in texts], atol=1e-6)


def test_embed_leaves_vectors_as_they_are_and_takes_prompts_by_name(few):
    _, answer = few.post("/embed", {"inputs": "cat", "normalize": False, "prompt_name": "query", "dimensions": 3})
    assert answer == [vector_of(PROMPTS["query"] + "cat")[:3]]


def test_embed_refuses_long_texts_with_413_and_truncates_if_asked(few):
    status, answer = few.post("/embed", {"inputs": "cat " * 20})
    assert status == 413
    assert answer["error_type"] == "Validation"
    assert few.post("/embed", {"inputs": "cat " * 20, "truncate": True})[0] == 200
    status, answer = few.post("/embed", {"inputs": "cat", "truncate": True, "truncation_direction": "Left"})
    assert status == 400
    assert "truncation_direction" in answer["error"]


def test_predict_returns_labels_the_best_first(few):
    _, answer = few.post("/predict", {"inputs": "bad bad good"})
    assert [each["label"] for each in answer] == ["bad", "good", "fair"]
    _, answer = few.post("/predict", {"inputs": [["bad"], ["fair"]], "raw_scores": True})
    assert [row[0] for row in answer] == [{"score": 1.0, "label": "bad"}, {"score": 1.0, "label": "fair"}]


def test_predict_scores_pairs_with_a_reranker(few):
    assert few.post("/predict", {"inputs": ["the cat", "the cat sat"]})[1] == [{"score": 2.0, "label": "LABEL_0"}]


@pytest.mark.parametrize(
    "inputs", [[], "", [["a", "b", "c"]], [["a"], ["b", "c"]], ["a", "b", "c"], [[]], ["a", ["b"]]]
)
def test_predict_refuses_other_inputs(few, inputs):
    status, answer = few.post("/predict", {"inputs": inputs})
    assert status == 400
    assert "'inputs'" in answer["error"]


def test_info_describes_the_only_model(tokenizer):
    from tests.rest.openai.conftest import MODELS

    served_plane = plane(tokenizer, models=MODELS[:1])
    with serve(served_plane, build_app(served_plane)) as running:
        status, answer = Asked(running).get("/info")
    assert status == 200
    assert answer["model_id"] == "words"
    assert answer["model_type"] == {"embedding": {"pooling": None}}
    assert answer["max_client_batch_size"] == 2048


def test_info_names_the_models_if_there_are_several(few):
    status, answer = few.get("/info")
    assert status == 400
    assert "words" in answer["error"]
    assert "ranks" in answer["error"]


def test_tokenize_answers_in_the_form_of_the_request(few):
    _, answer = few.post("/tokenize", {"model": "words", "prompt": "the cat", "return_token_strs": True})
    ids = [WORDS.index(word) for word in ("[CLS]", "the", "cat", "[SEP]")]
    assert answer == {"count": 4, "max_model_len": 8, "tokens": ids, "token_strs": ["[CLS]", "the", "cat", "[SEP]"]}
    _, answer = few.post("/tokenize", {"model": "words", "inputs": "the cat", "add_special_tokens": False})
    assert answer == [
        [
            {"id": ids[1], "text": "the", "special": False, "start": 0, "stop": 3},
            {"id": ids[2], "text": "cat", "special": False, "start": 4, "stop": 7},
        ]
    ]
    _, answer = few.post("/tokenize", {"model": "words", "prompt": "cat " * 20})
    assert answer["count"] == 22  # the whole text, not only what the model reads


def test_detokenize_and_decode_return_the_text(few):
    ids = [WORDS.index(word) for word in ("[CLS]", "the", "cat", "[SEP]")]
    assert few.post("/detokenize", {"model": "words", "tokens": ids[1:3]})[1] == {"prompt": "the cat"}
    assert few.post("/decode", {"model": "words", "ids": ids[1:3]})[1] == ["the cat"]
    assert few.post("/decode", {"model": "words", "ids": [ids[1:2], ids[2:3]]})[1] == ["the", "cat"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/tokenize", {"prompt": "a", "inputs": "a"}, "either 'prompt' or 'inputs'"),
        ("/tokenize", {}, "either 'prompt' or 'inputs'"),
        ("/tokenize", {"prompt": "a " * 200_000}, "characters"),
        ("/detokenize", {"tokens": [-1]}, "outside the model's vocabulary"),
        ("/detokenize", {"tokens": [10**20]}, "'tokens"),
        ("/detokenize", {"tokens": [len(WORDS)]}, "outside the model's vocabulary"),
        ("/detokenize", {"tokens": [1] * 70_000}, "at most 65536"),
        ("/decode", {"ids": [[1], 2]}, "must be a token array"),
        ("/decode", {"ids": []}, "must not be empty"),
    ],
)
def test_wrong_requests_for_tokens_are_refused(few, path, body, words):
    status, answer = few.post(path, {"model": "words", **body})
    assert status in (400, 413)
    assert words in (answer["error"] if isinstance(answer["error"], str) else answer["error"]["message"])


def test_models_are_those_whose_purpose_is_known(front):
    status, answer = front.get("/v1/models")
    assert status == 200
    assert answer["object"] == "list"
    tasks = {each["id"]: each["task"] for each in answer["data"]}
    assert tasks["words"] == "embedding"
    assert tasks["ranks"] == "reranking"
    assert tasks["moods"] == "text-classification"
    assert tasks["zero"] == "zero-shot"
    assert "pixels" not in tasks
    assert front.get("/v1/models/words")[1]["id"] == "words"
    status, answer = front.get("/v1/models/wrds")
    assert status == 404
    assert answer["error"]["code"] == "model_not_found"


def test_without_the_flag_there_are_no_such_routes(tokenizer):
    served_plane = plane(tokenizer)
    with serve(served_plane, build_app(served_plane, RestOptions(openai=False))) as running:
        for path in ("/v1/models", "/v1/embeddings", "/embed"):
            assert running.ask("GET", path).status == 404


def test_restricted_groups_need_their_key_and_say_so_in_the_envelope(tokenizer):
    words = ["models", "--http-restricted-api=inference,metadata:admin-key=secret"]
    options = RestOptions(restrictions=by_group(parse_options(words).http_restricted_api))
    served_plane = plane(tokenizer)
    with serve(served_plane, build_app(served_plane, options)) as running:
        front = Asked(running)
        for path in ("/v1/embeddings", "/v1/rerank", "/v1/classify", "/v1/score", "/tokenize", "/detokenize"):
            status, answer = front.post(path, {"model": "words", "input": "cat"})
            assert status == 403
            assert answer["error"]["type"] == "permission_error"
        for path in ("/embed", "/predict", "/decode"):
            status, answer = front.post(path, {"inputs": "cat"})
            assert status == 403
            assert "restricted" in answer["error"]
        for path in ("/v1/models", "/v1/models/words", "/info"):
            assert front.get(path)[0] == 403
        body = {"model": "words", "input": "cat"}
        assert front.post("/v1/embeddings", body, admin_key="secret")[0] == 200


def test_a_missing_api_key_is_reported_in_the_envelope_of_the_route(tokenizer):
    served_plane = plane(tokenizer)
    app = require_key(build_app(served_plane), ApiKeys([key_digest("secret")]), HEALTH_PATHS, envelope_of)
    with serve(served_plane, app) as running:
        front = Asked(running)
        status, answer = front.post("/v1/embeddings", {"model": "words", "input": "cat"})
        assert status == 401
        assert answer["error"]["type"] == "authentication_error"
        assert front.post("/v1/responses", {})[1]["error"]["type"] == "authentication_error"  # not served
        assert isinstance(front.post("/embed", {"inputs": "cat"})[1]["error_type"], str)
        assert isinstance(front.get("/v2")[1]["error"], str)
        body = {"model": "words", "input": "cat"}
        assert front.post("/v1/embeddings", body, authorization="Bearer secret")[0] == 200


def test_a_text_of_many_tokens_is_described_whole(few):
    texts = ["cat " * 9000, ""]
    body = {"model": "words", "inputs": texts, "add_special_tokens": False}
    status, (long, empty) = few.post("/tokenize", body)
    assert status == 200
    assert empty == []
    assert len(long) == 9000
    assert [each["start"] for each in long] == list(range(0, 4 * 9000, 4))
    assert {each["text"] for each in long} == {"cat"}
