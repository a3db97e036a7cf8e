"""The learning rate: closed forms of every factor and of the older schedule."""

from __future__ import annotations

from math import cos, pi, sqrt

import pytest

from slipway.checkpoints.tensor2tensor.hparams import named_hparams, override
from slipway.errors import SlipwayError
from slipway.train.schedules import learning_rate

STEPS = (1, 4000, 8000, 100_000)


def rates(hparams, train_steps=250_000, steps=STEPS):
    rate = learning_rate(hparams, train_steps)
    return [rate(step) for step in steps]


def factor(name, text="", train_steps=250_000, steps=STEPS):
    hparams = override(named_hparams("transformer_base"), f"learning_rate_schedule={name},{text}".rstrip(","))
    return rates(hparams, train_steps, steps)


@pytest.mark.capability("2.8")
def test_base_schedule_has_its_closed_form():
    expected = [2 * 512**-0.5 * min(1, step / 8000) / sqrt(max(step, 8000)) for step in STEPS]
    assert rates(named_hparams("transformer_base")) == pytest.approx(expected, rel=1e-9)
    assert expected[1:] == pytest.approx([4.941e-4, 9.882e-4, 2.795e-4], rel=1e-4)


@pytest.mark.capability("2.8")
def test_single_gpu_schedule_has_its_closed_form():
    expected = [0.1 * min(1, step / 16000) / sqrt(max(step, 16000)) for step in STEPS]
    assert rates(named_hparams("transformer_base_single_gpu")) == pytest.approx(expected, rel=1e-9)


@pytest.mark.capability("2.8")
@pytest.mark.parametrize(("name", "rate", "warmup"), [("v1", 0.1, 4000), ("v2", 0.2, 8000)])
def test_legacy_schedules_have_their_closed_form(name, rate, warmup):
    expected = [5000 * 512**-0.5 * min(step * warmup**-1.5, step**-0.5) * 0.002 * rate for step in STEPS]
    assert rates(named_hparams(f"transformer_base_{name}")) == pytest.approx(expected, rel=1e-9)


@pytest.mark.capability("2.8")
def test_tpu_schedule_has_its_closed_form():
    expected = [1 / sqrt(max(step, 10000)) for step in STEPS]
    assert rates(named_hparams("transformer_tpu")) == pytest.approx(expected, rel=1e-9)


@pytest.mark.capability("2.8")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", lambda _step: 2.0),
        ("linear_warmup", lambda step: min(1, step / 8000)),
        ("linear_decay", lambda step: min(1, (250_000 - step) / 200_000)),
        ("cosdecay", lambda step: 1.0 if step <= 8000 else 0.5 * (1 + cos(pi * step / 200_000))),
        ("single_cycle_cos_decay", lambda step: 0.5 + cos(max(0, step - 8000) * pi / 242_000) / 2),
        ("multi_cycle_cos_decay", lambda step: 0.5 + cos(max(0, step - 8000) * pi / 200_000) / 2),
        ("rsqrt_decay", lambda step: max(step, 8000) ** -0.5),
        ("rsqrt_normalized_decay", lambda step: (8000 / max(step, 8000)) ** 0.5),
        ("exp_decay", lambda step: 0.5 ** max(0, (step - 8000) / 200_000)),
        ("rsqrt_hidden_size", lambda _step: 512**-0.5),
        ("constant * constant", lambda _step: 4.0),
    ],
)
def test_factor_has_its_closed_form(name, expected):
    text = "learning_rate_decay_steps=200000,learning_rate_decay_rate=0.5"
    assert factor(name, text) == pytest.approx([expected(step) for step in STEPS], rel=1e-9)


def test_staircase_decays_in_steps():
    text = "learning_rate_decay_steps=10,learning_rate_decay_rate=0.5,learning_rate_warmup_steps=0"
    assert factor("exp_decay", f"{text},learning_rate_decay_staircase=1", steps=(9, 10, 25)) == [1.0, 0.5, 0.25]


def test_decay_to_the_end_ends_at_zero():
    assert factor("linear_decay", train_steps=5000, steps=(5000, 6000)) == [0.0, 0.0]


def test_optimiser_other_than_adam_has_no_correction_in_the_legacy_schedule():
    hparams = named_hparams("transformer_base_v1")
    corrected, other = rates(hparams), rates(override(hparams, "optimizer=adafactor"))
    assert [a / b for a, b in zip(corrected, other, strict=True)] == pytest.approx([0.002] * 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate_schedule=constant*linear_warmpu", "'linear_warmpu': did you mean 'linear_warmup'"),
        ("learning_rate_schedule=*", "unknown factor"),
        ("learning_rate_schedule=exp_decay,learning_rate_decay_steps=0", "learning_rate_decay_steps is 0"),
        ("learning_rate_schedule=legacy,learning_rate_decay_scheme=exp", "'exp' is not supported"),
        ("learning_rate_schedule=single_cycle_cos_decay", r"needs more training steps \(100\) than warm-up steps"),
    ],
)
def test_schedule_that_cannot_be_computed_is_refused_before_training(text, message):
    with pytest.raises(SlipwayError, match=message):
        learning_rate(override(named_hparams("transformer_base"), text), 100)
