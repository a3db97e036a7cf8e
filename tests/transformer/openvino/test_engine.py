"""The engine: rows run together and alone, refused rows, the stored weights, and how it is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.errors import Code, SlipwayError, unavailable
from slipway.transformer import engine_choice, engines
from slipway.transformer.engines import open_engine
from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.openvino import support
from slipway.transformer.openvino.engine import OpenVinoEngine
from slipway.transformer.openvino.stored_weights import DATA
from slipway.transformer.options import EngineOptions
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.spec import Positions
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.kits.decoder_models import VOCABULARY, save_decoder

PROMPTS = [np.random.default_rng(length).integers(3, VOCABULARY, length) for length in (40, 5, 1, 33)]
NEW = 20
GREEDY = [SequenceRequest(ids, Decoding(NEW, end_id=-1)) for ids in PROMPTS]
SAMPLED = [SequenceRequest(ids, Decoding(NEW, end_id=-1, top_k=9, top_p=0.9, seed=4)) for ids in PROMPTS]
BEAM = SequenceRequest(PROMPTS[1], Decoding(6, end_id=2, search=Search.HUGGING_FACE, beam_width=2))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llama")
    save_decoder("llama", directory)
    return read_huggingface(directory)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def engine(checkpoint, cache):
    opened = OpenVinoEngine.open(
        checkpoint.spec,
        checkpoint.weights,
        threads=1,
        cache_directory=cache,
        running=RunningOptions(cache_mib=1, step_tokens=16),
    )
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def reference(checkpoint):
    opened = TorchEngine.open(checkpoint.spec, checkpoint.weights, threads=1)
    yield opened
    opened.close()


def ids(results):
    return [row[0].ids for row in results]


@pytest.mark.parametrize("rows", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_rows_together_generate_what_torch_generates_for_each_alone(rows, engine, reference):
    together = collect(engine, rows)
    alone = [collect(reference, [row])[0] for row in rows]
    assert ids(together) == ids(alone)
    for found, right in zip(together, alone, strict=True):
        assert found[0].log_probability == pytest.approx(right[0].log_probability, abs=1e-3)
    assert engine.joins(rows[0])
    assert engine.stats().generated_tokens >= NEW * len(rows)


def test_a_beginning_that_was_computed_before_is_not_computed_again(engine):
    prompt = np.random.default_rng(9).integers(3, VOCABULARY, 70)
    rows = [SequenceRequest(np.append(prompt, last), Decoding(4, end_id=-1)) for last in (5, 6)]
    first = collect(engine, rows[:1])
    cached = engine.stats().cached_tokens
    assert ids(collect(engine, rows))[0] == ids(first)[0]
    assert engine.stats().cached_tokens >= cached + 2 * 64  # two whole pages of each


def test_texts_are_as_probable_as_to_torch(engine, reference):
    rows = [SequenceRequest(np.tile(PROMPTS[0], 8)), SequenceRequest(PROMPTS[1]), SequenceRequest(PROMPTS[2])]
    assert engine.score(rows) == pytest.approx(reference.score(rows), abs=1e-4)
    assert engine.score(rows)[2] == 0.0


def test_the_rows_that_it_cannot_run_are_refused_with_the_reason(engine):
    wide = SequenceRequest(np.array([VOCABULARY]), Decoding(1))
    long = SequenceRequest(PROMPTS[0], Decoding(100_000))
    hidden = SequenceRequest(PROMPTS[0], Decoding(1), prompt=np.zeros((1, 32), np.float32))
    for row, text, code in (
        (BEAM, "beam search", Code.UNSUPPORTED),
        (hidden, "input that is not only tokens", Code.UNSUPPORTED),
        (wide, f"token id {VOCABULARY} is not in the vocabulary", Code.INVALID_ARG),
        (SequenceRequest(np.empty(0, np.int64), Decoding(1)), "the row has no tokens", Code.INVALID_ARG),
        (long, "tokens of key-value memory", Code.INVALID_ARG),
    ):
        assert text in engine.refusal(row)
        with pytest.raises(SlipwayError, match=text) as caught:
            collect(engine, [GREEDY[0], row])
        assert caught.value.code is code
    with pytest.raises(SlipwayError, match="does not return hidden states"):
        engine.encode([GREEDY[0]])


def test_stored_weights_are_used_again_and_made_again_when_damaged(checkpoint, tmp_path):
    def generated():
        opened = OpenVinoEngine.open(
            checkpoint.spec, checkpoint.weights, compute_type="int8", threads=1, cache_directory=tmp_path
        )
        found = ids(collect(opened, GREEDY))
        opened.close()
        return found

    first = generated()
    [entry] = tmp_path.iterdir()
    written = (entry / DATA).stat().st_mtime_ns
    assert generated() == first
    assert (entry / DATA).stat().st_mtime_ns == written
    (entry / DATA).write_bytes(b"")
    assert generated() == first
    assert list(tmp_path.iterdir()) == [entry]


def test_a_closed_engine_refuses_rows(checkpoint, cache):
    opened = OpenVinoEngine.open(checkpoint.spec, checkpoint.weights, threads=1, cache_directory=cache)
    opened.close()
    with pytest.raises(SlipwayError, match="the engine is closed"):
        collect(opened, GREEDY[:1])


@pytest.fixture
def routed(checkpoint, cache):
    open_ones = []

    def open_with(**options):
        chosen = EngineOptions(cache_directory=cache, threads=1, running=RunningOptions(cache_mib=1), **options)
        open_ones.append(open_engine(checkpoint.spec, checkpoint.weights, chosen, name="tiny"))
        return open_ones[-1]

    yield open_with
    for each in open_ones:
        each.close()


def test_beams_go_to_torch_where_both_are_named(routed, reference):
    both = routed(engine="openvino+torch")
    assert ids(collect(both, [BEAM, GREEDY[0]])) == ids(collect(reference, [BEAM, GREEDY[0]]))
    assert both.description.startswith("openvino float32, 1 thread, cached at ")
    assert both.description.endswith("; torch float32, cpu for beam search")
    with pytest.raises(SlipwayError, match=r"engine 'openvino' cannot .* beam search; .*'openvino\+torch' or 'torch'"):
        collect(routed(engine="openvino"), [BEAM])


def test_int4_is_openvinos_and_the_rows_of_torch_run_in_int8(routed):
    auto = routed(compute_type="int4")
    assert auto.description.startswith("openvino int4")
    assert [len(row[0].ids) for row in collect(auto, [*GREEDY, BEAM])][:4] == [NEW] * 4
    assert auto.description.endswith("; torch int8, cpu for beam search")
    for engine in ("torch", "ctranslate2"):
        with pytest.raises(SlipwayError, match=f"engine '{engine}' does not compute in int4"):
            routed(engine=engine, compute_type="int4")
    with pytest.raises(SlipwayError, match="on the CPU, not on device 'cuda'"):
        EngineOptions(engine="openvino", device="cuda").check()


def test_int4_of_another_architecture_is_refused_with_the_reason(checkpoint, cache):
    capped = replace(checkpoint.spec, decoder=replace(checkpoint.spec.decoder, attention_softcap=5.0))
    with pytest.raises(SlipwayError, match=r"cannot be computed in int4: .* a soft cap of attention scores"):
        open_engine(capped, checkpoint.weights, EngineOptions(compute_type="int4"), name="tiny")
    with pytest.raises(SlipwayError, match="a soft cap of attention scores; use engine 'torch'") as caught:
        open_engine(capped, checkpoint.weights, EngineOptions(engine="openvino", cache_directory=cache), name="tiny")
    assert caught.value.code is Code.INVALID_ARG


def test_heads_of_an_odd_size_are_refused_however_many_there_are(checkpoint):
    for count in (1, 2):
        odd = replace(
            checkpoint.spec.output_stack, head_size=5, key_value_heads=count, rotary=None, positions=Positions.ALIBI
        )
        assert support.why_not(replace(checkpoint.spec, decoder=odd)) == "heads of an odd size"


def test_the_candidates_of_a_decoder_below_float32_include_openvino(checkpoint, monkeypatch):
    monkeypatch.setattr(engine_choice, "has_bfloat16", lambda: True)

    def names(compute_type, **options):
        return engine_choice.candidates(checkpoint.spec, EngineOptions(compute_type=compute_type, **options))[0]

    assert names("float32") == ["torch"]
    assert names("int8") == ["torch", "openvino"]
    assert names("bfloat16") == ["torch", "openvino"]
    assert names("int8", device="cuda") == ["torch"]
    assert names("int4") == ["openvino"]
    monkeypatch.setattr(engine_choice, "has_bfloat16", lambda: False)
    assert names("bfloat16") == ["torch"]


@pytest.mark.parametrize(
    ("found", "old"), [("2026.3.1", True), ("2025.10", True), ("2026.4.0", False), ("2027.0", False)]
)
def test_an_older_library_is_refused_with_both_versions(found, old, checkpoint, monkeypatch):
    monkeypatch.setattr(support, "version", lambda _: found)
    expected = f"OpenVINO 2026.4 or later is needed, {found} is installed" if old else ""
    assert support.too_old() == expected
    assert engine_choice.why_not_openvino(checkpoint.spec, EngineOptions(compute_type="int8")) == expected
    if old:
        with pytest.raises(SlipwayError, match="or later is needed") as caught:
            OpenVinoEngine.open(checkpoint.spec, checkpoint.weights)
        assert caught.value.code is Code.UNAVAILABLE


def test_the_fastest_of_a_model_of_some_size_is_measured(routed, monkeypatch):
    monkeypatch.setattr(engines, "SMALL", 0)
    auto = routed(compute_type="int8")
    assert auto.description.startswith("openvino int8") or auto.description.endswith(
        "(OpenVINO is not faster on this machine, as measured)"
    )
    assert len(collect(auto, GREEDY)) == 4


def test_where_openvino_cannot_be_tried_the_engine_is_torch(routed, monkeypatch):
    def refuse(*_, **__):
        raise unavailable("no room")

    monkeypatch.setattr(engines, "SMALL", 0)
    monkeypatch.setattr(OpenVinoEngine, "open", refuse)
    auto = routed(compute_type="int8", workers=3)  # not measured before
    assert auto.description == "torch int8, cpu (OpenVINO could not be tried: no room)"


def test_where_the_remembered_engine_cannot_be_opened_any_more_it_is_torch(routed, monkeypatch):
    def refuse(*_, **__):
        raise unavailable("no room")

    monkeypatch.setattr(engines, "SMALL", 0)
    monkeypatch.setattr(engine_choice, "remembered", lambda *_: "openvino")
    monkeypatch.setattr(OpenVinoEngine, "open", refuse)
    auto = routed(compute_type="int8")
    assert auto.description == "torch int8, cpu (OpenVINO, the fastest, could not be opened: no room)"
