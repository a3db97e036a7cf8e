"""The learning rate of each update: a product of factors by name, or tensor2tensor's older "noam" schedule.

The factors are those of tensor2tensor's `utils/learning_rate.py`. `step` is the number of the update, from 1, so that
the first update of a warm-up is not lost on a rate of zero. Numbers only: this module knows no optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import cos, floor, pi, sqrt
from typing import Final

from slipway.checkpoints.tensor2tensor.hparams import HParams, nearest_text
from slipway.errors import invalid, shown

Factor = Callable[[HParams, int, int], float]  # (hyper-parameters, step, steps of the whole training)

_LEGACY_SCALE: Final = 5000.0
_LEGACY_ADAM: Final = 0.002  # tensor2tensor corrects the rate of Adam, not that of the others


def _linear_warmup(hparams: HParams, step: int, train_steps: int) -> float:
    del train_steps
    return min(1.0, step / max(1, hparams.learning_rate_warmup_steps))


def _linear_decay(hparams: HParams, step: int, train_steps: int) -> float:
    """From 1 to 0 over the last `learning_rate_decay_steps`."""
    return min(1.0, max(0.0, (train_steps - step) / hparams.learning_rate_decay_steps))


def _cosine(hparams: HParams, step: int, train_steps: int) -> float:
    """1 during the warm-up, then the cosine counted from step 0."""
    del train_steps
    if step <= hparams.learning_rate_warmup_steps:
        return 1.0
    return 0.5 * (1.0 + cos(pi * step / hparams.learning_rate_decay_steps))


def _single_cycle(hparams: HParams, step: int, train_steps: int) -> float:
    """Half a cosine from the end of the warm-up to the end of the training."""
    warmup = hparams.learning_rate_warmup_steps
    if train_steps <= warmup:
        raise invalid(f"single_cycle_cos_decay needs more training steps ({train_steps}) than warm-up steps ({warmup})")
    return cos(max(0, step - warmup) * pi / (train_steps - warmup)) / 2.0 + 0.5


def _multi_cycle(hparams: HParams, step: int, train_steps: int) -> float:
    """Cosines of `2 learning_rate_decay_steps` from the end of the warm-up on."""
    del train_steps
    past = max(0, step - hparams.learning_rate_warmup_steps)
    return cos(past * pi / hparams.learning_rate_decay_steps) / 2.0 + 0.5


def _rsqrt(hparams: HParams, step: int, train_steps: int) -> float:
    del train_steps
    return 1.0 / sqrt(max(step, hparams.learning_rate_warmup_steps))


def _normalised_rsqrt(hparams: HParams, step: int, train_steps: int) -> float:
    return sqrt(max(1, hparams.learning_rate_warmup_steps)) * _rsqrt(hparams, step, train_steps)


def _exponential(hparams: HParams, step: int, train_steps: int) -> float:
    del train_steps
    power = max(0.0, (step - hparams.learning_rate_warmup_steps) / hparams.learning_rate_decay_steps)
    return float(hparams.learning_rate_decay_rate ** (floor(power) if hparams.learning_rate_decay_staircase else power))


def _legacy(hparams: HParams, step: int, train_steps: int) -> float:
    """Vaswani et al. 2017, eq. 3, as tensor2tensor scales it; `s + 1` of its formula is `step`."""
    del train_steps
    if hparams.learning_rate_decay_scheme != "noam":
        raise invalid(
            f"learning_rate_decay_scheme '{shown(hparams.learning_rate_decay_scheme)}' is not supported: expected "
            "'noam', or a learning_rate_schedule other than 'legacy'"
        )
    warmup = max(1, hparams.learning_rate_warmup_steps)
    rate = _LEGACY_SCALE * hparams.hidden_size**-0.5 * min(step * warmup**-1.5, step**-0.5)
    return float(rate * (_LEGACY_ADAM if "adam" in hparams.optimizer.lower() else 1.0) * hparams.learning_rate)


FACTORS: Final[Mapping[str, Factor]] = {
    "constant": lambda hparams, _step, _steps: hparams.learning_rate_constant,
    "linear_warmup": _linear_warmup,
    "linear_decay": _linear_decay,
    "cosdecay": _cosine,
    "single_cycle_cos_decay": _single_cycle,
    "multi_cycle_cos_decay": _multi_cycle,
    "rsqrt_decay": _rsqrt,
    "rsqrt_normalized_decay": _normalised_rsqrt,
    "exp_decay": _exponential,
    "rsqrt_hidden_size": lambda hparams, _step, _steps: float(hparams.hidden_size**-0.5),
    "legacy": _legacy,
}
_DECAYING: Final = frozenset(("linear_decay", "cosdecay", "multi_cycle_cos_decay", "exp_decay"))


def learning_rate(hparams: HParams, train_steps: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the update's number, from 1.

    Raise INVALID_ARG, with the nearest name, if `learning_rate_schedule` names an unknown factor.
    """
    names = [name for each in hparams.learning_rate_schedule.split("*") if (name := each.strip())]
    problems = [f"'{shown(name)}'{nearest_text(name, FACTORS)}" for name in names if name not in FACTORS]
    if problems or not names:
        raise invalid(
            f"learning_rate_schedule: unknown factor {'; '.join(problems) or repr('')}. The factors are "
            f"{', '.join(FACTORS)}, joined with '*'"
        )
    if hparams.learning_rate_decay_steps < 1 and not _DECAYING.isdisjoint(names):
        raise invalid(f"learning_rate_decay_steps is {hparams.learning_rate_decay_steps}, expected at least 1")
    factors = [FACTORS[name] for name in names]

    def rate(step: int) -> float:
        product = 1.0
        for factor in factors:
            product *= factor(hparams, step, train_steps)
        return product

    rate(1)  # a schedule that does not fit the training fails now
    return rate
