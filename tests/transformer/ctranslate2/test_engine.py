"""Rows of different lengths and settings in one call, and refused rows."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest

from slipway.errors import Code, SlipwayError
from slipway.transformer.ctranslate2.engine import CTranslate2Engine
from slipway.transformer.generation import CollectingListener, Decoding, Search, SequenceRequest, collect

PROMPTS = ([5, 9, 30, 4], [7, 8], [11, 12, 40, 41, 42, 43, 3], [6])
FREE = "t5 gated untied"  # its answers vary


def rows(*decodings):
    return [SequenceRequest(np.array(PROMPTS[index % 4]), decoding) for index, decoding in enumerate(decodings)]


@dataclass
class Heard(CollectingListener):
    """Everything a listener hears, in order; stops a row at a number of tokens."""

    events: list[tuple] = field(default_factory=list)
    stop_at: dict[int, int] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def token(self, row, token, log_probability, figure):  # noqa: ARG002
        self.events.append(("token", row, token))
        self.counts[row] = self.counts.get(row, 0) + 1
        return self.counts[row] == self.stop_at.get(row)

    def done(self, row, hypotheses):
        self.events.append(("done", row))
        CollectingListener.done(self, row, hypotheses)


@pytest.mark.parametrize("name", [FREE, "gpt2"])
def test_rows_together_are_what_they_are_alone(opened, name):
    _, engine = opened(name)
    mixed = rows(
        Decoding(12, end_id=1),
        Decoding(3, end_id=1),
        Decoding(9, end_id=7, start_id=4),
        Decoding(8, end_id=1, min_tokens=8),
        Decoding(5, end_id=1, min_tokens=9),
        Decoding(10, end_id=7, min_tokens=4, top_k=1, top_p=0.9),
        Decoding(10, end_id=1, bad_words=((21,), (22,), (0,), (999,))),
        Decoding(6, end_id=-1),
        Decoding(0, end_id=1),
        Decoding(6, end_id=7, search=Search.HUGGING_FACE, beam_width=3, early_stopping=True),
        Decoding(6, end_id=7, search=Search.HUGGING_FACE, beam_width=1, early_stopping=True, length_penalty=2.0),
    )
    together = collect(engine, mixed)
    for row, hypotheses in zip(mixed, together, strict=True):
        [alone] = collect(engine, [row])
        assert [hypothesis.ids for hypothesis in hypotheses] == [hypothesis.ids for hypothesis in alone]
        totals = [hypothesis.log_probability for hypothesis in alone]
        assert [hypothesis.log_probability for hypothesis in hypotheses] == pytest.approx(totals, abs=1e-4)
    lengths = [len(hypotheses[0].ids) for hypotheses in together]
    assert lengths[1] <= 3
    assert lengths[3:5] == [8, 5]
    assert lengths[7:9] == [6, 0]


def test_a_short_row_is_answered_while_a_long_one_goes_on(opened):
    _, engine = opened("bart")
    heard = Heard()
    engine.generate(rows(Decoding(2, end_id=-1), Decoding(10, end_id=-1)), heard)
    assert heard.events.index(("done", 0)) < 6
    assert heard.events[-1] == ("done", 1)
    assert [event[2] for event in heard.events if event[:2] == ("token", 1)] == list(heard.results[1][0].ids)


def test_a_listener_stops_its_row_and_no_other(opened):
    _, engine = opened("bart")
    heard = Heard(stop_at={0: 3})
    engine.generate(rows(Decoding(10, end_id=-1), Decoding(10, end_id=-1)), heard)
    assert [len(heard.results[row][0].ids) for row in (0, 1)] == [3, 10]


def test_a_listener_that_fails_fails_the_call_and_not_the_engine(opened):
    _, engine = opened("bart")

    class Failing(CollectingListener):
        def token(self, row, token, log_probability, figure):  # noqa: ARG002
            raise KeyError(token)

    with pytest.raises(KeyError):
        engine.generate(rows(Decoding(4)), Failing())
    assert len(collect(engine, rows(Decoding(4, end_id=-1)))[0][0].ids) == 4


def test_the_end_token_is_banned_before_the_minimum(opened):
    _, engine = opened(FREE)
    for seed in range(8):
        row = SequenceRequest(np.random.default_rng(seed).integers(2, 60, 5), Decoding(12, end_id=-1))
        ids = collect(engine, [row])[0][0].ids
        end = ids[2]
        free = collect(engine, [replace(row, decoding=Decoding(12, end_id=end))])[0][0]
        late = collect(engine, [replace(row, decoding=Decoding(12, end_id=end, min_tokens=6))])[0][0]
        assert free.ids == ids[: ids.index(end) + 1]
        assert end not in late.ids[:6]
        assert len(late.ids) > 6


def test_a_stop_word_ends_a_row(opened):
    _, engine = opened("gpt2")
    row = SequenceRequest(np.array([3, 4, 5]), Decoding(12, end_id=-1))
    ids = collect(engine, [row])[0][0].ids
    place = next(index for index in range(1, 12) if ids[index - 1 : index + 1] not in pairwise(ids[:index]))
    stopped = replace(row, decoding=Decoding(12, end_id=-1, stop_words=(ids[place - 1 : place + 1], (99, 98, 97))))
    assert collect(engine, [stopped])[0][0].ids == ids[: place + 1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"top_k": 4}, "sampling"),
        ({"top_p": 0.9}, "sampling"),
        ({"temperature": 0.5}, "temperature"),
        ({"repetition_penalty": 1.2}, "penalty"),
        ({"presence_penalty": 0.2}, "penalty"),
        ({"bad_words": ((3, 4),)}, "bad words"),
        ({"search": Search.LIGHTSEQ, "beam_width": 4}, "lightseq"),
        ({"search": Search.TENSOR2TENSOR, "beam_width": 4}, "tensor2tensor"),
        ({"search": Search.BRANCHES, "beam_width": 4}, "branches"),
        ({"search": Search.HUGGING_FACE, "beam_width": 4}, "early stopping"),
        ({"search": Search.HUGGING_FACE, "early_stopping": True, "diversity": 0.5}, "diverse"),
        ({"search": Search.HUGGING_FACE, "early_stopping": True, "log_probabilities": True}, "log-probabilities"),
        ({"search": Search.HUGGING_FACE, "early_stopping": True, "stop_words": ((3,),)}, "stop words"),
    ],
)
def test_decoding_that_would_not_be_exact_is_refused_with_its_reason(opened, changes, reason):
    _, engine = opened("bart")
    row = SequenceRequest(np.array([5, 6]), Decoding(4, **changes))
    assert reason in engine.refusal(row)
    with pytest.raises(SlipwayError, match=reason) as caught:
        collect(engine, [row])
    assert caught.value.code is Code.UNSUPPORTED
    assert engine.refusal(SequenceRequest(np.array([5, 6]), Decoding(4))) == ""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (SequenceRequest(np.array([], dtype=np.int64)), "no tokens"),
        (SequenceRequest(np.array([3]), pixels=np.zeros((3, 4, 4), np.float32)), "not tokens"),
        (SequenceRequest(np.array([3]), adapter_task=0), "adapter"),
        (SequenceRequest(np.array([3]), prompt_task=0), "prompt"),
    ],
)
def test_input_that_the_library_does_not_take_is_refused(opened, row, reason):
    _, engine = opened("bart")
    assert reason in engine.refusal(row)


def test_rows_that_no_engine_can_run_are_named_and_nothing_runs(opened):
    _, engine = opened("bart")
    bad = [
        SequenceRequest(np.array([3, 61]), Decoding(3)),
        SequenceRequest(np.arange(65) % 50, Decoding(3)),
        SequenceRequest(np.array([-1]), Decoding(3)),
        SequenceRequest(np.array([3]), Decoding(65)),
        SequenceRequest(np.array([3]), Decoding(3, start_id=99)),
        SequenceRequest(np.array([4]), Decoding(3)),
    ]
    with pytest.raises(SlipwayError) as caught:
        collect(engine, bad)
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == (
        "row 0: token id 61 is not in the vocabulary of 61; row 1: 65 tokens are more than the model's 64 positions; "
        "row 2: token id -1 is not in the vocabulary of 61; row 3: 65 tokens to generate are more than the decoder's "
        "64 positions; row 4: start id 99 is not in the vocabulary of 61"
    )
    gpt2 = opened("gpt2")[1]
    assert gpt2.refusal(SequenceRequest(np.array([3, 4]), Decoding(63))) == ""
    assert "65 tokens" in gpt2.refusal(SequenceRequest(np.array([3, 4]), Decoding(64)))


def test_encoding_and_scoring_say_what_they_are_for(opened):
    _, bart = opened("bart")
    _, bert = opened("bert")
    row = SequenceRequest(np.array([3, 4]), Decoding(2))
    for call in (lambda: bart.encode([row]), lambda: bert.encode([row], attentions=True), lambda: bart.score([row])):
        with pytest.raises(SlipwayError) as caught:
            call()
        assert caught.value.code is Code.UNSUPPORTED
    with pytest.raises(SlipwayError, match="cannot generate"):
        collect(bert, [row])
    assert opened("gpt2")[1].score([SequenceRequest(np.array([3]))]) == [0.0]
    assert bert.encode([]) == []


def test_several_threads_get_what_one_gets(opened, tmp_path):
    tiny, single = opened(FREE)
    engine = CTranslate2Engine.open(tiny.checkpoint.spec, tiny.checkpoint.weights, workers=2, cache_directory=tmp_path)
    decodings = [Decoding(10, end_id=1), Decoding(6, end_id=1)]
    expected = [[hypothesis.ids for hypothesis in row] for row in collect(single, rows(*decodings))]
    results = {}

    def work(index):
        results[index] = [[hypothesis.ids for hypothesis in row] for row in collect(engine, rows(*decodings))]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(results.values()) == [expected] * 6
    engine.close()


def test_a_device_or_compute_type_that_is_not_there_is_named(opened, tmp_path):
    tiny, _ = opened("bart")

    def load(**options):
        CTranslate2Engine.open(tiny.checkpoint.spec, tiny.checkpoint.weights, cache_directory=tmp_path, **options)

    with pytest.raises(SlipwayError, match="float32, int8, not in bfloat16"):
        load(compute_type="bfloat16")
    with pytest.raises(SlipwayError, match="device 'cuda:99' does not exist"):
        load(device="cuda:99")
    assert not list(tmp_path.iterdir())


def test_a_process_that_does_not_close_its_engine_ends_well(opened):
    entry = opened(FREE)[1].description.partition("cached at ")[2]
    program = f"""
