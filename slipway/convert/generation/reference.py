"""The reference: greedy ids that transformers generates, one row at a time, with the tokens that tie at each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from slipway.convert.generation.source import GenerationSource
from slipway.convert.libraries import load_pretrained
from slipway.convert.thresholds import TOLERANCE
from slipway.transformer.temporary_thread import run_in_temporary_thread

NAME: Final = "transformers in float32, one row at a time, greedy"


@dataclass(frozen=True, slots=True)
class Generated:
    """The ids of one row, without start token or prompt, and for each step the tokens that tie for the best score."""

    ids: tuple[int, ...]
    ties: tuple[frozenset[int], ...]


class ReferenceGenerator:
    """The checkpoint as transformers runs it."""

    def __init__(self, source: GenerationSource) -> None:
        import transformers

        self._continues = source.continues
        auto_class = "AutoModelForCausalLM" if source.continues else "AutoModelForSeq2SeqLM"
        self._network: Any = _compute(lambda: load_pretrained(auto_class, source.directory))
        self._network.eval()
        encoder, decoder = source.spec.encoder, source.decoder
        # The cache of transformers counts the encoder's layers and fails if the decoder has more (5.23).
        self._use_cache = encoder is None or decoder.layers <= encoder.layers
        checkpoint = source.checkpoint
        ends = list(checkpoint.end_ids) or [source.spec.end_id]
        # Plain greedy search: replaces the checkpoint's own generation settings.
        self._network.generation_config = transformers.GenerationConfig(
            do_sample=False,
            num_beams=1,
            eos_token_id=ends,
            pad_token_id=checkpoint.padding_id if checkpoint.padding_id is not None else ends[0],
            forced_bos_token_id=checkpoint.forced_first_id,
            decoder_start_token_id=None if source.continues else source.spec.start_id,
        )

    def generate(self, ids: np.ndarray, max_tokens: int) -> Generated:
        """Generate from `ids`, int64 [tokens]."""
        import torch

        row = torch.from_numpy(ids)[None]

        def generate() -> Any:
            return self._network.generate(
                row,
                attention_mask=torch.ones_like(row),
                max_new_tokens=max_tokens,
                use_cache=self._use_cache,
                output_logits=True,
                return_dict_in_generate=True,
            )

        made = _compute(generate)
        first = row.shape[1] if self._continues else 1
        ties = tuple(_ties(step[0].numpy()) for step in made.logits)
        return Generated(tuple(made.sequences[0, first:].tolist()), ties)


def _compute(job: Callable[[], Any]) -> Any:
    """Return the result of `job`, run in its own thread: a thread pool that stayed alive would slow the candidates."""
    import torch

    def compute() -> Any:
        with torch.inference_mode():
            return job()

    return run_in_temporary_thread(compute)


def _ties(logits: np.ndarray) -> frozenset[int]:
    best = logits.max()  # sums in another order differ by less than a tenth of the tolerance on real models
    near = np.flatnonzero(logits >= best - TOLERANCE * max(1.0, float(np.abs(best))))
    return frozenset(near.tolist())
