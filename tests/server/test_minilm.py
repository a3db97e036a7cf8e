"""The converted sentence encoder on the server: meaning, not only shapes."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from tests.kits.calls import infer, texts
from tests.kits.repositories import MINILM

QUERY = "How much protein should a woman eat each day?"
RIGHT = "The average protein requirement for adult women is 46 grams per day."
WRONG = "The summit of the mountain was hidden in clouds."


@pytest.fixture
def sentences(serve, minilm):
    return serve(minilm)


def test_embeddings_equal_sentence_transformers_over_both_transports(sentences):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(MINILM), AutoModel.from_pretrained(MINILM).eval()
    expected = []
    for text in (QUERY, RIGHT, WRONG):
        with torch.no_grad():
            hidden = network(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        expected.append(torch.nn.functional.normalize(hidden, dim=0).numpy())
    with (
        tritonclient.http.InferenceServerClient(sentences.http) as http,
        tritonclient.grpc.InferenceServerClient(sentences.grpc) as grpc,
    ):
        for client in (http, grpc):
            answer = infer(client, "minilm", texts(QUERY, RIGHT, WRONG), "embedding")
            np.testing.assert_allclose(answer, expected, atol=1e-4)
    query, right, wrong = expected
    assert query @ right > 0.5 > query @ wrong


@pytest.mark.capability("3.19")
def test_a_query_is_nearer_to_its_passage_than_to_another(sentences):
    """E5's contract: texts with `query: ` or `passage: ` before them, unit vectors of 384 dims, compared by cosine."""
    with tritonclient.grpc.InferenceServerClient(sentences.grpc) as client:
        rows = texts(f"query: {QUERY}", f"passage: {RIGHT}", f"passage: {WRONG}")
        query, right, wrong = infer(client, "minilm", rows, "embedding")
    assert query.shape == (384,)
    for vector in (query, right, wrong):
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert query @ right > 0.5 > query @ wrong


def test_text_that_is_not_utf8_is_refused_and_the_model_goes_on(sentences):
    from tritonclient.utils import InferenceServerException

    bad = {"text": np.array([[b"\xff\xfe"]], dtype=np.object_)}
    with tritonclient.http.InferenceServerClient(sentences.http) as client:
        with pytest.raises(InferenceServerException, match="input 'text' is not valid UTF-8"):
            infer(client, "minilm", bad, "embedding")
        assert infer(client, "minilm", texts("good"), "embedding").shape == (1, 384)