from pathlib import Path
from slipway.transformer.ctranslate2.loaded_model import CTranslate2Model
from slipway.transformer.spec import Positions, Stack, Transformer
stack = Stack(2, 32, 4, 8, 48, 61, positions=Positions.RELATIVE, relative_buckets=8)
options = dict(device="cpu", compute_type="float32", threads=1, workers=1)
library = CTranslate2Model.load(Transformer(stack, stack), Path({entry!r}), **options)
library.trial([3, 4], 2)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_closed_engine_says_so(opened, tmp_path):
    tiny, _ = opened("gpt2")
    engine = CTranslate2Engine.open(tiny.checkpoint.spec, tiny.checkpoint.weights, cache_directory=tmp_path)
    engine.close()
    with pytest.raises(SlipwayError, match="closed"):
        collect(engine, [SequenceRequest(np.array([3]), Decoding(2))])


@pytest.mark.parametrize(("answers", "searched"), [([False] * 4, 0), ([True, False, True], 1)])
def test_beams_that_no_client_waits_for_are_not_searched_or_not_answered(opened, monkeypatch, answers, searched):
    _, engine = opened(FREE)
    beams = Decoding(6, end_id=7, search=Search.HUGGING_FACE, beam_width=2, early_stopping=True)
    calls, told = [], iter(answers)

    class Leaving(CollectingListener):
        def wanted(self, row):  # noqa: ARG002
            return next(told)

    whole = engine._model.beam
    monkeypatch.setattr(engine._model, "beam", lambda *given: calls.append(given) or whole(*given))
    listener = Leaving()
    engine.generate(rows(beams, beams), listener)
    assert len(calls) == searched
    assert [bool(listener.results[row]) for row in (0, 1)] == ([False, True] if searched else [False, False])
