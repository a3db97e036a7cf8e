"""The network that trains equals the network that serves, and its gradients are those of plain torch."""

from __future__ import annotations

import math

import pytest
import torch

from slipway.checkpoints.tensor2tensor.hparams import named_hparams, override
from slipway.train.network.dropout import Dropout
from slipway.train.network.loss import LossSum, least_loss, smoothed_cross_entropy
from slipway.train.network.network import TrainingNetwork
from slipway.train.network.parameters import initial_parameters

VOCABULARY = 37
INPUTS = [[5, 9, 12, 1], [7, 1, 0, 0], [30, 31, 1, 0]]
TARGETS = [[4, 4, 8, 20, 1], [36, 1, 0, 0, 0], [2, 3, 1, 0, 0]]


def hparams_of(text=""):
    return override(named_hparams("transformer_test"), f"hidden_size=16,filter_size=32,{text}".rstrip(","))


def network_of(text="", seed=3):
    hparams = hparams_of(text)
    return TrainingNetwork(hparams, VOCABULARY, initial_parameters(hparams, VOCABULARY, seed))


def batch():
    return torch.tensor(INPUTS), torch.tensor(TARGETS)


def test_first_loss_is_that_of_a_uniform_guess_and_gradients_reach_every_parameter():
    network = network_of("label_smoothing=0.1").eval()
    loss = network(*batch(), 10)
    assert abs(loss.item() - (math.log(VOCABULARY) - least_loss(VOCABULARY, 0.1))) < 2.0
    loss.backward()
    missing = [name for name, value in network.weights.items() if value.grad is None or not value.grad.any()]
    assert missing == []


def test_loss_of_a_batch_is_the_mean_of_its_rows():
    network = network_of().eval()
    inputs, targets = batch()
    whole = network(inputs, targets, 1).item()
    rows = [
        network(inputs[row, inputs[row] != 0][None], targets[row, targets[row] != 0][None], 1).item()
        for row in range(3)
    ]
    assert whole == pytest.approx(sum(rows), rel=1e-5)


@pytest.mark.parametrize("chunk", [3, 128])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_chunked_loss_and_gradients_equal_those_of_torch(monkeypatch, chunk, smoothing):
    monkeypatch.setattr("slipway.train.network.loss._LEAST_ROWS", chunk)
    monkeypatch.setattr("slipway.train.network.loss._CHUNK_ELEMENTS", 1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 8, generator=generator, requires_grad=True)
    table = torch.randn(11, 8, generator=generator, requires_grad=True)
    labels = torch.randint(11, (50,), generator=generator)
    loss = smoothed_cross_entropy(hidden, table, labels, smoothing) * 0.5
    loss.backward()
    ours = hidden.grad.clone(), table.grad.clone()
    hidden.grad = table.grad = None
    logs = torch.log_softmax(hidden @ table.t(), -1)
    target = torch.full((50, 11), smoothing / 10).scatter_(1, labels[:, None], 1 - smoothing)
    entropy = -(target * torch.log(target + 1e-20)).sum()
    expected = 0.5 * (-(target * logs).sum() - entropy)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(ours, (hidden.grad, table.grad), rtol=1e-4, atol=1e-5)


def test_evaluation_returns_nats_and_the_best_token():
    hidden, table, labels = torch.eye(4) * 9, torch.eye(4), torch.tensor([0, 1, 2, 0])
    result = LossSum.of(hidden, table, labels)
    assert result.best.tolist() == [0, 1, 2, 3]
    nats = [-math.log(math.exp(9) / (math.exp(9) + 3)), -math.log(1 / (math.exp(9) + 3))]
    assert result.nats == pytest.approx(3 * nats[0] + nats[1], rel=1e-5)


def test_padding_changes_no_result():
    network = network_of().eval()
    inputs, targets = batch()
    wide = torch.nn.functional.pad(inputs, (0, 3)), torch.nn.functional.pad(targets, (0, 2))
    torch.testing.assert_close(network.hidden(*wide), network.hidden(inputs, targets), rtol=1e-5, atol=1e-6)


def test_batch_of_padding_has_no_loss_and_gradients_of_zero():
    network = network_of()
    loss = network(torch.zeros((1, 1), dtype=torch.long), torch.zeros((1, 1), dtype=torch.long), 5)
    loss.backward()
    assert loss.item() == 0
    assert all(value.grad is not None and not value.grad.any() for value in network.weights.values())


def test_later_targets_change_no_earlier_state():
    network = network_of().eval()
    inputs, targets = batch()
    other = targets.clone()
    other[0, 3] = 11
    ours, theirs = (network.decode(each, *network.encode(inputs))[0] for each in (targets, other))
    torch.testing.assert_close(ours[:4], theirs[:4])
    assert not torch.allclose(ours[4], theirs[4])


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    torch.manual_seed(0)
    x = torch.ones(1000, 1000)
    dropped = Dropout(rate)(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(rate, abs=0.002)
    assert dropped.mean().item() == pytest.approx(1, abs=0.002)
    columns = (dropped == 0).float().mean(0)
    assert columns.max() < rate + 0.08
    assert columns.min() > rate - 0.08


def test_dropout_added_to_a_residual_keeps_the_residual():
    torch.manual_seed(0)
    x, y = torch.full((100, 100), 5.0), torch.ones(100, 100)
    values = Dropout(0.5).add(x, y).unique().tolist()
    assert values == pytest.approx([5.0, 7.0], abs=1e-3)


def test_shared_dimensions_share_the_mask():
    torch.manual_seed(0)
    dropped = Dropout.of(0.5, "0,1")(torch.ones(3, 4, 5, 6))
    assert (dropped == dropped[0, 0]).all()
    assert 0 < (dropped == 0).sum() < dropped.numel()


def test_tpu_dropout_shares_masks_in_a_whole_step():
    network = network_of("attention_dropout_broadcast_dims=0,1,relu_dropout_broadcast_dims=1,"
                         "layer_prepostprocess_dropout_broadcast_dims=1")  # fmt: skip
    torch.manual_seed(0)
    first = network(*batch(), 10).item()
    assert math.isfinite(first)
    torch.manual_seed(0)
    assert network(*batch(), 10).item() == first
    assert network(*batch(), 10).item() != first


def test_same_seed_draws_the_same_parameters_within_their_limits():
    hparams = hparams_of()
    first, second = (initial_parameters(hparams, VOCABULARY, 5) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    kernel = first["transformer/body/encoder/layer_0/ffn/conv1/kernel"]
    limit = math.sqrt(6 / (16 + 32))
    assert 0.9 * limit < kernel.abs().max() <= limit
    table = first[f"transformer/symbol_modality_{VOCABULARY}_16/shared/weights"]
    assert table.std().item() == pytest.approx(0.25, rel=0.1)
