"""Models exported from transformers, served by the LightSeq backend, compared with transformers itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.kits.calls import infer
from tests.kits.lightseq_models import (
    add_model,
    counted,
    counting_bart,
    export_to,
    tiny_bart,
    tiny_bert,
    tiny_gpt2,
    tiny_t5,
    tiny_vit,
)
from tests.kits.servers import served

WIDE = {"d_model": 128, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "vocab_size": 2000}
SOURCE = np.random.default_rng(1).integers(3, 40, (1, 8)).astype(np.int32)
RAGGED = np.array([[4, 5, 6, 7, 8, 9], [10, 11, 12, 0, 0, 0], [13, 0, 0, 0, 0, 0]], np.int32)


def endless(model):
    """Return a BART that never generates the end token."""
    with torch.no_grad():
        model.final_logits_bias[0, 2] = -30
    return model


def quantised(model_type):
    """Return a model large enough that weights make up most of the file."""
    if model_type == "QuantTransformer":
        return tiny_bart(3, **WIDE)
    if model_type == "QuantBert":
        return tiny_bert(3, hidden_size=128, intermediate_size=512, vocab_size=2000)
    return tiny_gpt2(3, n_embd=128, vocab_size=2000, bos_token_id=1999, eos_token_id=1999)


QUANTISED = {"QuantTransformer": "hf-bart", "QuantBert": "hf-bert", "QuantGpt": "hf-gpt2"}


@pytest.fixture(scope="module")
def one_thread():
    """Use one thread: models of this size are slower with two, even more so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def models(one_thread):
    """The transformers models, by their names in the repository."""
    made = {
        "bart_endless": endless(tiny_bart(1)),
        "bart_counting": counting_bart(),
        "bert": tiny_bert(),
        "gpt2": tiny_gpt2(),
        "ppl": tiny_gpt2(),
    }
    made |= {"t5": tiny_t5(), "mt5": tiny_t5(gated=True), "vit": tiny_vit()}
    return made | {name: quantised(name) for name in QUANTISED}


@pytest.fixture(scope="module")
def repository(tmp_path_factory, models):
    repository = tmp_path_factory.mktemp("exports")
    for name in models:
        if name.startswith("bart"):
            export_to(add_model(repository, name, "Transformer"), models[name], "hf-bart")
    for name, source in QUANTISED.items():
        export_to(add_model(repository, name, name), models[name], source, ptq=True)
    export_to(add_model(repository, "bert", "Bert"), models["bert"], "hf-bert")
    export_to(add_model(repository, "bert_trained", "Bert", LAYER_NORM_EPSILON="0.1"), models["bert"], "hf-bert")
    export_to(add_model(repository, "gpt2", "Gpt"), models["gpt2"], "hf-gpt2")
    export_to(add_model(repository, "ppl", "Gpt"), models["ppl"], "hf-gpt2", generation_method="ppl")
    export_to(add_model(repository, "t5", "T5"), models["t5"], "hf-t5")
    export_to(add_model(repository, "mt5", "MT5"), models["mt5"], "hf-mt5")
    export_to(add_model(repository, "vit", "Vit"), models["vit"], "hf-vit")
    return repository


@pytest.fixture(scope="module")
def client(repository):
    with served(repository) as server, tritonclient.http.InferenceServerClient(server.http, concurrency=8) as client:
        yield client


def generated(model, source, **options):
    """Return transformers' ids without the start token."""
    with torch.no_grad():
        return model.generate(torch.from_numpy(source.astype(np.int64)), do_sample=False, **options)[:, 1:].tolist()


def filled(ids, width, end_id):
    return [row + [end_id] * (width - len(row)) for row in ids]


def translated(client, name, source):
    return infer(client, name, {"source_ids": source}, "target_ids")


