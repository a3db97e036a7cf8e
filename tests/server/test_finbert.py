"""The FinBERT shape end to end: tokenizer in Python, encoder in ONNX, ensemble; texts in, logits out."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from tests.kits.calls import infer, tensors, texts
from tests.kits.repositories import ID_NAMES

SENTENCE = "Stocks rallied and the British pound gained."
GOLDEN = [101, 15768, 24356, 1998, 1996, 2329, 9044, 4227, 1012, 102]
MIXED = ("Hi", SENTENCE, "Profits fell.", "The board expects a loss in the second half of the year, it said on Monday.")


def tokens(client, *rows: str) -> dict[str, np.ndarray]:
    import tritonclient.http

    result = client.infer("finbert-tokenizer", tensors(tritonclient.http, texts(*rows)))
    return {name: result.as_numpy(name) for name in ID_NAMES}


def batch(rows: int, tokens: int = 12) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(rows).integers(1000, 20000, (rows, tokens), dtype=np.int32)
    mask = np.ones_like(ids)
    mask[-1, tokens // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


@pytest.mark.capability("4.5")
def test_a_tokenizer_on_the_stock_python_api_gives_the_golden_ids(http):
    answer = tokens(http, SENTENCE)
    assert {name: array.dtype for name, array in answer.items()} == dict.fromkeys(ID_NAMES, np.dtype(np.int32))
    assert answer["input_ids"].tolist() == [GOLDEN]
    assert answer["attention_mask"].tolist() == [[1] * 10]
    assert answer["token_type_ids"].tolist() == [[0] * 10]


@pytest.mark.capability("4.6")
@pytest.mark.parametrize("rows", [1, 3, 16])
def test_logits_of_the_encoder_equal_torch(http, grpc, classifier, rows):
    inputs = batch(rows)
    expected = classifier.logits(**inputs)
    for client in (http, grpc):
        np.testing.assert_allclose(infer(client, "finbert-model", inputs, "logits"), expected, atol=1e-3)


@pytest.mark.capability("4.6")
def test_one_row_more_than_the_batch_limit_is_refused(http, grpc):
    for client in (http, grpc):
        with pytest.raises(InferenceServerException, match="inference request batch-size must be <= 16"):
            infer(client, "finbert-model", batch(17), "logits")


@pytest.mark.capability("4.7")
def test_the_ensemble_equals_its_steps_chained_and_counts_both(http):
    names = ("finbert", "finbert-tokenizer", "finbert-model")
    before = {name: successes(http, name) for name in names}
    answer = infer(http, "finbert", texts(SENTENCE), "logits")
    assert {name: successes(http, name) - before[name] for name in names} == dict.fromkeys(names, 1)
    np.testing.assert_allclose(answer, infer(http, "finbert-model", tokens(http, SENTENCE), "logits"), atol=1e-6)


def successes(client, name: str) -> int:
    return client.get_inference_statistics(name)["model_stats"][0]["inference_stats"]["success"]["count"]


@pytest.mark.capability("4.8")
def test_every_row_of_a_mixed_length_request_is_answered(http, classifier):
    answer = infer(http, "finbert", texts(*MIXED), "logits")
    singles = [classifier.logits(**tokens(http, text))[0] for text in MIXED]
    np.testing.assert_allclose(answer, singles, atol=1e-3)


@pytest.mark.capability("4.8")
def test_concurrent_texts_of_different_lengths_do_not_disturb_each_other(server, http):
    import tritonclient.http

    expected = {text: infer(http, "finbert", texts(text), "logits") for text in MIXED}

    def ask(text: str) -> np.ndarray:
        with tritonclient.http.InferenceServerClient(server.http) as client:
            return infer(client, "finbert", texts(text), "logits")

    with ThreadPoolExecutor(8) as pool:
        asked = [*MIXED] * 8
        for text, answer in zip(asked, pool.map(ask, asked), strict=True):
            np.testing.assert_allclose(answer, expected[text], atol=1e-5)


@pytest.mark.capability("4.9")
def test_parallel_clients_share_executions(server, http):
    before = http.get_inference_statistics("finbert-model")["model_stats"][0]

    async def client(number: int) -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(server.grpc) as connection:
            for _ in range(8):
                await connection.infer("finbert-model", tensors(tritonclient.grpc, batch(1)))

    async def clients() -> None:
        await asyncio.gather(*(client(number) for number in range(16)))

    asyncio.run(clients())
    after = http.get_inference_statistics("finbert-model")["model_stats"][0]
    rows = after["inference_count"] - before["inference_count"]
    executions = after["execution_count"] - before["execution_count"]
    assert rows == 128
    assert rows / executions > 1
