"""The choice of engine, per model and per row."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from slipway.errors import Code, SlipwayError, unavailable
from slipway.transformer import engine_choice, engines, options
from slipway.transformer.engines import open_engine
from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.options import EngineOptions
from slipway.transformer.spec import Experts, Gate, Stack, Transformer
from slipway.transformer.trial import FILE
from slipway.transformer.weights import Array, Weights, expected_shapes

STACK = Stack(layers=2, hidden=16, heads=2, head_size=8, inner=24, vocabulary=40, position_rows=20, attention_scale=0.4)
SPEC = Transformer(encoder=STACK, decoder=STACK)
EXPERTS = replace(SPEC, decoder=replace(STACK, experts=Experts(2, 1, Gate.SOFT, (1,))))
INT8 = {"compute_type": "int8"}
IDS = np.array([5, 9, 3])
GREEDY = SequenceRequest(IDS, Decoding(6, end_id=-1))
SAMPLED = SequenceRequest(IDS, Decoding(6, end_id=-1, top_k=5, seed=3))
BEAM = SequenceRequest(IDS, Decoding(6, end_id=1, beam_width=2, search=Search.HUGGING_FACE))


def random_weights(spec):
    generator = np.random.default_rng(1)
    arrays = {}
    for name, shape in expected_shapes(spec).items():
        array = (generator.standard_normal(shape) * shape[-1] ** -0.5 + ("scale" in name)).astype(np.float32)
        arrays[name] = Array(shape, lambda array=array: array)
    return Weights(arrays)


@pytest.fixture
def opened(tmp_path):
    """Open an engine of the specification; closed after the test."""
    open_ones = []

    def open_with(spec=SPEC, *, typical=None, **options):
        chosen = EngineOptions(cache_directory=tmp_path, **options)
        engine = open_engine(spec, random_weights(spec), chosen, name="tiny", typical=typical)
        open_ones.append(engine)
        return engine

    yield open_with
    for engine in open_ones:
        engine.close()


def ids(results):
    return [[hypothesis.ids for hypothesis in row] for row in results]


def test_in_float32_an_automatic_engine_is_torch_and_says_why(opened):
    auto = opened()
    why = "faster than CTranslate2 in float32, with the weights in memory once"
    assert auto.description == f"torch float32, cpu ({why})"
    assert ids(collect(auto, [SAMPLED, GREEDY, BEAM])) == ids(collect(opened(engine="torch"), [SAMPLED, GREEDY, BEAM]))


def test_in_int8_each_row_goes_to_the_engine_that_runs_it_exactly(opened, caplog):
    caplog.set_level(logging.INFO, "slipway.transformer")
    auto, exact, torch = opened(**INT8), opened(engine="ctranslate2", **INT8), opened(engine="torch", **INT8)
    assert auto.description.startswith("ctranslate2 int8, 1 thread, cached at ")
    assert "torch" not in auto.description
    rows = [SAMPLED, GREEDY, BEAM, GREEDY, SAMPLED]
    assert [auto.refusal(row) for row in rows] == [""] * 5
    sampled, beam = ids(collect(torch, [SAMPLED, BEAM]))
    [greedy] = ids(collect(exact, [GREEDY]))
    assert ids(collect(auto, rows)) == [sampled, greedy, beam, greedy, sampled]
    assert auto.description.endswith(
        "; torch int8, cpu for sampling with a seed for each row, beam search without early stopping"
    )
    said = [record.getMessage() for record in caplog.records if "for what CTranslate2 does" in record.getMessage()]
    assert said == [
        "model 'tiny' uses torch int8, cpu for what CTranslate2 does not support: sampling with a seed for each row",
        "model 'tiny' uses torch int8, cpu for what CTranslate2 does not support: beam search without early stopping",
    ]


def test_both_engines_may_be_named(opened):
    both, torch = opened(engine="ctranslate2+torch"), opened(engine="torch")
    assert both.description.startswith("ctranslate2 float32, 1 thread")
    rows = [SAMPLED, GREEDY, BEAM]
    assert ids(collect(both, rows)) == ids(collect(torch, rows))
    assert "; torch float32, cpu for sampling" in both.description


def test_a_model_whose_every_row_ctranslate2_would_refuse_is_torchs_alone(opened):
    auto = opened(**INT8, typical=SAMPLED)
    assert auto.description == "torch int8, cpu (CTranslate2 does not support: sampling with a seed for each row)"


class Timed:
    """A slow engine that records whether it is closed."""

    closed = False

    def __init__(self, clock, seconds):
        self._clock, self._seconds = clock, seconds

    def joins(self, row) -> bool:  # noqa: ARG002
        return False

    def generate(self, rows, listener):
        self._clock[0] += self._seconds
        for row in range(len(rows)):
            listener.done(row, [])

    def encode(self, rows):  # noqa: ARG002
        self._clock[0] += self._seconds

    def close(self):
        self.closed = True


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, decoder=None), replace(SPEC, encoder=None)])
@pytest.mark.parametrize(
    ("seconds", "fast"), [((1.0, 0.5), "torch"), ((0.95, 1.0), "torch"), ((0.5, 1.0), "ctranslate2")]
)
def test_the_faster_engine_is_opened_and_remembered(monkeypatch, tmp_path, spec, seconds, fast):
    clock, made = [0.0], []
    monkeypatch.setattr(engine_choice, "fastest", partial(engine_choice.fastest, clock=lambda: clock[0]))

    def opener(name, cost):
        def open_one():
            made.append((name, Timed(clock, cost)))
            return made[-1][1]

        return open_one

    options = EngineOptions(compute_type="int8", cache_directory=tmp_path)
    openers = {"torch": opener("torch", seconds[1]), "ctranslate2": opener("ctranslate2", seconds[0])}
    reason, choice, engine = engine_choice.fastest_engine(spec, options, openers)
    assert choice == fast
    assert bool(reason) is (fast == "torch")
    assert not engine.closed
    assert all(other.closed for _, other in made if other is not engine)
    assert made[-1] == (fast, engine)
    made.clear()
    assert engine_choice.fastest_engine(spec, options, openers)[0] == reason
    assert [name for name, _ in made] == [fast]  # the other is not opened again
    engine_choice.fastest_engine(spec, replace(options, threads=2), openers)
    assert len(made) > 1  # another question


def test_what_is_measured_for_a_model_of_some_size_is_said(opened, monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "SMALL", 0)
    auto = opened(**INT8)
    remembered = json.loads((tmp_path / FILE).read_text())
    assert list(remembered.values()) in (["torch"], ["ctranslate2"])
    measured = auto.description == "torch int8, cpu (CTranslate2 is not faster on this machine, as measured)"
    assert measured is (list(remembered.values()) == ["torch"])
    assert len(collect(auto, [GREEDY, SAMPLED])) == 2


def test_greedy_rows_alone_never_open_torch(opened):
    auto = opened(**INT8)
    assert len(collect(auto, [GREEDY, GREEDY])) == 2
    assert auto._general is None
    bad = SequenceRequest(np.array([99]), GREEDY.decoding)
    assert "vocabulary" in auto.refusal(bad)
    with pytest.raises(SlipwayError, match="vocabulary") as caught:
        collect(auto, [GREEDY, bad])
    assert caught.value.code is Code.INVALID_ARG
    assert auto._general is None


def test_a_closed_engine_opens_no_other(opened):
    auto = opened(**INT8)
    auto.close()
    with pytest.raises(SlipwayError, match="closed") as caught:
        auto.refusal(SAMPLED)
    assert caught.value.code is Code.UNAVAILABLE


def test_torch_is_opened_once_whoever_asks(opened):
    auto, results = opened(**INT8), []
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        results.append((ids(collect(auto, [SAMPLED])), auto._general))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(result[0] == results[0][0] and result[1] is results[0][1] for result in results)


def test_hidden_states_and_scores_come_from_the_engine_that_has_them(opened):
    encoder = replace(SPEC, decoder=None)
    auto = opened(encoder, engine="ctranslate2+torch")
    [plain] = auto.encode([SequenceRequest(IDS)])
    assert auto._general is None
    [seen] = auto.encode([SequenceRequest(IDS)], attentions=True)
    assert seen.attentions.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(plain.hidden, seen.hidden, atol=1e-5)
    [state] = opened(**INT8).encode([SequenceRequest(IDS)])
    assert state.hidden.shape == (3, 16)
    decoder = replace(SPEC, encoder=None)
    rows = [SequenceRequest(IDS), SequenceRequest(IDS[:2])]
    assert opened(decoder, engine="ctranslate2").score(rows) == pytest.approx(
        opened(decoder, engine="torch").score(rows), abs=1e-5
    )


def test_an_architecture_that_ctranslate2_cannot_express_is_torchs(opened):
    auto = opened(EXPERTS, **INT8)
    assert auto.description == "torch int8, cpu (CTranslate2 does not support: a mixture of experts)"
    assert auto.refusal(GREEDY) == ""
    assert len(collect(auto, [GREEDY, SAMPLED])) == 2
    with pytest.raises(SlipwayError, match=r"model 'tiny': .*a mixture of experts; use engine 'torch'") as caught:
        opened(EXPERTS, engine="ctranslate2")
    assert caught.value.code is Code.INVALID_ARG


def test_a_compute_type_of_torch_alone_is_torchs(opened):
    auto = opened(compute_type="bfloat16")
    assert (
        auto.description == "torch bfloat16, cpu (CTranslate2 computes on a CPU in float32 and int8, not in bfloat16)"
    )
    assert len(collect(auto, [GREEDY])[0][0].ids) == 6


def test_a_named_engine_refuses_what_it_cannot_do_with_the_remedy(opened):
    named = opened(engine="ctranslate2")
    assert named.refusal(GREEDY) == ""
    assert "sampling" in named.refusal(SAMPLED)
    with pytest.raises(SlipwayError, match=r"model 'tiny': .*sampling.*'ctranslate2\+torch' or 'torch'") as caught:
        collect(named, [GREEDY, SAMPLED])
    assert caught.value.code is Code.UNSUPPORTED
    assert len(collect(named, [GREEDY])) == 1


def test_options_that_do_not_exist_are_named_all_at_once():
    with pytest.raises(SlipwayError) as caught:
        EngineOptions("jax", "int3", "tpu", threads=-1, workers=0).check()
    assert caught.value.code is Code.INVALID_ARG
    for text in (
        "'jax'",
        "auto, ctranslate2, ctranslate2+torch, torch",
        "'int3'",
        "float16, int8",
        "'tpu'",
        "threads is -1",
        "workers is 0",
    ):
        assert text in caught.value.message


@pytest.mark.parametrize(
    ("missing", "engine", "text"),
    [
        ({"ctranslate2"}, "ctranslate2", "not installed"),
        ({"torch"}, "torch", "torch is not installed"),
        ({"ctranslate2", "torch"}, "auto", "neither CTranslate2 nor torch is installed"),
    ],
)
def test_missing_libraries_are_named_with_the_command(opened, monkeypatch, missing, engine, text):
    monkeypatch.setattr(options, "find_spec", lambda name: None if name in missing else SimpleNamespace(origin="here"))
    with pytest.raises(SlipwayError, match=text) as caught:
        opened(engine=engine)
    assert caught.value.code is Code.UNAVAILABLE
    assert 'pip install "slipway-serving[generate]"' in caught.value.message


def test_without_ctranslate2_torch_does_everything_and_says_so(opened, monkeypatch):
    monkeypatch.setattr(
        options, "find_spec", lambda name: None if name == "ctranslate2" else SimpleNamespace(origin="here")
    )
    auto = opened(**INT8)
    assert auto.description.startswith("torch int8, cpu (CTranslate2 is not installed: pip install ")
    assert len(collect(auto, [GREEDY])) == 1


def test_without_torch_ctranslate2_does_what_it_can(opened, monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: None if name == "torch" else SimpleNamespace(origin="here"))
    auto = opened()
    assert auto.description.startswith("ctranslate2 float32, 1 thread")
    assert len(collect(auto, [GREEDY])) == 1
    with pytest.raises(SlipwayError, match="torch is not installed"):
        collect(auto, [SAMPLED])


def test_a_folder_of_the_librarys_name_is_not_the_library(monkeypatch, tmp_path):
    (tmp_path / "lib_that_is_not_there").mkdir()  # like converted weights next to a checkpoint
    monkeypatch.syspath_prepend(tmp_path)
    assert not options.installed("lib_that_is_not_there")
    assert options.installed("numpy")


@pytest.mark.parametrize("failing", ["ctranslate2", "torch"])
def test_an_engine_that_cannot_be_tried_leaves_torch_and_nothing_is_remembered(tmp_path, failing):
    def refuse():
        raise unavailable("no room")

    def torch():
        return Timed([0.0], 0.0)

    options = EngineOptions(compute_type="int8", cache_directory=tmp_path)
    if failing == "torch":
        with pytest.raises(SlipwayError, match="no room"):
            engine_choice.fastest_engine(SPEC, options, {"torch": refuse, "ctranslate2": torch})
    else:
        openers = {"torch": torch, "ctranslate2": refuse}
        reason, _, engine = engine_choice.fastest_engine(SPEC, options, openers)
        assert reason == "CTranslate2 could not be tried: no room"
        assert not engine.closed
    assert not list(tmp_path.iterdir())