@pytest.mark.capability("1.6")
def test_barts_best_beam_is_transformers_where_all_hypotheses_are_equally_long(client, models):
    """Then each rule divides all scores by one value: length in transformers, (5 + length) / 6 in LightSeq."""
    source = np.concatenate([SOURCE, SOURCE[:, ::-1]])
    expected = generated(
        models["bart_endless"], source, num_beams=4, length_penalty=1.0, max_length=50, forced_eos_token_id=2
    )
    assert translated(client, "bart_endless", source)[:, 0].tolist() == expected


@pytest.mark.capability("1.6")
def test_a_trained_barts_best_beam_is_transformers(client, models):
    """With an uncertain model the two rules may choose differently: transformers' prefers the longer hypothesis."""
    for start in (3, 11, 19, 27, 32):
        source = np.random.default_rng(start).integers(3, 40, (8, 5)).astype(np.int32)
        source[:, 0] = range(start, start + 8)
        ids = translated(client, "bart_counting", source)[:, 0].tolist()
        expected = generated(
            models["bart_counting"], source, num_beams=4, length_penalty=1.0, max_length=50, forced_eos_token_id=2
        )
        assert filled(ids, 49, 2) == filled([[2 if token == 1 else token for token in row] for row in expected], 49, 2)
        assert [row[: len(counted(first))] for row, first in zip(ids, source[:, 0], strict=True)] == [
            counted(first) for first in source[:, 0]
        ]


@pytest.mark.capability("1.7")
def test_berts_states_are_transformers_in_rows_with_padding_too(client, models):
    states = infer(client, "bert", {"token_ids": RAGGED}, "encoder_output")
    with torch.no_grad():
        mask = torch.from_numpy((RAGGED != 0).astype(np.int64))
        expected = models["bert"](torch.from_numpy(RAGGED.astype(np.int64)), attention_mask=mask).last_hidden_state
    assert (states.dtype, states.shape) == (np.float32, (3, 6, 16))
    np.testing.assert_allclose(states[RAGGED != 0], expected.numpy()[RAGGED != 0], atol=2e-3)
    assert not states[RAGGED == 0].any()


@pytest.mark.capability("1.7")
def test_another_epsilon_can_be_asked_for(client, models):
    plain, trained = (
        infer(client, name, {"token_ids": RAGGED[:1]}, "encoder_output") for name in ("bert", "bert_trained")
    )
    for module in models["bert"].modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps, kept = 0.1, module.eps
    with torch.no_grad():
        expected = models["bert"](torch.from_numpy(RAGGED[:1].astype(np.int64))).last_hidden_state.numpy()
    for module in models["bert"].modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = kept
    np.testing.assert_allclose(trained, expected, atol=2e-3)
    assert abs(plain - trained).max() > 0.01


@pytest.mark.capability("1.8")
def test_gpt2_with_topk_1_continues_as_greedy_search_does(client, models):
    prompts = np.array([[3, 4, 5, 6], [7, 8, 9, 10]], np.int32)
    ids = infer(client, "gpt2", {"token_ids": prompts}, "result")
    for prompt, row in zip(prompts, ids.tolist(), strict=True):
        expected = prompt[:1].tolist() + generated(models["gpt2"], prompt[None], max_length=50, pad_token_id=39)[0]
        assert row == filled([expected], ids.shape[1], 39)[0]
    assert ids.shape[1] <= 50


@pytest.mark.capability("1.8")
def test_gpt2_prompts_of_different_lengths_are_continued_behind_their_own_last_token(client):
    padded = np.array([[3, 4, 5, 6], [7, 8, 40, 40], [40, 40, 9, 10]], np.int32)
    ids = infer(client, "gpt2", {"token_ids": padded}, "result").tolist()
    for row, prompt in zip(ids, ([3, 4, 5, 6], [7, 8], [9, 10]), strict=True):
        alone = infer(client, "gpt2", {"token_ids": np.array([prompt], np.int32)}, "result").tolist()
        assert row == filled(alone, len(row), 39)[0]


