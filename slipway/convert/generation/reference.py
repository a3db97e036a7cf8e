"""The reference: ids that transformers generates, one row at a time, searched in several ways, with the tokens that tie
at each step."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from slipway.convert.agreement import Generated
from slipway.convert.generation.generation_settings import NOT_HONOURED
from slipway.convert.generation.source import GenerationSource
from slipway.convert.libraries import load_pretrained
from slipway.convert.thresholds import NEAR, TOLERANCE
from slipway.transformer.temporary_thread import run_in_temporary_thread

NAME: Final = "transformers in float32, one row at a time"
_WIDEST: Final = max(NEAR.values())
_MOST: Final = 100  # tokens of a step that are kept: more are only as likely in a model that knows nothing


@dataclass(frozen=True, slots=True)
class ReferenceSearch:
    """How a row is searched: `settings` override the checkpoint's own; `seed` selects the random numbers, the same as
    those of a served model."""

    settings: Mapping[str, Any]
    seed: int | None = None


class ReferenceGenerator:
    """The checkpoint as transformers runs it, with the `tokenizer` that stop strings need.

    `network` is the model if it has been loaded before; one of images takes encoder states instead of ids.
    """

    def __init__(self, source: GenerationSource, tokenizer: Any, network: Any = None) -> None:
        self._continues = source.continues
        auto_class = "AutoModelForCausalLM" if source.continues else "AutoModelForSeq2SeqLM"
        loaded = network if network is not None else compute(lambda: load_pretrained(auto_class, source.directory))
        self._network: Any = loaded.eval()
        if source.checkpoint.model_type == "umt5" and source.spec.logit_scale == 1.0:
            # As the checkpoint says: transformers 5 sets it to true, and then scales logits that were trained unscaled.
            self._network.config.tie_word_embeddings = False
        self._tokenizer = tokenizer
        encoder, decoder = source.spec.encoder, source.decoder
        # The cache of transformers counts the encoder's layers and fails if the decoder has more (5.23).
        self._use_cache = encoder is None or decoder.layers <= encoder.layers
        self._own = self._own_config(source)

    def _own_config(self, source: GenerationSource) -> Any:
        """Return the checkpoint's own settings without the unsupported ones, which the report notes."""
        config = copy.deepcopy(self._network.generation_config)
        checkpoint = source.checkpoint
        ends = list(checkpoint.end_ids) or [source.spec.end_id]
        config.update(
            eos_token_id=ends,
            pad_token_id=checkpoint.padding_id if checkpoint.padding_id is not None else ends[0],
            decoder_start_token_id=None if source.continues else source.spec.start_id,
            **dict.fromkeys(NOT_HONOURED),
        )
        if config.do_sample:
            config.num_beams = 1
        if source.continues:
            config.forced_bos_token_id = None
        for name in ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "sequence_bias"):
            setattr(config, name, getattr(config, name) or None)
        return config

    def generate(self, source: np.ndarray, search: ReferenceSearch) -> Generated:
        """Generate from ids, int64 [tokens], or from encoder states, float32 [tokens, size]."""
        from slipway.convert.generation.fixed_draws import FixedDraws

        config = copy.deepcopy(self._own)
        config.update(**search.settings)
        self._network.generation_config = config
        draws = None if search.seed is None else FixedDraws(search.seed)
        texts = {"tokenizer": self._tokenizer} if config.stop_strings else {}

        def generate() -> Any:
            with draws or nullcontext(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about lengths, which the gate makes shorter than the checkpoint's own
                return self._network.generate(
                    **_inputs(source),
                    use_cache=self._use_cache,
                    output_scores=True,
                    return_dict_in_generate=True,
                    **texts,
                )

        made = compute(generate)
        first = len(source) if self._continues else 1
        found = made.sequences[0, first:].tolist()
        if (config.num_beams or 1) > 1:
            return Generated(_whole(found, config), (), float(made.sequences_scores[0]))
        if draws:
            return Generated(tuple(found), tuple(draws.reachable))
        scores = [step[0].numpy() for step in made.scores]
        return Generated(tuple(found), tuple(map(_ties, scores)), behind=tuple(map(_behind, scores)))

    def losses(self, rows: Sequence[np.ndarray]) -> tuple[float, ...]:
        """Return the mean negative log-probability of each row's tokens after the first, in nats; rows are ids, int64
        [tokens], at least two."""
        return tuple(compute(partial(self._loss, row)) for row in rows)

    def _loss(self, row: np.ndarray) -> float:
        import torch

        ids = torch.from_numpy(row)
        [logits] = self._network(input_ids=ids[None], use_cache=False).logits
        return float(torch.nn.functional.cross_entropy(logits[:-1].float(), ids[1:]))


def _whole(ids: list[int], config: Any) -> tuple[int, ...]:
    """Return the ids of the best hypothesis, which transformers pads to the longest one."""
    end = next((place for place, token in enumerate(ids) if token in config.eos_token_id), len(ids))
    return tuple(ids[: end + 1])


def _inputs(source: np.ndarray) -> dict[str, Any]:
    """Return a row as arguments of `generate`."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    row = torch.from_numpy(source)[None]
    if source.ndim == 2:
        return {"encoder_outputs": BaseModelOutput(last_hidden_state=row)}
    return {"inputs": row, "attention_mask": torch.ones_like(row)}


def compute(job: Callable[[], Any]) -> Any:
    """Return the result of `job`, run in its own thread: a thread pool that stayed alive would slow the candidates."""
    import torch

    def compute() -> Any:
        with torch.inference_mode():
            return job()

    return run_in_temporary_thread(compute)


def _ties(scores: np.ndarray) -> frozenset[int]:
    best = scores.max()  # sums in another order differ by less than a tenth of the tolerance on real models
    near = np.flatnonzero(scores >= best - TOLERANCE * max(1.0, float(np.abs(best))))
    return frozenset(near.tolist())


def _behind(scores: np.ndarray) -> dict[int, float]:
    """Return the tokens that any precision may confuse with the best, and how much less likely they are."""
    best = float(scores.max())
    near = np.flatnonzero(scores >= best - _WIDEST)
    if len(near) > _MOST:
        near = near[np.argpartition(-scores[near], _MOST)[:_MOST]]
    return {int(token): best - float(scores[token]) for token in near}
