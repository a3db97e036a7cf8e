"""Training `transformer_small` against a Marian model of the same size in `transformers`, with the same batches.

Both compute the same work: forward, cross entropy with label smoothing, backward, Adam, with dropout at the same
places. The turns alternate batch by batch, so that a busy machine affects both. Tokens are those of both sides, without
padding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Final

import numpy as np

from benchmarks.report import Row
from slipway.checkpoints.tensor2tensor.hparams import HParams, named_hparams, override
from slipway.train.batches import BatchingRule
from slipway.train.loader import Batch, BatchStream

Step = Callable[[Batch], float]

BATCHES: Final = 12
VOCABULARIES: Final = (8190, 33708)  # of tensor2tensor's public files
RATE: Final = 1e-4
_PAIRS: Final = 3000
_LONGEST: Final = 100


def training() -> list[Row]:
    """Measure tokens/s for both vocabularies."""
    return [row for vocabulary in VOCABULARIES for row in measure(vocabulary)]


def measure(vocabulary: int, batches: int = BATCHES, tokens: int = 4096) -> list[Row]:
    """Measure one vocabulary on `batches` batches of `tokens` tokens."""
    hparams = override(named_hparams("transformer_small"), f"batch_size={tokens}")
    pairs = _pairs(vocabulary)
    stream = BatchStream(lambda: iter(pairs), BatchingRule.of(hparams), seed=1)
    given = list(islice(stream.batches(), batches + 1))
    steps: dict[str, Step] = {
        "slipway": _slipway_step(hparams, vocabulary),
        "transformers": _marian_step(hparams, vocabulary),
    }
    seconds = dict.fromkeys(steps, 0.0)
    for batch in given:
        for name, step in steps.items():
            started = time.perf_counter()
            loss = step(batch)
            seconds[name] += time.perf_counter() - started
            if not np.isfinite(loss):
                raise ArithmeticError(f"{name}: the loss is {loss}")
        if batch is given[0]:  # the warm-up
            seconds = dict.fromkeys(steps, 0.0)
    read = sum(batch.read_tokens for batch in given[1:])
    ours, theirs = (read / seconds[name] for name in steps)
    return [Row(f"training transformer_small, {vocabulary:,} subwords", ours, "tok/s", theirs, at_least=1.2)]


def _pairs(vocabulary: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs whose lengths are spread as those of news sentences: 30 subwords, and a long tail."""
    source = np.random.default_rng(0)
    lengths = source.lognormal(3.2, 0.5, _PAIRS).clip(3, _LONGEST).astype(int)
    others = (lengths * source.normal(1.05, 0.1, _PAIRS)).clip(3, _LONGEST).astype(int)
    sides = [
        [np.append(source.integers(2, vocabulary, length), 1).astype(np.int32) for length in side]
        for side in (lengths, others)
    ]
    return list(zip(*sides, strict=True))


def _slipway_step(hparams: HParams, vocabulary: int) -> Step:
    import torch

    from slipway.train.network.network import TrainingNetwork
    from slipway.train.network.parameters import initial_parameters
    from slipway.train.optimisers import make_optimiser, set_learning_rate

    network = TrainingNetwork(hparams, vocabulary, initial_parameters(hparams, vocabulary, 0)).train()
    optimiser = make_optimiser(hparams, dict(network.weights.items()))
    set_learning_rate(optimiser, RATE)

    def step(batch: Batch) -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = network(torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets), batch.tokens)
        loss.backward()
        optimiser.step()
        return float(loss.item())

    return step


def _marian_step(hparams: HParams, vocabulary: int) -> Step:
    import torch
    from torch.nn import functional
    from transformers import MarianConfig, MarianMTModel

    sizes = {
        f"{stack}_{name}": value
        for stack in ("encoder", "decoder")
        for name, value in (
            ("layers", hparams.num_hidden_layers),
            ("attention_heads", hparams.num_heads),
            ("ffn_dim", hparams.filter_size),
        )
    }
    config = MarianConfig(
        vocab_size=vocabulary,
        d_model=hparams.hidden_size,
        dropout=hparams.layer_prepostprocess_dropout,
        attention_dropout=hparams.attention_dropout,
        activation_dropout=hparams.relu_dropout,
        activation_function="relu",
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        forced_eos_token_id=1,
        max_position_embeddings=512,
        scale_embedding=True,
        **sizes,
    )
    model = MarianMTModel(config).train()
    betas = hparams.optimizer_adam_beta1, hparams.optimizer_adam_beta2
    optimiser = torch.optim.Adam(
        model.parameters(), lr=RATE, betas=betas, eps=hparams.optimizer_adam_epsilon, fused=True
    )

    def step(batch: Batch) -> float:
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        optimiser.zero_grad(set_to_none=True)
        scores = model(
            input_ids=inputs,
            attention_mask=(inputs != 0).long(),
            decoder_input_ids=functional.pad(targets[:, :-1], (1, 0)),
            use_cache=False,
        ).logits
        loss = functional.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=0, label_smoothing=hparams.label_smoothing
        )
        loss.backward()
        optimiser.step()
        return float(loss.item())

    return step