@pytest.mark.capability("1.8")
def test_gpt2_perplexity_is_transformers_loss_of_each_row(client, models):
    rows = [[3, 4, 5, 6, 7], [8, 9, 10], [11, 12]]
    padded = np.full((3, 5), 40, np.int32)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    result = infer(client, "ppl", {"token_ids": padded}, "result")
    assert (result.dtype, result.shape) == (np.float32, (3,))
    with torch.no_grad():
        losses = [float(models["ppl"](torch.tensor([row]), labels=torch.tensor([row])).loss) for row in rows]
    np.testing.assert_allclose(result, losses, atol=1e-3)
    with pytest.raises(InferenceServerException, match="at least 2 tokens"):
        infer(client, "ppl", {"token_ids": np.array([[3]], np.int32)}, "result")
    assert client.get_model_metadata("ppl")["outputs"][0]["datatype"] == "FP32"


@pytest.mark.capability("1.9")
@pytest.mark.parametrize("name", ["t5", "mt5"])
def test_t5_and_mt5_answer_as_greedy_search_does(client, models, name):
    rows = np.array([[4, 5, 6, 7, 8, 9], [10, 11, 12, 0, 0, 0]], np.int32)
    ids = translated(client, name, rows)
    assert ids.shape[:2] == (2, 1)
    width = 55  # 6 ids + 50 - 1
    for row, source in zip(ids[:, 0].tolist(), rows, strict=True):
        real = source[source != 0][None]
        expected = generated(models[name], real, max_length=width)
        assert filled([row], width, 1) == filled(expected, width, 1)


@pytest.mark.capability("1.9")
def test_vits_states_are_transformers(client, models):
    pixels = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    states = infer(client, "vit", {"pixel_values": pixels}, "encoder_output")
    with torch.no_grad():
        expected = models["vit"](torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert (states.dtype, states.shape) == (np.float32, (2, 17, 16))
    np.testing.assert_allclose(states, expected, atol=2e-3)
    with pytest.raises(InferenceServerException, match=r"expected \[rows, 3, 16, 16\]"):
        infer(client, "vit", {"pixel_values": pixels[:, :, :8, :8]}, "encoder_output")


@pytest.mark.capability("1.11")
@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_file_has_less_than_a_third_of_the_bytes(repository, models, tmp_path, name):
    plain = export_to(tmp_path / "plain.hdf5", models[name], QUANTISED[name])
    assert (repository / name / "model.hdf5").stat().st_size <= 0.3 * plain.stat().st_size


@pytest.mark.capability("1.11")
def test_a_quantised_transformer_answers_nearly_as_the_model_it_was(client, models):
    source = np.random.default_rng(2).integers(3, 2000, (2, 8)).astype(np.int32)
    ids = translated(client, "QuantTransformer", source)
    assert ids.shape[:2] == (2, 4)
    expected = generated(models["QuantTransformer"], source, num_beams=4, max_length=50, forced_eos_token_id=2)
    width = ids.shape[2]
    first = [row[0] for row in expected]
    assert ids[:, 0, 0].tolist() == first
    assert width <= 49


@pytest.mark.capability("1.11")
def test_a_quantised_bert_has_nearly_the_states_of_the_model_it_was(client, models):
    rows = np.random.default_rng(2).integers(1, 2000, (2, 8)).astype(np.int32)
    states = infer(client, "QuantBert", {"token_ids": rows}, "encoder_output")
    with torch.no_grad():
        expected = models["QuantBert"](torch.from_numpy(rows.astype(np.int64))).last_hidden_state.numpy()
    cosine = (states * expected).sum(-1) / np.linalg.norm(states, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert cosine.min() > 0.97
    assert cosine.mean() > 0.99


@pytest.mark.capability("1.11")
def test_a_quantised_gpt_answers_nearly_as_the_model_it_was(client, models):
    prompt = np.array([[3, 4, 5, 6]], np.int32)
    ids = infer(client, "QuantGpt", {"token_ids": prompt}, "result")
    expected = prompt[0, :1].tolist() + generated(models["QuantGpt"], prompt, max_length=6, pad_token_id=0)[0]
    assert ids[0, :6].tolist() == expected
