"""Adam and Adafactor: the updates of torch's own, where both compute the same, and closed forms elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from slipway.checkpoints.tensor2tensor.hparams import named_hparams, override
from slipway.train.adafactor import Adafactor, AdafactorSettings
from slipway.train.optimisers import accumulated_batches, make_optimiser, set_learning_rate

RATE = 0.01  # torch's Adafactor takes the lesser of this and 1 / sqrt(step)


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [Parameter(torch.randn(shape, generator=generator)) for shape in ((6, 4), (5,))]


def gradients(steps):
    generator = torch.Generator().manual_seed(9)
    return [[torch.randn(shape, generator=generator) for shape in ((6, 4), (5,))] for _ in range(steps)]


def after(optimiser, values, steps=5):
    set_learning_rate(optimiser, RATE)
    for each in gradients(steps):
        for value, gradient in zip(values, each, strict=True):
            value.grad = gradient.clone()
        optimiser.step()
    return [value.detach() for value in values]


def ours_of(text, values):
    return make_optimiser(hparams_of(text), dict(zip(("kernel", "bias"), values, strict=True)))


def hparams_of(text):
    return override(named_hparams("transformer_tiny"), text)


def test_adafactor_equals_that_of_torch():
    ours, theirs = parameters(), parameters()
    expected = torch.optim.Adafactor(theirs, lr=RATE, eps=(1e-30, 1e-3))
    torch.testing.assert_close(after(ours_of("optimizer=Adafactor", ours), ours), after(expected, theirs))


def test_adafactor_with_momentum_adds_the_mean_of_updates():
    ours, plain = parameters(), parameters()
    start = parameters()
    with_momentum = after(Adafactor(ours, AdafactorSettings(beta1=0.5)), ours, steps=1)
    without = after(Adafactor(plain), plain, steps=1)
    for a, b, value in zip(with_momentum, without, start, strict=True):
        torch.testing.assert_close(a - value, (b - value) / 2)


def test_adafactor_without_factors_scales_or_clipping_divides_by_the_root_of_the_mean_square():
    values = parameters()
    start = [each.detach().clone() for each in values]
    settings = AdafactorSettings(factored=False, scale_by_weights=False, clipping=0.0, beta2=0.9)
    optimiser = Adafactor(values, settings)
    result = after(optimiser, values, steps=2)
    (first, _), (second, _) = gradients(2)
    decay = 0.9 * (1 - 0.9) / (1 - 0.9**2)
    mean = first.square() * decay + second.square() * (1 - decay)
    expected = start[0] - RATE * first.sign() - RATE * second / mean.sqrt()
    torch.testing.assert_close(result[0], expected)


def test_adam_equals_that_of_torch_with_the_betas_of_the_set():
    ours, theirs = parameters(), parameters()
    expected = torch.optim.Adam(theirs, lr=RATE, betas=(0.9, 0.997), eps=1e-9)
    torch.testing.assert_close(after(ours_of("", ours), ours), after(expected, theirs))


@pytest.mark.parametrize("optimizer", ["adam", "adafactor"])
def test_weight_decay_adds_to_the_gradients_of_all_but_biases(optimizer):
    decayed, plain = parameters(), parameters()
    with_decay = ours_of(f"optimizer={optimizer},weight_decay=0.5", decayed)
    without = ours_of(f"optimizer={optimizer}", plain)
    set_learning_rate(with_decay, RATE)
    set_learning_rate(without, RATE)
    for ours, theirs, gradient in zip(decayed, plain, gradients(1)[0], strict=True):
        ours.grad = gradient.clone()
        theirs.grad = gradient + 0.5 * theirs.detach() if theirs.dim() == 2 else gradient.clone()
    with_decay.step()
    without.step()
    torch.testing.assert_close(decayed, plain)


def test_gradients_are_accumulated_by_the_multistep_optimiser_only():
    assert accumulated_batches(named_hparams("transformer_base_multistep8")) == 8
    assert accumulated_batches(hparams_of("optimizer_multistep_accumulate_steps=8")) == 1
