"""The torch network as the running batch sees it: steps over pages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from slipway.transformer.generation import SequenceRequest
from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.network import Network
from slipway.transformer.module.paged_attention import KeyValuePages, PagedAttention
from slipway.transformer.paged.step import PagedStep
from slipway.transformer.rotary_frequencies import depends_on_length
from slipway.transformer.spec import Gate, Languages, Transformer


class TorchPagedNetwork:
    """A `paged.step.PagedNetwork`: a decoder, and the pages of its keys and values. Needs torch's inference mode."""

    def __init__(self, network: Network, *, page_count: int, page_size: int) -> None:
        self._network = network
        self._decoder = network.output_stack
        self._pages = KeyValuePages(self._decoder.stack, network.like, count=page_count, page_size=page_size)

    @property
    def page_size(self) -> int:
        """The number of tokens in a page."""
        return self._pages.page_size

    @property
    def page_count(self) -> int:
        """The number of pages."""
        return self._pages.count

    def run(self, step: PagedStep) -> np.ndarray:
        """Compute a step and return its scores float32 [scored, vocabulary]."""
        decoder, device = self._decoder, self._network.like.device
        ids = torch.from_numpy(np.ascontiguousarray(step.tokens, np.int64)).to(device)
        view = PagedAttention(decoder, self._pages, step, ids)
        features = TokenFeatures()
        hidden = decoder(decoder.embedding(ids, view.positions, features), view, None, features)
        if len(step.scored) != len(step.tokens):
            hidden = hidden.index_select(0, torch.from_numpy(step.scored.astype(np.int64)).to(device))
        scores: np.ndarray = self._network.scores(hidden).cpu().numpy()
        return scores

    def copy_pages(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy pages, (from, to) each."""
        self._pages.copy(pairs)

    def close(self) -> None:
        """Release the pages."""
        self._pages.layers.clear()


def why_not_paged(spec: Transformer) -> str:
    """Return what of an architecture needs more than tokens in pages, "" if nothing does."""
    if not spec.continues:
        return "it has an encoder"
    stack = spec.output_stack
    reasons = {
        "adapters": stack.adapter_tasks > 0,
        "languages": spec.language_mode is not Languages.NONE or stack.languages > 0,
        "experts by language": stack.experts is not None and stack.experts.gate is Gate.HARD,
        "images": stack.vision is not None,
        "embedded input": stack.embedded_input,
    }
    return ", ".join(reason for reason, found in reasons.items() if found)


def only_tokens(row: SequenceRequest) -> bool:
    """Return whether a row consists of nothing but token ids."""
    others = (row.pixels, row.hidden, row.adapter_task, row.prompt_task, row.prompt)
    return all(each is None for each in others)


def page_bytes(spec: Transformer, *, item: int, page_size: int) -> int:
    """Return the memory of a page in all layers, with numbers of `item` bytes."""
    stack = spec.output_stack
    return 2 * stack.key_value * stack.layers * page_size * item


def shared_length(spec: Transformer) -> int | None:
    """Return the length up to which the keys of a sequence depend on nothing but its tokens, None if they never do."""
    stack = spec.output_stack
    rotary = [each for each in (stack.rotary, stack.local_rotary) if each is not None and depends_on_length(each)]
    return min((each.original_length for each in rotary), default=None)
