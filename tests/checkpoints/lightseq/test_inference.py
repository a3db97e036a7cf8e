"""What was read computes: files of others and of ours on the torch engine, 8-bit models nearly as their originals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf

from slipway.checkpoints.lightseq.export import ExportOptions, export
from slipway.checkpoints.lightseq.reader import read_lightseq
from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.kits import lightseq_files as other

SOURCES = [np.array(ids) for ids in ([3, 4, 5, 6], [7, 8], [9, 3, 3, 10, 2])]
TRAINED_VOCABULARY = 24


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep tiny products on one core: waiting for a second one takes longer than they do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def engine_of(path, model_type):
    checkpoint = read_lightseq(path, model_type).checkpoint
    return TorchEngine.open(checkpoint.spec, checkpoint.weights, threads=1)


def beams(path, model_type="Transformer"):
    """Return the hypotheses of each source, the way the file says."""
    conf = read_lightseq(path, model_type).conf
    decoding = Decoding(
        max_tokens=5,
        start_id=conf.start_id,
        end_id=conf.end_id,
        search=Search.LIGHTSEQ,
        beam_width=conf.beam_size,
        length_penalty=conf.length_penalty,
    )
    return collect(engine_of(path, model_type), [SequenceRequest(ids, decoding) for ids in SOURCES])


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    path = tmp_path_factory.mktemp("pb") / "transformer.pb"
    path.write_bytes(other.transformer(other.arrays()).SerializeToString())
    return path


@pytest.mark.capability("1.4")
def test_a_pb_of_an_independent_schema_generates(pb):
    for hypotheses in beams(pb):
        assert len(hypotheses) == 4
        scores = [each.score for each in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert all(np.isfinite(scores))
        assert all(0 <= token < other.TARGET for each in hypotheses for token in each.ids)


@pytest.mark.capability("1.5")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shaped", [True, False])
def test_an_hdf5_with_the_same_weights_gives_the_same_ids_and_scores(dtype, shaped, pb, tmp_path):
    path = tmp_path / "transformer.hdf5"
    other.write_hdf5(path, other.arrays(), dtype=dtype, shaped=shaped)
    for one, two in zip(beams(pb), beams(path), strict=True):
        assert [each.ids for each in one] == [each.ids for each in two]
        assert [each.score for each in one] == [each.score for each in two]


@pytest.fixture(scope="module")
def trained_bart(tmp_path_factory, one_thread):
    """A BART that has learnt to copy."""
    torch.manual_seed(0)
    config = hf.BartConfig(
        vocab_size=TRAINED_VOCABULARY,
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_position_embeddings=12,
        decoder_start_token_id=2,
        dropout=0.0,
    )
    model = hf.BartForConditionalGeneration(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        ids = torch.randint(3, TRAINED_VOCABULARY, (32, 8))
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    directory = tmp_path_factory.mktemp("bart") / "hf"
    model.eval().save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def trained_gpt2(tmp_path_factory, one_thread):
    """A GPT-2 that has learnt to count in threes."""
    torch.manual_seed(0)
    config = hf.GPT2Config(
        vocab_size=TRAINED_VOCABULARY, n_embd=64, n_layer=2, n_head=2, n_positions=16, bos_token_id=23, eos_token_id=23
    )
    model = hf.GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        ids = (torch.randint(0, 23, (32, 1)) + 3 * torch.arange(10)) % 23
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    directory = tmp_path_factory.mktemp("gpt2") / "hf"
    model.eval().save_pretrained(directory)
    return directory


def agreement(one, two):
    """Return the share of positions where two lists of hypotheses have the same token, of the first's length."""
    pairs = [(a[0].ids, b[0].ids) for a, b in zip(one, two, strict=True)]
    same = sum(x == y for a, b in pairs for x, y in zip(a, b, strict=False))
    return same / sum(len(a) for a, _ in pairs)


def exported(directory, path):
    """Return the float file and the 8-bit file of a model."""
    plain = export(ExportOptions(directory, output=path / "model.pb")).path
    return plain, export(ExportOptions(directory, output=path / "model_ptq.pb", ptq=True)).path


@pytest.mark.capability("1.10")
@pytest.mark.capability("1.11")
def test_an_8_bit_transformer_translates_nearly_as_its_original(trained_bart, tmp_path):
    plain, quantised = exported(trained_bart, tmp_path)
    generator = np.random.default_rng(5)
    sources = generator.integers(3, TRAINED_VOCABULARY, (40, 8))
    rows = [SequenceRequest(ids, Decoding(max_tokens=8, start_id=2, end_id=2)) for ids in sources]
    original = collect(engine_of(plain, "Transformer"), rows)
    assert np.mean([hypotheses[0].ids == tuple(ids) for hypotheses, ids in zip(original, sources, strict=True)]) > 0.8
    assert agreement(original, collect(engine_of(quantised, "QuantTransformer"), rows)) >= 0.95
    assert quantised.stat().st_size <= 0.3 * plain.stat().st_size


@pytest.mark.capability("1.10")
@pytest.mark.capability("1.11")
def test_an_8_bit_gpt_continues_nearly_as_its_original(trained_gpt2, tmp_path):
    plain, quantised = exported(trained_gpt2, tmp_path)
    rows = [SequenceRequest(np.array([start, start + 3]), Decoding(max_tokens=8, end_id=23)) for start in range(20)]
    original = collect(engine_of(plain, "Gpt"), rows)
    assert original[0][0].ids[:3] == (6, 9, 12)
    assert agreement(original, collect(engine_of(quantised, "QuantGpt"), rows)) >= 0.95
    assert quantised.stat().st_size <= 0.3 * plain.stat().st_size


@pytest.mark.capability("1.11")
def test_an_8_bit_bert_encodes_nearly_as_its_original(tmp_path):
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=200,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=16,
    )
    hf.BertModel(config).eval().save_pretrained(tmp_path / "hf")
    plain, quantised = exported(tmp_path / "hf", tmp_path)
    rows = [SequenceRequest(ids) for ids in SOURCES]
    pairs = zip(engine_of(plain, "Bert").encode(rows), engine_of(quantised, "QuantBert").encode(rows), strict=True)
    for one, two in pairs:
        assert np.corrcoef(one.hidden.reshape(-1), two.hidden.reshape(-1))[0, 1] > 0.99
    assert quantised.stat().st_size <= 0.3 * plain.stat().st_size
