"""The Hugging Face beam search returns the same as `transformers.generate` on the same scores."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from transformers import (
    GenerationConfig,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_outputs import CausalLMOutput

from slipway.transformer.decoding.batch import DecodingBatch
from slipway.transformer.generation import CollectingListener, Decoding, Search
from tests.transformer.decoding.toy import Toy, decode


class ToyConfig(PretrainedConfig):
    model_type = "toy"
    vocab_size = 20
    num_hidden_layers = 1


class ToyModel(PreTrainedModel, GenerationMixin):
    """A decoder whose scores are a toy's."""

    config_class = ToyConfig
    main_input_name = "input_ids"

    def __init__(self, toy: Toy) -> None:
        super().__init__(ToyConfig())
        self.toy = toy
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids=None, **_):
        scores = np.stack([self.toy.scores(prefix) for prefix in input_ids.tolist()])
        return CausalLMOutput(logits=torch.from_numpy(scores)[:, None])

    def prepare_inputs_for_generation(self, input_ids, **_):
        return {"input_ids": input_ids}


def generate(model, inputs, decoding: Decoding, **rest):
    config = GenerationConfig(
        max_new_tokens=decoding.max_tokens,
        num_beams=decoding.beam_width,
        num_return_sequences=decoding.beam_width,
        length_penalty=decoding.length_penalty,
        early_stopping=decoding.early_stopping,
        eos_token_id=decoding.end_id,
        pad_token_id=0,
        decoder_start_token_id=0,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **rest,
    )
    with torch.inference_mode():
        answer = model.generate(inputs, generation_config=config)
    return answer.sequences, answer.sequences_scores.tolist()


def trimmed(row: list[int]) -> tuple[int, ...]:
    return tuple(row[: row.index(1) + 1] if 1 in row else row)


def test_120_random_cases_equal_transformers_in_ids_order_and_scores():
    chance = random.Random(0)
    for seed in range(120):
        decoding = Decoding(
            chance.randint(1, 10),
            search=Search.HUGGING_FACE,
            beam_width=chance.choice((2, 3, 4, 6)),
            length_penalty=chance.choice((0.0, 0.5, 1.0, 2.0, -1.0)),
            early_stopping=chance.random() < 0.4,
        )
        toy = Toy(seed, end_bonus=chance.choice((-2.0, 0.0, 2.0, 4.0)))
        prompt = [chance.randrange(20) for _ in range(chance.randint(1, 3))]
        prompt = [token if token != 1 else 2 for token in prompt]
        sequences, scores = generate(ToyModel(toy), torch.tensor([prompt]), decoding, use_cache=False)
        found = decode(decoding, toy, prompt)
        assert [hypothesis.ids for hypothesis in found] == [trimmed(row[len(prompt) :]) for row in sequences.tolist()]
        assert [hypothesis.score for hypothesis in found] == pytest.approx(scores, abs=1e-4), f"case {seed}"


def test_a_t5_gives_the_beams_that_transformers_gives_it():
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0, decoder_start_token_id=0
    )
    model = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.shared.weight.mul_(3.0)
    for seed in range(4):
        source = torch.from_numpy(np.random.default_rng(seed).integers(2, 50, (1, 7)))
        decoding = Decoding(12, search=Search.HUGGING_FACE, beam_width=4, length_penalty=1.0)
        sequences, scores = generate(model, source, decoding)
        collected = CollectingListener()
        run(model, source, DecodingBatch([decoding], [[0]], collected, device="cpu"))
        found = collected.results[0]
        assert [hypothesis.ids for hypothesis in found] == [trimmed(row[1:]) for row in sequences.tolist()]
        assert [hypothesis.score for hypothesis in found] == pytest.approx(scores, abs=1e-4)


@torch.inference_mode()
def run(model: T5ForConditionalGeneration, source: torch.Tensor, batch: DecodingBatch) -> None:
    encoded = model.get_encoder()(source).last_hidden_state
    prefixes = batch.tokens[:, None]
    while batch.alive:
        count = len(prefixes)
        scores = model(encoder_outputs=(encoded.expand(count, -1, -1),), decoder_input_ids=prefixes).logits[:, -1]
        parents = batch.step(scores)
        prefixes = torch.cat((prefixes if parents is None else prefixes[parents], batch.tokens[:, None]), dim=1)
