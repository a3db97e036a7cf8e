"""OpenAI's penalties lower the scores of generated tokens, by how often and whether they came, and leave the prompt."""

from __future__ import annotations

import torch

from slipway.transformer.decoding.batch import DecodingBatch
from slipway.transformer.decoding.logits_processor import RowContext
from slipway.transformer.decoding.transformers_order import TransformersProcessor
from slipway.transformer.generation import CollectingListener, Decoding, TransformersRules

CPU = torch.device("cpu")


def test_each_repetition_costs_the_frequency_and_the_first_one_the_presence():
    rules = TransformersRules(frequency_penalty=0.5, output_presence_penalty=2.0)
    processor = TransformersProcessor(Decoding(9, rules=rules), rules, RowContext((1, 1), (1, 1), CPU))
    scores = torch.zeros(1, 5)
    assert processor.apply(scores, [()]).tolist() == [[0.0] * 5]
    assert processor.apply(scores, [(2, 3, 2)]).tolist() == [[0.0, 0.0, -3.0, -2.5, 0.0]]
    assert scores.tolist() == [[0.0] * 5]


class Watcher:
    def __init__(self, width: int) -> None:
        self.width = width
        self.seen: list[tuple[float, list[int], list[float]]] = []

    def step(self, log_probability, ids, log_probabilities) -> None:
        self.seen.append((log_probability, list(ids), list(log_probabilities)))


def test_an_observer_learns_the_models_own_probabilities_before_penalties_and_temperature():
    watcher = Watcher(2)
    rules = TransformersRules((9,), sequence_bias=(((0,), 50.0),), observer=watcher)
    batch = DecodingBatch([Decoding(1, end_id=9, rules=rules)], [(1,)], CollectingListener(), device=CPU)
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]])
    batch.step(logits)
    expected = logits.double().log_softmax(dim=-1)[0]
    ((chosen, ids, best),) = watcher.seen
    assert chosen == expected[0]
    assert (ids, best) == ([1, 2], expected[[1, 2]].tolist())
